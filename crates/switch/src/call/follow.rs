//! Follow-me: an extension's owner is looked for at several numbers, one after the other or at all of them at once. The first who answers
//! has the call. What those numbers would do with calls of their own (forwarding, a follow-me) is not done.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use base::{Instant, Now};
use model::dialplan::{self, Asker, Road, Route};
use model::{Cause, Extension, FollowMe, FollowMode, FollowStep};

use super::history::{Diversion, Why};
use super::{CallKey, LegState};
use crate::Output;
use crate::exchange::Switch;

/// A follow-me that is under way.
#[derive(Clone, Debug)]
pub(crate) struct Hunt {
    extension: Arc<Extension>,
    mode: FollowMode,
    /// What has not been rung yet.
    left: VecDeque<FollowStep>,
    /// Legs that ring, and until when.
    ringing: Vec<(usize, Instant)>,
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
            self.look_at(now, key, &extension, &step, out);
            let end = self.calls.get(key).map_or(0, |call| call.legs.len());
            let until = now.instant + Duration::from_secs(u64::from(step.ring_seconds));
            let Some(hunt) = self.hunt(key) else { return };
            hunt.ringing.extend((begin..end).map(|leg| (leg, until)));
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

    /// Ring one number of a follow-me, by the same policy and limits as if the extension forwarded to it.
    fn look_at(
        &mut self,
        now: Now,
        key: CallKey,
        extension: &Arc<Extension>,
        step: &FollowStep,
        out: &mut Vec<Output>,
    ) {
        if step.number.as_str() == extension.number.as_str() {
            let number = extension.number.as_str();
            let rang = self.ring_phones(now, key, &extension.username, number, None, out);
            return self.missed(key, rang.err());
        }
        if self.may_divert(key, extension).is_err() {
            return;
        }
        let asker = Asker { road: Road::Forward, permissions: extension.dial_permissions };
        let decision = dialplan::route(&self.directory, asker, step.number.as_str());
        if let Some(call) = self.calls.get_mut(key) {
            call.record.trace.extend(decision.trace);
        }
        let (from, to) = (extension.number.to_string(), step.number.to_string());
        let way = Diversion { from, to, why: Why::FollowMe };
        self.ring_route(now, key, &decision.route, &way, out);
    }

    /// Ring what a number of a follow-me leads to.
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
            Route::Application(_) => Err(Cause::Refused), // nobody can be met there
            // The way outside has room for one leg of a call only.
            Route::Trunk(_) => {
                self.tell(key, "follow_me", format!("{} is outside, where nobody is looked for", way.to));
                Err(Cause::Refused)
            }
            Route::Refused(cause) => Err(*cause),
        };
        self.missed(key, rang.err());
    }

    /// A number of a follow-me did not even ring: what the caller is told if nobody else takes the call.
    fn missed(&mut self, key: CallKey, cause: Option<Cause>) {
        if let Some(call) = self.calls.get_mut(key) {
            call.verdict = call.verdict.or(cause);
        }
    }

    /// The timer of a call that dials: the phones whose time is over are let go, and the next ones rung.
    pub(crate) fn rang_out(&mut self, now: Now, key: CallKey, out: &mut Vec<Output>) {
        let Some(hunt) = self.hunt(key) else {
            return self.fallback(now, key, Cause::NoAnswer, out);
        };
        let over: Vec<usize> =
            hunt.ringing.iter().filter(|(_, due)| *due <= now.instant).map(|(l, _)| *l).collect();
        hunt.ringing.retain(|(_, due)| now.instant < *due);
        for index in over {
            self.let_go(now, key, index, Cause::NoAnswer, out);
        }
        if let Some(call) = self.calls.get_mut(key) {
            call.verdict = Some(Cause::NoAnswer);
        }
        self.look_on(now, key, out);
    }

    /// A leg of the call is gone before an answer, and none rings: whether a follow-me goes on.
    pub(crate) fn looks_further(&mut self, now: Now, key: CallKey, out: &mut Vec<Output>) -> bool {
        let Some(call) = self.calls.get_mut(key) else { return false };
        let Some(hunt) = &mut call.journey.hunt else { return false };
        let rings = |index: usize| {
            call.legs.get(index).is_some_and(|leg| matches!(leg.state, LegState::Trying | LegState::Ringing))
        };
        hunt.ringing.retain(|(index, _)| rings(*index));
        if hunt.ringing.is_empty() && hunt.left.is_empty() {
            return false;
        }
        self.look_on(now, key, out);
        true
    }
}
