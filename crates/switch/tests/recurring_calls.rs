//! The scheduler over a store that fails and in a process that dies: each instant is dialled once, or recorded as not dialled. Never
//! twice, and never neither (S85).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use base::{Chance, Instant, Now, Timestamp};
use centralita_switch::schedule::{Begun, Config, Dialled, GRACE, Input, Key, Output, Scheduler, Written};
use model::recurrence::{self, Schedule, next_after};
use model::{
    Action, CallDirection, CallId, CallRecord, CallStatus, Cause, Change, Directory, Extension, ExtensionId,
    ExtensionNumber, ExtensionStatus, Forwarding, Misfire, Occurrence, OccurrenceState, RecurringCall,
    RecurringCallId, UserId,
};

/// 2025-01-01T00:00:00Z
const BEGIN: Timestamp = Timestamp::from_micros(1_735_689_600_000_000);

fn now(at: Instant) -> Now {
    Now { instant: at, wall: BEGIN + at.since(Instant::ZERO) }
}

fn schedule(time: &str) -> Schedule {
    let written = recurrence::Written {
        frequency: "daily".into(),
        time: time.into(),
        timezone: "UTC".into(),
        ..recurrence::Written::default()
    };
    Schedule::try_from(written).unwrap()
}

fn recurring(n: usize, time: &str) -> RecurringCall {
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

fn directory(calls: &[RecurringCall]) -> Directory {
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

/// How often, in a thousand, something goes wrong.
#[derive(Clone, Copy, Default)]
struct Weather {
    crash: u64,
    power_cut: u64,
    store_fails: u64,
    refused: u64,
    silent: u64,
    busy: u64,
}

const STORM: Weather =
    Weather { crash: 5, power_cut: 200, store_fails: 30, refused: 60, silent: 30, busy: 150 };

/// A call that the model of the exchange has made.
struct Made {
    key: Key,
    at: Instant,
    /// When it is answered, or else over, with this cause.
    outcome: (Instant, Result<(), Cause>),
    /// The process died then.
    cut: Option<Instant>,
}

impl Made {
    fn answered(&self) -> bool {
        self.outcome.1.is_ok() && self.cut.is_none_or(|cut| cut >= self.outcome.0)
    }

    fn record(&self, id: &CallId, at: Instant) -> CallRecord {
        let mut record = CallRecord {
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
        let end = self.cut.unwrap_or(Instant::from_micros(u64::MAX)).min(at);
        if self.answered() && end >= self.outcome.0 {
            (record.status, record.answered_at) = (CallStatus::InProgress, Some(now(self.outcome.0).wall));
        } else if let (Err(cause), true) = (self.outcome.1, end >= self.outcome.0) {
            (record.status, record.cause) = (cause.call_status(), Some(cause));
        } else if self.cut.is_some() {
            (record.status, record.cause) = (CallStatus::Failed, Some(Cause::Crash));
        }
        record
    }
}

struct Node {
    name: String,
    boot: u64,
    life: u64,
    scheduler: Option<Scheduler>,
    /// Where it is down: until then.
    up_at: Instant,
    todo: VecDeque<Output>,
    /// Its journal: the calls that it has made.
    calls: BTreeMap<CallId, Made>,
}

struct World {
    chance: Chance,
    weather: Weather,
    at: Instant,
    plans: Vec<RecurringCall>,
    rows: BTreeMap<Key, Occurrence>,
    /// Those of them that are not over.
    open: BTreeSet<Key>,
    events: BTreeMap<Key, u32>,
    nodes: Vec<Node>,
    begun: Vec<(Instant, Key)>,
    /// Calls that no journal tells of any more.
    lost: Vec<Made>,
    per_second: u32,
}

impl World {
    fn new(seed: u64, weather: Weather, nodes: usize, plans: Vec<RecurringCall>) -> World {
        let node = |n| Node {
            name: format!("node{n}"),
            boot: 0,
            life: 0,
            scheduler: None,
            up_at: Instant::ZERO,
            todo: VecDeque::new(),
            calls: BTreeMap::new(),
        };
        World {
            chance: Chance::from_number(seed),
            weather,
            at: Instant::ZERO,
            plans,
            rows: BTreeMap::new(),
            open: BTreeSet::new(),
            events: BTreeMap::new(),
            lost: Vec::new(),
            nodes: (0..nodes).map(node).collect(),
            begun: Vec::new(),
            per_second: 5,
        }
    }

    fn odds(&mut self, thousandths: u64) -> bool {
        self.chance.below(1000) < thousandths
    }

    /// Until `end`, and then in fair weather until nothing is under way.
    fn run(&mut self, end: Instant) {
        while self.at < end {
            self.step(end);
        }
        self.weather = Weather::default();
        for node in &mut self.nodes {
            node.up_at = node.up_at.min(self.at);
        }
        let rest = end + Duration::from_mins(60);
        while self.at < rest {
            self.step(rest);
        }
    }

    fn step(&mut self, end: Instant) {
        let mut next = end;
        for n in 0..self.nodes.len() {
            self.turn(n);
            let at = self.at;
            let node = &self.nodes[n];
            let wakes = node.scheduler.as_ref().map_or(node.up_at, |scheduler| scheduler.deadline(now(at)));
            next = next.min(wakes);
        }
        self.at = next.max(self.at + Duration::from_millis(20));
    }

    fn turn(&mut self, n: usize) {
        if self.nodes[n].scheduler.is_none() {
            if self.nodes[n].up_at > self.at {
                return;
            }
            self.start(n);
        }
        self.tell(n, Input::Tick);
        while let Some(output) = self.nodes[n].todo.pop_front() {
            // It may die before it acts, and after: what it has not been told it never learns.
            let crash = if output == Output::Sweep { 0 } else { self.weather.crash };
            if self.odds(crash) {
                return self.kill(n);
            }
            let input = self.perform(n, output);
            if self.odds(crash) {
                return self.kill(n);
            }
            self.tell(n, input);
        }
    }

    fn tell(&mut self, n: usize, input: Input) {
        let (at, mut out) = (self.at, Vec::new());
        if let Some(scheduler) = &mut self.nodes[n].scheduler {
            scheduler.handle(now(at), input, &mut out);
            self.nodes[n].todo.extend(out);
        }
    }

    fn start(&mut self, n: usize) {
        let chance = self.chance.fork();
        let node = &mut self.nodes[n];
        node.life += 1;
        let owner = format!("{}:{}:{}", node.name, node.boot, node.life);
        let config = Config { owner: owner.as_str().into(), per_second: self.per_second };
        node.scheduler = Some(Scheduler::new(config, chance));
        let mut last: BTreeMap<RecurringCallId, Timestamp> = BTreeMap::new();
        for key in self.rows.keys() {
            last.insert(key.0.clone(), key.1);
        }
        let open = self.open.iter().map(|key| &self.rows[key]);
        let mine = open.filter(|row| row.owner.starts_with(&node.name));
        let open = mine.map(|row| {
            let known = row.call.as_ref().is_some_and(|call| node.calls.contains_key(call));
            let same_boot = row.owner.split(':').nth(1) == Some(&node.boot.to_string());
            let begun = match (known, same_boot) {
                (true, _) => Begun::Yes,
                (false, true) => Begun::No,
                (false, false) => Begun::Unknown,
            };
            (row.clone(), begun)
        });
        let begin = Input::Begin { last: last.into_iter().collect(), open: open.collect() };
        self.tell(n, begin);
        let directory = directory(&self.plans);
        self.tell(n, Input::Directory(Box::new(directory)));
    }

    fn kill(&mut self, n: usize) {
        let away = match self.chance.below(10) {
            0 => 600 + self.chance.below(6000),
            1 | 2 => self.chance.below(600),
            _ => self.chance.below(5),
        };
        let cut = self.odds(self.weather.power_cut);
        let (at, node) = (self.at, &mut self.nodes[n]);
        node.scheduler = None;
        node.todo.clear();
        node.up_at = at + Duration::from_secs(away) + Duration::from_millis(300);
        for call in node.calls.values_mut() {
            call.cut.get_or_insert(at);
        }
        if cut {
            // The last second of the journal is gone. What it told of has rung all the same, and stays in the ledger of `begun`.
            node.boot += 1;
            let recent = |call: &Made| at.since(call.at) <= Duration::from_secs(1);
            self.lost.extend(node.calls.extract_if(.., |_, call| recent(call)).map(|(_, call)| call));
        }
    }

    fn perform(&mut self, n: usize, output: Output) -> Input {
        match output {
            Output::Claim { row, since } => {
                let plan = self.plans.iter().find(|plan| plan.id == row.recurring);
                let free = !self.rows.contains_key(&row.key());
                let may = free && plan.is_some_and(|plan| plan.since == since && plan.enabled);
                self.write(row, may)
            }
            Output::Change(row) => {
                let may = self.rows.get(&row.key()).is_some_and(|old| old.version + 1 == row.version);
                self.write(row, may)
            }
            Output::Dial(key, wish) => {
                let call = wish.planned.unwrap().call;
                let stands = &self.rows[&key];
                assert_eq!((stands.state, &stands.call), (OccurrenceState::Dialling, &Some(call.clone())));
                Input::Dialled(key.clone(), self.dial(n, key, call))
            }
            Output::Look(key, call) => {
                let at = self.at;
                let found = self.nodes[n].calls.get(&call).map(|made| Box::new(made.record(&call, at)));
                Input::Looked(key, found)
            }
            Output::Sweep => {
                let wall = now(self.at).wall;
                let open = self.open.iter().map(|key| &self.rows[key]).filter(|row| row.lease_until <= wall);
                Input::Forsaken(open.take(100).cloned().collect())
            }
        }
    }

    fn write(&mut self, row: Occurrence, may: bool) -> Input {
        let key = row.key();
        let fails = self.odds(self.weather.store_fails);
        if fails && self.odds(500) {
            return Input::Written(key, Written::Failed);
        }
        let stands = self.rows.get(&key) == Some(&row);
        if may {
            if row.state.event().is_some() {
                *self.events.entry(key.clone()).or_default() += 1;
            }
            assert!(self.rows.get(&key).is_none_or(|old| !old.state.is_final()), "what is over stays over");
            match row.state.is_final() {
                true => self.open.remove(&key),
                false => self.open.insert(key.clone()),
            };
            self.rows.insert(key.clone(), row);
        }
        let written = if may || stands { Written::Won } else { Written::Lost };
        Input::Written(key, if fails { Written::Failed } else { written })
    }

    fn dial(&mut self, n: usize, key: Key, call: CallId) -> Dialled {
        if self.odds(self.weather.refused) {
            return Dialled::Refused(Cause::ConcurrentCallLimit);
        }
        let silent = self.odds(self.weather.silent);
        if silent && self.odds(500) {
            return Dialled::Silent;
        }
        let seconds = Duration::from_secs(1 + self.chance.below(40));
        let outcome = match self.odds(self.weather.busy) {
            true => (self.at + Duration::from_secs(2), Err(Cause::Busy)),
            false => (self.at + seconds, Ok(())),
        };
        self.begun.push((self.at, key.clone()));
        let made = Made { key, at: self.at, outcome, cut: None };
        assert!(self.nodes[n].calls.insert(call, made).is_none());
        if silent { Dialled::Silent } else { Dialled::Placed }
    }

    /// Every instant has its one end, and the phones agree. Answers how many ended in each way.
    fn judge(&self, end: Instant) -> BTreeMap<OccurrenceState, usize> {
        let mut rang: BTreeMap<&Key, u8> = BTreeMap::new();
        for (_, key) in &self.begun {
            *rang.entry(key).or_default() += 1;
        }
        let made = self.nodes.iter().flat_map(|node| node.calls.values()).chain(&self.lost);
        let answered = made.filter(|call| call.answered());
        let mut talked: BTreeMap<&Key, u8> = BTreeMap::new();
        for call in answered {
            *talked.entry(&call.key).or_default() += 1;
        }
        let mut ends = BTreeMap::new();
        for plan in &self.plans {
            let mut due = next_after(&plan.schedule, plan.since).unwrap();
            while due <= now(end).wall {
                let key = (plan.id.clone(), due);
                let row = self.rows.get(&key).unwrap_or_else(|| panic!("{key:?} is forgotten"));
                let (rang, talked) =
                    (rang.get(&key).copied().unwrap_or(0), talked.get(&key).copied().unwrap_or(0));
                assert!(row.state.is_final(), "without an end: {row:?}");
                assert!(rang <= plan.max_attempts, "rung {rang} times: {row:?}");
                assert!(talked <= 1, "talked {talked} times: {row:?}");
                assert_eq!(self.events.get(&key), Some(&1), "told once: {row:?}");
                match row.state {
                    OccurrenceState::Done => assert_eq!(talked, 1, "{row:?}"),
                    OccurrenceState::Missed => assert_eq!(rang, 0, "{row:?}"),
                    OccurrenceState::Failed => assert!(row.cause.is_some(), "{row:?}"),
                    OccurrenceState::Claimed | OccurrenceState::Dialling => unreachable!(),
                }
                *ends.entry(row.state).or_default() += 1;
                due = next_after(&plan.schedule, due).unwrap();
            }
        }
        for (at, key) in &self.begun {
            assert!(now(*at).wall >= key.1, "{key:?} was dialled early");
        }
        ends
    }
}

/// So many calls a day, a hundred of them at nine.
fn plans(count: usize, chance: &mut Chance) -> Vec<RecurringCall> {
    let each = |n| {
        let second = chance.below(86_400);
        let time = match n % 3 {
            0 => "09:00".to_owned(),
            _ => format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60),
        };
        let mut plan = recurring(n, &time);
        plan.max_attempts = 1 + (n % 4 == 1) as u8 * 2;
        plan.misfire = if n % 5 == 2 { Misfire::RunOnce } else { Misfire::Skip };
        plan
    };
    (0..count).map(each).collect()
}

const DAY: Duration = Duration::from_hours(24);

#[test]
fn ten_thousand_instants_with_crashes_are_dialled_once_or_recorded_as_missed() {
    let (mut all, mut done, mut missed, mut failed) = (0, 0, 0, 0);
    for seed in 0..10 {
        let nodes = 1 + seed as usize % 3;
        let plans = plans(500, &mut Chance::from_number(1000 + seed));
        let mut world = World::new(seed, STORM, nodes, plans);
        let end = Instant::ZERO + DAY * 2;
        world.run(end);
        let ends = world.judge(end);
        let count = |state| ends.get(&state).copied().unwrap_or(0);
        all += ends.values().sum::<usize>();
        done += count(OccurrenceState::Done);
        missed += count(OccurrenceState::Missed);
        failed += count(OccurrenceState::Failed);
    }
    assert!(all >= 10_000, "{all}");
    // A storm is no excuse for doing nothing, and it was one.
    assert!(
        done * 100 > all * 60 && missed > 10 && failed > 10,
        "{done} done, {missed} missed, {failed} failed"
    );
}

#[test]
fn in_fair_weather_every_instant_is_dialled_in_time_in_order_and_at_the_pace() {
    let plans: Vec<RecurringCall> = (0..100).map(|n| recurring(n, "09:00")).collect();
    let mut world = World::new(7, Weather::default(), 1, plans);
    let end = Instant::ZERO + DAY * 2;
    world.run(end);
    assert_eq!(world.judge(end), BTreeMap::from([(OccurrenceState::Done, 200)]));
    for day in world.begun.chunks(100) {
        assert!(day.is_sorted_by_key(|(at, key)| (*at, key.0.clone())), "in order");
        for window in day.windows(6) {
            assert!(window[5].0.since(window[0].0) >= Duration::from_secs(1), "five a second");
        }
        let (first, last) = (now(day[0].0).wall, now(day[99].0).wall);
        assert!(first.since(day[0].1.1) < Duration::from_secs(1), "on time");
        assert!(last.since(first) < Duration::from_secs(22), "no slower than it may");
    }
}

#[test]
fn what_was_due_too_long_ago_is_missed_or_its_last_is_made_up_for() {
    let mut once = recurring(1, "09:00");
    once.misfire = Misfire::RunOnce;
    let mut world = World::new(1, Weather::default(), 1, vec![recurring(0, "09:00"), once]);
    world.nodes[0].up_at = Instant::ZERO + DAY * 3; // three nines have passed
    let end = Instant::ZERO + DAY * 3;
    world.run(end);
    let states = |n: usize| -> Vec<OccurrenceState> {
        let id = &world.plans[n].id;
        world.rows.values().filter(|row| row.recurring == *id).map(|row| row.state).collect()
    };
    let (done, missed) = (OccurrenceState::Done, OccurrenceState::Missed);
    assert_eq!((states(0), states(1)), (vec![missed; 3], vec![missed, missed, done]));
    world.judge(end);
}

#[test]
fn within_the_grace_an_instant_is_made_up_for() {
    for (late, state) in [
        (GRACE.checked_sub(Duration::from_secs(1)).unwrap(), OccurrenceState::Done),
        (GRACE + Duration::from_secs(1), OccurrenceState::Missed),
    ] {
        let mut world = World::new(1, Weather::default(), 1, vec![recurring(0, "09:00")]);
        world.nodes[0].up_at = Instant::ZERO + Duration::from_hours(9) + late;
        world.run(Instant::ZERO + Duration::from_hours(10));
        let states: Vec<_> = world.rows.values().map(|row| row.state).collect();
        assert_eq!(states, [state], "{late:?} late");
    }
}

#[test]
fn a_busy_line_is_tried_again_as_often_as_the_policy_says() {
    let mut plan = recurring(0, "09:00");
    (plan.max_attempts, plan.retry_minutes) = (3, 10);
    let weather = Weather { busy: 1000, ..Weather::default() };
    let mut world = World::new(1, weather, 1, vec![plan]);
    let nine = Instant::ZERO + Duration::from_hours(9);
    while world.at < nine + Duration::from_hours(1) {
        world.step(nine + Duration::from_hours(1));
    }
    let minutes: Vec<u64> = world.begun.iter().map(|(at, _)| at.since(nine).as_secs() / 60).collect();
    assert_eq!(minutes, [0, 10, 20]); // S86
    let row = world.rows.values().next().unwrap();
    assert_eq!((row.state, row.attempts, row.cause), (OccurrenceState::Failed, 3, Some(Cause::Busy)));
}

#[test]
fn a_user_at_the_limit_of_calls_has_missed_it_when_the_grace_is_over() {
    let weather = Weather { refused: 1000, ..Weather::default() };
    let mut world = World::new(1, weather, 1, vec![recurring(0, "09:00")]);
    let end = Instant::ZERO + Duration::from_hours(10);
    while world.at < end {
        world.step(end);
    }
    let row = world.rows.values().next().unwrap();
    let expected = (OccurrenceState::Missed, 0, Some(Cause::ConcurrentCallLimit)); // S29
    assert_eq!((row.state, row.attempts, row.cause), expected);
    assert!(row.version < 60, "it steps back further each time: {}", row.version);
}

#[test]
fn a_change_of_the_schedule_holds_from_then_on() {
    let mut world = World::new(1, Weather::default(), 1, vec![recurring(0, "09:00"), recurring(1, "09:00")]);
    let eight = Instant::ZERO + Duration::from_hours(8);
    while world.at < eight {
        world.step(eight);
    }
    world.plans[0].schedule = schedule("10:00");
    world.plans[0].since = now(world.at).wall;
    world.plans[1].enabled = false;
    world.plans[1].since = now(world.at).wall;
    let changed = directory(&world.plans);
    world.tell(0, Input::Directory(Box::new(changed)));
    world.run(Instant::ZERO + Duration::from_hours(12));
    let due: Vec<_> = world.rows.keys().map(|key| (key.0.as_str(), key.1.to_string())).collect();
    assert_eq!(due, [("rc_0000", "2025-01-01T10:00:00.000Z".to_owned())]); // S83
}
