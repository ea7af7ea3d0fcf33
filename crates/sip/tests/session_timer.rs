//! Session timers (RFC 4028): refresher, refresh, and expiry without refresh.

use crate::network;

use centralita_sip::{Config, HeaderName};
use network::*;

fn within(seconds: u64) -> Config {
    Config { session_expires: secs(seconds), ..config() }
}

#[test]
fn the_caller_refreshes_by_update_at_half_time() {
    let mut world = World::with(vec![within(100), within(100)], 0);
    let (caller, _) = world.call();
    world.run(secs(49));
    assert_eq!(world.sent(A, "UPDATE"), 0);
    world.run(secs(2));
    assert_eq!((world.sent(A, "UPDATE"), world.sent(B, "200 UPDATE")), (1, 1));
    world.run(secs(500));
    assert!(world.sent(A, "UPDATE") >= 10);
    assert_eq!(world.sent(A, "BYE") + world.sent(B, "BYE"), 0);
    assert_eq!((world.take_events(A), world.take_events(B)), (vec![], vec![]));
    world.hangup(A, caller, 0);
    world.finish();
}

#[test]
fn a_peer_without_update_is_refreshed_by_reinvite_with_the_same_sdp() {
    let config = Config { allow: "INVITE, ACK, CANCEL, BYE".into(), ..within(100) };
    let mut world = World::with(vec![within(100), config], 0);
    let (caller, callee) = world.call();
    world.run(secs(51));
    assert_eq!(world.sent(A, "INVITE"), 2);
    assert_eq!(world.take_events(B), ["offered with sdp"]);
    world.answer(B, callee, Ok(ANSWER));
    world.run(secs(1));
    assert_eq!((world.take_events(A), world.take_events(B)), (vec![], vec!["confirmed".into()]));
    world.hangup(A, caller, 0);
    world.finish();
}

#[test]
fn without_refresh_both_sides_end_the_session_before_it_expires() {
    let mut world = World::with(vec![within(100), within(100)], 0);
    world.call();
    world.lose(|_, kind| kind.contains("UPDATE"));
    world.run(secs(49));
    let start = world.now;
    world.run(secs(60));
    // The caller's UPDATE times out first and finds the dialog gone; the UAS would send BYE 32 s before expiry.
    assert_eq!(world.take_events(B), ["ended: session timeout"]);
    assert_eq!(world.take_events(A), ["ended: bye"]);
    let bye = world.wire.iter().find(|(_, from, kind)| *from == B && kind == "BYE").unwrap();
    assert!(bye.0.since(start) < secs(20));
    world.finish();
}

#[test]
fn a_caller_without_timers_is_refreshed_by_us() {
    let mut world = World::with(vec![within(100)], 1);
    let tag = world.answered_call_with("Allow: INVITE, ACK, BYE, UPDATE\r\n");
    world.run(secs(51));
    let update = world.last_received(B, "UPDATE");
    assert_eq!(update.header(HeaderName::SessionExpires), Some("100;refresher=uac"));
    world.peer_sends(B, A, respond(&update, 200, "", "Session-Expires: 100;refresher=uac\r\n", b""));
    world.run(secs(51));
    assert!(world.count(B, "UPDATE") >= 2);
    world.peer_sends(B, A, respond(&world.last_received(B, "UPDATE"), 481, "", "", b""));
    world.run(ms(50));
    assert_eq!(world.take_events(A), ["ended: dialog gone"]);
    assert!(!tag.is_empty());
    world.finish();
}

#[test]
fn too_small_an_interval_is_rejected_with_422_and_a_422_raises_ours() {
    let mut world = World::with(vec![within(100)], 1);
    let lines = "Supported: timer\r\nSession-Expires: 60\r\n";
    world.peer_sends(
        B,
        A,
        request(&PeerRequest { method: "INVITE", branch: "1", cseq: 1, to_tag: "", lines, body: OFFER }),
    );
    world.run(ms(50));
    assert_eq!(world.last_received(B, "422 INVITE").header(HeaderName::MinSe), Some("90"));
    assert_eq!(world.counts(A), (0, 0));

    let caller = world.connect(A, B);
    world.run(ms(50));
    let first = world.last_received(B, "INVITE");
    assert_eq!(first.header(HeaderName::SessionExpires), Some("100"));
    world.peer_sends(B, A, respond(&first, 422, "x", "Min-SE: 300\r\n", b""));
    world.run(ms(50));
    let second = world.last_received(B, "INVITE");
    assert_eq!(second.header(HeaderName::SessionExpires), Some("300"));
    assert_eq!(second.header(HeaderName::MinSe), Some("300"));
    assert_eq!((second.call_id(), second.cseq().number), (first.call_id(), first.cseq().number + 1));
    world.peer_sends(B, A, respond(&second, 486, "x", "", b""));
    world.run(ms(50));
    assert_eq!(world.take_events(A), ["ended: refused 486"]);
    world.hangup(A, caller, 0);
    world.finish();
}

#[test]
fn the_uas_selects_the_refresher() {
    for (lines, refresher, required) in [
        ("Supported: timer\r\nSession-Expires: 95\r\n", "95;refresher=uac", true),
        ("Supported: timer\r\nSession-Expires: 200;refresher=uas\r\n", "100;refresher=uas", false),
        ("Supported: timer\r\n", "100;refresher=uac", true),
        ("", "100;refresher=uas", false),
    ] {
        let mut world = World::with(vec![within(100)], 1);
        world.peer_sends(
            B,
            A,
            request(&PeerRequest { method: "INVITE", branch: "1", cseq: 1, to_tag: "", lines, body: OFFER }),
        );
        world.run(ms(50));
        world.accept(A, Some(ANSWER));
        world.run(ms(50));
        let ok = world.last_received(B, "200 INVITE");
        assert_eq!(ok.header(HeaderName::SessionExpires), Some(refresher), "{lines}");
        assert_eq!(ok.tokens(HeaderName::Require).any(|token| token == "timer"), required);
        world.peer_sends(
            B,
            A,
            request(&PeerRequest {
                method: "BYE",
                branch: "2",
                cseq: 2,
                to_tag: ok.to_tag(),
                lines: "",
                body: b"",
            }),
        );
        world.finish();
    }
}
