//! Registration at a carrier (S119): register, refresh before expiry, back off after a failure, and unregister.
//!
//! It runs on one node of a cluster, selected by the shell. The other nodes place calls over the same trunks and probe hosts with OPTIONS.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base::{Instant, Now};
use model::{Trunk, TrunkHost, TrunkId};
use sip::digest::Account;
use sip::resolve::Candidate;
use sip::{Contacts, HeaderName, Message, Method, Request, Target, Uri};

use super::health::retry_after;
use super::lookup::host_uri;
use super::{Alarm, Asked, Purpose, Trunks, selection};
use crate::Output;
use crate::core::Core;

/// First retry interval after a failure; it doubles with each further failure.
const BACK_OFF: Duration = Duration::from_secs(5);
/// Longest retry interval without Retry-After.
const LONGEST: Duration = Duration::from_secs(300);
/// Shortest retry interval after a 3xx, 4xx or 6xx response, which a change of the configuration must resolve.
const REFUSED: Duration = Duration::from_secs(60);
/// Time-out of a REGISTER.
const PATIENCE: Duration = Duration::from_secs(8);
/// Time-out of a REGISTER that unregisters.
const UNREGISTER_TIMEOUT: Duration = Duration::from_secs(2);

/// State of a registration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    Trying,
    Registered,
    /// The last round failed with this SIP status; `None` without response.
    Failed(Option<u16>),
    /// Unregistering.
    Leaving,
}

/// A registration at a carrier.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(super) stage: Stage,
    /// Expiry granted by the carrier.
    pub(super) until: Option<Instant>,
    /// The address that granted the registration, or that the pending REGISTER was sent to.
    at: Option<Candidate>,
    host: Option<TrunkHost>,
    /// Remaining hosts of this round; `addresses` are the remaining addresses of `host`.
    hosts: VecDeque<TrunkHost>,
    addresses: VecDeque<Candidate>,
    call_id: Arc<str>,
    cseq: u32,
    expires: u32,
    failures: u32,
    /// The trunk as registered, needed to unregister after the trunk was changed.
    trunk: Arc<Trunk>,
}

impl Trunks {
    /// The address of the registrar, if a registration is in force.
    pub(super) fn registrar(&self, trunk: &TrunkId) -> Option<Candidate> {
        let registration = self.registrations.get(trunk)?;
        registration.at.filter(|_| registration.until.is_some() && registration.stage != Stage::Leaving)
    }

    /// Whether an unregistration is pending.
    pub(crate) fn is_unregistering(&self) -> bool {
        self.registrations.values().any(|registration| registration.stage == Stage::Leaving)
    }
}

/// Expiry of our own contact in a 2xx response, in seconds (RFC 3261 §10.2.4). The response may list contacts of other devices of the account; ours
/// has the address that we sent. If the registrar has rewritten addresses, the shortest expiry of the contacts with our user part is used.
fn granted(response: &Message, user: &str, local: SocketAddr) -> Option<u32> {
    let ours = |list: Vec<sip::NameAddr>| {
        let seconds = |contact: &sip::NameAddr| contact.param("expires").and_then(|text| text.parse().ok());
        let of_account = |contact: &&sip::NameAddr| contact.uri.user().is_some_and(|name| name == user);
        let is_ours = |contact: &&sip::NameAddr| {
            let host = contact.uri.host().trim_matches(['[', ']']).parse::<IpAddr>();
            host == Ok(local.ip()) && contact.uri.port().unwrap_or(5060) == local.port()
        };
        let mine = list.iter().filter(of_account).find(is_ours);
        mine.map_or_else(|| list.iter().filter(of_account).filter_map(seconds).min(), seconds)
    };
    let said = match response.contacts() {
        Ok(Contacts::List(list)) => ours(list),
        Ok(Contacts::None | Contacts::Star) | Err(_) => None,
    };
    said.or_else(|| response.number(HeaderName::Expires).and_then(Result::ok))
}

impl Core {
    /// Stop registering. Existing registrations are left to expire, because another node may have registered the same account already.
    pub(crate) fn suspend_trunk_registration(&mut self) {
        self.config.register_trunks = false;
    }

    /// Start a round of registration over the hosts of a trunk, beginning with the address that granted a registration still in force.
    pub(crate) fn register_at(&mut self, now: Now, id: &TrunkId, out: &mut Vec<Output>) {
        if !self.config.register_trunks {
            return;
        }
        let Some(trunk) = self.directory.trunk(id).filter(|trunk| trunk.enabled).cloned() else {
            return;
        };
        let Some(expires) = trunk.settings.register else { return };
        let rng = &mut self.rng;
        let mut hosts: VecDeque<TrunkHost> = selection::in_order(&trunk, rng).into();
        let known = self.trunks.registrations.entry(id.clone()).or_insert_with(|| Registration {
            stage: Stage::Trying,
            until: None,
            at: None,
            host: None,
            hosts: VecDeque::new(),
            addresses: VecDeque::new(),
            call_id: format!("{}-reg{}", self.config.mark, rng.base36(16)).into(),
            cseq: 1,
            expires,
            failures: 0,
            trunk: Arc::clone(&trunk),
        });
        if known.trunk != trunk {
            (known.expires, known.failures) = (expires, 0);
        }
        known.trunk = trunk;
        known.stage = Stage::Trying;
        known.addresses.clear();
        if known.until.is_some_and(|until| until > now.instant)
            && let (Some(at), Some(host)) = (known.at, &known.host)
            && known.trunk.settings.hosts.contains(host)
        {
            hosts.retain(|other| other != host);
            hosts.push_front(host.clone());
            known.addresses.push_back(at);
        }
        if known.addresses.is_empty() {
            known.host = None;
        }
        known.hosts = hosts;
        self.try_registrar(now, id, out);
    }

    /// Send REGISTER to the next address of this round; after the last one, schedule a retry.
    fn try_registrar(&mut self, now: Now, id: &TrunkId, out: &mut Vec<Output>) {
        if !self.config.register_trunks {
            return; // suspended while a lookup or request was pending
        }
        loop {
            let Some(known) = self.trunks.registrations.get_mut(id) else { return };
            if let Some(at) = known.addresses.pop_front() {
                known.at = Some(at);
                if self.send_register(now, id, None) {
                    return;
                }
                continue;
            }
            let Some(host) = known.hosts.pop_front() else { return self.pause(now, id, None, None) };
            known.host = Some(host.clone());
            let found = self.trunks.look_up(now.instant, &host, Purpose::Register(id.clone()), out);
            let Some(addresses) = found else { return };
            if let Some(known) = self.trunks.registrations.get_mut(id) {
                known.addresses = addresses.into();
            }
        }
    }

    pub(crate) fn registrar_resolved(
        &mut self,
        now: Now,
        id: &TrunkId,
        addresses: Vec<Candidate>,
        out: &mut Vec<Output>,
    ) {
        if let Some(known) =
            self.trunks.registrations.get_mut(id).filter(|known| known.stage == Stage::Trying)
        {
            known.addresses = addresses.into();
            self.try_registrar(now, id, out);
        }
    }

    /// Send REGISTER to the current address; with `leave`, unregister with that time-out. `false` when it cannot be sent.
    fn send_register(&mut self, now: Now, id: &TrunkId, leave: Option<Duration>) -> bool {
        let Some(known) = self.trunks.registrations.get(id) else { return false };
        let settings = &known.trunk.settings;
        let at = known.at;
        let (Some(user), Some(hop)) = (&settings.username, at.and_then(|at| self.hop_to(at))) else {
            return false;
        };
        let password =
            known.trunk.password.as_ref().and_then(|sealed| sealed.open(&self.config.seal, id.as_str()));
        // The request URI is the carrier's domain, also with an outbound proxy (RFC 3261 §10.2).
        let host =
            known.host.as_ref().filter(|host| settings.hosts.contains(host)).or(settings.hosts.first());
        let (Some(password), Some(host)) = (password, host) else { return false };
        let Ok(uri) = Uri::parse(host_uri(None, host).into()) else { return false };
        let own = format!("<sip:{}@{}>", crate::call::escaped(user), host.in_uri());
        let mut request =
            Request::new(Method::Register, Target { uri, hop, route: Vec::new() }, own.clone(), own);
        request.contact_user = Some(user.clone());
        request.lines.add("Expires", if leave.is_some() { 0 } else { known.expires });
        let realm = settings.realm.clone();
        request.credentials = Some(Account { user: user.clone(), password, realm });
        request.row = Some((Arc::clone(&known.call_id), known.cseq));
        request.patience = Some(leave.unwrap_or(PATIENCE));
        if let Some(known) = self.trunks.registrations.get_mut(id) {
            known.cseq += 3;
        }
        let request = self.endpoint.request(now, request, &mut self.sip_out);
        self.trunks.asked.insert(request, Asked::Register(id.clone()));
        true
    }

    /// Final response to a REGISTER; `None` without response.
    pub(super) fn registered(
        &mut self,
        now: Now,
        id: &TrunkId,
        response: Option<&Message>,
        out: &mut Vec<Output>,
    ) {
        let at = self.trunks.registrations.get(id).and_then(|known| known.at);
        let local = at.and_then(|at| self.hop_to(at)).map(|hop| hop.local);
        let Some(known) = self.trunks.registrations.get_mut(id) else { return };
        if known.stage == Stage::Leaving {
            self.trunks.registrations.remove(id);
            // If the trunk was changed and not removed, it registers with its new settings.
            if self.state == crate::State::Running
                && self.directory.trunk(id).is_some_and(|trunk| trunk.enabled)
            {
                self.trunks.set_only(now.instant, Alarm::Register(id.clone()));
            }
            return self.drained(out);
        }
        let status = response.and_then(Message::status);
        match (status, response) {
            (Some(200..=299), Some(response)) => {
                let user = known.trunk.settings.username.as_deref().unwrap_or_default();
                let granted = local.and_then(|local| granted(response, user, local));
                let seconds = u64::from(granted.unwrap_or(known.expires).max(10));
                known.stage = Stage::Registered;
                known.until = Some(now.instant + Duration::from_secs(seconds));
                known.failures = 0;
                let refresh = Duration::from_millis(seconds * 800);
                self.trunks.set_only(now.instant + refresh, Alarm::Register(id.clone()));
            }
            (Some(423), Some(response)) => {
                let least = response.number(HeaderName::MinExpires).and_then(Result::ok);
                match least.filter(|least| *least > known.expires && *least <= 86_400) {
                    Some(least) => {
                        known.expires = least;
                        if !self.send_register(now, id, None) {
                            self.pause(now, id, status, None);
                        }
                    }
                    None => self.pause(now, id, status, None),
                }
            }
            (None | Some(500..=599), response) => {
                let rest = response.and_then(retry_after);
                if known.addresses.is_empty() && known.hosts.is_empty() {
                    self.pause(now, id, status, rest);
                } else {
                    self.try_registrar(now, id, out);
                }
            }
            (Some(_), response) => self.pause(now, id, status, response.and_then(retry_after)),
        }
    }

    /// Schedule a retry with exponential back-off and jitter. `rest` is Retry-After in seconds, of which at most an hour counts.
    fn pause(&mut self, now: Now, id: &TrunkId, status: Option<u16>, rest: Option<u64>) {
        let Some(known) = self.trunks.registrations.get_mut(id) else { return };
        known.stage = Stage::Failed(status);
        if known.until.is_some_and(|until| until <= now.instant) {
            known.until = None;
        }
        let mut wait = (BACK_OFF * 2_u32.pow(known.failures.min(6))).min(LONGEST);
        known.failures += 1;
        if status.is_some_and(|status| (300..500).contains(&status) || status >= 600) {
            wait = wait.max(REFUSED);
        }
        if let Some(seconds) = rest {
            wait = wait.max(Duration::from_secs(seconds.min(3600)));
        }
        let due = now.instant + self.trunks.around(wait);
        self.trunks.set_only(due, Alarm::Register(id.clone()));
    }

    /// A trunk was changed or removed (`wanted` is `None`): unregister, unless the registration, its user name and hosts stay the same.
    pub(crate) fn unregister_unless(&mut self, now: Now, id: &TrunkId, wanted: Option<&Trunk>) {
        let Some(known) = self.trunks.registrations.get(id) else { return };
        let same = |trunk: &Trunk| {
            trunk.settings.register.is_some()
                && trunk.settings.username == known.trunk.settings.username
                && trunk.settings.hosts == known.trunk.settings.hosts
        };
        if wanted.is_some_and(same) {
            return;
        }
        if !self.leave(now, id) {
            self.trunks.registrations.remove(id);
        }
    }

    /// Unregister at a carrier. `false` when there is no registration in force or the REGISTER cannot be sent.
    fn leave(&mut self, now: Now, id: &TrunkId) -> bool {
        let Some(known) = self.trunks.registrations.get_mut(id) else { return false };
        if known.until.is_none() || known.stage == Stage::Leaving {
            return known.stage == Stage::Leaving;
        }
        known.stage = Stage::Leaving;
        self.trunks.unset(&Alarm::Register(id.clone()));
        self.trunks.asked.retain(|_, asked| *asked != Asked::Register(id.clone()));
        if !self.send_register(now, id, Some(UNREGISTER_TIMEOUT)) {
            return false;
        }
        self.trunks.set_only(now.instant + UNREGISTER_TIMEOUT * 2, Alarm::UnregisterTimeout);
        true
    }

    /// Unregister all trunks, so that no carrier sends calls to a server that shuts down.
    pub(crate) fn unregister_all(&mut self, now: Now) {
        let all: Vec<TrunkId> = self.trunks.registrations.keys().cloned().collect();
        for id in all {
            if !self.leave(now, &id) {
                self.trunks.registrations.remove(&id);
                self.trunks.unset(&Alarm::Register(id));
            }
        }
    }

    /// Discard the unregistrations that no carrier has confirmed in time. The timer allows for two round trips, because REGISTER may be challenged.
    pub(crate) fn left(&mut self, out: &mut Vec<Output>) {
        if !self.trunks.is_unregistering() {
            return;
        }
        self.trunks.registrations.retain(|_, known| known.stage != Stage::Leaving);
        self.drained(out);
    }
}
