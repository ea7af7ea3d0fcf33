//! Location service: the contacts of each address of record (RFC 3261 §10).

use std::cell::Cell;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use base::{Instant, KeyedHash, KeyedMap, Now, Rng, Timestamp};
use bytes::Bytes;
use model::journal::Binding;
use sip::{Flow, Hop, Transport, Uri};

use crate::{Config, limits};

/// One contact of an address of record.
#[derive(Clone, Debug)]
pub(crate) struct Contact {
    pub(crate) uri: Uri,
    pub(crate) path: Box<[Uri]>,
    pub(crate) call_id: Box<str>,
    pub(crate) cseq: u32,
    pub(crate) q: u16,
    /// Identifies the device: a REGISTER from a new address replaces its binding.
    pub(crate) instance: Option<Instance>,
    pub(crate) expires: Instant,
    pub(crate) created_at: Timestamp,
    pub(crate) user_agent: Arc<str>,
    pub(crate) hop: Hop,
    /// Generation of the message counts in its last MWI NOTIFY: see [`crate::mwi::Mwi`]. 0 if there was none.
    pub(crate) mwi: u64,
}

/// `+sip.instance` and `reg-id`: the device and its flow (RFC 5626 §6).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Instance {
    pub(crate) urn: Box<str>,
    pub(crate) reg_id: Option<Box<str>>,
}

impl Contact {
    pub(crate) fn is_same(&self, other: &Contact) -> bool {
        match (&self.instance, &other.instance) {
            (Some(mine), Some(theirs)) if mine == theirs => true,
            _ => self.uri.as_bytes() == other.uri.as_bytes() || self.uri == other.uri,
        }
    }

    pub(crate) fn remaining(&self, now: Instant) -> u32 {
        // Rounded up: an `expires` of 3600 is answered with 3600, although microseconds have passed.
        self.expires.since(now).as_millis().div_ceil(1000) as u32
    }

    /// The binding as a journal record.
    pub(crate) fn record(&self, username: &Arc<str>, config: &Config, now: Now) -> Binding {
        Binding {
            username: Arc::clone(username),
            contact: self.uri.to_string(),
            path: self.path.iter().map(Uri::to_string).collect(),
            call_id: self.call_id.to_string(),
            cseq: self.cseq,
            q: self.q,
            expires_at: now.wall + self.expires.since(now.instant),
            created_at: self.created_at,
            user_agent: self.user_agent.to_string(),
            transport: transport_number(self.hop.transport),
            listener: config.listener_id(self.hop.listener),
            local: self.hop.local,
            remote: self.hop.remote,
            flow: (self.hop.flow.epoch, self.hop.flow.number),
            instance: self.instance.as_ref().map(|instance| instance.urn.to_string()),
            reg_id: self.instance.as_ref().and_then(|i| Some(i.reg_id.as_ref()?.to_string())),
        }
    }

    /// Restore from the journal; `None` if the binding has expired, cannot be parsed, or came over a listener that no longer exists.
    pub(crate) fn restore(binding: &Binding, config: &Config, now: Now) -> Option<Contact> {
        let left = binding.expires_at.since(now.wall);
        if left == Duration::ZERO {
            return None;
        }
        let uri = |text: &str| Uri::parse(Bytes::copy_from_slice(text.as_bytes())).ok();
        Some(Contact {
            uri: uri(&binding.contact)?,
            path: binding.path.iter().map(|p| uri(p)).collect::<Option<_>>()?,
            call_id: binding.call_id.as_str().into(),
            cseq: binding.cseq,
            q: binding.q,
            instance: binding.instance.as_ref().map(|urn| Instance {
                urn: urn.as_str().into(),
                reg_id: binding.reg_id.as_deref().map(Box::from),
            }),
            expires: now.instant + left,
            created_at: binding.created_at,
            user_agent: binding.user_agent.as_str().into(),
            hop: Hop {
                transport: transport_of(binding.transport),
                listener: config.listener_of(binding)?,
                local: binding.local,
                remote: binding.remote,
                flow: Flow { epoch: binding.flow.0, number: binding.flow.1 },
            },
            mwi: 0,
        })
    }
}

pub(crate) fn transport_number(transport: Transport) -> u8 {
    match transport {
        Transport::Udp => 0,
        Transport::Tcp => 1,
        Transport::Tls => 2,
        Transport::Ws => 3,
        Transport::Wss => 4,
    }
}

pub(crate) fn transport_of(number: u8) -> Transport {
    match number {
        1 => Transport::Tcp,
        2 => Transport::Tls,
        3 => Transport::Ws,
        4 => Transport::Wss,
        _ => Transport::Udp,
    }
}

#[derive(Debug)]
struct Aor {
    /// A boxed slice: most users have one contact, and a vector would allocate room for four.
    contacts: Box<[Contact]>,
    /// Due time of the entry in `expiries`. There is at most one entry per user name, so a refresh does not touch the queue.
    due: Instant,
}

/// All bindings.
#[derive(Debug)]
pub(crate) struct Location {
    aors: KeyedMap<Arc<str>, Aor>,
    expiries: BTreeSet<(Instant, Arc<str>)>,
    /// The user names that have bindings, in list order.
    names: BTreeSet<Arc<str>>,
    /// Entries visited by lists: see [`crate::Switch::steps`].
    steps: Cell<u64>,
    dead: BTreeSet<Flow>,
    count: usize,
}

impl Location {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Location {
            aors: KeyedMap::with_hasher(KeyedHash::new(rng)),
            expiries: BTreeSet::new(),
            names: BTreeSet::new(),
            steps: Cell::new(0),
            dead: BTreeSet::new(),
            count: 0,
        }
    }

    /// Contacts of a user name in the order of registration. Expired ones may be included until the next tick.
    pub(crate) fn contacts(&self, username: &str) -> &[Contact] {
        self.aors.get(username).map_or(&[], |aor| &aor.contacts)
    }

    /// Set the notified generation of message counts on all reachable contacts of a user name.
    pub(crate) fn set_mwi(&mut self, username: &str, generation: u64) {
        let Some(aor) = self.aors.get_mut(username) else { return };
        for contact in aor.contacts.iter_mut().filter(|contact| !self.dead.contains(&contact.hop.flow)) {
            contact.mwi = generation;
        }
    }

    /// Contacts that a call can be sent to: not expired, and not on a closed flow.
    pub(crate) fn reachable<'a>(&'a self, now: Instant, username: &str) -> impl Iterator<Item = &'a Contact> {
        self.contacts(username).iter().filter(move |c| now < c.expires && !self.dead.contains(&c.hop.flow))
    }

    /// Whether an unexpired contact is on a closed flow, so that the device may register again over a new one.
    pub(crate) fn has_closed_flow(&self, now: Instant, username: &str) -> bool {
        self.contacts(username).iter().any(|c| now < c.expires && self.dead.contains(&c.hop.flow))
    }

    pub(crate) fn is_registered(&self, now: Instant, username: &str) -> bool {
        self.reachable(now, username).next().is_some()
    }

    pub(crate) fn has_room(&self) -> bool {
        self.count < limits::BINDINGS
    }

    /// Replace all contacts of one user name.
    pub(crate) fn replace(&mut self, username: &Arc<str>, contacts: Vec<Contact>) {
        let Some(first) = contacts.iter().map(|c| c.expires).min() else {
            self.forget(username);
            return;
        };
        self.count += contacts.len();
        if let Some(aor) = self.aors.get_mut(username) {
            self.count -= aor.contacts.len();
            aor.contacts = contacts.into();
            if first < aor.due {
                self.expiries.remove(&(aor.due, Arc::clone(username)));
                aor.due = first;
                self.expiries.insert((first, Arc::clone(username)));
            }
        } else {
            self.aors.insert(Arc::clone(username), Aor { contacts: contacts.into(), due: first });
            self.names.insert(Arc::clone(username));
            self.expiries.insert((first, Arc::clone(username)));
        }
    }

    fn forget(&mut self, username: &Arc<str>) {
        if let Some(aor) = self.aors.remove(username) {
            self.count -= aor.contacts.len();
            self.expiries.remove(&(aor.due, Arc::clone(username)));
            self.names.remove(username);
        }
    }

    /// Remove expired contacts, at most [`limits::TICK_BATCH`] user names per call; `gone` is called for each removed contact.
    pub(crate) fn expire(&mut self, now: Instant, mut gone: impl FnMut(&Arc<str>, Contact)) {
        for _ in 0..limits::TICK_BATCH {
            let Some((due, username)) = self.expiries.first().cloned() else { return };
            if due > now {
                return;
            }
            self.expiries.pop_first();
            let Some(aor) = self.aors.get_mut(&username) else { continue };
            let (live, dead): (Vec<_>, Vec<_>) =
                std::mem::take(&mut aor.contacts).into_vec().into_iter().partition(|c| now < c.expires);
            self.count -= dead.len();
            for contact in dead {
                gone(&username, contact);
            }
            match live.iter().map(|c| c.expires).min() {
                None => {
                    self.aors.remove(&username);
                    self.names.remove(&username);
                }
                Some(next) => {
                    aor.contacts = live.into();
                    aor.due = next;
                    self.expiries.insert((next, username));
                }
            }
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.expiries.first().map(|(due, _)| *due)
    }

    /// A connection has closed: its bindings stay until they expire, but are not used for calls.
    pub(crate) fn flow_closed(&mut self, flow: Flow) {
        if self.dead.len() >= limits::DEAD_FLOWS {
            self.dead.pop_first();
        }
        self.dead.insert(flow);
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The user names that have bindings, in order, starting after `after`.
    pub(crate) fn names_after(&self, after: Option<&str>) -> impl Iterator<Item = &Arc<str>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let count = |_: &&Arc<str>| self.steps.set(self.steps.get() + 1);
        self.names.range::<str, _>((from, Bound::Unbounded)).inspect(count)
    }

    pub(crate) fn steps(&self) -> u64 {
        self.steps.get()
    }
}
