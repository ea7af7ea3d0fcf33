//! Two bridged streams: what is relayed, with which sequence numbers and payload types, and in which law.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use crate::test_engine;

use centralita_media::sdp::{Codec, Direction};
use centralita_media::{Component, MediaCommand, MediaEvent, Source, StreamId};
use test_engine::{A, B, PHONE_A, PHONE_B, Rtp, TestEngine, at, g711, is_continuous};

#[test]
fn a_plain_call_is_relayed_unchanged_with_our_ssrc() {
    let mut test = TestEngine::g711_call();
    let (forward, packet) = test.rtp(A, PHONE_A, &Rtp::voice(7, 500)).unwrap();
    assert_eq!(
        (forward.stream, forward.channel, forward.to, forward.len),
        (B, Component::Rtp, at(PHONE_B), 172)
    );
    assert_eq!((packet.sequence, packet.timestamp, &packet.payload), (500, 80_000, &vec![244; 160]));
    assert!(packet.marker && packet.ssrc != 7);
    test.advance(20);
    // Loss and reordering are relayed unchanged.
    for n in [502, 501, 505] {
        let (_, packet) = test.rtp(A, PHONE_A, &Rtp::voice(7, n)).unwrap();
        assert_eq!((packet.sequence, packet.marker), (n, false));
    }
    let report = test.close(A);
    assert_eq!((report.received, report.lost, report.refused), (4, 2, 0));
    assert_eq!(test.close(B).sent, 4);
}

#[test]
fn each_leg_receives_the_payload_types_that_it_negotiated() {
    let opus = |payload_type, remote| {
        let mut negotiated = g711(remote, Codec::Other("opus/48000/2".into()));
        (negotiated.payload_type, negotiated.alternates) =
            (payload_type, vec![(0, Codec::Pcmu), (13, Codec::Other("CN/8000".into()))]);
        negotiated
    };
    let mut b = opus(96, PHONE_B);
    b.dtmf = Some(97);
    b.alternates.extend([
        (111, Codec::Other("OPUS/48000/2".into())),
        (101, Codec::Other("telephone-event/8000".into())),
    ]);
    let mut test = TestEngine::bridged(opus(111, PHONE_A), b);
    let mut sequence = 0;
    let mut through = |stream, from, payload_type| {
        sequence += 1;
        let packet = Rtp { payload_type, ..Rtp::voice(1, sequence) };
        test.rtp(stream, from, &packet).map(|(_, packet)| packet.payload_type)
    };
    assert_eq!([111, 0, 13, 101].map(|n| through(A, PHONE_A, n)), [96, 0, 13, 97].map(Some));
    // The answerer may send with its own payload type or with ours (RFC 3264 §6.1).
    assert_eq!([96, 111, 97, 101].map(|n| through(B, PHONE_B, n)), [111, 111, 101, 101].map(Some));
    assert_eq!([8, 18, 100].map(|n| through(A, PHONE_A, n)), [None; 3]);
}

#[test]
fn g711_is_transcoded_in_both_directions() {
    let mut test = TestEngine::bridged(g711(PHONE_A, Codec::Pcmu), g711(PHONE_B, Codec::Pcma));
    let packet = Rtp { payload: vec![0xff, 0x80, 0x00], ..Rtp::voice(1, 1) };
    let (_, to_b) = test.rtp(A, PHONE_A, &packet).unwrap();
    assert_eq!((to_b.payload_type, &to_b.payload), (8, &vec![0xd5, 0xaa, 0x2a]));
    let (_, to_a) =
        test.rtp(B, PHONE_B, &Rtp { payload_type: 8, payload: to_b.payload, ..Rtp::voice(2, 1) }).unwrap();
    assert_eq!((to_a.payload_type, &to_a.payload), (0, &vec![0xfe, 0x80, 0x00])); // A-law has no zero
}

#[test]
fn a_listener_receives_one_rtp_stream_whatever_its_source() {
    let mut test = TestEngine::g711_call();
    let mut received = test.send_voice(A, PHONE_A, 7, 60_000..60_020);
    test.set_source(B, Source::Silence);
    received.extend(test.run_rtp(200));
    test.set_source(B, Source::Stream(A));
    received.extend(test.send_voice(A, PHONE_A, 7, 60_040..60_060));
    // The phone starts a new RTP stream after a pause.
    test.advance(2_500);
    received.extend(test.send_voice(A, PHONE_A, 9, 3..20));
    assert!(is_continuous(&received), "{received:?}");
    assert_eq!(received.iter().filter(|p| p.marker).count(), 4);
    assert!(received.len() > 60);
}

#[test]
fn packets_from_before_a_change_of_source_are_dropped() {
    let mut test = TestEngine::g711_call();
    test.set_source(B, Source::Silence);
    test.run_rtp(100);
    test.set_source(B, Source::Stream(A));
    assert!(test.rtp(A, PHONE_A, &Rtp::voice(7, 100)).is_some());
    assert!(test.rtp(A, PHONE_A, &Rtp::voice(7, 99)).is_none());
    assert!(test.rtp(A, PHONE_A, &Rtp::voice(7, 101)).is_some());
}

#[test]
fn a_direction_of_sdp_that_forbids_sending_or_receiving_is_obeyed() {
    let mut test = TestEngine::g711_call();
    test.send_voice(A, PHONE_A, 7, 0..5);
    test.negotiate(
        B,
        test_engine::Negotiated { direction: Direction::RecvOnly, ..g711(PHONE_B, Codec::Pcmu) },
    );
    assert!(test.send_voice(A, PHONE_A, 7, 5..15).is_empty());
    test.negotiate(B, g711(PHONE_B, Codec::Pcmu));
    let after = test.send_voice(A, PHONE_A, 7, 15..25);
    assert!(after.len() == 10 && after[0].sequence == 5, "the hold is a pause, not loss: {after:?}");

    test.negotiate(
        A,
        test_engine::Negotiated { direction: Direction::SendOnly, ..g711(PHONE_A, Codec::Pcmu) },
    );
    assert!(test.send_voice(A, PHONE_A, 7, 25..30).is_empty());
    test.negotiate(A, g711(PHONE_A, Codec::Pcmu));
    assert_eq!(test.send_voice(A, PHONE_A, 7, 30..35).len(), 5);
    let report = test.close(A);
    assert_eq!((report.refused, report.lost), (5, 0));
}

#[test]
fn hold_plays_music_and_nothing_of_the_held_party_is_relayed() {
    let mut test = TestEngine::g711_call();
    test.set_source(A, Source::Tone(centralita_media::Tone::Music));
    let music = test.run_rtp(1_000);
    assert_eq!(music.len(), 51);
    assert!(is_continuous(&music) && music.iter().any(|p| p.payload.iter().any(|b| *b != 0xff)));
    // Meanwhile A does not receive B.
    assert!(test.send_voice(B, PHONE_B, 9, 0..5).is_empty());
}

#[test]
fn echo_returns_the_received_packets() {
    let mut test = TestEngine::new();
    test.command(MediaCommand::Open { stream: A, port: 10_000 });
    test.negotiate(A, g711(PHONE_A, Codec::Pcma));
    test.set_source(A, Source::Echo);
    let (forward, packet) = test.rtp(A, PHONE_A, &Rtp { payload_type: 8, ..Rtp::voice(7, 1) }).unwrap();
    assert_eq!((forward.stream, forward.to, packet.payload_type), (A, at(PHONE_A), 8));
    assert_eq!(packet.payload, Rtp::voice(7, 1).payload);
}

#[test]
fn a_digit_is_relayed_and_reported_once() {
    let mut test = TestEngine::g711_call();
    let event = |n: u16, end: u8, duration: u16| {
        let [d0, d1] = duration.to_be_bytes();
        Rtp {
            payload_type: 101,
            timestamp: 8_000,
            payload: vec![5, (end << 7) | 0x0a, d0, d1],
            ..Rtp::voice(7, n)
        }
    };
    test.send_voice(A, PHONE_A, 7, 0..10);
    let packets =
        [event(10, 0, 160), event(11, 0, 320), event(12, 1, 800), event(13, 1, 800), event(14, 1, 800)];
    let passed: Vec<_> = packets.iter().filter_map(|p| test.rtp(A, PHONE_A, p)).map(|(_, p)| p).collect();
    assert!(passed.len() == 5 && passed.iter().all(|p| p.payload_type == 101 && p.payload[0] == 5));
    assert_eq!(test.events, [MediaEvent::Digit { stream: A, digit: '5', millis: 100 }]);
}

#[test]
fn a_listener_without_telephone_event_gets_no_gap_in_its_sequence_numbers() {
    let mut test = TestEngine::bridged(
        g711(PHONE_A, Codec::Pcmu),
        test_engine::Negotiated { dtmf: None, ..g711(PHONE_B, Codec::Pcmu) },
    );
    let mut received = test.send_voice(A, PHONE_A, 7, 0..10);
    for n in 10..15 {
        let press =
            Rtp { payload_type: 101, timestamp: 1_600, payload: vec![1, 0x8a, 3, 0x20], ..Rtp::voice(7, n) };
        assert!(test.rtp(A, PHONE_A, &press).is_none());
    }
    received.extend(test.send_voice(A, PHONE_A, 7, 15..20));
    assert!(is_continuous(&received));
    assert_eq!(test.events.len(), 1);
}

#[test]
fn a_closed_stream_is_no_source_even_when_its_id_is_reused() {
    let mut test = TestEngine::g711_call();
    test.send_voice(A, PHONE_A, 7, 0..5);
    test.close(A);
    assert!(test.send_voice(A, PHONE_A, 7, 5..10).is_empty());
    test.command(MediaCommand::Open { stream: A, port: 10_000 });
    test.negotiate(A, g711(PHONE_A, Codec::Pcmu));
    assert!(test.send_voice(A, PHONE_A, 7, 10..15).is_empty());
    assert_eq!(test.engine.streams(), 2);
    test.close(A);
    test.close(B);
    assert_eq!((test.engine.streams(), test.engine.deadline()), (0, None));
}

#[test]
fn a_source_may_be_set_before_it_opens_and_the_newest_listener_wins() {
    let mut test = TestEngine::new();
    let other = StreamId(9);
    for stream in [B, other] {
        test.command(MediaCommand::Open { stream, port: 10_000 });
        test.negotiate(stream, g711(PHONE_B, Codec::Pcmu));
        test.set_source(stream, Source::Stream(A));
    }
    test.command(MediaCommand::Open { stream: A, port: 10_002 });
    test.negotiate(A, g711(PHONE_A, Codec::Pcmu));
    assert_eq!(test.rtp(A, PHONE_A, &Rtp::voice(7, 1)).unwrap().0.stream, other);
    test.close(other);
    assert_eq!(test.rtp(A, PHONE_A, &Rtp::voice(7, 2)).unwrap().0.stream, B);
}

#[test]
fn silence_is_reported_once_and_again_after_a_sound() {
    let mut test = TestEngine::g711_call();
    test.send_voice(A, PHONE_A, 7, 0..5);
    test.run(29_000);
    assert!(test.events.is_empty());
    test.run(62_000);
    let silent = |stream| MediaEvent::RtpTimeout { stream };
    assert_eq!(test.events.len(), 2);
    assert!(test.events.contains(&silent(A)) && test.events.contains(&silent(B)));
    test.send_voice(A, PHONE_A, 7, 5..6);
    test.run(40_000);
    assert_eq!(test.events[2..], [silent(A)]);
}

#[test]
fn a_tone_is_played_in_the_codec_of_the_leg_once_negotiated() {
    let mut test = TestEngine::new();
    test.command(MediaCommand::Open { stream: A, port: 10_000 });
    test.set_source(A, Source::Tone(centralita_media::Tone::Milliwatt));
    assert!(test.run(100).is_empty());
    test.negotiate(A, g711(PHONE_A, Codec::Pcma));
    let received = test.run_rtp(1_000);
    assert!(received.len() >= 50 && received.iter().all(|p| p.payload_type == 8 && p.payload.len() == 160));
    // A codec that we cannot encode: nothing is sent.
    test.negotiate(A, g711(PHONE_A, Codec::Other("opus/48000/2".into())));
    assert!(test.run_rtp(1_000).is_empty());
}
