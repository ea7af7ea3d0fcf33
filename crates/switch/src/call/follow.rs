//! Follow-me: an extension's owner is looked for at several numbers, one after the other or at all of them at once. The first who answers
//! has the call. What those numbers would do with calls of their own (forwarding, a follow-me) is not done.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use base::{Instant, Now};
use model::dialplan::{self, CallOrigin, DialContext, Route};
use model::{Cause, Extension, FollowMe, FollowMode, FollowStep};

use super::history::{Diversion, Why};
use super::{CallKey, LegState};
use crate::Output;
use crate::exchange::Switch;
use crate::trunk::WayId;

/// A follow-me that is under way.
#[derive(Clone, Debug)]
pub(crate) struct Hunt {
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
    Way(WayId),
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
        self.tell(key, "follow_me", format!("{} is looked for at {count} numbers, {how}", extension.number));
        let hunt = Hunt {
            extension: Arc::clone(extension),
            mode: follow_me.mode,
            left: follow_me.numbers.into(),
            ringing: Vec::new(),
        };
        if let Some(call) = self.calls.get_mut(key) {
            call.journey.hunt = Some(hunt);
        }
        self.look_on(now, key, out);
    }

    /// Ring the next number of a follow-me, or all that are left; where none rings any more, nobody took the call.
    fn look_on(&mut self, now: Now, key: CallKey, out: &mut Vec<Output>) {
        loop {
            let Some(hunt) = self.hunt(key) else { return };
            if hunt.mode == FollowMode::Sequential && !hunt.ringing.is_empty() {
                break;
            }
            let extension = Arc::clone(&hunt.extension);
            let Some(step) = hunt.left.pop_front() else { break };
            let begin = self.calls.get(key).map_or(0, |call| call.legs.len());
            let way = self.look_at(now, key, &extension, &step, out);
            let end = self.calls.get(key).map_or(0, |call| call.legs.len());
            let until = now.instant + Duration::from_secs(u64::from(step.ring_seconds));
            let Some(hunt) = self.hunt(key) else { return };
            match way {
                Some(way) => hunt.ringing.push((Branch::Way(way), until)),
                None => hunt.ringing.extend((begin..end).map(|leg| (Branch::Leg(leg), until))),
            }
        }
        let Some(hunt) = self.hunt(key) else { return };
        match hunt.ringing.iter().map(|(_, until)| *until).min() {
            Some(due) => self.set_timer(key, due),
            None => {
                let cause = self.calls.get(key).and_then(|call| call.verdict).unwrap_or(Cause::Unreachable);
                self.fallback(now, key, cause, out);
            }
        }
    }

    fn hunt(&mut self, key: CallKey) -> Option<&mut Hunt> {
        self.calls.get_mut(key)?.journey.hunt.as_mut()
    }

    /// Ring one number of a follow-me, by the same policy and limits as if the extension forwarded to it. The way outside is named, where it
    /// leads there.
    fn look_at(
        &mut self,
        now: Now,
        key: CallKey,
        extension: &Arc<Extension>,
        step: &FollowStep,
        out: &mut Vec<Output>,
    ) -> Option<WayId> {
        if step.number.as_str() == extension.number.as_str() {
            let number = extension.number.as_str();
            let rang = self.ring_phones(now, key, &extension.username, number, None, out);
            self.missed(key, rang.err());
            return None;
        }
        if let Err(cause) = self.may_divert(key, extension) {
            self.missed(key, Some(cause));
            return None;
        }
        let asker = DialContext { origin: CallOrigin::Forward, permissions: extension.dial_permissions };
        let decision = dialplan::route(&self.directory, asker, step.number.as_str());
        if let Some(call) = self.calls.get_mut(key) {
            call.record.trace.extend(decision.trace);
        }
        let (from, to) = (extension.number.to_string(), step.number.to_string());
        let step = Diversion { from, to, why: Why::FollowMe };
        if let Route::Trunk(outside) = decision.route {
            let by = Some(Arc::clone(extension));
            let rang = self.ring_outside(now, key, outside, by, Some(step), out);
            self.missed(key, rang.as_ref().err().copied());
            return rang.ok();
        }
        self.ring_route(now, key, &decision.route, &step, out);
        None
    }

    /// Ring what a number of a follow-me leads to inside the house.
    fn ring_route(&mut self, now: Now, key: CallKey, route: &Route, way: &Diversion, out: &mut Vec<Output>) {
        let rang = match route {
            Route::Extension(extension) => {
                let had =
                    self.calls.get(key).is_some_and(|call| call.journey.visited.contains(&extension.id));
                let in_a_call = !extension.call_waiting && self.is_busy(&extension.username);
                if had || extension.do_not_disturb || in_a_call {
                    let why = if had { "has had this call already" } else { "takes no call now" };
                    return self.tell(key, "follow_me", format!("{} {why}", extension.number));
                }
                let number = extension.number.as_str();
                self.ring_phones(now, key, &extension.username, number, Some(way), out)
            }
            Route::Username(username) => self.ring_phones(now, key, username, username, Some(way), out),
            // Nobody can be met in an application; the outside is rung where it was found.
            Route::Application(_) | Route::Trunk(_) => Err(Cause::Refused),
            Route::Refused(cause) => {
                self.tell(key, "follow_me", format!("{} is not rung: {}", way.to, cause.code()));
                Err(*cause)
            }
        };
        self.missed(key, rang.err());
    }

    /// A number of a follow-me did not even ring: what the caller is told if nobody else takes the call.
    fn missed(&mut self, key: CallKey, cause: Option<Cause>) {
        if let Some(call) = self.calls.get_mut(key) {
            call.verdict = call.verdict.or(cause);
        }
    }

    /// The timer of a call that dials: what has rung for its time is let go, and the next numbers are rung.
    pub(crate) fn rang_out(&mut self, now: Now, key: CallKey, out: &mut Vec<Output>) {
        let Some(hunt) = self.hunt(key) else {
            return self.fallback(now, key, Cause::NoAnswer, out);
        };
        let over: Vec<Branch> =
            hunt.ringing.iter().filter(|(_, due)| *due <= now.instant).map(|(branch, _)| *branch).collect();
        hunt.ringing.retain(|(_, due)| now.instant < *due);
        for branch in over {
            match branch {
                Branch::Leg(index) => self.let_go(now, key, index, Cause::NoAnswer, out),
                Branch::Way(way) => self.let_go_outside(now, key, way, Cause::NoAnswer, out),
            }
        }
        if let Some(call) = self.calls.get_mut(key) {
            call.verdict = Some(Cause::NoAnswer);
        }
        self.look_on(now, key, out);
    }

    /// Let go of a number outside that rings, or that is still on its way there.
    fn let_go_outside(&mut self, now: Now, key: CallKey, way: WayId, cause: Cause, out: &mut Vec<Output>) {
        let leg = self.calls.get(key).and_then(|call| call.ways.leg_of(way));
        self.leave_way(key, way);
        if let Some(index) = leg {
            self.let_go(now, key, index, cause, out);
        }
    }

    /// Nobody answers any more of those that were rung: whether a follow-me goes on.
    pub(crate) fn looks_further(&mut self, now: Now, key: CallKey, out: &mut Vec<Output>) -> bool {
        let Some(call) = self.calls.get_mut(key) else { return false };
        let Some(hunt) = &mut call.journey.hunt else { return false };
        let rings = |branch: Branch| match branch {
            Branch::Leg(index) => call
                .legs
                .get(index)
                .is_some_and(|leg| matches!(leg.state, LegState::Trying | LegState::Ringing)),
            Branch::Way(way) => call.ways.has(way),
        };
        hunt.ringing.retain(|(branch, _)| rings(*branch));
        if hunt.ringing.is_empty() && hunt.left.is_empty() {
            return false;
        }
        self.look_on(now, key, out);
        true
    }
}
