//! The 200 is retransmitted until its ACK arrives; without ACK the session ends (RFC 3261 §13.3.1.4).

use crate::network;

use network::*;

#[test]
fn a_lost_ack_is_sent_again_for_each_retransmitted_200() {
    let mut world = World::pair();
    world.lose_next(A, "ACK", 3);
    world.connect(A, B);
    world.run(ms(50));
    world.accept(B, Some(ANSWER));
    world.run(secs(10));
    assert_eq!(world.times_sent(B, "200 INVITE"), [0, 500, 1500, 3500]);
    assert_eq!(world.sent(A, "ACK"), 4);
    assert_eq!(world.take_events(B), ["confirmed"]);
    assert_eq!(world.take_events(A), ["accepted fork 0 with sdp"]);
    let leg = world.leg(B);
    world.hangup(B, leg, 0);
    world.finish();
}

#[test]
fn a_200_that_is_never_acknowledged_ends_in_bye_after_64_t1() {
    let mut world = World::pair();
    world.lose(|from, kind| from == A && kind == "ACK");
    world.connect(A, B);
    world.run(ms(50));
    world.accept(B, Some(ANSWER));
    world.run(secs(33));
    assert_eq!(world.take_events(B), ["ended: no ack"]);
    assert_eq!(world.take_events(A), ["accepted fork 0 with sdp", "ended: bye"]);
    assert_eq!(world.times_sent(B, "200 INVITE").get(3..6), Some(&[3500, 7500, 11500][..])); // capped at T2
    world.finish();
}

#[test]
fn a_bye_of_the_callee_waits_for_the_ack() {
    let mut world = World::pair();
    world.lose_next(A, "ACK", 1);
    world.connect(A, B);
    world.run(ms(50));
    world.accept(B, Some(ANSWER));
    let leg = world.leg(B);
    world.hangup(B, leg, 0);
    world.run(ms(100));
    assert_eq!(world.sent(B, "BYE"), 0); // RFC 3261 §15
    world.run(secs(2));
    assert_eq!(world.sent(B, "BYE"), 1);
    assert_eq!(world.take_events(B), ["ended: local"]);
    assert_eq!(world.take_events(A), ["accepted fork 0 with sdp", "ended: bye"]);
    world.finish();
}
