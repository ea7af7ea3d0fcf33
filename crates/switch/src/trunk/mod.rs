//! Trunks: DNS lookups, health, registration, admission and outbound attempts, with their timers. Each has its own file.

pub(crate) mod admission;
mod failover;
pub(crate) mod health;
mod inbound;
mod invite;
pub(crate) mod lookup;
pub(crate) mod outbound;
pub(crate) mod registration;
mod selection;
mod status;
pub(crate) mod test_call;

use crate::core::Core;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use base::{Instant, Now, Rng};
use model::{Trunk, TrunkHost, TrunkId, TrunkTransport};
use sip::resolve::{Candidate, LookupId};
use sip::{Hop, Message, RequestId, Transport};

use crate::Output;
use crate::call::CallKey;

use admission::TrunkUsage;
use health::TrunkHealth;
use lookup::{Lookups, Purpose};
pub(crate) use outbound::{AttemptId, OutboundAttempts};
use registration::Registration;
pub(crate) use test_call::TestCall;
use test_call::Tests;

/// A timer of the trunks.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Alarm {
    /// Time-out or end of pacing of a call's outbound attempt, see [`outbound::AttemptState`].
    Attempt { call: CallKey, attempt: u64 },
    /// Probe the hosts of a trunk.
    Probe(TrunkId),
    /// Register, refresh or retry.
    Register(TrunkId),
    /// End of a lookup's wait time.
    Lookup(LookupId),
    /// Stop waiting for carriers to confirm an unregistration.
    UnregisterTimeout,
}

/// The purpose of a pending request outside a session.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Asked {
    Probe { trunk: TrunkId, host: Candidate, sent: Instant },
    Register(TrunkId),
}

/// State of all trunks.
#[derive(Debug)]
pub(crate) struct Trunks {
    lookups: Lookups,
    pub(crate) watches: BTreeMap<TrunkId, TrunkHealth>,
    paces: BTreeMap<TrunkId, TrunkUsage>,
    pub(crate) registrations: BTreeMap<TrunkId, Registration>,
    asked: BTreeMap<RequestId, Asked>,
    alarms: BTreeMap<(Instant, u64), Alarm>,
    /// Keys of the unique timers in `alarms`.
    only: BTreeMap<Alarm, (Instant, u64)>,
    pub(crate) tests: Tests,
    serial: u64,
    rng: Rng,
}

impl Trunks {
    pub(crate) fn new(rng: &mut Rng) -> Trunks {
        Trunks {
            lookups: Lookups::new(rng.fork()),
            watches: BTreeMap::new(),
            paces: BTreeMap::new(),
            registrations: BTreeMap::new(),
            asked: BTreeMap::new(),
            alarms: BTreeMap::new(),
            only: BTreeMap::new(),
            tests: Tests::default(),
            serial: 0,
            rng: rng.fork(),
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.alarms.first_key_value().map(|((due, _), _)| *due)
    }

    fn set(&mut self, due: Instant, alarm: Alarm) {
        self.serial += 1;
        self.alarms.insert((due, self.serial), alarm);
    }

    /// Set a unique timer; replaces its former due time.
    pub(crate) fn set_only(&mut self, due: Instant, alarm: Alarm) {
        self.unset(&alarm);
        self.only.insert(alarm.clone(), (due, self.serial + 1));
        self.set(due, alarm);
    }

    /// Cancel a unique timer.
    fn unset(&mut self, alarm: &Alarm) {
        if let Some(at) = self.only.remove(alarm) {
            self.alarms.remove(&at);
        }
    }

    /// Cancel probing and registration of a trunk.
    pub(crate) fn unset_all(&mut self, id: &TrunkId) {
        self.unset(&Alarm::Probe(id.clone()));
        self.unset(&Alarm::Register(id.clone()));
    }

    /// Remove and return the next timer that is due.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Alarm> {
        let entry = self.alarms.first_entry().filter(|entry| entry.key().0 <= now)?;
        let alarm = entry.remove();
        self.only.remove(&alarm);
        Some(alarm)
    }

    /// A new number for an outbound attempt or for one of its waits; never reused.
    fn next_attempt(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// `span` with a random deviation of up to ±10 %, so that requests do not synchronize.
    fn around(&mut self, span: Duration) -> Duration {
        let micros = span.as_micros() as u64;
        Duration::from_micros(micros - micros / 10 + self.rng.below(micros / 5 + 1))
    }
}

pub(crate) fn transport(of: TrunkTransport) -> Transport {
    match of {
        TrunkTransport::Udp => Transport::Udp,
        TrunkTransport::Tcp => Transport::Tcp,
        TrunkTransport::Tls => Transport::Tls,
    }
}

impl Core {
    /// Final response to a request outside a session; `None` without response.
    pub(crate) fn trunk_answered(
        &mut self,
        now: Now,
        request: RequestId,
        response: Option<&Message>,
        out: &mut Vec<Output>,
    ) {
        match self.trunks.asked.remove(&request) {
            Some(Asked::Probe { trunk, host, sent }) => self.probed(now, &trunk, host, sent, response),
            Some(Asked::Register(trunk)) => self.registered(now, &trunk, response, out),
            None => {}
        }
    }

    /// Whether an address belongs to a TCP host of a trunk, to which we open connections.
    pub(crate) fn is_carriers_host(&self, at: SocketAddr) -> bool {
        let is_it = |trunk: &Trunk, host: &TrunkHost| {
            let known = || trunk.settings.sources.iter().any(|source| source.contains(at.ip()));
            let named = host.host.parse::<IpAddr>().is_ok_and(|ip| ip == at.ip().to_canonical());
            host.transport == TrunkTransport::Tcp
                && host.port.unwrap_or(5060) == at.port()
                && (named || known())
        };
        let mut trunks = self.directory.trunks();
        trunks.any(|trunk| trunk.settings.hosts.iter().any(|host| is_it(trunk, host)))
    }

    /// The hop to a carrier's address, over the first listener with the same transport and address family that can reach it. `None` without such a
    /// listener, or without a known local address.
    fn hop_to(&self, to: Candidate) -> Option<Hop> {
        let far = to.address.ip();
        let fits = |ip: IpAddr| {
            ip.is_ipv4() == far.is_ipv4() && (ip.is_unspecified() || ip.is_loopback() == far.is_loopback())
        };
        let (index, listener) = (0..)
            .zip(&self.config.listeners)
            .find(|(_, listener)| listener.transport == to.transport && fits(listener.address.ip()))?;
        let mut local = listener.address;
        match self.config.public_address.filter(|ip| ip.is_ipv4() == far.is_ipv4()) {
            Some(ip) => local.set_ip(ip),
            None if local.ip().is_unspecified() && far.is_loopback() => local.set_ip(far),
            None if local.ip().is_unspecified() => local.set_ip(self.config.source_address?),
            None => {}
        }
        // No flow is set: the shell reuses a connection to that host or opens one.
        let flow = sip::Flow::default();
        Some(Hop { transport: to.transport, listener: index, local, remote: to.address, flow })
    }
}
