//! RTCP: passed on under our numbers, measured, and made where nobody else makes it (RFC 3550 §6).
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use crate::desk;

use centralita_media::sdp::Codec;
use centralita_media::{Component, MediaCommand, Source, Tone};
use desk::{A, B, Desk, PHONE_A, PHONE_B, at, g711};

const RTCP_A: &str = "198.51.100.1:4001";
const RTCP_B: &str = "198.51.100.2:5001";

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_be_bytes()).collect()
}

fn word(bytes: &[u8], n: usize) -> u32 {
    u32::from_be_bytes(bytes[4 * n..4 * n + 4].try_into().unwrap())
}

/// A sender report with one block, and a description.
fn sender_report(ssrc: u32, ntp: (u32, u32), timestamp: u32, block: [u32; 6]) -> Vec<u8> {
    let mut bytes = words(&[0x81c8_000c, ssrc, ntp.0, ntp.1, timestamp, 10, 1_600]);
    bytes.extend(words(&block));
    bytes.extend(words(&[0x81ca_0003, ssrc, 0x0104_6140, 0x6263_0000]));
    bytes
}

#[test]
fn reports_pass_between_two_who_hear_each_other_and_give_the_round_trip() {
    let mut desk = Desk::g711_call();
    let to_b = desk.talk(A, PHONE_A, 7, 100..110)[0].ssrc;
    let to_a = desk.talk(B, PHONE_B, 9, 200..210)[0].ssrc;

    let mut report = sender_report(7, (0x1111_2222, 0x3333_4444), 5_000, [to_a, 0x0200_0005, 209, 80, 0, 0]);
    let (forward, bytes) = desk.receive(A, Component::Rtcp, RTCP_A, &mut report).unwrap();
    assert_eq!((forward.stream, forward.channel, forward.to), (B, Component::Rtcp, at(RTCP_B)));
    assert_eq!((word(&bytes, 1), word(&bytes, 4)), (to_b, 5_000));
    assert_eq!((word(&bytes, 7), word(&bytes, 9)), (9, 209), "B's own SSRC and numbers");
    assert_eq!(word(&bytes, 14), to_b, "the description is that of the same source");

    // B answers 150 ms later, having held the report for 100 ms.
    desk.wait(150);
    let mut answer = words(&[0x81c9_0007, 9, to_b, 0, 109, 0, 0x2222_3333, 6_554]);
    let (_, bytes) = desk.receive(B, Component::Rtcp, RTCP_B, &mut answer).unwrap();
    assert_eq!((word(&bytes, 1), word(&bytes, 2)), (to_a, 7));
    let (a, b) = (desk.close(A), desk.close(B));
    assert!(b.rtt_us.abs_diff(50_000) < 100, "{b:?}");
    assert_eq!((a.remote_jitter_us, a.remote_loss), (10_000, 128));
    assert!(a.remote_mos < 2.0 && b.remote_mos > 4.0 && a.mos > 4.0, "{a:?} {b:?}");
}

#[test]
fn strangers_and_half_packets_are_no_reports() {
    let mut desk = Desk::g711_call();
    let report = || sender_report(7, (1, 2), 3, [0; 6]);
    assert!(
        desk.receive(A, Component::Rtcp, RTCP_A, &mut report()).is_none(),
        "nothing is known of A's SSRC's listener yet"
    );
    desk.talk(A, PHONE_A, 7, 0..5);
    desk.talk(B, PHONE_B, 9, 0..5);
    assert!(desk.receive(A, Component::Rtcp, "192.0.2.66:4001", &mut report()).is_none());
    assert!(desk.receive(A, Component::Rtcp, RTCP_A, &mut report()).is_some());
    assert!(
        desk.receive(A, Component::Rtcp, "198.51.100.1:9999", &mut report()).is_none(),
        "another program on A's host"
    );
    for length in 1..68 {
        let mut torn = report();
        torn.truncate(length);
        if let Some((forward, _)) = desk.receive(A, Component::Rtcp, RTCP_A, &mut torn) {
            assert!(forward.len == 52, "{length}");
        }
    }
}

#[test]
fn feedback_that_speaks_of_other_numbers_is_cut_off() {
    let mut desk = Desk::g711_call();
    desk.talk(A, PHONE_A, 7, 0..5);
    desk.talk(B, PHONE_B, 9, 0..5);
    let mut compound = words(&[0x80c9_0001, 7, 0x81cd_0003, 7, 9, 0x1234_5678]);
    assert_eq!(desk.receive(A, Component::Rtcp, RTCP_A, &mut compound).unwrap().0.len, 8);
}

#[test]
fn on_a_shared_port_both_are_told_apart() {
    // RFC 5761 §4
    let muxed = |remote: &str| {
        let mut negotiated = g711(remote, Codec::Pcmu);
        (negotiated.rtcp_mux, negotiated.remote_rtcp) = (true, at(remote));
        negotiated
    };
    let mut desk = Desk::bridged(muxed(PHONE_A), g711(PHONE_B, Codec::Pcmu));
    desk.talk(A, PHONE_A, 7, 0..5);
    desk.talk(B, PHONE_B, 9, 0..5);
    let mut report = sender_report(7, (1, 2), 3, [0; 6]);
    let (forward, _) = desk.receive(A, Component::Rtp, PHONE_A, &mut report).unwrap();
    assert_eq!((forward.channel, forward.to), (Component::Rtcp, at(RTCP_B)));
    let mut report = sender_report(9, (1, 2), 3, [0; 6]);
    let (forward, _) = desk.receive(B, Component::Rtcp, RTCP_B, &mut report).unwrap();
    assert_eq!((forward.channel, forward.to), (Component::Rtp, at(PHONE_A)));
}

#[test]
fn where_we_are_the_end_we_report_ourselves() {
    let mut desk = Desk::new();
    desk.command(MediaCommand::Open { stream: A, port: 10_000 });
    desk.agree(A, g711(PHONE_A, Codec::Pcmu));
    desk.feed(A, Source::Tone(Tone::Milliwatt));
    desk.talk(A, PHONE_A, 7, 0..50);
    let sent = desk.play(30_000);
    let reports: Vec<_> = sent.iter().filter(|(_, channel, ..)| *channel == Component::Rtcp).collect();
    assert!((4..=12).contains(&reports.len()), "{}", reports.len());
    let (_, _, to, bytes) = reports[1];
    assert_eq!((*to, bytes.len() % 4, word(bytes, 0)), (at(RTCP_A), 0, 0x81c8_000c));
    assert_eq!((word(bytes, 7), word(bytes, 9)), (7, 49), "the block speaks of what A sent");
    assert_eq!(word(bytes, 13) & 0xffff_0000, 0x81ca_0000);
    assert_eq!(bytes.len() as u32, 4 * (13 + (word(bytes, 13) & 0xffff) + 1));
    // A answers the last one: the round trip is known.
    desk.wait(100);
    let bytes = &reports.last().unwrap().3;
    let lsr = word(bytes, 2) << 16 | word(bytes, 3) >> 16;
    let ours = word(bytes, 1);
    desk.receive(A, Component::Rtcp, RTCP_A, &mut words(&[0x81c9_0007, 7, ours, 0, 49, 0, lsr, 0]));
    assert!(desk.close(A).rtt_us > 0);
}

#[test]
fn a_listener_whose_other_end_reports_hears_no_reports_of_ours() {
    let mut desk = Desk::g711_call();
    desk.talk(A, PHONE_A, 7, 0..5);
    desk.talk(B, PHONE_B, 9, 0..5);
    let mut own = 0;
    for second in 0..30 {
        if second % 5 == 0 {
            desk.receive(A, Component::Rtcp, RTCP_A, &mut sender_report(7, (second, 0), 3, [0; 6])).unwrap();
        }
        let sent = desk.play(1_000);
        own += sent.iter().filter(|(stream, ..)| *stream == B).count();
        assert!(sent.iter().all(|(_, channel, ..)| *channel == Component::Rtcp));
    }
    assert_eq!(own, 0);
}
