//! Clips: announcements that a peer hears instead of what feeds it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use crate::desk;

use std::sync::Arc;

use centralita_media::sdp::{Codec, Direction};
use centralita_media::{MediaCommand, MediaEvent, PlayId, Source, StreamId};
use desk::{A, B, Desk, PHONE_A, PHONE_B, Rtp, g711, is_continuous};

fn play(desk: &mut Desk, stream: StreamId, number: u32, clip: Vec<i16>) {
    desk.command(MediaCommand::Play { stream, play: PlayId(number), clip: Arc::from(clip) });
}

fn played(desk: &mut Desk) -> Vec<u32> {
    let events = std::mem::take(&mut desk.events);
    events
        .iter()
        .map(|event| match event {
            MediaEvent::PlaybackFinished { stream: A, play } => play.0,
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn clips_follow_each_other_without_a_gap_and_then_the_call_is_heard_again() {
    let mut desk = Desk::g711_call();
    let mut heard = desk.talk(B, PHONE_B, 7, 0..5);
    play(&mut desk, A, 1, vec![8_031; 200]);
    play(&mut desk, A, 2, vec![-8_031; 1_000]);
    assert!(desk.talk(B, PHONE_B, 7, 5..7).is_empty(), "the clip is heard instead of the other party");
    let clip = desk.listen(160);
    assert_eq!(played(&mut desk), [1, 2]);
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
    heard.extend(clip);
    heard.extend(desk.talk(B, PHONE_B, 7, 20..25));
    assert_eq!(heard.len(), 5 + 8 + 5);
    assert!(is_continuous(&heard), "{heard:?}");
}

#[test]
fn a_stopped_clip_ends_at_once_and_is_not_told_as_played() {
    let mut desk = Desk::new();
    desk.command(MediaCommand::Open { stream: A, port: 10_000 });
    desk.agree(A, g711(PHONE_A, Codec::Pcma));
    play(&mut desk, A, 1, vec![5_000; 80_000]);
    play(&mut desk, A, 2, vec![5_000; 80]);
    assert_eq!(desk.listen(100).len(), 6);
    desk.command(MediaCommand::StopPlay { stream: A });
    assert!(desk.listen(1_000).is_empty() && desk.events.is_empty());
    play(&mut desk, A, 3, vec![5_000; 160]);
    let again = desk.listen(100);
    assert_eq!((again.len(), again[0].number, again[0].marker), (1, 8, true));
    assert_eq!(played(&mut desk), [3]);
}

#[test]
fn a_tone_goes_on_after_a_clip_and_what_is_fed_meanwhile_is_heard_after_it() {
    let mut desk = Desk::g711_call();
    desk.feed(A, Source::Silence);
    let mut heard = desk.listen(100);
    play(&mut desk, A, 1, vec![9_000; 800]);
    desk.feed(A, Source::Stream(B));
    heard.extend(desk.listen(99));
    assert_eq!(played(&mut desk), [1]);
    heard.extend(desk.talk(B, PHONE_B, 7, 0..5));
    assert!(heard.len() >= 15 && is_continuous(&heard), "{heard:?}");
    desk.feed(A, Source::Silence);
    desk.listen(50);
    play(&mut desk, A, 2, vec![9_000; 160]);
    let after = desk.listen(200);
    assert!(after.len() > 8 && after.last().unwrap().payload[0] == 0xff, "{after:?}");
}

#[test]
fn a_clip_waits_for_sdp_and_passes_unheard_where_nothing_may_be_sent() {
    let mut desk = Desk::new();
    desk.command(MediaCommand::Open { stream: A, port: 10_000 });
    play(&mut desk, A, 1, vec![9_000; 800]);
    assert!(desk.listen(500).is_empty() && desk.events.is_empty());
    desk.agree(A, g711(PHONE_A, Codec::Pcmu));
    assert_eq!(desk.listen(500).len(), 5);
    assert_eq!(played(&mut desk), [1]);
    for held in [
        desk::Negotiated { direction: Direction::RecvOnly, ..g711(PHONE_A, Codec::Pcmu) },
        g711(PHONE_A, Codec::Other("opus/48000/2".into())),
    ] {
        desk.agree(A, held);
        play(&mut desk, A, 2, vec![9_000; 800]);
        assert!(desk.listen(60).is_empty() && desk.events.is_empty(), "its time passes");
        assert!(desk.listen(100).is_empty());
        assert_eq!(played(&mut desk), [2]);
    }
}

#[test]
fn the_queue_is_bounded_and_an_empty_clip_is_played_at_once() {
    let mut desk = Desk::g711_call();
    play(&mut desk, A, 1, Vec::new());
    desk.listen(0);
    assert_eq!(played(&mut desk), [1]);
    for number in 0..65 {
        play(&mut desk, A, number, vec![1; 160]);
    }
    assert_eq!(played(&mut desk), [64], "who is refused is told, or it would wait for ever");
    desk.listen(64 * 20);
    assert_eq!(played(&mut desk), (0..64).collect::<Vec<_>>());
    // A stream that closes takes its clips along.
    play(&mut desk, A, 1, vec![1; 160]);
    desk.close(A);
    let packet = desk.rtp(B, PHONE_B, &Rtp::voice(7, 1));
    assert!(packet.is_none() && desk.listen(1_000).is_empty());
}
