//! In-dialog requests, and requests that only claim to be (RFC 3261 §12.2.2).

use crate::network;

use centralita_sip::{HangupParams, HeaderName};
use network::*;

fn within<'a>(method: &'a str, branch: &'a str, cseq: u32, tag: &'a str) -> PeerRequest<'a> {
    PeerRequest { method, branch, cseq, to_tag: tag, lines: "", body: b"" }
}

#[test]
fn a_request_for_no_dialog_is_answered_481() {
    let mut world = World::scripted();
    for (n, method) in
        ["BYE", "INVITE", "UPDATE", "INFO", "PRACK", "OPTIONS", "NOTIFY"].into_iter().enumerate()
    {
        world.peer_sends(B, A, request(&within(method, &format!("{n}"), 1, "unknown")));
        world.run(ms(50));
        assert_eq!(world.count(B, &format!("481 {method}")), 1, "{method}");
    }
    world.peer_sends(B, A, request(&within("ACK", "9", 1, "unknown")));
    world.run(ms(50));
    assert_eq!(world.parties[B].inbox.len(), 7, "an ACK is never answered");
    assert_eq!(world.counts(A), (0, 0));
}

#[test]
fn a_wrong_remote_tag_is_no_dialog() {
    let mut world = World::scripted();
    let tag = world.answered_call();
    let bye =
        String::from_utf8(request(&within("BYE", "x", 9, &tag))).unwrap().replace("tag=peer", "tag=other");
    world.peer_sends(B, A, bye);
    world.run(ms(50));
    assert_eq!(world.count(B, "481 BYE"), 1);
    world.finish_by_peer(&tag, 2);
}

#[test]
fn a_lower_cseq_is_answered_500_and_a_retransmission_from_its_transaction() {
    let mut world = World::scripted();
    let tag = world.answered_call();
    world.peer_sends(B, A, request(&within("INFO", "5", 5, &tag)));
    world.peer_sends(B, A, request(&within("INFO", "5", 5, &tag)));
    world.peer_sends(B, A, request(&within("INFO", "6", 4, &tag)));
    world.run(ms(50));
    assert_eq!((world.count(B, "200 INFO"), world.count(B, "500 INFO")), (2, 1));
    assert_eq!(world.take_events(A).len(), 1);
    world.finish_by_peer(&tag, 6);
}

#[test]
fn unsupported_in_dialog_requests_are_rejected_with_their_status() {
    let mut world = World::scripted();
    let tag = world.answered_call();
    let answers = [
        ("OPTIONS", 200),
        ("SUBSCRIBE", 489),
        ("NOTIFY", 489),
        ("REFER", 405),
        ("MESSAGE", 405),
        ("PUBLISH", 405),
        ("FANCY", 501),
        ("PRACK", 481),
    ];
    for (n, (method, status)) in answers.into_iter().enumerate() {
        let branch = format!("m{n}");
        world.peer_sends(B, A, request(&within(method, &branch, 10 + n as u32, &tag)));
        world.run(ms(50));
        let answer = world.last_received(B, &format!("{status} {method}"));
        let allow = answer.header(HeaderName::Allow).is_some();
        assert_eq!(allow, matches!(status, 200 | 405 | 501), "{method}");
        if matches!(status, 405 | 501) {
            let reason = answer.header(HeaderName::Reason).unwrap_or_default();
            assert!(reason.starts_with(&format!("SIP;cause={status};text=\"")), "{method}: {reason}");
            assert!(!reason.contains("FANCY"), "the method name of the peer is not repeated");
        }
    }
    let line = PeerRequest { lines: "Require: 199, timer\r\n", ..within("INFO", "r", 30, &tag) };
    world.peer_sends(B, A, request(&line));
    world.run(ms(50));
    assert_eq!(world.last_received(B, "420 INFO").header(HeaderName::Unsupported), Some("199"));
    world.finish_by_peer(&tag, 31);
}

#[test]
fn a_bye_during_ringing_ends_the_invite_with_487() {
    let mut world = World::scripted();
    world.peer_sends(B, A, request(&PeerRequest { body: OFFER, ..within("INVITE", "1", 1, "") }));
    world.run(ms(50));
    world.progress(A, 180, None);
    world.run(ms(50));
    let tag = world.last_received(B, "180 INVITE").to_tag().to_owned();
    world.peer_sends(B, A, request(&within("BYE", "2", 2, &tag)));
    world.run(ms(50));
    assert_eq!((world.count(B, "200 BYE"), world.count(B, "487 INVITE")), (1, 1));
    assert_eq!(world.take_events(A), ["ended: bye"]);
    world.finish();
}

#[test]
fn a_bye_that_overtakes_the_200_ends_the_call() {
    let mut world = World::pair();
    world.lose(|from, kind| from == B && kind == "200 INVITE");
    world.connect(A, B);
    world.run(ms(50));
    world.progress(B, 180, None);
    world.accept(B, Some(ANSWER));
    world.run(secs(33)); // never acknowledged
    assert_eq!(world.take_events(B), ["ended: no ack"]);
    assert_eq!(world.take_events(A), ["progress 180 fork 0", "ended: bye"]);
    world.lose(|_, _| false);
    world.finish();
}

#[test]
fn both_sides_may_hang_up_at_once() {
    let mut world = World::pair();
    let (caller, callee) = world.call();
    world.hangup(A, caller, 0);
    world.hangup(B, callee, 0);
    world.run(ms(100));
    assert_eq!(
        (world.take_events(A), world.take_events(B)),
        (vec!["ended: local".into()], vec!["ended: local".into()])
    );
    world.finish();
}

#[test]
fn a_retransmitted_bye_is_answered_after_the_session_has_ended() {
    let mut world = World::scripted();
    let tag = world.answered_call();
    for _ in 0..3 {
        world.peer_sends(B, A, request(&within("BYE", "b", 2, &tag)));
        world.run(ms(50));
        assert_eq!(world.counts(A).1, 0);
    }
    assert_eq!(world.count(B, "200 BYE"), 3);
    assert_eq!(world.take_events(A), ["ended: bye"]);
    world.finish();
}

#[test]
fn the_reason_of_a_hangup_is_sent_in_bye() {
    let mut world = World::scripted();
    world.answered_call();
    let leg = world.leg(A);
    let mut lines = centralita_sip::Headers::new();
    lines.add("Reason", "Q.850;cause=16");
    let hangup = HangupParams { status: 0, phrase: None, lines: Some(&lines) };
    world.act(A, |ep, now, out| ep.hangup(now, leg, hangup, out));
    world.run(ms(50));
    let bye = world.last_received(B, "BYE");
    assert_eq!(bye.header(HeaderName::Reason), Some("Q.850;cause=16"));
    world.peer_sends(B, A, respond(&bye, 200, "", "", b""));
    world.run(ms(50));
    assert_eq!(world.take_events(A), ["ended: local"]);
    world.finish();
}

#[test]
fn a_dialog_from_the_journal_is_ended_after_a_restart() {
    let mut world = World::scripted();
    world.answered_call();
    let leg = world.leg(A);
    let record = world.act(A, |ep, _, _| ep.dialog(leg)).unwrap();
    assert!(record.len() < 4096);
    let next = World::with(vec![config()], 0).parties.remove(0);
    world.parties[A].endpoint = next.endpoint;
    let hop = world.hop(A, B);
    let resumed = world.act(A, |ep, now, _| ep.restore_dialog(now, &record, hop)).unwrap();
    world.hangup(A, resumed, 0);
    world.run(ms(50));
    let bye = world.last_received(B, "BYE");
    assert_eq!((bye.call_id(), bye.to_tag()), ("peers-call", "peer"));
    assert_eq!(bye.uri().unwrap().as_str(), "sip:1002@10.0.0.2:5060");
    assert!(bye.cseq().number > 1000);
    world.peer_sends(B, A, respond(&bye, 200, "", "", b""));
    world.run(ms(50));
    assert_eq!(world.take_events(A), ["ended: local"]);
    world.finish();
    for garbage in [&b""[..], b"1", b"\xff", b"2\ncaller\n"] {
        assert!(world.act(A, |ep, now, _| ep.restore_dialog(now, garbage, hop)).is_none());
    }
}

#[test]
fn an_in_dialog_request_from_another_host_is_accepted_only_after_authentication() {
    // security.md rows 3 and 8: knowing the tags does not prove that the sender is the phone.
    let mut world = World::with(vec![config()], 2);
    let tag = world.answered_call();
    let before = world.take_events(A).len();
    world.peer_sends(C, A, request(&within("BYE", "m", 9, &tag)));
    world.peer_sends(C, A, request(&within("ACK", "n", 1, &tag)));
    world.run(ms(50));
    assert_eq!(world.take_events(A)[before..], ["source changed BYE"]);
    assert!(world.parties[C].inbox.is_empty());
    world.peer_sends(B, A, request(&within("INFO", "o", 2, &tag)));
    world.run(ms(50));
    assert_eq!(world.count(B, "200 INFO"), 1, "the call is still up");
    let (session, bye) = world.parties[A].source_changes.pop().unwrap();
    world.act(A, |ep, now, out| ep.accept_source(now, session, bye, out));
    world.run(ms(50));
    assert_eq!(world.count(C, "200 BYE"), 1);
    world.finish();
}

#[test]
fn a_cancel_from_another_host_matches_no_transaction() {
    let mut world = World::with(vec![config()], 2);
    world.peer_sends(
        B,
        A,
        request(&PeerRequest { method: "INVITE", branch: "i", cseq: 1, to_tag: "", lines: "", body: OFFER }),
    );
    world.run(ms(50));
    world.peer_sends(
        C,
        A,
        request(&PeerRequest { method: "CANCEL", branch: "i", cseq: 1, to_tag: "", lines: "", body: b"" }),
    );
    world.run(ms(50));
    assert_eq!((world.count(C, "481 CANCEL"), world.count(B, "487 INVITE")), (1, 0));
    world.peer_sends(
        B,
        A,
        request(&PeerRequest { method: "CANCEL", branch: "i", cseq: 1, to_tag: "", lines: "", body: b"" }),
    );
    world.run(ms(50));
    assert_eq!((world.count(B, "200 CANCEL"), world.count(B, "487 INVITE")), (1, 1));
    world.finish();
}
