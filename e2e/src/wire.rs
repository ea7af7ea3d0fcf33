//! Hand-written SIP for tests: bytes out, messages in.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

pub use crate::digest::Challenge;
use crate::{Extension, Server};

/// A socket connected to the server.
#[derive(Debug)]
pub enum Wire {
    Udp { socket: UdpSocket, server: SocketAddr },
    Tcp { stream: TcpStream, held: Vec<u8> },
}

/// A received message.
#[derive(Debug, Clone)]
pub struct Message {
    pub text: String,
}

impl Message {
    /// Status of a response.
    pub fn status(&self) -> Option<u16> {
        self.text.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// Method of a request.
    pub fn method(&self) -> Option<&str> {
        (!self.text.starts_with("SIP/2.0")).then(|| self.text.split(' ').next()).flatten()
    }

    /// First value of a header, by its long name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).next()
    }

    /// All lines of a header, by its long name.
    pub fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        let head = self.text.split("\r\n\r\n").next().unwrap_or_default();
        head.lines().skip(1).filter_map(move |line| {
            let (key, value) = line.split_once(':')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

impl Wire {
    /// A UDP socket on a port that the kernel chooses.
    ///
    /// # Panics
    /// If the socket cannot be bound.
    pub fn udp(server: SocketAddr) -> Self {
        Self::udp_from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), server)
    }

    /// A UDP socket on this address.
    ///
    /// # Panics
    /// If the socket cannot be bound.
    pub fn udp_from(local: SocketAddr, server: SocketAddr) -> Self {
        let socket = UdpSocket::bind(local).unwrap_or_else(|error| panic!("{local}: {error}"));
        Self::Udp { socket, server }
    }

    /// A TCP connection.
    ///
    /// # Panics
    /// If the server does not accept it.
    pub fn tcp(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server).expect("the server takes connections");
        stream.set_nodelay(true).expect("no delay");
        Self::Tcp { stream, held: Vec::new() }
    }

    /// # Panics
    /// If the socket has no local address.
    pub fn local(&self) -> SocketAddr {
        match self {
            Self::Udp { socket, .. } => socket.local_addr(),
            Self::Tcp { stream, .. } => stream.local_addr(),
        }
        .expect("a local address")
    }

    pub fn transport(&self) -> &'static str {
        match self {
            Self::Udp { .. } => "UDP",
            Self::Tcp { .. } => "TCP",
        }
    }

    /// Send bytes. Errors of a closed connection are ignored.
    pub fn send(&mut self, bytes: &[u8]) {
        match self {
            Self::Udp { socket, server } => {
                let _ = socket.send_to(bytes, *server);
            }
            Self::Tcp { stream, .. } => {
                let _ = stream.write_all(bytes);
            }
        }
    }

    /// The next message, if one arrives in time.
    pub fn receive(&mut self, limit: Duration) -> Option<Message> {
        let deadline = Instant::now() + limit;
        loop {
            if let Self::Tcp { held, .. } = self
                && let Some(message) = take_message(held)
            {
                return Some(message);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let mut buffer = vec![0_u8; 65536];
            match self {
                Self::Udp { socket, .. } => {
                    let _ = socket.set_read_timeout(Some(left));
                    if let Ok((count, _)) = socket.recv_from(&mut buffer) {
                        return Some(Message {
                            text: String::from_utf8_lossy(&buffer[..count]).into_owned(),
                        });
                    }
                }
                Self::Tcp { stream, held } => {
                    let _ = stream.set_read_timeout(Some(left));
                    match stream.read(&mut buffer) {
                        Ok(0) => return None,
                        Ok(count) => held.extend_from_slice(&buffer[..count]),
                        Err(_) => {}
                    }
                }
            }
        }
    }

    /// The next final response.
    pub fn final_response(&mut self, limit: Duration) -> Option<Message> {
        let deadline = Instant::now() + limit;
        loop {
            let message = self.receive(deadline.saturating_duration_since(Instant::now()))?;
            if message.status().is_some_and(|status| status >= 200) {
                return Some(message);
            }
        }
    }

    /// Whether the server has closed the connection, or does so in time.
    pub fn closes(&mut self, limit: Duration) -> bool {
        let Self::Tcp { stream, .. } = self else { return false };
        let _ = stream.set_read_timeout(Some(limit));
        let mut buffer = [0_u8; 4096];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => {
                    return !matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    );
                }
            }
        }
    }
}

/// Take one message from the front of a stream.
fn take_message(held: &mut Vec<u8>) -> Option<Message> {
    while held.starts_with(b"\r\n") {
        held.drain(..2);
    }
    let head = held.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&held[..head]).into_owned();
    let length = text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        matches!(key.trim().to_ascii_lowercase().as_str(), "content-length" | "l")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    let end = head + length.unwrap_or(0);
    if held.len() < end {
        return None;
    }
    let whole: Vec<u8> = held.drain(..end).collect();
    Some(Message { text: String::from_utf8_lossy(&whole).into_owned() })
}

/// Variable parts of a hand-written REGISTER.
#[derive(Debug, Clone)]
pub struct Register<'a> {
    pub username: &'a str,
    pub password: &'a str,
    /// The user whose address is registered; the own one if `None`.
    pub to: Option<&'a str>,
    /// Header lines for contacts and expiry, each with CRLF.
    pub contacts: String,
    pub call_id: String,
    pub cseq: u32,
}

impl<'a> Register<'a> {
    /// Register the phone's own address.
    pub fn of(extension: &'a Extension, wire: &Wire) -> Self {
        Self {
            username: &extension.username,
            password: &extension.password,
            to: None,
            contacts: format!("Contact: <sip:{}@{}>\r\nExpires: 600\r\n", extension.username, wire.local()),
            call_id: format!("r{}@e2e", wire.local().port()),
            cseq: 1,
        }
    }

    /// The request, with or without credentials.
    pub fn text(&self, wire: &Wire, authorization: Option<&str>) -> String {
        let credentials =
            authorization.map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
        format!(
            "REGISTER sip:localhost SIP/2.0\r\nVia: SIP/2.0/{} {};branch=z9hG4bK{}{}{};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:{}@localhost>;tag=e2e\r\nTo: <sip:{}@localhost>\r\nCall-ID: {}\r\nCSeq: {} REGISTER\r\n{}{credentials}\
             Content-Length: 0\r\n\r\n",
            wire.transport(),
            wire.local(),
            self.cseq,
            if authorization.is_some() { "a" } else { "n" },
            self.call_id,
            self.username,
            self.to.unwrap_or(self.username),
            self.call_id,
            self.cseq,
            self.contacts,
        )
    }

    /// Send it with authentication. Returns the final response.
    ///
    /// # Panics
    /// If the server does not respond or does not challenge.
    #[track_caller]
    pub fn send(mut self, wire: &mut Wire) -> Message {
        let limit = Duration::from_secs(5);
        wire.send(self.text(wire, None).as_bytes());
        let first = wire.final_response(limit).expect("an answer to REGISTER");
        let challenge = first.header("WWW-Authenticate").and_then(Challenge::parse);
        let challenge = challenge.unwrap_or_else(|| panic!("a challenge was expected:\n{}", first.text));
        self.cseq += 1;
        let answer = challenge.answer(self.username, self.password, "REGISTER", "sip:localhost", 1);
        wire.send(self.text(wire, Some(&answer)).as_bytes());
        wire.final_response(limit).expect("an answer to the authenticated REGISTER")
    }
}

/// Register a contact for a phone that will listen on `port`, from that port, as the phone would.
///
/// # Panics
/// If the server rejects it.
#[track_caller]
pub fn register_port(server: &Server, extension: &Extension, port: u16) {
    let mut wire = Wire::udp_from(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), server.sip());
    let answer = Register::of(extension, &wire).send(&mut wire);
    assert_eq!(answer.status(), Some(200), "{}", answer.text);
}

/// A hand-written INVITE and the parameters of its transaction.
#[derive(Debug, Clone)]
pub struct Invite {
    pub uri: String,
    username: String,
    local: SocketAddr,
    transport: &'static str,
}

impl Invite {
    pub fn of(caller: &Extension, number: &str, wire: &Wire) -> Self {
        Self {
            uri: format!("sip:{number}@localhost"),
            username: caller.username.clone(),
            local: wire.local(),
            transport: wire.transport(),
        }
    }

    /// The request with this CSeq, with or without credentials.
    pub fn text(&self, cseq: u32, authorization: Option<&str>) -> String {
        let body = format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {} RTP/AVP 0\r\n",
            self.local.port() & !1
        );
        let credentials =
            authorization.map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
        let more = format!("{credentials}Content-Type: application/sdp\r\n");
        self.request("INVITE", cseq, "", &more, &body)
    }

    /// The ACK of an error response: in the transaction of its INVITE (RFC 3261 §17.1.1.3).
    pub fn ack(&self, cseq: u32, refusal: &Message) -> String {
        let tag = refusal.header("To").and_then(|to| to.split_once(";tag=")).map_or("", |(_, tag)| tag);
        self.request("ACK", cseq, &format!(";tag={tag}"), "", "")
    }

    pub fn cancel(&self, cseq: u32) -> String {
        self.request("CANCEL", cseq, "", "", "")
    }

    fn request(&self, method: &str, cseq: u32, to_tag: &str, more: &str, body: &str) -> String {
        let (uri, username, local, transport) = (&self.uri, &self.username, self.local, self.transport);
        let port = local.port();
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{transport} {local};branch=z9hG4bKi{port}n{cseq};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{username}@localhost>;tag=i{port}\r\nTo: <{uri}>{to_tag}\r\n\
             Call-ID: i{port}@e2e\r\nCSeq: {cseq} {method}\r\nContact: <sip:{username}@{local}>\r\n{more}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}

/// An OPTIONS as a monitoring system sends it.
pub fn options(wire: &Wire, number: u32) -> String {
    let (transport, local) = (wire.transport(), wire.local());
    format!(
        "OPTIONS sip:localhost SIP/2.0\r\nVia: SIP/2.0/{transport} {local};branch=z9hG4bKalive{number};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:monitor@localhost>;tag=m{number}\r\nTo: <sip:localhost>\r\nCall-ID: alive{number}-{}@e2e\r\n\
         CSeq: {number} OPTIONS\r\nContact: <sip:monitor@{local}>\r\nContent-Length: 0\r\n\r\n",
        local.port()
    )
}

/// Whether the server answers an OPTIONS over UDP within a second. Datagrams may be lost, so three are sent.
pub fn alive(server: SocketAddr) -> bool {
    let mut wire = Wire::udp(server);
    (1..=3).any(|number| {
        wire.send(options(&wire, number).as_bytes());
        wire.final_response(Duration::from_secs(1)).is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_cut_into_messages() {
        let mut held = b"\r\nSIP/2.0 200 OK\r\nContent-Length: 3\r\n\r\nabcSIP/2.0 100 Try".to_vec();
        let message = take_message(&mut held).unwrap();
        assert_eq!((message.status(), message.text.ends_with("abc")), (Some(200), true));
        assert!(take_message(&mut held).is_none());
    }
}
