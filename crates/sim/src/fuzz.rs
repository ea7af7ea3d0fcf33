//! Fuzz target: arbitrary bytes, read as a sequence of inputs to a switch: valid and nearly valid packets, time, commands, media events, crashes.
//!
//! For every sequence: no panic, no port is used by two streams, each opened call is closed once, and no state is left at the end.

mod phone;
mod script;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base::{Instant, Now, Rng, Timestamp};
use bytes::Bytes;
use media::{MediaEvent, Report, StreamId};
use model::journal::Record;
use sip::{Flow, HeaderName, Hop, Message, Transport};
use switch::{Command, Config, Input, Listener, Originate, Output, Switch};

use crate::disk::Disk;
use crate::site::{DOMAIN, Site};
use crate::worker::Worker;
use script::Script;

/// Most inputs of one run: enough for a complete call.
const INPUTS: usize = 300;
/// Most outputs of one input: far more than any call of this directory needs.
const OUTPUTS: usize = 5_000;

/// Run a sequence of inputs.
///
/// # Panics
/// If an invariant is violated.
pub fn inputs(data: &[u8]) {
    let mut harness = Harness::new();
    let mut script = Script(data);
    for _ in 0..INPUTS {
        let Some(op) = script.next() else { break };
        harness.step(op, &mut script);
    }
    harness.run_until_idle();
}

/// Messages that a phone has seen and sent.
#[derive(Default)]
struct PhoneState {
    challenge: Option<String>,
    /// The last request and the last response that the switch sent to this phone.
    request: Option<Message>,
    answer: Option<Message>,
    /// The last INVITE that the phone sent.
    invite: Option<Message>,
    cseq: u32,
}

struct Harness {
    switch: Switch,
    config: Config,
    site: Site,
    now: Instant,
    wall: i64,
    disk: Disk,
    worker: Worker,
    media_events: Vec<MediaEvent>,
    phones: BTreeMap<SocketAddr, PhoneState>,
    last_sent: Bytes,
    open: BTreeMap<String, u32>,
    calls: Vec<model::CallId>,
    rng: Rng,
    epoch: u64,
    tokens: u64,
    fed: usize,
}

fn local() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 5060))
}

fn address(n: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 10 + n as u8], 5060))
}

fn hop(remote: SocketAddr) -> Hop {
    Hop { transport: Transport::Udp, listener: 0, local: local(), remote, flow: Flow::default() }
}

impl Harness {
    fn new() -> Harness {
        let listeners = vec![Listener { transport: Transport::Udp, address: local() }];
        let config = Config { domain: DOMAIN.into(), listeners, calls_per_user: 5, ..Config::default() };
        let mut harness = Harness {
            switch: Switch::new(config.clone(), Rng::from_number(1)),
            config,
            site: Site::new(),
            now: Instant::from_micros(1_000_000),
            wall: 1_736_937_000_000_000,
            disk: Disk::default(),
            worker: Worker::default(),
            media_events: Vec::new(),
            phones: (0..4).map(|n| (address(n), PhoneState::default())).collect(),
            last_sent: Bytes::new(),
            open: BTreeMap::new(),
            calls: Vec::new(),
            rng: Rng::from_number(2),
            epoch: 1,
            tokens: 0,
            fed: 0,
        };
        harness.start();
        harness
    }

    fn start(&mut self) {
        let directory = Box::new(self.site.directory.clone());
        self.feed(Input::Prompts(Arc::default()));
        self.feed(Input::Directory { directory, changes: [].into() });
        self.feed(Input::Media(Worker::offer(0, 20)));
        let restore = self.disk.replay();
        self.feed(restore);
        self.feed(Input::Listening(true));
    }

    fn feed(&mut self, input: Input) {
        let wall = Timestamp::from_micros(self.wall + self.now.as_micros() as i64);
        let asked = matches!(input, Input::Command { .. });
        let mut out = Vec::new();
        self.switch.handle(Now { instant: self.now, wall }, input, &mut out);
        self.fed += 1;
        assert!(out.len() < OUTPUTS, "{} outputs of one input", out.len());
        let mut replies = 0;
        for output in out {
            match output {
                Output::Transmit { hop, bytes } => self.on_transmit(hop.remote, bytes),
                Output::Media { command, .. } => match self.worker.command(&command) {
                    Ok(events) => self.media_events.extend(events),
                    Err(what) => panic!("{what}"),
                },
                Output::Journal(record) => self.on_record(record),
                Output::Reply { token, .. } => {
                    assert_eq!(token, self.tokens);
                    replies += 1;
                }
                Output::Resolve { .. }
                | Output::Voicemail(_)
                | Output::Setting { .. }
                | Output::Listen(_) => {}
            }
        }
        assert_eq!(replies, u32::from(asked), "replies to an input");
        let [calls, streams, transactions, sessions] = self.switch.counts();
        let most = 16 * self.fed;
        assert!(calls + streams + transactions + sessions < most, "{:?}", self.switch.counts());
    }

    fn on_transmit(&mut self, remote: SocketAddr, bytes: Bytes) {
        let Ok(message) = Message::parse(bytes.clone()) else {
            // A STUN response begins with 01. A 4xx or 5xx may repeat header values of the malformed request.
            let error = [&b"SIP/2.0 4"[..], b"SIP/2.0 5"].iter().any(|with| bytes.starts_with(with));
            assert!(
                error || bytes.first() == Some(&1),
                "the switch sent a message that cannot be parsed: {}",
                bytes.escape_ascii()
            );
            return;
        };
        let Some(phone) = self.phones.get_mut(&remote) else { return };
        if let Some(challenge) = message.header(HeaderName::WwwAuthenticate) {
            phone.challenge = Some(challenge.to_string());
        }
        match message.status() {
            None => phone.request = Some(message),
            Some(_) => phone.answer = Some(message),
        }
    }

    fn on_record(&mut self, record: Record) {
        match &record {
            Record::CallOpened(call) => {
                assert!(self.open.insert(call.id.to_string(), 0).is_none(), "opened twice");
                self.calls.push(call.id.clone());
            }
            Record::CallClosed(call) => {
                let closed = self.open.get_mut(call.id.as_str()).expect("closed but never opened");
                *closed += 1;
                assert_eq!(*closed, 1, "closed twice");
            }
            Record::Bound(_)
            | Record::Unbound { .. }
            | Record::LegUp { .. }
            | Record::Ladder { .. }
            | Record::Noted(_)
            | Record::Recording(_)
            | Record::Alive { .. }
            | Record::Voicemail(_) => {}
        }
        self.disk.write(record);
    }

    fn send(&mut self, n: usize, bytes: Bytes) {
        self.last_sent = bytes.clone();
        self.feed(Input::Packet { hop: hop(address(n)), bytes });
    }

    // ---- inputs -----------------------------------------------------------------------------------------------------------------

    fn step(&mut self, op: u8, script: &mut Script<'_>) {
        let n = usize::from(op >> 4) % 4;
        match op & 15 {
            0 | 1 => self.register(n, script),
            2 | 3 => self.invite(n, script),
            4 | 5 => self.respond(n, script),
            6 => self.acknowledge(n, script),
            7 | 8 => self.in_dialog(n, script),
            9 => self.mangled(n, script),
            10 => {
                let len = usize::from(script.byte());
                let raw = script.take(len);
                self.feed(Input::Packet { hop: hop(address(n)), bytes: raw.into() });
            }
            11 => self.wait(script),
            12 => self.command(script),
            13 => self.media(script),
            14 => self.disrupt(n, script),
            _ => self.deliver_media_events(),
        }
    }

    fn wait(&mut self, script: &mut Script<'_>) {
        let until = match script.byte() {
            0 => self.switch.deadline().unwrap_or(self.now),
            n @ 1..200 => self.now + Duration::from_millis(u64::from(n) * 50),
            n => self.now + Duration::from_secs(u64::from(n - 199) * 60),
        };
        self.run(until);
    }

    fn run(&mut self, until: Instant) {
        for _ in 0..50_000 {
            match self.switch.deadline().filter(|due| *due <= until) {
                None => {
                    self.now = self.now.max(until);
                    return;
                }
                Some(due) => {
                    self.now = self.now.max(due);
                    self.feed(Input::Tick);
                }
            }
        }
        panic!("ticks without end: {:?}", self.switch.counts());
    }

    fn command(&mut self, script: &mut Script<'_>) {
        let command = match script.byte() % 8 {
            0 | 1 => Command::Originate(Originate {
                user: self.site.user(&mut Rng::from_number(u64::from(script.byte()))),
                from: None,
                device: None,
                to: script.pick(&Site::numbers()).clone(),
                ring_timeout: Duration::from_secs(u64::from(script.byte())),
                require_device: script.byte() & 1 == 0,
                planned: None,
            }),
            2 if !self.calls.is_empty() => Command::End { call: script.pick(&self.calls).clone() },
            3 if !self.calls.is_empty() => Command::Ladder { call: script.pick(&self.calls).clone() },
            4 => Command::Status,
            5 => Command::Registrations { of: switch::RegistrationsOf::Everybody { after: None }, limit: 10 },
            6 => Command::Stop { force: script.byte() & 1 == 0 },
            7 => Command::Start,
            _ => Command::Calls { of: switch::CallsOf::Everybody, after: None, limit: 10 },
        };
        self.tokens += 1;
        self.feed(Input::Command { token: self.tokens, command });
    }

    fn media(&mut self, script: &mut Script<'_>) {
        let stream = self.worker.any_stream().unwrap_or(StreamId(u32::from(script.byte())));
        let event = match script.byte() % 4 {
            0 => MediaEvent::Digit { stream, digit: '#', millis: 1 },
            1 => MediaEvent::RtpTimeout { stream },
            // An event for a stream that was never opened.
            2 => MediaEvent::Closed { stream: StreamId(u32::MAX), report: Report::default() },
            _ => return self.deliver_media_events(),
        };
        self.feed(Input::Media(event));
    }

    fn deliver_media_events(&mut self) {
        for event in std::mem::take(&mut self.media_events) {
            self.feed(Input::Media(event));
        }
    }

    /// One of: crash and restart, directory change, unreachable peer, closed flow, listeners opened or closed, wall clock jump.
    fn disrupt(&mut self, n: usize, script: &mut Script<'_>) {
        match script.byte() % 6 {
            0 => {
                self.epoch += 1;
                self.switch = Switch::new(self.config.clone(), Rng::from_number(self.epoch));
                self.worker = Worker::default();
                self.media_events.clear();
                self.start();
            }
            1 => {
                let (changes, _) = self.site.admin_change(&mut Rng::from_number(u64::from(script.byte())));
                let directory = Box::new(self.site.directory.clone());
                self.feed(Input::Directory { directory, changes: changes.into() });
            }
            2 => self.feed(Input::Unreachable(hop(address(n)))),
            3 => self.feed(Input::FlowClosed(Flow { epoch: 1, number: u32::from(script.byte()) })),
            4 => self.feed(Input::Listening(script.byte() & 1 == 0)),
            _ => self.wall += (i64::from(script.byte()) - 128) * 600_000_000,
        }
    }

    /// Let all timers expire, and check that no state is left.
    fn run_until_idle(&mut self) {
        self.deliver_media_events();
        for _ in 0..200 {
            let Some(due) = self.switch.deadline() else { break };
            self.run(due + Duration::from_secs(300));
            self.deliver_media_events();
        }
        assert_eq!(self.switch.counts(), [0; 4], "calls, streams, transactions, sessions are left");
        assert_eq!((self.switch.deadline(), self.worker.streams()), (None, 0));
        let open: Vec<&String> =
            self.open.iter().filter(|(_, closed)| **closed == 0).map(|(id, _)| id).collect();
        assert!(open.is_empty(), "never closed: {open:?}");
    }
}
