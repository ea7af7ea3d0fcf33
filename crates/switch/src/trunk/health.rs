//! Whether a carrier's hosts live: what OPTIONS hears, and what calls have met.

use std::time::Duration;

use crate::core::Core;

use base::{Instant, Now, Timestamp};
use model::{Trunk, TrunkId};
use sip::resolve::Candidate;
use sip::{HeaderName, Message, Method, Request, Target, Uri};

use super::lookup::host_uri;
use super::{Alarm, Asked, Purpose, Trunks};
use crate::Output;

/// How often a host that lives is asked.
const INTERVAL: Duration = Duration::from_secs(10);
/// How often one that does not is.
const INTERVAL_DOWN: Duration = Duration::from_secs(5);
/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(4);
/// Silences in a row until a host counts as down.
const SILENCES: u8 = 2;
/// The longest rest that a 503 may ask for (Retry-After).
const LONGEST_REST: Duration = Duration::from_secs(60);

/// What is known of a host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Health {
    #[default]
    Unknown,
    Up,
    Down,
}

/// One address of a carrier.
#[derive(Clone, Debug)]
pub(super) struct HostHealth {
    pub(super) address: Candidate,
    /// The URI of the host that led to it.
    pub(super) name: String,
    pub(super) life: Health,
    timeouts: u8,
    probing: bool,
    /// It asked for rest (503 with Retry-After).
    retry_after: Option<Instant>,
    pub(super) checked: Option<Timestamp>,
    pub(super) status: Option<u16>,
    pub(super) round_trip: Option<Duration>,
}

/// The addresses of one trunk.
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
    /// Whether a call should rather not try this address.
    pub(super) fn is_down(&self, now: Instant, trunk: &TrunkId, address: Candidate) -> bool {
        let host = self.watches.get(trunk).and_then(|w| w.hosts.iter().find(|h| h.address == address));
        host.is_some_and(|host| {
            host.life == Health::Down || host.retry_after.is_some_and(|until| until > now)
        })
    }

    /// A call met silence, or nobody.
    pub(super) fn mark_down(&mut self, now: Now, trunk: &TrunkId, address: Candidate) {
        if let Some(host) = self.watches.get_mut(trunk).and_then(|watch| watch.host(address)) {
            (host.life, host.checked, host.status) = (Health::Down, Some(now.wall), None);
            self.lookups_failed(now.instant, address);
            let due = now.instant + INTERVAL_DOWN;
            self.set_only(due, Alarm::Probe(trunk.clone()));
        }
    }

    /// A host asks to be left alone for a while.
    pub(super) fn back_off(&mut self, now: Instant, trunk: &TrunkId, address: Candidate, seconds: u64) {
        if let Some(host) = self.watches.get_mut(trunk).and_then(|watch| watch.host(address)) {
            host.retry_after = Some(now + Duration::from_secs(seconds).min(LONGEST_REST));
        }
    }
}

/// What a response asks for in Retry-After, seconds.
pub(super) fn retry_after(response: &Message) -> Option<u64> {
    let text = response.header(HeaderName::RetryAfter)?;
    let digits = text.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

impl Core {
    /// Ask all hosts of a trunk, and set the time of the next round.
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

    /// Ask every address of a host.
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

    /// A host answered, or did not. Every answer is a sign of life but one: 503 says that calls would be refused.
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
                // One lost round says little of a host that lived; of an unknown one it says all that we know.
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
