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
struct CallRecords {
    closed: u32,
    ladders: u32,
}

/// Checks the invariants of one run.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    violations: Vec<String>,
    crashed_at: Option<Instant>,
    finals: BTreeMap<(usize, String), Final>,
    calls: BTreeMap<String, CallRecords>,
    /// Dialogs of the `LegUp` records.
    dialogs: BTreeSet<Vec<u8>>,
    /// For each phone: the time until which its confirmed binding must exist.
    bound: BTreeMap<usize, Instant>,
    /// Phones whose account was changed: a binding may be removed while its confirmation is in flight.
    accounts_changed: BTreeSet<usize>,
    /// Calls restored from the journal by this process: they end in it, but were not started in it.
    recovered_calls: u64,
    /// Recordings that this process started, and whether they have ended.
    recordings: BTreeMap<String, bool>,
    pub(crate) tally: Tally,
}

impl Oracle {
    pub(crate) fn violation(&mut self, what: impl Into<String>) {
        if self.violations.len() < 20 {
            self.violations.push(what.into());
        }
    }

    pub(crate) fn violations(&self) -> &[String] {
        &self.violations
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    /// Highest cost in steps of an input of this kind.
    pub(crate) fn record_cost(&mut self, what: &'static str, steps: u64) {
        let highest = self.tally.entry(what).or_default();
        *highest = steps.max(*highest);
    }

    /// An observation of a phone.
    pub(crate) fn observe(&mut self, now: Instant, phone: usize, observation: Observation) {
        match observation {
            Observation::Count(what) => self.count(what),
            Observation::Violation(what) => self.violation(format!("phone {phone}: {what}")),
            Observation::BindingUnknown => {
                self.bound.remove(&phone);
            }
            Observation::Bound { until } => {
                self.bound.insert(phone, until);
            }
            Observation::Final { request, since, status, text } => {
                // The switch retransmits a response for 64·T1, and not after a crash.
                let known = now.since(since) < Duration::from_secs(31)
                    && self.crashed_at.is_none_or(|crashed_at| crashed_at < since);
                if known {
                    self.on_final_response(phone, request, Final { status, text });
                }
            }
        }
    }

    /// One final response per transaction. The switch keeps no state for a challenge, so repeated challenges may differ.
    fn on_final_response(&mut self, phone: usize, request: String, response: Final) {
        let Some(before) = self.finals.get(&(phone, request.clone())) else {
            self.finals.insert((phone, request), response);
            return;
        };
        let challenge_again = before.status == 401 && response.status == 401;
        if before.text != response.text && !challenge_again {
            let (first, second) = (before.status, response.status);
            self.violation(format!("phone {phone}: {request} was answered {first} and then {second}"));
        }
    }

    /// The process crashed: it has lost its transactions.
    pub(crate) fn on_crash(&mut self, now: Instant) {
        self.crashed_at = Some(now);
    }

    /// The administrator changed the phone's account: its binding is not checked for the rest of the run.
    pub(crate) fn on_account_changed(&mut self, phone: usize) {
        self.accounts_changed.insert(phone);
    }

    /// The phone lost power: its binding is not checked.
    pub(crate) fn forget_binding(&mut self, phone: usize) {
        self.bound.remove(&phone);
    }

    /// Phones that must have a binding now.
    pub(crate) fn must_be_bound(&self, now: Instant) -> Vec<usize> {
        let sure = |until: &Instant| until.since(now).as_secs() >= 5;
        let found =
            self.bound.iter().filter(|(phone, until)| sure(until) && !self.accounts_changed.contains(phone));
        found.map(|(phone, _)| *phone).collect()
    }

    /// The process restarted; `open` calls were open in the journal.
    pub(crate) fn on_restart(&mut self, open: u64) {
        self.recovered_calls = open;
        self.recordings.clear(); // the server closes recordings that were running
    }

    /// A journal record was written.
    pub(crate) fn on_record(&mut self, record: &Record) {
        match record {
            Record::CallOpened(call) => {
                self.count("calls opened");
                if self.calls.insert(call.id.to_string(), CallRecords::default()).is_some() {
                    self.violation(format!("{} was opened twice", call.id));
                }
            }
            Record::CallClosed(call) => self.closed(call),
            Record::Ladder { call, blob } => self.ladder(call.as_str(), blob),
            Record::Recording(row) => self.recording(row),
            Record::LegUp { call, leg } => {
                let dialog = leg.dialog.split(|b| *b == b'\n').take(4).collect::<Vec<_>>().concat();
                if !self.dialogs.insert(dialog) {
                    self.violation(format!(
                        "a leg of {call} was confirmed twice: its phone would get BYE twice after a crash"
                    ));
                }
                if self.calls.get(call.as_str()).is_none_or(|records| records.closed > 0) {
                    self.violation(format!("a leg of {call} was confirmed, but the call is not open"));
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
        let before = self.recordings.insert(row.id.to_string(), !runs);
        match (before, runs) {
            (None, true) => self.count("recordings started"),
            (Some(false), false) if row.ended_at.is_some() => self.count("recordings ended"),
            (None | Some(_), _) => {
                self.violation(format!("unexpected second record of recording {}: {row:?}", row.id));
            }
        }
    }

    fn closed(&mut self, call: &CallRecord) {
        self.count("calls closed");
        match self.calls.get_mut(call.id.as_str()) {
            None => self.violation(format!("{} was closed and never opened", call.id)),
            Some(records) => {
                records.closed += 1;
                if records.closed > 1 {
                    self.violation(format!("{} was closed twice", call.id));
                }
            }
        }
        if let Some(cause) = call.cause {
            *self.tally.entry(cause.code()).or_default() += 1;
        }
        let whole = call.ended_at.is_some() && call.cause.is_some() && call.status.is_final();
        let legs = call.legs.iter().all(|leg| leg.ended_at.is_some() && leg.cause.is_some());
        if !whole || !legs {
            self.violation(format!("the CDR of {} is incomplete: {call:?}", call.id));
        }
    }

    fn ladder(&mut self, call: &str, blob: &[u8]) {
        match self.calls.get_mut(call) {
            Some(records) if records.closed == 1 && records.ladders == 0 => records.ladders = 1,
            _ => self.violation(format!("a ladder of {call}, which is not closed or already has one")),
        }
        match switch::ladder::decode(blob) {
            None => self.violation(format!("the ladder of {call} cannot be decoded")),
            Some(rungs) => {
                if rungs.iter().any(|rung| rung.text.contains("response=\"")) {
                    self.violation(format!("the ladder of {call} contains credentials"));
                }
            }
        }
    }

    /// The counters of the switch are consistent.
    pub(crate) fn check_status(&mut self, status: &Status) {
        let ended: u64 = status.counters.calls_ended.values().sum();
        let alive = (status.counters.calls_started + self.recovered_calls).checked_sub(ended);
        if alive != Some(status.active_calls as u64) {
            self.violation(format!(
                "{} calls are active, but {} were started, {} taken up and {ended} ended",
                status.active_calls, status.counters.calls_started, self.recovered_calls
            ));
        }
    }

    /// All calls have ended and all timers have expired: no state may be left.
    pub(crate) fn check_at_rest(&mut self, counts: [usize; 4], streams: usize, live_calls: usize) {
        if counts != [0; 4] {
            self.violation(format!("left over: {counts:?} (calls, streams, transactions, sessions)"));
        }
        if streams != 0 {
            self.violation(format!("{streams} streams are still open at the media worker"));
        }
        if live_calls != 0 {
            self.violation(format!("{live_calls} calls are still active at the phones"));
        }
        let open: Vec<String> =
            self.calls.iter().filter(|(_, records)| records.closed == 0).map(|(id, _)| id.clone()).collect();
        for id in open {
            self.violation(format!("{id} was opened and never closed"));
        }
        let recordings: Vec<String> =
            self.recordings.iter().filter(|(_, over)| !**over).map(|(id, _)| id.clone()).collect();
        for id in recordings {
            self.violation(format!("recording {id} was started and has not ended"));
        }
    }
}
