//! A peer without an account: it guesses passwords, sends datagrams that are not SIP, and SIP requests that match no dialog.

use base::{Rng, Secret};
use bytes::Bytes;
use sip::{HeaderName, Message};

use crate::rng_ext::RngExt;
use crate::site::DOMAIN;

/// State of the attacker.
#[derive(Debug)]
pub(crate) struct Attacker {
    rng: Rng,
    address: std::net::SocketAddr,
    /// The last digest challenge that it received.
    challenge: Option<String>,
    cseq: u32,
}

impl Attacker {
    pub(crate) fn new(address: std::net::SocketAddr, rng: Rng) -> Attacker {
        Attacker { rng, address, challenge: None, cseq: 0 }
    }

    /// Handle a received datagram. `Err` if the attacker got a request or a 2xx that only an authenticated peer may get.
    pub(crate) fn on_datagram(&mut self, bytes: &Bytes) -> Result<(), String> {
        let Ok(message) = Message::parse(bytes.clone()) else { return Ok(()) };
        if let Some(challenge) = message.header(HeaderName::WwwAuthenticate) {
            self.challenge = Some(challenge.to_string());
        }
        let got_in = message.status().is_some_and(|s| (200..300).contains(&s))
            && matches!(
                message.cseq().method,
                sip::Method::Register | sip::Method::Invite | sip::Method::Bye
            );
        if got_in || message.status().is_none() {
            return Err(format!("the attacker got {:?}", String::from_utf8_lossy(bytes)));
        }
        Ok(())
    }

    /// The next datagram to send.
    pub(crate) fn next_datagram(&mut self) -> Bytes {
        match self.rng.below(10) {
            0 => Bytes::from_static(b"\r\n\r\n"),
            1 => {
                let mut noise = vec![0; self.rng.below(400) as usize];
                self.rng.fill(&mut noise);
                noise.into()
            }
            2 => self.response(),
            3..6 => self.guess(),
            6 | 7 => self.mangled(),
            _ => {
                let method =
                    *self.rng.pick(&["OPTIONS", "INVITE", "BYE", "CANCEL", "ACK", "PRACK", "NOTIFY", "FOO"]);
                self.request(method, "")
            }
        }
    }

    fn guess(&mut self) -> Bytes {
        let uri = format!("sip:{DOMAIN}");
        let guess = Secret::new(self.rng.base36(6));
        let user = *self.rng.pick(&["phone1001", "1002", "nobody", "phone1003"]);
        let line = self.challenge.clone().and_then(|challenge| {
            sip::digest::answer(&challenge, None, "REGISTER", &uri, user, &guess, &mut self.rng)
        });
        let line = line.map_or(String::new(), |answer| format!("Authorization: {answer}\r\n"));
        self.request("REGISTER", &line)
    }

    fn request(&mut self, method: &str, lines: &str) -> Bytes {
        self.cseq += 1;
        let user = *self.rng.pick(&["1001", "1002", "*43", "phone1003"]);
        let uri = if method == "REGISTER" { format!("sip:{DOMAIN}") } else { format!("sip:{user}@{DOMAIN}") };
        let tag = if self.rng.odds(30) { format!(";tag={}", self.rng.base36(6)) } else { String::new() };
        Bytes::from(format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch=z9hG4bK{branch};rport\r\nMax-Forwards: 70\r\n\
             From: <sip:{user}@{DOMAIN}>;tag=i\r\nTo: <sip:{user}@{DOMAIN}>{tag}\r\nCall-ID: {id}\r\n\
             CSeq: {cseq} {method}\r\nContact: <sip:{user}@{address}>\r\nExpires: 600\r\n{lines}Content-Length: 0\r\n\r\n",
            address = self.address,
            branch = self.rng.base36(8),
            id = self.rng.base36(8),
            cseq = self.cseq,
        ))
    }

    fn response(&mut self) -> Bytes {
        Bytes::from(format!(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bK{}\r\nFrom: <sip:1@a>;tag=1\r\n\
             To: <sip:2@b>;tag=2\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n",
            self.rng.base36(8)
        ))
    }

    /// A request with some bytes changed, cut or repeated.
    fn mangled(&mut self) -> Bytes {
        let method = *self.rng.pick(&["INVITE", "REGISTER", "OPTIONS"]);
        let mut bytes = self.request(method, "").to_vec();
        for _ in 0..=self.rng.below(4) {
            let at = self.rng.below(bytes.len() as u64) as usize;
            match self.rng.below(3) {
                0 => bytes[at] = self.rng.below(256) as u8,
                1 => bytes.truncate(at.max(1)),
                _ => {
                    let part = bytes[at..].to_vec();
                    bytes.extend_from_slice(&part);
                }
            }
        }
        bytes.into()
    }
}
