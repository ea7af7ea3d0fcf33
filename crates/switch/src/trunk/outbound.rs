//! A call to the outside: one trunk after the other, one host after the other, and never two at once that could both be answered.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use base::Now;
use model::trunk::Outside;
use model::{CallDirection, Cause, LegRole, TraceStep, Trunk, TrunkHost, TrunkId};
use sip::digest::Account;
use sip::resolve::Candidate;
use sip::{Connect, Ended, HeaderLines, Message, Name, Target, Uri};

use super::health::retry_after;
use super::lookup::host_uri;
use super::pacing::Admission;
use super::{Alarm, Purpose, selection};
use crate::call::{Asking, CallKey, Leg, LegState, Phase, escaped};
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
struct Spot {
    trunk: Arc<Trunk>,
    host: TrunkHost,
    address: Candidate,
}

/// What a call waits for on its way out.
#[derive(Debug)]
enum Stage {
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
    outside: Arc<Outside>,
    trunks: VecDeque<Arc<Trunk>>,
    trunk: Option<Arc<Trunk>>,
    /// The trunk that it takes up a channel of.
    channel: Option<TrunkId>,
    hosts: VecDeque<TrunkHost>,
    host: Option<TrunkHost>,
    addresses: VecDeque<Candidate>,
    /// Addresses that counted as down: tried when nothing else is left.
    last_resort: VecDeque<Spot>,
    stage: Stage,
    /// Names what the call waits for now; an alarm of before it means nothing.
    attempt: u64,
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
        if !outside.help
            && let Err(cause) = self.may_go_outside(now, key)
        {
            return self.fallback(now, key, cause, out);
        }
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

    fn go_outside(&mut self, now: Now, key: CallKey, out: &mut Vec<Output>) {
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

    fn found(&mut self, key: CallKey, way: &mut Outgoing, addresses: Vec<Candidate>) {
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

    fn trace(&mut self, key: CallKey, outcome: String) {
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

    /// A leg to a carrier: nothing of what the caller wrote goes with it but what is said here (security.md row 30).
    fn place(&mut self, now: Now, key: CallKey, spot: &Spot, out: &mut Vec<Output>) -> Option<usize> {
        let hop = self.hop_to(spot.address)?;
        let settings = &spot.trunk.settings;
        let call = self.calls.get(key)?;
        let outside = &call.outgoing.as_ref()?.outside;
        let number = settings.on_the_wire(&outside.number, outside.whole.as_deref(), outside.help)?;
        let shown = self.shown_outside(key, &spot.trunk);
        let (worker, max_forwards) = (call.worker(), call.hops_left);
        let like = call.leg(0).and_then(|leg| leg.stream.theirs.clone());
        // Behind an outbound proxy the URIs still name the carrier.
        let host = settings.hosts.iter().find(|host| **host == spot.host).or(settings.hosts.first())?;
        let uri = Uri::parse(host_uri(Some(&number), host).into()).ok()?;
        let credentials = match (&settings.username, &spot.trunk.password) {
            (Some(user), Some(sealed)) => Some(Account {
                user: user.clone(),
                password: sealed.open(&self.config.seal, spot.trunk.id.as_str())?,
                realm: settings.realm.clone(),
            }),
            _ => None,
        };
        let mut lines = HeaderLines::new();
        let from = match &shown {
            Some(shown) => {
                lines.add("P-Asserted-Identity", format_args!("<sip:{shown}@{}>", self.config.domain));
                format!("<sip:{shown}@{}>", self.config.domain)
            }
            None => {
                lines.add("Privacy", "id");
                "\"Anonymous\" <sip:anonymous@anonymous.invalid>".to_owned()
            }
        };
        let codecs = settings.codecs.clone();
        let port = self.ports.take(hop.listener, worker)?;
        let mut stream = self.open_stream(hop, port, out);
        let offer = media::sdp::offer(&stream.local, like.as_ref()).only(&codecs);
        let offer = self.fit_to_record(key, &spot.trunk.name, offer);
        let connect = Connect {
            target: Target { uri, hop, route: Vec::new() },
            from,
            to: format!("<sip:{}@{}>", escaped(&number), host.in_uri()),
            contact_user: settings.username.clone().or(shown).unwrap_or_default(),
            lines,
            offer: offer.bytes.clone(),
            credentials,
            max_forwards,
        };
        stream.ours = Some(offer);
        let Some(session) = self.endpoint.connect(now, connect, &mut self.sip_out) else {
            let command = media::MediaCommand::Close { stream: stream.id };
            out.push(Output::Media { worker: port.worker, command });
            return None;
        };
        let leg = Leg { session, hop, state: LegState::Trying, stream, asking: Asking::No };
        let index = self.calls.add_leg(key, leg);
        let sip_call_id = self.endpoint.call_id(session).unwrap_or_default().to_string();
        let party = spot.trunk.name.clone();
        self.add_leg_record(key, LegRole::Trunk, party, hop.remote, sip_call_id, now);
        Some(index)
    }

    /// The number that the called one outside is shown, by the trunk's rule.
    fn shown_outside(&self, key: CallKey, trunk: &Trunk) -> Option<String> {
        let call = self.calls.get(key)?;
        let device = call.record.legs.first().filter(|leg| leg.role != LegRole::Trunk);
        let credential = device.and_then(|leg| self.directory.credential(&leg.party));
        let extension = credential.and_then(|credential| self.extension_of(credential));
        trunk.settings.caller_number(&call.record.from_number, extension.map(|e| &e.number))
    }

    // ---- what becomes of an attempt ------------------------------------------------------------------------------------------------

    /// The alarm of a call on its way out.
    pub(super) fn attempt_waited(&mut self, now: Now, key: CallKey, attempt: u64, out: &mut Vec<Output>) {
        let Some(call) = self.calls.get(key).filter(|call| matches!(call.phase, Phase::Dialling)) else {
            return;
        };
        let Some(way) = call.outgoing.as_ref().filter(|way| way.attempt == attempt) else { return };
        match &way.stage {
            Stage::Choosing => {}
            Stage::Resolving | Stage::Paced => self.go_outside(now, key, out),
            Stage::Calling { leg, spot } => {
                let (leg, spot) = (*leg, spot.clone());
                let Some(session) = call.leg(leg).map(|leg| leg.session) else { return };
                if self.endpoint.is_heard(session) {
                    return;
                }
                self.trace(key, format!("{} at {} says nothing", spot.trunk.name, spot.address.address));
                self.trunks.is_dead(now, &spot.trunk.id, spot.address);
                // Should it wake up after all, it is cancelled, or hung up: one call is never carried twice.
                self.set_stage(key, Stage::Choosing);
                self.hangup_leg(now, key, leg, Cause::Unreachable, out);
                self.go_outside(now, key, out);
            }
        }
        self.settle(now, out);
    }

    fn set_stage(&mut self, key: CallKey, stage: Stage) {
        if let Some(way) = self.calls.get_mut(key).and_then(|call| call.outgoing.as_mut()) {
            way.stage = stage;
        }
    }

    /// The DNS has said where a host is.
    pub(super) fn attempt_resolved(
        &mut self,
        now: Now,
        key: CallKey,
        attempt: u64,
        addresses: Vec<Candidate>,
        out: &mut Vec<Output>,
    ) {
        let Some(call) = self.calls.get_mut(key).filter(|call| matches!(call.phase, Phase::Dialling)) else {
            return;
        };
        let waits =
            |way: &&mut Box<Outgoing>| way.attempt == attempt && matches!(way.stage, Stage::Resolving);
        let Some(mut way) =
            call.outgoing.as_mut().as_ref().is_some_and(waits).then(|| call.outgoing.take()).flatten()
        else {
            return;
        };
        self.found(key, &mut way, addresses);
        if let Some(call) = self.calls.get_mut(key) {
            call.outgoing = Some(way);
        }
        self.go_outside(now, key, out);
    }

    /// A leg to a carrier has ended before it was answered: the next host is tried where this one could not, and not where somebody said no.
    pub(crate) fn trunk_leg_ended(
        &mut self,
        now: Now,
        key: CallKey,
        index: usize,
        ended: &Ended,
        out: &mut Vec<Output>,
    ) {
        let Some(way) = self.calls.get_mut(key).and_then(|call| call.outgoing.as_mut()) else { return };
        let Stage::Calling { leg, spot } = &way.stage else { return };
        if *leg != index {
            return; // one that was given up before
        }
        let spot = spot.clone();
        let Ended::Refused { status, response } = ended else {
            return self.fallback(now, key, Cause::Unreachable, out);
        };
        let fate = Fate::of(*status, response.as_ref());
        let name = format!("{} at {}", spot.trunk.name, spot.address.address);
        match fate {
            Fate::Final(cause) => {
                self.trace(key, format!("{name} answers {status}"));
                return self.fallback(now, key, cause, out);
            }
            Fate::Dead => {
                self.trace(key, format!("{name} cannot be reached"));
                self.trunks.is_dead(now, &spot.trunk.id, spot.address);
            }
            Fate::Fails(rest) => {
                self.trace(key, format!("{name} answers {status}"));
                if let Some(seconds) = rest {
                    self.trunks.rest(now.instant, &spot.trunk.id, spot.address, seconds);
                }
            }
            Fate::NotOurs => {
                self.trace(key, format!("{name} does not take our password ({status})"));
                if let Some(way) = self.calls.get_mut(key).and_then(|call| call.outgoing.as_mut()) {
                    way.hosts.clear();
                    way.addresses.clear();
                }
            }
        }
        self.set_stage(key, Stage::Choosing);
        self.go_outside(now, key, out);
    }
}

/// What a carrier's refusal means for the call.
enum Fate {
    /// Somebody said no: busy, unknown, declined.
    Final(Cause),
    /// Nobody is there.
    Dead,
    /// This host cannot; it may ask for rest.
    Fails(Option<u64>),
    /// It does not know us: no host of this trunk will.
    NotOurs,
}

impl Fate {
    fn of(status: u16, response: Option<&Message>) -> Fate {
        let Some(response) = response else { return Fate::Dead };
        match status {
            401 | 407 => Fate::NotOurs,
            500..=599 => Fate::Fails(retry_after(response)),
            _ => Fate::Final(said(response).unwrap_or(Cause::of_sip(status))),
        }
    }
}

/// The Q.850 cause of a refusal, where the status alone says little (RFC 3326).
fn said(response: &Message) -> Option<Cause> {
    if matches!(response.status(), Some(486 | 600 | 603 | 404 | 484 | 488)) {
        return None;
    }
    let reasons = response.header_lines(Name::Reason).filter_map(|line| std::str::from_utf8(line).ok());
    let q850 =
        reasons.filter(|line| line.trim_start().get(..5).is_some_and(|p| p.eq_ignore_ascii_case("q.850")));
    q850.filter_map(|line| line.split(';').find_map(|part| part.trim().strip_prefix("cause=")))
        .find_map(|number| Cause::of_q850(number.trim().parse().ok()?))
}
