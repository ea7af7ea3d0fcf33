//! Model of the scheduler's environment: a failing store, a switch, its phones, and crashing nodes.

mod oracle;

pub(crate) use oracle::End;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use base::{Instant, Now, Rng, Timestamp};
use centralita_switch::schedule::{CallStarted, Config, Dialled, Input, Key, Output, Scheduler, WriteResult};
use model::recurrence::{self, Schedule};
use model::{
    Action, CallDirection, CallId, CallRecord, CallStatus, Cause, Change, Directory, Extension, ExtensionId,
    ExtensionNumber, ExtensionStatus, Forwarding, Misfire, Occurrence, OccurrenceState, RecurringCall,
    RecurringCallId, UserId,
};

/// 2025-01-01T00:00:00Z
pub(crate) const BEGIN: Timestamp = Timestamp::from_micros(1_735_689_600_000_000);

pub(crate) fn now(at: Instant) -> Now {
    Now { instant: at, wall: BEGIN + at.since(Instant::ZERO) }
}

/// The inverse of [`now`].
pub(crate) fn instant(wall: Timestamp) -> Instant {
    Instant::ZERO + wall.since(BEGIN)
}

pub(crate) fn schedule(time: &str) -> Schedule {
    let written = recurrence::Written {
        frequency: "daily".into(),
        time: time.into(),
        timezone: "UTC".into(),
        ..recurrence::Written::default()
    };
    Schedule::try_from(written).unwrap()
}

pub(crate) fn recurring(n: usize, time: &str) -> RecurringCall {
    RecurringCall {
        id: RecurringCallId::parse(&format!("rc_{n:04}")).unwrap(),
        extension: ExtensionId::parse("ext_1").unwrap(),
        user: UserId::parse("ana").unwrap(),
        destination: "sip:1002@localhost".into(),
        schedule: schedule(time),
        enabled: true,
        misfire: Misfire::Skip,
        action: Action::Connect,
        max_attempts: 1,
        retry_minutes: 5,
        since: BEGIN,
        created_at: BEGIN,
        updated_at: BEGIN,
    }
}

pub(crate) fn directory(calls: &[RecurringCall]) -> Directory {
    let mut directory = Directory::default();
    directory.apply(Change::Extension(Extension {
        id: ExtensionId::parse("ext_1").unwrap(),
        user: UserId::parse("ana").unwrap(),
        number: ExtensionNumber::parse("1001").unwrap(),
        display_name: "Ana".into(),
        status: ExtensionStatus::Active,
        username: "phone1001".into(),
        forwarding: Forwarding::default(),
        voicemail_enabled: true,
        do_not_disturb: false,
        call_waiting: true,
        ring_seconds: 30,
        dial_permissions: model::DialPermissions::default(),
        follow_me: None,
        record_calls: model::RecordCalls::default(),
        created_at: BEGIN,
        updated_at: BEGIN,
        timezone: None,
    }));
    for call in calls {
        directory.apply(Change::Recurring(Box::new(call.clone())));
    }
    directory
}

/// Fault rates, per mille.
#[derive(Clone, Copy, Default)]
pub(crate) struct FaultRates {
    pub(crate) crash: u64,
    pub(crate) power_cut: u64,
    pub(crate) store_fails: u64,
    pub(crate) refused: u64,
    pub(crate) silent: u64,
    pub(crate) busy: u64,
    pub(crate) no_answer: u64,
}

pub(crate) const FAULTS: FaultRates = FaultRates {
    crash: 1,
    power_cut: 200,
    store_fails: 30,
    refused: 60,
    silent: 30,
    busy: 120,
    no_answer: 50,
};

/// Steps of an occurrence at which a process can crash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Step {
    /// The row is created or updated for a further attempt.
    Claim,
    /// The switch gets the command.
    Dial,
    /// The phones ring.
    Ringing,
    /// The call is answered.
    Answered,
    /// The call has failed.
    Refused,
    /// The row is set back to waiting for its next attempt.
    Wait,
    /// The row gets its outcome.
    Outcome,
}

impl Step {
    pub(crate) const ALL: [Step; 7] =
        [Step::Claim, Step::Dial, Step::Ringing, Step::Answered, Step::Refused, Step::Wait, Step::Outcome];
}

/// Whether the process crashes before it executes the step, or after it without having learnt the result.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Side {
    Before,
    After,
}

/// A lease of a row: only this node may change the row until the lease expires.
#[derive(Clone, Copy)]
pub(crate) struct LeaseHold {
    pub(crate) from: Instant,
    pub(crate) node: usize,
    pub(crate) lease: Instant,
}

/// A call made by the simulated switch.
pub(crate) struct SimCall {
    pub(crate) key: Key,
    pub(crate) at: Instant,
    /// Time of the answer, or of the end with its cause.
    pub(crate) outcome: (Instant, Result<(), Cause>),
    /// Time at which the process crashed.
    pub(crate) interrupted: Option<Instant>,
}

impl SimCall {
    pub(crate) fn answered(&self) -> bool {
        self.outcome.1.is_ok() && self.interrupted.is_none_or(|interrupted| interrupted >= self.outcome.0)
    }

    fn record(&self, id: &CallId, at: Instant) -> CallRecord {
        let mut record = CallRecord {
            as_of: None,
            id: id.clone(),
            user: UserId::parse("ana").unwrap(),
            other_user: None,
            direction: CallDirection::Internal,
            status: CallStatus::Ringing,
            from_number: "1001".into(),
            to_number: "1002".into(),
            device: None,
            started_at: now(self.at).wall,
            answered_at: None,
            ended_at: None,
            cause: None,
            trace: Vec::new(),
            legs: Vec::new(),
        };
        let end = self.interrupted.unwrap_or(Instant::from_micros(u64::MAX)).min(at);
        if self.answered() && end >= self.outcome.0 {
            (record.status, record.answered_at) = (CallStatus::InProgress, Some(now(self.outcome.0).wall));
        } else if let (Err(cause), true) = (self.outcome.1, end >= self.outcome.0) {
            (record.status, record.cause) = (cause.call_status(), Some(cause));
        } else if self.interrupted.is_some() {
            (record.status, record.cause) = (CallStatus::Failed, Some(Cause::Crash));
        }
        record
    }
}

pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) boot: u64,
    pub(crate) process: u64,
    pub(crate) scheduler: Option<Scheduler>,
    /// While it is down: the time of its next start.
    pub(crate) up_at: Instant,
    pub(crate) pending_outputs: VecDeque<Output>,
    /// Start and end of each uptime.
    pub(crate) uptimes: Vec<(Instant, Instant)>,
    /// Its journal: the calls that it has made.
    pub(crate) calls: BTreeMap<CallId, SimCall>,
}

pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) faults: FaultRates,
    pub(crate) at: Instant,
    pub(crate) recurring_calls: Vec<RecurringCall>,
    pub(crate) rows: BTreeMap<Key, Occurrence>,
    /// The occurrences without a final state.
    pub(crate) open: BTreeSet<Key>,
    pub(crate) events: BTreeMap<Key, u32>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) dialled: Vec<(Instant, Key)>,
    /// Calls that are in no journal any more.
    pub(crate) lost: Vec<SimCall>,
    /// Leases of each row, in order.
    pub(crate) holds: BTreeMap<Key, Vec<LeaseHold>>,
    /// Occurrences that were being dialled, or whose outcome was not yet stored, when their process crashed.
    pub(crate) interrupted: BTreeSet<Key>,
    /// Number of rejections by the switch.
    pub(crate) rejected: BTreeMap<Key, u32>,
    /// Number of crashes at each step.
    pub(crate) crashes: BTreeMap<(Step, Side), u32>,
    pub(crate) per_second: u32,
}

impl World {
    pub(crate) fn new(
        seed: u64,
        faults: FaultRates,
        nodes: usize,
        recurring_calls: Vec<RecurringCall>,
    ) -> World {
        let node = |n| Node {
            name: format!("node{n}"),
            boot: 0,
            process: 0,
            scheduler: None,
            up_at: Instant::ZERO,
            pending_outputs: VecDeque::new(),
            uptimes: Vec::new(),
            calls: BTreeMap::new(),
        };
        World {
            rng: Rng::from_number(seed),
            faults,
            at: Instant::ZERO,
            recurring_calls,
            rows: BTreeMap::new(),
            open: BTreeSet::new(),
            events: BTreeMap::new(),
            lost: Vec::new(),
            holds: BTreeMap::new(),
            interrupted: BTreeSet::new(),
            rejected: BTreeMap::new(),
            crashes: BTreeMap::new(),
            nodes: (0..nodes).map(node).collect(),
            dialled: Vec::new(),
            per_second: 5,
        }
    }

    fn per_mille(&mut self, thousandths: u64) -> bool {
        self.rng.below(1000) < thousandths
    }

    /// Run with faults until `end`, then without faults until all occurrences are final.
    pub(crate) fn run(&mut self, end: Instant) {
        while self.at < end {
            self.step(end);
        }
        self.faults = FaultRates::default();
        for node in &mut self.nodes {
            node.up_at = node.up_at.min(self.at);
        }
        let rest = end + Duration::from_mins(60);
        while self.at < rest {
            self.step(rest);
        }
    }

    pub(crate) fn step(&mut self, end: Instant) {
        let mut next = end;
        for n in 0..self.nodes.len() {
            self.run_node(n);
            let at = self.at;
            let node = &self.nodes[n];
            let wakes = node.scheduler.as_ref().map_or(node.up_at, |scheduler| scheduler.deadline(now(at)));
            next = next.min(wakes);
        }
        self.at = next.max(self.at + Duration::from_millis(20));
    }

    fn run_node(&mut self, n: usize) {
        if self.nodes[n].scheduler.is_none() {
            if self.nodes[n].up_at > self.at {
                return;
            }
            self.start(n);
        }
        self.feed(n, Input::Tick);
        while let Some(output) = self.nodes[n].pending_outputs.pop_front() {
            // A crash after the execution means that the result is never learnt.
            let step = self.step_of(n, &output);
            if self.maybe_crash(n, step, Side::Before) {
                return;
            }
            let input = self.execute(n, output);
            if self.maybe_crash(n, step, Side::After) {
                return;
            }
            self.feed(n, input);
        }
    }

    /// The step that an output belongs to.
    fn step_of(&self, n: usize, output: &Output) -> Option<Step> {
        Some(match output {
            Output::Claim { row, .. } | Output::Change(row) => match row.state {
                OccurrenceState::Dialling => Step::Claim,
                OccurrenceState::Claimed => Step::Wait,
                OccurrenceState::Done | OccurrenceState::Failed | OccurrenceState::Missed => Step::Outcome,
            },
            Output::Dial(..) => Step::Dial,
            Output::Poll(_, call) => {
                let record = self.nodes[n].calls.get(call)?.record(call, self.at);
                match record.status {
                    CallStatus::Ringing => Step::Ringing,
                    CallStatus::InProgress => Step::Answered,
                    _ => Step::Refused,
                }
            }
            Output::Sweep | Output::Locate(..) => return None,
        })
    }

    /// A ringing call is polled many times. Each of the other steps occurs once and gets a higher rate.
    fn maybe_crash(&mut self, n: usize, step: Option<Step>, side: Side) -> bool {
        let Some(step) = step else { return false };
        let per_mille = if step == Step::Ringing { self.faults.crash } else { self.faults.crash * 5 };
        let maybe_crash = self.per_mille(per_mille);
        if maybe_crash {
            *self.crashes.entry((step, side)).or_default() += 1;
            self.crash_node(n);
        }
        maybe_crash
    }

    pub(crate) fn feed(&mut self, n: usize, input: Input) {
        let (at, mut out) = (self.at, Vec::new());
        if let Some(scheduler) = &mut self.nodes[n].scheduler {
            scheduler.handle(now(at), input, &mut out);
            self.nodes[n].pending_outputs.extend(out);
        }
    }

    fn start(&mut self, n: usize) {
        let rng = self.rng.fork();
        let (at, shared) = (self.at, self.nodes.len() > 1);
        let node = &mut self.nodes[n];
        node.process += 1;
        node.uptimes.push((at, Instant::from_micros(u64::MAX)));
        let owner = format!("{}:{}:{}", node.name, node.boot, node.process);
        let config = Config { owner: owner.as_str().into(), per_second: self.per_second, shared };
        node.scheduler = Some(Scheduler::new(config, rng));
        let mut last: BTreeMap<RecurringCallId, Timestamp> = BTreeMap::new();
        for key in self.rows.keys() {
            last.insert(key.0.clone(), key.1);
        }
        let open = self.open.iter().map(|key| &self.rows[key]);
        let mine = open.filter(|row| row.owner.starts_with(&node.name));
        let open = mine.map(|row| {
            let known = row.call.as_ref().is_some_and(|call| node.calls.contains_key(call));
            let same_boot = row.owner.split(':').nth(1) == Some(&node.boot.to_string());
            let dialled = match (known, same_boot) {
                (true, _) => CallStarted::Yes,
                (false, true) => CallStarted::No,
                (false, false) => CallStarted::Unknown,
            };
            (row.clone(), dialled)
        });
        let begin = Input::Begin { last: last.into_iter().collect(), open: open.collect() };
        self.feed(n, begin);
        let directory = directory(&self.recurring_calls);
        self.feed(n, Input::Directory(Box::new(directory)));
    }

    fn crash_node(&mut self, n: usize) {
        let away = match self.rng.below(10) {
            0 => 600 + self.rng.below(6000),
            1 | 2 => self.rng.below(600),
            _ => self.rng.below(5),
        };
        let interrupted = self.per_mille(self.faults.power_cut);
        let (at, node) = (self.at, &mut self.nodes[n]);
        let mine = |key: &&Key| {
            let row = &self.rows[*key];
            row.state == OccurrenceState::Dialling && row.owner.starts_with(&node.name)
        };
        self.interrupted.extend(self.open.iter().filter(mine).cloned());
        if let Some(process) = node.uptimes.last_mut() {
            process.1 = at;
        }
        node.scheduler = None;
        node.pending_outputs.clear();
        node.up_at = at + Duration::from_secs(away) + Duration::from_millis(300);
        for call in node.calls.values_mut() {
            call.interrupted.get_or_insert(at);
        }
        if interrupted {
            // The last second of the journal is lost. Its calls have rung nevertheless and stay in `dialled`.
            node.boot += 1;
            let recent = |call: &SimCall| at.since(call.at) <= Duration::from_secs(1);
            self.lost.extend(node.calls.extract_if(.., |_, call| recent(call)).map(|(_, call)| call));
        }
    }

    fn execute(&mut self, n: usize, output: Output) -> Input {
        match output {
            Output::Locate(key, _) => Input::Located(key, self.per_mille(500)),
            Output::Claim { row, since } => {
                let recurring_call =
                    self.recurring_calls.iter().find(|recurring_call| recurring_call.id == row.recurring);
                let free = !self.rows.contains_key(&row.key());
                let may = free
                    && recurring_call.is_some_and(|recurring_call| {
                        recurring_call.since == since && recurring_call.enabled
                    });
                self.write(row, may)
            }
            Output::Change(row) => {
                let may = self.rows.get(&row.key()).is_some_and(|old| old.version + 1 == row.version);
                self.write(row, may)
            }
            Output::Dial(key, wish) => {
                let call = wish.planned.unwrap().call;
                let current = &self.rows[&key];
                assert_eq!((current.state, &current.call), (OccurrenceState::Dialling, &Some(call.clone())));
                Input::Dialled(key.clone(), self.dial(n, key, call))
            }
            Output::Poll(key, call) => {
                let at = self.at;
                let found = self.nodes[n].calls.get(&call).map(|found| Box::new(found.record(&call, at)));
                Input::Polled(key, found)
            }
            Output::Sweep => {
                let wall = now(self.at).wall;
                let open = self.open.iter().map(|key| &self.rows[key]).filter(|row| row.lease_until <= wall);
                Input::Abandoned(open.take(100).cloned().collect())
            }
        }
    }

    fn write(&mut self, row: Occurrence, may: bool) -> Input {
        let key = row.key();
        let failing = self.per_mille(self.faults.store_fails);
        if failing && self.per_mille(500) {
            return Input::Written(key, WriteResult::Failed);
        }
        let current = self.rows.get(&key) == Some(&row);
        if may {
            if row.state.event().is_some() {
                *self.events.entry(key.clone()).or_default() += 1;
            }
            assert!(
                self.rows.get(&key).is_none_or(|old| !old.state.is_final()),
                "a final state does not change"
            );
            match row.state.is_final() {
                true => self.open.remove(&key),
                false => self.open.insert(key.clone()),
            };
            let node = self.nodes.iter().position(|node| row.owner.starts_with(&node.name)).unwrap();
            let hold = LeaseHold { from: self.at, node, lease: instant(row.lease_until) };
            self.holds.entry(key.clone()).or_default().push(hold);
            self.rows.insert(key.clone(), row);
        }
        let written = if may || current { WriteResult::Applied } else { WriteResult::Conflict };
        Input::Written(key, if failing { WriteResult::Failed } else { written })
    }

    fn dial(&mut self, n: usize, key: Key, id: CallId) -> Dialled {
        if self.per_mille(self.faults.refused) {
            *self.rejected.entry(key).or_default() += 1;
            return Dialled::Refused(Cause::ConcurrentCallLimit);
        }
        let silent = self.per_mille(self.faults.silent);
        if silent && self.per_mille(500) {
            *self.rejected.entry(key).or_default() += 1;
            return Dialled::NoReply;
        }
        let seconds = Duration::from_secs(1 + self.rng.below(40));
        let outcome = if self.per_mille(self.faults.busy) {
            (self.at + Duration::from_secs(2), Err(Cause::Busy))
        } else if self.per_mille(self.faults.no_answer) {
            (self.at + Duration::from_secs(30), Err(Cause::NoAnswer))
        } else {
            (self.at + seconds, Ok(()))
        };
        self.dialled.push((self.at, key.clone()));
        let call = SimCall { key, at: self.at, outcome, interrupted: None };
        assert!(self.nodes[n].calls.insert(id, call).is_none());
        if silent { Dialled::NoReply } else { Dialled::Placed }
    }
}
