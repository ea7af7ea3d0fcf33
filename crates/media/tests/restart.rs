//! A peer that starts its sequence numbers over under the same SSRC (RFC 3550 §A.1).
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use crate::test_engine;

use std::time::Duration;

use centralita_media::sdp::{Codec, Direction};
use centralita_media::{FileFormat, MediaCommand, MediaEvent, RecordingId, Source, StartRecording};
use test_engine::{A, B, PHONE_A, Rtp, TestEngine, g711, is_continuous};

/// Packet `n` after a restart at sequence number `first` and timestamp `timestamp`.
fn restarted(first: u16, timestamp: u32, n: u16) -> Rtp {
    Rtp { sequence: first.wrapping_add(n), timestamp: timestamp + 160 * u32::from(n), ..Rtp::voice(7, n) }
}

fn send(test: &mut TestEngine, packets: impl Iterator<Item = Rtp>) -> Vec<Rtp> {
    let mut relayed = Vec::new();
    for packet in packets {
        relayed.extend(test.rtp(A, PHONE_A, &packet).map(|(_, packet)| packet));
        test.advance(20);
    }
    relayed
}

#[test]
fn a_restart_is_renumbered_for_the_listener_from_the_second_packet() {
    // Behind and ahead of the last number, early in the stream and late in it.
    for (before, first) in [(20, 100), (20, 61_000), (500, 100), (500, 61_000), (20, 40_200)] {
        let mut test = TestEngine::g711_call();
        let mut relayed = test.send_voice(A, PHONE_A, 7, 40_000 - before..40_000);
        let after = send(&mut test, (0..100).map(|n| restarted(first, 12, n)));
        let expected = if first == 40_200 { 100 } else { 99 }; // a gap of 200 is loss, not a restart
        assert_eq!(after.len(), expected, "{before} {first}");
        if first != 40_200 {
            relayed.extend(after);
            // What follows continues from the restarted numbers.
            test.set_source(B, Source::Silence);
            relayed.extend(test.run_rtp(200));
            assert!(is_continuous(&relayed), "{before} {first}: {relayed:?}");
            let elapsed = relayed.last().unwrap().timestamp.wrapping_sub(relayed[0].timestamp);
            assert!(elapsed.abs_diff(160 * relayed.len() as u32) < 640, "{elapsed}");
            assert_eq!(test.close(A).lost, 0, "{before} {first}");
        }
    }
}

#[test]
fn a_single_packet_far_out_of_sequence_is_dropped() {
    let mut test = TestEngine::g711_call();
    let mut relayed = test.send_voice(A, PHONE_A, 7, 40_000..40_020);
    assert!(test.rtp(A, PHONE_A, &restarted(100, 12, 0)).is_none());
    relayed.extend(test.send_voice(A, PHONE_A, 7, 40_020..40_040));
    assert!(relayed.len() == 40 && is_continuous(&relayed), "{relayed:?}");
    let report = test.close(A);
    assert_eq!((report.received, report.lost, report.refused), (40, 0, 1));
}

#[test]
fn a_restart_during_a_hold_is_renumbered() {
    let mut test = TestEngine::g711_call();
    let mut relayed = test.send_voice(A, PHONE_A, 7, 40_000..40_020);
    test.negotiate(
        A,
        test_engine::Negotiated { direction: Direction::SendOnly, ..g711(PHONE_A, Codec::Pcmu) },
    );
    test.advance(5_000);
    test.negotiate(A, g711(PHONE_A, Codec::Pcmu));
    relayed.extend(send(&mut test, (0..20).map(|n| restarted(100, 12, n))));
    assert_eq!(relayed.len(), 40);
    assert!(is_continuous(&relayed), "{relayed:?}");
}

#[test]
fn digits_are_reported_after_a_restart() {
    let mut test = TestEngine::g711_call();
    let event = |sequence: u16, timestamp: u32, code: u8, end: u8| Rtp {
        payload_type: 101,
        sequence,
        timestamp,
        payload: vec![code, (end << 7) | 0x0a, 0, 160],
        ..Rtp::voice(7, 0)
    };
    test.send_voice(A, PHONE_A, 7, 40_000..40_020);
    send(&mut test, (0..4).map(|n| event(40_020 + n, 6_403_200, 1, u8::from(n > 0))));
    test.send_voice(A, PHONE_A, 7, 40_024..40_030);
    let mut relayed = send(&mut test, (0..30).map(|n| restarted(100, 12, n)));
    relayed.extend(send(&mut test, (0..4).map(|n| event(130 + n, 4_812, 2, u8::from(n > 0)))));
    let digit = |digit| MediaEvent::Digit { stream: A, digit, millis: 20 };
    assert_eq!(test.events, [digit('1'), digit('2')]);
    assert_eq!(relayed.len(), 33);
}

#[test]
fn a_recording_continues_over_a_restart() {
    let mut test = TestEngine::g711_call();
    let recording = RecordingId(1);
    let request = StartRecording {
        recording,
        left: A,
        right: None,
        name: "one".into(),
        format: FileFormat::Wav,
        longest: Some(Duration::from_secs(60)),
        quiet: None,
    };
    test.command(MediaCommand::StartRecording(Box::new(request)));
    for n in 40_000..40_050 {
        test.rtp(A, PHONE_A, &Rtp { payload: vec![0x20; 160], ..Rtp::voice(7, n) });
        test.run(20);
    }
    for n in 0..50 {
        test.rtp(A, PHONE_A, &Rtp { payload: vec![0xa0; 160], ..restarted(100, 12, n) });
        test.run(20);
    }
    test.command(MediaCommand::StopRecording { recording });
    let samples = &test.sent.1[&recording].left;
    let count = |value: i16| samples.iter().filter(|s| s.signum() == value.signum()).count();
    assert_eq!(count(-1), 8_000);
    assert!(count(1) >= 8_000 - 160 * 6, "{}", count(1));
}
