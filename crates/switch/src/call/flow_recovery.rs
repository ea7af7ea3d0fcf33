//! Flow recovery (RFC 5626): a call to a binding whose connection closed waits up to [`limits::FLOW_RETURN`] for the phone to register again,
//! then adds it as a branch of the fork.

use std::sync::Arc;
use std::time::Duration;

use base::Instant;
use model::{Cause, TraceStep};

use super::{LegState, Phase};
use crate::call::Call;
use crate::core::Cx;
use crate::limits;
use crate::location::Contact;

/// The user name for whose phones a call waits.
#[derive(Clone, Debug)]
pub(crate) struct PendingFlow {
    pub(super) username: Arc<str>,
    /// The number in To of the legs to be added.
    number: String,
    ring_seconds: u64,
    /// End of the wait.
    until: Instant,
}

impl Call {
    /// Ring the contacts that have registered again. If no other phone rings, their ring time sets the call's timer.
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

    /// Wait for closed flows of `username`, whose contacts may join the fork. If no phone rings, the call's timer is set to the end of the wait.
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

    /// The call's timer expired: if the call only waited for a flow that did not recover, it continues as unreachable. `false` if the timer had
    /// another purpose.
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

    /// The reachable contacts of a user name that no leg of the call was sent to. Empty unless the call is in [`Phase::Dialling`].
    fn not_rung(&self, cx: &Cx<'_>, username: &str) -> Vec<Contact> {
        if !matches!(self.phase, Phase::Dialling) {
            return Vec::new();
        }
        let fresh = |contact: &&Contact| self.legs.iter().skip(1).all(|leg| leg.hop != contact.hop);
        cx.core.location.reachable(cx.now.instant, username).filter(fresh).cloned().collect()
    }
}
