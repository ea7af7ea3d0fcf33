//! Glare (RFC 3261 §14.1): both sides send an offer at once, get 491, and retry after different delays.

use std::time::Duration;

use bytes::Bytes;

use super::state::{OfferAnswerState, OfferReason, Session, SessionState};
use crate::endpoint::{Cx, ServerRequest};
use crate::{HeaderName, Headers, Message, Reply};

/// Number of attempts to send an offer before the user gets 491.
const MAX_TRIES: u8 = 5;

impl Session {
    /// Delay after a 491: 2.1 to 4 s for the owner of the Call-ID, else 0 to 2 s, in steps of 10 ms.
    pub(crate) fn glare_delay(&self, cx: &mut Cx<'_>) -> Duration {
        let steps = if self.caller { 210 + cx.below(191) } else { cx.below(201) };
        Duration::from_millis(steps * 10)
    }

    /// Our offer was rejected. If the rejection is temporary, schedule a retry and return `true`.
    pub(crate) fn retry_after_glare(
        &mut self,
        cx: &mut Cx<'_>,
        answer: Result<&Message, u16>,
        sdp: Bytes,
        tries: u8,
    ) -> bool {
        let Ok(response) = answer else { return false };
        let delay = match (response.status(), response.number(HeaderName::RetryAfter)) {
            (Some(491), _) => self.glare_delay(cx),
            // The peer is still processing another offer (§14.2).
            (Some(500), Some(Ok(seconds @ 0..=10))) => Duration::from_secs(u64::from(seconds)),
            _ => return false,
        };
        if tries + 1 >= MAX_TRIES {
            return false;
        }
        self.offer_answer = OfferAnswerState::Glare { sdp, tries: tries + 1, at: cx.now + delay };
        true
    }

    pub(crate) fn tick_glare(&mut self, cx: &mut Cx<'_>) {
        let OfferAnswerState::Glare { at, .. } = &self.offer_answer else { return };
        if *at > cx.now {
            return;
        }
        let OfferAnswerState::Glare { sdp, tries, .. } =
            std::mem::replace(&mut self.offer_answer, OfferAnswerState::Stable)
        else {
            return;
        };
        let (sdp, tries) = self.pending_offer.take().map_or((sdp, tries), |newer| (newer, 0));
        match &self.state {
            SessionState::Confirmed(up) if up.unacked.is_none() => {
                self.send_offer(cx, sdp, false, OfferReason::User(tries));
            }
            SessionState::Confirmed(_) => self.pending_offer = Some(sdp),
            SessionState::InviteReceived(_) | SessionState::InviteSent(_) => {
                self.send_offer(cx, sdp, true, OfferReason::User(tries));
            }
            SessionState::Terminating(_) | SessionState::Terminated => {}
        }
    }
}

impl Cx<'_> {
    /// Reject a second offer while the first from the same side is pending: 500 with Retry-After of 0 to 10 s (§14.2).
    pub(crate) fn respond_retry_later(&mut self, to: &ServerRequest) {
        let mut lines = Headers::new();
        lines.add("Retry-After", self.below(11));
        self.respond(to, "", Reply::new(500).lines(&lines), |_, _| {});
    }
}
