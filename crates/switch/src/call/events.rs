//! What happens in a session, handed to the verb that it concerns; and what a call's timer means.

use base::Now;
use model::Cause;
use sip::{SessionEvent, SessionId, Termination};

use super::{CallKey, LegState, PendingReinvite, Phase};
use crate::switch::Switch;
use crate::{Output, limits};

/// What an INFO may carry from one party to the other.
const PASSED_INFO: [&str; 3] =
    ["application/dtmf-relay", "application/dtmf", "application/media_control+xml"];

impl Switch {
    pub(crate) fn session_event(
        &mut self,
        now: Now,
        session: SessionId,
        event: SessionEvent,
        out: &mut Vec<Output>,
    ) {
        let Some((key, index)) = self.leg_of(session) else {
            return; // a leg of before a crash, which is only being told goodbye
        };
        match event {
            SessionEvent::Progress { status, sdp, .. } => self.progressed(now, key, index, status, sdp, out),
            SessionEvent::Accepted { sdp, .. } => self.accepted(now, key, index, sdp, out),
            SessionEvent::Confirmed { sdp } => self.confirmed(now, key, index, sdp, out),
            SessionEvent::Offered { sdp } => self.on_offer(now, key, index, sdp, out),
            SessionEvent::Answered { sdp } => self.answered(now, key, index, &sdp, out),
            SessionEvent::OfferRefused { status } => self.offer_refused(now, key, index, status, out),
            SessionEvent::Info { content_type, body } if self.is_in_voicemail(key) => {
                if let Some(digit) = crate::voicemail::key_of_info(&content_type, &body) {
                    self.key_pressed(now, key, digit, crate::voicemail::DtmfSource::Signalling, out);
                }
            }
            SessionEvent::Info { content_type, body } => {
                self.pass_info(now, key, index, &content_type, &body);
            }
            SessionEvent::Ended(ended) => self.ended(now, key, index, &ended, out),
        }
    }

    /// INFO goes to the other party as it came: DTMF of phones that send it so, and a wish for a picture. What else somebody may write
    /// there is nothing that the other phone has to read.
    fn pass_info(&mut self, now: Now, key: CallKey, index: usize, content_type: &str, body: &[u8]) {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        let known = PASSED_INFO.iter().any(|passed| passed.eq_ignore_ascii_case(kind));
        let clean = body.iter().all(|b| matches!(b, b'\t' | b'\r' | b'\n' | b' '..=b'~'));
        if !known || !clean || body.len() > limits::INFO_BYTES {
            return;
        }
        let Some(call) = self.calls.get(key) else { return };
        if let Some(other) = call.partner(index).and_then(|i| call.leg(i)) {
            self.core.endpoint.info(now, other.session, content_type, body, &mut self.core.sip_out);
        }
    }

    fn ended(&mut self, now: Now, key: CallKey, index: usize, ended: &Termination, out: &mut Vec<Output>) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let (cause, status) = cause_of(ended);
        let was_let_go = call.leg(index).is_some_and(|leg| leg.state == LegState::Terminating);
        if let Some(leg) = call.legs.get_mut(index) {
            (leg.state, leg.asking) = (LegState::Terminated, PendingReinvite::No);
        }
        let at = call.time(now);
        if let Some(record) = call.legs.get_mut(index).map(|leg| &mut leg.record) {
            record.ended_at.get_or_insert(at);
            record.cause = record.cause.or(cause);
            record.sip_status = status;
        }
        self.close_stream(key, index, out);
        if let Termination::Refused { status: 300..=399, response: Some(response) } = ended {
            self.on_redirect_response(key, index, response);
        }
        let Some(call) = self.calls.get_mut(key) else { return };
        match call.phase {
            Phase::Released { .. } => self.finish_if_done(now, key, out),
            Phase::Dialling if index > 0 => match call.outbound.of_leg(index) {
                Some(way) => self.trunk_leg_ended(now, key, way, ended, out),
                // One that we let go ourselves: the call is elsewhere by now.
                None if was_let_go => {}
                None => self.on_callee_failed(now, key, cause, status, out),
            },
            Phase::TrunkTest => {
                self.test_hears(now, key, status.unwrap_or_default());
                if let Some(way) = self.calls.get(key).and_then(|call| call.outbound.of_leg(index)) {
                    self.trunk_leg_ended(now, key, way, ended, out);
                }
            }
            // A leg that lost its fork says goodbye: nothing to the call.
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
            | Phase::Waiting(_) => self.release(now, key, cause.unwrap_or(Cause::Completed), out),
        }
    }

    /// One of the phones that ring refused: the call goes on while another rings, unless it speaks for all of them (6xx).
    fn on_callee_failed(
        &mut self,
        now: Now,
        key: CallKey,
        cause: Option<Cause>,
        status: Option<u16>,
        out: &mut Vec<Output>,
    ) {
        let cause = cause.unwrap_or(Cause::Unreachable);
        match status {
            Some(600..) => self.on_no_answer(now, key, cause, out),
            Some(_) | None => self.on_branch_failed(now, key, cause, out),
        }
    }

    /// A phone that rang, or a way outside, will not answer any more: the call goes on while another may. A carrier's 6xx comes here too: it
    /// speaks of one number, and is said of those that the carrier does not serve.
    pub(crate) fn on_branch_failed(&mut self, now: Now, key: CallKey, cause: Cause, out: &mut Vec<Output>) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let heavier = |before| if weight(cause) > weight(before) { cause } else { before };
        let best_cause = call.best_cause.map_or(cause, heavier);
        call.best_cause = Some(best_cause);
        if !call.is_rung() && !self.has_more_targets(now, key, out) {
            self.on_no_answer(now, key, best_cause, out);
        }
    }

    pub(crate) fn set_timer(&mut self, key: CallKey, due: base::Instant) {
        if let Some(call) = self.calls.get_mut(key) {
            self.core.timers.cancel(call.timer.take());
            call.timer = Some(self.core.timers.set(due, key));
        }
    }

    pub(crate) fn call_timer(&mut self, now: Now, key: CallKey, out: &mut Vec<Output>) {
        let Some(call) = self.calls.get_mut(key) else { return };
        call.timer = None;
        if self.on_flow_timeout(now, key, out) {
            return;
        }
        let Some(call) = self.calls.get_mut(key) else { return };
        match call.phase {
            Phase::Waiting(_) => self.release(now, key, Cause::NoRegisteredDevice, out), // S48
            Phase::RingingDevice(_) => self.release(now, key, Cause::NoAnswer, out),
            Phase::Dialling => self.on_ring_timeout(now, key, out),
            Phase::TrunkTest => self.release(now, key, Cause::NoAnswer, out),
            Phase::Bridged(..) | Phase::InApplication(_) => self.release(now, key, Cause::MaxDuration, out), // S30
            Phase::Voicemail(_) => self.on_voicemail_timer(now, key, out),
            Phase::LoadingAudio(_) => self.release(now, key, Cause::AudioMissing, out),
            Phase::Announcing(_) => self.release(now, key, Cause::Completed, out),
            Phase::StoringMessage => self.release(now, key, Cause::Internal, out),
            Phase::Released { .. } => self.on_release_timeout(now, key, out),
        }
    }
}

/// What an end means for the record: `None` where it was ours.
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

/// Which refusal of several says most to the caller (after RFC 3261 §16.7 step 6).
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
