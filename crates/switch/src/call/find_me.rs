//! Follow-me: an extension's owner is looked for at several numbers, one after the other or at all of them at once. The first who answers
//! has the call. What those numbers would do with calls of their own (forwarding, a follow-me) is not done.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use base::{Instant, Now};
use model::dialplan::{self, CallOrigin, DialContext, Route};
use model::{Cause, Extension, FollowMe, FollowMode, FollowStep};

use super::diversion::{Diversion, DiversionReason};
use super::{CallKey, LegState};
use crate::Output;
use crate::switch::Switch;
use crate::trunk::AttemptId;

/// A follow-me that is under way.
#[derive(Clone, Debug)]
pub(crate) struct RingSequence {
    extension: Arc<Extension>,
    mode: FollowMode,
    /// What has not been rung yet.
    left: VecDeque<FollowStep>,
    /// What rings, and until when.
    ringing: Vec<(Branch, Instant)>,
}

/// Something that rings for a follow-me.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Branch {
    /// A phone of the house.
    Leg(usize),
    /// A number outside, whichever of the carriers' hosts is asked.
    Outbound(AttemptId),
}

impl Switch {
    /// Begin to look for the owner of an extension.
    pub(crate) fn follow(
        &mut self,
        now: Now,
        key: CallKey,
        extension: &Arc<Extension>,
        follow_me: FollowMe,
        out: &mut Vec<Output>,
    ) {
        let count = follow_me.numbers.len();
        let how = match follow_me.mode {
            FollowMode::Sequential => "one after the other",
            FollowMode::Simultaneous => "all at once",
        };
        self.push_trace(
            key,
            "follow_me",
            format!("{} is looked for at {count} numbers, {how}", extension.number),
        );
        let ring_sequence = RingSequence {
            extension: Arc::clone(extension),
            mode: follow_me.mode,
            left: follow_me.numbers.into(),
            ringing: Vec::new(),
        };
        if let Some(call) = self.calls.get_mut(key) {
            call.routing.ring_sequence = Some(ring_sequence);
        }
        self.ring_next(now, key, out);
    }

    /// Ring the next number of a follow-me, or all that are left; where none rings any more, nobody took the call.
    fn ring_next(&mut self, now: Now, key: CallKey, out: &mut Vec<Output>) {
        loop {
            let Some(ring_sequence) = self.ring_sequence(key) else { return };
            if ring_sequence.mode == FollowMode::Sequential && !ring_sequence.ringing.is_empty() {
                break;
            }
            let extension = Arc::clone(&ring_sequence.extension);
            let Some(step) = ring_sequence.left.pop_front() else { break };
            let begin = self.calls.get(key).map_or(0, |call| call.legs.len());
            let way = self.ring_step(now, key, &extension, &step, out);
            let end = self.calls.get(key).map_or(0, |call| call.legs.len());
            let until = now.instant + Duration::from_secs(u64::from(step.ring_seconds));
            let Some(ring_sequence) = self.ring_sequence(key) else { return };
            match way {
                Some(way) => ring_sequence.ringing.push((Branch::Outbound(way), until)),
                None => ring_sequence.ringing.extend((begin..end).map(|leg| (Branch::Leg(leg), until))),
            }
        }
        let Some(ring_sequence) = self.ring_sequence(key) else { return };
        match ring_sequence.ringing.iter().map(|(_, until)| *until).min() {
            Some(due) => self.set_timer(key, due),
            None => {
                let cause =
                    self.calls.get(key).and_then(|call| call.best_cause).unwrap_or(Cause::Unreachable);
                self.on_no_answer(now, key, cause, out);
            }
        }
    }

    fn ring_sequence(&mut self, key: CallKey) -> Option<&mut RingSequence> {
        self.calls.get_mut(key)?.routing.ring_sequence.as_mut()
    }

    /// Ring one number of a follow-me, by the same policy and limits as if the extension forwarded to it. The way outside is named, where it
    /// leads there.
    fn ring_step(
        &mut self,
        now: Now,
        key: CallKey,
        extension: &Arc<Extension>,
        step: &FollowStep,
        out: &mut Vec<Output>,
    ) -> Option<AttemptId> {
        if step.number.as_str() == extension.number.as_str() {
            let number = extension.number.as_str();
            let rang = self.ring_phones(now, key, &extension.username, number, None, out);
            self.note_failure(key, rang.err());
            return None;
        }
        if let Err(cause) = self.check_diversion(key, extension) {
            self.note_failure(key, Some(cause));
            return None;
        }
        let asker = DialContext { origin: CallOrigin::Forward, permissions: extension.dial_permissions };
        let decision = dialplan::route(&self.core.directory, asker, step.number.as_str());
        if let Some(call) = self.calls.get_mut(key) {
            call.record.trace.extend(decision.trace);
        }
        let (from, to) = (extension.number.to_string(), step.number.to_string());
        let step = Diversion { from, to, why: DiversionReason::FollowMe };
        if let Route::Trunk(outside) = decision.route {
            let by = Some(Arc::clone(extension));
            let rang = self.start_outbound_attempt(now, key, outside, by, Some(step), out);
            self.note_failure(key, rang.as_ref().err().copied());
            return rang.ok();
        }
        self.ring_route(now, key, &decision.route, &step, out);
        None
    }

    /// Ring what a number of a follow-me leads to inside the house.
    fn ring_route(&mut self, now: Now, key: CallKey, route: &Route, way: &Diversion, out: &mut Vec<Output>) {
        let rang = match route {
            Route::Extension(extension) => {
                let had = self
                    .calls
                    .get(key)
                    .is_some_and(|call| call.routing.visited_extensions.contains(&extension.id));
                let in_a_call = !extension.call_waiting && self.is_busy(&extension.username);
                if had || extension.do_not_disturb || in_a_call {
                    let why = if had { "has had this call already" } else { "takes no call now" };
                    return self.push_trace(key, "follow_me", format!("{} {why}", extension.number));
                }
                let number = extension.number.as_str();
                self.ring_phones(now, key, &extension.username, number, Some(way), out)
            }
            Route::Username(username) => self.ring_phones(now, key, username, username, Some(way), out),
            // Nobody can be met in an application; the outside is rung where it was found.
            Route::Application(_) | Route::Trunk(_) => Err(Cause::Refused),
            Route::Refused(cause) => {
                self.push_trace(key, "follow_me", format!("{} is not rung: {}", way.to, cause.code()));
                Err(*cause)
            }
        };
        self.note_failure(key, rang.err());
    }

    /// A number of a follow-me did not even ring: what the caller is told if nobody else takes the call.
    fn note_failure(&mut self, key: CallKey, cause: Option<Cause>) {
        if let Some(call) = self.calls.get_mut(key) {
            call.best_cause = call.best_cause.or(cause);
        }
    }

    /// The timer of a call that dials: what has rung for its time is let go, and the next numbers are rung.
    pub(crate) fn on_ring_timeout(&mut self, now: Now, key: CallKey, out: &mut Vec<Output>) {
        let Some(ring_sequence) = self.ring_sequence(key) else {
            return self.on_no_answer(now, key, Cause::NoAnswer, out);
        };
        let over: Vec<Branch> = ring_sequence
            .ringing
            .iter()
            .filter(|(_, due)| *due <= now.instant)
            .map(|(branch, _)| *branch)
            .collect();
        ring_sequence.ringing.retain(|(_, due)| now.instant < *due);
        for branch in over {
            match branch {
                Branch::Leg(index) => self.cancel_leg(now, key, index, Cause::NoAnswer, out),
                Branch::Outbound(way) => self.cancel_outbound(now, key, way, Cause::NoAnswer, out),
            }
        }
        if let Some(call) = self.calls.get_mut(key) {
            call.best_cause = Some(Cause::NoAnswer);
        }
        self.ring_next(now, key, out);
    }

    /// Let go of a number outside that rings, or that is still on its way there.
    fn cancel_outbound(
        &mut self,
        now: Now,
        key: CallKey,
        way: AttemptId,
        cause: Cause,
        out: &mut Vec<Output>,
    ) {
        let leg = self.calls.get(key).and_then(|call| call.outbound.leg_of(way));
        self.drop_attempt(key, way);
        if let Some(index) = leg {
            self.cancel_leg(now, key, index, cause, out);
        }
    }

    /// Nobody answers any more of those that were rung: whether a follow-me goes on.
    pub(crate) fn has_more_targets(&mut self, now: Now, key: CallKey, out: &mut Vec<Output>) -> bool {
        let Some(call) = self.calls.get_mut(key) else { return false };
        let Some(ring_sequence) = &mut call.routing.ring_sequence else { return false };
        let rings = |branch: Branch| match branch {
            Branch::Leg(index) => call
                .legs
                .get(index)
                .is_some_and(|leg| matches!(leg.state, LegState::Trying | LegState::Ringing)),
            Branch::Outbound(way) => call.outbound.has(way),
        };
        ring_sequence.ringing.retain(|(branch, _)| rings(*branch));
        if ring_sequence.ringing.is_empty() && ring_sequence.left.is_empty() {
            return false;
        }
        self.ring_next(now, key, out);
        true
    }
}
