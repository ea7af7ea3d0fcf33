//! Properties of the SIP parser and serialiser.

use base::{Instant, Rng, Secret};
use bytes::Bytes;
use centralita_sip::digest::{Credentials, Freshness, Ha1, Nonces, answer};
use centralita_sip::{
    Contacts, Flow, Frame, Framer, HeaderName, Hop, Message, NameAddr, Reply, Transport, Uri,
};

fn source() -> Hop {
    Hop {
        transport: Transport::Udp,
        listener: 0,
        local: ([192, 0, 2, 1], 5060).into(),
        remote: ([203, 0, 113, 9], 40_000).into(),
        flow: Flow::default(),
    }
}

/// A datagram is parsed, rejected with a response, or dropped; no text of the peer starts a header line in a response.
pub fn datagram(data: &[u8]) {
    match Message::parse(Bytes::copy_from_slice(data)) {
        Ok(message) => {
            assert!(!message.call_id().is_empty());
            assert!(message.cseq().number < 1 << 31 && !message.method().as_str().is_empty());
            check_accessors(&message);
            let text = check_response(&message);
            if data.len() < 60_000 && message.status().is_none() {
                let again =
                    Message::parse(text).unwrap_or_else(|error| panic!("our own answer: {}", error.what));
                assert_eq!((again.call_id(), again.cseq()), (message.call_id(), message.cseq()));
                assert_eq!(
                    (again.from_tag(), again.via().branch),
                    (message.from_tag(), message.via().branch)
                );
                assert!(!again.to_tag().is_empty());
            }
        }
        Err(error) => {
            assert!((400..600).contains(&error.status));
            if let Some(message) = error.answerable {
                assert!(message.status().is_none());
                check_accessors(&message);
                check_response(&message);
            }
        }
    }
}

/// Calls every accessor and checks its result.
fn check_accessors(message: &Message) {
    let _ = (message.via(), message.from(), message.to(), message.uri().map(ToString::to_string));
    for (name, value) in message.all_headers() {
        assert!(!name.is_empty() && name.len() + value.len() <= message.bytes().len());
        let _ = std::str::from_utf8(name).map(|name| message.header_named(name));
    }
    for name in [
        HeaderName::Route,
        HeaderName::RecordRoute,
        HeaderName::Contact,
        HeaderName::Path,
        HeaderName::ReferTo,
    ] {
        let _ = message.addresses(name);
    }
    for name in [HeaderName::Expires, HeaderName::MaxForwards, HeaderName::RSeq, HeaderName::SessionExpires] {
        let _ = message.number(name);
    }
    for name in [HeaderName::Supported, HeaderName::Require, HeaderName::Allow] {
        assert!(message.tokens(name).all(|token| token.trim() == token && !token.is_empty()));
        let _ = message.header_lines(name).count();
    }
    if let Ok(Contacts::List(list)) = message.contacts() {
        assert!(!list.is_empty());
        for addr in list {
            assert!(!addr.display.contains(char::is_control) && addr.uri == addr.uri.clone());
        }
    }
    assert!(message.body().len() <= message.bytes().len());
    if let Ok(parts) = message.body_parts() {
        let sizes = parts.others.iter().map(|part| part.body.len()).chain(parts.sdp.as_ref().map(Bytes::len));
        assert!(sizes.sum::<usize>() <= message.body().len());
        assert_eq!(message.sdp(), Ok(parts.sdp));
    }
    if let Some(credentials) = message.header(HeaderName::Authorization).and_then(Credentials::parse) {
        let _ = credentials.prove(message.method().as_str(), &Ha1::new("u", "r", "p"));
    }
}

/// The 400 response to a message; each of its lines is one that responses copy.
fn check_response(message: &Message) -> Bytes {
    let text = Reply::new(400).to(message, Some(&source()), Some("ours"));
    let head = text.strip_suffix(b"\r\n\r\n").expect("an end");
    for (i, line) in head.split(|&b| b == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let begins = |with: &str| line.starts_with(with.as_bytes());
        assert!(!line.contains(&b'\r'));
        assert!(
            i == 0
                || ["Via: ", "From: ", "To: ", "Call-ID: ", "CSeq: ", "Content-Length: 0"]
                    .iter()
                    .any(|with| begins(with)),
            "{}",
            line.escape_ascii()
        );
    }
    text
}

/// A stream gives the same frames however it is split, and a frame parses with the body that the framer cut. The first input byte determines the
/// split.
pub fn stream(data: &[u8]) {
    let Some((&cut, text)) = data.split_first() else { return };
    let whole = frames(&[text]);
    let parts: Vec<&[u8]> = text.chunks(usize::from(cut % 61) + 1).collect();
    assert_eq!(whole, frames(&parts));
}

fn frames(parts: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut framer = Framer::default();
    let mut out = Vec::new();
    for part in parts {
        framer.push(part);
        while let Some(frame) = framer.next() {
            out.push(match frame {
                Frame::Message(bytes) => {
                    if let Ok(message) = Message::parse(bytes.clone()) {
                        assert!(
                            bytes.ends_with(&message.body())
                                && message.header(HeaderName::ContentLength).is_some()
                        );
                    }
                    bytes.to_vec()
                }
                Frame::Ping => b"ping".to_vec(),
                Frame::Pong => b"pong".to_vec(),
                Frame::Broken { answer, why } => {
                    [why.as_bytes(), answer.as_deref().unwrap_or_default()].concat()
                }
            });
        }
    }
    out
}

/// A URI is kept as written, its parts are substrings, and equality is reflexive and symmetric. A line feed separates two URIs.
pub fn uri(data: &[u8]) {
    let texts: Vec<Bytes> = data.splitn(2, |&b| b == b'\n').map(Bytes::copy_from_slice).collect();
    let uris: Vec<Uri> = texts.iter().filter_map(|text| Uri::parse(text.clone()).ok()).collect();
    for uri in &uris {
        let text = uri.to_string();
        assert_eq!(text.as_bytes(), uri.as_bytes());
        assert!(Uri::parse(Bytes::from(text.clone())).is_ok_and(|again| again == *uri));
        assert!(text.contains(uri.host()));
        let _ = (uri.scheme(), uri.port(), uri.param("transport"), uri.has_headers());
        if let Some(user) = uri.user().filter(|user| !user.is_empty()) {
            let made = Uri::sip_at(Some(&user), "h");
            assert_eq!(made.user().as_deref(), Some(&*user));
        }
        let bracketed = NameAddr::parse(Bytes::from(format!("<{text}>;tag=x"))).expect("a URI in brackets");
        assert_eq!((bracketed.tag(), &bracketed.uri), (Some("x"), uri));
    }
    if let [a, b] = uris.as_slice() {
        let (there, back) = (a == b, b == a);
        assert_eq!(there, back);
    }
    for text in texts {
        if let Some(addr) = NameAddr::parse(text) {
            assert!(!addr.display.contains(char::is_control));
            let _ = (addr.param("q"), addr.tag());
        }
    }
}

/// Credentials and challenges are parsed or rejected; an answer to a challenge verifies with the same password.
pub fn digest(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let ha1 = Ha1::new("u", "r", "p");
    if let Some(credentials) = Credentials::parse(text) {
        let _ = credentials.prove("REGISTER", &ha1);
        let mut nonces = Nonces::new(&mut Rng::from_number(1));
        let now = Instant::from_micros(1_000_000);
        assert_ne!(nonces.check(now, credentials.nonce), Freshness::Fresh);
        let _ = nonces.spend(now, credentials.nonce, credentials.count);
    }
    let secret = Secret::new("p".to_owned());
    let Some(line) = answer(text, Some("r"), "REGISTER", "sip:h", "u", &secret, &mut Rng::from_number(2))
    else {
        return;
    };
    assert!(!line.contains(|c: char| c.is_ascii_control()));
    if line.contains(", qop=auth, nc=00000001") && line.len() <= centralita_sip::limits::CREDENTIALS_BYTES {
        let credentials = Credentials::parse(&line).expect("our own credentials");
        assert!(credentials.prove("REGISTER", &ha1), "{line}");
    }
}
