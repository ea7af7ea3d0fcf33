//! The simulated world: one clock, one queue of events, the switch and all its peers.

mod admin;
mod life;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use base::{Instant, Now, Rng, Timestamp};
use bytes::Bytes;
use media::MediaEvent;
use model::Change;
use sip::{Flow, Hop, Transport};
use switch::{Config, Input, Listener, Output, Switch};

use crate::attacker::Attacker;
use crate::carriers::{self, CARRIERS};
use crate::crowd::{self, CROWD};
use crate::disk::Disk;
use crate::event_log::EventLog;
use crate::network_conditions::NetworkConditions;
use crate::office::{DOMAIN, Office, peer};
use crate::oracle::{Oracle, Tally};
use crate::phone::{Phone, PhoneOutput, PhoneProfile};
use crate::rng_ext::Dice;
use crate::worker::Worker;

/// Result of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed of the run.
    pub seed: u64,
    /// Hash over all outputs of the switch and their times.
    pub trace: u64,
    /// Violated invariants; empty if the run passed.
    pub broken: Vec<String>,
    /// The last steps, as text.
    pub story: Vec<String>,
    /// Counts of what happened.
    pub tally: Tally,
}

/// A scheduled event.
#[derive(Debug)]
enum SimEvent {
    /// A SIP message arrives at the switch.
    ToSwitch(Hop, Bytes),
    /// A SIP message arrives at the peer with this address.
    ToPeer(Hop, Bytes),
    FromMedia(u32, MediaEvent),
    Listening(u32, bool),
    Unreachable(u32, Hop),
    FlowClosed(u32, Flow),
    Crash,
    Restart,
    Vanish(usize),
    Wake(usize),
    Ask,
    /// The extensions of the large directory originate their calls.
    CrowdCalls,
    /// The database has stored a dialled setting, or failed to.
    Set(u32, u64, Box<switch::SettingChange>, bool),
    StartAgain,
    /// All trunks are removed, so that their hosts are no longer probed.
    Unplug,
    AdminChange,
    WallJump,
    Intrude,
    /// Some time after a call was closed: no phone may still consider it confirmed.
    Forgotten(u32, model::CallId, Vec<String>),
    Closing,
}

/// All state of one run.
#[derive(Debug)]
pub struct World {
    seed: u64,
    rng: Rng,
    now: Instant,
    wall_offset: i64,
    weather: NetworkConditions,
    config: Config,
    /// `None` while the process is down.
    switch: Option<Switch>,
    /// Number of starts of the process so far.
    life: u32,
    listening: bool,
    /// The process crashes in the middle of its next batch of outputs.
    doomed: bool,
    office: Office,
    trunks: Vec<model::Trunk>,
    disk: Disk,
    worker: Worker,
    slow_worker: bool,
    ports: u16,
    phones: Vec<Phone>,
    /// The connection of each phone that uses TCP.
    flows: Vec<Flow>,
    /// Arrival time of the last segment, per connection and direction.
    streams: BTreeMap<(Flow, bool), Instant>,
    intruder: Attacker,
    queue: BTreeMap<(Instant, u64), SimEvent>,
    next: u64,
    tokens: u64,
    /// BYEs that the switch sent.
    goodbyes: u64,
    closed: bool,
    /// False once the wall clock has jumped: binding expiry is then not checked.
    steady_clock: bool,
    oracle: Oracle,
    story: EventLog,
    out: Vec<Output>,
}

/// Limit of simulated time: longer than the longest call and every timer.
const LONGEST: Duration = Duration::from_secs(5 * 3600);
/// 2025-01-15 10:30 UTC.
const MORNING: i64 = 1_736_937_000_000_000;

fn server() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 5060)
}

/// Last octet of the attacker's address.
const INTRUDER: u8 = 66;

impl World {
    /// Run one seed.
    pub fn run(seed: u64) -> Outcome {
        World::watch(seed, 150)
    }

    /// Run one seed and keep `kept` steps of its log.
    pub fn watch(seed: u64, kept: usize) -> Outcome {
        let mut world = World::new(seed, kept);
        let lived = catch_unwind(AssertUnwindSafe(|| world.live()));
        if let Err(panic) = lived {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            world.oracle.broken(format!("panic: {}", text.unwrap_or_default()));
        }
        Outcome {
            seed,
            trace: world.story.trace(),
            broken: world.oracle.verdict().to_vec(),
            story: world.story.tell(),
            tally: world.oracle.tally.clone(),
        }
    }

    fn new(seed: u64, kept: usize) -> World {
        let mut rng = Rng::from_number(seed);
        let weather = NetworkConditions::of(&mut rng);
        let listeners =
            [Transport::Udp, Transport::Tcp].map(|transport| Listener { transport, address: server() });
        let config = Config {
            domain: DOMAIN.into(),
            listeners: listeners.to_vec(),
            calls_per_user: *rng.pick(&[50, 50, 3]),
            call_duration: Duration::from_secs(*rng.pick(&[4 * 3600, 4 * 3600, 45])),
            ladders_per_second: *rng.pick(&[100, 100, 1]),
            ..Config::default()
        };
        let mut phones = Vec::new();
        for n in 0..2 + rng.below(4) as usize {
            let transport = if rng.odds(20) { Transport::Tcp } else { Transport::Udp };
            let habits = PhoneProfile::of(&mut rng);
            let mut phone = Phone::new(Office::account(n), peer(10 + n as u8), transport, habits, rng.fork());
            phone.contacts = Office::numbers();
            phones.push(phone);
        }
        let (mut office, mut trunks) = (Office::new(), Vec::new());
        if seed & CARRIERS != 0 {
            phones.iter_mut().for_each(|phone| phone.contacts = carriers::numbers());
            phones.extend(carriers::peers(&mut rng));
            trunks = carriers::trunks(&mut rng);
            for trunk in &trunks {
                office.directory.apply(Change::Trunk(Box::new(trunk.clone())));
            }
        }
        let mut disk = Disk::default();
        if seed & CROWD != 0 {
            crowd::move_in(&mut office.directory);
            crowd::bindings(Timestamp::from_micros(MORNING)).for_each(|record| disk.write(record));
            phones.iter_mut().filter(|phone| !phone.carrier).for_each(|p| p.contacts.extend(Office::codes()));
        }
        World {
            seed,
            now: Instant::ZERO,
            wall_offset: 0,
            weather,
            config,
            switch: None,
            life: 0,
            listening: false,
            doomed: false,
            office,
            trunks,
            disk,
            worker: Worker::default(),
            slow_worker: rng.odds(30),
            ports: if rng.odds(10) { 6 } else { 500 },
            flows: (0..phones.len() as u32).map(|number| Flow { epoch: 0, number: number + 1 }).collect(),
            phones,
            streams: BTreeMap::new(),
            intruder: Attacker::new(peer(INTRUDER), rng.fork()),
            queue: BTreeMap::new(),
            next: 0,
            tokens: 0,
            goodbyes: 0,
            closed: false,
            steady_clock: true,
            oracle: Oracle::default(),
            story: EventLog::new(kept),
            out: Vec::new(),
            rng,
        }
    }

    fn now(&self) -> Now {
        let wall = Timestamp::from_micros(MORNING + self.wall_offset + self.now.as_micros() as i64);
        Now { instant: self.now, wall }
    }

    fn plan(&mut self, due: Instant, happening: SimEvent) {
        self.next += 1;
        self.queue.insert((due, self.next), happening);
    }

    /// Schedule an event at a random time within a range of milliseconds from now.
    fn soon(&mut self, from: u64, to: u64, happening: SimEvent) {
        let due = self.now + self.rng.millis(from, to);
        self.plan(due, happening);
    }

    fn note(&mut self, text: String) {
        self.story.note(self.now, text);
    }

    /// Schedule the events of the run: the fixed ones, and a random selection of the others.
    fn script(&mut self) {
        let day = 1000 * (120 + self.rng.below(400));
        self.soon(0, 0, SimEvent::Restart);
        for n in 0..self.phones.len() {
            self.soon(0, 10_000, SimEvent::Wake(n));
            if self.rng.odds(25) {
                self.soon(20_000, day, SimEvent::Vanish(n));
            }
        }
        for _ in 0..*self.rng.pick(&[0, 0, 1, 1, 3]) {
            self.soon(10_000, day, SimEvent::Crash);
        }
        for _ in 0..*self.rng.pick(&[0, 0, 0, 2, 5]) {
            self.soon(10_000, day, SimEvent::AdminChange);
        }
        for _ in 0..*self.rng.pick(&[0, 0, 0, 0, 2]) {
            self.soon(10_000, day, SimEvent::WallJump);
        }
        if self.rng.odds(40) {
            self.soon(0, 20_000, SimEvent::Intrude);
        }
        self.soon(500, 10_000, SimEvent::Ask);
        if self.seed & CROWD != 0 {
            self.soon(2_000, 2_000, SimEvent::CrowdCalls);
        }
        self.soon(day, day, SimEvent::Closing);
    }

    fn live(&mut self) {
        self.script();
        let mut spins = 0u32;
        loop {
            let planned = self.queue.first_key_value().map(|((due, _), _)| *due);
            let tick = self.switch.as_ref().and_then(Switch::deadline);
            let phone =
                (0..self.phones.len()).filter_map(|n| self.phones[n].deadline().map(|due| (due, n))).min();
            let next = [planned, tick, phone.map(|(due, _)| due)].into_iter().flatten().min();
            let Some(due) = next else { break };
            if due > Instant::ZERO + LONGEST {
                self.oracle
                    .broken(format!("does not come to rest: {:?}", self.switch.as_ref().map(Switch::counts)));
                return;
            }
            spins = if due > self.now { 0 } else { spins + 1 };
            if spins > 20_000 {
                return self.oracle.broken("spins without time going on");
            }
            self.now = self.now.max(due);
            if planned == Some(due) {
                if let Some((_, happening)) = self.queue.pop_first() {
                    self.happen(happening);
                }
            } else if tick == Some(due) {
                self.feed(Input::Tick);
            } else if let Some((_, n)) = phone {
                let mut said = PhoneOutput::default();
                self.phones[n].tick(self.now, &mut said);
                self.say(n, said);
            }
            if self.oracle.verdict().len() >= 20 {
                return;
            }
        }
        let census = self.switch.as_ref().map_or([0; 4], Switch::counts);
        let live_calls = self.phones.iter().map(Phone::live_calls).sum();
        self.oracle.at_rest(census, self.worker.streams(), live_calls);
    }

    fn happen(&mut self, happening: SimEvent) {
        match happening {
            SimEvent::ToSwitch(hop, bytes) => self.deliver(hop, bytes),
            SimEvent::ToPeer(hop, bytes) => self.arrive(hop, &bytes),
            SimEvent::FromMedia(life, event) if life == self.life => self.feed(Input::Media(event)),
            SimEvent::Listening(life, open) if life == self.life => {
                self.listening = open;
                self.note(format!("listening: {open}"));
                self.feed(Input::Listening(open));
            }
            SimEvent::Set(life, token, change, done) if life == self.life => self.set(token, &change, done),
            SimEvent::Unreachable(life, hop) if life == self.life => self.feed(Input::Unreachable(hop)),
            SimEvent::FlowClosed(life, flow) if life == self.life => self.feed(Input::FlowClosed(flow)),
            // From a process that has crashed.
            SimEvent::FromMedia(..)
            | SimEvent::Set(..)
            | SimEvent::Listening(..)
            | SimEvent::Unreachable(..)
            | SimEvent::FlowClosed(..) => {}
            SimEvent::Crash => self.crash(),
            SimEvent::Restart => self.restart(),
            SimEvent::Vanish(n) => self.vanish(n),
            SimEvent::Wake(n) => self.wake(n),
            SimEvent::Ask => self.ask(),
            SimEvent::CrowdCalls => {
                for wish in crowd::calls() {
                    self.command(wish);
                }
            }
            SimEvent::StartAgain => self.start_again(),
            SimEvent::Unplug => self.unplug(),
            SimEvent::AdminChange => self.meddle(),
            SimEvent::WallJump => self.jump(),
            SimEvent::Intrude => self.intrude(),
            SimEvent::Forgotten(life, call, legs) => self.check_forgotten(life, &call, &legs),
            SimEvent::Closing => self.close(),
        }
    }
}
