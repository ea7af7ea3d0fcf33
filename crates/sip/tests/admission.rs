//! Requests that the endpoint answers itself (RFC 3261 §8.2), and stateless responses.

use crate::network;

use centralita_sip::{
    Config, Flow, HeaderName, Hop, Input, Method, Output, Reply, Request, Target, Transport,
};
use network::*;

fn plain<'a>(method: &'a str, lines: &'a str) -> PeerRequest<'a> {
    PeerRequest { method, branch: "1", cseq: 1, to_tag: "", lines, body: b"" }
}

#[test]
fn each_admission_check_has_its_status() {
    let cases = [
        (
            "INVITE",
            "Require: 100rel, fancy, path\r\n",
            "420 INVITE",
            Some((HeaderName::Unsupported, "fancy, path")),
        ),
        (
            "OPTIONS",
            "Proxy-Require: sec-agree\r\n",
            "420 OPTIONS",
            Some((HeaderName::Unsupported, "sec-agree")),
        ),
        ("BYE", "", "481 BYE", None),
        ("INFO", "", "481 INFO", None),
    ];
    for (method, lines, answer, header) in cases {
        let mut world = World::scripted();
        world.peer_sends(B, A, request(&plain(method, lines)));
        world.run(ms(50));
        let answer = world.last_received(B, answer);
        if let Some((name, value)) = header {
            assert_eq!(answer.header(name), Some(value));
        }
        assert!(!answer.to_tag().is_empty());
        assert_eq!(world.counts(A), (0, 0));
    }
}

#[test]
fn unsupported_methods_are_reported_unanswered_so_that_the_sender_can_be_challenged() {
    for method in ["MESSAGE", "SUBSCRIBE", "PUBLISH", "REFER", "NOTIFY", "FANCY"] {
        let mut world = World::scripted();
        world.peer_sends(B, A, request(&plain(method, "Require: fancy\r\n")));
        world.run(ms(50));
        assert_eq!(world.parties[A].requests.len(), 1, "{method}"); // security.md row 14
        assert!(world.parties[B].inbox.is_empty(), "{method}");
        assert_eq!(world.counts(A), (0, 0));
    }
}

#[test]
fn max_forwards_zero_is_answered_483_except_for_options() {
    let mut world = World::scripted();
    world.accepts_invites = false;
    for (method, admitted) in [("INVITE", false), ("OPTIONS", true)] {
        let text = String::from_utf8(request(&plain(method, ""))).unwrap();
        world.peer_sends(B, A, text.replace("Max-Forwards: 70", "Max-Forwards: 0"));
        world.run(ms(50));
        assert_eq!(world.parties[A].requests.len(), usize::from(admitted));
    }
    assert_eq!(world.count(B, "483 INVITE"), 1);
}

#[test]
fn an_unknown_scheme_is_416_and_unreadable_bodies_415() {
    let mut world = World::scripted();
    let text = |line: &PeerRequest<'_>| String::from_utf8(request(line)).unwrap();
    world.peer_sends(B, A, text(&plain("OPTIONS", "")).replace("sip:1001@10.0.0.1 SIP", "soap.beep:x SIP"));
    world.run(ms(50));
    assert_eq!(world.count(B, "416 OPTIONS"), 1);
    let encoded = text(&PeerRequest { body: OFFER, ..plain("INVITE", "Content-Encoding: gzip\r\n") });
    world.peer_sends(B, A, encoded);
    world.run(ms(50));
    assert!(world.last_received(B, "415 INVITE").header_named("Accept-Encoding").is_some());
    world.peer_sends(
        B,
        A,
        text(&PeerRequest { body: OFFER, ..plain("INVITE", "") }).replace("application/sdp", "text/plain"),
    );
    world.run(ms(50));
    assert_eq!(
        world.last_received(B, "415 INVITE").header(HeaderName::Accept),
        Some("application/sdp, multipart/mixed")
    );
    assert_eq!(world.counts(A), (0, 0));
}

#[test]
fn the_same_invite_over_another_path_is_482() {
    let mut world = World::scripted();
    world.peer_sends(B, A, request(&PeerRequest { body: OFFER, ..plain("INVITE", "") }));
    world.run(ms(50));
    world.peer_sends(B, A, request(&PeerRequest { body: OFFER, branch: "2", ..plain("INVITE", "") }));
    world.run(ms(50));
    assert_eq!(world.count(B, "482 INVITE"), 1); // RFC 3261 §8.2.2.2
    let leg = world.leg(A);
    world.hangup(A, leg, 480);
    world.finish();
}

#[test]
fn malformed_requests_are_answered_400_but_neither_responses_nor_acks() {
    let mut world = World::scripted();
    let text = String::from_utf8(request(&plain("OPTIONS", ""))).unwrap();
    world.peer_sends_raw(B, A, text.replace("Content-Length: 0", "Content-Length: x"));
    world.run(ms(50));
    assert_eq!(world.parties[B].inbox.len(), 1);
    assert_eq!(world.parties[B].inbox[0].status(), Some(400));
    let ack = String::from_utf8(request(&plain("ACK", ""))).unwrap();
    for silent in [
        ack.replace("Content-Length: 0", "Content-Length: x"),
        "SIP/2.0 200 OK\r\n\r\n".into(),
        "garbage".into(),
        "\r\n\r\n".into(),
    ] {
        world.peer_sends_raw(B, A, silent);
    }
    world.run(ms(50));
    assert_eq!(world.parties[B].inbox.len(), 1);
}

#[test]
fn stateless_responses_are_repeatable_and_absorb_their_ack() {
    let mut world = World::scripted();
    world.accepts_invites = false;
    for _ in 0..2 {
        world.peer_sends(B, A, request(&PeerRequest { body: OFFER, ..plain("INVITE", "") }));
        world.run(ms(50));
        world.reply(A, 401);
        world.run(ms(50));
    }
    let tags: Vec<_> = world.parties[B].inbox.iter().map(|answer| answer.to_tag().to_owned()).collect();
    assert_eq!(tags[0], tags[1]);
    world.peer_sends(B, A, request(&PeerRequest { to_tag: &tags[0], ..plain("ACK", "") }));
    world.run(ms(50));
    assert_eq!(
        (world.parties[A].requests.len(), world.parties[B].inbox.len(), world.counts(A)),
        (0, 2, (0, 0))
    );
}

#[test]
fn a_cached_response_is_sent_again_for_a_retransmission() {
    let mut world = World::scripted();
    let register = request(&plain("REGISTER", ""));
    world.peer_sends(B, A, &register);
    world.run(ms(50));
    let incoming = world.parties[A].requests.remove(0);
    world.act(A, |ep, now, out| ep.respond_cached(now, &incoming, Reply::new(200), out));
    world.peer_sends(B, A, &register);
    world.run(ms(50));
    assert_eq!((world.count(B, "200 REGISTER"), world.parties[A].requests.len()), (2, 0));
    assert_eq!(world.parties[B].inbox[0].bytes(), world.parties[B].inbox[1].bytes());
    world.run(secs(33));
    world.peer_sends(B, A, &register);
    world.run(ms(50));
    assert_eq!(world.parties[A].requests.len(), 1, "after 64*T1 it is a new request");
    assert_eq!(world.counts(A), (0, 0));
}

#[test]
fn responses_go_to_the_source_address_and_the_port_of_rport_or_via() {
    let mut world = World::scripted();
    world.accepts_invites = false;
    for (via, port) in
        [("198.51.100.9:7000", 7000), ("198.51.100.9", 5060), ("198.51.100.9:7000;rport", 4444)]
    {
        let text = String::from_utf8(request(&plain("OPTIONS", "")))
            .unwrap()
            .replace("10.0.0.2:5060;branch", &format!("{via};branch"));
        let remote = "192.0.2.55:4444".parse().unwrap();
        let hop =
            Hop { transport: Transport::Udp, listener: 0, local: address(A), remote, flow: Flow::default() };
        let now = world.at();
        let mut out = Vec::new();
        let endpoint = world.parties[A].endpoint.as_mut().unwrap();
        endpoint.handle(now, Input::Packet { hop, bytes: text.into() }, &mut out);
        let Some(Output::Event(centralita_sip::Event::Request(incoming))) = out.pop() else {
            panic!("{out:?}")
        };
        endpoint.respond_stateless(now, &incoming, Reply::new(200), &mut out);
        let Some(Output::Transmit { hop, bytes, .. }) = out.pop() else { panic!("{out:?}") };
        assert_eq!(hop.remote, format!("192.0.2.55:{port}").parse().unwrap()); // security.md row 12, RFC 3581
        assert!(String::from_utf8_lossy(&bytes).contains("received=192.0.2.55"));
    }
}

#[test]
fn a_stun_binding_request_on_the_sip_port_is_answered() {
    let mut world = World::scripted();
    let hop = world.hop(A, B);
    let (now, mut out) = (world.at(), Vec::new());
    let bytes = b"\x00\x01\x00\x00\x21\x12\xa4\x42123456789012"[..].into();
    world.parties[A].endpoint.as_mut().unwrap().handle(now, Input::Packet { hop, bytes }, &mut out);
    let Some(Output::Transmit { bytes, .. }) = out.pop() else { panic!("no answer") };
    assert_eq!(bytes[..2], [1, 1]); // RFC 5626 §4.4.2
}

#[test]
fn out_of_dialog_requests_report_their_response_or_none() {
    let mut world = World::with(vec![Config::default(), Config::default()], 0);
    let send = |world: &mut World| {
        let hop = world.hop(A, B);
        let uri = centralita_sip::Uri::sip_at(Some("x"), "10.0.0.2");
        let target = Target { uri, hop, route: Vec::new() };
        let request = Request::new(Method::Options, target, "<sip:a@b>".into(), "<sip:x@b>".into());
        world.act(A, |ep, now, out| ep.request(now, request, out));
    };
    send(&mut world);
    world.run(ms(50));
    world.reply(B, 200);
    world.run(ms(50));
    assert_eq!(world.take_events(A), ["response Some(200)"]);
    world.lose(|_, _| true);
    send(&mut world);
    world.run(secs(33));
    assert_eq!(world.take_events(A), ["response None"]);
    world.finish();
}
