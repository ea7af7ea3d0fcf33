//! Where calls are found without a look at all of them: by party, by user, in the order of lists, and by what they wait for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base::{KeyedHash, KeyedMap, Rng, Timestamp};
use model::UserId;

use super::flow_recovery::PendingFlow;
use super::{CallKey, CallState};
use crate::CallPlace;

/// What a click-to-call waits for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Awaits {
    /// This device.
    Device(Arc<str>),
    /// Any device of this user.
    User(UserId),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Index {
    /// The calls that phones of a user name are in; as often as they are in it.
    by_party: KeyedMap<Arc<str>, Vec<CallKey>>,
    order: BTreeMap<CallPlace, CallKey>,
    /// The calls that a user may read: his own, and those that his phones were called by.
    by_user: BTreeMap<(UserId, CallPlace), CallKey>,
    /// What the shell was asked to read or to write.
    tokens: BTreeMap<u64, CallKey>,
    waiting: BTreeMap<CallKey, Awaits>,
    waiting_for: BTreeMap<Awaits, BTreeSet<CallKey>>,
    returning: BTreeMap<CallKey, PendingFlow>,
    returning_to: BTreeMap<Arc<str>, BTreeSet<CallKey>>,
    /// Visits to voicemail that began before the prompts were read.
    unspoken: BTreeSet<CallKey>,
}

fn place(call: &CallState) -> CallPlace {
    CallPlace { started_at: call.record.started_at, id: Some(call.record.id.clone()) }
}

/// Who may read a call.
fn readers(call: &CallState) -> impl Iterator<Item = &UserId> {
    let other = call.record.other_user.as_ref().filter(|other| **other != call.record.user);
    std::iter::once(&call.record.user).chain(other)
}

fn take_out<K: Ord>(map: &mut BTreeMap<K, BTreeSet<CallKey>>, at: &K, key: CallKey) {
    if let Some(keys) = map.get_mut(at) {
        keys.remove(&key);
        if keys.is_empty() {
            map.remove(at);
        }
    }
}

impl Index {
    pub(super) fn new(rng: &mut Rng) -> Index {
        Index {
            by_party: KeyedMap::with_hasher(KeyedHash::new(rng)),
            order: BTreeMap::new(),
            by_user: BTreeMap::new(),
            tokens: BTreeMap::new(),
            waiting: BTreeMap::new(),
            waiting_for: BTreeMap::new(),
            returning: BTreeMap::new(),
            returning_to: BTreeMap::new(),
            unspoken: BTreeSet::new(),
        }
    }

    pub(super) fn begin(&mut self, key: CallKey, call: &CallState) {
        self.order.insert(place(call), key);
        for user in readers(call) {
            self.by_user.insert((user.clone(), place(call)), key);
        }
        for party in &call.parties {
            self.join(key, party);
        }
    }

    /// The call is over.
    pub(super) fn retire(&mut self, key: CallKey, call: &CallState) {
        self.stop_waiting(key);
        self.stop_returning(key);
        self.unspoken.remove(&key);
        self.order.remove(&place(call));
        for user in readers(call) {
            self.by_user.remove(&(user.clone(), place(call)));
        }
        for party in &call.parties {
            self.part(key, party);
        }
    }

    // ---- parties -------------------------------------------------------------------------------------------------------------

    pub(super) fn join(&mut self, key: CallKey, party: &Arc<str>) {
        match self.by_party.get_mut(party) {
            Some(keys) => keys.push(key),
            None => drop(self.by_party.insert(Arc::clone(party), vec![key])),
        }
    }

    pub(super) fn part(&mut self, key: CallKey, party: &Arc<str>) {
        let Some(keys) = self.by_party.get_mut(party) else { return };
        if let Some(at) = keys.iter().position(|other| *other == key) {
            keys.swap_remove(at);
        }
        if keys.is_empty() {
            self.by_party.remove(party);
        }
    }

    pub(super) fn of_party(&self, party: &str) -> &[CallKey] {
        self.by_party.get(party).map_or(&[], Vec::as_slice)
    }

    // ---- lists, newest first -------------------------------------------------------------------------------------------------

    pub(super) fn all(&self, after: Option<&CallPlace>) -> impl Iterator<Item = CallKey> {
        let end = after.cloned().unwrap_or(CallPlace::BEGIN);
        self.order.range(..end).rev().map(|(_, key)| *key)
    }

    pub(super) fn of_user(&self, user: &UserId, after: Option<&CallPlace>) -> impl Iterator<Item = CallKey> {
        let first = CallPlace { started_at: Timestamp::from_micros(i64::MIN), id: None };
        let end = after.cloned().unwrap_or(CallPlace::BEGIN);
        let range = (user.clone(), first)..(user.clone(), end);
        self.by_user.range(range).rev().map(|(_, key)| *key)
    }

    // ---- what the shell was asked for ----------------------------------------------------------------------------------------

    /// An answer with this token belongs to this call. Who takes it looks whether the call still wants it.
    pub(super) fn expect(&mut self, token: u64, key: CallKey) {
        self.tokens.insert(token, key);
    }

    pub(super) fn expected(&mut self, token: u64) -> Option<CallKey> {
        self.tokens.remove(&token)
    }

    // ---- click-to-calls that wait for a device -------------------------------------------------------------------------------

    pub(super) fn wait(&mut self, key: CallKey, device: Option<Arc<str>>, user: UserId) {
        let awaits = device.map_or(Awaits::User(user), Awaits::Device);
        self.waiting_for.entry(awaits.clone()).or_default().insert(key);
        self.waiting.insert(key, awaits);
    }

    pub(super) fn stop_waiting(&mut self, key: CallKey) {
        if let Some(awaits) = self.waiting.remove(&key) {
            take_out(&mut self.waiting_for, &awaits, key);
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn first_waiting(&self) -> Option<CallKey> {
        self.waiting.first_key_value().map(|(key, _)| *key)
    }

    /// The calls that may go on once a device of this user name, and of this user, has registered.
    pub(super) fn waiting_for(&self, device: &Arc<str>, user: Option<&UserId>) -> Vec<CallKey> {
        let device = self.waiting_for.get(&Awaits::Device(Arc::clone(device)));
        let user = user.and_then(|user| self.waiting_for.get(&Awaits::User(user.clone())));
        device.into_iter().chain(user).flatten().copied().collect()
    }

    // ---- calls for a phone whose connection broke ----------------------------------------------------------------------------

    pub(super) fn await_return(&mut self, key: CallKey, awaited: PendingFlow) {
        self.stop_returning(key);
        self.returning_to.entry(Arc::clone(&awaited.username)).or_default().insert(key);
        self.returning.insert(key, awaited);
    }

    pub(super) fn stop_returning(&mut self, key: CallKey) -> Option<PendingFlow> {
        let awaited = self.returning.remove(&key)?;
        take_out(&mut self.returning_to, &awaited.username, key);
        Some(awaited)
    }

    pub(super) fn returning_to(&self, username: &str) -> Vec<(CallKey, PendingFlow)> {
        let keys = self.returning_to.get(username).into_iter().flatten();
        keys.filter_map(|key| Some((*key, self.returning.get(key)?.clone()))).collect()
    }

    // ---- voicemail that cannot speak yet -------------------------------------------------------------------------------------

    pub(super) fn hold(&mut self, key: CallKey) {
        self.unspoken.insert(key);
    }

    pub(super) fn next_held(&mut self) -> Option<CallKey> {
        self.unspoken.pop_first()
    }
}
