//! Random sequences of valid messages, API calls and time: no panic, no event after the end, nothing left over.

#![allow(clippy::manual_is_multiple_of, clippy::format_push_string, clippy::match_same_arms)]

use crate::network;

use std::collections::HashMap;

use base::{Instant, Now, Rng, Secret, Timestamp};
use bytes::Bytes;
use centralita_sip::digest::Account;
use centralita_sip::{
    Config, Endpoint, Event, Flow, HangupParams, HeaderName, Headers, Hop, Input, InviteParams, Message,
    Method, Output, SessionEvent, SessionId, Target, Transport, Uri,
};
use network::{ANSWER, HOLD, OFFER, address, ms, respond, secs};
use proptest::prelude::*;

/// One step: its kind, and two choices within it.
type Step = (u8, u16, u16);

struct RandomRun {
    now: Instant,
    endpoint: Endpoint,
    hop: Hop,
    sessions: Vec<SessionId>,
    ended: HashMap<SessionId, u32>,
    /// Messages that the endpoint sent.
    sent: Vec<Message>,
    /// Messages that the peer sent, for retransmission.
    received: Vec<Bytes>,
    calls: u32,
    cseq: u32,
    serial: u32,
    /// Messages in and out, as text, for reading a failure.
    log: Vec<String>,
    /// Every message sent, for comparing two runs.
    trace: Vec<Bytes>,
}

fn pick<T>(from: &[T], at: u16) -> Option<&T> {
    (!from.is_empty()).then(|| &from[at as usize % from.len()])
}

const STATUSES: [u16; 16] = [100, 180, 183, 183, 200, 200, 200, 302, 401, 408, 422, 481, 486, 487, 491, 500];
const METHODS: [&str; 12] = [
    "BYE", "UPDATE", "INVITE", "PRACK", "INFO", "ACK", "CANCEL", "OPTIONS", "REFER", "INVITE", "UPDATE",
    "ACK",
];
const LINES: [&str; 6] = [
    "",
    "Supported: 100rel, timer\r\nSession-Expires: 90\r\nAllow: INVITE, ACK, BYE, UPDATE\r\n",
    "Require: 100rel\r\n",
    "Supported: timer\r\nSession-Expires: 10\r\n",
    "Supported: timer\r\nSession-Expires: 100;refresher=uas\r\n",
    "Record-Route: <sip:10.0.0.2;lr>\r\nAllow: INVITE, UPDATE\r\n",
];
const BODIES: [&[u8]; 4] = [b"", OFFER, ANSWER, HOLD];

impl RandomRun {
    fn new(transport: Transport) -> RandomRun {
        let flow = if transport == Transport::Udp { Flow::default() } else { Flow { epoch: 1, number: 1 } };
        let config = Config { session_expires: secs(120), ..Config::default() };
        RandomRun {
            now: Instant::from_micros(1),
            endpoint: Endpoint::new(config, Rng::from_number(3)),
            hop: Hop { transport, listener: 0, local: address(0), remote: address(1), flow },
            sessions: Vec::new(),
            ended: HashMap::new(),
            sent: Vec::new(),
            received: Vec::new(),
            calls: 0,
            cseq: 100,
            serial: 0,
            log: Vec::new(),
            trace: Vec::new(),
        }
    }

    fn act<T>(&mut self, action: impl FnOnce(&mut Endpoint, Now, &mut Vec<Output>) -> T) -> T {
        let now = Now { instant: self.now, wall: Timestamp::from_micros(0) };
        let mut out = Vec::new();
        let result = action(&mut self.endpoint, now, &mut out);
        self.handle_outputs(out);
        result
    }

    fn handle_outputs(&mut self, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Transmit { bytes, .. } => {
                    self.trace.push(bytes.clone());
                    self.log_message('>', &bytes);
                    self.sent.push(Message::parse(bytes).expect("what we send can be read"));
                }
                Output::Received { .. } => {}
                Output::Event(Event::Request(incoming)) => {
                    if *incoming.message.method() == Method::Invite {
                        let session = self.act(|ep, now, out| ep.start_uas(now, incoming, out));
                        self.sessions.extend(session);
                    }
                }
                Output::Event(Event::Session { session, event }) => {
                    assert_eq!(self.ended.get(&session), None, "{event:?} after the end");
                    if let SessionEvent::Ended(_) = event {
                        self.ended.insert(session, 1);
                    }
                }
                Output::Event(Event::SourceChanged { session, request }) => {
                    self.act(|ep, now, out| ep.accept_source(now, session, request, out));
                }
                Output::Event(Event::Response { .. } | Event::Subscription { .. }) => {}
            }
        }
    }

    fn log_message(&mut self, direction: char, bytes: &Bytes) {
        let (kind, at) = (network::kind(bytes), self.now.as_micros() / 1000);
        let message = Message::parse(bytes.clone()).unwrap();
        let (call, from, to) = (message.call_id(), message.from_tag(), message.to_tag());
        self.log.push(format!("{at} {direction} {kind} {} {call} {from} {to}", message.cseq().number));
    }

    fn receive(&mut self, bytes: impl Into<Bytes>) {
        let (bytes, hop) = (bytes.into(), self.hop);
        self.received.push(bytes.clone());
        self.log_message('<', &bytes);
        self.act(|ep, now, out| ep.handle(now, Input::Packet { hop, bytes }, out));
    }

    fn advance(&mut self, span: std::time::Duration) {
        let end = self.now + span;
        while let Some(at) = self.endpoint.deadline().filter(|at| *at <= end) {
            assert!(at >= self.now || at.as_micros() > 0);
            self.now = self.now.max(at);
            self.act(|ep, now, out| ep.handle(now, Input::Tick, out));
        }
        self.now = end;
    }

    fn branch(&mut self) -> String {
        self.serial += 1;
        format!("z9hG4bKx{}", self.serial)
    }

    fn step(&mut self, (what, a, b): Step) {
        let session = pick(&self.sessions, a).copied();
        match what % 16 {
            0 => self.connect(a),
            1 => self.invite(a, b),
            2..=4 => self.respond_to_request(a, b),
            5 | 6 => self.peer_request_in_dialog(a, b),
            7 => {
                if let Some(bytes) = pick(&self.received, a).cloned() {
                    self.receive(bytes);
                }
            }
            8 | 9 => self.advance(ms(u64::from(b) * 2)),
            10 => self.advance(secs(u64::from(a % 90))),
            11 => {
                let (flow, hop) = (self.hop.flow, self.hop);
                let input = if a % 4 == 0 { Input::Unreachable(hop) } else { Input::FlowClosed(flow) };
                if a % 2 == 0 {
                    self.act(|ep, now, out| ep.handle(now, input, out));
                }
            }
            12..=15 => {
                if let Some(session) = session {
                    self.call_api(session, b);
                }
            }
            _ => unreachable!(),
        }
    }

    fn connect(&mut self, a: u16) {
        let connect = InviteParams {
            target: Target { uri: Uri::sip_at(Some("1002"), "10.0.0.2"), hop: self.hop, route: Vec::new() },
            from: "<sip:1001@localhost>".into(),
            to: "<sip:1002@localhost>".into(),
            contact_user: "1001".into(),
            lines: Headers::new(),
            offer: Bytes::from_static(OFFER),
            credentials: (a % 2 == 0).then(|| Account {
                user: "u".into(),
                password: Secret::new("p".into()),
                realm: None,
            }),
            max_forwards: 70,
        };
        let session = self.act(|ep, now, out| ep.connect(now, connect, out));
        self.sessions.extend(session);
    }

    fn invite(&mut self, a: u16, b: u16) {
        self.calls += 1;
        let (branch, call) = (self.branch(), self.calls);
        let (lines, body) = (LINES[a as usize % LINES.len()], BODIES[b as usize % 2]);
        self.peer_request("INVITE", &branch, 1, &format!("call{call}"), "peer", "", lines, body);
    }

    #[allow(clippy::too_many_arguments)]
    fn peer_request(
        &mut self,
        method: &str,
        branch: &str,
        cseq: u32,
        call: &str,
        from: &str,
        to: &str,
        lines: &str,
        body: &[u8],
    ) {
        let tag = if to.is_empty() { String::new() } else { format!(";tag={to}") };
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let transport = self.hop.transport.as_str();
        let text = format!(
            "{method} sip:1001@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/{transport} 10.0.0.2:5060;branch={branch}\r\nFrom: <sip:p@x>;tag={from}\r\n\
             To: <sip:1001@x>{tag}\r\nCall-ID: {call}\r\nCSeq: {cseq} {method}\r\nContact: <sip:p@10.0.0.2>\r\n{lines}{kind}\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        self.receive([text.as_bytes(), body].concat());
    }

    /// The peer responds to one of our requests, sometimes an old one.
    fn respond_to_request(&mut self, a: u16, b: u16) {
        let asked: Vec<&Message> = self.sent.iter().filter(|message| message.status().is_none()).collect();
        let recent = asked.len().saturating_sub(6);
        let from = if b % 5 == 0 { &asked[..] } else { &asked[recent..] };
        let Some(request) = pick(from, a).copied() else { return };
        if *request.method() == Method::Ack {
            return;
        }
        let status = STATUSES[b as usize % STATUSES.len()];
        let tag = ["t1", "t2", "t1"][b as usize % 3];
        let mut lines = format!("Contact: <sip:p@10.0.0.2>\r\n{}", LINES[(a ^ b) as usize % LINES.len()]);
        lines += &match status {
            183 => format!("RSeq: {}\r\n", 1 + a % 3),
            401 => "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"\r\n".into(),
            422 => format!("Min-SE: {}\r\n", 90 + b % 300),
            500 => "Retry-After: 2\r\n".into(),
            _ => String::new(),
        };
        let answer = respond(request, status, tag, &lines, BODIES[b as usize % BODIES.len()]);
        self.receive(answer);
    }

    /// The peer sends a request in a dialog of a message that we sent.
    fn peer_request_in_dialog(&mut self, a: u16, b: u16) {
        let Some(shown) = pick(&self.sent, a).cloned() else { return };
        let ours = shown.status().is_none();
        let (here, there) =
            if ours { (shown.to_tag(), shown.from_tag()) } else { (shown.from_tag(), shown.to_tag()) };
        let here = if here.is_empty() { "t1" } else { here };
        let method = METHODS[b as usize % METHODS.len()];
        self.cseq += 1;
        let cseq = match method {
            "ACK" | "CANCEL" => shown.cseq().number,
            _ if b % 7 == 0 => 1,
            _ => self.cseq,
        };
        let branch = match method {
            "CANCEL" | "ACK" if b % 2 == 0 => String::from_utf8_lossy(&shown.via().branch).into_owned(),
            _ => self.branch(),
        };
        let rseq = shown.number(HeaderName::RSeq).and_then(Result::ok).unwrap_or(1);
        let rack = format!("RAck: {rseq} {} INVITE\r\n", shown.cseq().number);
        let lines = if method == "PRACK" { rack.as_str() } else { LINES[b as usize % 2] };
        let (call, here, there) = (shown.call_id().to_owned(), here.to_owned(), there.to_owned());
        self.peer_request(
            method,
            &branch,
            cseq,
            &call,
            &here,
            &there,
            lines,
            BODIES[a as usize % BODIES.len()],
        );
    }

    fn call_api(&mut self, session: SessionId, b: u16) {
        let sdp = || Bytes::from_static(ANSWER);
        let choice = b / 16;
        self.act(|ep, now, out| match b % 12 {
            0 => ep.progress(now, session, 180, None, out),
            1 => ep.progress(now, session, 183, Some(sdp()), out),
            2 | 3 => ep.accept(now, session, (choice % 4 != 0).then(sdp), out),
            4 => {
                ep.hangup(
                    now,
                    session,
                    HangupParams { status: choice % 700, phrase: None, lines: None },
                    out,
                );
            }
            5 | 6 => ep.offer(now, session, Bytes::from_static(HOLD), out),
            7..=9 => ep.answer(now, session, if choice % 4 == 0 { Err(488) } else { Ok(sdp()) }, out),
            10 => ep.info(now, session, "application/dtmf-relay", b"Signal=1", out),
            _ => drop(ep.dialog(session)),
        });
    }

    fn finish(&mut self) {
        for session in self.sessions.clone() {
            self.act(|ep, now, out| {
                ep.hangup(now, session, HangupParams { status: 480, phrase: None, lines: None }, out);
            });
        }
        self.advance(secs(200));
        assert_eq!(self.endpoint.counts(), (0, 0), "{:#?}", self.log);
        assert_eq!(self.endpoint.deadline(), None);
        assert!(
            self.sessions.iter().all(|session| self.ended.contains_key(session)),
            "each session ends once"
        );
    }
}

fn run_steps(steps: &[Step], transport: Transport) -> Vec<Bytes> {
    let mut run = RandomRun::new(transport);
    for step in steps {
        run.step(*step);
    }
    run.finish();
    run.trace
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics_and_nothing_is_left_over(steps in prop::collection::vec(any::<Step>(), 1..160)) {
        run_steps(&steps, Transport::Udp);
        run_steps(&steps, Transport::Tcp);
    }

    #[test]
    fn the_same_inputs_have_the_same_outputs(steps in prop::collection::vec(any::<Step>(), 1..60)) {
        prop_assert_eq!(run_steps(&steps, Transport::Udp), run_steps(&steps, Transport::Udp));
    }
}
