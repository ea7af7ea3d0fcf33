//! A hand-written SIP phone: it registers and calls like any other, and every line that it sends can be modified.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::wire::{Challenge, Message};
use crate::{Extension, Server};

/// Time limit for a response.
pub const LIMIT: Duration = Duration::from_secs(5);

/// A phone on a UDP socket.
#[derive(Debug)]
pub struct Raw {
    pub socket: UdpSocket,
    pub server: SocketAddr,
    pub user: String,
    pub password: String,
    pub number: String,
    serial: u32,
    /// Address for its RTP.
    pub media: SocketAddr,
}

/// One side of a dialog: enough to write requests in it.
#[derive(Debug, Clone)]
pub struct DialogSide {
    pub call_id: String,
    /// Our From, with tag.
    pub local: String,
    /// The peer's To, with tag.
    pub remote: String,
    /// URI of the peer's Contact.
    pub target: String,
    pub cseq: u32,
    /// SDP of the peer; empty if there was none.
    pub sdp: String,
}

/// A confirmed call: the caller's side and the callee's.
#[derive(Debug, Clone)]
pub struct EstablishedCall {
    pub caller: DialogSide,
    pub callee: DialogSide,
}

/// The RTP address in an SDP.
pub fn rtp_address(sdp: &str) -> SocketAddr {
    let word = |kind: &str, nth: usize| {
        let line = sdp.lines().find_map(|line| line.strip_prefix(kind)).unwrap_or_default();
        line.split(' ').nth(nth).unwrap_or_default().to_owned()
    };
    let ip: IpAddr = word("c=", 2).parse().expect("an address in c=");
    SocketAddr::new(ip, word("m=audio ", 0).parse().expect("a port in m="))
}

impl Raw {
    /// A phone of this extension on a port that the kernel chooses.
    pub fn new(server: &Server, extension: &Extension) -> Self {
        Self::at(IpAddr::V4(Ipv4Addr::LOCALHOST), server.sip(), &extension.username, &extension.password)
            .numbered(&extension.number)
    }

    /// A phone on a port of this address, which claims this name and password.
    ///
    /// # Panics
    /// If no socket can be bound.
    pub fn at(ip: IpAddr, server: SocketAddr, user: &str, password: &str) -> Self {
        let socket = UdpSocket::bind((ip, 0)).expect("a socket");
        Self {
            socket,
            server,
            user: user.to_owned(),
            password: password.to_owned(),
            number: user.to_owned(),
            serial: 0,
            media: SocketAddr::new(ip, 9),
        }
    }

    #[must_use]
    fn numbered(self, number: &str) -> Self {
        Self { number: number.to_owned(), ..self }
    }

    /// # Panics
    /// If the socket has no local address.
    pub fn local(&self) -> SocketAddr {
        self.socket.local_addr().expect("a local address")
    }

    pub fn send(&self, bytes: &[u8]) {
        let _ = self.socket.send_to(bytes, self.server);
    }

    /// The next datagram as bytes.
    pub fn receive_raw(&self, limit: Duration) -> Option<Vec<u8>> {
        let deadline = Instant::now() + limit;
        let mut buffer = vec![0_u8; 65_536];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let _ = self.socket.set_read_timeout(Some(left));
            match self.socket.recv_from(&mut buffer) {
                Ok((count, _)) => return Some(buffer.get(..count)?.to_vec()),
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::ConnectionRefused
                    ) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub fn receive(&self, limit: Duration) -> Option<Message> {
        let raw = self.receive_raw(limit)?;
        Some(Message { text: String::from_utf8_lossy(&raw).into_owned() })
    }

    /// All unread messages.
    pub fn drain(&self) -> Vec<Message> {
        let mut all = Vec::new();
        while let Some(message) = self.receive(Duration::from_millis(1)) {
            all.push(message);
        }
        all
    }

    /// A new branch, tag or Call-ID.
    pub fn fresh(&mut self) -> String {
        self.serial += 1;
        format!("{}x{}", self.local().port(), self.serial)
    }

    /// A request; `more` are header lines with CRLF. Via, Max-Forwards, From, To, Call-ID and CSeq are written here.
    pub fn request(
        &mut self,
        method: &str,
        uri: &str,
        from: &str,
        to: &str,
        call_id: &str,
        cseq: u32,
        more: &str,
        body: &str,
    ) -> String {
        let (local, branch) = (self.local(), self.fresh());
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{branch};rport\r\nMax-Forwards: 70\r\n\
             From: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n{more}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    /// A request in a dialog.
    pub fn in_dialog_request(
        &mut self,
        side: &mut DialogSide,
        method: &str,
        more: &str,
        body: &str,
    ) -> String {
        side.cseq += 1;
        let DialogSide { call_id, local, remote, target, cseq, .. } = side.clone();
        let more = format!("Contact: <sip:{}@{}>\r\n{more}", self.user, self.local());
        self.request(method, &target, &local, &remote, &call_id, cseq, &more, body)
    }

    /// Send a request, retransmit it, and wait for its final response.
    pub fn exchange(&self, request: &str) -> Option<Message> {
        self.exchange_bytes(request.as_bytes())
    }

    /// [`Raw::exchange`] for bytes that are not text.
    pub fn exchange_bytes(&self, request: &[u8]) -> Option<Message> {
        let asked = Message { text: String::from_utf8_lossy(request).into_owned() };
        let (id, cseq) = (asked.header("Call-ID"), asked.header("CSeq"));
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            self.send(request);
            let pause = Instant::now() + Duration::from_millis(700);
            while let Some(message) = self.receive(pause.saturating_duration_since(Instant::now())) {
                let ours = message.header("Call-ID") == id && message.header("CSeq") == cseq;
                if ours && message.status().is_some_and(|status| status >= 200) {
                    return Some(message);
                }
            }
        }
        None
    }

    /// From of this phone, with a tag.
    pub fn from_line(&mut self) -> String {
        let tag = self.fresh();
        format!("<sip:{}@localhost>;tag={tag}", self.user)
    }

    /// A new challenge to REGISTER.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn challenge(&mut self) -> Challenge {
        let (from, id) = (self.from_line(), self.fresh());
        let text = self.request("REGISTER", "sip:localhost", &from, "<sip:x@localhost>", &id, 1, "", "");
        let answer = self.exchange(&text).expect("a challenge");
        answer.header("WWW-Authenticate").and_then(Challenge::parse).expect("a digest challenge")
    }

    /// Send a request outside of dialogs, with authentication. Returns the final response.
    ///
    /// # Panics
    /// If the server does not respond.
    #[track_caller]
    pub fn ask(&mut self, method: &str, uri: &str, to: &str, more: &str, body: &str) -> Message {
        let (from, id) = (self.from_line(), self.fresh());
        let first = self.request(method, uri, &from, to, &id, 1, more, body);
        let refusal = self.exchange(&first).unwrap_or_else(|| panic!("no answer to\n{first}"));
        let Some(challenge) = refusal.header("WWW-Authenticate").and_then(Challenge::parse) else {
            return refusal;
        };
        let answer = challenge.answer(&self.user, &self.password, method, uri, 1);
        let more = format!("{more}Authorization: {answer}\r\n");
        let second = self.request(method, uri, &from, to, &id, 2, &more, body);
        self.exchange(&second).unwrap_or_else(|| panic!("no answer to\n{second}"))
    }

    /// REGISTER with these header lines. Returns the final response.
    #[track_caller]
    pub fn register_with(&mut self, to: &str, lines: &str) -> Message {
        self.ask("REGISTER", "sip:localhost", to, lines, "")
    }

    /// Register its own address.
    ///
    /// # Panics
    /// If it is rejected.
    #[track_caller]
    pub fn register(&mut self) {
        let (to, local) = (format!("<sip:{}@localhost>", self.user), self.local());
        let contact = format!("Contact: <sip:{}@{local}>\r\nExpires: 600\r\n", self.user);
        let answer = self.register_with(&to, &contact);
        assert_eq!(answer.status(), Some(200), "{}", answer.text);
    }

    /// Its SDP: PCMU at [`Raw::media`].
    pub fn sdp(&self) -> String {
        let (ip, port) = (self.media.ip(), self.media.port());
        format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
        )
    }

    /// An INVITE with credentials; the ACK of the challenge has been sent. The caller of this function sends it and reads the responses.
    ///
    /// # Panics
    /// If the server does not challenge.
    #[track_caller]
    pub fn invite(&mut self, number: &str, more: &str, body: &str) -> PendingInvite {
        let (from, id) = (self.from_line(), self.fresh());
        let uri = format!("sip:{number}@localhost");
        let to = format!("<{uri}>");
        let contact = format!("Contact: <sip:{}@{}>\r\n", self.user, self.local());
        let first = self.request("INVITE", &uri, &from, &to, &id, 1, &contact, "");
        let refusal = self.exchange(&first).expect("a challenge");
        self.ack_error(&first, &refusal);
        let challenge =
            refusal.header("WWW-Authenticate").and_then(Challenge::parse).expect("a digest challenge");
        let answer = challenge.answer(&self.user, &self.password, "INVITE", &uri, 1);
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        let more = format!("{contact}Authorization: {answer}\r\n{kind}{more}");
        let text = self.request("INVITE", &uri, &from, &to, &id, 2, &more, body);
        PendingInvite { text, from, call_id: id, uri }
    }

    /// ACK of an error response: in the transaction of its INVITE.
    pub fn ack_error(&self, invite: &str, refusal: &Message) {
        let asked = Message { text: invite.to_owned() };
        let get = |name: &str| asked.header(name).unwrap_or_default().to_owned();
        let uri = invite.split(' ').nth(1).unwrap_or_default();
        let cseq = get("CSeq").replace("INVITE", "ACK");
        let ack = format!(
            "ACK {uri} SIP/2.0\r\nVia: {}\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {cseq}\r\n\
             Content-Length: 0\r\n\r\n",
            get("Via"),
            get("From"),
            refusal.header("To").unwrap_or_default(),
            get("Call-ID"),
        );
        self.send(ack.as_bytes());
    }

    /// The next request with this method; others are dropped.
    ///
    /// # Panics
    /// If none arrives.
    #[track_caller]
    pub fn expect_request(&self, method: &str) -> Message {
        let deadline = Instant::now() + LIMIT;
        let mut seen = Vec::new();
        while let Some(message) = self.receive(deadline.saturating_duration_since(Instant::now())) {
            if message.method() == Some(method) {
                return message;
            }
            seen.push(message.text);
        }
        panic!("{} waited for {method}; there came {seen:#?}", self.user);
    }

    /// The next final response to this method.
    ///
    /// # Panics
    /// If none arrives.
    #[track_caller]
    pub fn expect_final(&self, method: &str) -> Message {
        let deadline = Instant::now() + LIMIT;
        let mut seen = Vec::new();
        while let Some(message) = self.receive(deadline.saturating_duration_since(Instant::now())) {
            let ours = message.header("CSeq").is_some_and(|cseq| cseq.ends_with(method));
            if ours && message.status().is_some_and(|status| status >= 200) {
                return message;
            }
            seen.push(message.text);
        }
        panic!("{} waited for the answer to {method}; there came {seen:#?}", self.user);
    }

    /// Respond to a request.
    pub fn answer(&self, request: &Message, status: u16, more: &str, body: &str) {
        let mut text = format!("SIP/2.0 {status} Because\r\n");
        for via in request.headers("Via") {
            text += &format!("Via: {via}\r\n");
        }
        for route in request.headers("Record-Route") {
            text += &format!("Record-Route: {route}\r\n");
        }
        for name in ["From", "Call-ID", "CSeq"] {
            text += &format!("{name}: {}\r\n", request.header(name).unwrap_or_default());
        }
        let to = request.header("To").unwrap_or_default();
        let tag = if to.contains("tag=") { String::new() } else { format!(";tag=c{}", self.local().port()) };
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        text += &format!(
            "To: {to}{tag}\r\nContact: <sip:{}@{}>\r\n{more}{kind}Content-Length: {}\r\n\r\n{body}",
            self.user,
            self.local(),
            body.len()
        );
        self.send(text.as_bytes());
    }

    /// The callee's side of the dialog that its 200 to `invite` opens.
    pub fn callee_side(&self, invite: &Message) -> DialogSide {
        let get = |name: &str| invite.header(name).unwrap_or_default().to_owned();
        DialogSide {
            call_id: get("Call-ID"),
            local: format!("{};tag=c{}", get("To"), self.local().port()),
            remote: get("From"),
            target: uri_of(&get("Contact")),
            cseq: 100,
            sdp: body_of(invite),
        }
    }

    /// Send the ACK of the 200 to an INVITE. Returns the caller's side of the dialog.
    pub fn send_ack(&mut self, dialling: &PendingInvite, ok: &Message) -> DialogSide {
        let get = |name: &str| ok.header(name).unwrap_or_default().to_owned();
        let side = DialogSide {
            call_id: dialling.call_id.clone(),
            local: dialling.from.clone(),
            remote: get("To"),
            target: uri_of(&get("Contact")),
            cseq: 2,
            sdp: body_of(ok),
        };
        let ack =
            self.request("ACK", &side.target, &side.local, &side.remote, &side.call_id, side.cseq, "", "");
        self.send(ack.as_bytes());
        side
    }

    /// A confirmed call from this phone to another.
    ///
    /// # Panics
    /// If it is not established.
    #[track_caller]
    pub fn call(&mut self, callee: &Raw) -> EstablishedCall {
        let body = self.sdp();
        let dialling = self.invite(&callee.number.clone(), "", &body);
        self.send(dialling.text.as_bytes());
        let invite = callee.expect_request("INVITE");
        callee.answer(&invite, 200, "", &callee.sdp());
        let ok = self.expect_final("INVITE");
        assert_eq!(ok.status(), Some(200), "{}", ok.text);
        let caller = self.send_ack(&dialling, &ok);
        callee.expect_request("ACK");
        EstablishedCall { caller, callee: callee.callee_side(&invite) }
    }

    /// The call is still confirmed: a re-INVITE with the same SDP is answered 200.
    ///
    /// # Panics
    /// If it is not.
    #[track_caller]
    pub fn still_up(&mut self, side: &mut DialogSide) {
        let body = self.sdp();
        let text = self.in_dialog_request(side, "INVITE", "Content-Type: application/sdp\r\n", &body);
        let answer = self.exchange(&text).expect("an answer to the re-INVITE");
        assert_eq!(answer.status(), Some(200), "{}", answer.text);
        let (target, local, remote, id, cseq) =
            (side.target.clone(), side.local.clone(), side.remote.clone(), side.call_id.clone(), side.cseq);
        let ack = self.request("ACK", &target, &local, &remote, &id, cseq, "", "");
        self.send(ack.as_bytes());
    }

    /// End a call from this side.
    ///
    /// # Panics
    /// If BYE is not answered 200.
    #[track_caller]
    pub fn hang_up(&mut self, side: &mut DialogSide) {
        let bye = self.in_dialog_request(side, "BYE", "", "");
        let answer = self.exchange(&bye).expect("an answer to BYE");
        assert_eq!(answer.status(), Some(200), "{}", answer.text);
    }
}

/// An INVITE that is ready to be sent, with the identifiers of its dialog.
#[derive(Debug, Clone)]
pub struct PendingInvite {
    pub text: String,
    pub from: String,
    pub call_id: String,
    pub uri: String,
}

/// The URI within angle brackets, or the whole value.
pub fn uri_of(address: &str) -> String {
    let inner = address.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(uri, _)| uri);
    inner.unwrap_or(address).to_owned()
}

/// The text after the empty line.
pub fn body_of(message: &Message) -> String {
    message.text.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned())
}
