//! Reliable provisional responses and PRACK (RFC 3262), on both sides.

use std::collections::VecDeque;

use base::Instant;
use bytes::Bytes;

use super::accept::InitialOffer;
use super::state::{Intent, OfferAnswerState, Session, SessionState};
use super::{SessionEvent, Termination};
use crate::endpoint::{Cx, ServerRequest};
use crate::transaction::{ClientId, Retransmission};
use crate::{HeaderName, Message, Reply};

/// Our reliable provisional responses to one INVITE.
#[derive(Debug)]
pub(crate) struct Reliable {
    /// The INVITE requires 100rel.
    pub(crate) required: bool,
    /// The INVITE supports 100rel.
    pub(crate) supported: bool,
    /// The next RSeq.
    pub(crate) next: u32,
    pub(crate) outstanding: Option<Outstanding>,
    /// Status and SDP of the responses that wait for the PRACK of the previous one.
    pub(crate) queue: VecDeque<(u16, Option<Bytes>)>,
}

/// A reliable provisional response without PRACK.
#[derive(Debug)]
pub(crate) struct Outstanding {
    rseq: u32,
    bytes: Bytes,
    resend: Retransmission,
    until: Instant,
}

/// Maximum number of queued provisional responses.
const MAX_QUEUED: usize = 8;

impl Reliable {
    pub(crate) fn enqueue(&mut self, status: u16, sdp: Option<Bytes>) {
        if self.queue.len() < MAX_QUEUED {
            self.queue.push_back((status, sdp));
        }
    }

    pub(crate) fn next_rseq(&mut self) -> u32 {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        number
    }

    pub(crate) fn sent(&mut self, cx: &Cx<'_>, rseq: u32, bytes: Bytes) {
        let timer_values = cx.core.transactions.timer_values;
        let resend = Retransmission::first(cx.now, timer_values.t1);
        self.outstanding = Some(Outstanding { rseq, bytes, resend, until: cx.now + timer_values.timeout });
    }
}

impl super::accept::Ringing {
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let reliable = self.reliable.outstanding.as_ref().map(|out| out.resend.at.min(out.until));
        let last = self.last.as_ref().map(|(_, at)| *at);
        reliable.into_iter().chain(last).min()
    }
}

impl Session {
    /// Send PRACK for a reliable provisional response.
    pub(crate) fn send_prack(&mut self, cx: &mut Cx<'_>, rack: (u32, u32), tag: Box<str>) {
        self.send_request(cx, Intent::Prack { rack, tag }, false);
    }

    /// A provisional response to a re-INVITE may be reliable as well.
    pub(crate) fn prack_reinvite(&mut self, cx: &mut Cx<'_>, tx: ClientId, response: &Message) {
        let reinvite = self.pending.iter().any(|p| p.tx == tx && matches!(p.intent, Intent::ReInvite { .. }));
        let reliable = response.tokens(HeaderName::Require).any(|token| token.eq_ignore_ascii_case("100rel"));
        if let (true, true, Some(Ok(rseq))) = (reinvite, reliable, response.number(HeaderName::RSeq)) {
            let rack = (rseq, response.cseq().number);
            let same =
                |intent: &Intent| matches!(intent, Intent::Prack { rack: known, .. } if *known == rack);
            if !self.pending.iter().any(|pending| same(&pending.intent)) {
                self.send_prack(cx, rack, response.to_tag().into());
            }
        }
    }

    /// The peer's PRACK.
    pub(crate) fn on_prack(&mut self, cx: &mut Cx<'_>, request: ServerRequest) {
        let SessionState::InviteReceived(ringing) = &mut self.state else {
            return cx.respond_status(&request, 481);
        };
        let cseq = ringing.invite.message.cseq().number;
        let fits = |out: &Outstanding| rack(&request.message) == Some((out.rseq, cseq));
        if !ringing.reliable.outstanding.as_ref().is_some_and(fits) {
            return cx.respond_status(&request, 481);
        }
        let Ok(sdp) = request.message.sdp() else { return cx.reject_body(&request) };
        ringing.reliable.outstanding = None;
        match (&ringing.initial_offer, sdp) {
            (InitialOffer::LocalSent, answer) => {
                // The answer to the offer in our provisional response; without one the offer stays unanswered until ACK.
                ringing.initial_offer = InitialOffer::Complete;
                self.offer_answer = OfferAnswerState::Stable;
                cx.respond(&request, "", Reply::new(200), |_, _| {});
                if answer.is_some() {
                    self.remote_sdp.clone_from(&answer);
                    cx.event(self.id, SessionEvent::Confirmed { sdp: answer });
                }
            }
            (InitialOffer::Complete, Some(offer))
                if matches!(self.offer_answer, OfferAnswerState::Stable) =>
            {
                self.remote_sdp = Some(offer.clone());
                self.offer_answer = OfferAnswerState::RemoteOffer(request);
                cx.event(self.id, SessionEvent::Offered { sdp: Some(offer) });
            }
            (
                InitialOffer::Complete
                | InitialOffer::Received
                | InitialOffer::AnsweredUnreliably(_)
                | InitialOffer::Requested,
                _,
            ) => {
                cx.respond(&request, "", Reply::new(200), |_, _| {});
            }
        }
        self.after_prack(cx);
    }

    /// Send the next response that waited for the PRACK.
    fn after_prack(&mut self, cx: &mut Cx<'_>) {
        let SessionState::InviteReceived(ringing) = &mut self.state else { return };
        if let Some(super::accept::PendingAccept(sdp)) = ringing.accept.take() {
            self.accept(cx, sdp);
        } else if let Some((status, sdp)) = ringing.reliable.queue.pop_front() {
            self.progress(cx, status, sdp);
        } else {
            self.offer_if_queued(cx);
        }
    }

    pub(crate) fn tick_reliable(&mut self, cx: &mut Cx<'_>) {
        let timeout = cx.core.transactions.timer_values.timeout;
        let SessionState::InviteReceived(ringing) = &mut self.state else { return };
        let tx = ringing.invite.tx;
        if let Some((bytes, at)) = &mut ringing.last
            && *at <= cx.now
        {
            *at = cx.now + super::accept::PROVISIONAL_INTERVAL;
            cx.core.transactions.retransmit(tx, bytes, cx.out);
        }
        let Some(out) = &mut ringing.reliable.outstanding else { return };
        if out.until <= cx.now {
            // Never acknowledged: reject the INVITE with 5xx (RFC 3262 §3).
            let tag = ringing.dialog.local_tag.clone();
            let invite = ringing.invite.clone();
            cx.respond(&invite, &tag, Reply::new(504), |_, _| {});
            self.terminate(cx, Termination::DialogGone);
        } else if out.resend.at <= cx.now {
            out.resend = out.resend.next(cx.now, timeout);
            cx.core.transactions.retransmit(tx, &out.bytes, cx.out);
        }
    }
}

/// RSeq and CSeq number of RAck, if its method is INVITE (RFC 3262 §7.2).
fn rack(prack: &Message) -> Option<(u32, u32)> {
    let mut parts = prack.header(HeaderName::RAck)?.split_ascii_whitespace();
    let numbers = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    (parts.next() == Some("INVITE") && parts.next().is_none()).then_some(numbers)
}
