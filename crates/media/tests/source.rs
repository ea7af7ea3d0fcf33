//! Who may speak into a call, and who may hear it (security row 9).
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use crate::desk;

use centralita_media::Component;
use centralita_media::limits;
use centralita_media::sdp::{Codec, Direction};
use desk::{A, B, Desk, PHONE_A, PHONE_B, Rtp, at, g711};

const STRANGER: &str = "192.0.2.66:4000";
/// The phone's host by another port: NAT, or somebody else on that host.
const NEIGHBOUR: &str = "198.51.100.1:40000";

#[test]
fn nothing_is_forwarded_before_sdp_spoke_or_from_a_stranger() {
    let mut desk = Desk::new();
    desk.command(centralita_media::MediaCommand::Open { stream: A, port: 10_000 });
    assert!(desk.rtp(A, PHONE_A, &Rtp::voice(1, 1)).is_none());
    let mut desk = Desk::g711_call();
    assert!(desk.talk(A, STRANGER, 66, 0..200).is_empty());
    assert_eq!(desk.talk(A, PHONE_A, 7, 0..10).len(), 10);
    assert!(desk.talk(A, STRANGER, 7, 10..50).is_empty());
    assert!(desk.talk(A, NEIGHBOUR, 7, 10..50).is_empty());
    assert_eq!(desk.close(A).refused, 280);
}

#[test]
fn a_spray_over_the_ports_during_set_up_neither_bleeds_nor_injects() {
    let mut desk = Desk::g711_call();
    for round in 0..20 {
        for port in 0..50 {
            let from = format!("198.51.100.1:{}", 40_000 + port);
            assert!(desk.rtp(A, &from, &Rtp::voice(66, 50 * round + port)).is_none());
        }
        // What B says meanwhile goes to SDP's address.
        let (forward, _) = desk.rtp(B, PHONE_B, &Rtp::voice(2, round)).unwrap();
        assert_eq!(forward.to, at(PHONE_A));
        desk.wait(20);
    }
    assert_eq!(desk.talk(A, PHONE_A, 7, 0..10).len(), 10);
}

/// A call in which A wrote an address that nobody can reach, and signals from its NAT.
fn call_through_nat() -> Desk {
    let named = g711("10.0.0.7:4000", Codec::Pcmu);
    let mut desk = Desk::bridged(named.clone(), g711(PHONE_B, Codec::Pcmu));
    desk.command(centralita_media::MediaCommand::Negotiated {
        stream: A,
        signalling: at(NEIGHBOUR).ip(),
        negotiated: Box::new(named),
    });
    desk
}

#[test]
fn a_phone_behind_nat_is_heard_and_reached_within_five_packets() {
    let mut desk = call_through_nat();
    let passed = desk.talk(A, NEIGHBOUR, 7, 0..20);
    assert!(passed.len() > 20 - 5, "{}", passed.len());
    assert_eq!(desk.rtp(B, PHONE_B, &Rtp::voice(2, 1)).unwrap().0.to, at(NEIGHBOUR));
    // Once its place is known, nobody else's is, not even SDP's after the set-up.
    desk.talk(A, NEIGHBOUR, 7, 20..130);
    assert!(desk.talk(A, "10.0.0.7:4000", 8, 0..20).is_empty());
}

#[test]
fn a_phone_whose_port_alone_was_moved_is_reached_within_half_a_second() {
    let mut desk = Desk::g711_call();
    let passed = desk.talk(A, NEIGHBOUR, 7, 0..50);
    assert_eq!(passed.len(), 50 + 1 - usize::from(limits::PATIENT_RUN));
    assert_eq!(desk.rtp(B, PHONE_B, &Rtp::voice(2, 1)).unwrap().0.to, at(NEIGHBOUR));
}

#[test]
fn a_paced_forgery_from_the_phones_own_host_ends_with_the_phones_first_packet() {
    let mut desk = Desk::g711_call();
    assert!(desk.talk(A, NEIGHBOUR, 66, 0..20).is_empty());
    assert_eq!(desk.talk(A, PHONE_A, 7, 0..10).len(), 10);
    assert!(desk.talk(A, NEIGHBOUR, 66, 20..100).is_empty());
    assert_eq!(desk.rtp(B, PHONE_B, &Rtp::voice(2, 1)).unwrap().0.to, at(PHONE_A));
    // Even where the phone was silent for so long that its neighbour was taken for it.
    let mut desk = Desk::g711_call();
    desk.talk(A, NEIGHBOUR, 66, 0..500);
    assert_eq!(desk.talk(A, PHONE_A, 7, 0..10).len(), 10);
    assert!(desk.talk(A, NEIGHBOUR, 66, 500..600).is_empty());
}

#[test]
fn rtcp_of_a_phone_that_is_where_sdp_says_comes_from_where_sdp_says() {
    let mut desk = Desk::g711_call();
    desk.talk(A, PHONE_A, 7, 0..10);
    desk.talk(B, PHONE_B, 8, 0..10);
    let bye = || vec![0x80, 201, 0, 1, 0, 0, 0, 7, 0x81, 203, 0, 1, 0, 0, 0, 7];
    for from in [NEIGHBOUR, PHONE_A, "198.51.100.1:4003", STRANGER] {
        assert!(desk.receive(A, Component::Rtcp, from, &mut bye()).is_none(), "{from}");
    }
    let (forward, _) = desk.receive(B, Component::Rtcp, "198.51.100.2:5001", &mut bye()).unwrap();
    assert_eq!(forward.to, at("198.51.100.1:4001"));
    assert!(desk.receive(A, Component::Rtcp, "198.51.100.1:4001", &mut bye()).is_some());
}

#[test]
fn a_forged_ssrc_from_the_right_address_is_not_heard_while_the_phone_talks() {
    let mut desk = Desk::g711_call();
    desk.talk(A, PHONE_A, 7, 0..10);
    for n in 10..60 {
        assert_eq!(desk.talk(A, PHONE_A, 7, n..n + 1).len(), 1);
        assert!(desk.rtp(A, PHONE_A, &Rtp::voice(66, n)).is_none());
    }
}

#[test]
fn after_the_call_nothing_passes() {
    let mut desk = Desk::g711_call();
    desk.talk(A, PHONE_A, 7, 0..10);
    desk.close(B);
    assert!(desk.talk(A, PHONE_A, 7, 10..20).is_empty());
    assert!(desk.talk(B, PHONE_B, 7, 10..20).is_empty());
}

#[test]
fn a_flood_from_the_peer_itself_is_cut() {
    let mut desk = Desk::g711_call();
    let passed = (0..5_000).filter(|n| desk.rtp(A, PHONE_A, &Rtp::voice(7, *n)).is_some()).count();
    assert_eq!(passed, usize::from(limits::PACKETS_PER_SECOND));
}

#[test]
fn what_is_no_rtp_goes_nowhere() {
    let mut desk = Desk::g711_call();
    let long = Rtp { payload: vec![0; limits::PACKET_BYTES], ..Rtp::voice(1, 1) };
    for mut bytes in [vec![], vec![0x80; 11], vec![0; 172], vec![0x80, 72], long.bytes(), vec![0xff; 172]] {
        assert!(desk.receive(A, Component::Rtp, PHONE_A, &mut bytes).is_none());
        assert!(desk.receive(A, Component::Rtcp, PHONE_A, &mut bytes).is_none());
    }
    assert_eq!(desk.close(A).refused, 12);
}

#[test]
fn a_peer_whose_address_nobody_knows_is_not_sent_to_until_it_spoke() {
    let mut named = g711(PHONE_A, Codec::Pcmu);
    named.remote = at("0.0.0.0:4000");
    let mut desk = Desk::bridged(named.clone(), g711(PHONE_B, Codec::Pcmu));
    desk.command(centralita_media::MediaCommand::Negotiated {
        stream: A,
        signalling: at(PHONE_A).ip(),
        negotiated: Box::new(named),
    });
    assert!(desk.talk(B, PHONE_B, 2, 0..5).is_empty());
    assert!(!desk.talk(A, PHONE_A, 7, 0..10).is_empty());
    assert_eq!(desk.rtp(B, PHONE_B, &Rtp::voice(2, 5)).unwrap().0.to, at(PHONE_A));
}

#[test]
fn the_old_hold_moves_nobody() {
    // RFC 2543: c=0.0.0.0
    let mut desk = Desk::g711_call();
    desk.talk(A, PHONE_A, 7, 0..10);
    let held = desk::Negotiated {
        remote: at("0.0.0.0:4000"),
        direction: Direction::RecvOnly,
        ..g711(PHONE_A, Codec::Pcmu)
    };
    desk.agree(A, held);
    assert!(desk.rtp(B, PHONE_B, &Rtp::voice(2, 1)).is_none());
    assert_eq!(desk.talk(A, PHONE_A, 7, 10..20).len(), 10);
    desk.agree(A, g711(PHONE_A, Codec::Pcmu));
    assert_eq!(desk.rtp(B, PHONE_B, &Rtp::voice(2, 2)).unwrap().0.to, at(PHONE_A));
}
