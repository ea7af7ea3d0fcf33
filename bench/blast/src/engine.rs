//! Both sides of calls: callers with credentials, and callees that answer at once.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Instant;

use crate::digest::Users;
use crate::message::{Message, number};
use crate::net::Port;
use crate::timers::{Expired, Timers};

/// Duration of a call.
#[derive(Clone, Copy, PartialEq)]
pub enum Hold {
    /// BYE follows the ACK.
    No,
    /// Until [`Engine::hang_up`].
    UntilHangUp,
}

/// State of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum State {
    /// Not in use.
    Free,
    /// INVITE sent; whether with credentials.
    Inviting { authorised: bool },
    /// 200 received and acknowledged.
    Up,
    /// BYE sent.
    Terminating,
}

/// Caller's side of a call.
pub struct Call {
    /// Its state.
    pub state: State,
    /// RTP address for the caller's audio.
    pub remote_media: Option<SocketAddrV4>,
    caller: usize,
    due: Instant,
    id: u64,
    stamp: u64,
    cseq: u32,
    ringing: bool,
    target: Vec<u8>,
    to: Vec<u8>,
    routes: Vec<u8>,
    last: Vec<u8>,
    ack: Vec<u8>,
}

/// Callee's side of a call.
struct Answered {
    response: Vec<u8>,
    stamp: u64,
}

/// Counts of a run.
#[derive(Default)]
pub struct Tally {
    /// Calls that were confirmed and ended normally.
    pub ended: u64,
    /// Calls that were confirmed.
    pub up: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Messages that we retransmitted.
    pub retransmissions: u64,
    /// Retransmissions received from the server.
    pub repeats: u64,
    /// Status of the first rejection.
    pub refused: Option<u16>,
    /// Microseconds from the due time of a call to its 200.
    pub setup: Vec<u32>,
    /// RTP address for each callee's audio, in the order in which they answered.
    pub callee_media: Vec<Option<SocketAddrV4>>,
}

/// All calls of a run.
pub struct Engine {
    server: SocketAddr,
    hold: Hold,
    media_port: u16,
    run: u32,
    users: Users,
    callers: Port,
    callees: Port,
    /// By slot.
    pub calls: Vec<Call>,
    free: Vec<usize>,
    stamps: u64,
    timers: Timers,
    answered: HashMap<Vec<u8>, Answered>,
    answers: Timers,
    answer_ids: HashMap<u64, Vec<u8>>,
    scratch: Vec<u8>,
    /// Counts so far.
    pub tally: Tally,
}

impl Engine {
    /// Calls between `users` users of `server`; callers send from `ports.0`, callees listen on `ports.1`.
    pub fn new(
        server: SocketAddr,
        users: usize,
        ports: (u16, u16),
        hold: Hold,
        media_port: u16,
    ) -> std::io::Result<Engine> {
        Ok(Engine {
            server,
            hold,
            media_port,
            run: std::process::id(),
            users: Users::new(users),
            callers: Port::open(ports.0, server)?,
            callees: Port::open(ports.1, server)?,
            calls: Vec::new(),
            free: Vec::new(),
            stamps: 0,
            timers: Timers::default(),
            answered: HashMap::new(),
            answers: Timers::default(),
            answer_ids: HashMap::new(),
            scratch: Vec::new(),
            tally: Tally::default(),
        })
    }

    /// File descriptors to wait on.
    pub fn fds(&self) -> [std::os::fd::RawFd; 2] {
        [self.callers.inbox.fd(), self.callees.inbox.fd()]
    }

    /// Start a call that was due at `due`, by user number `caller`.
    pub fn begin(&mut self, now: Instant, due: Instant, caller: usize) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.calls.push(Call {
                state: State::Free,
                remote_media: None,
                caller,
                due,
                id: 0,
                stamp: 0,
                cseq: 0,
                ringing: false,
                target: Vec::new(),
                to: Vec::new(),
                routes: Vec::new(),
                last: Vec::new(),
                ack: Vec::new(),
            });
            self.calls.len() - 1
        });
        let callee = self.callee_of(caller);
        let call = &mut self.calls[slot];
        (call.caller, call.due, call.remote_media) = (caller, due, None);
        call.routes.clear();
        call.target.clear();
        call.to.clear();
        let _ = write!(call.target, "sip:u{callee:06}@{}", self.server);
        let _ = write!(call.to, "<sip:u{callee:06}@{}>", self.server.ip());
        self.invite(now, slot, None);
    }

    /// End a confirmed call.
    pub fn hang_up(&mut self, now: Instant, slot: usize) {
        self.stamps += 1;
        let stamp = self.stamps;
        let call = &mut self.calls[slot];
        call.state = State::Terminating;
        call.cseq += 1;
        call.stamp = stamp;
        let cseq = call.cseq;
        self.head(slot, "BYE", cseq, stamp);
        self.calls[slot].last.extend_from_slice(b"Content-Length: 0\r\n\r\n");
        self.transmit(now, slot);
    }

    /// Receive, respond, retransmit and send. Returns whether anything was received.
    pub fn poll(&mut self, now: Instant) -> bool {
        let heard = [self.callers.inbox.fill(), self.callees.inbox.fill()];
        for n in 0..heard[0] {
            let bytes = self.callers.inbox.message(n).to_vec();
            if let Some(message) = Message::read(&bytes) {
                self.caller_hears(now, &message);
            }
        }
        for n in 0..heard[1] {
            let bytes = self.callees.inbox.message(n).to_vec();
            if let Some(message) = Message::read(&bytes) {
                self.callee_hears(now, &message);
            }
        }
        self.repeat(now);
        self.callers.out.flush();
        self.callees.out.flush();
        heard[0] + heard[1] > 0
    }

    fn callee_of(&self, caller: usize) -> usize {
        (caller + self.users.count() / 2) % self.users.count()
    }

    fn invite(&mut self, now: Instant, slot: usize, challenge: Option<(u16, &[u8])>) {
        self.stamps += 1;
        let stamp = self.stamps;
        let call = &mut self.calls[slot];
        let cseq = if challenge.is_some() { 2 } else { 1 };
        if challenge.is_none() {
            call.id = stamp;
        }
        call.state = State::Inviting { authorised: challenge.is_some() };
        (call.stamp, call.cseq, call.ringing) = (stamp, cseq, false);
        self.head(slot, "INVITE", cseq, stamp);
        let port = self.media_port.wrapping_add(if self.hold == Hold::No { 0 } else { 4 * slot as u16 });
        let local = self.callers.number();
        let call = &mut self.calls[slot];
        let _ = write!(call.last, "Contact: <sip:u{:06}@127.0.0.1:{local}>\r\n", call.caller);
        if let Some((status, challenge)) = challenge {
            let uri = String::from_utf8_lossy(&call.target).into_owned();
            self.users.answer(call.caller, status, challenge, "INVITE", &uri, &mut call.last);
        }
        description(&mut self.scratch, port, "0 8 101");
        write_body(&mut call.last, &self.scratch);
        self.transmit(now, slot);
    }

    /// Start a request in `last`.
    fn head(&mut self, slot: usize, method: &str, cseq: u32, branch: u64) {
        let (local, ip, run) = (self.callers.number(), self.server.ip(), self.run);
        let call = &mut self.calls[slot];
        let out = &mut call.last;
        out.clear();
        let _ = write!(out, "{method} ");
        out.extend_from_slice(&call.target);
        let _ =
            write!(out, " SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{local};branch=z9hG4bK-{branch}-{run}\r\n");
        out.extend_from_slice(&call.routes);
        let _ = write!(out, "Max-Forwards: 70\r\nFrom: <sip:u{:06}@{ip}>;tag=c{slot}\r\nTo: ", call.caller);
        out.extend_from_slice(&call.to);
        let _ = write!(
            out,
            "\r\nCall-ID: {slot}-{}-{run}@b\r\nCSeq: {cseq} {method}\r\nUser-Agent: bench\r\n",
            call.id
        );
    }

    fn transmit(&mut self, now: Instant, slot: usize) {
        let call = &self.calls[slot];
        self.callers.out.put(&call.last);
        self.timers.start(now, slot, call.stamp, 0);
    }

    fn caller_hears(&mut self, now: Instant, message: &Message<'_>) {
        if message.status == 0 {
            // The server ends a call: its BYE is answered. The call counts as failed later, when the caller's own BYE is rejected.
            self.scratch.clear();
            respond(&mut self.scratch, "200 OK", message, "");
            self.scratch.extend_from_slice(b"Content-Length: 0\r\n\r\n");
            self.callers.out.put(&self.scratch);
            return;
        }
        let mut numbers = message.call_id.split(|byte| *byte == b'-').map(|part| number(part).unwrap_or(0));
        let (slot, id) = (numbers.next().unwrap_or(0) as usize, u64::from(numbers.next().unwrap_or(0)));
        let Some(call) = self.calls.get_mut(slot).filter(|call| call.id == id) else {
            self.tally.repeats += 1;
            return;
        };
        if message.cseq != call.cseq {
            // A retransmitted final response to INVITE needs its ACK again.
            self.tally.repeats += 1;
            if message.method == b"INVITE" && message.status >= 200 && message.cseq + 1 == call.cseq {
                self.callers.out.put(&call.ack);
            }
            return;
        }
        match (call.state, message.status) {
            (State::Free, _) => self.tally.repeats += 1,
            (State::Inviting { .. }, 100..200) => call.ringing = true,
            (State::Inviting { .. }, 200..300) => self.answered(now, slot, message),
            (State::Inviting { authorised }, status) => {
                self.ack_error(slot, message);
                if matches!(status, 401 | 407) && !authorised {
                    self.invite(now, slot, Some((status, message.challenge)));
                } else {
                    self.tally.refused.get_or_insert(status);
                    self.fail(slot);
                }
            }
            (State::Up, _) => {
                self.tally.repeats += 1;
                self.callers.out.put(&call.ack);
            }
            (State::Terminating, 200..300) => {
                self.tally.ended += 1;
                self.end(slot);
            }
            (State::Terminating, 100..200) => {}
            (State::Terminating, status) => {
                self.tally.refused.get_or_insert(status);
                self.fail(slot);
            }
        }
    }

    fn answered(&mut self, now: Instant, slot: usize, message: &Message<'_>) {
        self.stamps += 1;
        let (stamp, call) = (self.stamps, &mut self.calls[slot]);
        self.tally.setup.push(now.saturating_duration_since(call.due).as_micros() as u32);
        self.tally.up += 1;
        call.remote_media = media_of(message.body);
        call.target = message.contact.to_vec();
        call.to = message.to.to_vec();
        for line in message.record_routes.iter().rev() {
            let value = line.splitn(2, |byte| *byte == b':').nth(1).unwrap_or_default();
            // Several values in one line: the last one comes first.
            for route in value.split(|byte| *byte == b',').rev() {
                call.routes.extend_from_slice(b"Route: ");
                call.routes.extend_from_slice(route.trim_ascii());
                call.routes.extend_from_slice(b"\r\n");
            }
        }
        let cseq = call.cseq;
        call.state = State::Up;
        call.stamp = stamp;
        self.head(slot, "ACK", cseq, stamp);
        let call = &mut self.calls[slot];
        call.last.extend_from_slice(b"Content-Length: 0\r\n\r\n");
        std::mem::swap(&mut call.ack, &mut call.last);
        self.callers.out.put(&call.ack);
        if self.hold == Hold::No {
            self.hang_up(now, slot);
        }
    }

    /// The ACK of an error response belongs to the INVITE's transaction (RFC 3261 §17.1.1.3): its branch, and the response's To.
    fn ack_error(&mut self, slot: usize, message: &Message<'_>) {
        let to = std::mem::replace(&mut self.calls[slot].to, message.to.to_vec());
        let (cseq, branch) = (self.calls[slot].cseq, self.calls[slot].stamp);
        self.head(slot, "ACK", cseq, branch);
        let call = &mut self.calls[slot];
        call.to = to;
        call.last.extend_from_slice(b"Content-Length: 0\r\n\r\n");
        std::mem::swap(&mut call.ack, &mut call.last);
        self.callers.out.put(&call.ack);
    }

    fn fail(&mut self, slot: usize) {
        self.tally.failed += 1;
        self.end(slot);
    }

    fn end(&mut self, slot: usize) {
        let call = &mut self.calls[slot];
        (call.state, call.stamp) = (State::Free, 0);
        if self.hold == Hold::No {
            self.free.push(slot);
        }
    }

    fn callee_hears(&mut self, now: Instant, message: &Message<'_>) {
        match message.method {
            b"INVITE" => {
                if let Some(answered) = self.answered.get(message.call_id) {
                    self.tally.repeats += 1;
                    self.callees.out.put(&answered.response);
                    return;
                }
                self.answer(now, message);
            }
            b"ACK" => {
                if let Some(answered) = self.answered.get_mut(message.call_id) {
                    self.answer_ids.remove(&answered.stamp);
                    answered.stamp = 0;
                }
            }
            method => {
                if method == b"BYE"
                    && let Some(answered) = self.answered.remove(message.call_id)
                {
                    self.answer_ids.remove(&answered.stamp);
                }
                self.scratch.clear();
                respond(&mut self.scratch, "200 OK", message, "");
                self.scratch.extend_from_slice(b"Content-Length: 0\r\n\r\n");
                self.callees.out.put(&self.scratch);
            }
        }
    }

    fn answer(&mut self, now: Instant, message: &Message<'_>) {
        self.stamps += 1;
        let stamp = self.stamps;
        let tag = format!(";tag=s{stamp}");
        let place = self.tally.callee_media.len();
        let port = self.media_port.wrapping_add(2 + if self.hold == Hold::No { 0 } else { 4 * place as u16 });
        if self.hold == Hold::UntilHangUp {
            self.tally.callee_media.push(media_of(message.body));
        }
        let contact = format!("Contact: <sip:callee@127.0.0.1:{}>\r\n", self.callees.number());
        self.scratch.clear();
        respond(&mut self.scratch, "180 Ringing", message, &tag);
        self.scratch.extend_from_slice(contact.as_bytes());
        self.scratch.extend_from_slice(b"Content-Length: 0\r\n\r\n");
        self.callees.out.put(&self.scratch);
        let mut response = Vec::with_capacity(1024);
        respond(&mut response, "200 OK", message, &tag);
        response.extend_from_slice(contact.as_bytes());
        description(&mut self.scratch, port, "0 101");
        write_body(&mut response, &self.scratch);
        self.callees.out.put(&response);
        self.answers.start(now, 0, stamp, 0);
        self.answer_ids.insert(stamp, message.call_id.to_vec());
        self.answered.insert(message.call_id.to_vec(), Answered { response, stamp });
    }

    fn repeat(&mut self, now: Instant) {
        while let Some(expired) = self.timers.expired(now) {
            let (Expired::Again(due, _) | Expired::Lost(due)) = &expired;
            let call = &self.calls[due.slot];
            if call.stamp != due.stamp || call.state == State::Up {
                continue;
            }
            match expired {
                Expired::Lost(due) => self.fail(due.slot),
                Expired::Again(due, wait) => {
                    // A provisional response ends the retransmissions of an INVITE, but not its timeout.
                    if !call.ringing || call.state == State::Terminating {
                        self.callers.out.put(&call.last);
                        self.tally.retransmissions += 1;
                    }
                    self.timers.start(now, due.slot, due.stamp, wait);
                }
            }
        }
        while let Some(expired) = self.answers.expired(now) {
            let (Expired::Again(due, _) | Expired::Lost(due)) = &expired;
            let Some(call_id) = self.answer_ids.get(&due.stamp) else { continue };
            match expired {
                Expired::Lost(due) => {
                    self.answer_ids.remove(&due.stamp);
                }
                Expired::Again(due, wait) => {
                    if let Some(answered) = self.answered.get(call_id) {
                        self.callees.out.put(&answered.response);
                        self.tally.retransmissions += 1;
                    }
                    self.answers.start(now, 0, due.stamp, wait);
                }
            }
        }
    }
}

/// Start of a response to `request`, without Contact and Content-Length.
fn respond(out: &mut Vec<u8>, status: &str, request: &Message<'_>, tag: &str) {
    let _ = write!(out, "SIP/2.0 {status}\r\n");
    for line in request.vias.iter().chain(&request.record_routes) {
        out.extend_from_slice(line);
        out.extend_from_slice(b"\r\n");
    }
    for (name, value, end) in
        [("From: ", request.from, ""), ("To: ", request.to, tag), ("Call-ID: ", request.call_id, "")]
    {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(value);
        out.extend_from_slice(end.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    let _ = write!(out, "CSeq: {} ", request.cseq);
    out.extend_from_slice(request.method);
    out.extend_from_slice(b"\r\n");
}

fn description(out: &mut Vec<u8>, port: u16, formats: &str) {
    out.clear();
    let _ = write!(
        out,
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP {formats}\r\n\
         a=rtpmap:0 PCMU/8000\r\n"
    );
    if formats.contains('8') {
        out.extend_from_slice(b"a=rtpmap:8 PCMA/8000\r\n");
    }
    out.extend_from_slice(b"a=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\na=sendrecv\r\n");
}

fn write_body(out: &mut Vec<u8>, body: &[u8]) {
    let length = body.len();
    let _ = write!(
        out,
        "Allow: INVITE, ACK, BYE, CANCEL, OPTIONS\r\nContent-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n"
    );
    out.extend_from_slice(body);
}

/// RTP address of the first stream in an SDP.
pub fn media_of(body: &[u8]) -> Option<SocketAddrV4> {
    let text = std::str::from_utf8(body).ok()?;
    let value = |prefix: &str| text.lines().find_map(|line| line.strip_prefix(prefix));
    let address: Ipv4Addr = value("c=IN IP4 ")?.trim().parse().ok()?;
    let port: u16 = value("m=audio ")?.split(' ').next()?.parse().ok()?;
    Some(SocketAddrV4::new(address, port))
}
