//! Two legs that hear each other: what passes, under which numbers, and in which law.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use crate::desk;

use centralita_media::sdp::{Codec, Direction};
use centralita_media::{Component, MediaCommand, MediaEvent, Source, StreamId};
use desk::{A, B, Desk, PHONE_A, PHONE_B, Rtp, at, g711, is_continuous};

#[test]
fn a_plain_call_is_passed_on_as_it_came_under_our_ssrc() {
    let mut desk = Desk::g711_call();
    let (forward, packet) = desk.rtp(A, PHONE_A, &Rtp::voice(7, 500)).unwrap();
    assert_eq!(
        (forward.stream, forward.channel, forward.to, forward.len),
        (B, Component::Rtp, at(PHONE_B), 172)
    );
    assert_eq!((packet.sequence, packet.timestamp, &packet.payload), (500, 80_000, &vec![244; 160]));
    assert!(packet.marker && packet.ssrc != 7);
    desk.wait(20);
    // Loss and disorder are passed on as they are.
    for n in [502, 501, 505] {
        let (_, packet) = desk.rtp(A, PHONE_A, &Rtp::voice(7, n)).unwrap();
        assert_eq!((packet.sequence, packet.marker), (n, false));
    }
    let report = desk.close(A);
    assert_eq!((report.received, report.lost, report.refused), (4, 2, 0));
    assert_eq!(desk.close(B).sent, 4);
}

#[test]
fn each_leg_gets_the_payload_numbers_that_it_asked_for() {
    let opus = |number, remote| {
        let mut negotiated = g711(remote, Codec::Other("opus/48000/2".into()));
        (negotiated.payload_type, negotiated.alternates) =
            (number, vec![(0, Codec::Pcmu), (13, Codec::Other("CN/8000".into()))]);
        negotiated
    };
    let mut b = opus(96, PHONE_B);
    b.dtmf = Some(97);
    b.alternates.extend([
        (111, Codec::Other("OPUS/48000/2".into())),
        (101, Codec::Other("telephone-event/8000".into())),
    ]);
    let mut desk = Desk::bridged(opus(111, PHONE_A), b);
    let mut sequence = 0;
    let mut through = |stream, from, number| {
        sequence += 1;
        let packet = Rtp { number, ..Rtp::voice(1, sequence) };
        desk.rtp(stream, from, &packet).map(|(_, packet)| packet.number)
    };
    assert_eq!([111, 0, 13, 101].map(|n| through(A, PHONE_A, n)), [96, 0, 13, 97].map(Some));
    // The answerer may send under its own number or under ours (RFC 3264 §6.1).
    assert_eq!([96, 111, 97, 101].map(|n| through(B, PHONE_B, n)), [111, 111, 101, 101].map(Some));
    assert_eq!([8, 18, 100].map(|n| through(A, PHONE_A, n)), [None; 3]);
}

#[test]
fn g711_is_turned_into_the_other_law_both_ways() {
    let mut desk = Desk::bridged(g711(PHONE_A, Codec::Pcmu), g711(PHONE_B, Codec::Pcma));
    let packet = Rtp { payload: vec![0xff, 0x80, 0x00], ..Rtp::voice(1, 1) };
    let (_, to_b) = desk.rtp(A, PHONE_A, &packet).unwrap();
    assert_eq!((to_b.number, &to_b.payload), (8, &vec![0xd5, 0xaa, 0x2a]));
    let (_, to_a) =
        desk.rtp(B, PHONE_B, &Rtp { number: 8, payload: to_b.payload, ..Rtp::voice(2, 1) }).unwrap();
    assert_eq!((to_a.number, &to_a.payload), (0, &vec![0xfe, 0x80, 0x00])); // A-law has no zero
}

#[test]
fn a_listener_hears_one_stream_whoever_feeds_it() {
    let mut desk = Desk::g711_call();
    let mut heard = desk.talk(A, PHONE_A, 7, 60_000..60_020);
    desk.feed(B, Source::Silence);
    heard.extend(desk.listen(200));
    desk.feed(B, Source::Stream(A));
    heard.extend(desk.talk(A, PHONE_A, 7, 60_040..60_060));
    // The phone begins a new stream after a pause.
    desk.wait(2_500);
    heard.extend(desk.talk(A, PHONE_A, 9, 3..20));
    assert!(is_continuous(&heard), "{heard:?}");
    assert_eq!(heard.iter().filter(|p| p.marker).count(), 4);
    assert!(heard.len() > 60);
}

#[test]
fn packets_from_before_a_switch_come_too_late() {
    let mut desk = Desk::g711_call();
    desk.feed(B, Source::Silence);
    desk.listen(100);
    desk.feed(B, Source::Stream(A));
    assert!(desk.rtp(A, PHONE_A, &Rtp::voice(7, 100)).is_some());
    assert!(desk.rtp(A, PHONE_A, &Rtp::voice(7, 99)).is_none());
    assert!(desk.rtp(A, PHONE_A, &Rtp::voice(7, 101)).is_some());
}

#[test]
fn whom_sdp_told_not_to_listen_or_not_to_send_is_obeyed() {
    let mut desk = Desk::g711_call();
    desk.talk(A, PHONE_A, 7, 0..5);
    desk.agree(B, desk::Negotiated { direction: Direction::RecvOnly, ..g711(PHONE_B, Codec::Pcmu) });
    assert!(desk.talk(A, PHONE_A, 7, 5..15).is_empty());
    desk.agree(B, g711(PHONE_B, Codec::Pcmu));
    let after = desk.talk(A, PHONE_A, 7, 15..25);
    assert!(after.len() == 10 && after[0].sequence == 5, "the hold was a pause, not loss: {after:?}");

    desk.agree(A, desk::Negotiated { direction: Direction::SendOnly, ..g711(PHONE_A, Codec::Pcmu) });
    assert!(desk.talk(A, PHONE_A, 7, 25..30).is_empty());
    desk.agree(A, g711(PHONE_A, Codec::Pcmu));
    assert_eq!(desk.talk(A, PHONE_A, 7, 30..35).len(), 5);
    let report = desk.close(A);
    assert_eq!((report.refused, report.lost), (5, 0));
}

#[test]
fn hold_plays_music_and_the_other_side_hears_nothing_of_the_held() {
    let mut desk = Desk::g711_call();
    desk.feed(A, Source::Tone(centralita_media::Tone::Music));
    let music = desk.listen(1_000);
    assert_eq!(music.len(), 51);
    assert!(is_continuous(&music) && music.iter().any(|p| p.payload.iter().any(|b| *b != 0xff)));
    // B is not heard by A meanwhile.
    assert!(desk.talk(B, PHONE_B, 9, 0..5).is_empty());
}

#[test]
fn echo_returns_what_it_hears() {
    let mut desk = Desk::new();
    desk.command(MediaCommand::Open { stream: A, port: 10_000 });
    desk.agree(A, g711(PHONE_A, Codec::Pcma));
    desk.feed(A, Source::Echo);
    let (forward, packet) = desk.rtp(A, PHONE_A, &Rtp { number: 8, ..Rtp::voice(7, 1) }).unwrap();
    assert_eq!((forward.stream, forward.to, packet.number), (A, at(PHONE_A), 8));
    assert_eq!(packet.payload, Rtp::voice(7, 1).payload);
}

#[test]
fn a_digit_is_passed_on_and_told_once() {
    let mut desk = Desk::g711_call();
    let event = |n: u16, end: u8, duration: u16| {
        let [d0, d1] = duration.to_be_bytes();
        Rtp { number: 101, timestamp: 8_000, payload: vec![5, (end << 7) | 0x0a, d0, d1], ..Rtp::voice(7, n) }
    };
    desk.talk(A, PHONE_A, 7, 0..10);
    let packets =
        [event(10, 0, 160), event(11, 0, 320), event(12, 1, 800), event(13, 1, 800), event(14, 1, 800)];
    let passed: Vec<_> = packets.iter().filter_map(|p| desk.rtp(A, PHONE_A, p)).map(|(_, p)| p).collect();
    assert!(passed.len() == 5 && passed.iter().all(|p| p.number == 101 && p.payload[0] == 5));
    assert_eq!(desk.events, [MediaEvent::Digit { stream: A, digit: '5', millis: 100 }]);
}

#[test]
fn where_the_listener_knows_no_events_their_gap_is_closed() {
    let mut desk = Desk::bridged(
        g711(PHONE_A, Codec::Pcmu),
        desk::Negotiated { dtmf: None, ..g711(PHONE_B, Codec::Pcmu) },
    );
    let mut heard = desk.talk(A, PHONE_A, 7, 0..10);
    for n in 10..15 {
        let press =
            Rtp { number: 101, timestamp: 1_600, payload: vec![1, 0x8a, 3, 0x20], ..Rtp::voice(7, n) };
        assert!(desk.rtp(A, PHONE_A, &press).is_none());
    }
    heard.extend(desk.talk(A, PHONE_A, 7, 15..20));
    assert!(is_continuous(&heard));
    assert_eq!(desk.events.len(), 1);
}

#[test]
fn a_closed_leg_feeds_nobody_even_when_its_number_returns() {
    let mut desk = Desk::g711_call();
    desk.talk(A, PHONE_A, 7, 0..5);
    desk.close(A);
    assert!(desk.talk(A, PHONE_A, 7, 5..10).is_empty());
    desk.command(MediaCommand::Open { stream: A, port: 10_000 });
    desk.agree(A, g711(PHONE_A, Codec::Pcmu));
    assert!(desk.talk(A, PHONE_A, 7, 10..15).is_empty());
    assert_eq!(desk.engine.streams(), 2);
    desk.close(A);
    desk.close(B);
    assert_eq!((desk.engine.streams(), desk.engine.deadline()), (0, None));
}

#[test]
fn a_leg_may_be_fed_before_its_source_opens_and_the_newest_listener_wins() {
    let mut desk = Desk::new();
    let other = StreamId(9);
    for stream in [B, other] {
        desk.command(MediaCommand::Open { stream, port: 10_000 });
        desk.agree(stream, g711(PHONE_B, Codec::Pcmu));
        desk.feed(stream, Source::Stream(A));
    }
    desk.command(MediaCommand::Open { stream: A, port: 10_002 });
    desk.agree(A, g711(PHONE_A, Codec::Pcmu));
    assert_eq!(desk.rtp(A, PHONE_A, &Rtp::voice(7, 1)).unwrap().0.stream, other);
    desk.close(other);
    assert_eq!(desk.rtp(A, PHONE_A, &Rtp::voice(7, 2)).unwrap().0.stream, B);
}

#[test]
fn silence_is_told_once_and_again_after_a_sound() {
    let mut desk = Desk::g711_call();
    desk.talk(A, PHONE_A, 7, 0..5);
    desk.play(29_000);
    assert!(desk.events.is_empty());
    desk.play(62_000);
    let silent = |stream| MediaEvent::RtpTimeout { stream };
    assert_eq!(desk.events.len(), 2);
    assert!(desk.events.contains(&silent(A)) && desk.events.contains(&silent(B)));
    desk.talk(A, PHONE_A, 7, 5..6);
    desk.play(40_000);
    assert_eq!(desk.events[2..], [silent(A)]);
}

#[test]
fn a_tone_is_played_in_the_codec_of_the_leg_once_something_is_agreed() {
    let mut desk = Desk::new();
    desk.command(MediaCommand::Open { stream: A, port: 10_000 });
    desk.feed(A, Source::Tone(centralita_media::Tone::Milliwatt));
    assert!(desk.play(100).is_empty());
    desk.agree(A, g711(PHONE_A, Codec::Pcma));
    let heard = desk.listen(1_000);
    assert!(heard.len() >= 50 && heard.iter().all(|p| p.number == 8 && p.payload.len() == 160));
    // A codec that we cannot make: nothing rather than noise.
    desk.agree(A, g711(PHONE_A, Codec::Other("opus/48000/2".into())));
    assert!(desk.listen(1_000).is_empty());
}
