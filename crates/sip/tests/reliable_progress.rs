//! Reliable provisional responses and PRACK (RFC 3262), and UPDATE before the 200.

use crate::network;

use network::*;

fn invite(lines: &str, body: &[u8]) -> Vec<u8> {
    request(&PeerRequest { method: "INVITE", branch: "1", cseq: 1, to_tag: "", lines, body })
}

fn prack(tag: &str, cseq: u32, rack: &str, body: &[u8]) -> Vec<u8> {
    let (branch, lines) = (format!("p{cseq}"), format!("RAck: {rack}\r\n"));
    request(&PeerRequest { method: "PRACK", branch: &branch, cseq, to_tag: tag, lines: &lines, body })
}

#[test]
fn a_183_with_sdp_is_retransmitted_until_prack_and_the_200_waits() {
    let mut world = World::pair();
    world.lose_next(A, "PRACK", 2);
    world.connect(A, B);
    world.run(ms(50));
    world.progress(B, 183, Some(ANSWER));
    world.accept(B, None);
    world.run(ms(100));
    assert_eq!(world.sent(B, "200 INVITE"), 0); // RFC 3262 §3
    world.run(secs(5));
    assert_eq!(world.take_events(A), ["progress 183 fork 0 with sdp", "accepted fork 0"]);
    assert_eq!(world.take_events(B), ["confirmed"]);
    assert_eq!(world.sent(B, "200 PRACK"), 1);
    assert!(world.sent(B, "183 INVITE") >= 2);
    let leg = world.leg(B);
    world.hangup(B, leg, 0);
    world.finish();
}

#[test]
fn a_180_without_sdp_is_reliable_only_if_the_caller_requires_it() {
    for (line, reliable) in [("Supported: 100rel\r\n", false), ("Require: 100rel\r\n", true), ("", false)] {
        let mut world = World::scripted();
        world.peer_sends(B, A, invite(line, OFFER));
        world.run(ms(50));
        world.progress(A, 180, None);
        world.run(ms(50));
        assert_eq!(
            world.last_received(B, "180 INVITE").header(centralita_sip::HeaderName::RSeq).is_some(),
            reliable,
            "{line}"
        );
        let leg = world.leg(A);
        world.hangup(A, leg, 480);
        world.finish();
    }
}

#[test]
fn reliable_responses_are_sent_one_after_another() {
    let mut world = World::scripted();
    world.peer_sends(B, A, invite("Require: 100rel\r\n", OFFER));
    world.run(ms(50));
    world.progress(A, 180, None);
    world.progress(A, 183, Some(ANSWER));
    world.run(ms(50));
    assert_eq!((world.sent(A, "180 INVITE"), world.sent(A, "183 INVITE")), (1, 0));
    let ringing = world.last_received(B, "180 INVITE");
    let rseq = ringing.number(centralita_sip::HeaderName::RSeq).unwrap().unwrap();
    let tag = ringing.to_tag().to_owned();
    world.peer_sends(B, A, prack(&tag, 2, &format!("{} 1 INVITE", rseq + 9), b""));
    world.run(ms(50));
    assert_eq!(world.count(B, "481 PRACK"), 1);
    world.peer_sends(B, A, prack(&tag, 3, &format!("{rseq} 1 INVITE"), b""));
    world.run(ms(50));
    assert_eq!(world.sent(A, "183 INVITE"), 1);
    assert_eq!(
        world.last_received(B, "183 INVITE").number(centralita_sip::HeaderName::RSeq),
        Some(Ok(rseq + 1))
    );
    world.peer_sends(B, A, prack(&tag, 4, &format!("{} 1 INVITE", rseq + 1), b""));
    world.run(ms(50));
    world.accept(A, Some(ANSWER));
    world.run(ms(50));
    assert!(world.last_received(B, "200 INVITE").body().is_empty(), "the answer was already sent reliably");
    world.finish_by_peer(&tag, 5);
}

#[test]
fn a_reliable_response_without_prack_ends_in_504() {
    let mut world = World::scripted();
    world.peer_sends(B, A, invite("Require: 100rel\r\n", OFFER));
    world.run(ms(50));
    world.progress(A, 180, None);
    world.run(secs(33));
    assert_eq!(world.take_events(A), ["ended: dialog gone"]);
    assert!(world.count(B, "504 INVITE") > 0);
    assert_eq!(world.times_sent(A, "180 INVITE"), [0, 500, 1500, 3500, 7500, 15500, 31500]);
    world.finish();
}

#[test]
fn an_offer_in_prack_is_reported_and_answered_in_its_200() {
    let mut world = World::scripted();
    world.peer_sends(B, A, invite("Supported: 100rel\r\n", OFFER));
    world.run(ms(50));
    world.progress(A, 183, Some(ANSWER));
    world.run(ms(50));
    let early = world.last_received(B, "183 INVITE");
    let rseq = early.number(centralita_sip::HeaderName::RSeq).unwrap().unwrap();
    let tag = early.to_tag().to_owned();
    world.peer_sends(B, A, prack(&tag, 2, &format!("{rseq} 1 INVITE"), HOLD));
    world.run(ms(50));
    assert_eq!(world.take_events(A), ["offered with sdp"]);
    let leg = world.leg(A);
    world.answer(A, leg, Ok(ANSWER));
    world.run(ms(50));
    assert_eq!(world.last_received(B, "200 PRACK").body(), ANSWER);
    world.accept(A, None);
    world.run(ms(50));
    world.finish_by_peer(&tag, 3);
}

#[test]
fn reliable_responses_are_acknowledged_once_and_in_order() {
    let mut world = World::scripted();
    let caller = world.connect(A, B);
    world.run(ms(50));
    let invite = world.last_received(B, "INVITE");
    assert!(invite.tokens(centralita_sip::HeaderName::Supported).any(|token| token == "100rel"));
    let contact = "Contact: <sip:1002@10.0.0.2>\r\nRequire: 100rel\r\n";
    for (status, rseq, body) in [(180, 7, &b""[..]), (180, 7, b""), (183, 9, ANSWER), (183, 8, ANSWER)] {
        world.peer_sends(B, A, respond(&invite, status, "t", &format!("{contact}RSeq: {rseq}\r\n"), body));
        world.run(ms(50));
        if world.count(B, "PRACK") > 0 {
            let prack = world.last_received(B, "PRACK");
            world.peer_sends(B, A, respond(&prack, 200, "", "", b""));
        }
    }
    assert_eq!(world.take_events(A), ["progress 180 fork 0", "progress 183 fork 0 with sdp"]);
    let racks: Vec<String> = world.parties[B]
        .inbox
        .iter()
        .filter_map(|message| message.header(centralita_sip::HeaderName::RAck).map(str::to_owned))
        .collect();
    let cseq = invite.cseq().number;
    assert_eq!(racks, [format!("7 {cseq} INVITE"), format!("8 {cseq} INVITE")]);
    world.hangup(A, caller, 0);
    world.run(ms(50));
    world.peer_sends(B, A, respond(&invite, 487, "t", "", b""));
    world.finish();
}

#[test]
fn an_update_changes_the_sdp_before_the_200() {
    let mut world = World::pair();
    let caller = world.connect(A, B);
    world.run(ms(50));
    world.progress(B, 183, Some(ANSWER));
    world.run(ms(100));
    world.offer(A, caller, HOLD); // RFC 3311
    world.run(ms(50));
    assert_eq!(world.take_events(B), ["offered with sdp"]);
    let leg = world.leg(B);
    world.answer(B, leg, Ok(ANSWER));
    world.run(ms(50));
    assert_eq!(world.take_events(A), ["progress 183 fork 0 with sdp", "answered"]);
    world.offer(B, leg, HOLD);
    world.run(ms(50));
    world.answer(A, caller, Ok(OFFER));
    world.run(ms(50));
    assert_eq!(
        (world.take_events(A), world.take_events(B)),
        (vec!["offered with sdp".into()], vec!["answered".into()])
    );
    assert_eq!((world.sent(A, "UPDATE"), world.sent(B, "UPDATE")), (1, 1));
    world.accept(B, None);
    world.run(ms(50));
    world.hangup(B, leg, 0);
    world.finish();
}

#[test]
fn an_update_before_the_first_answer_is_rejected_with_500_and_retry_after() {
    let mut world = World::scripted();
    world.peer_sends(B, A, invite("Supported: 100rel\r\n", OFFER));
    world.run(ms(50));
    world.progress(A, 180, None);
    world.run(ms(50));
    let tag = world.last_received(B, "180 INVITE").to_tag().to_owned();
    world.peer_sends(
        B,
        A,
        request(&PeerRequest { method: "UPDATE", branch: "2", cseq: 2, to_tag: &tag, lines: "", body: HOLD }),
    );
    world.run(ms(50));
    assert!(world.last_received(B, "500 UPDATE").header(centralita_sip::HeaderName::RetryAfter).is_some()); // RFC 3311 §5.2
    let leg = world.leg(A);
    world.hangup(A, leg, 480);
    world.finish();
}
