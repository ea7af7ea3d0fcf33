//! The simulated world: one clock, one queue of events, the switch and all its peers.

mod admin;
mod run;

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
use crate::oracle::{Oracle, Tally};
use crate::phone::{Phone, PhoneOutput, PhoneProfile};
use crate::rng_ext::RngExt;
use crate::site::{DOMAIN, Site, peer};
use crate::worker::Worker;

/// Result of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed of the run.
    pub seed: u64,
    /// Hash over all outputs of the switch and their times.
    pub trace: u64,
    /// Violated invariants; empty if the run passed.
    pub violations: Vec<String>,
    /// The last steps, as text.
    pub log: Vec<String>,
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
    PowerOff(usize),
    PowerOn(usize),
    UserAction,
    /// The extensions of the large directory originate their calls.
    CrowdCalls,
    /// The database has stored a dialled setting, or failed to.
    SettingStored(u32, u64, Box<switch::SettingChange>, bool),
    StartSwitch,
    /// All trunks are removed, so that their hosts are no longer probed.
    RemoveTrunks,
    AdminChange,
    WallJump,
    AttackerSends,
    /// Some time after a call was closed: no phone may still consider it confirmed.
    CheckEnded(u32, model::CallId, Vec<String>),
    EndOfRun,
}

/// All state of one run.
#[derive(Debug)]
pub struct World {
    seed: u64,
    rng: Rng,
    now: Instant,
    wall_offset: i64,
    network: NetworkConditions,
    config: Config,
    /// `None` while the process is down.
    switch: Option<Switch>,
    /// Number of starts of the process so far.
    epoch: u32,
    listening: bool,
    /// The process crashes in the middle of its next batch of outputs.
    crash_pending: bool,
    site: Site,
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
    attacker: Attacker,
    queue: BTreeMap<(Instant, u64), SimEvent>,
    next: u64,
    tokens: u64,
    /// BYEs that the switch sent.
    byes_sent: u64,
    closed: bool,
    /// False once the wall clock has jumped: binding expiry is then not checked.
    steady_clock: bool,
    oracle: Oracle,
    log: EventLog,
    out: Vec<Output>,
}

/// Limit of simulated time: longer than the longest call and every timer.
const TIME_LIMIT: Duration = Duration::from_secs(5 * 3600);
/// 2025-01-15 10:30 UTC.
const WALL_START: i64 = 1_736_937_000_000_000;

fn server() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 5060)
}

/// Last octet of the attacker's address.
const ATTACKER: u8 = 66;

impl World {
    /// Run one seed.
    pub fn run(seed: u64) -> Outcome {
        World::run_with_log(seed, 150)
    }

    /// Run one seed and keep `kept` steps of its log.
    pub fn run_with_log(seed: u64, kept: usize) -> Outcome {
        let mut world = World::new(seed, kept);
        let result = catch_unwind(AssertUnwindSafe(|| world.run_to_end()));
        if let Err(panic) = result {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            world.oracle.violation(format!("panic: {}", text.unwrap_or_default()));
        }
        Outcome {
            seed,
            trace: world.log.trace(),
            violations: world.oracle.violations().to_vec(),
            log: world.log.lines(),
            tally: world.oracle.tally.clone(),
        }
    }

    fn new(seed: u64, kept: usize) -> World {
        let mut rng = Rng::from_number(seed);
        let network = NetworkConditions::of(&mut rng);
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
            let profile = PhoneProfile::of(&mut rng);
            let mut phone = Phone::new(Site::account(n), peer(10 + n as u8), transport, profile, rng.fork());
            phone.contacts = Site::numbers();
            phones.push(phone);
        }
        let (mut site, mut trunks) = (Site::new(), Vec::new());
        if seed & CARRIERS != 0 {
            phones.iter_mut().for_each(|phone| phone.contacts = carriers::numbers());
            phones.extend(carriers::peers(&mut rng));
            trunks = carriers::trunks(&mut rng);
            for trunk in &trunks {
                site.directory.apply(Change::Trunk(Box::new(trunk.clone())));
            }
        }
        let mut disk = Disk::default();
        if seed & CROWD != 0 {
            crowd::add_extensions(&mut site.directory);
            crowd::bindings(Timestamp::from_micros(WALL_START)).for_each(|record| disk.write(record));
            phones
                .iter_mut()
                .filter(|phone| !phone.carrier)
                .for_each(|p| p.contacts.extend(Site::feature_codes()));
        }
        World {
            seed,
            now: Instant::ZERO,
            wall_offset: 0,
            network,
            config,
            switch: None,
            epoch: 0,
            listening: false,
            crash_pending: false,
            site,
            trunks,
            disk,
            worker: Worker::default(),
            slow_worker: rng.odds(30),
            ports: if rng.odds(10) { 6 } else { 500 },
            flows: (0..phones.len() as u32).map(|number| Flow { epoch: 0, number: number + 1 }).collect(),
            phones,
            streams: BTreeMap::new(),
            attacker: Attacker::new(peer(ATTACKER), rng.fork()),
            queue: BTreeMap::new(),
            next: 0,
            tokens: 0,
            byes_sent: 0,
            closed: false,
            steady_clock: true,
            oracle: Oracle::default(),
            log: EventLog::new(kept),
            out: Vec::new(),
            rng,
        }
    }

    fn now(&self) -> Now {
        let wall = Timestamp::from_micros(WALL_START + self.wall_offset + self.now.as_micros() as i64);
        Now { instant: self.now, wall }
    }

    fn schedule_at(&mut self, due: Instant, event: SimEvent) {
        self.next += 1;
        self.queue.insert((due, self.next), event);
    }

    /// Schedule an event at a random time within a range of milliseconds from now.
    fn schedule_within(&mut self, from: u64, to: u64, event: SimEvent) {
        let due = self.now + self.rng.millis(from, to);
        self.schedule_at(due, event);
    }

    fn note(&mut self, text: String) {
        self.log.note(self.now, text);
    }

    /// Schedule the events of the run: the fixed ones, and a random selection of the others.
    fn schedule_run(&mut self) {
        let duration_ms = 1000 * (120 + self.rng.below(400));
        self.schedule_within(0, 0, SimEvent::Restart);
        for n in 0..self.phones.len() {
            self.schedule_within(0, 10_000, SimEvent::PowerOn(n));
            if self.rng.odds(25) {
                self.schedule_within(20_000, duration_ms, SimEvent::PowerOff(n));
            }
        }
        for _ in 0..*self.rng.pick(&[0, 0, 1, 1, 3]) {
            self.schedule_within(10_000, duration_ms, SimEvent::Crash);
        }
        for _ in 0..*self.rng.pick(&[0, 0, 0, 2, 5]) {
            self.schedule_within(10_000, duration_ms, SimEvent::AdminChange);
        }
        for _ in 0..*self.rng.pick(&[0, 0, 0, 0, 2]) {
            self.schedule_within(10_000, duration_ms, SimEvent::WallJump);
        }
        if self.rng.odds(40) {
            self.schedule_within(0, 20_000, SimEvent::AttackerSends);
        }
        self.schedule_within(500, 10_000, SimEvent::UserAction);
        if self.seed & CROWD != 0 {
            self.schedule_within(2_000, 2_000, SimEvent::CrowdCalls);
        }
        self.schedule_within(duration_ms, duration_ms, SimEvent::EndOfRun);
    }

    fn run_to_end(&mut self) {
        self.schedule_run();
        let mut spins = 0u32;
        loop {
            let planned = self.queue.first_key_value().map(|((due, _), _)| *due);
            let tick = self.switch.as_ref().and_then(Switch::deadline);
            let phone =
                (0..self.phones.len()).filter_map(|n| self.phones[n].deadline().map(|due| (due, n))).min();
            let next = [planned, tick, phone.map(|(due, _)| due)].into_iter().flatten().min();
            let Some(due) = next else { break };
            if due > Instant::ZERO + TIME_LIMIT {
                self.oracle.violation(format!(
                    "state is left at the time limit: {:?}",
                    self.switch.as_ref().map(Switch::counts)
                ));
                return;
            }
            spins = if due > self.now { 0 } else { spins + 1 };
            if spins > 20_000 {
                return self.oracle.violation("20,000 events without progress of time");
            }
            self.now = self.now.max(due);
            if planned == Some(due) {
                if let Some((_, event)) = self.queue.pop_first() {
                    self.on_event(event);
                }
            } else if tick == Some(due) {
                self.feed(Input::Tick);
            } else if let Some((_, n)) = phone {
                let mut said = PhoneOutput::default();
                self.phones[n].tick(self.now, &mut said);
                self.send_from_phone(n, said);
            }
            if self.oracle.violations().len() >= 20 {
                return;
            }
        }
        let counts = self.switch.as_ref().map_or([0; 4], Switch::counts);
        let live_calls = self.phones.iter().map(Phone::live_calls).sum();
        self.oracle.check_at_rest(counts, self.worker.streams(), live_calls);
    }

    fn on_event(&mut self, event: SimEvent) {
        match event {
            SimEvent::ToSwitch(hop, bytes) => self.deliver_to_switch(hop, bytes),
            SimEvent::ToPeer(hop, bytes) => self.deliver_to_peer(hop, &bytes),
            SimEvent::FromMedia(epoch, event) if epoch == self.epoch => self.feed(Input::Media(event)),
            SimEvent::Listening(epoch, open) if epoch == self.epoch => {
                self.listening = open;
                self.note(format!("listening: {open}"));
                self.feed(Input::Listening(open));
            }
            SimEvent::SettingStored(epoch, token, change, done) if epoch == self.epoch => {
                self.on_setting_stored(token, &change, done);
            }
            SimEvent::Unreachable(epoch, hop) if epoch == self.epoch => self.feed(Input::Unreachable(hop)),
            SimEvent::FlowClosed(epoch, flow) if epoch == self.epoch => self.feed(Input::FlowClosed(flow)),
            // From a process that has crashed.
            SimEvent::FromMedia(..)
            | SimEvent::SettingStored(..)
            | SimEvent::Listening(..)
            | SimEvent::Unreachable(..)
            | SimEvent::FlowClosed(..) => {}
            SimEvent::Crash => self.crash(),
            SimEvent::Restart => self.restart(),
            SimEvent::PowerOff(n) => self.power_off(n),
            SimEvent::PowerOn(n) => self.power_on(n),
            SimEvent::UserAction => self.user_action(),
            SimEvent::CrowdCalls => {
                for originate in crowd::calls() {
                    self.command(originate);
                }
            }
            SimEvent::StartSwitch => self.start_switch(),
            SimEvent::RemoveTrunks => self.remove_trunks(),
            SimEvent::AdminChange => self.admin_change(),
            SimEvent::WallJump => self.jump_wall_clock(),
            SimEvent::AttackerSends => self.attacker_sends(),
            SimEvent::CheckEnded(epoch, call, legs) => self.check_ended(epoch, &call, &legs),
            SimEvent::EndOfRun => self.end_run(),
        }
    }
}
