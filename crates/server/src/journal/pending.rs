//! Records that the database does not have yet, coalesced by key: the last word of each.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use base::Timestamp;
use model::journal::{Binding, CallEvent, DialogSnapshot, OutboundCallTime, Record};
use model::voicemail::Fact;
use model::{CallId, CallRecord, Recording, RecordingId, RecordingState};
use store::RuntimeState;

/// A binding's key.
type Contact = (Arc<str>, String);

/// See the module. Every entry knows the oldest segment that it still needs.
#[derive(Clone, Debug, Default)]
pub struct Pending {
    bindings: HashMap<Contact, PendingBinding>,
    calls: BTreeMap<CallId, PendingCall>,
    notes: Vec<(u64, CallEvent)>,
    recordings: BTreeMap<RecordingId, (u64, Box<Recording>)>,
    /// What is to be done of voicemail, in order. Who does it says so: the database is not fed with it.
    facts: VecDeque<(u64, Fact)>,
    /// The last sign of life; `by_file` is that of the segments, for want of a better one.
    alive: Option<Timestamp>,
    alive_by_file: Option<Timestamp>,
}

/// What became of a contact. Of refreshes only the last counts; comings and goings are told one after the other.
#[derive(Clone, Debug)]
struct PendingBinding {
    segment: u64,
    earlier: Vec<State>,
    last: State,
}

/// The binding, or when it went.
type State = Result<Binding, Timestamp>;

/// Comings and goings of one contact that wait: a phone that flaps faster is told of less often.
const EARLIER: usize = 8;
/// Notes about no call that wait; the exchange makes few of them, and the oldest are dropped while the database is away for long.
const NOTES: usize = 10_000;

impl PendingBinding {
    fn then(&mut self, segment: u64, state: State) {
        if self.last.is_ok() != state.is_ok() {
            let before = std::mem::replace(&mut self.last, Err(Timestamp::default()));
            self.earlier.push(before);
            if self.earlier.len() > EARLIER {
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
    notes: Vec<CallEvent>,
}

impl Pending {
    /// Take in a record of segment `segment`. Taking the same ones in twice changes nothing.
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
                if call.ladder.is_none() && call.notes.is_empty() {
                    // What came before is told again by the ending.
                    call.segment = segment;
                }
                call.opened = None;
                call.legs.clear();
                call.closed = Some(record);
            }
            Record::Ladder { call, blob } => self.call(segment, &call).ladder = Some(blob),
            Record::Noted(note) => match note.call() {
                Some(call) => {
                    let notes = &mut self.call(segment, call).notes;
                    if !notes.contains(&note) {
                        notes.push(note);
                    }
                }
                None => {
                    if self.notes.len() >= NOTES {
                        self.notes.remove(0);
                    }
                    self.notes.push((segment, note));
                }
            },
            Record::Recording(row) => match self.recordings.get(&row.id) {
                // What is over stays over, even where its beginning is told again.
                Some((_, known)) if known.state != RecordingState::Recording => {}
                Some(_) | None => drop(self.recordings.insert(row.id.clone(), (segment, row))),
            },
            Record::Alive { at } => self.alive = Some(at),
            Record::Voicemail(fact) => self.facts.push_back((segment, *fact)),
        }
    }

    fn bind(&mut self, segment: u64, contact: Contact, state: State) {
        match self.bindings.entry(contact) {
            Entry::Occupied(mut there) => there.get_mut().then(segment, state),
            Entry::Vacant(place) => {
                place.insert(PendingBinding { segment, earlier: Vec::new(), last: state });
            }
        }
    }

    fn call(&mut self, segment: u64, id: &CallId) -> &mut PendingCall {
        let fresh = || PendingCall { segment, ..PendingCall::default() };
        self.calls.entry(id.clone()).or_insert_with(fresh)
    }

    /// When the segments were written last.
    pub(super) fn alive_by_file(&mut self, at: Option<Timestamp>) {
        self.alive_by_file = at;
    }

    /// The last sign of life of the process that wrote the segments.
    pub fn alive(&self) -> Option<Timestamp> {
        self.alive.or(self.alive_by_file)
    }

    /// What of voicemail may not have been done.
    pub fn facts(&self) -> Vec<Fact> {
        self.facts.iter().map(|(_, fact)| fact.clone()).collect()
    }

    /// A fact of voicemail is done.
    pub fn done(&mut self, fact: &Fact) {
        if let Some(place) = self.facts.iter().position(|(_, known)| known == fact) {
            self.facts.remove(place);
        }
    }

    /// Of calls that are over, that is all that is known from now on (and what they have used outside): the rest is read again.
    pub(super) fn forget_details(&mut self) {
        for call in self.calls.values_mut().filter(|call| call.closed.is_some()) {
            if let Some(record) = &mut call.closed {
                (record.trace, record.legs) = (Vec::new(), Vec::new());
            }
            call.ladder = None;
            call.notes.retain(|note| matches!(note, CallEvent::Outside(_)));
            call.notes.shrink_to_fit();
        }
        self.notes = Vec::new();
    }

    /// What is not read again.
    pub(super) fn only_facts(&self) -> Pending {
        Pending { facts: self.facts.clone(), ..Pending::default() }
    }

    /// How many calls (and recordings) and bindings wait.
    pub fn len(&self) -> (usize, usize) {
        (self.calls.len() + self.notes.len() + self.recordings.len(), self.bindings.len())
    }

    /// Whether a call has begun.
    pub fn knows(&self, call: &CallId) -> bool {
        self.calls.contains_key(call)
    }

    /// Whether nothing waits for the database.
    pub fn is_empty(&self) -> bool {
        self.len() == (0, 0)
    }

    /// The oldest segment that is still needed.
    pub fn floor(&self) -> Option<u64> {
        let bindings = self.bindings.values().map(|binding| binding.segment);
        let notes = self.notes.iter().map(|(segment, _)| *segment);
        let calls = self.calls.values().map(|call| call.segment);
        let recordings = self.recordings.values().map(|(segment, _)| *segment);
        let facts = self.facts.iter().map(|(segment, _)| *segment);
        bindings.chain(notes).chain(calls).chain(recordings).chain(facts).min()
    }

    /// Take out at most `most` records to be fed: calls first, and bindings where they are `due`.
    pub fn take(&mut self, most: usize, due: Due) -> Vec<(u64, Record)> {
        let some = self.notes.len().min(most);
        let mut taken: Vec<(u64, Record)> =
            self.notes.drain(..some).map(|(segment, note)| (segment, Record::Noted(note))).collect();
        while taken.len() < most
            && let Some((id, call)) = self.calls.pop_first()
        {
            call.tell(&id, &mut taken);
        }
        while taken.len() < most
            && let Some((_, (segment, row))) = self.recordings.pop_first()
        {
            taken.push((segment, Record::Recording(row)));
        }
        if due == Due::All {
            let wanted: Vec<Contact> =
                self.bindings.keys().take(most.saturating_sub(taken.len())).cloned().collect();
            for key in wanted {
                if let Some(binding) = self.bindings.remove(&key) {
                    let states = binding.earlier.into_iter().chain([binding.last]);
                    taken.extend(states.map(|state| (binding.segment, binding_record(key.clone(), state))));
                }
            }
        }
        taken
    }

    /// Put back what could not be fed, under what has come since.
    pub fn put_back(&mut self, taken: Vec<(u64, Record)>) {
        let newer = std::mem::take(self);
        (self.alive, self.alive_by_file) = (newer.alive, newer.alive_by_file);
        for (segment, record) in taken.into_iter().chain(newer.into_records()) {
            self.apply(segment, record);
        }
    }

    /// Everything, as records, each with its segment.
    pub fn into_records(mut self) -> Vec<(u64, Record)> {
        let facts = std::mem::take(&mut self.facts);
        let mut records = self.take(usize::MAX, Due::All);
        records.extend(facts.into_iter().map(|(segment, fact)| (segment, Record::Voicemail(Box::new(fact)))));
        records
    }

    /// Everything now lies in segment `number`.
    pub fn moved_to(&mut self, number: u64) {
        self.bindings.values_mut().for_each(|binding| binding.segment = binding.segment.max(number));
        self.notes.iter_mut().for_each(|(segment, _)| *segment = (*segment).max(number));
        self.calls.values_mut().for_each(|call| call.segment = call.segment.max(number));
        self.recordings.values_mut().for_each(|(segment, _)| *segment = (*segment).max(number));
        self.facts.iter_mut().for_each(|(segment, _)| *segment = (*segment).max(number));
    }

    /// What is true, where `remembered` is what the database says.
    pub fn correct(
        &self,
        remembered: RuntimeState,
    ) -> (Vec<Binding>, Vec<(CallRecord, Vec<DialogSnapshot>)>) {
        let key = |binding: &Binding| (Arc::clone(&binding.username), binding.contact.clone());
        let mut bindings: BTreeMap<Contact, Binding> =
            remembered.bindings.into_iter().map(|binding| (key(&binding), binding)).collect();
        for (key, binding) in &self.bindings {
            match &binding.last {
                Ok(binding) => bindings.insert(key.clone(), binding.clone()),
                Err(_) => bindings.remove(key),
            };
        }
        let mut calls: BTreeMap<CallId, (CallRecord, Vec<DialogSnapshot>)> =
            remembered.open_calls.into_iter().map(|call| (call.0.id.clone(), call)).collect();
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
                let answered = call.notes.iter().find_map(|note| match note {
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

    /// What calls to the outside have used, where `remembered` is what the database says.
    pub fn outside(&self, remembered: &RuntimeState) -> Vec<OutboundCallTime> {
        let key = |time: &OutboundCallTime| (time.call.clone(), time.leg);
        let mut times: BTreeMap<(CallId, u32), OutboundCallTime> =
            remembered.outside.iter().map(|time| (key(time), time.clone())).collect();
        for note in self.calls.values().flat_map(|call| &call.notes) {
            let CallEvent::Outside(time) = note else { continue };
            let known = times.entry(key(time)).or_insert_with(|| time.clone());
            known.until = known.until.or(time.until);
        }
        times.into_values().collect()
    }
}

/// What is to be fed now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// Only calls.
    Calls,
    /// Bindings too.
    All,
}

impl PendingCall {
    fn tell(self, id: &CallId, records: &mut Vec<(u64, Record)>) {
        let segment = self.segment;
        let mut tell = |record| records.push((segment, record));
        self.opened.into_iter().for_each(|record| tell(Record::CallOpened(record)));
        self.notes.into_iter().for_each(|note| tell(Record::Noted(note)));
        self.legs.into_iter().for_each(|leg| tell(Record::LegUp { call: id.clone(), leg }));
        self.closed.into_iter().for_each(|record| tell(Record::CallClosed(record)));
        self.ladder.into_iter().for_each(|blob| tell(Record::Ladder { call: id.clone(), blob }));
    }
}

fn binding_record((username, contact): Contact, state: State) -> Record {
    match state {
        Ok(binding) => Record::Bound(binding),
        Err(at) => Record::Unbound { username, contact, at },
    }
}
