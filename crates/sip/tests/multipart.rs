//! SDP in multipart bodies, in every message that may carry SDP, and the other parts (RFC 5621).

use crate::network;

use base::Secret;
use bytes::Bytes;
use centralita_sip::digest::Account;
use centralita_sip::{BodyPart, BodyParts, HeaderName, Headers, Message};
use network::*;

const PIDF: &str = "<presence entity=\"pres:1002@localhost\"/>";
/// An ISUP message: binary, with a CRLF and two hyphens in it.
const ISUP: &[u8] = b"\x01\x00\xff\r\n--\x80\n";

/// Location, SDP and ISUP, as an emergency call over a SIP-I trunk would have them.
fn multipart(sdp: &[u8]) -> Vec<u8> {
    [
        b"preamble\r\n--a=b\r\nContent-Type: application/pidf+xml\r\nContent-ID: <target@localhost>\r\n\r\n",
        PIDF.as_bytes(),
        b"\r\n--a=b  \r\ncontent-type :\r\n application/SDP;charset=utf-8\r\n\r\n",
        sdp,
        b"\r\n--a=b\r\nContent-Type: application/ISUP;version=itu-t92+\r\nContent-Disposition: signal;handling=optional\r\n\r\n",
        ISUP,
        b"\r\n--a=b--\r\nepilogue",
    ]
    .concat()
}

/// The message with the Content-Type of its body replaced.
fn retyped(message: &[u8], content_type: &str) -> Vec<u8> {
    let sdp = b"Content-Type: application/sdp\r\n";
    let at = message.windows(sdp.len()).position(|window| window == sdp).unwrap();
    [&message[..at], format!("Content-Type: {content_type}\r\n").as_bytes(), &message[at + sdp.len()..]]
        .concat()
}

fn mixed(message: &[u8]) -> Vec<u8> {
    retyped(message, "Multipart/Mixed;charset=\"a;b\"; boundary=\"a=b\"")
}

fn peer_request(method: &str, cseq: u32, to_tag: &str, lines: &str, sdp: &[u8]) -> Vec<u8> {
    let (branch, body) = (format!("{method}{cseq}"), multipart(sdp));
    mixed(&request(&PeerRequest { method, branch: &branch, cseq, to_tag, lines, body: &body }))
}

fn peer_response(request: &Message, status: u16, lines: &str, sdp: &[u8]) -> Vec<u8> {
    let lines = format!("Contact: <sip:1002@10.0.0.2>\r\nAllow: INVITE, UPDATE\r\n{lines}");
    mixed(&respond(request, status, "peer", &lines, &multipart(sdp)))
}

/// An INVITE with this body.
fn invite(content_type: &str, body: &[u8]) -> Message {
    let invite =
        request(&PeerRequest { method: "INVITE", branch: "1", cseq: 1, to_tag: "", lines: "", body });
    Message::parse(retyped(&invite, content_type).into()).unwrap()
}

fn parts(content_type: &str, body: &[u8]) -> Result<BodyParts, u16> {
    invite(content_type, body).body_parts()
}

fn header_lines(part: &BodyPart) -> &str {
    std::str::from_utf8(part.headers.as_bytes()).unwrap()
}

#[test]
fn sdp_in_the_invite_and_in_ack_prack_update_and_reinvite_is_used() {
    let mut world = World::scripted();
    world.peer_sends(B, A, peer_request("INVITE", 1, "", "Supported: 100rel\r\nAllow: UPDATE\r\n", OFFER));
    world.run(ms(50));
    world.progress(A, 183, Some(ANSWER));
    world.run(ms(50));
    let early = world.last_received(B, "183 INVITE");
    assert_eq!(early.body(), ANSWER, "the offer was found");
    let tag = early.to_tag().to_owned();
    let rack = format!("RAck: {} 1 INVITE\r\n", early.number(HeaderName::RSeq).unwrap().unwrap());
    let leg = world.leg(A);
    for (method, cseq, lines) in [("PRACK", 2, rack.as_str()), ("UPDATE", 3, "")] {
        world.peer_sends(B, A, peer_request(method, cseq, &tag, lines, HOLD));
        world.run(ms(50));
        assert_eq!(world.take_events(A), ["offered with sdp"], "{method}");
        world.answer(A, leg, Ok(ANSWER));
        world.run(ms(50));
        assert_eq!(world.last_received(B, &format!("200 {method}")).body(), ANSWER);
    }
    world.accept(A, None);
    world.run(ms(50));
    let ack = PeerRequest { method: "ACK", branch: "a", cseq: 1, to_tag: &tag, lines: "", body: b"" };
    world.peer_sends(B, A, request(&ack));
    world.peer_sends(B, A, peer_request("INVITE", 4, &tag, "", OFFER));
    world.run(ms(50));
    assert_eq!(world.take_events(A), ["confirmed", "offered with sdp"]);
    world.answer(A, leg, Err(488));
    // A late offer: the answer is in the ACK.
    let late = PeerRequest { method: "INVITE", branch: "b", cseq: 5, to_tag: &tag, lines: "", body: b"" };
    world.peer_sends(B, A, request(&late));
    world.run(ms(50));
    world.answer(A, leg, Ok(OFFER));
    world.run(ms(50));
    world.peer_sends(B, A, peer_request("ACK", 5, &tag, "", ANSWER));
    world.run(ms(50));
    assert_eq!(world.take_events(A), ["offered", "confirmed with sdp"]);
    world.finish_by_peer(&tag, 6);
}

#[test]
fn an_answer_in_prack_is_used() {
    let mut world = World::scripted();
    let invite = PeerRequest {
        method: "INVITE",
        branch: "1",
        cseq: 1,
        to_tag: "",
        lines: "Require: 100rel\r\n",
        body: b"",
    };
    world.peer_sends(B, A, request(&invite));
    world.run(ms(50));
    world.progress(A, 183, Some(OFFER));
    world.run(ms(50));
    let early = world.last_received(B, "183 INVITE");
    let rack = format!("RAck: {} 1 INVITE\r\n", early.number(HeaderName::RSeq).unwrap().unwrap());
    world.peer_sends(B, A, peer_request("PRACK", 2, early.to_tag(), &rack, ANSWER));
    world.run(ms(50));
    assert_eq!(world.take_events(A), ["confirmed with sdp"]);
    let leg = world.leg(A);
    world.hangup(A, leg, 480);
    world.finish();
}

#[test]
fn sdp_in_responses_to_invite_update_and_reinvite_is_used() {
    let mut world = World::scripted();
    let caller = world.connect(A, B);
    world.run(ms(50));
    let invite = world.last_received(B, "INVITE");
    world.peer_sends(B, A, peer_response(&invite, 183, "Require: 100rel\r\nRSeq: 7\r\n", ANSWER));
    world.run(ms(50));
    world.peer_sends(B, A, respond(&world.last_received(B, "PRACK"), 200, "", "", b""));
    world.run(ms(50));
    world.offer(A, caller, HOLD);
    world.run(ms(50));
    world.peer_sends(B, A, peer_response(&world.last_received(B, "UPDATE"), 200, "", ANSWER));
    world.run(ms(50));
    world.peer_sends(B, A, peer_response(&invite, 200, "", ANSWER));
    world.run(ms(50));
    assert_eq!(
        world.take_events(A),
        ["progress 183 fork 0 with sdp", "answered", "accepted fork 0 with sdp"]
    );
    world.offer(A, caller, HOLD);
    world.run(ms(50));
    world.peer_sends(B, A, peer_response(&world.last_received(B, "INVITE"), 200, "", ANSWER));
    world.run(ms(50));
    assert_eq!(world.take_events(A), ["answered"]);
    world.hangup(A, caller, 0);
    world.run(ms(50));
    world.peer_sends(B, A, respond(&world.last_received(B, "BYE"), 200, "", "", b""));
    world.finish();
}

#[test]
fn a_body_without_sdp_is_rejected_unless_it_is_optional() {
    let mut world = World::scripted();
    let tag = world.answered_call();
    let location = |method, cseq, lines| {
        let branch = format!("{method}{cseq}");
        let spec = PeerRequest { method, branch: &branch, cseq, to_tag: &tag, lines, body: PIDF.as_bytes() };
        retyped(&request(&spec), "application/pidf+xml")
    };
    let optional = "Content-Disposition: render; Handling = \"Optional\"\r\n";
    for (cseq, method) in [(2, "INVITE"), (3, "UPDATE")] {
        world.peer_sends(B, A, location(method, cseq, ""));
        world.run(ms(50));
        let rejection = world.last_received(B, &format!("415 {method}"));
        assert_eq!(rejection.header(HeaderName::Accept), Some("application/sdp, multipart/mixed"));
    }
    world.peer_sends(B, A, location("UPDATE", 4, optional));
    world.run(ms(50));
    assert!(world.last_received(B, "200 UPDATE").body().is_empty(), "an UPDATE without offer");
    assert!(world.take_events(A).is_empty());
    world.finish_by_peer(&tag, 5);
}

#[test]
fn a_body_is_split_into_the_sdp_and_the_other_parts() {
    let found = parts("multipart/mixed;boundary=\"a=b\"", &multipart(OFFER)).unwrap();
    assert_eq!(found.sdp.as_deref(), Some(OFFER));
    let [location, isup] = found.others.as_slice() else { panic!("{:?}", found.others) };
    assert_eq!((location.content_type.as_str(), &*location.body), ("application/pidf+xml", PIDF.as_bytes()));
    assert_eq!(header_lines(location), "Content-ID: <target@localhost>\r\n");
    assert_eq!((isup.content_type.as_str(), &*isup.body), ("application/ISUP;version=itu-t92+", ISUP));
    assert_eq!(header_lines(isup), "Content-Disposition: signal;handling=optional\r\n");

    let plain = invite("application/sdp", OFFER);
    assert_eq!(plain.sdp(), Ok(Some(Bytes::from_static(OFFER))));
    assert!(plain.body_parts().unwrap().others.is_empty());
}

#[test]
fn the_sdp_of_the_session_is_chosen_among_several_parts() {
    let join = |parts: &[&str]| format!("--x\r\n{}\r\n--x--\r\n", parts.join("\r\n--x\r\n")).into_bytes();
    let mixed = |parts: &[&str]| self::parts("multipart/mixed;boundary=x", &join(parts));
    let sdp = |text: &str| Some(Bytes::copy_from_slice(text.as_bytes()));

    let found = mixed(&["c: application/sdp\r\n\r\nfirst", "c: application/sdp\r\n\r\nsecond"]).unwrap();
    assert_eq!((found.sdp, found.others.len()), (sdp("first"), 1));
    let early = "Content-Type: application/sdp\r\nContent-Disposition: early-session\r\n\r\nearly"; // RFC 3959
    let found = mixed(&[early, "Content-Type: application/sdp\r\n\r\nsession"]).unwrap();
    assert_eq!((found.sdp, found.others.len()), (sdp("session"), 1));
    let base64 = "Content-Type: application/sdp\r\nContent-Transfer-Encoding: base64\r\n\r\ndj0w";
    assert_eq!(mixed(&[base64]).unwrap_err(), 415);
    // A part without headers is text/plain; a boundary that begins alike is no delimiter.
    let found = mixed(&["\r\n--xy\r\nplain --x", "Content-Type: application/sdp\r\n\r\nv=0"]).unwrap();
    assert_eq!((found.sdp, found.others[0].content_type.as_str()), (sdp("v=0"), "text/plain"));
    assert_eq!(found.others[0].body, "--xy\r\nplain --x");

    let nested = |kind: &str, first: &str, second: &str| {
        format!("Content-Type: multipart/{kind};boundary=y\r\n\r\n--y\r\n{first}\r\n--y\r\n{second}\r\n--y--")
    };
    let (plain, session) = ("\r\nplain", "Content-Type: application/sdp\r\n\r\nv=0");
    let found = mixed(&[plain, &nested("related", plain, session)]).unwrap();
    assert_eq!((found.sdp, found.others.len()), (sdp("v=0"), 2));
    let last = "Content-Type: application/sdp\r\n\r\nlast";
    let found = mixed(&[&nested("alternative", session, last), plain]).unwrap(); // RFC 2046 §5.1.4
    assert_eq!((found.sdp, found.others.len()), (sdp("last"), 1));
    let found = mixed(&[session, &nested("mixed", plain, plain)]).unwrap();
    assert_eq!((found.sdp, found.others.len()), (sdp("v=0"), 1));
    assert!(found.others[0].content_type.starts_with("multipart/mixed;"));
}

#[test]
fn malformed_multipart_bodies_do_no_harm() {
    let text = String::from_utf8(multipart(OFFER).into_iter().filter(u8::is_ascii).collect()).unwrap();
    for content_type in [
        "multipart/mixed",
        "multipart/mixed;boundary",
        "multipart/mixed;boundary=",
        "multipart/mixed;boundary=\"a=b",
        "multipart/mixed;boundary=other",
        "multipart",
        "/",
    ] {
        assert_eq!(parts(content_type, text.as_bytes()).unwrap_err(), 415, "{content_type}");
    }
    for end in 1..text.len() {
        let found = parts("multipart/mixed;boundary=\"a=b\"", &text.as_bytes()[..end]);
        let begun = text.find("v=0").unwrap();
        // A missing closing delimiter is tolerated.
        assert_eq!(found.is_ok_and(|found| found.sdp.is_some()), end > begun, "cut at {end}");
    }
    let many = "--x\r\n\r\n".repeat(10_000);
    assert_eq!(parts("multipart/mixed;boundary=x", many.as_bytes()).unwrap_err(), 415);
    let mut deep = OFFER.to_vec();
    for n in 0..50 {
        let kind =
            if n == 0 { "application/sdp".into() } else { format!("multipart/mixed;boundary=b{}x", n - 1) };
        deep = [
            format!("--b{n}x\r\nContent-Type: {kind}\r\n\r\n").as_bytes(),
            &deep,
            format!("\r\n--b{n}x--").as_bytes(),
        ]
        .concat();
    }
    assert_eq!(parts("multipart/mixed;boundary=b49x", &deep).unwrap_err(), 415);
}

#[test]
fn an_invite_is_sent_with_further_parts_also_after_a_challenge() {
    let mut world = World::scripted();
    let mut headers = Headers::new();
    headers.add("Content-ID", "<target@localhost>");
    let part = BodyPart {
        content_type: "application/pidf+xml".into(),
        headers,
        body: Bytes::from_static(PIDF.as_bytes()),
    };
    let mut params = world.invite_params(A, B);
    let password = Secret::new("secret".into());
    params.credentials = Some(Account { user: "trunk".into(), password, realm: None });
    let caller = world
        .act(A, |ep, now, out| ep.connect_with_parts(now, params, std::slice::from_ref(&part), out))
        .unwrap();
    for attempt in 1..=2 {
        world.run(ms(50));
        assert_eq!(world.count(B, "INVITE"), attempt);
        let invite = world.last_received(B, "INVITE");
        let found = invite.body_parts().unwrap();
        assert_eq!(found.sdp.as_deref(), Some(OFFER));
        let [sent] = found.others.as_slice() else { panic!("{:?}", found.others) };
        assert_eq!((&sent.content_type, &sent.body), (&part.content_type, &part.body));
        assert_eq!(header_lines(sent), "Content-ID: <target@localhost>\r\n");
        let challenge = "WWW-Authenticate: Digest realm=\"carrier\", nonce=\"n\", qop=\"auth\"\r\n";
        world.peer_sends(B, A, respond(&invite, 401, "x", challenge, b""));
    }
    world.run(ms(50));
    assert_eq!(world.take_events(A), ["ended: refused 401"]);
    world.hangup(A, caller, 0);
    world.finish();
}
