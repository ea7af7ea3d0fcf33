//! Invariants of every run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base::Instant;
use bytes::Bytes;
use model::CallRecord;
use model::journal::Record;
use switch::Status;

use crate::phone::Observation;

/// Counts of what happened in a run, to see what the seeds cover.
pub type Tally = BTreeMap<&'static str, u64>;

#[derive(Clone, Debug)]
struct Final {
    status: u16,
    text: Bytes,
}

#[derive(Clone, Copy, Debug, Default)]
struct Fate {
    closed: u32,
    ladders: u32,
}

/// Checks the invariants of one run.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    broken: Vec<String>,
    died: Option<Instant>,
    finals: BTreeMap<(usize, String), Final>,
    calls: BTreeMap<String, Fate>,
    /// Dialogs of the `LegUp` records.
    dialogs: BTreeSet<Vec<u8>>,
    /// For each phone: the time until which its confirmed binding must exist.
    bound: BTreeMap<usize, Instant>,
    /// Phones whose account was changed: a binding may be removed while its confirmation is in flight.
    meddled: BTreeSet<usize>,
    /// Calls restored from the journal by this process: they end in it, but were not started in it.
    buried: u64,
    /// Recordings that this process started, and whether they have ended.
    tapes: BTreeMap<String, bool>,
    pub(crate) tally: Tally,
}

impl Oracle {
    pub(crate) fn broken(&mut self, what: impl Into<String>) {
        if self.broken.len() < 20 {
            self.broken.push(what.into());
        }
    }

    pub(crate) fn verdict(&self) -> &[String] {
        &self.broken
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    /// Highest cost in steps of an input of this kind.
    pub(crate) fn cost(&mut self, what: &'static str, steps: u64) {
        let dearest = self.tally.entry(what).or_default();
        *dearest = steps.max(*dearest);
    }

    /// An observation of a phone.
    pub(crate) fn saw(&mut self, now: Instant, phone: usize, sight: Observation) {
        match sight {
            Observation::Count(what) => self.count(what),
            Observation::Wrong(what) => self.broken(format!("phone {phone}: {what}")),
            Observation::Unsure => {
                self.bound.remove(&phone);
            }
            Observation::Bound { until } => {
                self.bound.insert(phone, until);
            }
            Observation::Final { request, since, status, text } => {
                // The switch retransmits a response for 64·T1, and not after a crash.
                let known =
                    now.since(since) < Duration::from_secs(31) && self.died.is_none_or(|died| died < since);
                if known {
                    self.final_answer(phone, request, Final { status, text });
                }
            }
        }
    }

    /// One final response per transaction. The switch keeps no state for a challenge, so repeated challenges may differ.
    fn final_answer(&mut self, phone: usize, request: String, said: Final) {
        let Some(before) = self.finals.get(&(phone, request.clone())) else {
            self.finals.insert((phone, request), said);
            return;
        };
        let challenge_again = before.status == 401 && said.status == 401;
        if before.text != said.text && !challenge_again {
            let (first, second) = (before.status, said.status);
            self.broken(format!("phone {phone}: {request} was answered {first} and then {second}"));
        }
    }

    /// The process crashed: it has lost its transactions.
    pub(crate) fn died(&mut self, now: Instant) {
        self.died = Some(now);
    }

    /// The administrator changed the phone's account: its binding is not checked for the rest of the run.
    pub(crate) fn meddled(&mut self, phone: usize) {
        self.meddled.insert(phone);
    }

    /// The phone lost power: its binding is not checked.
    pub(crate) fn forget_binding(&mut self, phone: usize) {
        self.bound.remove(&phone);
    }

    /// Phones that must have a binding now.
    pub(crate) fn must_be_bound(&self, now: Instant) -> Vec<usize> {
        let sure = |until: &Instant| until.since(now).as_secs() >= 5;
        let found = self.bound.iter().filter(|(phone, until)| sure(until) && !self.meddled.contains(phone));
        found.map(|(phone, _)| *phone).collect()
    }

    /// The process restarted; `open` calls were open in the journal.
    pub(crate) fn reborn(&mut self, open: u64) {
        self.buried = open;
        self.tapes.clear(); // the server closes recordings that were running
    }

    /// A journal record was written.
    pub(crate) fn written(&mut self, record: &Record) {
        match record {
            Record::CallOpened(call) => {
                self.count("calls opened");
                if self.calls.insert(call.id.to_string(), Fate::default()).is_some() {
                    self.broken(format!("{} was opened twice", call.id));
                }
            }
            Record::CallClosed(call) => self.closed(call),
            Record::Ladder { call, blob } => self.ladder(call.as_str(), blob),
            Record::Recording(row) => self.recording(row),
            Record::LegUp { call, leg } => {
                let dialog = leg.dialog.split(|b| *b == b'\n').take(4).collect::<Vec<_>>().concat();
                if !self.dialogs.insert(dialog) {
                    self.broken(format!(
                        "a leg of {call} came up twice: its phone would get BYE twice after a crash"
                    ));
                }
                if self.calls.get(call.as_str()).is_none_or(|fate| fate.closed > 0) {
                    self.broken(format!("a leg of {call} came up, which is not open"));
                }
            }
            Record::Bound(_)
            | Record::Unbound { .. }
            | Record::Noted(_)
            | Record::Alive { .. }
            | Record::Voicemail(_) => {}
        }
    }

    /// Each recording starts once and ends once.
    fn recording(&mut self, row: &model::Recording) {
        let runs = row.state == model::RecordingState::Recording;
        let before = self.tapes.insert(row.id.to_string(), !runs);
        match (before, runs) {
            (None, true) => self.count("recordings begun"),
            (Some(false), false) if row.ended_at.is_some() => self.count("recordings over"),
            (None | Some(_), _) => self.broken(format!("{} was written again: {row:?}", row.id)),
        }
    }

    fn closed(&mut self, call: &CallRecord) {
        self.count("calls closed");
        match self.calls.get_mut(call.id.as_str()) {
            None => self.broken(format!("{} was closed and never opened", call.id)),
            Some(fate) => {
                fate.closed += 1;
                if fate.closed > 1 {
                    self.broken(format!("{} was closed twice", call.id));
                }
            }
        }
        if let Some(cause) = call.cause {
            *self.tally.entry(cause.code()).or_default() += 1;
        }
        let whole = call.ended_at.is_some() && call.cause.is_some() && call.status.is_final();
        let legs = call.legs.iter().all(|leg| leg.ended_at.is_some() && leg.cause.is_some());
        if !whole || !legs {
            self.broken(format!("the record of {} is not complete: {call:?}", call.id));
        }
    }

    fn ladder(&mut self, call: &str, blob: &[u8]) {
        match self.calls.get_mut(call) {
            Some(fate) if fate.closed == 1 && fate.ladders == 0 => fate.ladders = 1,
            _ => self.broken(format!("a ladder of {call}, which is not closed, or has one already")),
        }
        match switch::ladder::decode(blob) {
            None => self.broken(format!("the ladder of {call} cannot be read")),
            Some(rungs) => {
                if rungs.iter().any(|rung| rung.text.contains("response=\"")) {
                    self.broken(format!("the ladder of {call} shows credentials"));
                }
            }
        }
    }

    /// The counters of the switch are consistent.
    pub(crate) fn status(&mut self, status: &Status) {
        let ended: u64 = status.counters.calls_ended.values().sum();
        let alive = (status.counters.calls_started + self.buried).checked_sub(ended);
        if alive != Some(status.active_calls as u64) {
            self.broken(format!(
                "{} calls are active, but {} were started, {} taken up and {ended} ended",
                status.active_calls, status.counters.calls_started, self.buried
            ));
        }
    }

    /// All calls have ended and all timers have expired: no state may be left.
    pub(crate) fn at_rest(&mut self, census: [usize; 4], streams: usize, live_calls: usize) {
        if census != [0; 4] {
            self.broken(format!("left over: {census:?} (calls, streams, transactions, sessions)"));
        }
        if streams != 0 {
            self.broken(format!("{streams} streams are still open at the worker"));
        }
        if live_calls != 0 {
            self.broken(format!("{live_calls} calls are still alive at the phones"));
        }
        let open: Vec<String> =
            self.calls.iter().filter(|(_, fate)| fate.closed == 0).map(|(id, _)| id.clone()).collect();
        for id in open {
            self.broken(format!("{id} was opened and never closed"));
        }
        let tapes: Vec<String> =
            self.tapes.iter().filter(|(_, over)| !**over).map(|(id, _)| id.clone()).collect();
        for id in tapes {
            self.broken(format!("{id} was begun and is not over"));
        }
    }
}
