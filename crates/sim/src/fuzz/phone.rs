//! Messages of the fuzzed phones: valid and nearly valid ones.

use base::Secret;
use bytes::Bytes;
use sip::{Contacts, HeaderName, Message};

use super::script::Script;
use super::{Harness, address, local};
use crate::site::{DOMAIN, Site};

impl Harness {
    fn authorization(&mut self, n: usize, method: &str, uri: &str) -> String {
        let account = Site::account(n);
        let Some(challenge) = self.phones.get(&address(n)).and_then(|p| p.challenge.clone()) else {
            return String::new();
        };
        let password: &Secret<String> = &account.password;
        sip::digest::answer(&challenge, None, method, uri, &account.login, password, &mut self.rng)
            .map_or(String::new(), |answer| format!("Authorization: {answer}\r\n"))
    }

    fn compose(&mut self, n: usize, parts: &RequestParts<'_>) -> Bytes {
        let body = parts.body.as_deref().unwrap_or_default();
        let kind = if parts.body.is_some() { "Content-Type: application/sdp\r\n" } else { "" };
        let branch = parts.branch.clone().unwrap_or_else(|| format!("z9hG4bK{}", self.rng.base36(10)));
        Bytes::from(format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch={branch};rport\r\nMax-Forwards: 70\r\n\
             From: {from}\r\nTo: {to}\r\nCall-ID: {id}\r\nCSeq: {cseq} {method}\r\nContact: <sip:p@{address}>\r\n\
             {lines}{kind}Content-Length: {length}\r\n\r\n{body}",
            method = parts.method,
            uri = parts.uri,
            address = address(n),
            from = parts.from,
            to = parts.to,
            id = parts.call_id,
            cseq = parts.cseq,
            lines = parts.lines,
            length = body.len(),
        ))
    }

    fn next_cseq(&mut self, n: usize) -> u32 {
        let state = self.phones.entry(address(n)).or_default();
        state.cseq += 1;
        state.cseq
    }

    pub(super) fn register(&mut self, n: usize, script: &mut Script<'_>) {
        let user = Site::account(n).user;
        let uri = format!("sip:{DOMAIN}");
        let authorization = self.authorization(n, "REGISTER", &uri);
        let expires = *script.pick(&["60", "3600", "0", "30", "99999999999", "x"]);
        let lines = match script.byte() % 8 {
            0 => format!("Expires: {expires}\r\nContact: *\r\n{authorization}"),
            1 => format!("Expires: {expires}\r\nPath: <sip:10.0.0.77;lr>\r\n{authorization}"),
            2 => format!(
                "Contact: <sip:a@10.0.0.{}>;q=0.3;expires={expires}\r\n{authorization}",
                script.byte()
            ),
            3 => format!("Expires: {expires}\r\n"),
            _ => format!("Expires: {expires}\r\n{authorization}"),
        };
        let parts = RequestParts {
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
        let text = self.compose(n, &parts);
        self.send(n, text);
    }

    pub(super) fn invite(&mut self, n: usize, script: &mut Script<'_>) {
        let user = Site::account(n).user;
        let numbers = Site::numbers();
        let uri = format!("sip:{}@{DOMAIN}", script.pick(&numbers));
        let authorization = self.authorization(n, "INVITE", &uri);
        let extras = script.pick(&[
            "",
            "Supported: 100rel, timer\r\n",
            "Require: 100rel\r\n",
            "Session-Expires: 90\r\nSupported: timer\r\n",
            "Require: unheard-of\r\n",
            "Session-Expires: 1\r\nSupported: timer\r\n",
        ]);
        let lines = format!("{extras}Allow: INVITE, ACK, BYE, CANCEL, UPDATE, PRACK\r\n{authorization}");
        let parts = RequestParts {
            method: "INVITE",
            uri: &uri,
            branch: None,
            from: format!("<sip:{user}@{DOMAIN}>;tag=c{n}"),
            to: format!("<{uri}>"),
            call_id: format!("c{n}-{}", script.byte() % 8),
            cseq: self.next_cseq(n),
            lines: &lines,
            body: sdp(script),
        };
        let text = self.compose(n, &parts);
        if let (Ok(invite), Some(phone)) = (Message::parse(text.clone()), self.phones.get_mut(&address(n))) {
            phone.invite = Some(invite);
        }
        self.send(n, text);
    }

    /// A response to the last request that the phone received.
    pub(super) fn respond(&mut self, n: usize, script: &mut Script<'_>) {
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
        let to = request.header(HeaderName::To).unwrap_or_default();
        let to = if request.to_tag().is_empty() { format!("{to};tag={tag}") } else { to.to_string() };
        let body = sdp(script);
        let text = body.clone().unwrap_or_default();
        let header = |name| request.header(name).unwrap_or_default();
        let kind = if body.is_some() { "Content-Type: application/sdp\r\n" } else { "" };
        let answer = format!(
            "SIP/2.0 {status} X\r\nVia: {}\r\nFrom: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\nContact: <sip:p@{}>\r\n\
             Allow: INVITE, ACK, BYE, UPDATE\r\n{lines}{kind}Content-Length: {}\r\n\r\n{text}",
            header(HeaderName::Via),
            header(HeaderName::From),
            header(HeaderName::CallId),
            header(HeaderName::CSeq),
            address(n),
            text.len(),
        );
        self.send(n, answer.into());
    }

    /// ACK of the last response (of a 2xx or of a final error), PRACK, or CANCEL of the last INVITE.
    pub(super) fn acknowledge(&mut self, n: usize, script: &mut Script<'_>) {
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
        let parts = RequestParts {
            method,
            uri: &target,
            branch: (method == "CANCEL" || variant & 4 == 0).then_some(same),
            from: invite.header(HeaderName::From).unwrap_or_default().into(),
            to: answer.header(HeaderName::To).unwrap_or_default().into(),
            call_id: invite.call_id().into(),
            cseq,
            lines: &lines,
            body: if variant & 8 == 0 { None } else { sdp(script) },
        };
        let text = self.compose(n, &parts);
        self.send(n, text);
    }

    /// A request in the dialog of the last request or response that the phone received.
    pub(super) fn in_dialog(&mut self, n: usize, script: &mut Script<'_>) {
        let Some(phone) = self.phones.get(&address(n)) else { return };
        let variant = script.byte();
        let received = if variant & 1 == 0 { &phone.request } else { &phone.answer };
        let Some(received) = received.clone() else { return };
        let header = |name| received.header(name).unwrap_or_default().to_string();
        // Our identity is To of a received request, and From of a received response.
        let (mut from, to) = match received.status() {
            None => (header(HeaderName::To), header(HeaderName::From)),
            Some(_) => (header(HeaderName::From), header(HeaderName::To)),
        };
        if received.status().is_none() && received.to_tag().is_empty() {
            from.push_str(&format!(";tag=p{}", variant >> 6));
        }
        let method =
            *script.pick(&["BYE", "INVITE", "UPDATE", "INFO", "OPTIONS", "PRACK", "REFER", "NOTIFY", "FOO"]);
        let target = target(&received).unwrap_or_else(|| format!("sip:{}", local()));
        let cseq = self.next_cseq(n).wrapping_mul(u32::from(variant >> 5) + 1) & 0x7fff_ffff;
        let lines = *script.pick(&[
            "",
            "RAck: 1 1 INVITE\r\n",
            "Session-Expires: 20\r\nSupported: timer\r\n",
            "Require: x\r\n",
        ]);
        let parts = RequestParts {
            method,
            uri: &target,
            branch: None,
            from,
            to,
            call_id: received.call_id().into(),
            cseq,
            lines,
            body: sdp(script),
        };
        let text = self.compose(n, &parts);
        self.send(n, text);
    }

    /// The last packet again, with some bytes changed.
    pub(super) fn mangled(&mut self, n: usize, script: &mut Script<'_>) {
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
}

struct RequestParts<'a> {
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

fn sdp(script: &mut Script<'_>) -> Option<String> {
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
    message.number(HeaderName::RSeq).and_then(Result::ok).unwrap_or(1)
}
