//! Telephone-events that a gateway sends with an SSRC of their own beside the audio: judged by payload type and source address, so that the
//! key arrives whole.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use crate::test_engine;

use centralita_media::MediaEvent;
use centralita_media::sdp::{Codec, Direction};
use test_engine::{A, B, PHONE_A, PHONE_B, Rtp, TestEngine, at, g711};

/// SSRCs of the audio and of the events.
const AUDIO: u32 = 7;
const EVENTS: u32 = 9;

/// Packet `n` of an event under its own SSRC, sequence numbers and timestamps; `duration` in timestamp units, end bit in `end`.
fn event(n: u16, timestamp: u32, code: u8, duration: u16, end: bool) -> Rtp {
    let [d0, d1] = duration.to_be_bytes();
    let payload = vec![code, (u8::from(end) << 7) | 0x0a, d0, d1];
    Rtp { marker: false, payload_type: 101, sequence: 50_000 + n, timestamp, ssrc: EVENTS, payload }
}

/// A key press in packets of 20 ms: `length` of them, then two more end packets.
fn press(first: u16, timestamp: u32, code: u8, length: u16) -> Vec<Rtp> {
    let packet = |n: u16| event(first + n, timestamp, code, 160 * (n + 1).min(length), n + 1 >= length);
    (0..length + 2).map(packet).collect()
}

fn digit(digit: char, millis: u16) -> MediaEvent {
    MediaEvent::Digit { stream: A, digit, millis }
}

fn is_numbered_continuously(packets: &[Rtp]) -> bool {
    packets.windows(2).all(|p| p[0].ssrc == p[1].ssrc && p[1].sequence == p[0].sequence.wrapping_add(1))
}

#[test]
fn a_key_beside_continuing_audio_arrives_whole() {
    let mut test = TestEngine::g711_call();
    let mut relayed = test.send_voice(A, PHONE_A, AUDIO, 0..20);
    let mut n = 20;
    for press in [press(0, 555_000, 5, 5), press(7, 559_000, 5, 1)] {
        for packet in press {
            relayed.extend(test.rtp(A, PHONE_A, &packet).map(|(_, packet)| packet));
            relayed.extend(test.send_voice(A, PHONE_A, AUDIO, n..n + 1));
            n += 1;
        }
    }
    relayed.extend(test.send_voice(A, PHONE_A, AUDIO, n..n + 10));
    assert_eq!(test.events, [digit('5', 100), digit('5', 20)]);

    assert!(is_numbered_continuously(&relayed), "{relayed:?}");
    let (events, audio): (Vec<Rtp>, Vec<Rtp>) = relayed.into_iter().partition(|p| p.payload_type == 101);
    assert_eq!((events.len(), audio.len()), (10, 40));
    assert!(
        audio.windows(2).all(|p| p[1].timestamp - p[0].timestamp == 160),
        "the audio is undisturbed: {audio:?}"
    );
    // All packets of an event have one timestamp (RFC 4733 §2.2.1), near that of the audio.
    assert!(events[..7].iter().all(|p| p.timestamp == events[0].timestamp), "{events:?}");
    assert!(events[7..].iter().all(|p| p.timestamp == events[7].timestamp), "{events:?}");
    // Segments of a long event refer to each other by their timestamps (RFC 4733 §2.5.1.3).
    assert_eq!(events[7].timestamp - events[0].timestamp, 4_000, "{events:?}");
    assert!(events[0].timestamp.abs_diff(audio[20].timestamp) <= 320, "{events:?}");
    let report = test.close(A);
    assert_eq!((report.received, report.lost, report.refused), (50, 0, 0));
}

#[test]
fn a_short_press_during_a_pause_of_the_audio_arrives_whole() {
    for pause in [200, 3_000] {
        let mut test = TestEngine::g711_call();
        let mut relayed = test.send_voice(A, PHONE_A, AUDIO, 0..20);
        test.advance(pause);
        for packet in press(0, 1_000, 11, 1) {
            relayed.extend(test.rtp(A, PHONE_A, &packet).map(|(_, packet)| packet));
            test.advance(20);
        }
        assert_eq!(test.events, [digit('#', 20)]);
        test.advance(pause);
        relayed.extend(test.send_voice(A, PHONE_A, AUDIO, 20..40));
        assert_eq!(relayed.len(), 43, "no packet of the audio is lost after the key");
        assert!(is_numbered_continuously(&relayed), "{relayed:?}");
        assert!(
            relayed[20..23].iter().all(|p| p.timestamp == relayed[20].timestamp && p.payload_type == 101)
        );
        assert_eq!(test.close(A).lost, 0);
    }
}

#[test]
fn a_key_before_the_first_audio_costs_no_audio_and_is_reported_once() {
    let mut test = TestEngine::g711_call();
    let keys = press(0, 90_000, 1, 3);
    let mut relayed = Vec::new();
    for (n, packet) in keys.iter().enumerate() {
        relayed.extend(test.rtp(A, PHONE_A, packet).map(|(_, packet)| packet));
        if n > 2 {
            relayed.extend(test.send_voice(A, PHONE_A, AUDIO, n as u16..n as u16 + 1));
        }
    }
    relayed.extend(test.send_voice(A, PHONE_A, AUDIO, 5..25));
    assert_eq!(test.events, [digit('1', 60)]);
    assert_eq!(relayed.len(), 5 + 22);
    assert!(is_numbered_continuously(&relayed), "{relayed:?}");
    let events: Vec<&Rtp> = relayed.iter().filter(|p| p.payload_type == 101).collect();
    assert!(events.iter().all(|p| p.timestamp == events[0].timestamp), "{events:?}");
}

#[test]
fn a_key_whose_end_packets_are_lost_is_reported_beside_the_audio() {
    let mut test = TestEngine::g711_call();
    test.send_voice(A, PHONE_A, AUDIO, 0..20);
    for packet in &press(0, 7, 3, 8)[..4] {
        test.rtp(A, PHONE_A, packet);
        test.send_voice(A, PHONE_A, AUDIO, 20 + packet.sequence - 50_000..21 + packet.sequence - 50_000);
    }
    assert!(test.events.is_empty(), "the key is still held");
    test.send_voice(A, PHONE_A, AUDIO, 24..40);
    assert_eq!(test.events, [digit('3', 80)]);
}

#[test]
fn timestamps_of_events_may_start_over_between_keys() {
    let mut test = TestEngine::g711_call();
    test.send_voice(A, PHONE_A, AUDIO, 0..20);
    for packet in press(0, 900_000, 1, 3) {
        test.rtp(A, PHONE_A, &packet);
        test.advance(20);
    }
    test.advance(1_000);
    for packet in press(20, 40, 2, 3) {
        test.rtp(A, PHONE_A, &packet);
        test.advance(20);
    }
    assert_eq!(test.events, [digit('1', 60), digit('2', 60)]);
}

#[test]
fn events_with_the_audios_ssrc_and_numbers_of_their_own_arrive_whole() {
    let mut test = TestEngine::g711_call();
    let mut relayed = test.send_voice(A, PHONE_A, AUDIO, 0..20);
    for (n, packet) in (20..).zip(press(0, 555_000, 5, 5)) {
        let packet = Rtp { ssrc: AUDIO, ..packet };
        relayed.extend(test.rtp(A, PHONE_A, &packet).map(|(_, packet)| packet));
        relayed.extend(test.send_voice(A, PHONE_A, AUDIO, n..n + 1));
    }
    assert_eq!(test.events, [digit('5', 100)]);
    assert_eq!(relayed.len(), 27 + 7);
    assert!(is_numbered_continuously(&relayed), "{relayed:?}");
    assert_eq!(test.close(A).lost, 0);
}

#[test]
fn a_listener_without_telephone_event_gets_no_gap_from_events_beside_the_audio() {
    for ssrc in [EVENTS, AUDIO] {
        let mut test = TestEngine::bridged(
            g711(PHONE_A, Codec::Pcmu),
            test_engine::Negotiated { dtmf: None, ..g711(PHONE_B, Codec::Pcmu) },
        );
        let mut relayed = test.send_voice(A, PHONE_A, AUDIO, 0..10);
        for (n, packet) in (10..).zip(press(0, 555_000, 5, 5)) {
            assert!(test.rtp(A, PHONE_A, &Rtp { ssrc, ..packet }).is_none());
            relayed.extend(test.send_voice(A, PHONE_A, AUDIO, n..n + 1));
        }
        assert_eq!(relayed.len(), 17);
        assert!(test_engine::is_continuous(&relayed), "{relayed:?}");
        assert_eq!(test.events, [digit('5', 100)]);
    }
}

#[test]
fn events_from_another_address_are_rejected_and_forged_audio_too() {
    // security row 9
    let mut test = TestEngine::g711_call();
    for from in ["192.0.2.66:4000", "198.51.100.1:40000"] {
        assert!(press(0, 1_000, 5, 5).iter().all(|p| test.rtp(A, from, p).is_none()));
    }
    test.send_voice(A, PHONE_A, AUDIO, 0..20);
    for from in ["192.0.2.66:4000", "198.51.100.1:40000"] {
        assert!(press(0, 1_000, 5, 5).iter().all(|p| test.rtp(A, from, p).is_none()));
    }
    assert!(test.events.is_empty());
    // An event from the right address does not open it for audio with the event's SSRC.
    assert!(test.rtp(A, PHONE_A, &press(0, 1_000, 5, 1)[0]).is_some());
    for n in 20..60 {
        assert_eq!(test.send_voice(A, PHONE_A, AUDIO, n..n + 1).len(), 1);
        assert!(test.rtp(A, PHONE_A, &Rtp::voice(EVENTS, n)).is_none());
    }
    assert!(test.rtp(B, PHONE_B, &Rtp::voice(2, 1)).unwrap().0.to == at(PHONE_A));
}

#[test]
fn events_do_not_delay_the_latch_behind_nat() {
    let named = g711("10.0.0.7:4000", Codec::Pcmu);
    let nat = "198.51.100.1:40000";
    let mut test = TestEngine::bridged(named.clone(), g711(PHONE_B, Codec::Pcmu));
    test.negotiate_from(A, at(nat).ip(), named);
    let mut relayed = Vec::new();
    for (n, packet) in (0..).zip(press(0, 555_000, 5, 8)) {
        test.rtp(A, nat, &packet);
        relayed.extend(test.send_voice(A, nat, AUDIO, n..n + 1));
    }
    assert_eq!(relayed.len(), 10 - 3);
    assert_eq!(test.events, [digit('5', 160)]);
}

#[test]
fn events_are_rejected_where_sdp_forbids_the_peer_to_send() {
    let mut test = TestEngine::g711_call();
    test.send_voice(A, PHONE_A, AUDIO, 0..20);
    test.negotiate(
        A,
        test_engine::Negotiated { direction: Direction::SendOnly, ..g711(PHONE_A, Codec::Pcmu) },
    );
    assert!(press(0, 1_000, 5, 5).iter().all(|p| test.rtp(A, PHONE_A, p).is_none()));
    assert!(test.events.is_empty());
}
