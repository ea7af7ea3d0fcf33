//! A simulated network with a virtual clock: endpoints and scripted peers exchange datagrams, some of which are lost.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::format_push_string)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use base::{Instant, Now, Rng, Timestamp};
use bytes::Bytes;
use centralita_sip::{
    Config, Endpoint, Event, Flow, HangupParams, Headers, Hop, Incoming, Input, InviteParams, Message,
    Method, Output, Reply, SessionEvent, SessionId, SubscriptionEvent, Target, Termination, Transport, Uri,
};

pub const OFFER: &[u8] = b"v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
pub const ANSWER: &[u8] = b"v=0\r\no=- 2 1 IN IP4 10.0.0.2\r\ns=-\r\nt=0 0\r\nm=audio 5000 RTP/AVP 0\r\n";
pub const HOLD: &[u8] =
    b"v=0\r\no=- 1 2 IN IP4 10.0.0.1\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\na=sendonly\r\n";

/// Indices of the first three parties.
pub const A: usize = 0;
pub const B: usize = 1;
pub const C: usize = 2;

pub fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A node of the network.
pub struct Party {
    /// `None` for a peer whose messages the test writes itself.
    pub endpoint: Option<Endpoint>,
    /// Events of the endpoint, as text.
    pub events: Vec<String>,
    /// Accepted sessions, oldest first.
    pub sessions: Vec<SessionId>,
    /// Out-of-dialog requests that the test must respond to.
    pub requests: Vec<Incoming>,
    /// In-dialog requests from other hosts than the session's peer.
    pub source_changes: Vec<(SessionId, Incoming)>,
    /// Messages that a scripted peer received.
    pub inbox: Vec<Message>,
    /// Messages of sessions, as reported for the ladder diagram.
    pub ladder: Vec<String>,
}

type Loss = Box<dyn FnMut(usize, &str) -> bool>;

/// The network and its clock.
pub struct World {
    pub now: Instant,
    pub parties: Vec<Party>,
    in_transit: BTreeMap<(Instant, u64), (usize, usize, Bytes)>,
    serial: u64,
    pub transport: Transport,
    pub latency: Duration,
    /// Whether a message (sender, kind) is lost.
    loss: Loss,
    /// Every message sent, lost or not: time, sender, kind.
    pub wire: Vec<(Instant, usize, String)>,
    /// Whether incoming INVITEs are accepted at once.
    pub accepts_invites: bool,
}

pub fn address(party: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1 + party as u8], 5060))
}

/// Kind of a message: `INVITE`, or `200 INVITE`.
pub fn kind(bytes: &Bytes) -> String {
    match Message::parse(bytes.clone()) {
        Ok(message) => match message.status() {
            Some(status) => format!("{status} {}", message.method().as_str()),
            None => message.method().as_str().to_owned(),
        },
        Err(error) => format!("malformed: {} in {}", error.what, String::from_utf8_lossy(bytes)),
    }
}

pub fn config() -> Config {
    Config {
        allow: "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, PRACK, UPDATE, INFO".into(),
        ..Config::default()
    }
}

impl World {
    /// A network with endpoints of these configurations, then `peers` scripted peers.
    pub fn with(configs: Vec<Config>, peers: usize) -> World {
        let endpoint = |(n, mut config): (usize, Config)| {
            config.id_prefix = format!("m{n}");
            Some(Endpoint::new(config, Rng::from_number(77 + n as u64)))
        };
        let endpoints = configs.into_iter().enumerate().map(endpoint).chain((0..peers).map(|_| None));
        let parties = endpoints.map(|endpoint| Party {
            endpoint,
            events: Vec::new(),
            sessions: Vec::new(),
            requests: Vec::new(),
            source_changes: Vec::new(),
            inbox: Vec::new(),
            ladder: Vec::new(),
        });
        World {
            now: Instant::from_micros(1_000_000),
            parties: parties.collect(),
            in_transit: BTreeMap::new(),
            serial: 0,
            transport: Transport::Udp,
            latency: ms(10),
            loss: Box::new(|_, _| false),
            wire: Vec::new(),
            accepts_invites: true,
        }
    }

    /// Two endpoints.
    pub fn pair() -> World {
        World::with(vec![config(), config()], 0)
    }

    /// An endpoint and a scripted peer.
    pub fn scripted() -> World {
        World::with(vec![config()], 1)
    }

    /// From now on, lose the messages for which `loss` is true.
    pub fn lose(&mut self, loss: impl FnMut(usize, &str) -> bool + 'static) {
        self.loss = Box::new(loss);
    }

    /// Lose the next `count` messages of this kind from `from`.
    pub fn lose_next(&mut self, from: usize, kind: &'static str, mut count: usize) {
        self.lose(move |sender, what| {
            let hit = sender == from && what == kind && count > 0;
            count -= usize::from(hit);
            hit
        });
    }

    pub fn at(&self) -> Now {
        Now { instant: self.now, wall: Timestamp::from_micros(self.now.as_micros() as i64) }
    }

    pub fn hop(&self, from: usize, to: usize) -> Hop {
        let flow = match self.transport {
            Transport::Udp => Flow::default(),
            _ => Flow { epoch: 1, number: 1 + from as u32 + to as u32 },
        };
        Hop { transport: self.transport, listener: 0, local: address(from), remote: address(to), flow }
    }

    /// Call an endpoint, and handle its outputs.
    pub fn act<T>(
        &mut self,
        party: usize,
        action: impl FnOnce(&mut Endpoint, Now, &mut Vec<Output>) -> T,
    ) -> T {
        let now = self.at();
        let mut out = Vec::new();
        let result = action(self.parties[party].endpoint.as_mut().unwrap(), now, &mut out);
        for output in out {
            self.handle_output(party, output);
        }
        result
    }

    fn handle_output(&mut self, party: usize, output: Output) {
        match output {
            Output::Transmit { hop, bytes, session } => {
                if session.is_some() {
                    self.parties[party].ladder.push(format!("> {}", kind(&bytes)));
                }
                assert_eq!(hop.local, address(party));
                self.send(party, hop.remote, bytes);
            }
            Output::Received { bytes, .. } => {
                self.parties[party].ladder.push(format!("< {}", kind(&bytes)));
            }
            Output::Event(Event::Request(incoming)) => {
                if self.accepts_invites && *incoming.message.method() == Method::Invite {
                    if let Some(session) = self.act(party, |ep, now, out| ep.start_uas(now, incoming, out)) {
                        self.parties[party].sessions.push(session);
                    }
                } else {
                    self.parties[party].requests.push(incoming);
                }
            }
            Output::Event(Event::Session { event, .. }) => self.parties[party].events.push(describe(&event)),
            Output::Event(Event::SourceChanged { session, request }) => {
                self.parties[party]
                    .events
                    .push(format!("source changed {}", request.message.method().as_str()));
                self.parties[party].source_changes.push((session, request));
            }
            Output::Event(Event::Subscription { event: SubscriptionEvent::Refresh(request), .. }) => {
                self.parties[party].requests.push(request);
            }
            Output::Event(Event::Subscription { event: SubscriptionEvent::Over, .. }) => {
                self.parties[party].events.push("subscription ended".into());
            }
            Output::Event(Event::Response { response, .. }) => {
                let status = response.and_then(|r| r.status());
                self.parties[party].events.push(format!("response {status:?}"));
            }
        }
    }

    fn send(&mut self, from: usize, to: SocketAddr, bytes: Bytes) {
        let kind = kind(&bytes);
        assert!(!kind.starts_with("malformed"), "{kind}");
        let lost = (self.loss)(from, &kind);
        self.wire.push((self.now, from, kind));
        let to = (0..self.parties.len()).find(|party| address(*party) == to);
        if let (Some(to), false) = (to, lost) {
            self.serial += 1;
            self.in_transit.insert((self.now + self.latency, self.serial), (from, to, bytes));
        }
    }

    /// Send a message of a scripted peer.
    pub fn peer_sends(&mut self, from: usize, to: usize, text: impl AsRef<[u8]>) {
        self.send(from, address(to), Bytes::copy_from_slice(text.as_ref()));
    }

    /// Deliver bytes that are not a valid message.
    pub fn peer_sends_raw(&mut self, from: usize, to: usize, bytes: impl AsRef<[u8]>) {
        self.deliver(from, to, Bytes::copy_from_slice(bytes.as_ref()));
    }

    /// Deliver bytes to a party without the network.
    pub fn deliver(&mut self, from: usize, to: usize, bytes: Bytes) {
        if self.parties[to].endpoint.is_none() {
            self.parties[to].inbox.push(Message::parse(bytes).unwrap());
            return;
        }
        let hop = self.hop(to, from);
        self.act(to, |ep, now, out| ep.handle(now, Input::Packet { hop, bytes }, out));
    }

    fn next_event(&self) -> Option<Instant> {
        let deadlines = self.parties.iter().filter_map(|party| party.endpoint.as_ref()?.deadline());
        deadlines.chain(self.in_transit.first_key_value().map(|((at, _), _)| *at)).min()
    }

    /// Advance the clock.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self.next_event().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            while let Some(entry) = self.in_transit.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (from, to, bytes) = entry.remove();
                self.deliver(from, to, bytes);
            }
            for party in 0..self.parties.len() {
                let due = self.parties[party].endpoint.as_ref().and_then(Endpoint::deadline);
                if due.is_some_and(|due| due <= self.now) {
                    self.act(party, |ep, now, out| ep.handle(now, Input::Tick, out));
                }
            }
        }
        self.now = end;
    }

    /// Let all timers expire, and check that nothing is left.
    pub fn finish(&mut self) {
        self.run(secs(100));
        for (n, party) in self.parties.iter().enumerate() {
            if let Some(endpoint) = &party.endpoint {
                assert_eq!(endpoint.counts(), (0, 0), "party {n} still holds something: {:#?}", self.wire);
                assert_eq!(endpoint.deadline(), None, "a timer of party {n} outlives its owner");
            }
        }
    }

    // ---- calls of the endpoint -----------------------------------------------------------------------------------------------

    pub fn invite_params(&self, from: usize, to: usize) -> InviteParams {
        let hop = self.hop(from, to);
        InviteParams {
            target: Target { uri: Uri::sip(Some("1002"), address(to), None), hop, route: Vec::new() },
            from: "\"Ana\" <sip:1001@localhost>".into(),
            to: "<sip:1002@localhost>".into(),
            contact_user: "1001".into(),
            lines: Headers::new(),
            offer: Bytes::from_static(OFFER),
            credentials: None,
            max_forwards: 70,
        }
    }

    pub fn connect(&mut self, from: usize, to: usize) -> SessionId {
        let connect = self.invite_params(from, to);
        self.act(from, |ep, now, out| ep.connect(now, connect, out)).unwrap()
    }

    /// The last session that a party accepted.
    pub fn leg(&self, party: usize) -> SessionId {
        *self.parties[party].sessions.last().expect("an INVITE was accepted")
    }

    pub fn progress(&mut self, party: usize, status: u16, sdp: Option<&'static [u8]>) {
        let leg = self.leg(party);
        self.act(party, |ep, now, out| ep.progress(now, leg, status, sdp.map(Bytes::from_static), out));
    }

    pub fn accept(&mut self, party: usize, sdp: Option<&'static [u8]>) {
        let leg = self.leg(party);
        self.act(party, |ep, now, out| ep.accept(now, leg, sdp.map(Bytes::from_static), out));
    }

    pub fn hangup(&mut self, party: usize, session: SessionId, status: u16) {
        let hangup = HangupParams { status, phrase: None, lines: None };
        self.act(party, |ep, now, out| ep.hangup(now, session, hangup, out));
    }

    pub fn offer(&mut self, party: usize, session: SessionId, sdp: &'static [u8]) {
        self.act(party, |ep, now, out| ep.offer(now, session, Bytes::from_static(sdp), out));
    }

    pub fn answer(&mut self, party: usize, session: SessionId, answer: Result<&'static [u8], u16>) {
        self.act(party, |ep, now, out| ep.answer(now, session, answer.map(Bytes::from_static), out));
    }

    pub fn reply(&mut self, party: usize, status: u16) {
        let request = self.parties[party].requests.remove(0);
        self.act(party, |ep, now, out| ep.respond_stateless(now, &request, Reply::new(status), out));
    }

    /// Set up a call from A to B; returns the sessions of both.
    pub fn call(&mut self) -> (SessionId, SessionId) {
        let caller = self.connect(A, B);
        self.run(ms(50));
        self.progress(B, 180, None);
        self.run(ms(50));
        self.accept(B, Some(ANSWER));
        self.run(ms(100));
        self.parties.iter_mut().for_each(|party| party.events.clear());
        (caller, self.leg(B))
    }

    /// Set up a call from the scripted peer B to endpoint A; returns our tag.
    pub fn answered_call(&mut self) -> String {
        self.answered_call_with("")
    }

    /// Like [`World::answered_call`], with additional header lines in the INVITE.
    pub fn answered_call_with(&mut self, lines: &str) -> String {
        self.peer_sends(
            B,
            A,
            request(&PeerRequest { method: "INVITE", branch: "1", cseq: 1, to_tag: "", lines, body: OFFER }),
        );
        self.run(ms(50));
        self.accept(A, Some(ANSWER));
        self.run(ms(50));
        let tag = self.last_received(B, "200 INVITE").to_tag().to_owned();
        self.peer_sends(
            B,
            A,
            request(&PeerRequest {
                method: "ACK",
                branch: "a1",
                cseq: 1,
                to_tag: &tag,
                lines: "",
                body: b"",
            }),
        );
        self.run(ms(50));
        assert_eq!(self.take_events(A), ["confirmed"]);
        self.parties[B].inbox.clear();
        tag
    }

    /// The peer sends BYE; then check that nothing is left.
    pub fn finish_by_peer(&mut self, tag: &str, cseq: u32) {
        self.peer_sends(
            B,
            A,
            request(&PeerRequest { method: "BYE", branch: "bye", cseq, to_tag: tag, lines: "", body: b"" }),
        );
        self.run(ms(50));
        assert_eq!(self.count(B, "200 BYE"), 1);
        assert_eq!(self.take_events(A).last().map(String::as_str), Some("ended: bye"));
        self.finish();
    }

    // ---- results -------------------------------------------------------------------------------------------------------------

    /// Take the events of a party since the last call.
    pub fn take_events(&mut self, party: usize) -> Vec<String> {
        std::mem::take(&mut self.parties[party].events)
    }

    /// Number of messages of a kind that a party sent.
    pub fn sent(&self, from: usize, kind: &str) -> usize {
        self.wire.iter().filter(|(_, sender, what)| *sender == from && what == kind).count()
    }

    /// Times at which a party sent messages of a kind, in milliseconds since the first.
    pub fn times_sent(&self, from: usize, kind: &str) -> Vec<u64> {
        let at: Vec<Instant> = self
            .wire
            .iter()
            .filter(|(_, sender, what)| *sender == from && what == kind)
            .map(|(at, ..)| *at)
            .collect();
        at.iter().map(|time| time.since(at[0]).as_millis() as u64).collect()
    }

    /// The last message of a kind that a scripted peer received.
    pub fn last_received(&self, party: usize, wanted: &str) -> Message {
        let inbox = &self.parties[party].inbox;
        let found = inbox.iter().rev().find(|message| kind(message.bytes()) == wanted);
        found.cloned().unwrap_or_else(|| panic!("no {wanted} in {:?}", self.wire))
    }

    /// Number of messages of a kind that a scripted peer received.
    pub fn count(&self, party: usize, wanted: &str) -> usize {
        self.parties[party].inbox.iter().filter(|message| kind(message.bytes()) == wanted).count()
    }

    pub fn counts(&self, party: usize) -> (usize, usize) {
        self.parties[party].endpoint.as_ref().unwrap().counts()
    }
}

fn describe(event: &SessionEvent) -> String {
    let with = |sdp: &Option<Bytes>| if sdp.is_some() { " with sdp" } else { "" };
    match event {
        SessionEvent::Progress { status, fork, sdp } => format!("progress {status} fork {fork}{}", with(sdp)),
        SessionEvent::Accepted { fork, sdp, .. } => format!("accepted fork {fork}{}", with(sdp)),
        SessionEvent::Confirmed { sdp } => format!("confirmed{}", with(sdp)),
        SessionEvent::Offered { sdp } => format!("offered{}", with(sdp)),
        SessionEvent::Answered { .. } => "answered".into(),
        SessionEvent::OfferRefused { status } => format!("offer refused {status}"),
        SessionEvent::Info { content_type, body } => {
            format!("info {content_type} {}", String::from_utf8_lossy(body))
        }
        SessionEvent::Ended(Termination::Refused { status, .. }) => format!("ended: refused {status}"),
        SessionEvent::Ended(Termination::Bye { .. }) => "ended: bye".into(),
        SessionEvent::Ended(Termination::Cancelled { .. }) => "ended: cancelled".into(),
        SessionEvent::Ended(Termination::Local) => "ended: local".into(),
        SessionEvent::Ended(Termination::NoAck) => "ended: no ack".into(),
        SessionEvent::Ended(Termination::SessionTimeout) => "ended: session timeout".into(),
        SessionEvent::Ended(Termination::DialogGone) => "ended: dialog gone".into(),
    }
}

/// A response of a scripted peer: the fields copied from the request, a To tag, additional lines and a body.
pub fn respond(request: &Message, status: u16, tag: &str, lines: &str, body: &[u8]) -> Vec<u8> {
    let mut text = format!("SIP/2.0 {status} X\r\n");
    let own = [
        centralita_sip::HeaderName::Via,
        centralita_sip::HeaderName::RecordRoute,
        centralita_sip::HeaderName::From,
        centralita_sip::HeaderName::CallId,
        centralita_sip::HeaderName::CSeq,
    ];
    for name in own {
        for line in request.header_lines(name) {
            text += &format!("{}: {}\r\n", name.as_str(), String::from_utf8_lossy(line));
        }
    }
    let to = request.header(centralita_sip::HeaderName::To).unwrap();
    let tag = if to.contains(";tag=") || tag.is_empty() { String::new() } else { format!(";tag={tag}") };
    text += &format!("To: {to}{tag}\r\n{lines}");
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    text += &format!("{kind}Content-Length: {}\r\n\r\n", body.len());
    [text.as_bytes(), body].concat()
}

/// A request of scripted peer B to endpoint A.
pub struct PeerRequest<'a> {
    pub method: &'a str,
    pub branch: &'a str,
    pub cseq: u32,
    pub to_tag: &'a str,
    pub lines: &'a str,
    pub body: &'a [u8],
}

/// Serialise it, within the call `peers-call` whose caller is B with tag `peer`.
pub fn request(spec: &PeerRequest<'_>) -> Vec<u8> {
    let PeerRequest { method, branch, cseq, to_tag, lines, body } = spec;
    let tag = if to_tag.is_empty() { String::new() } else { format!(";tag={to_tag}") };
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    let text = format!(
        "{method} sip:1001@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bK{branch}\r\nMax-Forwards: 70\r\n\
         From: <sip:1002@localhost>;tag=peer\r\nTo: <sip:1001@localhost>{tag}\r\nCall-ID: peers-call\r\nCSeq: {cseq} {method}\r\n\
         Contact: <sip:1002@10.0.0.2:5060>\r\n{lines}{kind}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [text.as_bytes(), body].concat()
}
