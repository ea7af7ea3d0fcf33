//! Scheduler of recurring calls: due instants, claims between nodes, dialling, retries and misfires (S81, S85, S86).
//!
//! A state machine without I/O, separate from the switch: the shell carries out its requests to the store and to the switch, and answers each one
//! exactly once. Guarantee: an occurrence is dialled at most once per attempt, and never lost. The row that contains the call id is committed
//! before the switch is asked for that call.

mod calendar;
mod recovery;
mod run;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use base::{Instant, Now, Rng, Timestamp};
use model::{CallId, CallRecord, Cause, Directory, Occurrence, RecurringCallId};

use crate::Originate;
use calendar::Plan;
use run::{Run, Step};

/// Maximum delay after its planned time at which an attempt may still start (S85).
pub const GRACE: Duration = Duration::from_mins(5);
/// Lease of an occurrence being dialled. Its call has an outcome by then, because all ring timeouts have expired.
const LEASE: Duration = Duration::from_mins(20);
/// Poll interval of a call until it is answered or ended.
const LOOK: Duration = Duration::from_millis(300);
/// Delay before a retry after a failed write, and base of the back-off after a transient refusal by the switch.
const PAUSE: Duration = Duration::from_secs(2);
/// Maximum time from the journal to the database: a call without reply that is still unknown after it was not placed.
const DOUBT: Duration = Duration::from_secs(5);
/// Interval of the queries for occurrences whose lease has expired.
const SWEEP: Duration = Duration::from_secs(5);
/// Delay of a claim by a node at which the phone is not registered, so that the node at which it is registered claims first.
const HEAD_START: Duration = Duration::from_secs(2);
/// Maximum number of instants taken from the calendar per tick; after a long downtime many are due.
const BATCH: usize = 100;
/// Ring timeout: time for the device to register, and then again for it to answer (S48).
const RING: Duration = Duration::from_secs(30);

/// Configuration of the scheduler.
#[derive(Clone, Debug)]
pub struct Config {
    /// Owner id of this process, `node:boot:start`, written into the occurrences that it claims.
    pub owner: Arc<str>,
    /// Maximum number of calls started per second; 0 counts as 1.
    pub per_second: u32,
    /// Whether other nodes claim occurrences too. A phone is called by the node at which it is registered.
    pub shared: bool,
}

/// Key of an occurrence: recurring call and due instant.
pub type Key = (RecurringCallId, Timestamp);

/// Whether the call of an occurrence was started before the previous process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallStarted {
    /// The journal or the database contains it.
    Yes,
    /// The journal is complete and does not contain it.
    No,
    /// The journal belongs to another node, or may have lost its last second in a power failure.
    Unknown,
}

/// Result of a write of an occurrence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteResult {
    /// The row is stored as written.
    Applied,
    /// Another node's row is stored, or the recurring call has changed.
    Conflict,
    /// The database did not answer: the row may be stored or not.
    Failed,
}

/// Reply of the switch to an [`Originate`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialled {
    /// The call has started.
    Placed,
    /// The call was refused for this cause.
    Refused(Cause),
    /// No reply: the call may have started or not.
    NoReply,
}

/// Input of the scheduler.
#[derive(Clone, Debug)]
pub enum Input {
    /// Initial state from the store, once at start-up.
    Begin {
        /// Latest due instant of each recurring call that has an occurrence.
        last: Vec<(RecurringCallId, Timestamp)>,
        /// Open occurrences of previous runs of this node.
        open: Vec<(Occurrence, CallStarted)>,
    },
    /// The directory, at start-up and after each change.
    Directory(Box<Directory>),
    /// Result of [`Output::Locate`]: whether the phone is registered at this node.
    Located(Key, bool),
    /// Result of [`Output::Claim`] or [`Output::Change`].
    Written(Key, WriteResult),
    /// Result of [`Output::Dial`].
    Dialled(Key, Dialled),
    /// Result of [`Output::Poll`]: the record of the call, active or ended; `None` if it is unknown.
    Polled(Key, Option<Box<CallRecord>>),
    /// Result of [`Output::Sweep`].
    Abandoned(Vec<Occurrence>),
    /// [`Scheduler::deadline`] has been reached.
    Tick,
}

/// Request to the shell. Each one is answered exactly once, with the input that it names.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// Check whether a phone with this user name is registered at this node → [`Input::Located`].
    Locate(Key, Arc<str>),
    /// Insert this row, unless one exists or the recurring call has changed since `since` → [`Input::Written`].
    Claim {
        /// The row to insert.
        row: Occurrence,
        /// Expected [`model::RecurringCall::since`].
        since: Timestamp,
    },
    /// Replace the previous version of this row → [`Input::Written`].
    Change(Occurrence),
    /// Start a call → [`Input::Dialled`].
    Dial(Key, Originate),
    /// Read the record of the call → [`Input::Polled`].
    Poll(Key, CallId),
    /// Read open occurrences whose lease has expired → [`Input::Abandoned`].
    Sweep,
}

/// Scheduler of recurring calls.
#[derive(Debug)]
pub struct Scheduler {
    config: Config,
    rng: Rng,
    directory: Directory,
    /// Latest due instants from [`Input::Begin`], until the directory is loaded.
    last: BTreeMap<RecurringCallId, Timestamp>,
    plans: BTreeMap<RecurringCallId, Plan>,
    /// Next instant of each plan.
    calendar: BTreeSet<(Timestamp, RecurringCallId)>,
    runs: BTreeMap<Key, Run>,
    /// Earliest start of the next call (rate limit).
    free: Instant,
    next_sweep: Instant,
    sweeping: bool,
}

impl Scheduler {
    /// A scheduler without state. The first inputs must be [`Input::Begin`] and [`Input::Directory`], in this order.
    pub fn new(config: Config, rng: Rng) -> Self {
        Scheduler {
            config,
            rng,
            directory: Directory::default(),
            last: BTreeMap::new(),
            plans: BTreeMap::new(),
            calendar: BTreeSet::new(),
            runs: BTreeMap::new(),
            free: Instant::ZERO,
            next_sweep: Instant::ZERO,
            sweeping: false,
        }
    }

    /// Handle one input; append the resulting outputs to `out`.
    pub fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Begin { last, open } => {
                self.last = last.into_iter().collect();
                for (row, begun) in open {
                    self.recover(now, row, begun, out);
                }
            }
            Input::Directory(directory) => self.plan(*directory),
            Input::Located(key, here) => self.found(now, &key, here, out),
            Input::Written(key, written) => self.written(now, &key, written, out),
            Input::Dialled(key, dialled) => self.dialled(now, &key, dialled, out),
            Input::Polled(key, call) => self.looked(now, &key, call.as_deref(), out),
            Input::Abandoned(rows) => {
                self.sweeping = false;
                for row in rows {
                    self.adopt(now, row, out);
                }
            }
            Input::Tick => self.tick(now, out),
        }
    }

    /// Time of the next [`Input::Tick`] if there is no other input before.
    pub fn deadline(&self, now: Now) -> Instant {
        let due = self.calendar.first().map(|(due, _)| now.instant + due.since(now.wall));
        let runs = self.runs.values().filter_map(|run| run.wakes(now, self.free));
        runs.chain(due).fold(self.next_sweep, Instant::min)
    }

    /// Number of recurring calls, and of occurrences in progress.
    pub fn counts(&self) -> (usize, usize) {
        (self.plans.len(), self.runs.len())
    }

    fn tick(&mut self, now: Now, out: &mut Vec<Output>) {
        self.take_due(now, out);
        self.advance(now, out);
        if now.instant >= self.next_sweep && !self.sweeping {
            self.sweeping = true;
            self.next_sweep = now.instant + SWEEP;
            out.push(Output::Sweep);
        }
    }

    /// Resume the due occurrences in progress, then start the waiting ones in order of `not_before`.
    fn advance(&mut self, now: Now, out: &mut Vec<Output>) {
        let mut waiting: Vec<(Timestamp, Key)> = Vec::new();
        let mut others: Vec<Key> = Vec::new();
        for (key, run) in &self.runs {
            match run.step {
                Step::Waiting { from, .. } if from <= now.instant && run.row.not_before <= now.wall => {
                    waiting.push((run.row.not_before, key.clone()));
                }
                Step::Again { at } | Step::Watching { look_at: at, .. } if at <= now.instant => {
                    others.push(key.clone());
                }
                Step::Waiting { .. }
                | Step::Again { .. }
                | Step::Watching { .. }
                | Step::Finding
                | Step::Writing
                | Step::Dialling
                | Step::Looking { .. } => {}
            }
        }
        for key in others {
            self.resume(now, &key, out);
        }
        waiting.sort();
        for (_, key) in waiting {
            self.begin(now, &key, out);
        }
    }
}
