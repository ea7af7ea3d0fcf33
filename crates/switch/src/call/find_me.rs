//! Follow-me: an extension rings several numbers, one after the other or all at once. The first callee to answer gets the call. Forwarding and
//! follow-me settings of those numbers are not applied.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use base::Instant;
use model::dialplan::{self, CallOrigin, DialContext, Route};
use model::{Cause, Extension, FollowMe, FollowMode, FollowStep};

use super::LegState;
use super::diversion::{Diversion, DiversionReason};
use crate::call::Call;
use crate::core::Cx;
use crate::trunk::AttemptId;

/// A follow-me in progress.
#[derive(Clone, Debug)]
pub(crate) struct RingSequence {
    extension: Arc<Extension>,
    mode: FollowMode,
    /// Steps that have not been rung yet.
    left: VecDeque<FollowStep>,
    /// Ringing branches, each with its deadline.
    ringing: Vec<(Branch, Instant)>,
}

/// A ringing branch of a follow-me.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Branch {
    /// Index of a leg to a registered contact.
    Leg(usize),
    /// An outbound attempt, independent of the carrier host that it currently tries.
    Outbound(AttemptId),
}

impl Call {
    /// Start the follow-me of an extension.
    pub(crate) fn follow(&mut self, cx: &mut Cx<'_>, extension: &Arc<Extension>, follow_me: FollowMe) {
        let count = follow_me.numbers.len();
        let how = match follow_me.mode {
            FollowMode::Sequential => "one after the other",
            FollowMode::Simultaneous => "all at once",
        };
        self.push_trace("follow_me", format!("{} is looked for at {count} numbers, {how}", extension.number));
        let ring_sequence = RingSequence {
            extension: Arc::clone(extension),
            mode: follow_me.mode,
            left: follow_me.numbers.into(),
            ringing: Vec::new(),
        };
        self.routing.ring_sequence = Some(ring_sequence);
        self.ring_next(cx);
    }

    /// Ring the next number of a follow-me (sequential), or all that are left (simultaneous). If nothing rings after that, the call is not answered.
    fn ring_next(&mut self, cx: &mut Cx<'_>) {
        loop {
            let Some(ring_sequence) = self.ring_sequence() else { return };
            if ring_sequence.mode == FollowMode::Sequential && !ring_sequence.ringing.is_empty() {
                break;
            }
            let extension = Arc::clone(&ring_sequence.extension);
            let Some(step) = ring_sequence.left.pop_front() else { break };
            let begin = self.legs.len();
            let way = self.ring_step(cx, &extension, &step);
            let end = self.legs.len();
            let until = cx.now.instant + Duration::from_secs(u64::from(step.ring_seconds));
            let Some(ring_sequence) = self.ring_sequence() else { return };
            match way {
                Some(way) => ring_sequence.ringing.push((Branch::Outbound(way), until)),
                None => ring_sequence.ringing.extend((begin..end).map(|leg| (Branch::Leg(leg), until))),
            }
        }
        let Some(ring_sequence) = self.ring_sequence() else { return };
        match ring_sequence.ringing.iter().map(|(_, until)| *until).min() {
            Some(due) => self.set_timer(cx, due),
            None => {
                let cause = self.best_cause.unwrap_or(Cause::Unreachable);
                self.on_no_answer(cx, cause);
            }
        }
    }

    fn ring_sequence(&mut self) -> Option<&mut RingSequence> {
        self.routing.ring_sequence.as_mut()
    }

    /// Ring one number of a follow-me, under the same policy and limits as if the extension forwarded to it. Returns the outbound attempt if the
    /// number is routed to a trunk.
    fn ring_step(
        &mut self,
        cx: &mut Cx<'_>,
        extension: &Arc<Extension>,
        step: &FollowStep,
    ) -> Option<AttemptId> {
        if step.number.as_str() == extension.number.as_str() {
            let number = extension.number.as_str();
            let rang = self.ring_phones(cx, &extension.username, number, None);
            self.note_failure(rang.err());
            return None;
        }
        if let Err(cause) = self.check_diversion(cx, extension) {
            self.note_failure(Some(cause));
            return None;
        }
        let asker = DialContext { origin: CallOrigin::Forward, permissions: extension.dial_permissions };
        let decision = dialplan::route(&cx.core.directory, asker, step.number.as_str());
        self.record.trace.extend(decision.trace);
        let (from, to) = (extension.number.to_string(), step.number.to_string());
        let step = Diversion { from, to, why: DiversionReason::FollowMe };
        if let Route::Trunk(outside) = decision.route {
            let by = Some(Arc::clone(extension));
            let rang = self.start_outbound_attempt(cx, outside, by, Some(step));
            self.note_failure(rang.as_ref().err().copied());
            return rang.ok();
        }
        self.ring_route(cx, &decision.route, &step);
        None
    }

    /// Ring a local target of a follow-me: an extension or a user name.
    fn ring_route(&mut self, cx: &mut Cx<'_>, route: &Route, way: &Diversion) {
        let rang = match route {
            Route::Extension(extension) => {
                let had = self.routing.visited_extensions.contains(&extension.id);
                let in_a_call = !extension.call_waiting && cx.core.is_busy(&extension.username);
                if had || extension.do_not_disturb || in_a_call {
                    let why = if had { "has had this call already" } else { "takes no call now" };
                    return self.push_trace("follow_me", format!("{} {why}", extension.number));
                }
                let number = extension.number.as_str();
                self.ring_phones(cx, &extension.username, number, Some(way))
            }
            Route::Username(username) => self.ring_phones(cx, username, username, Some(way)),
            // An application is not a target; `ring_step` has handled a trunk.
            Route::Application(_) | Route::Trunk(_) => Err(Cause::Refused),
            Route::Refused(cause) => {
                self.push_trace("follow_me", format!("{} is not rung: {}", way.to, cause.code()));
                Err(*cause)
            }
        };
        self.note_failure(rang.err());
    }

    /// A number of a follow-me did not ring: keep its cause for the caller, unless there is one already.
    fn note_failure(&mut self, cause: Option<Cause>) {
        self.best_cause = self.best_cause.or(cause);
    }

    /// Ring timer of a call in [`super::Phase::Dialling`]: branches past their deadline are cancelled, and the next numbers are rung.
    pub(crate) fn on_ring_timeout(&mut self, cx: &mut Cx<'_>) {
        let Some(ring_sequence) = self.ring_sequence() else {
            return self.on_no_answer(cx, Cause::NoAnswer);
        };
        let over: Vec<Branch> = ring_sequence
            .ringing
            .iter()
            .filter(|(_, due)| *due <= cx.now.instant)
            .map(|(branch, _)| *branch)
            .collect();
        ring_sequence.ringing.retain(|(_, due)| cx.now.instant < *due);
        for branch in over {
            match branch {
                Branch::Leg(index) => self.cancel_leg(cx, index, Cause::NoAnswer),
                Branch::Outbound(way) => self.cancel_outbound(cx, way, Cause::NoAnswer),
            }
        }
        self.best_cause = Some(Cause::NoAnswer);
        self.ring_next(cx);
    }

    /// Cancel an outbound attempt, and its leg if it has one.
    fn cancel_outbound(&mut self, cx: &mut Cx<'_>, way: AttemptId, cause: Cause) {
        let leg = self.outbound.leg_of(way);
        self.drop_attempt(cx, way);
        if let Some(index) = leg {
            self.cancel_leg(cx, index, cause);
        }
    }

    /// No branch can answer any more: whether a follow-me continues. If so, its next numbers are rung.
    pub(crate) fn has_more_targets(&mut self, cx: &mut Cx<'_>) -> bool {
        let Some(ring_sequence) = &mut self.routing.ring_sequence else { return false };
        let rings = |branch: Branch| match branch {
            Branch::Leg(index) => self
                .legs
                .get(index)
                .is_some_and(|leg| matches!(leg.state, LegState::Trying | LegState::Ringing)),
            Branch::Outbound(way) => self.outbound.has(way),
        };
        ring_sequence.ringing.retain(|(branch, _)| rings(*branch));
        if ring_sequence.ringing.is_empty() && ring_sequence.left.is_empty() {
            return false;
        }
        self.ring_next(cx);
        true
    }
}
