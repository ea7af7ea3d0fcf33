//! An INVITE without SDP: we make the offer, and the answer comes later (RFC 3261 §13.2.1, RFC 3262 §5).

use crate::network;

use network::*;

fn invite(lines: &str) -> Vec<u8> {
    request(&PeerRequest { method: "INVITE", branch: "1", cseq: 1, to_tag: "", lines, body: b"" })
}

#[test]
fn the_200_carries_our_offer_and_the_ack_the_answer() {
    let mut world = World::scripted();
    world.peer_sends(B, A, invite(""));
    world.run(ms(50));
    world.progress(A, 183, Some(OFFER)); // cannot be reliable, so it must not carry an offer
    world.run(ms(50));
    assert!(world.last_received(B, "183 INVITE").body().is_empty());
    world.accept(A, Some(OFFER));
    world.run(ms(50));
    let ok = world.last_received(B, "200 INVITE");
    assert_eq!(ok.body(), OFFER);
    let tag = ok.to_tag().to_owned();
    let reinvite =
        PeerRequest { method: "INVITE", branch: "9", cseq: 2, to_tag: &tag, lines: "", body: OFFER };
    world.peer_sends(B, A, request(&reinvite));
    world.run(ms(50));
    assert_eq!(world.count(B, "491 INVITE"), 1, "our offer has no answer yet");
    world.peer_sends(
        B,
        A,
        request(&PeerRequest { method: "ACK", branch: "2", cseq: 1, to_tag: &tag, lines: "", body: ANSWER }),
    );
    world.run(ms(50));
    assert_eq!(world.take_events(A), ["confirmed with sdp"]);
    world.finish_by_peer(&tag, 3);
}

#[test]
fn a_reliable_183_carries_our_offer_and_prack_the_answer() {
    let mut world = World::scripted();
    world.peer_sends(B, A, invite("Supported: 100rel\r\n"));
    world.run(ms(50));
    world.progress(A, 183, Some(OFFER));
    world.run(ms(50));
    let early = world.last_received(B, "183 INVITE");
    assert_eq!(early.body(), OFFER);
    let tag = early.to_tag().to_owned();
    let rack =
        format!("RAck: {} 1 INVITE\r\n", early.number(centralita_sip::HeaderName::RSeq).unwrap().unwrap());
    let prack =
        PeerRequest { method: "PRACK", branch: "2", cseq: 2, to_tag: &tag, lines: &rack, body: ANSWER };
    world.peer_sends(B, A, request(&prack));
    world.run(ms(50));
    assert_eq!(world.take_events(A), ["confirmed with sdp"]);
    world.accept(A, None);
    world.run(ms(50));
    assert!(world.last_received(B, "200 INVITE").body().is_empty());
    world.peer_sends(
        B,
        A,
        request(&PeerRequest { method: "ACK", branch: "3", cseq: 1, to_tag: &tag, lines: "", body: b"" }),
    );
    world.run(ms(50));
    assert_eq!(world.take_events(A), ["confirmed"]);
    world.finish_by_peer(&tag, 3);
}

#[test]
fn a_reinvite_without_sdp_asks_for_our_offer() {
    let mut world = World::scripted();
    let tag = world.answered_call();
    let reinvite = PeerRequest { method: "INVITE", branch: "5", cseq: 2, to_tag: &tag, lines: "", body: b"" };
    world.peer_sends(B, A, request(&reinvite));
    world.run(ms(50));
    assert_eq!(world.take_events(A), ["offered"]);
    let leg = world.leg(A);
    world.answer(A, leg, Ok(OFFER));
    world.run(ms(50));
    assert_eq!(world.last_received(B, "200 INVITE").body(), OFFER);
    world.peer_sends(
        B,
        A,
        request(&PeerRequest { method: "ACK", branch: "6", cseq: 2, to_tag: &tag, lines: "", body: ANSWER }),
    );
    world.run(ms(50));
    assert_eq!(world.take_events(A), ["confirmed with sdp"]);
    world.finish_by_peer(&tag, 3);
}
