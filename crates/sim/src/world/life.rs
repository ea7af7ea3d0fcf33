//! Delivery between the switch and its peers, and crash and restart of the process.

use std::mem;
use std::sync::Arc;

use base::{Now, Rng};
use bytes::Bytes;
use media::MediaEvent;
use model::journal::Record;
use sip::{Flow, Hop, Transport};
use switch::{Command, Input, Output, RegistrationsOf, Reply, SettingChange, Switch};

use super::{INTRUDER, SimEvent, World, peer, server};
use crate::crowd;
use crate::network_conditions::NetworkConditions;
use crate::phone::PhoneOutput;
use crate::rng_ext::Dice;
use crate::worker::Worker;

impl World {
    /// Handle an input and execute the outputs: journal records before messages.
    pub(super) fn feed(&mut self, input: Input) {
        let now = self.now();
        if self.switch.is_none() {
            return;
        }
        let mut out = mem::take(&mut self.out);
        self.handle(now, input, &mut out);
        for output in &out {
            match output {
                Output::Transmit { hop, bytes } => self.story.message(self.now, hop.remote, bytes),
                other @ (Output::Media { .. }
                | Output::Journal(_)
                | Output::Reply { .. }
                | Output::Resolve { .. }
                | Output::Voicemail(_)
                | Output::Setting { .. }
                | Output::Listen(_)) => {
                    self.story.output(self.now, other);
                }
            }
        }
        if mem::take(&mut self.doomed) {
            return self.die(out);
        }
        for output in &out {
            if let Output::Journal(record) = output {
                self.write(record.clone());
            }
        }
        for output in out.drain(..) {
            match output {
                Output::Transmit { hop, bytes } => self.transmit(hop, bytes),
                Output::Media { command, .. } => self.media(&command),
                Output::Journal(_) => {}
                Output::Reply { token, .. } => {
                    self.oracle.broken(format!("a reply to {token} that nobody waits for"));
                }
                // No audio store here: a voicemail message is never filed.
                Output::Voicemail(_) => {}
                Output::Setting { token, change } => self.write_setting(token, change),
                Output::Resolve { .. } => {
                    self.oracle.broken("a question to the DNS in an office whose trunks have addresses");
                }
                Output::Listen(open) => {
                    let life = self.life;
                    self.soon(0, 50, SimEvent::Listening(life, open));
                }
            }
        }
        self.out = out;
    }

    /// Handle an input and check its cost in steps.
    fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        let Some(switch) = &mut self.switch else { return };
        let (bound, what) = crowd::bound(&input);
        let before = switch.steps();
        switch.handle(now, input, out);
        let cost = switch.steps().saturating_sub(before);
        if cost > bound {
            self.oracle.broken(format!("{what} cost {cost} steps, and may cost {bound}"));
        }
        self.oracle.cost(what, cost);
    }

    /// Send a command; exactly one reply follows at once.
    pub(super) fn command(&mut self, command: Command) -> Option<Reply> {
        self.tokens += 1;
        let (now, token) = (self.now(), self.tokens);
        self.note(format!("command {command:?}"));
        self.switch.as_ref()?;
        let mut out = Vec::new();
        self.handle(now, Input::Command { token, command }, &mut out);
        let is_reply = |output: &Output| matches!(output, Output::Reply { .. });
        let replies = out.iter().filter(|o| is_reply(o)).count();
        if replies != 1 {
            self.oracle.broken(format!("{replies} replies to one command"));
        }
        let mut answer = None;
        let rest: Vec<Output> = out
            .into_iter()
            .filter_map(|output| match output {
                Output::Reply { token: said, reply } => {
                    if said != token {
                        self.oracle.broken("a reply with another token");
                    }
                    self.story.output(self.now, &reply);
                    answer = Some(*reply);
                    None
                }
                other @ (Output::Transmit { .. }
                | Output::Media { .. }
                | Output::Journal(_)
                | Output::Resolve { .. }
                | Output::Voicemail(_)
                | Output::Setting { .. }
                | Output::Listen(_)) => Some(other),
            })
            .collect();
        self.carry_out(rest);
        answer
    }

    fn carry_out(&mut self, outputs: Vec<Output>) {
        for output in &outputs {
            if let Output::Journal(record) = output {
                self.story.output(self.now, record);
                self.write(record.clone());
            }
        }
        for output in outputs {
            match output {
                Output::Transmit { hop, bytes } => {
                    self.story.message(self.now, hop.remote, &bytes);
                    self.transmit(hop, bytes);
                }
                Output::Media { command, .. } => {
                    self.story.output(self.now, &command);
                    self.media(&command);
                }
                // No audio store here: a voicemail message is never filed.
                Output::Voicemail(_) => {}
                Output::Setting { token, change } => self.write_setting(token, change),
                Output::Resolve { .. } => {
                    self.oracle.broken("a question to the DNS in an office whose trunks have addresses");
                }
                Output::Listen(open) => {
                    let life = self.life;
                    self.soon(0, 50, SimEvent::Listening(life, open));
                }
                Output::Journal(_) | Output::Reply { .. } => {}
            }
        }
    }

    fn write(&mut self, record: Record) {
        self.oracle.written(&record);
        match &record {
            Record::CallOpened(call) => {
                self.note(format!("opened {} {} → {}", call.id, call.from_number, call.to_number));
            }
            Record::CallClosed(call) => {
                self.note(format!("closed {} {:?}", call.id, call.cause));
                let legs = call.legs.iter().map(|leg| leg.sip_call_id.clone()).collect();
                if call.cause != Some(model::Cause::Crash) {
                    let due = self.now + std::time::Duration::from_secs(80);
                    self.plan(due, SimEvent::Forgotten(self.life, call.id.clone(), legs));
                }
            }
            Record::LegUp { call, .. } => self.note(format!("a leg of {call} is up")),
            Record::Bound(_)
            | Record::Unbound { .. }
            | Record::Ladder { .. }
            | Record::Noted(_)
            | Record::Recording(_)
            | Record::Alive { .. }
            | Record::Voicemail(_) => {}
        }
        self.disk.write(record);
    }

    fn media(&mut self, command: &media::MediaCommand) {
        self.note(format!("{command:?}"));
        match self.worker.command(command) {
            Err(what) => self.oracle.broken(what),
            Ok(events) => {
                let late = self.slow_worker && self.rng.odds(20);
                let wait = if late { self.rng.millis(1500, 60_000) } else { self.rng.millis(0, 20) };
                let life = self.life;
                for event in events {
                    self.plan(self.now + wait, SimEvent::FromMedia(life, event));
                }
            }
        }
    }

    /// The database stores the setting after a delay, and sometimes fails.
    fn write_setting(&mut self, token: u64, change: Box<SettingChange>) {
        self.oracle.count("settings dialled");
        let (life, done) = (self.life, self.rng.odds(90));
        let longest = *self.rng.pick(&[50, 50, 50, 8_000]);
        self.soon(1, longest, SimEvent::Set(life, token, change, done));
    }

    // ---- the network -------------------------------------------------------------------------------------------------------------

    fn transmit(&mut self, hop: Hop, bytes: Bytes) {
        self.oracle.count("messages of the exchange");
        if bytes.starts_with(b"BYE ") {
            self.goodbyes += 1;
        }
        let strange = |line: &&str| line.starts_with("c=") && line.trim_end() != "c=IN IP4 10.0.0.1";
        if let Some(line) = String::from_utf8_lossy(&bytes).lines().find(strange) {
            self.oracle.broken(format!("a description shows an address that is not ours: {line}"));
        }
        if hop.local != server() {
            self.oracle.broken(format!("sent from {}", hop.local));
        }
        if hop.transport.is_reliable() {
            let due = self.arrival(hop.flow, false);
            return self.plan(due, SimEvent::ToPeer(hop, bytes));
        }
        let arrivals = self.weather.datagram(self.now, &mut self.rng);
        if arrivals.is_empty() {
            self.story.packet(self.now, hop.local, hop.remote, &bytes, "LOST");
        }
        for due in arrivals {
            self.plan(due, SimEvent::ToPeer(hop, bytes.clone()));
        }
    }

    fn arrival(&mut self, flow: Flow, up: bool) -> base::Instant {
        let last = self.streams.get(&(flow, up)).copied().unwrap_or_default();
        let due = NetworkConditions::stream(self.now, last, &mut self.rng);
        self.streams.insert((flow, up), due);
        due
    }

    /// Send the packets of one step of a phone, and pass its observations to the oracle.
    pub(super) fn say(&mut self, n: usize, said: PhoneOutput) {
        for sight in said.sights {
            self.oracle.saw(self.now, n, sight);
        }
        let phone = &self.phones[n];
        let (transport, remote, flow) = (phone.transport, phone.address, self.flows[n]);
        for bytes in said.packets {
            if transport.is_reliable() {
                let hop = Hop { transport, listener: 1, local: server(), remote, flow };
                let due = self.arrival(flow, true);
                self.plan(due, SimEvent::ToSwitch(hop, bytes));
            } else {
                self.datagram_from(remote, bytes);
            }
        }
    }

    pub(super) fn datagram_from(&mut self, remote: std::net::SocketAddr, bytes: Bytes) {
        let hop =
            Hop { transport: Transport::Udp, listener: 0, local: server(), remote, flow: Flow::default() };
        let arrivals = self.weather.datagram(self.now, &mut self.rng);
        if arrivals.is_empty() {
            self.story.packet(self.now, remote, hop.local, &bytes, "LOST");
        }
        for due in arrivals {
            self.plan(due, SimEvent::ToSwitch(hop, bytes.clone()));
        }
    }

    pub(super) fn deliver(&mut self, hop: Hop, bytes: Bytes) {
        let stale = hop.transport.is_reliable() && !self.flows.contains(&hop.flow);
        if self.switch.is_none() || !self.listening || stale {
            return self.story.packet(self.now, hop.remote, hop.local, &bytes, "NOBODY LISTENS");
        }
        self.story.packet(self.now, hop.remote, hop.local, &bytes, "");
        self.feed(Input::Packet { hop, bytes });
    }

    pub(super) fn arrive(&mut self, hop: Hop, bytes: &Bytes) {
        if hop.remote.ip() == peer(INTRUDER).ip() {
            if let Err(what) = self.intruder.hear(bytes) {
                self.oracle.broken(what);
            }
            return;
        }
        let found = self.phones.iter().position(|phone| phone.address == hop.remote);
        let Some(n) = found else {
            return self.oracle.broken(format!("sent to {}, where nobody lives", hop.remote));
        };
        let connected = !hop.transport.is_reliable() || hop.flow == self.flows[n];
        if !self.phones[n].there || !connected || hop.transport != self.phones[n].transport {
            self.story.packet(self.now, hop.local, hop.remote, bytes, "NOBODY THERE");
            if hop.transport.is_reliable() || self.rng.odds(30) {
                let life = self.life;
                self.soon(1, 50, SimEvent::Unreachable(life, hop));
            }
            return;
        }
        self.story.packet(self.now, hop.local, hop.remote, bytes, "");
        let mut said = PhoneOutput::default();
        self.phones[n].hear(self.now, bytes, &mut said);
        self.say(n, said);
    }

    // ---- crash and restart -------------------------------------------------------------------------------------------------------

    pub(super) fn crash(&mut self) {
        if self.switch.is_none() {
            return;
        }
        if self.rng.odds(60) {
            self.doomed = true; // during its next batch
        } else {
            self.die(Vec::new());
        }
    }

    /// The process crashes. A prefix of its last batch's journal records was written, and none of its messages was sent.
    fn die(&mut self, batch: Vec<Output>) {
        let records: Vec<Record> = batch
            .into_iter()
            .filter_map(|output| match output {
                Output::Journal(record) => Some(record),
                Output::Transmit { .. }
                | Output::Media { .. }
                | Output::Reply { .. }
                | Output::Resolve { .. }
                | Output::Voicemail(_)
                | Output::Setting { .. }
                | Output::Listen(_) => None,
            })
            .collect();
        let written = self.rng.below(records.len() as u64 + 1) as usize;
        for record in records.into_iter().take(written) {
            self.write(record);
        }
        self.note("CRASH".into());
        self.oracle.died(self.now);
        self.oracle.count("crashes");
        self.switch = None;
        self.listening = false;
        self.worker = Worker::default();
        for n in 0..self.phones.len() {
            if self.phones[n].transport.is_reliable() {
                self.new_flow(n);
                self.phones[n].disconnected(self.now);
            }
        }
        self.soon(50, 6000, SimEvent::Restart);
    }

    pub(super) fn new_flow(&mut self, n: usize) {
        let number = self.flows.iter().map(|flow| flow.number).max().unwrap_or_default() + 1;
        self.flows[n] = Flow { epoch: self.life, number };
    }

    pub(super) fn restart(&mut self) {
        self.life += 1;
        let rng = Rng::from_number(self.seed.wrapping_mul(1000).wrapping_add(u64::from(self.life)));
        self.switch = Some(Switch::new(self.config.clone(), rng));
        self.note(format!("life {} begins", self.life));
        self.feed(Input::Prompts(Arc::default()));
        self.feed(Input::Directory {
            directory: Box::new(self.office.directory.clone()),
            changes: [].into(),
        });
        let restore = self.disk.replay();
        let mut talking = 0;
        if let Input::Restore { calls, .. } = &restore {
            self.oracle.reborn(calls.len() as u64);
            // A TCP connection ends with the process: a phone on one cannot get BYE.
            talking = calls.iter().flat_map(|call| &call.legs).filter(|leg| leg.transport == 0).count();
        }
        let ports: Vec<MediaEvent> =
            (0..Worker::LISTENERS).map(|listener| Worker::offer(listener, self.ports)).collect();
        let ports_first = self.rng.odds(50);
        if ports_first {
            for event in &ports {
                self.feed(Input::Media(event.clone()));
            }
        }
        let goodbyes = self.goodbyes;
        self.feed(restore);
        let lived = self.switch.is_some(); // it may have crashed in this batch
        if lived && self.goodbyes - goodbyes != talking as u64 {
            let said = self.goodbyes - goodbyes;
            self.oracle.broken(format!("{talking} phones were talking before the crash, and {said} got BYE"));
        }
        if !ports_first {
            for event in &ports {
                self.feed(Input::Media(event.clone()));
            }
        }
        self.check_bindings();
        let life = self.life;
        self.soon(0, 20, SimEvent::Listening(life, true));
    }

    /// A call was closed a while ago by this process: its phones must know.
    pub(super) fn check_forgotten(&mut self, life: u32, call: &model::CallId, legs: &[String]) {
        if life != self.life || self.switch.is_none() {
            return; // its BYEs were lost in the crash
        }
        for (n, phone) in self.phones.iter().enumerate() {
            if legs.iter().any(|id| phone.talks_in(id)) {
                self.oracle.broken(format!("phone {n} still talks in {call}, which is closed"));
            }
        }
    }

    /// Every phone with a confirmed registration has a binding.
    fn check_bindings(&mut self) {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let of = RegistrationsOf::Everybody { after };
            let Some(Reply::Registrations { found: more, next }) =
                self.command(Command::Registrations { of, limit: 100 })
            else {
                return;
            };
            found.extend(more);
            after = next;
            if after.is_none() {
                break;
            }
        }
        if !self.steady_clock {
            return;
        }
        for n in self.oracle.must_be_bound(self.now) {
            let address = self.phones[n].address;
            if !found.iter().any(|one| one.remote == address) {
                self.oracle
                    .broken(format!("phone {n} was registered before the crash and is not found after it"));
            }
        }
    }
}
