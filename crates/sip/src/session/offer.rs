//! Offers within a dialog, ours and theirs, by re-INVITE (RFC 3261 §14) and UPDATE (RFC 3311).

use bytes::Bytes;

use super::accept::First;
use super::connect::{Cancel, SDP};
use super::state::{Exchange, Intent, Session, Stage, Why};
use super::{SessionEvent, connect};
use crate::endpoint::{Cx, Sending, Served, contact_lines};
use crate::transaction::ClientId;
use crate::{Message, Method, Reply, sdp_of};

impl Session {
    // ---- ours ----------------------------------------------------------------------------------------------------------------

    /// See [`crate::Endpoint::offer`].
    pub(crate) fn offer(&mut self, cx: &mut Cx<'_>, sdp: Bytes) {
        self.queued = Some(sdp);
        self.offer_if_queued(cx);
    }

    /// Send the offer that waits, if its turn has come.
    pub(crate) fn offer_if_queued(&mut self, cx: &mut Cx<'_>) {
        if self.queued.is_none() || !matches!(self.exchange, Exchange::Idle) {
            return;
        }
        let by_update = match &self.stage {
            Stage::Up(up) if up.unacked.is_none() => false,
            Stage::Ringing(ringing)
                if self.peer.updates
                    && ringing.first == First::Done
                    && ringing.accept.is_none()
                    && ringing.reliable.outstanding.is_none() =>
            {
                true
            }
            Stage::Calling(calling)
                if self.peer.updates
                    && matches!(calling.cancel, Cancel::No)
                    && matches!(calling.forks.as_slice(), [connect::Fork { settled: true, .. }]) =>
            {
                true
            }
            Stage::Up(_) | Stage::Ringing(_) | Stage::Calling(_) | Stage::Closing(_) | Stage::Over => return,
        };
        if let Some(sdp) = self.queued.take() {
            self.send_offer(cx, sdp, by_update, Why::Offer(0));
        }
    }

    /// Put an offer on the table.
    pub(crate) fn send_offer(&mut self, cx: &mut Cx<'_>, sdp: Bytes, by_update: bool, why: Why) {
        self.exchange = Exchange::Ours;
        let intent =
            if by_update { Intent::Update { sdp: Some(sdp), why } } else { Intent::ReInvite { sdp, why } };
        if !self.request(cx, intent, false) {
            self.exchange = Exchange::Idle;
            if matches!(why, Why::Offer(_)) {
                cx.event(self.id, SessionEvent::OfferRefused { status: 503 });
            }
        }
    }

    /// The final answer to a re-INVITE of ours.
    pub(crate) fn on_reinvite_answer(
        &mut self,
        cx: &mut Cx<'_>,
        tx: ClientId,
        answer: Result<&Message, u16>,
        sdp: Bytes,
        why: Why,
    ) {
        let response = match answer {
            Ok(response) if response.status().is_some_and(|status| status < 300) => response,
            Ok(_) | Err(_) => return self.on_offer_refused(cx, answer, Some(sdp), false, why),
        };
        let (id, auth) = (self.id, self.auth.take());
        if let Some(dialog) = self.only_dialog() {
            dialog.refresh(response);
            let cseq = response.cseq().number;
            let what = Sending { method: &Method::Ack, cseq, max_forwards: 70, body: None };
            cx.acknowledge(dialog, tx, what, Some(id), auth.as_ref());
        }
        self.on_offer_accepted(cx, response, Some(sdp), why);
    }

    /// The final answer to an UPDATE of ours.
    pub(crate) fn on_update_answer(
        &mut self,
        cx: &mut Cx<'_>,
        answer: Result<&Message, u16>,
        sdp: Option<Bytes>,
        why: Why,
    ) {
        match answer {
            Ok(response) if response.status().is_some_and(|status| status < 300) => {
                if let Some(dialog) = self.only_dialog() {
                    dialog.refresh(response);
                }
                self.on_offer_accepted(cx, response, sdp, why);
            }
            Ok(_) | Err(_) => self.on_offer_refused(cx, answer, sdp, true, why),
        }
    }

    fn on_offer_accepted(&mut self, cx: &mut Cx<'_>, response: &Message, sdp: Option<Bytes>, why: Why) {
        self.learn(response);
        if matches!(self.stage, Stage::Closing(_) | Stage::Over) {
            return;
        }
        if matches!(self.stage, Stage::Up(_)) {
            self.refresh.agreed(cx.now, response);
        }
        if sdp.is_none() {
            return; // a refresh that offered nothing
        }
        if matches!(self.exchange, Exchange::Ours) {
            self.exchange = Exchange::Idle;
        }
        self.local_sdp = sdp;
        let answer = sdp_of(response).unwrap_or_default();
        let changed = answer.is_some() && answer != self.remote_sdp;
        if answer.is_some() {
            self.remote_sdp.clone_from(&answer);
        }
        match (answer, why) {
            (Some(sdp), Why::Offer(_)) => cx.event(self.id, SessionEvent::Answered { sdp }),
            (Some(sdp), Why::Refresh) if changed => cx.event(self.id, SessionEvent::Answered { sdp }),
            (None, Why::Offer(_)) => cx.event(self.id, SessionEvent::OfferRefused { status: 488 }),
            (Some(_) | None, Why::Refresh) => {}
        }
        self.offer_if_queued(cx);
    }

    fn on_offer_refused(
        &mut self,
        cx: &mut Cx<'_>,
        answer: Result<&Message, u16>,
        sdp: Option<Bytes>,
        by_update: bool,
        why: Why,
    ) {
        if matches!(self.stage, Stage::Closing(_) | Stage::Over) {
            return;
        }
        let status = answer.map_or_else(|status| status, |response| response.status().unwrap_or(500));
        if sdp.is_some() && matches!(self.exchange, Exchange::Ours) {
            self.exchange = Exchange::Idle;
        }
        // While the call is being set up, its INVITE tells whether the dialog lives.
        if matches!(status, 408 | 481) && matches!(self.stage, Stage::Up(_)) {
            return self.lose(cx, status);
        }
        if let (422, Ok(response)) = (status, answer)
            && self.refresh.lengthen(response)
        {
            if let Some(sdp) = sdp {
                return self.send_offer(cx, sdp, by_update, why);
            }
            self.request(cx, Intent::Update { sdp, why }, false);
            return;
        }
        match (why, sdp) {
            (Why::Refresh, _) => self.refresh_failed(cx, answer),
            (Why::Offer(tries), Some(sdp)) => {
                if !self.retry_after_glare(cx, answer, sdp, tries) {
                    cx.event(self.id, SessionEvent::OfferRefused { status });
                }
            }
            (Why::Offer(_), None) => {}
        }
        self.offer_if_queued(cx);
    }

    // ---- theirs --------------------------------------------------------------------------------------------------------------

    /// The peer's re-INVITE.
    pub(crate) fn on_reinvite(&mut self, cx: &mut Cx<'_>, served: Served) {
        let Stage::Up(up) = &mut self.stage else {
            return match self.stage {
                Stage::Ringing(_) => cx.later(&served),
                Stage::Calling(_) | Stage::Up(_) | Stage::Closing(_) | Stage::Over => cx.refuse(&served, 481),
            };
        };
        if up.bye.is_some() {
            return cx.refuse(&served, 487);
        }
        let Some(sdp) = self.may_offer(cx, &served) else { return };
        let Stage::Up(up) = &mut self.stage else { return };
        if up.unacked.take().is_some() {
            // Who begins anew has our 2xx, though its ACK was lost.
            cx.event(self.id, SessionEvent::Confirmed { sdp: None });
        }
        cx.refuse(&served, 100);
        self.learn(&served.request);
        self.make_room();
        self.exchange = if sdp.is_some() { Exchange::Theirs(served) } else { Exchange::Asked(served) };
        cx.event(self.id, SessionEvent::Offered { sdp });
    }

    /// The peer's UPDATE.
    pub(crate) fn on_update(&mut self, cx: &mut Cx<'_>, served: Served) {
        let settled = match &self.stage {
            Stage::Calling(calling) => calling
                .forks
                .iter()
                .find(|fork| *fork.dialog.remote_tag == *served.request.from_tag())
                .is_some_and(|fork| fork.settled),
            Stage::Ringing(ringing) => ringing.first == First::Done,
            Stage::Up(_) => true,
            Stage::Closing(_) | Stage::Over => return cx.refuse(&served, 481),
        };
        if served.request.body().is_empty() {
            if !Self::interval_fits(cx, &served) {
                return;
            }
            self.learn(&served.request);
            return self.accept_update(cx, &served, None);
        }
        if !settled {
            // The offer of the INVITE has no answer yet: theirs when we ring, ours when they do (RFC 3311 §5.2).
            return match &self.stage {
                Stage::Ringing(ringing) if matches!(ringing.first, First::Offered | First::Shown(_)) => {
                    cx.later(&served);
                }
                Stage::Ringing(_) | Stage::Calling(_) | Stage::Up(_) | Stage::Closing(_) | Stage::Over => {
                    cx.refuse(&served, 491);
                }
            };
        }
        let Some(sdp) = self.may_offer(cx, &served) else { return };
        self.learn(&served.request);
        self.make_room();
        self.exchange = Exchange::Theirs(served);
        cx.event(self.id, SessionEvent::Offered { sdp });
    }

    /// Whether the peer may make the offer that this request carries; if not, it is refused here. Tells the offer.
    #[allow(clippy::option_option)] // refused, or without a description, or with one
    fn may_offer(&mut self, cx: &mut Cx<'_>, served: &Served) -> Option<Option<Bytes>> {
        match &self.exchange {
            Exchange::Ours | Exchange::Carried => {
                cx.refuse(served, 491);
                return None;
            }
            Exchange::Theirs(_) | Exchange::Asked(_) => {
                cx.later(served);
                return None;
            }
            Exchange::Idle | Exchange::Glare { .. } => {}
        }
        if !Self::interval_fits(cx, served) {
            return None;
        }
        match sdp_of(&served.request) {
            Ok(sdp) => Some(sdp),
            Err(status) => {
                cx.refuse(served, status);
                None
            }
        }
    }

    /// An offer of ours that waits after 491 goes behind the peer's.
    fn make_room(&mut self) {
        if let Exchange::Glare { sdp, .. } = std::mem::replace(&mut self.exchange, Exchange::Idle) {
            self.queued.get_or_insert(sdp);
        }
    }

    /// See [`crate::Endpoint::answer`].
    pub(crate) fn answer(&mut self, cx: &mut Cx<'_>, answer: Result<Bytes, u16>) {
        let (served, asked) = match std::mem::replace(&mut self.exchange, Exchange::Idle) {
            Exchange::Theirs(served) => (served, false),
            Exchange::Asked(served) => (served, true),
            other @ (Exchange::Idle | Exchange::Ours | Exchange::Carried | Exchange::Glare { .. }) => {
                self.exchange = other;
                return;
            }
        };
        match answer {
            Ok(sdp) => {
                self.local_sdp = Some(sdp.clone());
                if !asked {
                    self.remote_sdp = sdp_of(&served.request).unwrap_or_default();
                }
                match served.request.method() {
                    Method::Invite => self.accept_reinvite(cx, &served, &sdp, asked),
                    Method::Prack => {
                        let reply = Reply { body: Some((SDP, &sdp)), ..Reply::new(200) };
                        cx.respond(&served, "", reply, |_, _| {});
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
                    | Method::Other(_) => self.accept_update(cx, &served, Some(&sdp)),
                }
            }
            Err(status) => cx.refuse(&served, if (300..700).contains(&status) { status } else { 488 }),
        }
        self.offer_if_queued(cx);
    }

    fn accept_reinvite(&mut self, cx: &mut Cx<'_>, served: &Served, sdp: &Bytes, asked: bool) {
        let Stage::Up(mut up) = std::mem::replace(&mut self.stage, Stage::Over) else { return };
        up.dialog.refresh(&served.request);
        self.succeed(cx, &mut up, served, Some(sdp), asked);
        if asked {
            self.exchange = Exchange::Carried;
        }
        self.stage = Stage::Up(up);
    }

    fn accept_update(&mut self, cx: &mut Cx<'_>, served: &Served, sdp: Option<&Bytes>) {
        let (up, timer, now) = (matches!(self.stage, Stage::Up(_)), self.peer.timer, cx.now);
        let mut refresh = self.refresh;
        let Some(dialog) = self.dialog(served.request.from_tag()) else { return cx.refuse(served, 481) };
        dialog.refresh(&served.request);
        let dialog = &*dialog;
        let reply = Reply { body: sdp.map(|sdp| (SDP, sdp.as_ref())), ..Reply::new(200) };
        cx.respond(served, "", reply, |lines, core| {
            contact_lines(lines, dialog, &core.config.allow);
            if up {
                refresh.agree(now, &core.config, &served.request, timer, lines);
            }
        });
        self.refresh = refresh;
    }
}
