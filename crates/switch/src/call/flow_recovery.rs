//! Phones whose connection broke: a call for one waits a moment for it to come back by registering, and a call that rings its other
//! phones meanwhile lets it join.

use std::sync::Arc;

use base::{Instant, Now};
use model::{Cause, TraceStep};

use super::{CallKey, LegState, Phase};
use crate::location::Contact;
use crate::switch::Switch;
use crate::{Output, limits};

/// Whom a call waits for.
#[derive(Clone, Debug)]
pub(crate) struct PendingFlow {
    pub(super) username: Arc<str>,
    /// The number in To of the legs that are still to be made.
    number: String,
    ring_seconds: u64,
    /// No longer than this.
    until: Instant,
}

impl Switch {
    /// Remember that a call's fork may still grow. Where nobody rings meanwhile its timer is that of the waiting.
    pub(crate) fn await_flow(
        &mut self,
        now: Now,
        key: CallKey,
        username: &Arc<str>,
        number: &str,
        ring_seconds: u64,
    ) {
        let until = now.instant + limits::FLOW_RETURN;
        let (username, number) = (Arc::clone(username), number.to_owned());
        self.core.index.await_return(key, PendingFlow { username, number, ring_seconds, until });
        if let Some(call) = self.calls.get_mut(key) {
            let outcome = "a phone's connection is broken; it may come back".to_owned();
            call.record.trace.push(TraceStep { rule: "bindings".into(), outcome });
        }
        if !self.is_ringing(key) {
            self.set_timer(key, until);
        }
    }

    /// A phone has registered: it joins the calls that wait for it.
    pub(crate) fn on_flow_recovered(&mut self, now: Now, username: &str, out: &mut Vec<Output>) {
        let calls = self.core.index.returning_to(username);
        if calls.is_empty() {
            return;
        }
        for (key, awaited) in calls {
            let contacts = self.not_rung(now, key, username);
            if awaited.until < now.instant || contacts.is_empty() {
                continue;
            }
            let alone = !self.is_ringing(key);
            if self.ring(now, key, &awaited.username, &awaited.number, &contacts, None, out).is_ok() && alone
            {
                self.set_timer(key, now.instant + std::time::Duration::from_secs(awaited.ring_seconds));
            }
        }
    }

    /// A call's timer rang: where it only waited for a phone that did not come back, the call ends. `false` where it was another timer.
    pub(crate) fn on_flow_timeout(&mut self, now: Now, key: CallKey, out: &mut Vec<Output>) -> bool {
        let dialling = self.calls.get(key).is_some_and(|call| matches!(call.phase, Phase::Dialling));
        if self.core.index.stop_returning(key).is_none() || !dialling || self.is_ringing(key) {
            return false;
        }
        self.on_no_answer(now, key, Cause::Unreachable, out);
        true
    }

    fn is_ringing(&self, key: CallKey) -> bool {
        let rings = |leg: &super::Leg| matches!(leg.state, LegState::Trying | LegState::Ringing);
        self.calls.get(key).is_some_and(|call| call.legs.iter().skip(1).any(rings))
    }

    /// The contacts of a user name that no leg of the call was sent to.
    fn not_rung(&self, now: Now, key: CallKey, username: &str) -> Vec<Contact> {
        let Some(call) = self.calls.get(key).filter(|call| matches!(call.phase, Phase::Dialling)) else {
            return Vec::new();
        };
        let fresh = |contact: &&Contact| call.legs.iter().skip(1).all(|leg| leg.hop != contact.hop);
        self.core.location.reachable(now.instant, username).filter(fresh).cloned().collect()
    }
}
