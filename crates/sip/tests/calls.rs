//! Call set-up, conversation and end over datagrams and streams, and with each message lost in turn.

use crate::network;

use centralita_sip::Transport;
use network::*;

#[test]
fn a_call_is_made_answered_and_ended() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut world = World::pair();
        world.transport = transport;
        let caller = world.connect(A, B);
        world.run(ms(50));
        world.progress(B, 180, None);
        world.run(ms(50));
        assert_eq!(world.take_events(A), ["progress 180 fork 0"]);
        world.accept(B, Some(ANSWER));
        world.run(ms(50));
        assert_eq!(world.take_events(A), ["accepted fork 0 with sdp"]);
        assert_eq!(world.take_events(B), ["confirmed"]);
        world.hangup(A, caller, 0);
        world.run(ms(50));
        assert_eq!(world.take_events(A), ["ended: local"]);
        assert_eq!(world.take_events(B), ["ended: bye"]);
        let ladder = |party: usize| world.parties[party].ladder.join(" ");
        assert_eq!(ladder(A), "> INVITE < 100 INVITE < 180 INVITE < 200 INVITE > ACK > BYE < 200 BYE");
        assert_eq!(ladder(B), "> 100 INVITE > 180 INVITE > 200 INVITE < ACK < BYE > 200 BYE");
        world.finish();
    }
}

#[test]
fn the_callee_can_end_a_call_as_well() {
    let mut world = World::pair();
    let (_, callee) = world.call();
    world.hangup(B, callee, 0);
    world.run(ms(50));
    assert_eq!(
        (world.take_events(A), world.take_events(B)),
        (vec!["ended: bye".into()], vec!["ended: local".into()])
    );
    world.finish();
}

#[test]
fn no_single_lost_message_breaks_a_call() {
    let kinds = [
        (A, "INVITE"),
        (B, "100 INVITE"),
        (B, "180 INVITE"),
        (B, "200 INVITE"),
        (A, "ACK"),
        (A, "BYE"),
        (B, "200 BYE"),
    ];
    for (from, kind) in kinds {
        for times in 1..4 {
            let mut world = World::pair();
            world.lose_next(from, kind, times);
            let caller = world.connect(A, B);
            world.run(secs(8));
            world.progress(B, 180, None);
            world.run(ms(50));
            world.accept(B, Some(ANSWER));
            world.run(secs(20));
            assert_eq!(world.take_events(B), ["confirmed"], "{kind} lost {times} times");
            world.hangup(A, caller, 0);
            world.run(secs(20));
            assert_eq!(world.take_events(A).last().unwrap(), "ended: local", "{kind} lost {times} times");
            assert_eq!(world.take_events(B), ["ended: bye"], "{kind} lost {times} times");
            world.finish();
        }
    }
}

#[test]
fn a_rejection_is_retransmitted_until_ack() {
    let mut world = World::pair();
    world.lose_next(A, "ACK", 2);
    world.connect(A, B);
    world.run(ms(50));
    let leg = world.leg(B);
    world.hangup(B, leg, 486);
    world.run(secs(10));
    assert_eq!(world.take_events(A), ["ended: refused 486"]);
    assert_eq!(world.take_events(B), ["ended: local"]);
    assert_eq!(world.sent(B, "486 INVITE"), 3);
    assert_eq!(world.sent(A, "ACK"), 3);
    world.finish();
}

#[test]
fn no_response_is_408_after_64_t1_with_the_intervals_of_timer_a() {
    let mut world = World::pair();
    world.lose(|_, _| true);
    world.connect(A, B);
    world.run(secs(40));
    assert_eq!(world.take_events(A), ["ended: refused 408"]);
    // RFC 3261 §17.1.1.2
    assert_eq!(world.times_sent(A, "INVITE"), [0, 500, 1500, 3500, 7500, 15500, 31500]);
    world.finish();
}

#[test]
fn other_requests_are_retransmitted_with_timer_e_up_to_t2() {
    let mut world = World::pair();
    let (caller, _) = world.call();
    world.lose(|_, _| true);
    world.hangup(A, caller, 0);
    world.run(secs(40));
    assert_eq!(world.take_events(A), ["ended: local"]);
    // RFC 3261 §17.1.2.2
    assert_eq!(
        world.times_sent(A, "BYE"),
        [0, 500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]
    );
}

#[test]
fn no_answer_ends_by_cancel() {
    let mut world = World::pair();
    let caller = world.connect(A, B);
    world.run(ms(50));
    world.progress(B, 180, None);
    world.run(secs(30));
    world.hangup(A, caller, 0);
    world.run(ms(100));
    assert_eq!(world.take_events(A).last().unwrap(), "ended: local");
    assert_eq!(world.take_events(B), ["ended: cancelled"]);
    assert_eq!(world.sent(B, "487 INVITE"), 1);
    world.finish();
}

#[test]
fn the_180_is_repeated_every_minute() {
    let mut world = World::pair();
    let caller = world.connect(A, B);
    world.run(ms(50));
    world.progress(B, 180, None);
    world.run(secs(130));
    assert_eq!(world.times_sent(B, "180 INVITE"), [0, 60_000, 120_000]); // RFC 3261 §13.3.1.1
    world.hangup(A, caller, 0);
    world.finish();
}

#[test]
fn a_closed_connection_fails_its_pending_requests_at_once() {
    let mut world = World::pair();
    world.transport = Transport::Tcp;
    world.connect(A, B);
    let flow = world.hop(A, B).flow;
    world.act(A, |ep, now, out| ep.handle(now, centralita_sip::Input::FlowClosed(flow), out));
    assert_eq!(world.take_events(A), ["ended: refused 503"]); // RFC 3261 §8.1.3.1
    world.lose(|_, _| true);
    world.run(secs(1));
    let leg = world.leg(B);
    world.hangup(B, leg, 480);
    world.finish();
}

#[test]
fn an_unreachable_peer_fails_the_call_at_once() {
    let mut world = World::pair();
    world.lose(|_, _| true);
    world.connect(A, B);
    let hop = world.hop(A, B);
    world.act(A, |ep, now, out| ep.handle(now, centralita_sip::Input::Unreachable(hop), out));
    assert_eq!(world.take_events(A), ["ended: refused 503"]);
    world.finish();
}

#[test]
fn info_carries_dtmf_both_ways() {
    let mut world = World::pair();
    let (caller, callee) = world.call();
    world.act(A, |ep, now, out| ep.info(now, caller, "application/dtmf-relay", b"Signal=5", out));
    world.act(B, |ep, now, out| ep.info(now, callee, "application/dtmf-relay", b"Signal=6", out));
    world.run(ms(50));
    assert_eq!(world.take_events(A), ["info application/dtmf-relay Signal=6"]); // S160
    assert_eq!(world.take_events(B), ["info application/dtmf-relay Signal=5"]);
    world.hangup(A, caller, 0);
    world.finish();
}
