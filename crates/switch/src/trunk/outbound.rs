//! A call to the outside: one trunk after the other, one host after the other, and never two at once that could both be answered.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use base::Now;
use model::trunk::Outside;
use model::{CallDirection, Cause, TraceStep, Trunk, TrunkHost, TrunkId};
use sip::resolve::Candidate;

use super::pacing::Admission;
use super::{Alarm, Purpose, selection};
use crate::call::{CallKey, Phase};
use crate::exchange::Switch;
use crate::{Output, limits};

/// A host that says nothing at all for so long is dead: the second one is heard of within four seconds (security.md §4).
const SILENCE: Duration = Duration::from_millis(2500);
/// How long the DNS may think before another host is looked at.
const LOOKUP: Duration = Duration::from_secs(3);
/// How long it may ring outside.
const RINGING: Duration = Duration::from_secs(120);

/// One address of one trunk.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub(super) trunk: Arc<Trunk>,
    pub(super) host: TrunkHost,
    pub(super) address: Candidate,
}

/// What a call waits for on its way out.
#[derive(Debug)]
pub(super) enum Stage {
    Choosing,
    Resolving,
    /// For its turn: the trunk takes so many calls a second.
    Paced,
    /// For the first word of the host that this leg calls.
    Calling {
        leg: usize,
        spot: Spot,
    },
}

/// A call's way to the outside.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(super) outside: Arc<Outside>,
    trunks: VecDeque<Arc<Trunk>>,
    trunk: Option<Arc<Trunk>>,
    /// The trunk that it takes up a channel of.
    channel: Option<TrunkId>,
    pub(super) hosts: VecDeque<TrunkHost>,
    host: Option<TrunkHost>,
    pub(super) addresses: VecDeque<Candidate>,
    /// Addresses that counted as down: tried when nothing else is left.
    last_resort: VecDeque<Spot>,
    pub(super) stage: Stage,
    /// Names what the call waits for now; an alarm of before it means nothing.
    pub(super) attempt: u64,
    tried: u8,
    verdict: Option<Cause>,
}

/// What to do next.
enum Choice {
    Try(Spot),
    Wait,
    Over(Cause),
}

impl Outgoing {
    /// The trunk that carries the call.
    pub(super) fn carrier(&self) -> Option<&TrunkId> {
        self.trunk.as_ref().map(|trunk| &trunk.id)
    }
}

impl Switch {
    /// Lead a call to the outside.
    pub(crate) fn lead_outside(
        &mut self,
        now: Now,
        key: CallKey,
        outside: Arc<Outside>,
        out: &mut Vec<Output>,
    ) {
        let Some(call) = self.calls.get_mut(key) else { return };
        call.phase = Phase::Dialling;
        call.record.direction = CallDirection::Outbound;
        call.outgoing = Some(Box::new(Outgoing {
            trunks: outside.trunks.iter().cloned().collect(),
            outside,
            trunk: None,
            channel: None,
            hosts: VecDeque::new(),
            host: None,
            addresses: VecDeque::new(),
            last_resort: VecDeque::new(),
            stage: Stage::Choosing,
            attempt: 0,
            tried: 0,
            verdict: None,
        }));
        self.set_timer(key, now.instant + RINGING);
        self.go_outside(now, key, out);
    }

    pub(super) fn go_outside(&mut self, now: Now, key: CallKey, out: &mut Vec<Output>) {
        loop {
            let Some(mut way) = self.calls.get_mut(key).and_then(|call| call.outgoing.take()) else { return };
            way.stage = Stage::Choosing;
            let choice = self.choose(now, key, &mut way, out);
            if let Some(call) = self.calls.get_mut(key) {
                call.outgoing = Some(way);
            }
            match choice {
                Choice::Wait => return,
                Choice::Over(cause) => return self.fallback(now, key, cause, out),
                Choice::Try(spot) => {
                    if self.call_host(now, key, spot, out) {
                        return;
                    }
                }
            }
        }
    }

    fn choose(&mut self, now: Now, key: CallKey, way: &mut Outgoing, out: &mut Vec<Output>) -> Choice {
        loop {
            if way.tried >= limits::TRUNK_ATTEMPTS {
                return Choice::Over(way.verdict.unwrap_or(Cause::TrunkDown));
            }
            if let (Some(address), Some(trunk), Some(host)) =
                (way.addresses.pop_front(), &way.trunk, &way.host)
            {
                let spot = Spot { trunk: Arc::clone(trunk), host: host.clone(), address };
                if self.trunks.is_down(now.instant, &trunk.id, address) {
                    self.trace(key, format!("{} at {} is down", trunk.name, address.address));
                    way.last_resort.push_back(spot);
                    continue;
                }
                return Choice::Try(spot);
            }
            if let Some(host) = way.hosts.pop_front() {
                let attempt = self.trunks.next_attempt();
                let purpose = Purpose::Call { call: key, attempt };
                let found = self.trunks.look_up(now.instant, &host, purpose, out);
                way.host = Some(host);
                way.attempt = attempt;
                match found {
                    Some(addresses) => self.found(key, way, addresses),
                    None => {
                        way.stage = Stage::Resolving;
                        self.trunks.set(now.instant + LOOKUP, Alarm::Attempt { call: key, attempt });
                        return Choice::Wait;
                    }
                }
                continue;
            }
            if let Some(trunk) = way.trunks.pop_front() {
                match self.enter(now, key, way, &trunk) {
                    Some(wait) => return wait,
                    None => continue,
                }
            }
            let Some(spot) = way.last_resort.pop_front() else {
                return Choice::Over(way.verdict.unwrap_or(Cause::TrunkDown));
            };
            self.trunks.give_back(way.channel.take());
            self.trunks.take(&spot.trunk.id);
            way.channel = Some(spot.trunk.id.clone());
            way.trunk = Some(Arc::clone(&spot.trunk));
            return Choice::Try(spot);
        }
    }

    pub(super) fn found(&mut self, key: CallKey, way: &mut Outgoing, addresses: Vec<Candidate>) {
        if addresses.is_empty()
            && let Some(host) = &way.host
        {
            self.trace(key, format!("{} has no address", host.host));
        }
        way.addresses = addresses.into();
    }

    /// Turn to the next trunk, where it has room. What is to be waited for is told.
    fn enter(&mut self, now: Now, key: CallKey, way: &mut Outgoing, trunk: &Arc<Trunk>) -> Option<Choice> {
        // An administrator may have switched it off while the call was on its way.
        let trunk = self.directory.trunk(&trunk.id).filter(|trunk| trunk.enabled).cloned()?;
        self.trunks.give_back(way.channel.take());
        let admission = self.trunks.admit(now.instant, &trunk, way.outside.help);
        if matches!(admission, Admission::NoChannel | Admission::TooFast) {
            let what = if admission == Admission::NoChannel { "channels" } else { "calls per second" };
            self.trace(key, format!("the {what} of {} are used up", trunk.name));
            way.verdict = Some(Cause::TrunkBusy);
            return None;
        }
        way.channel = Some(trunk.id.clone());
        way.hosts = selection::in_order(&trunk, &mut self.chance).into();
        way.trunk = Some(trunk);
        let Admission::At(turn) = admission else { return None };
        way.attempt = self.trunks.next_attempt();
        way.stage = Stage::Paced;
        self.trunks.set(turn, Alarm::Attempt { call: key, attempt: way.attempt });
        Some(Choice::Wait)
    }

    /// The call no longer takes up channels: that of the trunk it came by, and that of the one it went out by.
    pub(crate) fn leave_trunk(&mut self, key: CallKey) {
        if let Some(call) = self.calls.get_mut(key) {
            let out = call.outgoing.as_mut().and_then(|way| way.channel.take());
            for channel in [call.channel.take(), out] {
                self.trunks.give_back(channel);
            }
        }
    }

    pub(super) fn trace(&mut self, key: CallKey, outcome: String) {
        if let Some(call) = self.calls.get_mut(key) {
            call.record.trace.push(TraceStep { rule: "trunk".into(), outcome });
        }
    }

    /// Send the INVITE to one address. `false` where that cannot be done.
    fn call_host(&mut self, now: Now, key: CallKey, spot: Spot, out: &mut Vec<Output>) -> bool {
        let attempt = self.trunks.next_attempt();
        let text = format!("{} is tried at {}", spot.trunk.name, spot.address.address);
        let placed = self.place(now, key, &spot, out);
        let tried = match placed {
            Some(_) => text,
            None => format!("{text}, which no listener or port of ours can reach"),
        };
        self.trace(key, tried);
        let Some(way) = self.calls.get_mut(key).and_then(|call| call.outgoing.as_mut()) else { return true };
        way.tried += 1;
        let Some(leg) = placed else { return false };
        way.attempt = attempt;
        way.stage = Stage::Calling { leg, spot };
        self.trunks.set(now.instant + SILENCE, Alarm::Attempt { call: key, attempt });
        true
    }
}
