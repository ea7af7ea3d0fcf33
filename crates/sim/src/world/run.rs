//! Delivery between the switch and its peers, and crash and restart of the process.

use std::mem;
use std::sync::Arc;

use base::{Now, Rng};
use bytes::Bytes;
use media::MediaEvent;
use model::journal::Record;
use sip::{Flow, Hop, Transport};
use switch::{Command, Input, Output, RegistrationsOf, Reply, SettingChange, Switch};

use super::{ATTACKER, SimEvent, World, peer, server};
use crate::crowd;
use crate::network_conditions::NetworkConditions;
use crate::phone::PhoneOutput;
use crate::rng_ext::RngExt;
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
                Output::Transmit { hop, bytes } => self.log.message(self.now, hop.remote, bytes),
                other @ (Output::Media { .. }
                | Output::Journal(_)
                | Output::Reply { .. }
                | Output::Resolve { .. }
                | Output::Voicemail(_)
                | Output::Setting { .. }
                | Output::Listen(_)) => {
                    self.log.output(self.now, other);
                }
            }
        }
        if mem::take(&mut self.crash_pending) {
            return self.crash_now(out);
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
                    self.oracle.violation(format!("an unexpected reply to command {token}"));
                }
                // No audio store here: a voicemail message is never filed.
                Output::Voicemail(_) => {}
                Output::Setting { token, change } => self.write_setting(token, change),
                Output::Resolve { .. } => {
                    self.oracle.violation("a DNS query although all trunks have addresses");
                }
                Output::Listen(open) => {
                    let epoch = self.epoch;
                    self.schedule_within(0, 50, SimEvent::Listening(epoch, open));
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
            self.oracle.violation(format!("{what} cost {cost} steps; the bound is {bound}"));
        }
        self.oracle.record_cost(what, cost);
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
            self.oracle.violation(format!("{replies} replies to one command"));
        }
        let mut answer = None;
        let rest: Vec<Output> = out
            .into_iter()
            .filter_map(|output| match output {
                Output::Reply { token: replied, reply } => {
                    if replied != token {
                        self.oracle.violation("a reply with another token");
                    }
                    self.log.output(self.now, &reply);
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
                self.log.output(self.now, record);
                self.write(record.clone());
            }
        }
        for output in outputs {
            match output {
                Output::Transmit { hop, bytes } => {
                    self.log.message(self.now, hop.remote, &bytes);
                    self.transmit(hop, bytes);
                }
                Output::Media { command, .. } => {
                    self.log.output(self.now, &command);
                    self.media(&command);
                }
                // No audio store here: a voicemail message is never filed.
                Output::Voicemail(_) => {}
                Output::Setting { token, change } => self.write_setting(token, change),
                Output::Resolve { .. } => {
                    self.oracle.violation("a DNS query although all trunks have addresses");
                }
                Output::Listen(open) => {
                    let epoch = self.epoch;
                    self.schedule_within(0, 50, SimEvent::Listening(epoch, open));
                }
                Output::Journal(_) | Output::Reply { .. } => {}
            }
        }
    }

    fn write(&mut self, record: Record) {
        self.oracle.on_record(&record);
        match &record {
            Record::CallOpened(call) => {
                self.note(format!("opened {} {} → {}", call.id, call.from_number, call.to_number));
            }
            Record::CallClosed(call) => {
                self.note(format!("closed {} {:?}", call.id, call.cause));
                let legs = call.legs.iter().map(|leg| leg.sip_call_id.clone()).collect();
                if call.cause != Some(model::Cause::Crash) {
                    let due = self.now + std::time::Duration::from_secs(80);
                    self.schedule_at(due, SimEvent::CheckEnded(self.epoch, call.id.clone(), legs));
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
            Err(what) => self.oracle.violation(what),
            Ok(events) => {
                let late = self.slow_worker && self.rng.odds(20);
                let wait = if late { self.rng.millis(1500, 60_000) } else { self.rng.millis(0, 20) };
                let epoch = self.epoch;
                for event in events {
                    self.schedule_at(self.now + wait, SimEvent::FromMedia(epoch, event));
                }
            }
        }
    }

    /// The database stores the setting after a delay, and sometimes fails.
    fn write_setting(&mut self, token: u64, change: Box<SettingChange>) {
        self.oracle.count("settings dialled");
        let (epoch, done) = (self.epoch, self.rng.odds(90));
        let longest = *self.rng.pick(&[50, 50, 50, 8_000]);
        self.schedule_within(1, longest, SimEvent::SettingStored(epoch, token, change, done));
    }

    // ---- the network -------------------------------------------------------------------------------------------------------------

    fn transmit(&mut self, hop: Hop, bytes: Bytes) {
        self.oracle.count("messages of the switch");
        if bytes.starts_with(b"BYE ") {
            self.byes_sent += 1;
        }
        let foreign = |line: &&str| line.starts_with("c=") && line.trim_end() != "c=IN IP4 10.0.0.1";
        if let Some(line) = String::from_utf8_lossy(&bytes).lines().find(foreign) {
            self.oracle.violation(format!("an SDP contains an address that is not ours: {line}"));
        }
        if hop.local != server() {
            self.oracle.violation(format!("sent from {}", hop.local));
        }
        if hop.transport.is_reliable() {
            let due = self.arrival(hop.flow, false);
            return self.schedule_at(due, SimEvent::ToPeer(hop, bytes));
        }
        let arrivals = self.network.datagram(self.now, &mut self.rng);
        if arrivals.is_empty() {
            self.log.packet(self.now, hop.local, hop.remote, &bytes, "LOST");
        }
        for due in arrivals {
            self.schedule_at(due, SimEvent::ToPeer(hop, bytes.clone()));
        }
    }

    fn arrival(&mut self, flow: Flow, up: bool) -> base::Instant {
        let last = self.streams.get(&(flow, up)).copied().unwrap_or_default();
        let due = NetworkConditions::stream(self.now, last, &mut self.rng);
        self.streams.insert((flow, up), due);
        due
    }

    /// Send the packets of one step of a phone, and pass its observations to the oracle.
    pub(super) fn send_from_phone(&mut self, n: usize, said: PhoneOutput) {
        for observation in said.observations {
            self.oracle.observe(self.now, n, observation);
        }
        let phone = &self.phones[n];
        let (transport, remote, flow) = (phone.transport, phone.address, self.flows[n]);
        for bytes in said.packets {
            if transport.is_reliable() {
                let hop = Hop { transport, listener: 1, local: server(), remote, flow };
                let due = self.arrival(flow, true);
                self.schedule_at(due, SimEvent::ToSwitch(hop, bytes));
            } else {
                self.datagram_from(remote, bytes);
            }
        }
    }

    pub(super) fn datagram_from(&mut self, remote: std::net::SocketAddr, bytes: Bytes) {
        let hop =
            Hop { transport: Transport::Udp, listener: 0, local: server(), remote, flow: Flow::default() };
        let arrivals = self.network.datagram(self.now, &mut self.rng);
        if arrivals.is_empty() {
            self.log.packet(self.now, remote, hop.local, &bytes, "LOST");
        }
        for due in arrivals {
            self.schedule_at(due, SimEvent::ToSwitch(hop, bytes.clone()));
        }
    }

    pub(super) fn deliver_to_switch(&mut self, hop: Hop, bytes: Bytes) {
        let stale = hop.transport.is_reliable() && !self.flows.contains(&hop.flow);
        if self.switch.is_none() || !self.listening || stale {
            return self.log.packet(self.now, hop.remote, hop.local, &bytes, "NOT LISTENING");
        }
        self.log.packet(self.now, hop.remote, hop.local, &bytes, "");
        self.feed(Input::Packet { hop, bytes });
    }

    pub(super) fn deliver_to_peer(&mut self, hop: Hop, bytes: &Bytes) {
        if hop.remote.ip() == peer(ATTACKER).ip() {
            if let Err(what) = self.attacker.on_datagram(bytes) {
                self.oracle.violation(what);
            }
            return;
        }
        let found = self.phones.iter().position(|phone| phone.address == hop.remote);
        let Some(n) = found else {
            return self.oracle.violation(format!("sent to {}, which no peer has", hop.remote));
        };
        let connected = !hop.transport.is_reliable() || hop.flow == self.flows[n];
        if !self.phones[n].powered || !connected || hop.transport != self.phones[n].transport {
            self.log.packet(self.now, hop.local, hop.remote, bytes, "UNREACHABLE");
            if hop.transport.is_reliable() || self.rng.odds(30) {
                let epoch = self.epoch;
                self.schedule_within(1, 50, SimEvent::Unreachable(epoch, hop));
            }
            return;
        }
        self.log.packet(self.now, hop.local, hop.remote, bytes, "");
        let mut said = PhoneOutput::default();
        self.phones[n].receive(self.now, bytes, &mut said);
        self.send_from_phone(n, said);
    }

    // ---- crash and restart -------------------------------------------------------------------------------------------------------

    pub(super) fn crash(&mut self) {
        if self.switch.is_none() {
            return;
        }
        if self.rng.odds(60) {
            self.crash_pending = true; // during its next batch
        } else {
            self.crash_now(Vec::new());
        }
    }

    /// The process crashes. A prefix of its last batch's journal records was written, and none of its messages was sent.
    fn crash_now(&mut self, batch: Vec<Output>) {
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
        self.oracle.on_crash(self.now);
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
        self.schedule_within(50, 6000, SimEvent::Restart);
    }

    pub(super) fn new_flow(&mut self, n: usize) {
        let number = self.flows.iter().map(|flow| flow.number).max().unwrap_or_default() + 1;
        self.flows[n] = Flow { epoch: self.epoch, number };
    }

    pub(super) fn restart(&mut self) {
        self.epoch += 1;
        let rng = Rng::from_number(self.seed.wrapping_mul(1000).wrapping_add(u64::from(self.epoch)));
        self.switch = Some(Switch::new(self.config.clone(), rng));
        self.note(format!("process {} starts", self.epoch));
        self.feed(Input::Prompts(Arc::default()));
        self.feed(Input::Directory { directory: Box::new(self.site.directory.clone()), changes: [].into() });
        let restore = self.disk.replay();
        let mut expected_byes = 0;
        if let Input::Restore { calls, .. } = &restore {
            self.oracle.on_restart(calls.len() as u64);
            // A TCP connection ends with the process: a phone on one cannot get BYE.
            expected_byes = calls.iter().flat_map(|call| &call.legs).filter(|leg| leg.transport == 0).count();
        }
        let ports: Vec<MediaEvent> =
            (0..Worker::LISTENERS).map(|listener| Worker::offer(listener, self.ports)).collect();
        let ports_first = self.rng.odds(50);
        if ports_first {
            for event in &ports {
                self.feed(Input::Media(event.clone()));
            }
        }
        let byes_before = self.byes_sent;
        self.feed(restore);
        let lived = self.switch.is_some(); // it may have crashed in this batch
        if lived && self.byes_sent - byes_before != expected_byes as u64 {
            let sent = self.byes_sent - byes_before;
            self.oracle.violation(format!(
                "{expected_byes} phones had confirmed calls before the crash, but {sent} got BYE"
            ));
        }
        if !ports_first {
            for event in &ports {
                self.feed(Input::Media(event.clone()));
            }
        }
        self.check_bindings();
        let epoch = self.epoch;
        self.schedule_within(0, 20, SimEvent::Listening(epoch, true));
    }

    /// A call was closed a while ago by this process: its phones must know.
    pub(super) fn check_ended(&mut self, epoch: u32, call: &model::CallId, legs: &[String]) {
        if epoch != self.epoch || self.switch.is_none() {
            return; // its BYEs were lost in the crash
        }
        for (n, phone) in self.phones.iter().enumerate() {
            if legs.iter().any(|id| phone.has_confirmed_call(id)) {
                self.oracle
                    .violation(format!("phone {n} still has a confirmed dialog in {call}, which is closed"));
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
                self.oracle.violation(format!("the binding of phone {n} was lost in the crash"));
            }
        }
    }
}
