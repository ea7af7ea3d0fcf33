//! Offers within a dialog, sent and received, by re-INVITE (RFC 3261 §14) and UPDATE (RFC 3311).

use bytes::Bytes;

use super::accept::InitialOffer;
use super::connect::Cancel;
use super::state::{Intent, OfferAnswerState, OfferReason, Session, SessionState};
use super::{SessionEvent, connect};
use crate::body::SDP;
use crate::endpoint::{Cx, RequestSpec, ServerRequest, contact_lines};
use crate::transaction::ClientId;
use crate::{Message, Method, Reply};

impl Session {
    // ---- sent ----------------------------------------------------------------------------------------------------------------

    /// See [`crate::Endpoint::offer`].
    pub(crate) fn offer(&mut self, cx: &mut Cx<'_>, sdp: Bytes) {
        self.pending_offer = Some(sdp);
        self.offer_if_queued(cx);
    }

    /// Send the pending offer, if the state allows it.
    pub(crate) fn offer_if_queued(&mut self, cx: &mut Cx<'_>) {
        if self.pending_offer.is_none() || !matches!(self.offer_answer, OfferAnswerState::Stable) {
            return;
        }
        let by_update = match &self.state {
            SessionState::Confirmed(up) if up.unacked.is_none() => false,
            SessionState::InviteReceived(ringing)
                if self.peer.allows_update
                    && ringing.initial_offer == InitialOffer::Complete
                    && ringing.accept.is_none()
                    && ringing.reliable.outstanding.is_none() =>
            {
                true
            }
            SessionState::InviteSent(calling)
                if self.peer.allows_update
                    && matches!(calling.cancel, Cancel::No)
                    && matches!(
                        calling.forks.as_slice(),
                        [connect::Fork { initial_offer_complete: true, .. }]
                    ) =>
            {
                true
            }
            SessionState::Confirmed(_)
            | SessionState::InviteReceived(_)
            | SessionState::InviteSent(_)
            | SessionState::Terminating(_)
            | SessionState::Terminated => return,
        };
        if let Some(sdp) = self.pending_offer.take() {
            self.send_offer(cx, sdp, by_update, OfferReason::User(0));
        }
    }

    /// Send an offer by UPDATE or re-INVITE.
    pub(crate) fn send_offer(&mut self, cx: &mut Cx<'_>, sdp: Bytes, by_update: bool, reason: OfferReason) {
        self.offer_answer = OfferAnswerState::LocalOffer;
        let intent = if by_update {
            Intent::Update { sdp: Some(sdp), reason }
        } else {
            Intent::ReInvite { sdp, reason }
        };
        if !self.send_request(cx, intent, false) {
            self.offer_answer = OfferAnswerState::Stable;
            if matches!(reason, OfferReason::User(_)) {
                cx.event(self.id, SessionEvent::OfferRefused { status: 503 });
            }
        }
    }

    /// The final response to our re-INVITE.
    pub(crate) fn on_reinvite_response(
        &mut self,
        cx: &mut Cx<'_>,
        tx: ClientId,
        answer: Result<&Message, u16>,
        sdp: Bytes,
        reason: OfferReason,
    ) {
        let response = match answer {
            Ok(response) if response.status().is_some_and(|status| status < 300) => response,
            Ok(_) | Err(_) => return self.on_offer_rejected(cx, answer, Some(sdp), false, reason),
        };
        let (id, auth) = (self.id, self.auth.take());
        if let Some(dialog) = self.only_dialog() {
            dialog.refresh(response);
            let cseq = response.cseq().number;
            let spec = RequestSpec { method: &Method::Ack, cseq, max_forwards: 70, body: None };
            cx.send_ack(dialog, tx, spec, Some(id), auth.as_ref());
        }
        self.on_offer_accepted(cx, response, Some(sdp), reason);
    }

    /// The final response to our UPDATE.
    pub(crate) fn on_update_response(
        &mut self,
        cx: &mut Cx<'_>,
        answer: Result<&Message, u16>,
        sdp: Option<Bytes>,
        reason: OfferReason,
    ) {
        match answer {
            Ok(response) if response.status().is_some_and(|status| status < 300) => {
                if let Some(dialog) = self.only_dialog() {
                    dialog.refresh(response);
                }
                self.on_offer_accepted(cx, response, sdp, reason);
            }
            Ok(_) | Err(_) => self.on_offer_rejected(cx, answer, sdp, true, reason),
        }
    }

    fn on_offer_accepted(
        &mut self,
        cx: &mut Cx<'_>,
        response: &Message,
        sdp: Option<Bytes>,
        reason: OfferReason,
    ) {
        self.update_peer_capabilities(response);
        if matches!(self.state, SessionState::Terminating(_) | SessionState::Terminated) {
            return;
        }
        if matches!(self.state, SessionState::Confirmed(_)) {
            self.timer.on_2xx(cx.now, response);
        }
        if sdp.is_none() {
            return; // a session refresh without SDP
        }
        if matches!(self.offer_answer, OfferAnswerState::LocalOffer) {
            self.offer_answer = OfferAnswerState::Stable;
        }
        self.local_sdp = sdp;
        let answer = response.sdp().unwrap_or_default();
        let changed = answer.is_some() && answer != self.remote_sdp;
        if answer.is_some() {
            self.remote_sdp.clone_from(&answer);
        }
        match (answer, reason) {
            (Some(sdp), OfferReason::User(_)) => cx.event(self.id, SessionEvent::Answered { sdp }),
            (Some(sdp), OfferReason::Refresh) if changed => cx.event(self.id, SessionEvent::Answered { sdp }),
            (None, OfferReason::User(_)) => cx.event(self.id, SessionEvent::OfferRefused { status: 488 }),
            (Some(_) | None, OfferReason::Refresh) => {}
        }
        self.offer_if_queued(cx);
    }

    fn on_offer_rejected(
        &mut self,
        cx: &mut Cx<'_>,
        answer: Result<&Message, u16>,
        sdp: Option<Bytes>,
        by_update: bool,
        reason: OfferReason,
    ) {
        if matches!(self.state, SessionState::Terminating(_) | SessionState::Terminated) {
            return;
        }
        let status = answer.map_or_else(|status| status, |response| response.status().unwrap_or(500));
        if sdp.is_some() && matches!(self.offer_answer, OfferAnswerState::LocalOffer) {
            self.offer_answer = OfferAnswerState::Stable;
        }
        // During call setup, the response to the INVITE decides whether the dialog lives.
        if matches!(status, 408 | 481) && matches!(self.state, SessionState::Confirmed(_)) {
            return self.on_dialog_gone(cx, status);
        }
        if let (422, Ok(response)) = (status, answer)
            && self.timer.raise_interval(response)
        {
            if let Some(sdp) = sdp {
                return self.send_offer(cx, sdp, by_update, reason);
            }
            self.send_request(cx, Intent::Update { sdp, reason }, false);
            return;
        }
        match (reason, sdp) {
            (OfferReason::Refresh, _) => self.refresh_failed(cx, answer),
            (OfferReason::User(tries), Some(sdp)) => {
                if !self.retry_after_glare(cx, answer, sdp, tries) {
                    cx.event(self.id, SessionEvent::OfferRefused { status });
                }
            }
            (OfferReason::User(_), None) => {}
        }
        self.offer_if_queued(cx);
    }

    // ---- received ------------------------------------------------------------------------------------------------------------

    /// The peer's re-INVITE.
    pub(crate) fn on_reinvite(&mut self, cx: &mut Cx<'_>, request: ServerRequest) {
        let SessionState::Confirmed(up) = &mut self.state else {
            return match self.state {
                SessionState::InviteReceived(_) => cx.respond_retry_later(&request),
                SessionState::InviteSent(_)
                | SessionState::Confirmed(_)
                | SessionState::Terminating(_)
                | SessionState::Terminated => cx.respond_status(&request, 481),
            };
        };
        if up.bye.is_some() {
            return cx.respond_status(&request, 487);
        }
        let Some(sdp) = self.check_offer(cx, &request) else { return };
        let SessionState::Confirmed(up) = &mut self.state else { return };
        if up.unacked.take().is_some() {
            // A peer that sends a re-INVITE has our 2xx, though its ACK was lost.
            cx.event(self.id, SessionEvent::Confirmed { sdp: None });
        }
        cx.respond_status(&request, 100);
        self.update_peer_capabilities(&request.message);
        self.requeue_own_offer();
        self.offer_answer = if sdp.is_some() {
            OfferAnswerState::RemoteOffer(request)
        } else {
            OfferAnswerState::OfferRequested(request)
        };
        cx.event(self.id, SessionEvent::Offered { sdp });
    }

    /// The peer's UPDATE.
    pub(crate) fn on_update(&mut self, cx: &mut Cx<'_>, request: ServerRequest) {
        let initial_offer_complete = match &self.state {
            SessionState::InviteSent(calling) => calling
                .forks
                .iter()
                .find(|fork| *fork.dialog.remote_tag == *request.message.from_tag())
                .is_some_and(|fork| fork.initial_offer_complete),
            SessionState::InviteReceived(ringing) => ringing.initial_offer == InitialOffer::Complete,
            SessionState::Confirmed(_) => true,
            SessionState::Terminating(_) | SessionState::Terminated => {
                return cx.respond_status(&request, 481);
            }
        };
        let Ok(sdp) = request.message.sdp() else { return cx.reject_body(&request) };
        if sdp.is_none() {
            if !Self::check_session_interval(cx, &request) {
                return;
            }
            self.update_peer_capabilities(&request.message);
            return self.accept_update(cx, &request, None);
        }
        if !initial_offer_complete {
            // The offer of the INVITE is still unanswered: the answer is ours to send (UAS), or the peer's (UAC) (RFC 3311 §5.2).
            return match &self.state {
                SessionState::InviteReceived(ringing)
                    if matches!(
                        ringing.initial_offer,
                        InitialOffer::Received | InitialOffer::AnsweredUnreliably(_)
                    ) =>
                {
                    cx.respond_retry_later(&request);
                }
                SessionState::InviteReceived(_)
                | SessionState::InviteSent(_)
                | SessionState::Confirmed(_)
                | SessionState::Terminating(_)
                | SessionState::Terminated => {
                    cx.respond_status(&request, 491);
                }
            };
        }
        let Some(sdp) = self.check_offer(cx, &request) else { return };
        self.update_peer_capabilities(&request.message);
        self.requeue_own_offer();
        self.offer_answer = OfferAnswerState::RemoteOffer(request);
        cx.event(self.id, SessionEvent::Offered { sdp });
    }

    /// Whether the peer may send the offer of this request now; if not, rejects it and returns `None`. The inner value is the offer.
    #[allow(clippy::option_option)] // rejected, without SDP, with SDP
    fn check_offer(&mut self, cx: &mut Cx<'_>, request: &ServerRequest) -> Option<Option<Bytes>> {
        match &self.offer_answer {
            OfferAnswerState::LocalOffer | OfferAnswerState::LocalOfferInResponse => {
                cx.respond_status(request, 491);
                return None;
            }
            OfferAnswerState::RemoteOffer(_) | OfferAnswerState::OfferRequested(_) => {
                cx.respond_retry_later(request);
                return None;
            }
            OfferAnswerState::Stable | OfferAnswerState::Glare { .. } => {}
        }
        if !Self::check_session_interval(cx, request) {
            return None;
        }
        match request.message.sdp() {
            Ok(sdp) => Some(sdp),
            Err(_) => {
                cx.reject_body(request);
                None
            }
        }
    }

    /// Our own offer that waits after 491 is requeued behind the peer's offer.
    fn requeue_own_offer(&mut self) {
        if let OfferAnswerState::Glare { sdp, .. } =
            std::mem::replace(&mut self.offer_answer, OfferAnswerState::Stable)
        {
            self.pending_offer.get_or_insert(sdp);
        }
    }

    /// See [`crate::Endpoint::answer`].
    pub(crate) fn answer(&mut self, cx: &mut Cx<'_>, answer: Result<Bytes, u16>) {
        let (request, asked) = match std::mem::replace(&mut self.offer_answer, OfferAnswerState::Stable) {
            OfferAnswerState::RemoteOffer(request) => (request, false),
            OfferAnswerState::OfferRequested(request) => (request, true),
            other @ (OfferAnswerState::Stable
            | OfferAnswerState::LocalOffer
            | OfferAnswerState::LocalOfferInResponse
            | OfferAnswerState::Glare { .. }) => {
                self.offer_answer = other;
                return;
            }
        };
        match answer {
            Ok(sdp) => {
                self.local_sdp = Some(sdp.clone());
                if !asked {
                    self.remote_sdp = request.message.sdp().unwrap_or_default();
                }
                match request.message.method() {
                    Method::Invite => self.accept_reinvite(cx, &request, &sdp, asked),
                    Method::Prack => {
                        let reply = Reply { body: Some((SDP, &sdp)), ..Reply::new(200) };
                        cx.respond(&request, "", reply, |_, _| {});
                    }
                    Method::Update
                    | Method::Ack
                    | Method::Bye
                    | Method::Cancel
                    | Method::Register
                    | Method::Options
                    | Method::Info
                    | Method::Subscribe
                    | Method::Notify
                    | Method::Refer
                    | Method::Message
                    | Method::Publish
                    | Method::Other(_) => self.accept_update(cx, &request, Some(&sdp)),
                }
            }
            Err(status) => {
                cx.respond_status(&request, if (300..700).contains(&status) { status } else { 488 });
            }
        }
        self.offer_if_queued(cx);
    }

    fn accept_reinvite(&mut self, cx: &mut Cx<'_>, request: &ServerRequest, sdp: &Bytes, asked: bool) {
        let SessionState::Confirmed(mut up) = std::mem::replace(&mut self.state, SessionState::Terminated)
        else {
            return;
        };
        up.dialog.refresh(&request.message);
        self.send_2xx(cx, &mut up, request, Some(sdp), asked);
        if asked {
            self.offer_answer = OfferAnswerState::LocalOfferInResponse;
        }
        self.state = SessionState::Confirmed(up);
    }

    fn accept_update(&mut self, cx: &mut Cx<'_>, request: &ServerRequest, sdp: Option<&Bytes>) {
        let (up, timer, now) =
            (matches!(self.state, SessionState::Confirmed(_)), self.peer.supports_timer, cx.now);
        let mut refresh = self.timer;
        let Some(dialog) = self.dialog(request.message.from_tag()) else {
            return cx.respond_status(request, 481);
        };
        dialog.refresh(&request.message);
        let dialog = &*dialog;
        let reply = Reply { body: sdp.map(|sdp| (SDP, sdp.as_ref())), ..Reply::new(200) };
        cx.respond(request, "", reply, |lines, core| {
            contact_lines(lines, dialog, &core.config.allow);
            if up {
                refresh.negotiate(now, &core.config, &request.message, timer, lines);
            }
        });
        self.timer = refresh;
    }
}
