//! Phones whose connection broke: a call for one waits a moment for it to come back by registering, and a call that rings its other
//! phones meanwhile lets it join.

use std::sync::Arc;
use std::time::Duration;

use crate::call::Call;
use crate::core::Cx;

use base::Instant;
use model::{Cause, TraceStep};

use super::{LegState, Phase};
use crate::limits;
use crate::location::Contact;

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

impl Call {
    /// Ring the contacts that have come back; where no other phone rings, the timer is theirs.
    pub(crate) fn rejoin(&mut self, cx: &mut Cx<'_>, awaited: &PendingFlow) {
        let contacts = self.not_rung(cx, &awaited.username);
        if awaited.until < cx.now.instant || contacts.is_empty() {
            return;
        }
        let alone = !self.is_ringing();
        if self.ring(cx, &awaited.username, &awaited.number, &contacts, None).is_ok() && alone {
            self.set_timer(cx, cx.now.instant + Duration::from_secs(awaited.ring_seconds));
        }
    }

    /// Remember that a call's fork may still grow. Where nobody rings meanwhile its timer is that of the waiting.
    pub(crate) fn await_flow(
        &mut self,
        cx: &mut Cx<'_>,
        username: &Arc<str>,
        number: &str,
        ring_seconds: u64,
    ) {
        let until = cx.now.instant + limits::FLOW_RETURN;
        let (username, number) = (Arc::clone(username), number.to_owned());
        cx.core.index.await_return(self.key, PendingFlow { username, number, ring_seconds, until });
        let outcome = "a phone's connection is broken; it may come back".to_owned();
        self.record.trace.push(TraceStep { rule: "bindings".into(), outcome });
        if !self.is_ringing() {
            self.set_timer(cx, until);
        }
    }

    /// A call's timer rang: where it only waited for a phone that did not come back, the call ends. `false` where it was another timer.
    pub(crate) fn on_flow_timeout(&mut self, cx: &mut Cx<'_>) -> bool {
        let dialling = matches!(self.phase, Phase::Dialling);
        if cx.core.index.stop_returning(self.key).is_none() || !dialling || self.is_ringing() {
            return false;
        }
        self.on_no_answer(cx, Cause::Unreachable);
        true
    }

    fn is_ringing(&self) -> bool {
        let rings = |leg: &super::Leg| matches!(leg.state, LegState::Trying | LegState::Ringing);
        self.legs.iter().skip(1).any(rings)
    }

    /// The contacts of a user name that no leg of the call was sent to.
    fn not_rung(&self, cx: &Cx<'_>, username: &str) -> Vec<Contact> {
        let Some(call) = Some(self).filter(|call| matches!(call.phase, Phase::Dialling)) else {
            return Vec::new();
        };
        let fresh = |contact: &&Contact| call.legs.iter().skip(1).all(|leg| leg.hop != contact.hop);
        cx.core.location.reachable(cx.now.instant, username).filter(fresh).cloned().collect()
    }
}
