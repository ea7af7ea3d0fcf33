//! Any bytes, read as a sequence of inputs to an exchange: packets that fit and packets that almost do, time, commands, media, crashes.
//!
//! Whatever comes, nothing panics, no port is given twice, every call that was opened is closed once, and in the end nothing is left.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use base::{Chance, Instant, Now, Secret, Timestamp};
use bytes::Bytes;
use media::{MediaEvent, Report, StreamId};
use model::journal::Record;
use sip::{Contacts, Flow, Hop, Message, Name, Transport};
use switch::{Command, Config, Input, Listener, Originate, Output, Switch};

use crate::disk::Disk;
use crate::office::{DOMAIN, Office};
use crate::worker::Worker;

/// Inputs that one run may have: enough for a call with everything in it.
const INPUTS: usize = 300;
/// Outputs that may follow from one input: far more than any call of this office needs.
const OUTPUTS: usize = 5_000;

/// Play a sequence of inputs.
///
/// # Panics
/// Where a promise is broken.
pub fn inputs(data: &[u8]) {
    let mut bench = Bench::new();
    let mut script = Script(data);
    for _ in 0..INPUTS {
        let Some(op) = script.next() else { break };
        bench.step(op, &mut script);
    }
    bench.come_to_rest();
}

/// The bytes that are still to be read; zeros behind the end.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn byte(&mut self) -> u8 {
        self.next().unwrap_or(0)
    }

    fn pick<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[usize::from(self.byte()) % of.len()]
    }

    fn take(&mut self, len: usize) -> Vec<u8> {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken.to_vec()
    }
}

/// What a phone of the bench remembers.
#[derive(Default)]
struct Memory {
    challenge: Option<String>,
    /// The last request and the last answers of the exchange to this phone.
    request: Option<Message>,
    answer: Option<Message>,
    /// The last INVITE that it sent.
    invite: Option<Message>,
    cseq: u32,
}

struct Bench {
    switch: Switch,
    config: Config,
    office: Office,
    now: Instant,
    wall: i64,
    disk: Disk,
    worker: Worker,
    pending: Vec<MediaEvent>,
    phones: BTreeMap<SocketAddr, Memory>,
    last_sent: Bytes,
    open: BTreeMap<String, u32>,
    calls: Vec<model::CallId>,
    chance: Chance,
    life: u64,
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

impl Bench {
    fn new() -> Bench {
        let listeners = vec![Listener { transport: Transport::Udp, address: local() }];
        let config = Config { domain: DOMAIN.into(), listeners, calls_per_user: 5, ..Config::default() };
        let mut bench = Bench {
            switch: Switch::new(config.clone(), Chance::from_number(1)),
            config,
            office: Office::new(),
            now: Instant::from_micros(1_000_000),
            wall: 1_736_937_000_000_000,
            disk: Disk::default(),
            worker: Worker::default(),
            pending: Vec::new(),
            phones: (0..4).map(|n| (address(n), Memory::default())).collect(),
            last_sent: Bytes::new(),
            open: BTreeMap::new(),
            calls: Vec::new(),
            chance: Chance::from_number(2),
            life: 1,
            tokens: 0,
            fed: 0,
        };
        bench.begin();
        bench
    }

    fn begin(&mut self) {
        let directory = self.office.directory.clone();
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
                Output::Transmit { hop, bytes } => self.heard(hop.remote, bytes),
                Output::Media { command, .. } => match self.worker.command(&command) {
                    Ok(events) => self.pending.extend(events),
                    Err(what) => panic!("{what}"),
                },
                Output::Journal(record) => self.written(record),
                Output::Reply { token, .. } => {
                    assert_eq!(token, self.tokens);
                    replies += 1;
                }
                Output::Resolve { .. } | Output::Voicemail(_) | Output::Listen(_) => {}
            }
        }
        assert_eq!(replies, u32::from(asked), "replies to an input");
        let [calls, streams, transactions, sessions] = self.switch.census();
        let most = 16 * self.fed;
        assert!(calls + streams + transactions + sessions < most, "{:?}", self.switch.census());
    }

    fn heard(&mut self, remote: SocketAddr, bytes: Bytes) {
        let Ok(message) = Message::parse(bytes.clone()) else {
            // A STUN answer begins with 01; a refusal repeats what was wrong in its request.
            let refusal = [&b"SIP/2.0 4"[..], b"SIP/2.0 5"].iter().any(|with| bytes.starts_with(with));
            assert!(
                refusal || bytes.first() == Some(&1),
                "sent, and cannot be read: {}",
                bytes.escape_ascii()
            );
            return;
        };
        let Some(phone) = self.phones.get_mut(&remote) else { return };
        if let Some(challenge) = message.header(Name::WwwAuthenticate) {
            phone.challenge = Some(challenge.to_string());
        }
        match message.status() {
            None => phone.request = Some(message),
            Some(_) => phone.answer = Some(message),
        }
    }

    fn written(&mut self, record: Record) {
        match &record {
            Record::CallOpened(call) => {
                assert!(self.open.insert(call.id.to_string(), 0).is_none(), "opened twice");
                self.calls.push(call.id.clone());
            }
            Record::CallClosed(call) => {
                let closed = self.open.get_mut(call.id.as_str()).expect("closed and never opened");
                *closed += 1;
                assert_eq!(*closed, 1, "closed twice");
            }
            Record::Bound(_)
            | Record::Unbound { .. }
            | Record::LegUp { .. }
            | Record::Ladder { .. }
            | Record::Noted(_)
            | Record::Recording(_) => {}
        }
        self.disk.write(record);
    }

    fn send(&mut self, n: usize, bytes: Bytes) {
        self.last_sent = bytes.clone();
        self.feed(Input::Packet { hop: hop(address(n)), bytes });
    }

    // ---- what may happen ---------------------------------------------------------------------------------------------------------

    fn step(&mut self, op: u8, script: &mut Script<'_>) {
        let n = usize::from(op >> 4) % 4;
        match op & 15 {
            0 | 1 => self.register(n, script),
            2 | 3 => self.invite(n, script),
            4 | 5 => self.respond(n, script),
            6 => self.acknowledge(n, script),
            7 | 8 => self.within(n, script),
            9 => self.mangled(n, script),
            10 => {
                let len = usize::from(script.byte());
                let raw = script.take(len);
                self.feed(Input::Packet { hop: hop(address(n)), bytes: raw.into() });
            }
            11 => self.wait(script),
            12 => self.command(script),
            13 => self.media(script),
            14 => self.turn(n, script),
            _ => self.pass_on_reports(),
        }
    }

    fn authorization(&mut self, n: usize, method: &str, uri: &str) -> String {
        let account = Office::account(n);
        let Some(challenge) = self.phones.get(&address(n)).and_then(|p| p.challenge.clone()) else {
            return String::new();
        };
        let password: &Secret<String> = &account.password;
        sip::digest::answer(&challenge, None, method, uri, &account.login, password, &mut self.chance)
            .map_or(String::new(), |answer| format!("Authorization: {answer}\r\n"))
    }

    fn compose(&mut self, n: usize, head: &Head<'_>) -> Bytes {
        let body = head.body.as_deref().unwrap_or_default();
        let kind = if head.body.is_some() { "Content-Type: application/sdp\r\n" } else { "" };
        let branch = head.branch.clone().unwrap_or_else(|| format!("z9hG4bK{}", self.chance.base36(10)));
        Bytes::from(format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch={branch};rport\r\nMax-Forwards: 70\r\n\
             From: {from}\r\nTo: {to}\r\nCall-ID: {id}\r\nCSeq: {cseq} {method}\r\nContact: <sip:p@{address}>\r\n\
             {lines}{kind}Content-Length: {length}\r\n\r\n{body}",
            method = head.method,
            uri = head.uri,
            address = address(n),
            from = head.from,
            to = head.to,
            id = head.call_id,
            cseq = head.cseq,
            lines = head.lines,
            length = body.len(),
        ))
    }

    fn next_cseq(&mut self, n: usize) -> u32 {
        let memory = self.phones.entry(address(n)).or_default();
        memory.cseq += 1;
        memory.cseq
    }

    fn register(&mut self, n: usize, script: &mut Script<'_>) {
        let user = Office::account(n).user;
        let uri = format!("sip:{DOMAIN}");
        let proof = self.authorization(n, "REGISTER", &uri);
        let expires = *script.pick(&["60", "3600", "0", "30", "99999999999", "x"]);
        let lines = match script.byte() % 8 {
            0 => format!("Expires: {expires}\r\nContact: *\r\n{proof}"),
            1 => format!("Expires: {expires}\r\nPath: <sip:10.0.0.77;lr>\r\n{proof}"),
            2 => format!("Contact: <sip:a@10.0.0.{}>;q=0.3;expires={expires}\r\n{proof}", script.byte()),
            3 => format!("Expires: {expires}\r\n"),
            _ => format!("Expires: {expires}\r\n{proof}"),
        };
        let head = Head {
            method: "REGISTER",
            uri: &uri,
            branch: None,
            from: format!("<sip:{user}@{DOMAIN}>;tag=r"),
            to: format!("<sip:{user}@{DOMAIN}>"),
            call_id: format!("r{n}"),
            cseq: self.next_cseq(n),
            lines: &lines,
            body: None,
        };
        let text = self.compose(n, &head);
        self.send(n, text);
    }

    fn invite(&mut self, n: usize, script: &mut Script<'_>) {
        let user = Office::account(n).user;
        let numbers = Office::numbers();
        let uri = format!("sip:{}@{DOMAIN}", script.pick(&numbers));
        let proof = self.authorization(n, "INVITE", &uri);
        let extras = script.pick(&[
            "",
            "Supported: 100rel, timer\r\n",
            "Require: 100rel\r\n",
            "Session-Expires: 90\r\nSupported: timer\r\n",
            "Require: unheard-of\r\n",
            "Session-Expires: 1\r\nSupported: timer\r\n",
        ]);
        let lines = format!("{extras}Allow: INVITE, ACK, BYE, CANCEL, UPDATE, PRACK\r\n{proof}");
        let head = Head {
            method: "INVITE",
            uri: &uri,
            branch: None,
            from: format!("<sip:{user}@{DOMAIN}>;tag=c{n}"),
            to: format!("<{uri}>"),
            call_id: format!("c{n}-{}", script.byte() % 8),
            cseq: self.next_cseq(n),
            lines: &lines,
            body: description(script),
        };
        let text = self.compose(n, &head);
        if let (Ok(invite), Some(phone)) = (Message::parse(text.clone()), self.phones.get_mut(&address(n))) {
            phone.invite = Some(invite);
        }
        self.send(n, text);
    }

    /// Answer the last request that the phone heard, or its last INVITE anew.
    fn respond(&mut self, n: usize, script: &mut Script<'_>) {
        let Some(request) = self.phones.get(&address(n)).and_then(|p| p.request.clone()) else { return };
        let status = *script
            .pick(&[200, 180, 183, 100, 486, 603, 480, 401, 407, 422, 481, 491, 302, 500, 408, 487, 999]);
        let variant = script.byte();
        let tag = format!("p{}", variant & 3);
        let lines = match variant >> 2 & 7 {
            0 => "Require: 100rel\r\nRSeq: 1\r\n",
            1 => "Require: 100rel\r\nRSeq: 2\r\n",
            2 => "Session-Expires: 90;refresher=uas\r\nRequire: timer\r\n",
            3 => "Session-Expires: 0;refresher=uac\r\n",
            4 => "Min-SE: 4294967295\r\n",
            _ => "",
        };
        let to = request.header(Name::To).unwrap_or_default();
        let to = if request.to_tag().is_empty() { format!("{to};tag={tag}") } else { to.to_string() };
        let body = description(script);
        let text = body.clone().unwrap_or_default();
        let header = |name| request.header(name).unwrap_or_default();
        let kind = if body.is_some() { "Content-Type: application/sdp\r\n" } else { "" };
        let answer = format!(
            "SIP/2.0 {status} X\r\nVia: {}\r\nFrom: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\nContact: <sip:p@{}>\r\n\
             Allow: INVITE, ACK, BYE, UPDATE\r\n{lines}{kind}Content-Length: {}\r\n\r\n{text}",
            header(Name::Via),
            header(Name::From),
            header(Name::CallId),
            header(Name::CSeq),
            address(n),
            text.len(),
        );
        self.send(n, answer.into());
    }

    /// ACK of the last answer, as that of a 2xx or of a refusal; or CANCEL of the last INVITE.
    fn acknowledge(&mut self, n: usize, script: &mut Script<'_>) {
        let Some(phone) = self.phones.get(&address(n)) else { return };
        let Some(invite) = phone.invite.clone() else { return };
        let answer = phone.answer.clone().unwrap_or_else(|| invite.clone());
        let variant = script.byte();
        let (method, lines) = match variant & 3 {
            0 => ("CANCEL", String::new()),
            1 => ("PRACK", format!("RAck: {} {} INVITE\r\n", rseq(&answer), invite.cseq().number)),
            _ => ("ACK", String::new()),
        };
        let same = String::from_utf8_lossy(&invite.via().branch).into_owned();
        let target =
            target(&answer).unwrap_or_else(|| invite.uri().map_or(String::new(), ToString::to_string));
        let cseq = if method == "PRACK" { self.next_cseq(n) } else { invite.cseq().number };
        let head = Head {
            method,
            uri: &target,
            branch: (method == "CANCEL" || variant & 4 == 0).then_some(same),
            from: invite.header(Name::From).unwrap_or_default().into(),
            to: answer.header(Name::To).unwrap_or_default().into(),
            call_id: invite.call_id().into(),
            cseq,
            lines: &lines,
            body: if variant & 8 == 0 { None } else { description(script) },
        };
        let text = self.compose(n, &head);
        self.send(n, text);
    }

    /// A request within the dialog of the last request or answer that the phone heard.
    fn within(&mut self, n: usize, script: &mut Script<'_>) {
        let Some(phone) = self.phones.get(&address(n)) else { return };
        let variant = script.byte();
        let heard = if variant & 1 == 0 { &phone.request } else { &phone.answer };
        let Some(heard) = heard.clone() else { return };
        let header = |name| heard.header(name).unwrap_or_default().to_string();
        // Our side is To of what was heard as a request, and From of what was heard as an answer.
        let (mut from, to) = match heard.status() {
            None => (header(Name::To), header(Name::From)),
            Some(_) => (header(Name::From), header(Name::To)),
        };
        if heard.status().is_none() && heard.to_tag().is_empty() {
            from.push_str(&format!(";tag=p{}", variant >> 6));
        }
        let method =
            *script.pick(&["BYE", "INVITE", "UPDATE", "INFO", "OPTIONS", "PRACK", "REFER", "NOTIFY", "FOO"]);
        let target = target(&heard).unwrap_or_else(|| format!("sip:{}", local()));
        let cseq = self.next_cseq(n).wrapping_mul(u32::from(variant >> 5) + 1) & 0x7fff_ffff;
        let lines = *script.pick(&[
            "",
            "RAck: 1 1 INVITE\r\n",
            "Session-Expires: 20\r\nSupported: timer\r\n",
            "Require: x\r\n",
        ]);
        let head = Head {
            method,
            uri: &target,
            branch: None,
            from,
            to,
            call_id: heard.call_id().into(),
            cseq,
            lines,
            body: description(script),
        };
        let text = self.compose(n, &head);
        self.send(n, text);
    }

    /// The last packet again, with some bytes changed.
    fn mangled(&mut self, n: usize, script: &mut Script<'_>) {
        let mut bytes = self.last_sent.to_vec();
        for _ in 0..script.byte() % 5 {
            if bytes.is_empty() {
                return;
            }
            let at = (usize::from(script.byte()) << 8 | usize::from(script.byte())) % bytes.len();
            match script.byte() {
                0 => bytes.truncate(at),
                1 => {
                    bytes.remove(at);
                }
                other => bytes[at] = other,
            }
        }
        self.send(n, bytes.into());
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
        panic!("ticks without end: {:?}", self.switch.census());
    }

    fn command(&mut self, script: &mut Script<'_>) {
        let command = match script.byte() % 8 {
            0 | 1 => Command::Originate(Originate {
                user: self.office.user(&mut Chance::from_number(u64::from(script.byte()))),
                from: None,
                device: None,
                to: script.pick(&Office::numbers()).clone(),
                ring_timeout: Duration::from_secs(u64::from(script.byte())),
                require_device: script.byte() & 1 == 0,
                planned: None,
            }),
            2 if !self.calls.is_empty() => Command::End { call: script.pick(&self.calls).clone() },
            3 if !self.calls.is_empty() => Command::Ladder { call: script.pick(&self.calls).clone() },
            4 => Command::Status,
            5 => Command::Registrations { username: None },
            6 => Command::Stop { force: script.byte() & 1 == 0 },
            7 => Command::Start,
            _ => Command::Calls,
        };
        self.tokens += 1;
        self.feed(Input::Command { token: self.tokens, command });
    }

    fn media(&mut self, script: &mut Script<'_>) {
        let stream = self.worker.any_stream().unwrap_or(StreamId(u32::from(script.byte())));
        let event = match script.byte() % 4 {
            0 => MediaEvent::Digit { stream, digit: '#', millis: 1 },
            1 => MediaEvent::Silent { stream },
            // A worker that speaks of a stream that nobody opened.
            2 => MediaEvent::Closed { stream: StreamId(u32::MAX), report: Report::default() },
            _ => return self.pass_on_reports(),
        };
        self.feed(Input::Media(event));
    }

    fn pass_on_reports(&mut self) {
        for event in std::mem::take(&mut self.pending) {
            self.feed(Input::Media(event));
        }
    }

    /// A turn of fate: a crash, a change of the directory, a broken path.
    fn turn(&mut self, n: usize, script: &mut Script<'_>) {
        match script.byte() % 6 {
            0 => {
                self.life += 1;
                self.switch = Switch::new(self.config.clone(), Chance::from_number(self.life));
                self.worker = Worker::default();
                self.pending.clear();
                self.begin();
            }
            1 => {
                let (changes, _) = self.office.meddle(&mut Chance::from_number(u64::from(script.byte())));
                let directory = self.office.directory.clone();
                self.feed(Input::Directory { directory, changes: changes.into() });
            }
            2 => self.feed(Input::Unreachable(hop(address(n)))),
            3 => self.feed(Input::FlowClosed(Flow { epoch: 1, number: u32::from(script.byte()) })),
            4 => self.feed(Input::Listening(script.byte() & 1 == 0)),
            _ => self.wall += (i64::from(script.byte()) - 128) * 600_000_000,
        }
    }

    /// Nobody says anything more: every timer runs out, and nothing is left.
    fn come_to_rest(&mut self) {
        self.pass_on_reports();
        for _ in 0..200 {
            let Some(due) = self.switch.deadline() else { break };
            self.run(due + Duration::from_secs(300));
            self.pass_on_reports();
        }
        assert_eq!(self.switch.census(), [0; 4], "calls, streams, transactions, sessions are left");
        assert_eq!((self.switch.deadline(), self.worker.streams()), (None, 0));
        let open: Vec<&String> =
            self.open.iter().filter(|(_, closed)| **closed == 0).map(|(id, _)| id).collect();
        assert!(open.is_empty(), "never closed: {open:?}");
    }
}

struct Head<'a> {
    method: &'a str,
    uri: &'a str,
    branch: Option<String>,
    from: String,
    to: String,
    call_id: String,
    cseq: u32,
    lines: &'a str,
    body: Option<String>,
}

fn description(script: &mut Script<'_>) -> Option<String> {
    let variant = script.byte();
    let direction = ["sendrecv", "sendonly", "recvonly", "inactive"][usize::from(variant >> 3 & 3)];
    let formats = ["0 8 101", "8", "9", "0"][usize::from(variant >> 5 & 3)];
    match variant & 7 {
        0 | 1 => None,
        2 => Some("this is no description".into()),
        3 => {
            Some(format!("v=0\r\no=- 1 1 IN IP4 10.0.0.9\r\ns=-\r\nt=0 0\r\nm=audio 0 RTP/AVP {formats}\r\n"))
        }
        _ => Some(format!(
            "v=0\r\no=- 1 {variant} IN IP4 10.0.0.9\r\ns=-\r\nc=IN IP4 10.0.0.9\r\nt=0 0\r\nm=audio 4000 RTP/AVP {formats}\r\n\
             a={direction}\r\n"
        )),
    }
}

fn target(message: &Message) -> Option<String> {
    match message.contacts() {
        Ok(Contacts::List(list)) => list.first().map(|contact| contact.uri.to_string()),
        Ok(Contacts::None | Contacts::Star) | Err(_) => None,
    }
}

fn rseq(message: &Message) -> u32 {
    message.number(Name::RSeq).and_then(Result::ok).unwrap_or(1)
}
