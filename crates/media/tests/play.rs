//! Clips: prompts that are played to a peer in place of its source.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use crate::test_engine;

use std::sync::Arc;

use centralita_media::sdp::{Codec, Direction};
use centralita_media::{MediaCommand, MediaEvent, PlayId, Source, StreamId};
use test_engine::{A, B, PHONE_A, PHONE_B, Rtp, TestEngine, g711, is_continuous};

fn play(test: &mut TestEngine, stream: StreamId, payload_type: u32, clip: Vec<i16>) {
    test.command(MediaCommand::Play { stream, play: PlayId(payload_type), clip: Arc::from(clip) });
}

fn finished_clips(test: &mut TestEngine) -> Vec<u32> {
    let events = std::mem::take(&mut test.events);
    events
        .iter()
        .map(|event| match event {
            MediaEvent::PlaybackFinished { stream: A, play } => play.0,
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn clips_are_played_without_a_gap_and_then_the_source_returns() {
    let mut test = TestEngine::g711_call();
    let mut received = test.send_voice(B, PHONE_B, 7, 0..5);
    play(&mut test, A, 1, vec![8_031; 200]);
    play(&mut test, A, 2, vec![-8_031; 1_000]);
    assert!(test.send_voice(B, PHONE_B, 7, 5..7).is_empty(), "the clip replaces the source");
    let clip = test.run_rtp(160);
    assert_eq!(finished_clips(&mut test), [1, 2]);
    // 200 + 1000 samples in packets of 160: the last one ends in silence.
    let bytes: Vec<u8> = clip.iter().flat_map(|p| p.payload.clone()).collect();
    assert_eq!(bytes.len(), 1_280);
    assert!(
        bytes[..200].iter().all(|b| *b == bytes[0]) && bytes[200..1_200].iter().all(|b| *b == bytes[200])
    );
    assert!(
        bytes[0] == 0xa0 && bytes[200] == 0x20 && bytes[1_200..].iter().all(|b| *b == 0xff),
        "{bytes:x?}"
    );
    received.extend(clip);
    received.extend(test.send_voice(B, PHONE_B, 7, 20..25));
    assert_eq!(received.len(), 5 + 8 + 5);
    assert!(is_continuous(&received), "{received:?}");
}

#[test]
fn a_stopped_clip_ends_at_once_and_raises_no_event() {
    let mut test = TestEngine::new();
    test.command(MediaCommand::Open { stream: A, port: 10_000 });
    test.negotiate(A, g711(PHONE_A, Codec::Pcma));
    play(&mut test, A, 1, vec![5_000; 80_000]);
    play(&mut test, A, 2, vec![5_000; 80]);
    assert_eq!(test.run_rtp(100).len(), 6);
    test.command(MediaCommand::StopPlay { stream: A });
    assert!(test.run_rtp(1_000).is_empty() && test.events.is_empty());
    play(&mut test, A, 3, vec![5_000; 160]);
    let again = test.run_rtp(100);
    assert_eq!((again.len(), again[0].payload_type, again[0].marker), (1, 8, true));
    assert_eq!(finished_clips(&mut test), [3]);
}

#[test]
fn a_tone_continues_after_a_clip_and_a_source_set_meanwhile_follows_it() {
    let mut test = TestEngine::g711_call();
    test.set_source(A, Source::Silence);
    let mut received = test.run_rtp(100);
    play(&mut test, A, 1, vec![9_000; 800]);
    test.set_source(A, Source::Stream(B));
    received.extend(test.run_rtp(99));
    assert_eq!(finished_clips(&mut test), [1]);
    received.extend(test.send_voice(B, PHONE_B, 7, 0..5));
    assert!(received.len() >= 15 && is_continuous(&received), "{received:?}");
    test.set_source(A, Source::Silence);
    test.run_rtp(50);
    play(&mut test, A, 2, vec![9_000; 160]);
    let after = test.run_rtp(200);
    assert!(after.len() > 8 && after.last().unwrap().payload[0] == 0xff, "{after:?}");
}

#[test]
fn a_clip_waits_for_sdp_and_runs_unsent_where_nothing_may_be_sent() {
    let mut test = TestEngine::new();
    test.command(MediaCommand::Open { stream: A, port: 10_000 });
    play(&mut test, A, 1, vec![9_000; 800]);
    assert!(test.run_rtp(500).is_empty() && test.events.is_empty());
    test.negotiate(A, g711(PHONE_A, Codec::Pcmu));
    assert_eq!(test.run_rtp(500).len(), 5);
    assert_eq!(finished_clips(&mut test), [1]);
    for held in [
        test_engine::Negotiated { direction: Direction::RecvOnly, ..g711(PHONE_A, Codec::Pcmu) },
        g711(PHONE_A, Codec::Other("opus/48000/2".into())),
    ] {
        test.negotiate(A, held);
        play(&mut test, A, 2, vec![9_000; 800]);
        assert!(test.run_rtp(60).is_empty() && test.events.is_empty(), "the clip runs unsent");
        assert!(test.run_rtp(100).is_empty());
        assert_eq!(finished_clips(&mut test), [2]);
    }
}

#[test]
fn the_queue_is_bounded_and_an_empty_clip_finishes_at_once() {
    let mut test = TestEngine::g711_call();
    play(&mut test, A, 1, Vec::new());
    test.run_rtp(0);
    assert_eq!(finished_clips(&mut test), [1]);
    for payload_type in 0..65 {
        play(&mut test, A, payload_type, vec![1; 160]);
    }
    assert_eq!(
        finished_clips(&mut test),
        [64],
        "a rejected clip is reported, or its caller would wait forever"
    );
    test.run_rtp(64 * 20);
    assert_eq!(finished_clips(&mut test), (0..64).collect::<Vec<_>>());
    // A stream that closes discards its clips.
    play(&mut test, A, 1, vec![1; 160]);
    test.close(A);
    let packet = test.rtp(B, PHONE_B, &Rtp::voice(7, 1));
    assert!(packet.is_none() && test.run_rtp(1_000).is_empty());
}
