//! Health of a carrier's hosts, from OPTIONS probes and from the results of calls.

use std::time::Duration;

use base::{Instant, Now, Timestamp};
use model::{Trunk, TrunkId};
use sip::resolve::Candidate;
use sip::{HeaderName, Message, Method, Request, Target, Uri};

use super::lookup::host_uri;
use super::{Alarm, Asked, Purpose, Trunks};
use crate::Output;
use crate::core::Core;

/// Probe interval while all hosts are up.
const INTERVAL: Duration = Duration::from_secs(10);
/// Probe interval while a host is down.
const INTERVAL_DOWN: Duration = Duration::from_secs(5);
/// Time-out of an OPTIONS request.
const PATIENCE: Duration = Duration::from_secs(4);
/// Consecutive time-outs after which a host counts as down.
const SILENCES: u8 = 2;
/// Upper limit of Retry-After in a response to a call.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// Health of a host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Health {
    #[default]
    Unknown,
    Up,
    Down,
}

/// Health of one address of a carrier.
#[derive(Clone, Debug)]
pub(super) struct HostHealth {
    pub(super) address: Candidate,
    /// URI of the host that resolved to this address.
    pub(super) name: String,
    pub(super) life: Health,
    timeouts: u8,
    probing: bool,
    /// No calls before this time (5xx with Retry-After).
    retry_after: Option<Instant>,
    pub(super) checked: Option<Timestamp>,
    pub(super) status: Option<u16>,
    pub(super) round_trip: Option<Duration>,
}

/// Health of all addresses of one trunk.
#[derive(Debug, Default)]
pub(crate) struct TrunkHealth {
    pub(super) hosts: Vec<HostHealth>,
}

impl TrunkHealth {
    fn host(&mut self, address: Candidate) -> Option<&mut HostHealth> {
        self.hosts.iter_mut().find(|host| host.address == address)
    }
}

impl Trunks {
    /// Whether an address is down or backing off; a call tries it as a last resort only.
    pub(super) fn is_down(&self, now: Instant, trunk: &TrunkId, address: Candidate) -> bool {
        let host = self.watches.get(trunk).and_then(|w| w.hosts.iter().find(|h| h.address == address));
        host.is_some_and(|host| {
            host.life == Health::Down || host.retry_after.is_some_and(|until| until > now)
        })
    }

    /// Mark an address as down after a call got no response or could not be sent, and probe the trunk soon.
    pub(super) fn mark_down(&mut self, now: Now, trunk: &TrunkId, address: Candidate) {
        if let Some(host) = self.watches.get_mut(trunk).and_then(|watch| watch.host(address)) {
            (host.life, host.checked, host.status) = (Health::Down, Some(now.wall), None);
            self.lookups_failed(now.instant, address);
            let due = now.instant + INTERVAL_DOWN;
            self.set_only(due, Alarm::Probe(trunk.clone()));
        }
    }

    /// Exclude an address for `seconds`, as its Retry-After requests; at most [`LONGEST_REST`].
    pub(super) fn back_off(&mut self, now: Instant, trunk: &TrunkId, address: Candidate, seconds: u64) {
        if let Some(host) = self.watches.get_mut(trunk).and_then(|watch| watch.host(address)) {
            host.retry_after = Some(now + Duration::from_secs(seconds).min(LONGEST_REST));
        }
    }
}

/// The value of Retry-After, in seconds.
pub(super) fn retry_after(response: &Message) -> Option<u64> {
    let text = response.header(HeaderName::RetryAfter)?;
    let digits = text.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

impl Core {
    /// Probe all hosts of a trunk and schedule the next round.
    pub(crate) fn probe(&mut self, now: Now, id: &TrunkId, out: &mut Vec<Output>) {
        let Some(trunk) = self.directory.trunk(id).filter(|trunk| trunk.enabled).cloned() else {
            return;
        };
        let hosts =
            trunk.settings.outbound_proxy.as_ref().map_or(&trunk.settings.hosts[..], std::slice::from_ref);
        let names: Vec<String> = hosts.iter().map(|host| host_uri(None, host)).collect();
        let watch = self.trunks.watches.entry(id.clone()).or_default();
        watch.hosts.retain(|host| names.contains(&host.name));
        let interval = match watch.hosts.iter().any(|host| host.life == Health::Down) {
            true => INTERVAL_DOWN,
            false => INTERVAL,
        };
        for (host, name) in hosts.iter().zip(names) {
            let purpose = Purpose::Probe { trunk: id.clone(), host: name.clone() };
            if let Some(addresses) = self.trunks.look_up(now.instant, host, purpose, out) {
                self.probe_all(now, id, &name, &addresses);
            }
        }
        let due = now.instant + self.trunks.around(interval);
        self.trunks.set_only(due, Alarm::Probe(id.clone()));
    }

    /// Update the addresses of a host and send OPTIONS to each, if the trunk is probed. An address with a pending probe is skipped.
    pub(crate) fn probe_all(&mut self, now: Now, id: &TrunkId, name: &str, addresses: &[Candidate]) {
        let Some(trunk) = self.directory.trunk(id).filter(|trunk| trunk.enabled).cloned() else {
            return;
        };
        let Some(watch) = self.trunks.watches.get_mut(id) else { return };
        watch.hosts.retain(|host| host.name != name || addresses.contains(&host.address));
        for address in addresses {
            let Some(watch) = self.trunks.watches.get_mut(id) else { return };
            let host = match watch.host(*address) {
                Some(host) => host,
                None => {
                    watch.hosts.push(HostHealth {
                        address: *address,
                        name: name.to_owned(),
                        life: Health::Unknown,
                        timeouts: 0,
                        probing: false,
                        retry_after: None,
                        checked: None,
                        status: None,
                        round_trip: None,
                    });
                    let Some(host) = watch.hosts.last_mut() else { return };
                    host
                }
            };
            if trunk.settings.probe && !host.probing {
                host.probing = true;
                self.ask_options(now, &trunk, name, *address);
            }
        }
    }

    /// Send OPTIONS to one address.
    fn ask_options(&mut self, now: Now, trunk: &Trunk, name: &str, address: Candidate) {
        let (Some(hop), Ok(uri)) = (self.hop_to(address), Uri::parse(name.to_owned().into())) else {
            return self.probed(now, &trunk.id, address, now.instant, None);
        };
        let from = format!("<sip:{}>", self.config.domain);
        let to = format!("<{}>", uri.as_str());
        let mut request = Request::new(Method::Options, Target { uri, hop, route: Vec::new() }, from, to);
        request.patience = Some(PATIENCE);
        request.lines.add("Accept", "application/sdp, multipart/mixed");
        let id = self.endpoint.request(now, request, &mut self.sip_out);
        let asked = Asked::Probe { trunk: trunk.id.clone(), host: address, sent: now.instant };
        self.trunks.asked.insert(id, asked);
    }

    /// Result of a probe; `None` without response. Every response except 503 marks the host as up; 503 marks it as down, since calls would be
    /// rejected.
    pub(super) fn probed(
        &mut self,
        now: Now,
        trunk: &TrunkId,
        address: Candidate,
        sent: Instant,
        response: Option<&Message>,
    ) {
        let Some(host) = self.trunks.watches.get_mut(trunk).and_then(|watch| watch.host(address)) else {
            return;
        };
        host.probing = false;
        host.checked = Some(now.wall);
        host.status = response.and_then(Message::status);
        match host.status {
            Some(503) => host.life = Health::Down,
            Some(_) => {
                (host.life, host.timeouts) = (Health::Up, 0);
                host.round_trip = Some(now.instant.since(sent));
            }
            None => {
                host.timeouts = host.timeouts.saturating_add(1);
                // A single time-out does not mark a host that was up as down. An unknown host, or an error before the time-out, counts as down.
                if host.timeouts >= SILENCES
                    || host.life == Health::Unknown
                    || now.instant.since(sent) < PATIENCE
                {
                    host.life = Health::Down;
                }
            }
        }
        if host.life == Health::Down || host.timeouts > 0 {
            let due = now.instant + self.trunks.around(INTERVAL_DOWN);
            self.trunks.set_only(due, Alarm::Probe(trunk.clone()));
        }
    }
}
