//! Serialised responses, and round trips through the parser.

use bytes::Bytes;
use proptest::prelude::*;

use super::{Headers, Quoted, Reply, finish, number, response};
use crate::{Flow, HeaderName, Hop, Message, Method, Transport, Uri};

fn hop(remote: &str) -> Hop {
    Hop {
        transport: Transport::Udp,
        listener: 0,
        local: "192.0.2.1:5060".parse().unwrap(),
        remote: remote.parse().unwrap(),
        flow: Flow::default(),
    }
}

fn invite(via: &str) -> Message {
    let text = format!(
        "INVITE sip:1002@h SIP/2.0\r\nv: {via}\r\nVia: SIP/2.0/TCP\r\n  edge;branch=z9hG4bKtwo\r\nRecord-Route: <sip:edge;lr>\r\n\
         f: \"A\"\r\n <sip:1001@h>;tag=a\r\nTo: <sip:1002@h>\r\nCall-ID: c\r\nTimestamp: 7\r\nCSeq: 1 INVITE\r\nl: 0\r\n\r\n"
    );
    Message::parse(text.into()).unwrap()
}

fn answered(request: &Message, source: Option<&Hop>, reply: Reply<'_>) -> String {
    let mut out = Vec::new();
    response(request, source, reply, Some("ours"), Some("Centralita"), &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_response_copies_its_fields_and_adds_received_and_rport() {
    let request = invite("SIP/2.0/UDP 10.0.0.9:5071;rport;branch=z9hG4bKone;x=\"y;z\", SIP/2.0/UDP further");
    let mut lines = Headers::new();
    lines.add("Contact", "<sip:1002@192.0.2.1>");
    let reply = Reply { body: Some(("application/sdp", b"v=0\r\n")), ..Reply::new(200).lines(&lines) };
    assert_eq!(
        answered(&request, Some(&hop("203.0.113.5:40000")), reply),
        "SIP/2.0 200 OK\r\n\
         Via: SIP/2.0/UDP 10.0.0.9:5071;branch=z9hG4bKone;x=\"y;z\";rport=40000;received=203.0.113.5, SIP/2.0/UDP further\r\n\
         Via: SIP/2.0/TCP edge;branch=z9hG4bKtwo\r\nRecord-Route: <sip:edge;lr>\r\nFrom: \"A\" <sip:1001@h>;tag=a\r\n\
         To: <sip:1002@h>;tag=ours\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nServer: Centralita\r\nContact: <sip:1002@192.0.2.1>\r\n\
         Content-Type: application/sdp\r\nContent-Length: 5\r\n\r\nv=0\r\n"
    );
    let trying = answered(&request, Some(&hop("203.0.113.5:40000")), Reply::new(100));
    assert!(
        !trying.contains("tag=ours")
            && !trying.contains("Record-Route")
            && trying.contains("Timestamp: 7\r\n")
    );
    let refused =
        answered(&request, Some(&hop("203.0.113.5:40000")), Reply::new(486).phrase("On\r\nthe phone"));
    assert!(refused.starts_with("SIP/2.0 486 On\r\nVia") && !refused.contains("Record-Route"));
}

#[test]
fn received_comes_from_the_socket_only() {
    for (via, remote, written) in [
        ("SIP/2.0/UDP 192.0.2.7;branch=b", "192.0.2.7:5060", "SIP/2.0/UDP 192.0.2.7;branch=b\r"),
        (
            "SIP/2.0/UDP 192.0.2.7 ; branch=b",
            "192.0.2.8:5060",
            "SIP/2.0/UDP 192.0.2.7;branch=b;received=192.0.2.8\r",
        ),
        (
            "SIP/2.0/UDP phone;received=6.6.6.6;branch=b",
            "192.0.2.8:9",
            "SIP/2.0/UDP phone;branch=b;received=192.0.2.8\r",
        ),
        (
            "SIP/2.0/UDP h;rport=1;branch=b",
            "192.0.2.8:9",
            "SIP/2.0/UDP h;branch=b;rport=9;received=192.0.2.8\r",
        ),
        ("SIP/2.0/UDP [2001:DB8:0::7];branch=b", "[2001:db8::7]:9", "SIP/2.0/UDP [2001:DB8:0::7];branch=b\r"),
        ("SIP/2.0/UDP 192.0.2.7;branch=b", "[::ffff:192.0.2.7]:9", "SIP/2.0/UDP 192.0.2.7;branch=b\r"),
    ] {
        let text = answered(&invite(via), Some(&hop(remote)), Reply::new(200)); // RFC 3581 §4
        assert!(text.contains(&format!("Via: {written}")), "{text}");
        assert!(answered(&invite(via), None, Reply::new(200)).contains(&format!("Via: {via}\r\n")));
    }
}

#[test]
fn a_response_to_a_malformed_request_copies_what_exists_and_no_injected_line() {
    let text = "INVITE sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h;;,;\r\nFrom: \"x\rVia: y\nz\" <sip:a@h>\r\nCSeq: 1 INVITE\r\n\r\n";
    let error = Message::parse(Bytes::from_static(text.as_bytes())).unwrap_err();
    let answer =
        answered(&error.answerable.unwrap(), Some(&hop("192.0.2.8:9")), Reply::new(400).phrase(error.what));
    assert_eq!(
        answer,
        "SIP/2.0 400 Bad Via\r\nVia: SIP/2.0/UDP h;;,;\r\nFrom: \"x Via: y z\" <sip:a@h>\r\nCSeq: 1 INVITE\r\n\
         Server: Centralita\r\nContent-Length: 0\r\n\r\n"
    );
}

#[test]
fn a_value_cannot_start_a_header_line() {
    let mut lines = Headers::new();
    lines.add("Subject", "one\r\nVia: forged").add("X\r\nY", "z").add("N", 7);
    assert_eq!(lines.as_bytes(), b"Subject: one\r\nN: 7\r\n"); // security.md row 26
    lines.clear();
    lines.add("From", format_args!("{} <sip:1@h>", Quoted("A \"b\\\r\n\u{7f}c")));
    assert_eq!(lines.as_bytes(), b"From: \"A \\\"b\\\\c\" <sip:1@h>\r\n");
}

#[test]
fn numbers_are_written_in_full() {
    for n in [0, 7, 10, 5060, u64::MAX] {
        let mut out = Vec::new();
        number(&mut out, n);
        assert_eq!(out, n.to_string().as_bytes());
    }
}

proptest! {
    /// A message that we serialise parses to the same values.
    #[test]
    fn written_messages_parse_to_the_same_values(
        method in prop_oneof![Just(Method::Invite), Just(Method::Register), Just(Method::Other(Bytes::from_static(b"NEW-1")))],
        user in "\\PC{1,12}", call_id in "[!-~]{1,20}", tag in "[a-z0-9]{1,8}", cseq in 0u32..1 << 31,
        values in prop::collection::vec("\\PC{0,20}", 0..6), body in prop::collection::vec(any::<u8>(), 0..80), status in 101u16..700,
    ) {
        let uri = Uri::sip(Some(&user), "[2001:db8::1]:5060".parse().unwrap(), None);
        let (from, to, hop) = (format!("{} <{uri}>;tag={tag}", Quoted(&user)), format!("<{uri}>"), hop("[2001:db8::2]:9"));
        let mut lines = Headers::new();
        for value in &values {
            lines.add("X-Value", value);
        }
        let mut out = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP [2001:db8::1]:5060;rport;branch=z9hG4bKx\r\nMax-Forwards: 70\r\nFrom: {from}\r\n\
             To: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n"
        ).into_bytes();
        out.extend_from_slice(lines.as_bytes());
        finish(&mut out, Some(("text/plain", &body)));
        let read = Message::parse(Bytes::from(out)).unwrap();
        prop_assert_eq!(read.method(), &method);
        prop_assert_eq!(read.uri().unwrap().as_bytes(), uri.as_bytes());
        prop_assert_eq!(read.from().display, user);
        prop_assert_eq!((read.from_tag(), read.to_tag(), read.call_id()), (tag.as_str(), "", call_id.as_str()));
        prop_assert_eq!((read.cseq().number, read.number(HeaderName::MaxForwards)), (cseq, Some(Ok(70))));
        prop_assert_eq!(read.body(), body.clone());
        let written: Vec<&[u8]> = read.all_headers().filter(|(name, _)| *name == b"X-Value").map(|(_, value)| value).collect();
        let meant: Vec<&[u8]> = values.iter().map(|value| value.trim_matches(' ').as_bytes()).collect();
        prop_assert_eq!(written, meant);

        let mut out = Vec::new();
        let reply = Reply { body: Some(("text/plain", &body)), ..Reply::new(status).lines(&lines) };
        response(&read, Some(&hop), reply, Some("ours"), None, &mut out);
        let answer = Message::parse(Bytes::from(out)).unwrap();
        prop_assert_eq!((answer.status(), answer.to_tag(), answer.from_tag()), (Some(status), "ours", tag.as_str()));
        prop_assert_eq!((answer.cseq(), answer.call_id()), (read.cseq(), read.call_id()));
        prop_assert_eq!((answer.via().branch, answer.via().rport), (read.via().branch, Some(Some(9))));
        prop_assert_eq!(answer.body(), body);
    }
}
