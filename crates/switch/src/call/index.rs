//! `CallIndex`: secondary indices of the call table, by id, SIP session, media stream, party, user and start time, and by the event that a
//! call waits for. It holds keys only, so it can be queried while a call is borrowed mutably.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use base::{KeyedHash, KeyedMap, Rng, Timestamp};
use media::StreamId;
use model::{CallId, UserId};
use sip::SessionId;

use super::flow_recovery::PendingFlow;
use super::{Call, CallKey, Leg, Phase};
use crate::CallPlace;

/// The registration that a click-to-call waits for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Awaits {
    /// Registration of this device.
    Device(Arc<str>),
    /// Registration of any device of this user.
    User(UserId),
}

/// The keys of all calls, in one index per lookup.
#[derive(Debug)]
pub(crate) struct CallIndex {
    sessions: KeyedMap<SessionId, (CallKey, usize)>,
    /// Streams that their media worker has not closed yet. A stream may outlive its call; its port stays in use until it is closed.
    streams: KeyedMap<StreamId, (CallKey, usize)>,
    by_id: BTreeMap<CallId, CallKey>,
    /// Concurrent calls charged to each user (S29).
    per_user: BTreeMap<UserId, u32>,
    /// Calls by the user name of a participating device; a call is listed once per device.
    by_party: KeyedMap<Arc<str>, Vec<CallKey>>,
    order: BTreeMap<CallPlace, CallKey>,
    /// Calls that a user may read: calls of the user, and calls whose `other_user` is the user.
    by_reader: BTreeMap<(UserId, CallPlace), CallKey>,
    /// Calls by the token of a read or write request to the shell that has not been answered.
    tokens: BTreeMap<u64, CallKey>,
    waiting: BTreeMap<CallKey, Awaits>,
    waiting_for: BTreeMap<Awaits, BTreeSet<CallKey>>,
    returning: BTreeMap<CallKey, PendingFlow>,
    returning_to: BTreeMap<Arc<str>, BTreeSet<CallKey>>,
    /// Calls whose voicemail session started before the prompts were decoded.
    without_prompts: BTreeSet<CallKey>,
    live: usize,
    next_stream: u32,
}

fn place(call: &Call) -> CallPlace {
    CallPlace { started_at: call.record.started_at, id: Some(call.record.id.clone()) }
}

/// The users that may read a call: its user and, if different, the other user.
fn readers(call: &Call) -> impl Iterator<Item = &UserId> {
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

impl CallIndex {
    pub(crate) fn new(rng: &mut Rng) -> CallIndex {
        CallIndex {
            sessions: KeyedMap::with_hasher(KeyedHash::new(rng)),
            streams: KeyedMap::with_hasher(KeyedHash::new(rng)),
            by_id: BTreeMap::new(),
            per_user: BTreeMap::new(),
            by_party: KeyedMap::with_hasher(KeyedHash::new(rng)),
            order: BTreeMap::new(),
            by_reader: BTreeMap::new(),
            tokens: BTreeMap::new(),
            waiting: BTreeMap::new(),
            waiting_for: BTreeMap::new(),
            returning: BTreeMap::new(),
            returning_to: BTreeMap::new(),
            without_prompts: BTreeSet::new(),
            live: 0,
            next_stream: 0,
        }
    }

    // ---- call lifecycle ------------------------------------------------------------------------------------------------------

    /// Add a new call to the indices and charge it to its user; an emergency call is not charged.
    pub(super) fn insert(&mut self, call: &Call) {
        let key = call.key;
        if !call.is_emergency {
            *self.per_user.entry(call.record.user.clone()).or_default() += 1;
        }
        self.live += 1;
        self.by_id.insert(call.record.id.clone(), key);
        self.order.insert(place(call), key);
        for user in readers(call) {
            self.by_reader.insert((user.clone(), place(call)), key);
        }
        for party in &call.parties {
            self.add_party(key, party);
        }
    }

    /// Remove a released call from lists, limits and waiting indices. Its id, sessions and streams stay, because SIP and media events still follow.
    pub(crate) fn retire(&mut self, call: &mut Call) {
        let key = call.key;
        self.stop_waiting(key);
        self.stop_returning(key);
        self.without_prompts.remove(&key);
        self.order.remove(&place(call));
        for user in readers(call) {
            self.by_reader.remove(&(user.clone(), place(call)));
        }
        for party in std::mem::take(&mut call.parties) {
            self.remove_party(key, &party);
        }
        self.live -= 1;
        let own = (!call.is_emergency).then_some(&call.record.user);
        for user in call.routing.charged_users.iter().chain(own) {
            if let Some(count) = self.per_user.get_mut(user) {
                *count -= 1;
                if *count == 0 {
                    self.per_user.remove(user);
                }
            }
        }
    }

    /// Remove the id and the sessions of a finished call. Its streams stay until their workers have closed them.
    pub(super) fn remove(&mut self, call: &Call) {
        self.by_id.remove(&call.record.id);
        for leg in &call.legs {
            self.sessions.remove(&leg.session);
        }
    }

    /// Charge a forwarded call to one more user, the owner of the forwarding extension (S29).
    pub(crate) fn charge(&mut self, call: &mut Call, user: UserId) {
        *self.per_user.entry(user.clone()).or_default() += 1;
        call.routing.charged_users.push(user);
    }

    /// Append a leg to its call and index its session and stream. Returns the leg's index in `call.legs`.
    pub(crate) fn add_leg(&mut self, call: &mut Call, leg: Leg) -> usize {
        let index = call.legs.len();
        self.sessions.insert(leg.session, (call.key, index));
        self.streams.insert(leg.stream.id, (call.key, index));
        call.legs.push(leg);
        call.open_streams += 1;
        index
    }

    // ---- lookups -------------------------------------------------------------------------------------------------------------

    pub(crate) fn find(&self, id: &CallId) -> Option<CallKey> {
        self.by_id.get(id).copied()
    }

    /// The call with the lowest id greater than `after` and at most `until`.
    pub(crate) fn next(&self, after: Option<&CallId>, until: &CallId) -> Option<(CallId, CallKey)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        if after.is_some_and(|after| after >= until) {
            return None;
        }
        self.by_id.range((from, Bound::Included(until))).next().map(|(id, key)| (id.clone(), *key))
    }

    pub(crate) fn last_id(&self) -> Option<CallId> {
        self.by_id.last_key_value().map(|(id, _)| id.clone())
    }

    /// Number of calls that are not released.
    pub(crate) fn live_count(&self) -> usize {
        self.live
    }

    /// Number of all calls, including released calls that wait for their last SIP and media events.
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Number of concurrent calls charged to a user.
    pub(crate) fn of_user(&self, user: &UserId) -> u32 {
        self.per_user.get(user).copied().unwrap_or(0)
    }

    pub(crate) fn leg_of(&self, session: SessionId) -> Option<(CallKey, usize)> {
        self.sessions.get(&session).copied()
    }

    /// Number of streams whose ports are in use.
    pub(crate) fn streams(&self) -> usize {
        self.streams.len()
    }

    pub(crate) fn stream_of(&self, stream: StreamId) -> Option<(CallKey, usize)> {
        self.streams.get(&stream).copied()
    }

    pub(crate) fn stream_closed(&mut self, stream: StreamId) -> Option<(CallKey, usize)> {
        self.streams.remove(&stream)
    }

    pub(crate) fn new_stream(&mut self) -> StreamId {
        self.next_stream = self.next_stream.wrapping_add(1);
        StreamId(self.next_stream)
    }

    // ---- parties -------------------------------------------------------------------------------------------------------------

    /// Add a device with this user name to the parties of a call; no effect on a released call.
    pub(crate) fn join(&mut self, call: &mut Call, username: &Arc<str>) {
        if !matches!(call.phase, Phase::Released { .. }) {
            call.parties.push(Arc::clone(username));
            self.add_party(call.key, username);
        }
    }

    /// Remove the devices with these user names from the parties of a call.
    pub(crate) fn part(&mut self, call: &mut Call, usernames: &[Arc<str>]) {
        let (gone, stay) = std::mem::take(&mut call.parties).into_iter().partition(|p| usernames.contains(p));
        call.parties = stay;
        let gone: Vec<Arc<str>> = gone;
        for party in &gone {
            self.remove_party(call.key, party);
        }
    }

    /// Whether a device with this user name is in a call.
    pub(crate) fn is_busy(&self, username: &str) -> bool {
        !self.of_party(username).is_empty()
    }

    pub(super) fn of_party(&self, party: &str) -> &[CallKey] {
        self.by_party.get(party).map_or(&[], Vec::as_slice)
    }

    fn add_party(&mut self, key: CallKey, party: &Arc<str>) {
        match self.by_party.get_mut(party) {
            Some(keys) => keys.push(key),
            None => drop(self.by_party.insert(Arc::clone(party), vec![key])),
        }
    }

    fn remove_party(&mut self, key: CallKey, party: &Arc<str>) {
        let Some(keys) = self.by_party.get_mut(party) else { return };
        if let Some(at) = keys.iter().position(|other| *other == key) {
            keys.swap_remove(at);
        }
        if keys.is_empty() {
            self.by_party.remove(party);
        }
    }

    // ---- lists, newest first -------------------------------------------------------------------------------------------------

    pub(super) fn all(&self, after: Option<&CallPlace>) -> impl Iterator<Item = CallKey> {
        let end = after.cloned().unwrap_or(CallPlace::BEGIN);
        self.order.range(..end).rev().map(|(_, key)| *key)
    }

    pub(super) fn readable_by(
        &self,
        user: &UserId,
        after: Option<&CallPlace>,
    ) -> impl Iterator<Item = CallKey> {
        let first = CallPlace { started_at: Timestamp::from_micros(i64::MIN), id: None };
        let end = after.cloned().unwrap_or(CallPlace::BEGIN);
        let range = (user.clone(), first)..(user.clone(), end);
        self.by_reader.range(range).rev().map(|(_, key)| *key)
    }

    // ---- answers of the shell ------------------------------------------------------------------------------------------------

    /// Register the call that receives the shell's answer with this token. The call checks on arrival whether it still needs the answer.
    pub(crate) fn expect(&mut self, token: u64, key: CallKey) {
        self.tokens.insert(token, key);
    }

    pub(crate) fn expected(&mut self, token: u64) -> Option<CallKey> {
        self.tokens.remove(&token)
    }

    // ---- click-to-calls that wait for a device -------------------------------------------------------------------------------

    /// Let a click-to-call wait until `device` registers, or any device of `user` when `device` is `None`.
    pub(crate) fn wait(&mut self, key: CallKey, device: Option<Arc<str>>, user: UserId) {
        let awaits = device.map_or(Awaits::User(user), Awaits::Device);
        self.waiting_for.entry(awaits.clone()).or_default().insert(key);
        self.waiting.insert(key, awaits);
    }

    pub(crate) fn stop_waiting(&mut self, key: CallKey) {
        if let Some(awaits) = self.waiting.remove(&key) {
            take_out(&mut self.waiting_for, &awaits, key);
        }
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn first_waiting(&self) -> Option<CallKey> {
        self.waiting.first_key_value().map(|(key, _)| *key)
    }

    /// The click-to-calls that wait for this device or for any device of this user.
    pub(crate) fn waiting_for(&self, device: &Arc<str>, user: Option<&UserId>) -> Vec<CallKey> {
        let device = self.waiting_for.get(&Awaits::Device(Arc::clone(device)));
        let user = user.and_then(|user| self.waiting_for.get(&Awaits::User(user.clone())));
        device.into_iter().chain(user).flatten().copied().collect()
    }

    // ---- calls to a binding whose connection closed (RFC 5626) ---------------------------------------------------------------

    pub(crate) fn await_return(&mut self, key: CallKey, awaited: PendingFlow) {
        self.stop_returning(key);
        self.returning_to.entry(Arc::clone(&awaited.username)).or_default().insert(key);
        self.returning.insert(key, awaited);
    }

    pub(crate) fn stop_returning(&mut self, key: CallKey) -> Option<PendingFlow> {
        let awaited = self.returning.remove(&key)?;
        take_out(&mut self.returning_to, &awaited.username, key);
        Some(awaited)
    }

    pub(crate) fn returning_to(&self, username: &str) -> Vec<(CallKey, PendingFlow)> {
        let keys = self.returning_to.get(username).into_iter().flatten();
        keys.filter_map(|key| Some((*key, self.returning.get(key)?.clone()))).collect()
    }

    // ---- voicemail before the prompts are decoded ----------------------------------------------------------------------------

    /// Let a voicemail session wait until the prompts are decoded.
    pub(crate) fn await_prompts(&mut self, key: CallKey) {
        self.without_prompts.insert(key);
    }

    pub(crate) fn next_without_prompts(&mut self) -> Option<CallKey> {
        self.without_prompts.pop_first()
    }
}
