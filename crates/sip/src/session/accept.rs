//! UAS side of an INVITE: provisional responses, and the 2xx with its retransmission until ACK (RFC 3261 §13.3).

use std::collections::VecDeque;
use std::time::Duration;

use base::Instant;
use bytes::Bytes;

use super::prack::Reliable;
use super::state::{OfferAnswerState, Session, SessionState, Unacked, Up};
use super::{SessionEvent, SessionId, Termination};
use crate::body::SDP;
use crate::dialog::Dialog;
use crate::endpoint::{Cx, ServerRequest, contact_lines};
use crate::transaction::Retransmission;
use crate::{HeaderName, Headers, Message, Reply};

/// State of an incoming INVITE before our final response.
#[derive(Debug)]
pub(crate) struct Ringing {
    pub(crate) dialog: Dialog,
    pub(crate) invite: ServerRequest,
    pub(crate) initial_offer: InitialOffer,
    pub(crate) reliable: Reliable,
    /// A 200 that waits for the outstanding PRACK (RFC 3262 §3).
    pub(crate) accept: Option<PendingAccept>,
    /// The last unreliable provisional response, repeated every minute so that no proxy on the path times out (RFC 3261 §13.3.1.1).
    pub(crate) last: Option<(Bytes, Instant)>,
}

/// A 200 that waits, with its SDP.
#[derive(Debug)]
pub(crate) struct PendingAccept(pub(crate) Option<Bytes>);

/// State of the offer/answer exchange that the INVITE started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum InitialOffer {
    /// The INVITE carried an offer.
    Received,
    /// An unreliable provisional response carried our answer, which the 200 must repeat.
    AnsweredUnreliably(Bytes),
    /// The exchange is complete: a reliable provisional response was part of it.
    Complete,
    /// The INVITE carried no offer: we make it.
    Requested,
    /// Our offer was sent in a reliable provisional response.
    LocalSent,
}

/// Interval at which an unreliable provisional response is repeated.
pub(crate) const PROVISIONAL_INTERVAL: Duration = Duration::from_secs(60);

/// Create the session of an INVITE whose transaction exists, and send 100.
pub(crate) fn receive(cx: &mut Cx<'_>, id: SessionId, invite: ServerRequest) -> Session {
    let local_tag = cx.core.random_id(b'd');
    let dialog = Dialog::answering(&invite.message, invite.hop, local_tag);
    let key = super::connect::dialog_key(cx, &dialog);
    let sdp = invite.message.sdp().unwrap_or_default();
    let has_100rel =
        |name: HeaderName| invite.message.tokens(name).any(|token| token.eq_ignore_ascii_case("100rel"));
    let reliable = Reliable {
        required: has_100rel(HeaderName::Require),
        supported: has_100rel(HeaderName::Supported),
        next: 1 + cx.below(1 << 16) as u32,
        outstanding: None,
        queue: VecDeque::new(),
    };
    let initial_offer = if sdp.is_some() { InitialOffer::Received } else { InitialOffer::Requested };
    cx.respond(&invite, "", Reply::new(100), |_, _| {});
    let request = invite.message.clone();
    let ringing = Ringing { dialog, invite, initial_offer, reliable, accept: None, last: None };
    let mut session = Session::new(id, key, SessionState::InviteReceived(Box::new(ringing)), false);
    session.remote_sdp = sdp;
    session.update_peer_capabilities(&request);
    session
}

impl Session {
    /// See [`crate::Endpoint::progress`].
    pub(crate) fn progress(&mut self, cx: &mut Cx<'_>, status: u16, sdp: Option<Bytes>) {
        let SessionState::InviteReceived(ringing) = &mut self.state else { return };
        if ringing.accept.is_some() || !(101..200).contains(&status) {
            return;
        }
        let reliable = ringing.reliable.required || (ringing.reliable.supported && sdp.is_some());
        if reliable && ringing.reliable.outstanding.is_some() {
            return ringing.reliable.enqueue(status, sdp);
        }
        let body = match (&ringing.initial_offer, sdp) {
            (InitialOffer::Received | InitialOffer::AnsweredUnreliably(_), Some(sdp)) => {
                ringing.initial_offer = if reliable {
                    InitialOffer::Complete
                } else {
                    InitialOffer::AnsweredUnreliably(sdp.clone())
                };
                self.local_sdp = Some(sdp.clone());
                Some(sdp)
            }
            (InitialOffer::Requested, Some(sdp)) if reliable => {
                ringing.initial_offer = InitialOffer::LocalSent;
                self.offer_answer = OfferAnswerState::LocalOfferInResponse;
                self.local_sdp = Some(sdp.clone());
                Some(sdp)
            }
            // An offer in a response that may be lost would never be answered (RFC 3262 §5); a completed exchange is not repeated.
            (InitialOffer::Requested | InitialOffer::Complete | InitialOffer::LocalSent, _)
            | (InitialOffer::Received | InitialOffer::AnsweredUnreliably(_), None) => None,
        };
        let rseq = reliable.then(|| ringing.reliable.next_rseq());
        let reply = Reply { body: body.as_deref().map(|sdp| (SDP, sdp)), ..Reply::new(status) };
        let dialog = &ringing.dialog;
        let bytes = cx.respond(&ringing.invite, &dialog.local_tag, reply, |lines, core| {
            contact_lines(lines, dialog, &core.config.allow);
            if let Some(rseq) = rseq {
                lines.add("Require", "100rel").add("RSeq", rseq);
            }
        });
        match rseq {
            Some(rseq) => ringing.reliable.sent(cx, rseq, bytes),
            None => ringing.last = Some((bytes, cx.now + PROVISIONAL_INTERVAL)),
        }
    }

    /// See [`crate::Endpoint::accept`].
    pub(crate) fn accept(&mut self, cx: &mut Cx<'_>, sdp: Option<Bytes>) {
        let SessionState::InviteReceived(ringing) = &mut self.state else { return };
        if ringing.reliable.outstanding.is_some() {
            ringing.reliable.queue.clear();
            ringing.accept = Some(PendingAccept(sdp));
            return;
        }
        let (body, offered) = match ringing.initial_offer.clone() {
            InitialOffer::Received => (sdp, false),
            InitialOffer::AnsweredUnreliably(sdp_shown) => (sdp.or(Some(sdp_shown)), false),
            InitialOffer::Requested => (sdp, true),
            InitialOffer::Complete | InitialOffer::LocalSent => (None, false),
        };
        if let Some(sdp) = &body {
            self.local_sdp = Some(sdp.clone());
        }
        if offered {
            self.offer_answer = OfferAnswerState::LocalOfferInResponse;
        }
        let SessionState::InviteReceived(ringing) =
            std::mem::replace(&mut self.state, SessionState::Terminated)
        else {
            return;
        };
        let Ringing { dialog, invite, .. } = *ringing;
        let mut up = Up { dialog, unacked: None, bye: None };
        self.send_2xx(cx, &mut up, &invite, body.as_ref(), offered);
        self.state = SessionState::Confirmed(Box::new(up));
    }

    /// Send a 2xx to an INVITE, and retransmit it until its ACK arrives, over any transport (RFC 3261 §13.3.1.4).
    pub(crate) fn send_2xx(
        &mut self,
        cx: &mut Cx<'_>,
        up: &mut Up,
        invite: &ServerRequest,
        body: Option<&Bytes>,
        offered: bool,
    ) {
        let reply = Reply { body: body.map(|sdp| (SDP, sdp.as_ref())), ..Reply::new(200) };
        let (session_timer, dialog, now) = (&mut self.timer, &up.dialog, cx.now);
        let timer = self.peer.supports_timer;
        let bytes = cx.respond(invite, &dialog.local_tag, reply, |lines, core| {
            contact_lines(lines, dialog, &core.config.allow);
            session_timer.negotiate(now, &core.config, &invite.message, timer, lines);
        });
        up.unacked = Some(Unacked {
            tx: invite.tx,
            cseq: invite.message.cseq().number,
            bytes,
            resend: Retransmission::first(now, cx.core.transactions.timer_values.t1),
            until: now + cx.core.transactions.timer_values.timeout,
            offered,
        });
    }

    /// An ACK within the dialog: our 2xx has arrived.
    pub(crate) fn on_ack(&mut self, cx: &mut Cx<'_>, ack: &Message) {
        let SessionState::Confirmed(up) = &mut self.state else { return };
        let fits = *up.dialog.remote_tag == *ack.from_tag()
            && up.unacked.as_ref().is_some_and(|unacked| unacked.cseq == ack.cseq().number);
        if !fits {
            return;
        }
        let offered = up.unacked.take().is_some_and(|unacked| unacked.offered);
        let bye = up.bye.take();
        let sdp = if offered { ack.sdp().unwrap_or_default() } else { None };
        if offered {
            self.offer_answer = OfferAnswerState::Stable;
            if sdp.is_some() {
                self.remote_sdp.clone_from(&sdp);
            }
        }
        if let Some(lines) = bye {
            return self.send_bye(cx, lines);
        }
        cx.event(self.id, SessionEvent::Confirmed { sdp });
        self.offer_if_queued(cx);
    }

    pub(crate) fn tick_unacked(&mut self, cx: &mut Cx<'_>) {
        let timer_values = cx.core.transactions.timer_values;
        let SessionState::Confirmed(up) = &mut self.state else { return };
        let Some(unacked) = &mut up.unacked else { return };
        if unacked.until <= cx.now {
            up.unacked = None;
            let ended = if up.bye.is_some() { Termination::Local } else { Termination::NoAck };
            let lines = up.bye.take().unwrap_or_else(Headers::new);
            self.send_final_bye(cx, &lines);
            self.terminate(cx, ended);
        } else if unacked.resend.at <= cx.now {
            unacked.resend = unacked.resend.next(cx.now, timer_values.t2);
            cx.core.transactions.retransmit(unacked.tx, &unacked.bytes, cx.out);
        }
    }
}
