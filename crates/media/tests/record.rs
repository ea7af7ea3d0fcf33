//! Recordings: both channels on one timeline, despite loss, reordering, stalls and jumps of timestamps.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use crate::test_engine;

use std::time::Duration;

use centralita_media::sdp::Codec;
use centralita_media::{Ended, FileFormat, MediaCommand, MediaEvent, RecordingId, StartRecording, StreamId};
use test_engine::{A, B, PHONE_A, PHONE_B, RecordedAudio, Rtp, TestEngine};

const RECORDING: RecordingId = RecordingId(77);
/// µ-law bytes and their samples.
const VOICE: u8 = 0x20;
const VOICE_PCM: i16 = -7_932;
const OTHER_VOICE: u8 = 0xa8;

fn decode(byte: u8) -> i16 {
    let byte = !byte;
    let magnitude = (((i32::from(byte & 0x0f) << 3) + 0x84) << ((byte >> 4) & 7)) - 0x84;
    if byte & 0x80 == 0 { magnitude as i16 } else { -magnitude as i16 }
}

fn record(right: Option<StreamId>) -> StartRecording {
    let name = "recordings/one".into();
    StartRecording {
        recording: RECORDING,
        left: A,
        right,
        name,
        format: FileFormat::Wav,
        longest: None,
        quiet: None,
    }
}

fn start(test: &mut TestEngine, record: StartRecording) {
    test.command(MediaCommand::StartRecording(Box::new(record)));
}

fn voice(n: u16, byte: u8) -> Rtp {
    Rtp { payload: vec![byte; 160], ..Rtp::voice(7, n) }
}

/// A peer sends audio of `byte` in packets `range`, 20 ms apart, with ticks between.
fn send_audio(test: &mut TestEngine, stream: StreamId, range: std::ops::Range<u16>, byte: u8) {
    let from = if stream == A { PHONE_A } else { PHONE_B };
    for n in range {
        test.rtp(stream, from, &voice(n, byte));
        test.run(20);
    }
}

fn stop(test: &mut TestEngine) -> (RecordedAudio, MediaEvent) {
    test.command(MediaCommand::StopRecording { recording: RECORDING });
    (test.sent.1.remove(&RECORDING).unwrap_or_default(), test.events.pop().unwrap())
}

/// Position of the first sample of a byte's value, and the number of such samples.
fn count_samples(samples: &[i16], byte: u8) -> (Option<usize>, usize) {
    let is = |sample: &&i16| **sample == decode(byte);
    (samples.iter().position(|sample| is(&sample)), samples.iter().filter(is).count())
}

#[test]
fn each_party_is_on_its_own_channel_at_the_time_it_spoke() {
    // S177
    let mut test = TestEngine::g711_call();
    start(&mut test, record(Some(B)));
    send_audio(&mut test, A, 0..50, VOICE);
    send_audio(&mut test, B, 0..50, OTHER_VOICE);
    let (audio, end) = stop(&mut test);
    assert_eq!((audio.left.len(), audio.right.len()), (16_000, 16_000));
    assert_eq!(decode(VOICE), VOICE_PCM);
    assert_eq!(
        (count_samples(&audio.left, VOICE), count_samples(&audio.left, OTHER_VOICE)),
        ((Some(0), 8_000), (None, 0))
    );
    assert_eq!(
        (count_samples(&audio.right, OTHER_VOICE), count_samples(&audio.right, VOICE)),
        ((Some(8_000), 8_000), (None, 0))
    );
    let ended = Ended::Stopped;
    assert_eq!(end, MediaEvent::Recorded { recording: RECORDING, millis: 2_000, sound_millis: 2_000, ended });
    // After the end no block is emitted.
    send_audio(&mut test, A, 50..60, VOICE);
    assert!(test.sent.1.is_empty());
}

#[test]
fn loss_is_silence_and_reordering_is_undone() {
    let mut test = TestEngine::g711_call();
    start(&mut test, record(None));
    // 3 and 4 are lost, 7 comes after 9, 1 twice.
    for n in [0, 1, 1, 2, 5, 6, 8, 9, 7, 10] {
        test.rtp(A, PHONE_A, &voice(n, 0x10 + n as u8));
        test.run(20);
    }
    test.run(200);
    let (audio, _) = stop(&mut test);
    assert!(audio.right.is_empty());
    for n in [0, 1, 2, 5, 6, 7, 8, 9, 10] {
        assert_eq!(count_samples(&audio.left, 0x10 + n as u8), (Some(160 * n), 160), "packet {n}");
    }
    assert!(audio.left[160 * 3..160 * 5].iter().all(|s| *s == 0));
}

#[test]
fn a_network_stall_shifts_nothing_and_packets_that_are_too_late_are_dropped() {
    let mut test = TestEngine::g711_call();
    start(&mut test, record(None));
    send_audio(&mut test, A, 0..10, VOICE);
    test.run(800);
    // Forty packets come at once; those of the last 300 ms are still in time.
    for n in 10..50 {
        test.rtp(A, PHONE_A, &voice(n, OTHER_VOICE));
    }
    send_audio(&mut test, A, 50..60, VOICE);
    let (audio, _) = stop(&mut test);
    let (first, count) = count_samples(&audio.left, OTHER_VOICE);
    assert!((2_000..=2_400).contains(&count), "{count}");
    assert_eq!(first, Some(8_000 - count));
    assert_eq!(count_samples(&audio.left[1_600..], VOICE), (Some(6_400), 1_600));
}

#[test]
fn timestamps_that_jump_are_placed_by_their_arrival() {
    let mut test = TestEngine::g711_call();
    start(&mut test, record(None));
    send_audio(&mut test, A, 0..10, VOICE);
    // The phone pauses for a second, then its timestamps jump by an hour or stand still.
    for jump in [28_800_000_u32, 0] {
        test.run(1_000);
        for n in 0..20_u16 {
            let timestamp = 1_600 + jump + 160 * u32::from(n);
            let sequence = 10 + n + if jump == 0 { 20 } else { 0 };
            test.rtp(A, PHONE_A, &Rtp { sequence, timestamp, ..voice(n, OTHER_VOICE) });
            test.run(20);
        }
    }
    let (audio, _) = stop(&mut test);
    let first = &audio.left[9_600..12_800];
    assert!(first.iter().all(|s| *s == decode(OTHER_VOICE)), "ahead of the clock: aligned at once");
    let second = &audio.left[20_800..24_000];
    // Behind the clock: aligned anew once a late burst is excluded.
    assert!(
        second[1_600..].iter().all(|s| *s == decode(OTHER_VOICE)),
        "{:?}",
        count_samples(second, OTHER_VOICE)
    );
}

#[test]
fn a_pause_is_silence_in_the_file_and_counts_as_time() {
    let mut test = TestEngine::g711_call();
    start(&mut test, record(Some(B)));
    send_audio(&mut test, A, 0..50, VOICE);
    test.command(MediaCommand::PauseRecording { recording: RECORDING });
    send_audio(&mut test, A, 50..100, OTHER_VOICE);
    test.command(MediaCommand::ResumeRecording { recording: RECORDING });
    send_audio(&mut test, A, 100..150, VOICE);
    let (audio, _) = stop(&mut test);
    assert_eq!(audio.left.len(), 24_000);
    assert_eq!(count_samples(&audio.left, OTHER_VOICE), (None, 0), "audio of the pause is not in the file");
    assert!(audio.left[..8_000].iter().chain(&audio.left[16_000..]).all(|s| *s == decode(VOICE)));
}

#[test]
fn silence_is_reported_once_and_again_after_a_sound() {
    let mut test = TestEngine::g711_call();
    start(&mut test, StartRecording { quiet: Some(Duration::from_secs(2)), ..record(None) });
    send_audio(&mut test, A, 0..100, VOICE);
    assert!(test.events.is_empty());
    send_audio(&mut test, A, 100..300, 0xff);
    assert_eq!(std::mem::take(&mut test.events), [MediaEvent::SilenceDetected { recording: RECORDING }]);
    send_audio(&mut test, A, 300..310, VOICE);
    test.run(3_000); // no packets at all are silence too
    assert_eq!(std::mem::take(&mut test.events), [MediaEvent::SilenceDetected { recording: RECORDING }]);
    let (_, end) = stop(&mut test);
    let MediaEvent::Recorded { millis, sound_millis, .. } = end else { panic!("{end:?}") };
    assert_eq!(millis, 9_200);
    assert!((2_200..=2_500).contains(&sound_millis), "{sound_millis}");
}

#[test]
fn a_recording_ends_at_its_maximum_length_or_with_its_last_stream() {
    let mut test = TestEngine::g711_call();
    start(&mut test, StartRecording { longest: Some(Duration::from_millis(1_050)), ..record(None) });
    send_audio(&mut test, A, 0..100, VOICE);
    let (millis, sound_millis) = (1_050, 1_050);
    assert_eq!(
        test.events.pop(),
        Some(MediaEvent::Recorded { recording: RECORDING, millis, sound_millis, ended: Ended::Longest })
    );
    assert_eq!(test.sent.1.remove(&RECORDING).unwrap().left.len(), 8_400);

    start(&mut test, record(Some(B)));
    send_audio(&mut test, A, 100..110, VOICE);
    test.close(A);
    send_audio(&mut test, B, 0..10, OTHER_VOICE);
    assert!(test.events.is_empty(), "one stream is still open");
    test.command(MediaCommand::Close { stream: B });
    let [MediaEvent::Recorded { millis, ended, .. }, MediaEvent::Closed { .. }] = test.events[..] else {
        panic!("{:?}", test.events)
    };
    assert_eq!((millis, ended), (400, Ended::Left));
    let audio = test.sent.1.remove(&RECORDING).unwrap();
    assert_eq!(
        (count_samples(&audio.left, VOICE).1, count_samples(&audio.right, OTHER_VOICE).1),
        (1_600, 1_600)
    );
    assert_eq!(test.engine.deadline(), None);

    test.events.clear();
    start(&mut test, record(Some(B)));
    assert!(matches!(test.events[..], [MediaEvent::Recorded { millis: 0, ended: Ended::Left, .. }]));
}

#[test]
fn what_is_relayed_is_the_same_with_and_without_a_recording() {
    let mut plain =
        TestEngine::bridged(test_engine::g711(PHONE_A, Codec::Pcmu), test_engine::g711(PHONE_B, Codec::Pcma));
    let mut recorded =
        TestEngine::bridged(test_engine::g711(PHONE_A, Codec::Pcmu), test_engine::g711(PHONE_B, Codec::Pcma));
    start(&mut recorded, record(Some(B)));
    assert_eq!(plain.send_voice(A, PHONE_A, 7, 0..100), recorded.send_voice(A, PHONE_A, 7, 0..100));
    recorded.run(1_000);
    let (audio, _) = stop(&mut recorded);
    assert_eq!(audio.left[..160], [decode(0); 160]);
}
