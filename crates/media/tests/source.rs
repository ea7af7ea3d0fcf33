//! From which sources RTP is accepted, and to which it is sent (security row 9).
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use crate::test_engine;

use centralita_media::Component;
use centralita_media::limits;
use centralita_media::sdp::{Codec, Direction};
use test_engine::{A, B, PHONE_A, PHONE_B, Rtp, TestEngine, at, g711};

const OTHER_HOST: &str = "192.0.2.66:4000";
/// Another port of the phone's host: a NAT, or another program on that host.
const OTHER_PORT: &str = "198.51.100.1:40000";

#[test]
fn nothing_is_forwarded_before_negotiation_or_from_another_source() {
    let mut test = TestEngine::new();
    test.command(centralita_media::MediaCommand::Open { stream: A, port: 10_000 });
    assert!(test.rtp(A, PHONE_A, &Rtp::voice(1, 1)).is_none());
    let mut test = TestEngine::g711_call();
    assert!(test.send_voice(A, OTHER_HOST, 66, 0..200).is_empty());
    assert_eq!(test.send_voice(A, PHONE_A, 7, 0..10).len(), 10);
    assert!(test.send_voice(A, OTHER_HOST, 7, 10..50).is_empty());
    assert!(test.send_voice(A, OTHER_PORT, 7, 10..50).is_empty());
    assert_eq!(test.close(A).refused, 280);
}

#[test]
fn a_port_spray_during_set_up_neither_receives_nor_injects_audio() {
    let mut test = TestEngine::g711_call();
    for round in 0..20 {
        for port in 0..50 {
            let from = format!("198.51.100.1:{}", 40_000 + port);
            assert!(test.rtp(A, &from, &Rtp::voice(66, 50 * round + port)).is_none());
        }
        // Meanwhile B's packets go to SDP's address.
        let (forward, _) = test.rtp(B, PHONE_B, &Rtp::voice(2, round)).unwrap();
        assert_eq!(forward.to, at(PHONE_A));
        test.advance(20);
    }
    assert_eq!(test.send_voice(A, PHONE_A, 7, 0..10).len(), 10);
}

/// A call in which A's SDP has an unreachable private address, and its signalling comes from its NAT.
fn call_through_nat() -> TestEngine {
    let named = g711("10.0.0.7:4000", Codec::Pcmu);
    let mut test = TestEngine::bridged(named.clone(), g711(PHONE_B, Codec::Pcmu));
    test.command(centralita_media::MediaCommand::Negotiated {
        stream: A,
        signalling: at(OTHER_PORT).ip(),
        negotiated: Box::new(named),
    });
    test
}

#[test]
fn a_phone_behind_nat_is_latched_within_five_packets() {
    let mut test = call_through_nat();
    let passed = test.send_voice(A, OTHER_PORT, 7, 0..20);
    assert!(passed.len() > 20 - 5, "{}", passed.len());
    assert_eq!(test.rtp(B, PHONE_B, &Rtp::voice(2, 1)).unwrap().0.to, at(OTHER_PORT));
    // Once latched, no other source is accepted, not even SDP's address after the set-up.
    test.send_voice(A, OTHER_PORT, 7, 20..130);
    assert!(test.send_voice(A, "10.0.0.7:4000", 8, 0..20).is_empty());
}

#[test]
fn a_phone_whose_port_was_changed_by_a_nat_is_latched_within_half_a_second() {
    let mut test = TestEngine::g711_call();
    let passed = test.send_voice(A, OTHER_PORT, 7, 0..50);
    assert_eq!(passed.len(), 50 + 1 - usize::from(limits::NAT_PROBATION));
    assert_eq!(test.rtp(B, PHONE_B, &Rtp::voice(2, 1)).unwrap().0.to, at(OTHER_PORT));
}

#[test]
fn a_paced_forgery_from_the_phones_own_host_ends_with_the_phones_first_packet() {
    let mut test = TestEngine::g711_call();
    assert!(test.send_voice(A, OTHER_PORT, 66, 0..20).is_empty());
    assert_eq!(test.send_voice(A, PHONE_A, 7, 0..10).len(), 10);
    assert!(test.send_voice(A, OTHER_PORT, 66, 20..100).is_empty());
    assert_eq!(test.rtp(B, PHONE_B, &Rtp::voice(2, 1)).unwrap().0.to, at(PHONE_A));
    // The same where the phone was silent for so long that the other port was latched.
    let mut test = TestEngine::g711_call();
    test.send_voice(A, OTHER_PORT, 66, 0..500);
    assert_eq!(test.send_voice(A, PHONE_A, 7, 0..10).len(), 10);
    assert!(test.send_voice(A, OTHER_PORT, 66, 500..600).is_empty());
}

#[test]
fn rtcp_of_a_phone_at_the_address_in_sdp_is_accepted_only_from_the_address_in_sdp() {
    let mut test = TestEngine::g711_call();
    test.send_voice(A, PHONE_A, 7, 0..10);
    test.send_voice(B, PHONE_B, 8, 0..10);
    let bye = || vec![0x80, 201, 0, 1, 0, 0, 0, 7, 0x81, 203, 0, 1, 0, 0, 0, 7];
    for from in [OTHER_PORT, PHONE_A, "198.51.100.1:4003", OTHER_HOST] {
        assert!(test.receive(A, Component::Rtcp, from, &mut bye()).is_none(), "{from}");
    }
    let (forward, _) = test.receive(B, Component::Rtcp, "198.51.100.2:5001", &mut bye()).unwrap();
    assert_eq!(forward.to, at("198.51.100.1:4001"));
    assert!(test.receive(A, Component::Rtcp, "198.51.100.1:4001", &mut bye()).is_some());
}

#[test]
fn a_forged_ssrc_from_the_right_address_is_rejected_while_the_phone_sends() {
    let mut test = TestEngine::g711_call();
    test.send_voice(A, PHONE_A, 7, 0..10);
    for n in 10..60 {
        assert_eq!(test.send_voice(A, PHONE_A, 7, n..n + 1).len(), 1);
        assert!(test.rtp(A, PHONE_A, &Rtp::voice(66, n)).is_none());
    }
}

#[test]
fn nothing_is_forwarded_after_the_call() {
    let mut test = TestEngine::g711_call();
    test.send_voice(A, PHONE_A, 7, 0..10);
    test.close(B);
    assert!(test.send_voice(A, PHONE_A, 7, 10..20).is_empty());
    assert!(test.send_voice(B, PHONE_B, 7, 10..20).is_empty());
}

#[test]
fn a_flood_from_the_peer_is_limited() {
    let mut test = TestEngine::g711_call();
    let passed = (0..5_000).filter(|n| test.rtp(A, PHONE_A, &Rtp::voice(7, *n)).is_some()).count();
    assert_eq!(passed, usize::from(limits::PACKETS_PER_SECOND));
}

#[test]
fn packets_that_are_not_rtp_are_rejected() {
    let mut test = TestEngine::g711_call();
    let long = Rtp { payload: vec![0; limits::PACKET_BYTES], ..Rtp::voice(1, 1) };
    for mut bytes in [vec![], vec![0x80; 11], vec![0; 172], vec![0x80, 72], long.bytes(), vec![0xff; 172]] {
        assert!(test.receive(A, Component::Rtp, PHONE_A, &mut bytes).is_none());
        assert!(test.receive(A, Component::Rtcp, PHONE_A, &mut bytes).is_none());
    }
    assert_eq!(test.close(A).refused, 12);
}

/// A call in which A's SDP has a private address and its signalling comes through an edge, while its RTP comes from a third host.
fn call_behind_an_edge(remote: &str, signalling: &str) -> TestEngine {
    let named = g711(remote, Codec::Pcmu);
    let mut test = TestEngine::bridged(named.clone(), g711(PHONE_B, Codec::Pcmu));
    test.negotiate_from(A, signalling.parse().unwrap(), named);
    test
}

const PRIVATE: &str = "10.0.0.7:4000";
const EDGE: &str = "203.0.113.9";

#[test]
fn media_behind_an_edge_is_latched_after_a_steady_second_where_sdp_has_a_silent_private_address() {
    for private in [
        PRIVATE,
        "172.20.1.1:4000",
        "192.168.1.5:4000",
        "100.70.1.1:4000",
        "169.254.7.7:4000",
        "[fd00::5]:4000",
    ] {
        let mut test = call_behind_an_edge(private, EDGE);
        let passed = test.send_voice(A, OTHER_HOST, 7, 0..100);
        assert_eq!(passed.len(), 100 + 1 - usize::from(limits::UNNAMED_PROBATION), "{private}");
        assert_eq!(test.rtp(B, PHONE_B, &Rtp::voice(2, 1)).unwrap().0.to, at(OTHER_HOST));
        // Once latched, no other host is accepted before a period of silence.
        assert!(test.send_voice(A, "192.0.2.99:4000", 8, 0..100).is_empty());
    }
    // An edge in a private network of another kind, or an edge on the loopback.
    for (private, edge) in
        [(PRIVATE, "192.168.1.1"), ("192.168.1.5:4000", "10.0.0.1"), (PRIVATE, "127.0.0.1")]
    {
        let mut test = call_behind_an_edge(private, edge);
        assert!(!test.send_voice(A, OTHER_HOST, 7, 0..100).is_empty(), "{private} {edge}");
    }
}

#[test]
fn a_source_that_neither_sdp_nor_signalling_named_gives_way_to_those_they_named() {
    // security row 9
    for (named, lost) in [(PRIVATE, 0), ("203.0.113.9:7000", usize::from(limits::PROBATION) - 1)] {
        let mut test = call_behind_an_edge(PRIVATE, EDGE);
        test.send_voice(A, OTHER_HOST, 66, 0..500);
        assert_eq!(test.send_voice(A, named, 7, 0..20).len(), 20 - lost, "{named}");
        assert_eq!(test.rtp(B, PHONE_B, &Rtp::voice(2, 1)).unwrap().0.to, at(named));
        assert!(test.send_voice(A, OTHER_HOST, 66, 500..700).is_empty());
        // A named source that pauses does not open the stream again.
        test.advance(10_000);
        assert!(test.send_voice(A, OTHER_HOST, 66, 700..900).is_empty());
    }
}

#[test]
fn a_third_host_is_not_latched_where_the_address_in_sdp_is_public_or_may_be_reached() {
    // security row 9: a public address, phones of our own network, and a proxy in it.
    for (remote, signalling) in [
        (PHONE_A, "198.51.100.1"),
        (PHONE_A, EDGE),
        ("[2001:db8::7]:4000", EDGE),
        (PRIVATE, "10.0.0.7"),
        (PRIVATE, "10.250.0.1"),
        ("192.168.1.5:4000", "192.168.200.1"),
        ("127.0.0.1:4000", "127.0.0.1"),
        ("0.0.0.0:4000", EDGE),
    ] {
        let mut test = call_behind_an_edge(remote, signalling);
        assert!(test.send_voice(A, OTHER_HOST, 66, 0..1_000).is_empty(), "{remote} {signalling}");
    }
}

#[test]
fn a_third_host_is_not_latched_by_bursts_pauses_or_beside_another_one() {
    // security row 9
    let mut test = call_behind_an_edge(PRIVATE, EDGE);
    for n in 0..400 {
        assert!(test.rtp(A, OTHER_HOST, &Rtp::voice(66, n)).is_none(), "a burst");
    }
    let mut test = call_behind_an_edge(PRIVATE, EDGE);
    for n in 0..200 {
        assert!(test.rtp(A, OTHER_HOST, &Rtp::voice(66, n)).is_none(), "not paced like audio");
        test.advance(300);
    }
    let mut test = call_behind_an_edge(PRIVATE, EDGE);
    for n in 0..500 {
        assert!(test.rtp(A, OTHER_HOST, &Rtp::voice(66, n)).is_none(), "two hosts compete");
        assert!(test.rtp(A, "192.0.2.99:5000", &Rtp::voice(7, n)).is_none(), "two hosts compete");
        test.advance(20);
    }
    // A spray does not delay a phone behind the NAT of the signalling host, even where other ports of that host send too.
    for ports in [1, 4] {
        let mut test = call_behind_an_edge(PRIVATE, EDGE);
        let mut passed = 0;
        for n in 0..20 {
            for port in 0..40 {
                assert!(test.rtp(A, &format!("192.0.2.66:{}", 5_000 + port), &Rtp::voice(66, n)).is_none());
            }
            for port in 0..ports {
                let from = format!("203.0.113.9:{}", 7_000 + port);
                let is_first = port == 0;
                let is_forwarded = test.rtp(A, &from, &Rtp::voice(7, n)).is_some();
                assert!(is_first || !is_forwarded, "the first port completes its probation first");
                passed += usize::from(is_forwarded);
            }
            test.advance(20);
        }
        assert_eq!(passed, 20 + 1 - usize::from(limits::PROBATION), "{ports}");
    }
}

#[test]
fn a_phone_that_was_latched_by_its_signalling_host_is_not_replaced_by_a_third_host() {
    // security row 9
    let mut test = call_behind_an_edge(PRIVATE, EDGE);
    test.send_voice(A, "203.0.113.9:7000", 7, 0..20);
    test.advance(10_000);
    assert!(test.send_voice(A, OTHER_HOST, 66, 0..500).is_empty());
}

#[test]
fn a_peer_without_an_address_is_sent_to_after_its_first_packets() {
    let mut named = g711(PHONE_A, Codec::Pcmu);
    named.remote = at("0.0.0.0:4000");
    let mut test = TestEngine::bridged(named.clone(), g711(PHONE_B, Codec::Pcmu));
    test.command(centralita_media::MediaCommand::Negotiated {
        stream: A,
        signalling: at(PHONE_A).ip(),
        negotiated: Box::new(named),
    });
    assert!(test.send_voice(B, PHONE_B, 2, 0..5).is_empty());
    assert!(!test.send_voice(A, PHONE_A, 7, 0..10).is_empty());
    assert_eq!(test.rtp(B, PHONE_B, &Rtp::voice(2, 5)).unwrap().0.to, at(PHONE_A));
}

#[test]
fn a_hold_by_rfc_2543_keeps_the_latch() {
    // RFC 2543: c=0.0.0.0
    let mut test = TestEngine::g711_call();
    test.send_voice(A, PHONE_A, 7, 0..10);
    let held = test_engine::Negotiated {
        remote: at("0.0.0.0:4000"),
        direction: Direction::RecvOnly,
        ..g711(PHONE_A, Codec::Pcmu)
    };
    test.negotiate(A, held);
    assert!(test.rtp(B, PHONE_B, &Rtp::voice(2, 1)).is_none());
    assert_eq!(test.send_voice(A, PHONE_A, 7, 10..20).len(), 10);
    test.negotiate(A, g711(PHONE_A, Codec::Pcmu));
    assert_eq!(test.rtp(B, PHONE_B, &Rtp::voice(2, 2)).unwrap().0.to, at(PHONE_A));
}
