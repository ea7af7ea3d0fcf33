//! One INVITE, several responses (RFC 3261 §12.1, §13.2.2.4).

use crate::network;

use centralita_sip::HeaderName;
use network::*;

fn contact(host: &str) -> String {
    format!("Contact: <sip:1002@{host}>\r\n")
}

#[test]
fn of_two_200s_the_second_is_acknowledged_and_ended_at_once() {
    let mut world = World::scripted();
    let caller = world.connect(A, B);
    world.run(ms(50));
    let invite = world.last_received(B, "INVITE");
    world.peer_sends(B, A, respond(&invite, 180, "one", &contact("10.0.0.2"), b""));
    world.peer_sends(B, A, respond(&invite, 183, "two", &contact("10.0.0.2"), ANSWER));
    world.run(ms(50));
    assert_eq!(world.take_events(A), ["progress 180 fork 0", "progress 183 fork 1 with sdp"]);
    world.peer_sends(B, A, respond(&invite, 200, "two", &contact("10.0.0.2:6002"), ANSWER));
    world.run(ms(50));
    assert_eq!(world.take_events(A), ["accepted fork 1 with sdp"]);
    assert_eq!((world.count(B, "ACK"), world.count(B, "BYE")), (1, 0));
    world.peer_sends(B, A, respond(&invite, 200, "one", &contact("10.0.0.2:6001"), ANSWER));
    world.run(ms(50));
    let (ack, bye) = (world.last_received(B, "ACK"), world.last_received(B, "BYE"));
    assert_eq!((ack.to_tag(), bye.to_tag()), ("one", "one"));
    assert_eq!(ack.uri().unwrap().port(), Some(6001));
    assert_eq!(bye.cseq().number, invite.cseq().number + 1);
    world.peer_sends(B, A, respond(&bye, 200, "", "", b""));
    // Retransmissions of either get their ACK again, and no second BYE.
    world.peer_sends(B, A, respond(&invite, 200, "one", &contact("10.0.0.2:6001"), ANSWER));
    world.peer_sends(B, A, respond(&invite, 200, "two", &contact("10.0.0.2:6002"), ANSWER));
    world.run(ms(50));
    assert_eq!((world.count(B, "ACK"), world.count(B, "BYE")), (4, 1));
    assert_eq!(world.take_events(A), Vec::<String>::new());
    world.hangup(A, caller, 0);
    world.run(ms(50));
    let bye = world.last_received(B, "BYE");
    assert_eq!(bye.to_tag(), "two");
    world.peer_sends(B, A, respond(&bye, 200, "", "", b""));
    world.run(ms(50));
    assert_eq!(world.take_events(A), ["ended: local"]);
    world.finish();
}

#[test]
fn a_200_after_the_session_is_over_is_acknowledged_and_ended() {
    let mut world = World::scripted();
    let caller = world.connect(A, B);
    world.run(ms(50));
    let invite = world.last_received(B, "INVITE");
    world.peer_sends(B, A, respond(&invite, 200, "one", &contact("10.0.0.2"), ANSWER));
    world.run(ms(50));
    world.hangup(A, caller, 0);
    world.run(ms(50));
    world.peer_sends(B, A, respond(&world.last_received(B, "BYE"), 200, "", "", b""));
    world.run(ms(50));
    assert_eq!(world.counts(A).1, 0);
    world.peer_sends(B, A, respond(&invite, 200, "two", &contact("10.0.0.2"), ANSWER));
    world.run(ms(50));
    assert_eq!(world.last_received(B, "BYE").to_tag(), "two");
    world.finish();
}

#[test]
fn early_dialogs_beyond_the_limit_open_nothing() {
    let mut world = World::scripted();
    let caller = world.connect(A, B);
    world.run(ms(50));
    let invite = world.last_received(B, "INVITE");
    for n in 0..40 {
        world.peer_sends(B, A, respond(&invite, 180, &format!("t{n}"), "", b""));
    }
    world.run(ms(50));
    assert_eq!(world.take_events(A).len(), centralita_sip::limits::EARLY_DIALOGS);
    world.peer_sends(B, A, respond(&invite, 200, "t39", &contact("10.0.0.2"), ANSWER));
    world.run(ms(50));
    assert_eq!(world.last_received(B, "ACK").to_tag(), "t39");
    world.hangup(A, caller, 0);
    world.finish();
}

#[test]
fn route_set_and_remote_target_determine_in_dialog_requests() {
    // Loose routing: target in the Request-URI, route set in Route. Strict: first route in the Request-URI, target last.
    for (first, uri, routes) in [
        ("<sip:10.0.0.2:5060;lr>", "sip:1002@192.0.2.7:6000", "<sip:10.0.0.2:5060;lr> <sip:p2.example;lr>"),
        ("<sip:10.0.0.2:5060>", "sip:10.0.0.2:5060", "<sip:p2.example;lr> <sip:1002@192.0.2.7:6000>"),
    ] {
        let mut world = World::scripted();
        let caller = world.connect(A, B);
        world.run(ms(50));
        let invite = world.last_received(B, "INVITE");
        let lines = format!(
            "Record-Route: <sip:p2.example;lr>\r\nRecord-Route: {first}\r\n{}",
            contact("192.0.2.7:6000")
        );
        world.peer_sends(B, A, respond(&invite, 200, "one", &lines, ANSWER));
        world.run(ms(50));
        world.hangup(A, caller, 0);
        world.run(ms(50));
        for kind in ["ACK", "BYE"] {
            let message = world.last_received(B, kind);
            assert_eq!(message.uri().unwrap().as_str(), uri);
            let written: Vec<_> =
                message.header_lines(HeaderName::Route).map(String::from_utf8_lossy).collect();
            assert_eq!(written.join(" "), routes);
        }
        world.peer_sends(B, A, respond(&world.last_received(B, "BYE"), 200, "", "", b""));
        world.finish();
    }
}
