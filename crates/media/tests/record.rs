//! Recordings: both sides on one time line, whatever the network did to their packets.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use crate::desk;

use std::time::Duration;

use centralita_media::sdp::Codec;
use centralita_media::{Ended, FileFormat, MediaCommand, MediaEvent, RecordingId, StartRecording, StreamId};
use desk::{A, B, Desk, PHONE_A, PHONE_B, Rtp, Tape};

const TAPE: RecordingId = RecordingId(77);
/// µ-law bytes and what they mean.
const LOUD: u8 = 0x20;
const LOUD_PCM: i16 = -7_932;
const OTHER: u8 = 0xa8;

fn value(byte: u8) -> i16 {
    let byte = !byte;
    let magnitude = (((i32::from(byte & 0x0f) << 3) + 0x84) << ((byte >> 4) & 7)) - 0x84;
    if byte & 0x80 == 0 { magnitude as i16 } else { -magnitude as i16 }
}

fn record(right: Option<StreamId>) -> StartRecording {
    let name = "recordings/one".into();
    StartRecording {
        recording: TAPE,
        left: A,
        right,
        name,
        format: FileFormat::Wav,
        longest: None,
        quiet: None,
    }
}

fn start(desk: &mut Desk, record: StartRecording) {
    desk.command(MediaCommand::StartRecording(Box::new(record)));
}

fn voice(n: u16, byte: u8) -> Rtp {
    Rtp { payload: vec![byte; 160], ..Rtp::voice(7, n) }
}

/// A says `byte` for packets `range`, 20 ms apart, with ticks between.
fn say(desk: &mut Desk, stream: StreamId, range: std::ops::Range<u16>, byte: u8) {
    let from = if stream == A { PHONE_A } else { PHONE_B };
    for n in range {
        desk.rtp(stream, from, &voice(n, byte));
        desk.play(20);
    }
}

fn stop(desk: &mut Desk) -> (Tape, MediaEvent) {
    desk.command(MediaCommand::StopRecording { recording: TAPE });
    (desk.sent.1.remove(&TAPE).unwrap_or_default(), desk.events.pop().unwrap())
}

/// Where a byte's value begins and how often it is there.
fn found(audio: &[i16], byte: u8) -> (Option<usize>, usize) {
    let is = |sample: &&i16| **sample == value(byte);
    (audio.iter().position(|sample| is(&sample)), audio.iter().filter(is).count())
}

#[test]
fn each_party_is_on_its_own_side_at_its_own_time() {
    // S177
    let mut desk = Desk::g711_call();
    start(&mut desk, record(Some(B)));
    say(&mut desk, A, 0..50, LOUD);
    say(&mut desk, B, 0..50, OTHER);
    let (tape, end) = stop(&mut desk);
    assert_eq!((tape.left.len(), tape.right.len()), (16_000, 16_000));
    assert_eq!(value(LOUD), LOUD_PCM);
    assert_eq!((found(&tape.left, LOUD), found(&tape.left, OTHER)), ((Some(0), 8_000), (None, 0)));
    assert_eq!((found(&tape.right, OTHER), found(&tape.right, LOUD)), ((Some(8_000), 8_000), (None, 0)));
    let ended = Ended::Stopped;
    assert_eq!(end, MediaEvent::Recorded { recording: TAPE, millis: 2_000, sound_millis: 2_000, ended });
    // It is over: nothing more is handed out.
    say(&mut desk, A, 50..60, LOUD);
    assert!(desk.sent.1.is_empty());
}

#[test]
fn loss_is_silence_and_disorder_is_put_right() {
    let mut desk = Desk::g711_call();
    start(&mut desk, record(None));
    // 3 and 4 are lost, 7 comes after 9, 1 twice.
    for n in [0, 1, 1, 2, 5, 6, 8, 9, 7, 10] {
        desk.rtp(A, PHONE_A, &voice(n, 0x10 + n as u8));
        desk.play(20);
    }
    desk.play(200);
    let (tape, _) = stop(&mut desk);
    assert!(tape.right.is_empty());
    for n in [0, 1, 2, 5, 6, 7, 8, 9, 10] {
        assert_eq!(found(&tape.left, 0x10 + n as u8), (Some(160 * n), 160), "packet {n}");
    }
    assert!(tape.left[160 * 3..160 * 5].iter().all(|s| *s == 0));
}

#[test]
fn a_stall_of_the_network_moves_nothing_and_what_is_too_late_is_left_out() {
    let mut desk = Desk::g711_call();
    start(&mut desk, record(None));
    say(&mut desk, A, 0..10, LOUD);
    desk.play(800);
    // Forty packets come at once; those of the last 300 ms still have a place.
    for n in 10..50 {
        desk.rtp(A, PHONE_A, &voice(n, OTHER));
    }
    say(&mut desk, A, 50..60, LOUD);
    let (tape, _) = stop(&mut desk);
    let (first, count) = found(&tape.left, OTHER);
    assert!((2_000..=2_400).contains(&count), "{count}");
    assert_eq!(first, Some(8_000 - count));
    assert_eq!(found(&tape.left[1_600..], LOUD), (Some(6_400), 1_600));
}

#[test]
fn timestamps_that_jump_are_placed_by_their_arrival() {
    let mut desk = Desk::g711_call();
    start(&mut desk, record(None));
    say(&mut desk, A, 0..10, LOUD);
    // The phone pauses for a second, and its clock jumps by an hour or stands still.
    for jump in [28_800_000_u32, 0] {
        desk.play(1_000);
        for n in 0..20_u16 {
            let timestamp = 1_600 + jump + 160 * u32::from(n);
            let sequence = 10 + n + if jump == 0 { 20 } else { 0 };
            desk.rtp(A, PHONE_A, &Rtp { sequence, timestamp, ..voice(n, OTHER) });
            desk.play(20);
        }
    }
    let (tape, _) = stop(&mut desk);
    let first = &tape.left[9_600..12_800];
    assert!(first.iter().all(|s| *s == value(OTHER)), "ahead: at once");
    let second = &tape.left[20_800..24_000];
    // Behind: when it is sure that it is no late burst.
    assert!(second[1_600..].iter().all(|s| *s == value(OTHER)), "{:?}", found(second, OTHER));
}

#[test]
fn a_pause_is_silence_in_the_file_and_its_time_passes() {
    let mut desk = Desk::g711_call();
    start(&mut desk, record(Some(B)));
    say(&mut desk, A, 0..50, LOUD);
    desk.command(MediaCommand::PauseRecording { recording: TAPE });
    say(&mut desk, A, 50..100, OTHER);
    desk.command(MediaCommand::ResumeRecording { recording: TAPE });
    say(&mut desk, A, 100..150, LOUD);
    let (tape, _) = stop(&mut desk);
    assert_eq!(tape.left.len(), 24_000);
    assert_eq!(found(&tape.left, OTHER), (None, 0), "what was said in the pause is nowhere");
    assert!(tape.left[..8_000].iter().chain(&tape.left[16_000..]).all(|s| *s == value(LOUD)));
}

#[test]
fn silence_is_told_once_and_again_after_a_sound() {
    let mut desk = Desk::g711_call();
    start(&mut desk, StartRecording { quiet: Some(Duration::from_secs(2)), ..record(None) });
    say(&mut desk, A, 0..100, LOUD);
    assert!(desk.events.is_empty());
    say(&mut desk, A, 100..300, 0xff);
    assert_eq!(std::mem::take(&mut desk.events), [MediaEvent::SilenceDetected { recording: TAPE }]);
    say(&mut desk, A, 300..310, LOUD);
    desk.play(3_000); // no packets at all are silence too
    assert_eq!(std::mem::take(&mut desk.events), [MediaEvent::SilenceDetected { recording: TAPE }]);
    let (_, end) = stop(&mut desk);
    let MediaEvent::Recorded { millis, sound_millis, .. } = end else { panic!("{end:?}") };
    assert_eq!(millis, 9_200);
    assert!((2_200..=2_500).contains(&sound_millis), "{sound_millis}");
}

#[test]
fn it_ends_at_its_longest_or_when_the_last_party_has_left() {
    let mut desk = Desk::g711_call();
    start(&mut desk, StartRecording { longest: Some(Duration::from_millis(1_050)), ..record(None) });
    say(&mut desk, A, 0..100, LOUD);
    let (millis, sound_millis) = (1_050, 1_050);
    assert_eq!(
        desk.events.pop(),
        Some(MediaEvent::Recorded { recording: TAPE, millis, sound_millis, ended: Ended::Longest })
    );
    assert_eq!(desk.sent.1.remove(&TAPE).unwrap().left.len(), 8_400);

    start(&mut desk, record(Some(B)));
    say(&mut desk, A, 100..110, LOUD);
    desk.close(A);
    say(&mut desk, B, 0..10, OTHER);
    assert!(desk.events.is_empty(), "one is left");
    desk.command(MediaCommand::Close { stream: B });
    let [MediaEvent::Recorded { millis, ended, .. }, MediaEvent::Closed { .. }] = desk.events[..] else {
        panic!("{:?}", desk.events)
    };
    assert_eq!((millis, ended), (400, Ended::Left));
    let tape = desk.sent.1.remove(&TAPE).unwrap();
    assert_eq!((found(&tape.left, LOUD).1, found(&tape.right, OTHER).1), (1_600, 1_600));
    assert_eq!(desk.engine.deadline(), None);

    desk.events.clear();
    start(&mut desk, record(Some(B)));
    assert!(matches!(desk.events[..], [MediaEvent::Recorded { millis: 0, ended: Ended::Left, .. }]));
}

#[test]
fn what_is_relayed_is_the_same_with_and_without_a_recording() {
    let mut plain = Desk::bridged(desk::g711(PHONE_A, Codec::Pcmu), desk::g711(PHONE_B, Codec::Pcma));
    let mut taped = Desk::bridged(desk::g711(PHONE_A, Codec::Pcmu), desk::g711(PHONE_B, Codec::Pcma));
    start(&mut taped, record(Some(B)));
    assert_eq!(plain.talk(A, PHONE_A, 7, 0..100), taped.talk(A, PHONE_A, 7, 0..100));
    taped.play(1_000);
    let (tape, _) = stop(&mut taped);
    assert_eq!(tape.left[..160], [value(0); 160]);
}
