//! A switch under test, with phones controlled by the test and a media worker that executes all commands.

pub mod carrier;
pub mod dialog;
pub mod sdp;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base::{Instant, Now, Rng, Secret, Timestamp};
use bytes::Bytes;
use centralita_switch::voicemail::VoicemailEffect;
use centralita_switch::{
    Command, Config, Input, Listener, OpenCall, Output, RegistrationsOf, Reply, SettingChange, Switch,
};
use media::{MediaCommand, MediaEvent, Report, StreamId};
use model::journal::{DialogSnapshot, OutboundCallTime, Record};
use model::{
    CallRecord, Change, Credential, Directory, Extension, ExtensionId, ExtensionNumber, ExtensionStatus,
    Forwarding, Ha1, User, UserId,
};
use sip::{Flow, HeaderName, Hop, Message, Transport};

/// Listen address of the switch.
pub const SERVER: &str = "10.0.0.1:5060";

/// Address and account of a phone.
#[derive(Clone, Debug)]
pub struct Phone {
    pub address: SocketAddr,
    /// User part of its address of record.
    pub user: String,
    /// Digest user name.
    pub login: String,
    pub password: String,
}

impl Phone {
    pub fn contact(&self) -> String {
        format!("<sip:{}@{}>", self.user, self.address)
    }

    /// The same account at another address.
    pub fn at(&self, address: &str) -> Phone {
        Phone { address: address.parse().unwrap(), ..self.clone() }
    }
}

/// The switch and everything around it.
pub struct TestSwitch {
    pub switch: Switch,
    pub config: Config,
    pub directory: Directory,
    pub clock: Instant,
    /// Offset of the wall clock in microseconds.
    pub wall_offset: i64,
    /// Time of the last `Alive` record in the journal.
    pub alive: Option<Timestamp>,
    pub journal: Vec<Record>,
    pub media: Vec<MediaCommand>,
    pub listen_outputs: Vec<bool>,
    /// DNS queries without a response yet.
    pub dns_queries: Vec<(u64, sip::resolve::Question)>,
    /// Voicemail outputs of the switch.
    pub voicemail_effects: Vec<VoicemailEffect>,
    /// Dialled settings that are not stored yet.
    pub settings: Vec<(u64, SettingChange)>,
    /// Whether the media worker reports closed streams at once; otherwise they are kept in `unreported_streams`.
    pub auto_report: bool,
    /// Whether the prompts are loaded at the start.
    pub load_prompts: bool,
    pub unreported_streams: Vec<StreamId>,
    /// Connections by peer address; peers without one use UDP.
    pub flows: BTreeMap<SocketAddr, Flow>,
    inbox: BTreeMap<SocketAddr, Vec<Message>>,
    /// Listener from which the last message to an address was sent.
    pub sent_by_listener: BTreeMap<SocketAddr, u16>,
    ports: BTreeMap<StreamId, u16>,
    rng: Rng,
    tokens: u64,
    cseq: u32,
}

pub fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn config() -> Config {
    let address = SERVER.parse().unwrap();
    let listeners = vec![Listener { transport: Transport::Udp, address }];
    Config { domain: "localhost".into(), listeners, ..Config::default() }
}

impl TestSwitch {
    /// Extensions 1001 and 1003 (ana's), 1002 (benito's), and ana's credential `user_1700000001`.
    pub fn open() -> TestSwitch {
        TestSwitch::open_with(|_| {})
    }

    pub fn open_with(change: impl FnOnce(&mut Config)) -> TestSwitch {
        let mut config = config();
        change(&mut config);
        let mut pbx = TestSwitch {
            switch: Switch::new(config.clone(), Rng::from_number(1)),
            config,
            directory: Directory::default(),
            clock: Instant::from_micros(1_000_000),
            wall_offset: 0,
            alive: None,
            journal: Vec::new(),
            media: Vec::new(),
            listen_outputs: Vec::new(),
            dns_queries: Vec::new(),
            voicemail_effects: Vec::new(),
            settings: Vec::new(),
            auto_report: true,
            load_prompts: true,
            unreported_streams: Vec::new(),
            flows: BTreeMap::new(),
            inbox: BTreeMap::new(),
            sent_by_listener: BTreeMap::new(),
            ports: BTreeMap::new(),
            rng: Rng::from_number(2),
            tokens: 0,
            cseq: 0,
        };
        for name in ["ana", "benito"] {
            pbx.directory.apply(Change::User(User { id: user(name), created_at: Timestamp::default() }));
        }
        for (number, owner) in [("1001", "ana"), ("1002", "benito"), ("1003", "ana")] {
            let (extension, credential) = extension(number, owner);
            pbx.directory.apply(Change::Extension(extension));
            pbx.directory.apply(Change::Credential(credential));
        }
        pbx.directory.apply(Change::Credential(Credential {
            username: "user_1700000001".into(),
            user: user("ana"),
            extension: None,
            ha1: Ha1::new("user_1700000001", "localhost", "secret-user_1700000001"),
            ha1_by_number: None,
            created_at: Timestamp::default(),
        }));
        pbx.start(Vec::new(), Vec::new());
        pbx
    }

    fn start(&mut self, bindings: Vec<model::journal::Binding>, calls: Vec<OpenCall>) {
        if self.load_prompts {
            self.feed(Input::Prompts(Arc::default()));
        }
        self.feed(Input::Directory { directory: Box::new(self.directory.clone()), changes: [].into() });
        let ports = (0..500).map(|n| 10_000 + 2 * n).collect();
        self.feed(Input::Media(MediaEvent::Ports { worker: 0, listener: 0, ports }));
        self.feed(Input::Restore { bindings, calls, outside: self.outside(), alive: self.alive });
        self.feed(Input::Listening(true));
    }

    /// Outbound call times in the journal.
    fn outside(&self) -> Vec<OutboundCallTime> {
        let mut times = BTreeMap::new();
        for record in &self.journal {
            if let Record::Noted(model::journal::CallEvent::Outside(time)) = record {
                times.insert(time.call.clone(), time.clone());
            }
        }
        times.into_values().collect()
    }

    /// `kill -9`, and a new process that restores the journal.
    pub fn crash(&mut self) {
        let mut bindings = BTreeMap::new();
        let mut calls: BTreeMap<_, OpenCall> = BTreeMap::new();
        for record in self.journal.clone() {
            match record {
                Record::Bound(b) => drop(bindings.insert((b.username.clone(), b.contact.clone()), b)),
                Record::Unbound { username, contact, .. } => drop(bindings.remove(&(username, contact))),
                Record::CallOpened(c) => {
                    calls.insert(c.id.clone(), OpenCall { record: *c, legs: Vec::<DialogSnapshot>::new() });
                }
                Record::LegUp { call, leg } => calls.get_mut(&call).unwrap().legs.push(leg),
                Record::CallClosed(c) => drop(calls.remove(&c.id)),
                Record::Ladder { .. }
                | Record::Noted(_)
                | Record::Recording(_)
                | Record::Alive { .. }
                | Record::Voicemail(_) => {}
            }
        }
        self.switch = Switch::new(self.config.clone(), Rng::from_number(77));
        self.ports.clear();
        self.media.clear();
        self.start(bindings.into_values().collect(), calls.into_values().collect());
    }

    /// The phone of an account: `1001`, or `user_1700000001`.
    pub fn phone(&self, name: &str) -> Phone {
        let n = match name {
            "1001" => 11,
            "1002" => 12,
            "1003" => 13,
            _ if name.len() == 4 => 10 + name[2..].parse::<u8>().expect("an extension of the test"),
            _ => 14,
        };
        let username = if name.len() == 4 { format!("phone{name}") } else { name.to_string() };
        Phone {
            address: SocketAddr::new([10, 0, 0, n].into(), 5060),
            user: username.clone(),
            login: username.clone(),
            password: format!("secret-{username}"),
        }
    }

    // ---- time and inputs ---------------------------------------------------------------------------------------------------------

    pub fn now(&self) -> Now {
        let morning = 1_736_937_000_000_000;
        let wall = morning + self.clock.as_micros() as i64 + self.wall_offset;
        Now { instant: self.clock, wall: Timestamp::from_micros(wall) }
    }

    pub fn feed(&mut self, input: Input) {
        let mut out = Vec::new();
        self.switch.handle(self.now(), input, &mut out);
        self.collect(out);
    }

    fn collect(&mut self, out: Vec<Output>) {
        let mut closed = Vec::new();
        for output in out {
            match output {
                Output::Transmit { hop, bytes } => {
                    let message = Message::parse(bytes).expect("the switch sends valid SIP");
                    self.sent_by_listener.insert(hop.remote, hop.listener);
                    self.inbox.entry(hop.remote).or_default().push(message);
                }
                Output::Media { command, .. } => {
                    match &command {
                        MediaCommand::Open { stream, port } => {
                            let again = self.ports.values().any(|p| p == port);
                            assert!(!again, "port {port} is in use");
                            self.ports.insert(*stream, *port);
                        }
                        MediaCommand::Close { stream } => closed.push(*stream),
                        _ => {}
                    }
                    self.media.push(command);
                }
                Output::Journal(Record::Alive { at }) => self.alive = Some(at),
                Output::Journal(record) => self.journal.push(record),
                Output::Reply { .. } => panic!("unexpected reply"),
                Output::Resolve { token, question } => self.dns_queries.push((token, question)),
                Output::Listen(open) => self.listen_outputs.push(open),
                Output::Voicemail(note) => self.voicemail_effects.push(*note),
                Output::Setting { token, change } => self.settings.push((token, *change)),
            }
        }
        for stream in closed {
            if self.auto_report {
                self.report_closed(stream);
            } else {
                self.unreported_streams.push(stream);
            }
        }
    }

    /// The media worker reports a stream as closed.
    pub fn report_closed(&mut self, stream: StreamId) {
        let port = self.ports.remove(&stream).unwrap();
        let report = Report { received: 50, sent: 49, ..Report::default() };
        self.feed(Input::Media(MediaEvent::Closed { stream, report }));
        self.feed(Input::Media(MediaEvent::Ports { worker: 0, listener: 0, ports: vec![port] }));
    }

    /// The media worker fails and reports its streams.
    pub fn fail_worker(&mut self) {
        let reports = std::mem::replace(&mut self.auto_report, false);
        self.feed(Input::Media(MediaEvent::WorkerGone { worker: 0 }));
        for stream in std::mem::take(&mut self.unreported_streams) {
            self.ports.remove(&stream);
            self.feed(Input::Media(MediaEvent::Closed { stream, report: Report::default() }));
        }
        self.auto_report = reports;
    }

    /// Advance the clock, one timer after the other.
    pub fn advance(&mut self, time: Duration) {
        let end = self.clock + time;
        while let Some(due) = self.switch.deadline().filter(|due| *due <= end) {
            self.clock = self.clock.max(due);
            self.feed(Input::Tick);
        }
        self.clock = end;
    }

    pub fn command(&mut self, command: Command) -> Reply {
        self.tokens += 1;
        let (now, token) = (self.now(), self.tokens);
        let mut out = Vec::new();
        self.switch.handle(now, Input::Command { token, command }, &mut out);
        let at = out.iter().position(|o| matches!(o, Output::Reply { .. })).expect("a reply");
        let Output::Reply { token: replied, reply } = out.remove(at) else { unreachable!() };
        assert_eq!(replied, token);
        self.collect(out);
        *reply
    }

    pub fn status(&mut self) -> centralita_switch::Status {
        match self.command(Command::Status) {
            Reply::Status(status) => status,
            other => panic!("{other:?}"),
        }
    }

    /// Change the directory as the API does.
    pub fn change(&mut self, changes: Vec<Change>) {
        for change in &changes {
            self.directory.apply(change.clone());
        }
        let directory = Box::new(self.directory.clone());
        self.feed(Input::Directory { directory, changes: changes.into() });
    }

    /// Add an extension, `1004` or above.
    pub fn add_extension(&mut self, number: &str, owner: &str) -> Phone {
        let (extension, credential) = extension(number, owner);
        self.change(vec![Change::Extension(extension), Change::Credential(credential)]);
        self.phone(number)
    }

    /// Rules and outcomes in the last call's trace, one line each: `forward: …`.
    pub fn trace(&self) -> String {
        let record = self.records().pop().expect("a record");
        record.trace.iter().map(|step| format!("{}: {}\n", step.rule, step.outcome)).collect()
    }

    /// Change an extension.
    pub fn change_extension(&mut self, number: &str, change: impl FnOnce(&mut Extension)) {
        let number = ExtensionNumber::parse(number).unwrap();
        let mut extension = (**self.directory.extension_by_number(&number).unwrap()).clone();
        change(&mut extension);
        self.change(vec![Change::Extension(extension)]);
    }

    // ---- messages ----------------------------------------------------------------------------------------------------------------

    /// Send a datagram, or bytes over the address's connection.
    pub fn send_from(&mut self, remote: SocketAddr, text: impl Into<Bytes>) {
        let local = SERVER.parse().unwrap();
        let flow = self.flows.get(&remote).copied().unwrap_or_default();
        let transport = if flow == Flow::default() { Transport::Udp } else { Transport::Tcp };
        let hop = Hop { transport, listener: 0, local, remote, flow };
        self.feed(Input::Packet { hop, bytes: text.into() });
    }

    /// The phone opens a connection.
    pub fn open_flow(&mut self, phone: &Phone, number: u32) {
        self.flows.insert(phone.address, Flow { epoch: 1, number });
    }

    /// The phone's connection is closed.
    pub fn close_flow(&mut self, phone: &Phone) {
        let flow = self.flows.remove(&phone.address).expect("a connection");
        self.feed(Input::FlowClosed(flow));
    }

    /// Messages that a phone has received since the last query.
    pub fn received(&mut self, phone: &Phone) -> Vec<Message> {
        self.inbox.remove(&phone.address).unwrap_or_default()
    }

    /// Put a received message back into the inbox.
    pub fn put_back(&mut self, phone: &Phone, message: Message) {
        self.inbox.entry(phone.address).or_default().push(message);
    }

    /// Statuses and methods of the received messages: `100 180 BYE`.
    pub fn summary(&mut self, phone: &Phone) -> String {
        let name = |m: &Message| m.status().map_or_else(|| m.method().to_string(), |s| s.to_string());
        self.received(phone).iter().map(name).collect::<Vec<_>>().join(" ")
    }

    /// The last message that a phone has received; the ones before it are dropped.
    pub fn last(&mut self, phone: &Phone) -> Message {
        self.received(phone).pop().expect("the phone has received a message")
    }

    pub fn branch(&mut self) -> String {
        format!("z9hG4bK{}", self.rng.base36(12))
    }

    pub fn random_token(&mut self) -> String {
        self.rng.base36(8)
    }

    /// A request of a phone outside a dialog; each of `lines` ends with CRLF.
    pub fn request(&mut self, phone: &Phone, method: &str, uri: &str, to: &str, lines: &str) -> String {
        self.cseq += 1;
        let (cseq, branch) = (self.cseq, self.branch());
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch={branch};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:{user}@localhost>;tag=t{user}\r\nTo: {to}\r\nCall-ID: reg-{user}-{address}\r\n\
             CSeq: {cseq} {method}\r\n{lines}Content-Length: 0\r\n\r\n",
            address = phone.address,
            user = phone.user,
        )
    }

    /// The Authorization header line for a challenge.
    pub fn authorization(&mut self, phone: &Phone, challenge: &Message, method: &str, uri: &str) -> String {
        let value = challenge.header(HeaderName::WwwAuthenticate).expect("a challenge");
        let password = Secret::new(phone.password.clone());
        let answer =
            sip::digest::answer(value, None, method, uri, &phone.login, &password, &mut self.rng).unwrap();
        format!("Authorization: {answer}\r\n")
    }

    /// REGISTER with these header lines and authentication. Returns the final response.
    pub fn register_with(&mut self, phone: &Phone, lines: &str) -> Message {
        let to = format!("<sip:{}@localhost>", phone.user);
        let text = self.request(phone, "REGISTER", "sip:localhost", &to, lines);
        self.send_from(phone.address, text);
        let challenge = self.last(phone);
        assert_eq!(challenge.status(), Some(401));
        let authorization = self.authorization(phone, &challenge, "REGISTER", "sip:localhost");
        let text = self.request(phone, "REGISTER", "sip:localhost", &to, &format!("{authorization}{lines}"));
        self.send_from(phone.address, text);
        let mut received = self.received(phone);
        let answer = received.iter().position(|m| m.status().is_some()).expect("an answer");
        let answer = received.remove(answer);
        self.inbox.insert(phone.address, received); // a call that waited for the phone
        answer
    }

    /// Register for an hour.
    pub fn register(&mut self, phone: &Phone) {
        let lines = format!("Contact: {}\r\nExpires: 3600\r\n", phone.contact());
        assert_eq!(self.register_with(phone, &lines).status(), Some(200));
    }

    /// Usernames with bindings, one entry per binding.
    pub fn registrations(&mut self) -> Vec<String> {
        let of = RegistrationsOf::Everybody { after: None };
        match self.command(Command::Registrations { of, limit: 1_000 }) {
            Reply::Registrations { found: all, .. } => {
                all.into_iter().map(|one| one.username.to_string()).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    /// The CDRs in the journal.
    pub fn records(&self) -> Vec<CallRecord> {
        let closed = |record: &Record| match record {
            Record::CallClosed(call) => Some((**call).clone()),
            _ => None,
        };
        self.journal.iter().filter_map(closed).collect()
    }

    /// The only CDR in the journal.
    pub fn record(&self) -> CallRecord {
        let mut all = self.records();
        assert_eq!(all.len(), 1, "exactly one CDR");
        all.remove(0)
    }

    /// Let all timers except those of bindings expire, and check that no state of a call is left.
    pub fn assert_idle(&mut self) {
        self.advance(Duration::from_secs(200));
        assert_eq!(self.switch.counts(), [0; 4], "calls, streams, transactions, sessions");
        assert!(self.ports.is_empty());
    }
}

fn extension(number: &str, owner: &str) -> (Extension, Credential) {
    let username: Arc<str> = format!("phone{number}").into();
    let id = ExtensionId::parse(&format!("ext_{number}")).unwrap();
    let secret = format!("secret-{username}");
    let extension = Extension {
        id: id.clone(),
        user: user(owner),
        number: ExtensionNumber::parse(number).unwrap(),
        display_name: format!("Phone {number}"),
        status: ExtensionStatus::Active,
        username: username.clone(),
        forwarding: Forwarding::default(),
        voicemail_enabled: false,
        do_not_disturb: false,
        call_waiting: true,
        ring_seconds: 25,
        dial_permissions: model::DialPermissions::default(),
        follow_me: None,
        record_calls: model::RecordCalls::Default,
        created_at: Timestamp::default(),
        updated_at: Timestamp::default(),
        timezone: None,
    };
    let credential = Credential {
        username: username.clone(),
        user: user(owner),
        extension: Some(id),
        ha1: Ha1::new(&username, "localhost", &secret),
        ha1_by_number: Some(Ha1::new(number, "localhost", &secret)),
        created_at: Timestamp::default(),
    };
    (extension, credential)
}
