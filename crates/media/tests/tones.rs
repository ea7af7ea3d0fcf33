//! In-band DTMF: reported like telephone-events, and only where tone detection is enabled.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use crate::test_engine;

use std::f64::consts::TAU;

use base::Rng;
use centralita_media::sdp::Codec;
use centralita_media::{DtmfMode, MediaCommand, MediaEvent};
use test_engine::{A, PHONE_A, Rtp, TestEngine, g711};

const ROWS: [f64; 4] = [697.0, 770.0, 852.0, 941.0];
const COLUMNS: [f64; 4] = [1_209.0, 1_336.0, 1_477.0, 1_633.0];
const KEYS: [&str; 4] = ["123A", "456B", "789C", "*0#D"];
/// The peak of a sine at 0 dBm0 in µ-law.
const MILLIWATT: f64 = 22_656.0;

/// A DTMF key press to synthesise.
#[derive(Clone, Copy)]
struct Press {
    key: char,
    millis: usize,
    /// Levels of the low and the high tone in dBm0.
    low: f64,
    high: f64,
    /// Factor on both frequencies.
    shift: f64,
}

const PRESS: Press = Press { key: '5', millis: 80, low: -10.0, high: -10.0, shift: 1.0 };

fn amplitude(dbm0: f64) -> f64 {
    MILLIWATT * 10f64.powf(dbm0 / 20.0)
}

fn press(press: Press) -> Vec<f64> {
    let row = KEYS.iter().position(|keys| keys.contains(press.key)).unwrap();
    let column = KEYS[row].find(press.key).unwrap();
    let sine = |hertz: f64, level, n: usize| {
        amplitude(level) * (TAU * hertz * press.shift * n as f64 / 8_000.0).sin()
    };
    (0..press.millis * 8)
        .map(|n| sine(ROWS[row], press.low, n) + sine(COLUMNS[column], press.high, n))
        .collect()
}

fn silence(millis: usize) -> Vec<f64> {
    vec![0.0; millis * 8]
}

fn noise(audio: &mut [f64], dbm0: f64) {
    let mut rng = Rng::from_number(4);
    // Uniform noise has a third of the power of its squared peak, a sine a half.
    let peak = amplitude(dbm0) * 1.5f64.sqrt();
    for sample in audio {
        *sample += peak * (rng.below(20_001) as f64 / 10_000.0 - 1.0);
    }
}

fn encode_mu(sample: f64) -> u8 {
    let sample = sample.clamp(-32_635.0, 32_635.0) as i32;
    let magnitude = sample.abs() + 0x84;
    let segment = 31 - magnitude.leading_zeros() as i32 - 7;
    !(if sample < 0 { 0x80 } else { 0 } | (segment << 4) as u8 | (magnitude >> (segment + 3)) as u8 & 0x0f)
}

/// The digits reported for audio sent in packets of 20 ms without those in `lost`.
fn detect(audio: &[f64], mode: DtmfMode, lost: &[usize]) -> Vec<(char, u16)> {
    let mut test = TestEngine::new();
    test.command(MediaCommand::Open { stream: A, port: 10_000 });
    test.negotiate(A, test_engine::Negotiated { dtmf: None, ..g711(PHONE_A, Codec::Pcmu) });
    test.command(MediaCommand::SetDtmfMode { stream: A, digits: mode });
    for (n, frame) in audio.chunks(160).enumerate().filter(|(n, _)| !lost.contains(n)) {
        let payload = frame.iter().map(|sample| encode_mu(*sample)).collect();
        test.rtp(A, PHONE_A, &Rtp { payload, ..Rtp::voice(7, n as u16) });
        test.advance(20);
    }
    let digit = |event: &MediaEvent| match event {
        MediaEvent::Digit { stream: A, digit, millis } => (*digit, *millis),
        other => panic!("{other:?}"),
    };
    test.events.iter().map(digit).collect()
}

fn detect_keys(audio: &[f64]) -> String {
    detect(audio, DtmfMode::Tones, &[]).iter().map(|(key, _)| key).collect()
}

#[test]
fn every_key_is_reported_once_with_its_duration_and_only_where_enabled() {
    let mut audio = silence(100);
    for key in KEYS.concat().chars() {
        audio.extend(press(Press { key, ..PRESS }));
        audio.extend(silence(80));
    }
    let detected = detect(&audio, DtmfMode::Tones, &[]);
    assert_eq!(detected.iter().map(|(key, _)| *key).collect::<String>(), KEYS.concat());
    assert!(detected.iter().all(|(_, millis)| (60..=90).contains(millis)), "{detected:?}");
    assert!(detect(&audio, DtmfMode::Events, &[]).is_empty());
}

#[test]
fn key_presses_and_pauses_of_minimum_length_are_separated() {
    for offset in 0..20 {
        let mut audio = vec![0.0; 100 + offset * 7];
        for key in "5550123456789#".chars() {
            audio.extend(press(Press { key, millis: 40, ..PRESS }));
            audio.extend(silence(40));
        }
        audio.extend(silence(60));
        assert_eq!(detect_keys(&audio), "5550123456789#", "offset {offset}");
    }
}

#[test]
fn levels_twist_noise_and_detuning_within_q_24_are_accepted() {
    let mut wrong = Vec::new();
    for (what, low, high, shift, hiss) in [
        ("loud", -3.0, -3.0, 1.0, -70.0),
        ("faint", -27.0, -27.0, 1.0, -70.0),
        ("high tones weak", -8.0, -15.5, 1.0, -70.0),
        ("low tones weak", -12.0, -8.2, 1.0, -70.0),
        ("sharp", -10.0, -10.0, 1.015, -70.0),
        ("flat", -10.0, -10.0, 0.985, -70.0),
        ("noisy", -10.0, -10.0, 1.0, -22.0),
    ] {
        let mut audio = silence(50);
        for key in KEYS.concat().chars() {
            audio.extend(press(Press { key, low, high, shift, ..PRESS }));
            audio.extend(silence(80));
        }
        noise(&mut audio, hiss);
        if detect_keys(&audio) != KEYS.concat() {
            wrong.push((what, detect_keys(&audio)));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn a_lost_packet_does_not_split_a_key_press() {
    let mut audio = silence(100);
    audio.extend(press(Press { key: '9', millis: 200, ..PRESS }));
    audio.extend(silence(100));
    assert_eq!(detect(&audio, DtmfMode::Tones, &[8]).len(), 1);
    // A key that is held when the packets stop is reported with the next packet.
    let mut cut = press(Press { key: '9', millis: 200, ..PRESS });
    cut.extend(silence(400));
    let lost: Vec<usize> = (10..29).collect();
    assert_eq!(detect(&cut, DtmfMode::Tones, &lost).len(), 1);
}

#[test]
fn network_tones_are_not_taken_for_keys() {
    let tone = |parts: &[f64]| -> Vec<f64> {
        let sample = |n: usize| {
            parts.iter().map(|hertz| amplitude(-10.0) * (TAU * hertz * n as f64 / 8_000.0).sin()).sum()
        };
        (0..8_000).map(sample).collect()
    };
    let mut detected = Vec::new();
    for parts in [
        &[425.0][..],
        &[350.0, 440.0],
        &[480.0, 620.0],
        &[697.0],
        &[1_336.0],
        &[697.0, 770.0],
        &[1_209.0, 1_477.0],
        &[697.0, 1_209.0, 1_477.0],
        &[1_004.0],
        &[1_100.0],
        &[2_100.0],
        &[730.0, 1_272.0],
    ] {
        detected.extend(detect_keys(&tone(parts)).chars().map(|key| (parts, key)));
    }
    assert!(detected.is_empty(), "{detected:?}");
}

/// Synthetic speech: pulses of a varying pitch with a jitter of one percent and breath noise, through three formants that glide from vowel to
/// vowel; with pauses and fricatives.
fn voice(seconds: usize, seed: u64) -> Vec<f64> {
    const VOWELS: [[f64; 3]; 7] = [
        [730.0, 1_090.0, 2_440.0],
        [530.0, 1_840.0, 2_480.0],
        [270.0, 2_290.0, 3_010.0],
        [570.0, 840.0, 2_410.0],
        [300.0, 870.0, 2_240.0],
        [660.0, 1_720.0, 2_410.0],
        [490.0, 1_350.0, 1_690.0],
    ];
    let mut rng = Rng::from_number(seed);
    let (mut audio, mut phase, mut memory) = (Vec::new(), 0.0_f64, [[0.0_f64; 2]; 3]);
    let mut tremble = 1.0;
    let base_pitch = 80.0 + rng.below(200) as f64;
    let mut vowel = VOWELS[0];
    while audio.len() < seconds * 8_000 {
        let next = VOWELS[rng.below(7) as usize];
        let length = 400 + rng.below(2_400) as usize;
        let (from, to) = (0.7 + rng.below(60) as f64 / 100.0, 0.7 + rng.below(60) as f64 / 100.0);
        let kind = rng.below(8);
        for n in 0..length {
            let part = n as f64 / length as f64;
            let pitch = base_pitch * (from + (to - from) * part);
            phase += pitch * tremble / 8_000.0;
            let pulse = if phase >= 1.0 { 1.0 } else { 0.0 };
            if pulse > 0.0 {
                tremble = 0.985 + rng.below(31) as f64 / 1_000.0;
            }
            phase = phase.fract();
            let hiss = rng.below(2_001) as f64 / 1_000.0 - 1.0;
            let mut x = match kind {
                0 => 0.0,
                1 => hiss * 0.2,
                _ => pulse + hiss * 0.01,
            };
            for (formant, memory) in memory.iter_mut().enumerate() {
                let hertz = vowel[formant] + (next[formant] - vowel[formant]) * part;
                let radius = (-TAU / 2.0 * (60.0 + 30.0 * formant as f64) / 8_000.0).exp();
                let angle = TAU * hertz / 8_000.0;
                let y = x + 2.0 * radius * angle.cos() * memory[0] - radius * radius * memory[1];
                *memory = [y, memory[0]];
                x = y;
            }
            audio.push(x);
        }
        vowel = next;
    }
    // Mean speech level: −15 dBm0.
    let power = audio.iter().map(|x| x * x).sum::<f64>() / audio.len() as f64;
    let gain = amplitude(-15.0) / (2.0 * power).sqrt();
    audio.iter().map(|x| x * gain).collect()
}

#[test]
fn speech_is_not_taken_for_keys() {
    // Five minutes of twenty voices. Q.24 sets no bound; other detectors report a few keys in thirty hours of speech.
    let pressed: Vec<String> =
        (0..20).map(|seed| detect_keys(&voice(15, seed))).filter(|k| !k.is_empty()).collect();
    assert!(pressed.is_empty(), "{pressed:?}");
}

#[test]
fn the_hash_behind_a_long_message_is_the_only_key_in_it() {
    for seed in 40..44 {
        let mut audio = voice(60, seed); // S72
        audio.extend(silence(200));
        audio.extend(press(Press { key: '#', millis: 120, low: -9.0, high: -7.0, ..PRESS }));
        audio.extend(silence(200));
        let detected = detect(&audio, DtmfMode::Tones, &[]);
        assert!(matches!(detected[..], [('#', 80..)]), "{seed}: {detected:?}");
    }
}

#[test]
fn keys_between_speech_are_detected() {
    let mut audio = voice(3, 3);
    audio.extend(silence(60));
    audio.extend(press(Press { key: '7', millis: 120, ..PRESS }));
    audio.extend(silence(60));
    audio.extend(voice(3, 4));
    assert_eq!(detect_keys(&audio), "7");
}

#[test]
fn a_digit_sent_as_event_and_as_tone_is_reported_once() {
    let mut test = TestEngine::g711_call();
    test.command(MediaCommand::SetDtmfMode { stream: A, digits: DtmfMode::Tones });
    let tone = press(Press { millis: 200, ..PRESS });
    let mut n = 0;
    for (k, frame) in tone.chunks(160).enumerate() {
        let payload = frame.iter().map(|sample| encode_mu(*sample)).collect();
        test.rtp(A, PHONE_A, &Rtp { payload, timestamp: 160 * k as u32, ..Rtp::voice(7, n) });
        let [d0, d1] = (160 * (k as u16 + 1)).to_be_bytes();
        let payload = vec![5, if k == 9 { 0x8a } else { 0x0a }, d0, d1];
        test.rtp(A, PHONE_A, &Rtp { payload_type: 101, payload, timestamp: 0, ..Rtp::voice(7, n + 1) });
        n += 2;
        test.advance(20);
    }
    // Enabled again, detection stays off: this phone is known to send telephone-events.
    test.command(MediaCommand::SetDtmfMode { stream: A, digits: DtmfMode::Tones });
    for (frame, n) in press(PRESS).chunks(160).zip(n..) {
        let payload = frame.iter().map(|sample| encode_mu(*sample)).collect();
        test.rtp(A, PHONE_A, &Rtp { payload, ..Rtp::voice(7, n) });
        test.advance(20);
    }
    test.send_voice(A, PHONE_A, 7, n + 10..n + 20);
    assert_eq!(test.events, [MediaEvent::Digit { stream: A, digit: '5', millis: 200 }]);
}
