//! Offers within a session, and glare (RFC 3261 §14).

use crate::network;

use network::*;

#[test]
fn a_reinvite_is_offered_answered_and_acknowledged() {
    let mut world = World::pair();
    let (caller, callee) = world.call();
    world.offer(A, caller, HOLD);
    world.run(ms(50));
    assert_eq!(world.take_events(B), ["offered with sdp"]);
    world.answer(B, callee, Ok(ANSWER));
    world.run(ms(50));
    assert_eq!(
        (world.take_events(A), world.take_events(B)),
        (vec!["answered".into()], vec!["confirmed".into()])
    );
    world.offer(B, callee, HOLD);
    world.run(ms(50));
    world.answer(A, caller, Err(488));
    world.run(ms(50));
    assert_eq!(
        (world.take_events(A), world.take_events(B)),
        (vec!["offered with sdp".into()], vec!["offer refused 488".into()])
    );
    world.hangup(A, caller, 0);
    world.run(ms(100));
    assert_eq!(world.take_events(B), ["ended: bye"]);
    world.finish();
}

#[test]
fn crossing_offers_get_491_and_are_retried_in_their_windows() {
    let mut world = World::pair();
    let (caller, callee) = world.call();
    world.offer(A, caller, HOLD);
    world.offer(B, callee, HOLD);
    world.run(ms(60));
    assert_eq!((world.sent(A, "491 INVITE"), world.sent(B, "491 INVITE")), (1, 1));
    // The UAS retries within 2 s, and is answered before the owner of the Call-ID retries after 2.1 to 4 s.
    world.run(ms(2050));
    assert_eq!(world.take_events(A), ["offered with sdp"]);
    assert_eq!(world.take_events(B), Vec::<String>::new());
    world.answer(A, caller, Ok(OFFER));
    world.run(secs(3));
    assert_eq!(world.take_events(A), ["confirmed"]);
    assert_eq!(world.take_events(B), ["answered", "offered with sdp"]);
    world.answer(B, callee, Ok(ANSWER));
    world.run(secs(1));
    assert_eq!(
        (world.take_events(A), world.take_events(B)),
        (vec!["answered".into()], vec!["confirmed".into()])
    );
    world.hangup(A, caller, 0);
    world.finish();
}

#[test]
fn an_offer_waits_while_another_is_pending() {
    let mut world = World::pair();
    let (caller, callee) = world.call();
    world.offer(A, caller, HOLD);
    world.run(ms(50));
    world.offer(A, caller, OFFER);
    world.offer(B, callee, ANSWER);
    world.run(ms(50));
    assert_eq!((world.sent(A, "INVITE"), world.sent(B, "INVITE")), (2, 0));
    world.answer(B, callee, Ok(ANSWER));
    world.run(secs(10));
    world.answer(A, caller, Ok(OFFER));
    world.answer(B, callee, Ok(ANSWER));
    world.run(secs(10));
    world.answer(A, caller, Ok(OFFER));
    world.answer(B, callee, Ok(ANSWER));
    world.run(secs(10));
    let answered = |world: &mut World, party| {
        world.take_events(party).iter().filter(|event| *event == "answered").count()
    };
    assert_eq!((answered(&mut world, A), answered(&mut world, B)), (2, 1));
    world.hangup(A, caller, 0);
    world.finish();
}

#[test]
fn a_peer_that_answers_491_for_ever_is_reported_after_five_tries() {
    let mut world = World::scripted();
    let tag = world.answered_call();
    let leg = world.leg(A);
    world.offer(A, leg, HOLD);
    for _ in 0..120 {
        world.run(ms(100));
        let invites = world.count(B, "INVITE");
        if invites > world.sent(B, "491 INVITE") {
            let invite = world.last_received(B, "INVITE");
            world.peer_sends(B, A, respond(&invite, 491, "", "", b""));
        }
    }
    world.run(secs(5));
    assert_eq!(world.take_events(A), ["offer refused 491"]);
    assert_eq!(world.sent(B, "491 INVITE"), 5);
    world.finish_by_peer(&tag, 2);
}

#[test]
fn a_second_reinvite_before_our_answer_gets_500_with_retry_after() {
    let mut world = World::scripted();
    let tag = world.answered_call();
    for (branch, cseq) in [("7", 2), ("8", 3)] {
        world.peer_sends(
            B,
            A,
            request(&PeerRequest { method: "INVITE", branch, cseq, to_tag: &tag, lines: "", body: HOLD }),
        );
        world.run(ms(50));
    }
    assert!(world.last_received(B, "500 INVITE").header(centralita_sip::HeaderName::RetryAfter).is_some()); // RFC 3261 §14.2
    let leg = world.leg(A);
    world.answer(A, leg, Ok(ANSWER));
    world.run(ms(50));
    world.peer_sends(
        B,
        A,
        request(&PeerRequest { method: "ACK", branch: "9", cseq: 2, to_tag: &tag, lines: "", body: b"" }),
    );
    world.run(ms(50));
    assert_eq!(world.take_events(A), ["offered with sdp", "confirmed"]);
    world.finish_by_peer(&tag, 4);
}

#[test]
fn a_cancelled_reinvite_leaves_the_session_unchanged() {
    let mut world = World::scripted();
    let tag = world.answered_call();
    for method in ["INVITE", "CANCEL"] {
        let body = if method == "INVITE" { HOLD } else { b"" };
        world.peer_sends(
            B,
            A,
            request(&PeerRequest { method, branch: "7", cseq: 2, to_tag: &tag, lines: "", body }),
        );
        world.run(ms(50));
    }
    assert_eq!((world.count(B, "200 CANCEL"), world.count(B, "487 INVITE")), (1, 1));
    let leg = world.leg(A);
    world.answer(A, leg, Ok(ANSWER)); // too late, and without effect
    world.finish_by_peer(&tag, 3);
}

#[test]
fn an_offer_in_a_dialog_that_is_gone_ends_the_session() {
    for status in [481, 408] {
        let mut world = World::scripted();
        world.answered_call();
        let leg = world.leg(A);
        world.offer(A, leg, HOLD);
        world.run(ms(50));
        let invite = world.last_received(B, "INVITE");
        world.peer_sends(B, A, respond(&invite, status, "", "", b""));
        world.run(ms(50));
        assert_eq!(world.take_events(A), ["ended: dialog gone"]); // RFC 3261 §12.2.1.2
        assert_eq!(world.count(B, "BYE"), usize::from(status == 408));
        world.finish();
    }
}

#[test]
fn hanging_up_during_an_offer_rejects_it_and_sends_bye() {
    let mut world = World::pair();
    let (caller, callee) = world.call();
    world.offer(A, caller, HOLD);
    world.run(ms(50));
    world.hangup(B, callee, 0);
    world.run(ms(200));
    assert_eq!(world.sent(B, "487 INVITE"), 1);
    assert_eq!(world.take_events(A).last().unwrap(), "ended: bye");
    assert_eq!(world.take_events(B).last().unwrap(), "ended: local");
    world.finish();
}
