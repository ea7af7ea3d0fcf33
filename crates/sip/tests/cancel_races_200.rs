//! CANCEL in every state of an INVITE (RFC 3261 §9, §15).

use crate::network;

use network::*;

#[test]
fn a_cancel_waits_for_the_first_provisional_response() {
    let mut world = World::pair();
    world.lose_next(B, "100 INVITE", 1);
    let caller = world.connect(A, B);
    world.hangup(A, caller, 0);
    world.run(ms(100));
    assert_eq!(world.sent(A, "CANCEL"), 0);
    world.run(secs(2)); // the INVITE is retransmitted, and so is its 100
    assert_eq!(world.sent(A, "CANCEL"), 1);
    assert_eq!(
        (world.take_events(A), world.take_events(B)),
        (vec!["ended: local".into()], vec!["ended: cancelled".into()])
    );
    world.finish();
}

#[test]
fn a_cancel_after_180_ends_both_sides() {
    let mut world = World::pair();
    let caller = world.connect(A, B);
    world.run(ms(50));
    world.progress(B, 180, None);
    world.run(ms(50));
    world.lose_next(B, "200 CANCEL", 2);
    world.hangup(A, caller, 0);
    world.run(secs(5));
    assert_eq!(world.take_events(B), ["ended: cancelled"]);
    assert_eq!(world.take_events(A), ["progress 180 fork 0", "ended: local"]);
    world.finish();
}

#[test]
fn a_cancel_that_crosses_the_200_is_followed_by_ack_and_bye() {
    let mut world = World::pair();
    let caller = world.connect(A, B);
    world.run(ms(50));
    world.progress(B, 180, None);
    world.run(ms(50));
    world.accept(B, Some(ANSWER));
    world.hangup(A, caller, 0); // the 200 is in transit
    world.run(ms(100));
    assert_eq!(world.take_events(A), ["progress 180 fork 0", "ended: local"]);
    assert_eq!(world.take_events(B), ["confirmed", "ended: bye"]);
    assert_eq!((world.sent(A, "ACK"), world.sent(A, "BYE")), (1, 1));
    world.finish();
}

#[test]
fn a_cancel_after_200_is_answered_481_and_the_call_stays_up() {
    let mut world = World::scripted();
    let invite =
        request(&PeerRequest { method: "INVITE", branch: "1", cseq: 1, to_tag: "", lines: "", body: OFFER });
    world.peer_sends(B, A, invite);
    world.run(ms(50));
    world.accept(A, Some(ANSWER));
    world.run(ms(50));
    world.peer_sends(
        B,
        A,
        request(&PeerRequest { method: "CANCEL", branch: "1", cseq: 1, to_tag: "", lines: "", body: b"" }),
    );
    world.run(ms(50));
    assert_eq!(world.count(B, "481 CANCEL"), 1);
    let tag = world.last_received(B, "200 INVITE").to_tag().to_owned();
    world.peer_sends(
        B,
        A,
        request(&PeerRequest { method: "ACK", branch: "2", cseq: 1, to_tag: &tag, lines: "", body: b"" }),
    );
    world.run(ms(50));
    assert_eq!(world.take_events(A), ["confirmed"]);
    world.peer_sends(
        B,
        A,
        request(&PeerRequest { method: "BYE", branch: "3", cseq: 2, to_tag: &tag, lines: "", body: b"" }),
    );
    world.run(ms(50));
    assert_eq!(world.take_events(A), ["ended: bye"]);
    world.finish();
}

#[test]
fn a_cancel_for_nothing_is_answered_481() {
    let mut world = World::scripted();
    world.peer_sends(
        B,
        A,
        request(&PeerRequest { method: "CANCEL", branch: "1", cseq: 1, to_tag: "", lines: "", body: b"" }),
    );
    world.run(ms(50));
    assert_eq!(world.count(B, "481 CANCEL"), 1);
    world.finish();
}

#[test]
fn a_cancelled_invite_without_final_response_times_out() {
    let mut world = World::scripted();
    let caller = world.connect(A, B);
    world.run(ms(50));
    let invite = world.last_received(B, "INVITE");
    world.peer_sends(B, A, respond(&invite, 180, "t", "", b""));
    world.run(ms(50));
    world.hangup(A, caller, 0);
    world.run(ms(50));
    let cancel = world.last_received(B, "CANCEL");
    assert_eq!(cancel.via().branch, invite.via().branch); // RFC 3261 §9.1
    assert_eq!(cancel.uri(), invite.uri());
    assert_eq!(cancel.cseq().number, invite.cseq().number);
    world.peer_sends(B, A, respond(&cancel, 200, "t", "", b""));
    world.run(secs(33));
    assert_eq!(world.take_events(A).last().unwrap(), "ended: local");
    world.finish();
}
