//! RTCP (RFC 3550 §6): reports are forwarded with translated SSRCs, evaluated, and generated where no other peer's reports are forwarded.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use crate::test_engine;

use centralita_media::sdp::Codec;
use centralita_media::{Component, MediaCommand, Source, Tone};
use test_engine::{A, B, PHONE_A, PHONE_B, TestEngine, at, g711};

const RTCP_A: &str = "198.51.100.1:4001";
const RTCP_B: &str = "198.51.100.2:5001";

fn u32s(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_be_bytes()).collect()
}

fn u32_at(bytes: &[u8], n: usize) -> u32 {
    u32::from_be_bytes(bytes[4 * n..4 * n + 4].try_into().unwrap())
}

/// A sender report with one block, and a source description.
fn sender_report(ssrc: u32, ntp: (u32, u32), timestamp: u32, block: [u32; 6]) -> Vec<u8> {
    let mut bytes = u32s(&[0x81c8_000c, ssrc, ntp.0, ntp.1, timestamp, 10, 1_600]);
    bytes.extend(u32s(&block));
    bytes.extend(u32s(&[0x81ca_0003, ssrc, 0x0104_6140, 0x6263_0000]));
    bytes
}

#[test]
fn reports_are_forwarded_between_bridged_streams_and_give_the_round_trip_time() {
    let mut test = TestEngine::g711_call();
    let to_b = test.send_voice(A, PHONE_A, 7, 100..110)[0].ssrc;
    let to_a = test.send_voice(B, PHONE_B, 9, 200..210)[0].ssrc;

    let mut report = sender_report(7, (0x1111_2222, 0x3333_4444), 5_000, [to_a, 0x0200_0005, 209, 80, 0, 0]);
    let (forward, bytes) = test.receive(A, Component::Rtcp, RTCP_A, &mut report).unwrap();
    assert_eq!((forward.stream, forward.channel, forward.to), (B, Component::Rtcp, at(RTCP_B)));
    assert_eq!((u32_at(&bytes, 1), u32_at(&bytes, 4)), (to_b, 5_000));
    assert_eq!((u32_at(&bytes, 7), u32_at(&bytes, 9)), (9, 209), "B's own SSRC and numbers");
    assert_eq!(u32_at(&bytes, 14), to_b, "the source description has the same SSRC");

    // B answers 150 ms later, after holding the report for 100 ms.
    test.advance(150);
    let mut answer = u32s(&[0x81c9_0007, 9, to_b, 0, 109, 0, 0x2222_3333, 6_554]);
    let (_, bytes) = test.receive(B, Component::Rtcp, RTCP_B, &mut answer).unwrap();
    assert_eq!((u32_at(&bytes, 1), u32_at(&bytes, 2)), (to_a, 7));
    let (a, b) = (test.close(A), test.close(B));
    assert!(b.rtt_us.abs_diff(50_000) < 100, "{b:?}");
    assert_eq!((a.remote_jitter_us, a.remote_loss), (10_000, 128));
    assert!(a.remote_mos < 2.0 && b.remote_mos > 4.0 && a.mos > 4.0, "{a:?} {b:?}");
}

#[test]
fn reports_from_other_sources_and_truncated_ones_are_rejected() {
    let mut test = TestEngine::g711_call();
    let report = || sender_report(7, (1, 2), 3, [0; 6]);
    assert!(
        test.receive(A, Component::Rtcp, RTCP_A, &mut report()).is_none(),
        "neither stream has an SSRC yet"
    );
    test.send_voice(A, PHONE_A, 7, 0..5);
    test.send_voice(B, PHONE_B, 9, 0..5);
    assert!(test.receive(A, Component::Rtcp, "192.0.2.66:4001", &mut report()).is_none());
    assert!(test.receive(A, Component::Rtcp, RTCP_A, &mut report()).is_some());
    assert!(
        test.receive(A, Component::Rtcp, "198.51.100.1:9999", &mut report()).is_none(),
        "another program on A's host"
    );
    for length in 1..68 {
        let mut torn = report();
        torn.truncate(length);
        if let Some((forward, _)) = test.receive(A, Component::Rtcp, RTCP_A, &mut torn) {
            assert!(forward.len == 52, "{length}");
        }
    }
}

#[test]
fn feedback_packets_are_cut_off_the_compound() {
    let mut test = TestEngine::g711_call();
    test.send_voice(A, PHONE_A, 7, 0..5);
    test.send_voice(B, PHONE_B, 9, 0..5);
    let mut compound = u32s(&[0x80c9_0001, 7, 0x81cd_0003, 7, 9, 0x1234_5678]);
    assert_eq!(test.receive(A, Component::Rtcp, RTCP_A, &mut compound).unwrap().0.len, 8);
}

#[test]
fn rtp_and_rtcp_on_a_shared_port_are_distinguished() {
    // RFC 5761 §4
    let muxed = |remote: &str| {
        let mut negotiated = g711(remote, Codec::Pcmu);
        (negotiated.rtcp_mux, negotiated.remote_rtcp) = (true, at(remote));
        negotiated
    };
    let mut test = TestEngine::bridged(muxed(PHONE_A), g711(PHONE_B, Codec::Pcmu));
    test.send_voice(A, PHONE_A, 7, 0..5);
    test.send_voice(B, PHONE_B, 9, 0..5);
    let mut report = sender_report(7, (1, 2), 3, [0; 6]);
    let (forward, _) = test.receive(A, Component::Rtp, PHONE_A, &mut report).unwrap();
    assert_eq!((forward.channel, forward.to), (Component::Rtcp, at(RTCP_B)));
    let mut report = sender_report(9, (1, 2), 3, [0; 6]);
    let (forward, _) = test.receive(B, Component::Rtcp, RTCP_B, &mut report).unwrap();
    assert_eq!((forward.channel, forward.to), (Component::Rtp, at(PHONE_A)));
}

#[test]
fn a_stream_without_a_bridged_peer_gets_our_own_reports() {
    let mut test = TestEngine::new();
    test.command(MediaCommand::Open { stream: A, port: 10_000 });
    test.negotiate(A, g711(PHONE_A, Codec::Pcmu));
    test.set_source(A, Source::Tone(Tone::Milliwatt));
    test.send_voice(A, PHONE_A, 7, 0..50);
    let sent = test.run(30_000);
    let reports: Vec<_> = sent.iter().filter(|(_, channel, ..)| *channel == Component::Rtcp).collect();
    assert!((4..=12).contains(&reports.len()), "{}", reports.len());
    let (_, _, to, bytes) = reports[1];
    assert_eq!((*to, bytes.len() % 4, u32_at(bytes, 0)), (at(RTCP_A), 0, 0x81c8_000c));
    assert_eq!((u32_at(bytes, 7), u32_at(bytes, 9)), (7, 49), "the block reports on A's packets");
    assert_eq!(u32_at(bytes, 13) & 0xffff_0000, 0x81ca_0000);
    assert_eq!(bytes.len() as u32, 4 * (13 + (u32_at(bytes, 13) & 0xffff) + 1));
    // A answers the last report: the round-trip time is known.
    test.advance(100);
    let bytes = &reports.last().unwrap().3;
    let lsr = u32_at(bytes, 2) << 16 | u32_at(bytes, 3) >> 16;
    let ours = u32_at(bytes, 1);
    test.receive(A, Component::Rtcp, RTCP_A, &mut u32s(&[0x81c9_0007, 7, ours, 0, 49, 0, lsr, 0]));
    assert!(test.close(A).rtt_us > 0);
}

#[test]
fn a_listener_with_forwarded_reports_gets_none_of_our_own() {
    let mut test = TestEngine::g711_call();
    test.send_voice(A, PHONE_A, 7, 0..5);
    test.send_voice(B, PHONE_B, 9, 0..5);
    let mut own = 0;
    for second in 0..30 {
        if second % 5 == 0 {
            test.receive(A, Component::Rtcp, RTCP_A, &mut sender_report(7, (second, 0), 3, [0; 6])).unwrap();
        }
        let sent = test.run(1_000);
        own += sent.iter().filter(|(stream, ..)| *stream == B).count();
        assert!(sent.iter().all(|(_, channel, ..)| *channel == Component::Rtcp));
    }
    assert_eq!(own, 0);
}
