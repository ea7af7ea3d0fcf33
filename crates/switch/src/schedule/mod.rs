//! The scheduler of recurring calls: which instants are due, who dials them, and what follows (S81, S85, S86).
//!
//! A state machine beside the exchange, not inside it: it speaks with the store and with the exchange through its shell, and each of its
//! questions is answered once. Its promise: an instant is dialled at most once per attempt, and is never forgotten. It is kept by the
//! order of things: a row that names the call is committed before the exchange is asked for that call.

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

/// What is never later than this may still be dialled (S85).
pub const GRACE: Duration = Duration::from_mins(5);
/// A call that is dialled has an outcome by then: every phone has rung as long as it may.
const LEASE: Duration = Duration::from_mins(20);
/// How often a call is looked at until it is answered or over.
const LOOK: Duration = Duration::from_millis(300);
/// How long to wait where the exchange or the database cannot, for now.
const PAUSE: Duration = Duration::from_secs(2);
/// How long a call that nobody knows may be on its way from the journal to the database.
const DOUBT: Duration = Duration::from_secs(5);
/// How often rows are looked for that nobody holds any more.
const SWEEP: Duration = Duration::from_secs(5);
/// By how much a node that does not know the phone leaves an instant to the others, one of which may.
const HEAD_START: Duration = Duration::from_secs(2);
/// Instants that one turn takes out of the calendar: after a long absence there are many.
const BATCH: usize = 100;
/// How long the phone may take to register, and then to answer (S48).
const RING: Duration = Duration::from_secs(30);

/// What the scheduler must know from the first moment.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who we are, `node:boot:start`: written into the rows that we hold.
    pub owner: Arc<str>,
    /// Calls that are begun in a second at most.
    pub per_second: u32,
    /// Whether other nodes take instants too. Phones are rung by the node at which they are registered.
    pub shared: bool,
}

/// Of which recurring call, and which of its instants.
pub type Key = (RecurringCallId, Timestamp);

/// Whether the call of a row was begun before the process died.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallStarted {
    /// The journal or the database knows it.
    Yes,
    /// The journal is whole and does not know it.
    No,
    /// The journal is another node's, or its last second went with the power.
    Unknown,
}

/// What became of a row that was to be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteResult {
    /// It stands as we wrote it.
    Applied,
    /// Somebody else's stands there, or the recurring call has changed.
    Conflict,
    /// The database did not answer: it may stand or not.
    Failed,
}

/// What the exchange said when it was asked for a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialled {
    /// It has begun.
    Placed,
    /// It has not, because of this.
    Refused(Cause),
    /// Nothing.
    NoReply,
}

/// What happens to the scheduler.
#[derive(Clone, Debug)]
pub enum Input {
    /// Once, at the start: what the store remembers.
    Begin {
        /// The last instant of each recurring call that has a row.
        last: Vec<(RecurringCallId, Timestamp)>,
        /// Rows that an earlier life of this node held.
        open: Vec<(Occurrence, CallStarted)>,
    },
    /// The directory, at the start and whenever it has changed.
    Directory(Box<Directory>),
    /// The outcome of [`Output::Locate`]: whether the phone is registered here.
    Located(Key, bool),
    /// The outcome of [`Output::Claim`] or [`Output::Change`].
    Written(Key, WriteResult),
    /// The outcome of [`Output::Dial`].
    Dialled(Key, Dialled),
    /// The outcome of [`Output::Poll`]: the call, alive or over, where anybody knows it.
    Polled(Key, Option<Box<CallRecord>>),
    /// The outcome of [`Output::Sweep`].
    Abandoned(Vec<Occurrence>),
    /// The deadline has come.
    Tick,
}

/// What is to be done. Each is answered by the input that it names, always, once.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// See whether a phone of this user name is registered at this node → [`Input::Located`].
    Locate(Key, Arc<str>),
    /// Make this row, unless one is there or the recurring call is not what it was `since` → [`Input::WriteResult`].
    Claim {
        /// The row.
        row: Occurrence,
        /// See [`model::RecurringCall::since`].
        since: Timestamp,
    },
    /// Put this row in the place of its version before → [`Input::WriteResult`].
    Change(Occurrence),
    /// Ask the exchange → [`Input::Dialled`].
    Dial(Key, Originate),
    /// See where the call is → [`Input::Polled`].
    Poll(Key, CallId),
    /// Look for rows that nobody holds → [`Input::Abandoned`].
    Sweep,
}

/// See the module.
#[derive(Debug)]
pub struct Scheduler {
    config: Config,
    rng: Rng,
    directory: Directory,
    /// The last instants that were told at the start, until their recurring calls are seen.
    last: BTreeMap<RecurringCallId, Timestamp>,
    plans: BTreeMap<RecurringCallId, Plan>,
    /// The next instant of each plan.
    calendar: BTreeSet<(Timestamp, RecurringCallId)>,
    runs: BTreeMap<Key, Run>,
    /// When the next call may begin.
    free: Instant,
    next_sweep: Instant,
    sweeping: bool,
}

impl Scheduler {
    /// A scheduler that knows nothing yet: tell it [`Input::Begin`], then the directory.
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

    /// Absorb one input; append every consequence to `out`.
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

    /// When to come back with [`Input::Tick`] if nothing else happens.
    pub fn deadline(&self, now: Now) -> Instant {
        let due = self.calendar.first().map(|(due, _)| now.instant + due.since(now.wall));
        let runs = self.runs.values().filter_map(|run| run.wakes(now, self.free));
        runs.chain(due).fold(self.next_sweep, Instant::min)
    }

    /// Recurring calls, and occurrences that are under way.
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

    /// Begin what waits and may begin, in the order in which it was due; look after what is under way.
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
