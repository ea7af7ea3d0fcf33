//! Session events of a call: INFO, the end of a session and of a branch; and the expiry of a call's timer.

use model::Cause;
use sip::Termination;

use super::{Call, LegState, PendingReinvite, Phase};
use crate::core::Cx;
use crate::limits;

/// Content types of the INFO requests that are relayed to the other party.
const PASSED_INFO: [&str; 3] =
    ["application/dtmf-relay", "application/dtmf", "application/media_control+xml"];

/// Cause and SIP status for the call record; both `None` if we ended the session.
fn cause_of(ended: &Termination) -> (Option<Cause>, Option<u16>) {
    match ended {
        Termination::Local => (None, None),
        Termination::Bye { .. } => (Some(Cause::Completed), None),
        Termination::Cancelled { .. } => (Some(Cause::Cancelled), None),
        Termination::Refused { status, response: Some(_) } => (Some(Cause::of_sip(*status)), Some(*status)),
        Termination::Refused { response: None, .. } => (Some(Cause::Unreachable), None),
        Termination::NoAck => (Some(Cause::NoAck), None),
        Termination::SessionTimeout => (Some(Cause::SessionExpired), None),
        Termination::DialogGone => (Some(Cause::PeerLost), None),
    }
}

/// Rank of a cause when the most significant failure of several branches is chosen (after RFC 3261 §16.7 step 6); higher wins.
fn weight(cause: Cause) -> u8 {
    if cause == Cause::Declined {
        5
    } else if cause == Cause::Busy {
        4
    } else if cause == Cause::IncompatibleMedia {
        3
    } else if cause == Cause::NoAnswer {
        2
    } else {
        u8::from(cause != Cause::Unreachable)
    }
}

impl Call {
    /// Relay an INFO unchanged to the other party: DTMF of phones that send it in INFO, and fast picture updates. Other content types,
    /// bodies with non-printable or non-ASCII bytes, and bodies longer than [`limits::INFO_BYTES`] are dropped.
    pub(crate) fn pass_info(&mut self, cx: &mut Cx<'_>, index: usize, content_type: &str, body: &[u8]) {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        let known = PASSED_INFO.iter().any(|passed| passed.eq_ignore_ascii_case(kind));
        let clean = body.iter().all(|b| matches!(b, b'\t' | b'\r' | b'\n' | b' '..=b'~'));
        if !known || !clean || body.len() > limits::INFO_BYTES {
            return;
        }
        if let Some(other) = self.partner(index).and_then(|i| self.leg(i)) {
            cx.core.endpoint.info(cx.now, other.session, content_type, body, &mut cx.core.sip_out);
        }
    }

    pub(crate) fn ended(&mut self, cx: &mut Cx<'_>, index: usize, ended: &Termination) {
        let (cause, status) = cause_of(ended);
        let was_let_go = self.leg(index).is_some_and(|leg| leg.state == LegState::Terminating);
        if let Some(leg) = self.legs.get_mut(index) {
            (leg.state, leg.asking) = (LegState::Terminated, PendingReinvite::No);
        }
        let at = self.time(cx.now);
        if let Some(record) = self.legs.get_mut(index).map(|leg| &mut leg.record) {
            record.ended_at.get_or_insert(at);
            record.cause = record.cause.or(cause);
            record.sip_status = status;
        }
        self.close_stream(cx, index);
        if let Termination::Refused { status: 300..=399, response: Some(response) } = ended {
            self.on_redirect_response(cx, index, response);
        }
        match self.phase {
            Phase::Released { .. } => self.finish_if_done(cx),
            Phase::Dialling if index > 0 => match self.outbound.of_leg(index) {
                Some(way) => self.trunk_leg_ended(cx, way, ended),
                // A leg that we cancelled ourselves: the call has moved on.
                None if was_let_go => {}
                None => self.on_callee_failed(cx, cause, status),
            },
            Phase::TrunkTest => {
                self.test_hears(cx, status.unwrap_or_default());
                if let Some(way) = self.outbound.of_leg(index) {
                    self.trunk_leg_ended(cx, way, ended);
                }
            }
            // A leg that lost the fork has ended: no effect on the call.
            Phase::Bridged(a, b) if index != a && index != b => {}
            Phase::Voicemail(_) | Phase::StoringMessage if index > 0 => {}
            Phase::Announcing(to) if index != to => {}
            Phase::Bridged(..)
            | Phase::InApplication(_)
            | Phase::Voicemail(_)
            | Phase::LoadingAudio(_)
            | Phase::Announcing(_)
            | Phase::StoringMessage
            | Phase::Dialling
            | Phase::RingingDevice(_)
            | Phase::Waiting(_) => self.release(cx, cause.unwrap_or(Cause::Completed)),
        }
    }

    /// A ringing phone refused: the call continues while another one rings, unless the response is a global failure (6xx).
    fn on_callee_failed(&mut self, cx: &mut Cx<'_>, cause: Option<Cause>, status: Option<u16>) {
        let cause = cause.unwrap_or(Cause::Unreachable);
        match status {
            Some(600..) => self.on_no_answer(cx, cause),
            Some(_) | None => self.on_branch_failed(cx, cause),
        }
    }

    /// A callee leg or an outbound attempt failed: the call continues while another branch may answer. A carrier's 6xx is handled here too: it
    /// applies to one number, and carriers send it for numbers that they do not serve.
    pub(crate) fn on_branch_failed(&mut self, cx: &mut Cx<'_>, cause: Cause) {
        let heavier = |before| if weight(cause) > weight(before) { cause } else { before };
        let best_cause = self.best_cause.map_or(cause, heavier);
        self.best_cause = Some(best_cause);
        if !self.is_rung() && !self.has_more_targets(cx) {
            self.on_no_answer(cx, best_cause);
        }
    }

    pub(crate) fn set_timer(&mut self, cx: &mut Cx<'_>, due: base::Instant) {
        cx.core.timers.cancel(self.timer.take());
        self.timer = Some(cx.core.timers.set(due, self.key));
    }

    pub(crate) fn call_timer(&mut self, cx: &mut Cx<'_>) {
        self.timer = None;
        if self.on_flow_timeout(cx) {
            return;
        }
        match self.phase {
            Phase::Waiting(_) => self.release(cx, Cause::NoRegisteredDevice), // S48
            Phase::RingingDevice(_) => self.release(cx, Cause::NoAnswer),
            Phase::Dialling => self.on_ring_timeout(cx),
            Phase::TrunkTest => self.release(cx, Cause::NoAnswer),
            Phase::Bridged(..) | Phase::InApplication(_) => self.release(cx, Cause::MaxDuration), // S30
            Phase::Voicemail(_) => self.on_voicemail_timer(cx),
            Phase::LoadingAudio(_) => self.release(cx, Cause::AudioMissing),
            Phase::Announcing(_) => self.release(cx, Cause::Completed),
            Phase::StoringMessage => self.release(cx, Cause::Internal),
            Phase::Released { .. } => self.on_release_timeout(cx),
        }
    }
}
