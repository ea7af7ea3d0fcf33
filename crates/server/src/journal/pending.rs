//! Records that the database does not have yet, coalesced by key: the latest state of each.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use base::Timestamp;
use model::journal::{Binding, CallEvent, DialogSnapshot, OutboundCallTime, Record};
use model::voicemail::Fact;
use model::{CallId, CallRecord, Recording, RecordingId, RecordingState};
use store::RuntimeState;

/// Key of a binding: user name and contact.
type Contact = (Arc<str>, String);

/// The pending records. Every entry knows the oldest segment that contains a part of it.
#[derive(Clone, Debug, Default)]
pub struct Pending {
    bindings: HashMap<Contact, PendingBinding>,
    calls: BTreeMap<CallId, PendingCall>,
    events: Vec<(u64, CallEvent)>,
    recordings: BTreeMap<RecordingId, (u64, Box<Recording>)>,
    /// Voicemail facts to execute, in order. They are removed when reported as executed; the database is not fed with them.
    facts: VecDeque<(u64, Fact)>,
    /// When the previous run was last alive, by its records; `alive_by_file`: by the modification time of its segments.
    alive: Option<Timestamp>,
    alive_by_file: Option<Timestamp>,
}

/// State changes of a contact. Of successive refreshes only the last is kept; registrations and unregistrations are all kept, in order.
#[derive(Clone, Debug)]
struct PendingBinding {
    segment: u64,
    earlier: Vec<State>,
    last: State,
}

/// The binding, or the time of its removal.
type State = Result<Binding, Timestamp>;

/// Limit of waiting state changes per contact: those of a flapping phone are thinned out.
const MAX_TRANSITIONS: usize = 8;
/// Limit of waiting events that belong to no call. There are few of them; during a long outage the oldest are dropped.
const MAX_EVENTS: usize = 10_000;

impl PendingBinding {
    fn push(&mut self, segment: u64, state: State) {
        if self.last.is_ok() != state.is_ok() {
            let before = std::mem::replace(&mut self.last, Err(Timestamp::default()));
            self.earlier.push(before);
            if self.earlier.len() > MAX_TRANSITIONS {
                self.earlier.drain(..2);
            }
        } else if self.earlier.is_empty() {
            self.segment = segment;
        }
        self.last = state;
    }
}

#[derive(Clone, Debug, Default)]
struct PendingCall {
    segment: u64,
    opened: Option<Box<CallRecord>>,
    legs: Vec<DialogSnapshot>,
    closed: Option<Box<CallRecord>>,
    ladder: Option<Vec<u8>>,
    events: Vec<CallEvent>,
}

impl Pending {
    /// Add a record of segment `segment`. Adding the same records again changes nothing.
    pub fn apply(&mut self, segment: u64, record: Record) {
        match record {
            Record::Bound(binding) => {
                let key = (Arc::clone(&binding.username), binding.contact.clone());
                self.bind(segment, key, Ok(binding));
            }
            Record::Unbound { username, contact, at } => {
                self.bind(segment, (username, contact), Err(at));
            }
            Record::CallOpened(record) => {
                let call = self.call(segment, &record.id);
                if call.closed.is_none() {
                    call.opened = Some(record);
                }
            }
            Record::LegUp { call, leg } => {
                let call = self.call(segment, &call);
                if call.closed.is_none() && !call.legs.contains(&leg) {
                    call.legs.push(leg);
                }
            }
            Record::CallClosed(record) => {
                let call = self.call(segment, &record.id);
                if call.ladder.is_none() && call.events.is_empty() {
                    // The final record contains what the earlier ones say.
                    call.segment = segment;
                }
                call.opened = None;
                call.legs.clear();
                call.closed = Some(record);
            }
            Record::Ladder { call, blob } => self.call(segment, &call).ladder = Some(blob),
            Record::Noted(event) => match event.call() {
                Some(call) => {
                    let events = &mut self.call(segment, call).events;
                    if !events.contains(&event) {
                        events.push(event);
                    }
                }
                None => {
                    if self.events.len() >= MAX_EVENTS {
                        self.events.remove(0);
                    }
                    self.events.push((segment, event));
                }
            },
            Record::Recording(row) => match self.recordings.get(&row.id) {
                // A finished recording stays finished, even if its start is read again.
                Some((_, known)) if known.state != RecordingState::Recording => {}
                Some(_) | None => drop(self.recordings.insert(row.id.clone(), (segment, row))),
            },
            Record::Alive { at } => self.alive = Some(at),
            Record::Voicemail(fact) => self.facts.push_back((segment, *fact)),
        }
    }

    fn bind(&mut self, segment: u64, contact: Contact, state: State) {
        match self.bindings.entry(contact) {
            Entry::Occupied(mut existing) => existing.get_mut().push(segment, state),
            Entry::Vacant(vacant) => {
                vacant.insert(PendingBinding { segment, earlier: Vec::new(), last: state });
            }
        }
    }

    fn call(&mut self, segment: u64, id: &CallId) -> &mut PendingCall {
        let fresh = || PendingCall { segment, ..PendingCall::default() };
        self.calls.entry(id.clone()).or_insert_with(fresh)
    }

    /// Set the modification time of the newest segment.
    pub(super) fn alive_by_file(&mut self, at: Option<Timestamp>) {
        self.alive_by_file = at;
    }

    /// When the previous run was last alive.
    pub fn alive(&self) -> Option<Timestamp> {
        self.alive.or(self.alive_by_file)
    }

    /// Voicemail facts that may not have been executed.
    pub fn facts(&self) -> Vec<Fact> {
        self.facts.iter().map(|(_, fact)| fact.clone()).collect()
    }

    /// Remove an executed voicemail fact.
    pub fn done(&mut self, fact: &Fact) {
        if let Some(vacant) = self.facts.iter().position(|(_, known)| known == fact) {
            self.facts.remove(vacant);
        }
    }

    /// Drop the details of ended calls, except their outbound call time: the segments are read again for the rest.
    pub(super) fn drop_details(&mut self) {
        for call in self.calls.values_mut().filter(|call| call.closed.is_some()) {
            if let Some(record) = &mut call.closed {
                (record.trace, record.legs) = (Vec::new(), Vec::new());
            }
            call.ladder = None;
            call.events.retain(|event| matches!(event, CallEvent::Outside(_)));
            call.events.shrink_to_fit();
        }
        self.events = Vec::new();
    }

    /// Only the voicemail facts: these are not read again.
    pub(super) fn only_facts(&self) -> Pending {
        Pending { facts: self.facts.clone(), ..Pending::default() }
    }

    /// The number of waiting calls (with recordings and events), and of bindings.
    pub fn len(&self) -> (usize, usize) {
        (self.calls.len() + self.events.len() + self.recordings.len(), self.bindings.len())
    }

    /// Whether the call has a pending record.
    pub fn has_call(&self, call: &CallId) -> bool {
        self.calls.contains_key(call)
    }

    /// Whether nothing waits for the database.
    pub fn is_empty(&self) -> bool {
        self.len() == (0, 0)
    }

    /// The oldest segment that is still needed.
    pub fn floor(&self) -> Option<u64> {
        let bindings = self.bindings.values().map(|binding| binding.segment);
        let events = self.events.iter().map(|(segment, _)| *segment);
        let calls = self.calls.values().map(|call| call.segment);
        let recordings = self.recordings.values().map(|(segment, _)| *segment);
        let facts = self.facts.iter().map(|(segment, _)| *segment);
        bindings.chain(events).chain(calls).chain(recordings).chain(facts).min()
    }

    /// Remove at most `most` records to be fed: calls first, and bindings if they are `due`.
    pub fn take(&mut self, limit: usize, due: Due) -> Vec<(u64, Record)> {
        let some = self.events.len().min(limit);
        let mut taken: Vec<(u64, Record)> =
            self.events.drain(..some).map(|(segment, event)| (segment, Record::Noted(event))).collect();
        while taken.len() < limit
            && let Some((id, call)) = self.calls.pop_first()
        {
            call.into_records(&id, &mut taken);
        }
        while taken.len() < limit
            && let Some((_, (segment, row))) = self.recordings.pop_first()
        {
            taken.push((segment, Record::Recording(row)));
        }
        if due == Due::All {
            let wanted: Vec<Contact> =
                self.bindings.keys().take(limit.saturating_sub(taken.len())).cloned().collect();
            for key in wanted {
                if let Some(binding) = self.bindings.remove(&key) {
                    let states = binding.earlier.into_iter().chain([binding.last]);
                    taken.extend(states.map(|state| (binding.segment, binding_record(key.clone(), state))));
                }
            }
        }
        taken
    }

    /// Put back records that could not be fed, before those added since.
    pub fn put_back(&mut self, taken: Vec<(u64, Record)>) {
        let newer = std::mem::take(self);
        (self.alive, self.alive_by_file) = (newer.alive, newer.alive_by_file);
        for (segment, record) in taken.into_iter().chain(newer.into_records()) {
            self.apply(segment, record);
        }
    }

    /// All pending records, each with its segment.
    pub fn into_records(mut self) -> Vec<(u64, Record)> {
        let facts = std::mem::take(&mut self.facts);
        let mut records = self.take(usize::MAX, Due::All);
        records.extend(facts.into_iter().map(|(segment, fact)| (segment, Record::Voicemail(Box::new(fact)))));
        records
    }

    /// Everything up to segment `number` was compacted into that segment.
    pub fn set_segment(&mut self, number: u64) {
        self.bindings.values_mut().for_each(|binding| binding.segment = binding.segment.max(number));
        self.events.iter_mut().for_each(|(segment, _)| *segment = (*segment).max(number));
        self.calls.values_mut().for_each(|call| call.segment = call.segment.max(number));
        self.recordings.values_mut().for_each(|(segment, _)| *segment = (*segment).max(number));
        self.facts.iter_mut().for_each(|(segment, _)| *segment = (*segment).max(number));
    }

    /// The bindings and open calls of the database, corrected by the pending records.
    pub fn merge(&self, stored: RuntimeState) -> (Vec<Binding>, Vec<(CallRecord, Vec<DialogSnapshot>)>) {
        let key = |binding: &Binding| (Arc::clone(&binding.username), binding.contact.clone());
        let mut bindings: BTreeMap<Contact, Binding> =
            stored.bindings.into_iter().map(|binding| (key(&binding), binding)).collect();
        for (key, binding) in &self.bindings {
            match &binding.last {
                Ok(binding) => bindings.insert(key.clone(), binding.clone()),
                Err(_) => bindings.remove(key),
            };
        }
        let mut calls: BTreeMap<CallId, (CallRecord, Vec<DialogSnapshot>)> =
            stored.open_calls.into_iter().map(|call| (call.0.id.clone(), call)).collect();
        for (id, call) in &self.calls {
            if call.closed.is_some() {
                calls.remove(id);
                continue;
            }
            if let Some(opened) = &call.opened {
                let legs = calls.remove(id).map(|(_, legs)| legs).unwrap_or_default();
                calls.insert(id.clone(), (CallRecord::clone(opened), legs));
            }
            if let Some((record, legs)) = calls.get_mut(id) {
                let answered = call.events.iter().find_map(|event| match event {
                    CallEvent::Answered { at, .. } => Some(*at),
                    CallEvent::Ringing { .. }
                    | CallEvent::WrongAnswer { .. }
                    | CallEvent::Outside(_)
                    | CallEvent::Emergency { .. }
                    | CallEvent::SpendAlert { .. } => None,
                });
                record.answered_at = record.answered_at.or(answered);
                legs.extend(call.legs.iter().filter(|leg| !legs.contains(leg)).cloned().collect::<Vec<_>>());
            }
        }
        (bindings.into_values().collect(), calls.into_values().collect())
    }

    /// The outbound call times of the database, corrected by the pending records.
    pub fn outside(&self, stored: &RuntimeState) -> Vec<OutboundCallTime> {
        let key = |time: &OutboundCallTime| (time.call.clone(), time.leg);
        let mut times: BTreeMap<(CallId, u32), OutboundCallTime> =
            stored.outside.iter().map(|time| (key(time), time.clone())).collect();
        for event in self.calls.values().flat_map(|call| &call.events) {
            let CallEvent::Outside(time) = event else { continue };
            let known = times.entry(key(time)).or_insert_with(|| time.clone());
            known.until = known.until.or(time.until);
        }
        times.into_values().collect()
    }
}

/// Selects the records to feed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// Only calls.
    Calls,
    /// Bindings too.
    All,
}

impl PendingCall {
    fn into_records(self, id: &CallId, records: &mut Vec<(u64, Record)>) {
        let segment = self.segment;
        let mut push = |record| records.push((segment, record));
        self.opened.into_iter().for_each(|record| push(Record::CallOpened(record)));
        self.events.into_iter().for_each(|event| push(Record::Noted(event)));
        self.legs.into_iter().for_each(|leg| push(Record::LegUp { call: id.clone(), leg }));
        self.closed.into_iter().for_each(|record| push(Record::CallClosed(record)));
        self.ladder.into_iter().for_each(|blob| push(Record::Ladder { call: id.clone(), blob }));
    }
}

fn binding_record((username, contact): Contact, state: State) -> Record {
    match state {
        Ok(binding) => Record::Bound(binding),
        Err(at) => Record::Unbound { username, contact, at },
    }
}
