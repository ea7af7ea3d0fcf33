//! Outbound attempts: the trunks of a route and their hosts are tried one after the other, so that a number is never called twice at a time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use model::trunk::OutboundRoute;
use model::{CallDirection, Cause, Extension, TraceStep, Trunk, TrunkHost, TrunkId};
use sip::resolve::Candidate;

use super::admission::Admission;
use super::{Alarm, Purpose, selection};
use crate::call::{Call, Diversion, Phase};
use crate::core::Cx;
use crate::limits;

/// A host without any response for this long counts as down, so that the second host responds within four seconds.
const SILENCE: Duration = Duration::from_millis(2500);
/// DNS time-out, after which the next host is tried.
const LOOKUP: Duration = Duration::from_secs(3);
/// Ring time-out of a call routed to a trunk.
const RINGING: Duration = Duration::from_secs(120);

/// One address of a trunk's host.
#[derive(Clone, Debug)]
pub(super) struct GatewayTarget {
    pub(super) trunk: Arc<Trunk>,
    pub(super) host: TrunkHost,
    pub(super) address: Candidate,
}

/// State of an outbound attempt: `Choosing` selects the next target, `Resolving` waits for DNS.
#[derive(Debug)]
pub(super) enum AttemptState {
    Choosing,
    Resolving,
    /// Waiting for its start time under the trunk's limit of calls per second.
    Paced,
    /// INVITE sent on this leg; waiting for a response of the host.
    Calling {
        leg: usize,
        spot: GatewayTarget,
    },
}

/// Id of an outbound attempt; never reused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct AttemptId(u64);

/// An attempt to call one external number, over the trunks of its route in order.
#[derive(Debug)]
pub(crate) struct OutboundAttempt {
    pub(super) id: AttemptId,
    pub(super) outside: Arc<OutboundRoute>,
    /// The extension that forwards the call; `None` when the caller dialled the number.
    pub(super) by: Option<Arc<Extension>>,
    /// A diversion that applies to this attempt only (follow-me).
    pub(super) step: Option<Diversion>,
    trunks: VecDeque<Arc<Trunk>>,
    trunk: Option<Arc<Trunk>>,
    /// The trunk on which it occupies a channel.
    channel: Option<TrunkId>,
    pub(super) hosts: VecDeque<TrunkHost>,
    host: Option<TrunkHost>,
    pub(super) addresses: VecDeque<Candidate>,
    /// Targets that were skipped as down; tried when no other target is left.
    last_resort: VecDeque<GatewayTarget>,
    pub(super) stage: AttemptState,
    /// Number of the current wait; a timer or DNS answer with another number is ignored.
    attempt: u64,
    tried: u8,
    best_cause: Option<Cause>,
}

/// The current outbound attempts of a call: one, or one per external number of a follow-me. Each has its own trunk, host and channel. Failed
/// attempts are removed.
#[derive(Debug, Default)]
pub(crate) struct OutboundAttempts(Vec<OutboundAttempt>);

impl OutboundAttempts {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn has(&self, id: AttemptId) -> bool {
        self.0.iter().any(|way| way.id == id)
    }

    /// The attempt that a leg belongs to.
    pub(crate) fn of_leg(&self, leg: usize) -> Option<AttemptId> {
        self.0.iter().find(|way| way.leg() == Some(leg)).map(|way| way.id)
    }

    /// The current leg of an attempt.
    pub(crate) fn leg_of(&self, id: AttemptId) -> Option<usize> {
        self.get(id)?.leg()
    }

    /// The attempt whose current wait has this number.
    pub(super) fn waiting(&self, attempt: u64) -> Option<&OutboundAttempt> {
        self.0.iter().find(|way| way.attempt == attempt)
    }

    pub(crate) fn get(&self, id: AttemptId) -> Option<&OutboundAttempt> {
        self.0.iter().find(|way| way.id == id)
    }

    pub(super) fn get_mut(&mut self, id: AttemptId) -> Option<&mut OutboundAttempt> {
        self.0.iter_mut().find(|way| way.id == id)
    }

    pub(super) fn take(&mut self, id: AttemptId) -> Option<OutboundAttempt> {
        let place = self.0.iter().position(|way| way.id == id)?;
        Some(self.0.remove(place))
    }

    pub(super) fn put(&mut self, way: OutboundAttempt) {
        self.0.push(way);
    }
}

/// The next step of an attempt.
enum NextStep {
    Try(GatewayTarget),
    Wait,
    Over(Cause),
}

impl OutboundAttempt {
    /// The trunk in use.
    pub(crate) fn carrier(&self) -> Option<&TrunkId> {
        self.trunk.as_ref().map(|trunk| &trunk.id)
    }

    /// The current leg; `None` while no INVITE is pending or answered.
    pub(super) fn leg(&self) -> Option<usize> {
        match &self.stage {
            AttemptState::Calling { leg, .. } => Some(*leg),
            AttemptState::Choosing | AttemptState::Resolving | AttemptState::Paced => None,
        }
    }
}

impl Call {
    /// Route a call to one external number.
    pub(crate) fn route_outbound(&mut self, cx: &mut Cx<'_>, outside: Arc<OutboundRoute>) {
        self.phase = Phase::Dialling;
        self.record.direction = CallDirection::Outbound;
        self.best_cause = None;
        let diverted = self.routing.hops.last().filter(|_| !self.routing.diversions.is_empty());
        let by = diverted.map(|stop| Arc::clone(&stop.extension));
        self.set_timer(cx, cx.now.instant + RINGING);
        if let Err(cause) = self.start_outbound_attempt(cx, outside, by, None) {
            self.on_no_answer(cx, cause);
        }
    }

    /// Start an outbound attempt in parallel to the other legs of the call. On `Err` the attempt has failed at once and is removed.
    pub(crate) fn start_outbound_attempt(
        &mut self,
        cx: &mut Cx<'_>,
        outside: Arc<OutboundRoute>,
        by: Option<Arc<Extension>>,
        step: Option<Diversion>,
    ) -> Result<AttemptId, Cause> {
        if !outside.is_emergency {
            self.check_outbound_limits(cx)?;
        }
        let id = AttemptId(cx.core.trunks.next_attempt());
        self.outbound.put(OutboundAttempt {
            id,
            trunks: outside.trunks.iter().cloned().collect(),
            outside,
            by,
            step,
            trunk: None,
            channel: None,
            hosts: VecDeque::new(),
            host: None,
            addresses: VecDeque::new(),
            last_resort: VecDeque::new(),
            stage: AttemptState::Choosing,
            attempt: 0,
            tried: 0,
            best_cause: None,
        });
        match self.advance_attempt(cx, id) {
            None => Ok(id),
            Some(cause) => Err(cause),
        }
    }

    /// Advance an attempt until it waits. When no target is left, the attempt is dropped and its cause returned.
    #[must_use]
    fn advance_attempt(&mut self, cx: &mut Cx<'_>, id: AttemptId) -> Option<Cause> {
        loop {
            let mut way = self.outbound.take(id)?;
            way.stage = AttemptState::Choosing;
            let choice = self.next_target(cx, &mut way);
            self.outbound.put(way);
            match choice {
                NextStep::Wait => return None,
                NextStep::Over(cause) => {
                    self.drop_attempt(cx, id);
                    return Some(cause);
                }
                NextStep::Try(spot) => {
                    if self.call_host(cx, id, spot) {
                        return None;
                    }
                }
            }
        }
    }

    /// Advance an attempt after an event. When no target is left, the call continues with the failure of this branch.
    pub(super) fn continue_attempt(&mut self, cx: &mut Cx<'_>, id: AttemptId) {
        if let Some(cause) = self.advance_attempt(cx, id) {
            self.on_branch_failed(cx, cause);
        }
    }

    /// Select the next target: next address, next host, next trunk, then the targets that were skipped as down.
    fn next_target(&mut self, cx: &mut Cx<'_>, way: &mut OutboundAttempt) -> NextStep {
        loop {
            if way.tried >= limits::TRUNK_ATTEMPTS {
                return NextStep::Over(way.best_cause.unwrap_or(Cause::TrunkDown));
            }
            if let (Some(address), Some(trunk), Some(host)) =
                (way.addresses.pop_front(), &way.trunk, &way.host)
            {
                let spot = GatewayTarget { trunk: Arc::clone(trunk), host: host.clone(), address };
                if cx.core.trunks.is_down(cx.now.instant, &trunk.id, address) {
                    self.push_trunk_trace(format!("{} at {} is down", trunk.name, address.address));
                    way.last_resort.push_back(spot);
                    continue;
                }
                return NextStep::Try(spot);
            }
            if let Some(host) = way.hosts.pop_front() {
                let attempt = cx.core.trunks.next_attempt();
                let purpose = Purpose::Call { call: self.key, attempt };
                let found = cx.core.trunks.look_up(cx.now.instant, &host, purpose, cx.out);
                way.host = Some(host);
                way.attempt = attempt;
                match found {
                    Some(addresses) => self.found(way, addresses),
                    None => {
                        way.stage = AttemptState::Resolving;
                        cx.core
                            .trunks
                            .set(cx.now.instant + LOOKUP, Alarm::Attempt { call: self.key, attempt });
                        return NextStep::Wait;
                    }
                }
                continue;
            }
            if let Some(trunk) = way.trunks.pop_front() {
                match self.select_trunk(cx, way, &trunk) {
                    Some(wait) => return wait,
                    None => continue,
                }
            }
            let Some(spot) = way.last_resort.pop_front() else {
                return NextStep::Over(way.best_cause.unwrap_or(Cause::TrunkDown));
            };
            cx.core.trunks.release_channel(way.channel.take());
            cx.core.trunks.take(&spot.trunk.id);
            way.channel = Some(spot.trunk.id.clone());
            way.trunk = Some(Arc::clone(&spot.trunk));
            return NextStep::Try(spot);
        }
    }

    pub(super) fn found(&mut self, way: &mut OutboundAttempt, addresses: Vec<Candidate>) {
        if addresses.is_empty()
            && let Some(host) = &way.host
        {
            self.push_trunk_trace(format!("{} has no address", host.host));
        }
        way.addresses = addresses.into();
    }

    /// Select a trunk if it is enabled, accepts the number and admits the call. `Some(NextStep::Wait)` when the call is paced.
    fn select_trunk(
        &mut self,
        cx: &mut Cx<'_>,
        way: &mut OutboundAttempt,
        trunk: &Arc<Trunk>,
    ) -> Option<NextStep> {
        // The trunk may have been disabled since the call was routed.
        let trunk = cx.core.directory.trunk(&trunk.id).filter(|trunk| trunk.enabled).cloned()?;
        cx.core.trunks.release_channel(way.channel.take());
        // Its number prefixes may have changed as well.
        if way.outside.to_carrier_format(cx.core.directory.rules(), &trunk).is_err() {
            self.push_trunk_trace(format!("{} no longer carries this number", trunk.name));
            return None;
        }
        let admission = cx.core.trunks.admit(cx.now.instant, &trunk, way.outside.is_emergency);
        if matches!(admission, Admission::NoChannel | Admission::CpsExceeded) {
            let what = if admission == Admission::NoChannel { "channels" } else { "calls per second" };
            self.push_trunk_trace(format!("the {what} of {} are used up", trunk.name));
            way.best_cause = Some(Cause::TrunkBusy);
            return None;
        }
        way.channel = Some(trunk.id.clone());
        way.hosts = selection::in_order(&trunk, &mut cx.core.rng).into();
        way.trunk = Some(trunk);
        let Admission::At(turn) = admission else { return None };
        way.attempt = cx.core.trunks.next_attempt();
        way.stage = AttemptState::Paced;
        cx.core.trunks.set(turn, Alarm::Attempt { call: self.key, attempt: way.attempt });
        Some(NextStep::Wait)
    }

    /// Drop an outbound attempt and release its trunk channel. Does not touch the attempt's leg; the caller hangs it up.
    pub(crate) fn drop_attempt(&mut self, cx: &mut Cx<'_>, id: AttemptId) {
        let way = self.outbound.take(id);
        if let Some(way) = way {
            cx.core.trunks.release_channel(way.channel);
        }
    }

    /// Drop all outbound attempts except the one whose leg was answered.
    pub(crate) fn drop_attempts_except(&mut self, cx: &mut Cx<'_>, answered: Option<usize>) {
        let (kept, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.outbound.0)
            .into_iter()
            .partition(|way| answered.is_some() && way.leg() == answered);
        self.outbound.0 = kept;
        for way in left {
            cx.core.trunks.release_channel(way.channel);
        }
    }

    /// Release all trunk channels of the call: that of its inbound trunk and those of its outbound attempts.
    pub(crate) fn release_trunk_channels(&mut self, cx: &mut Cx<'_>) {
        self.drop_attempts_except(cx, None);
        let channel = self.channel.take();
        cx.core.trunks.release_channel(channel);
    }

    pub(super) fn push_trunk_trace(&mut self, outcome: String) {
        self.record.trace.push(TraceStep { rule: "trunk".into(), outcome });
    }

    /// Send the INVITE to one address. `false` when it cannot be sent.
    fn call_host(&mut self, cx: &mut Cx<'_>, id: AttemptId, spot: GatewayTarget) -> bool {
        let attempt = cx.core.trunks.next_attempt();
        let text = format!("{} is tried at {}", spot.trunk.name, spot.address.address);
        let placed = self.send_invite(cx, id, &spot);
        let tried = match placed {
            Some(_) => text,
            None => format!("{text}, which no listener or port of ours can reach"),
        };
        self.push_trunk_trace(tried);
        let Some(way) = self.outbound.get_mut(id) else {
            return true;
        };
        way.tried += 1;
        let Some(leg) = placed else { return false };
        way.attempt = attempt;
        way.stage = AttemptState::Calling { leg, spot };
        cx.core.trunks.set(cx.now.instant + SILENCE, Alarm::Attempt { call: self.key, attempt });
        true
    }
}
