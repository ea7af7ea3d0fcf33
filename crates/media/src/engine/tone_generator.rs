//! Generated audio: cadenced tones, the milliwatt, a tune, silence; each rendered once as a loop of G.711.

use std::f64::consts::TAU;
use std::time::Duration;

use base::Instant;

use super::api::Tone;
use super::g711::Law;
use super::rtp::{self, HEADER};
use crate::limits::TONE_CATCH_UP;

/// Samples per packet.
pub(super) const SAMPLES: usize = 160;
/// Duration of a packet.
pub(super) const FRAME: Duration = Duration::from_millis(20);
const RATE: f64 = 8_000.0;

/// A tone or silence that is played to a peer.
#[derive(Debug)]
pub(super) struct TonePlayer {
    /// `None`: silence.
    tone: Option<Tone>,
    position: usize,
    due: Instant,
}

impl TonePlayer {
    pub(super) fn new(tone: Option<Tone>, now: Instant) -> TonePlayer {
        TonePlayer { tone, position: 0, due: now }
    }

    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Continue after other audio.
    pub(super) fn resume(&mut self, now: Instant) {
        self.due = now;
    }

    /// The frames that are due; see the free function [`frames_due`].
    pub(super) fn frames_due(&mut self, now: Instant) -> (u32, Catchup) {
        frames_due(&mut self.due, now)
    }

    /// Fill the next 20 ms.
    pub(super) fn fill(&mut self, cache: &mut ToneCache, law: Law, frame: &mut [u8; SAMPLES]) {
        let Some(tone) = self.tone else {
            *frame = [law.silence(); SAMPLES];
            return;
        };
        let samples = cache.get(tone, law);
        let mut position = self.position;
        for byte in frame.iter_mut() {
            *byte = samples.get(position).copied().unwrap_or(law.silence());
            position = if position + 1 < samples.len() { position + 1 } else { 0 };
        }
        self.position = position;
    }
}

/// How many packets to send now, and whether older ones are skipped. Moves `due` to the next packet.
pub(super) fn frames_due(due: &mut Instant, now: Instant) -> (u32, Catchup) {
    let frames_late = now.since(*due).as_millis() as u64 / FRAME.as_millis() as u64;
    let frames = if now < *due { 0 } else { frames_late + 1 };
    *due += FRAME * u32::try_from(frames).unwrap_or(u32::MAX);
    if frames > u64::from(TONE_CATCH_UP) { (1, Catchup::Skipped) } else { (frames as u32, Catchup::None) }
}

/// Whether frames were skipped because the tick came too late.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Catchup {
    None,
    Skipped,
}

/// The rendered loops; each is rendered when it is first played.
#[derive(Debug, Default)]
pub(super) struct ToneCache {
    loops: [[Vec<u8>; 2]; 4],
}

impl ToneCache {
    fn get(&mut self, tone: Tone, law: Law) -> &[u8] {
        let [ringback, busy, milliwatt, music] = &mut self.loops;
        let [mu, a] = match tone {
            Tone::Ringback => ringback,
            Tone::Busy => busy,
            Tone::Milliwatt => milliwatt,
            Tone::Music => music,
        };
        let samples = match law {
            Law::Mu => mu,
            Law::A => a,
        };
        if samples.is_empty() {
            *samples = render(tone, law);
        }
        samples
    }
}

/// Render one period of a tone. The length is a whole number of waves, so the loop has no discontinuity.
fn render(tone: Tone, law: Law) -> Vec<u8> {
    match tone {
        Tone::Ringback => cadence(law, 8_000, 32_000),
        Tone::Busy => cadence(law, 4_000, 4_000),
        Tone::Milliwatt => (0..2_000).map(|n| sample(law, sine(1_004.0, n))).collect(), // 251 waves
        Tone::Music => tune(law),
    }
}

fn sine(hertz: f64, n: usize) -> f64 {
    (TAU * hertz * n as f64 / RATE).sin()
}

/// Encode an amplitude; 1.0 is the peak of 0 dBm0.
fn sample(law: Law, amplitude: f64) -> u8 {
    law.encode((amplitude * law.milliwatt_peak()).round() as i16)
}

/// 425 Hz at −13 dBm0, on and off (ITU-T E.180).
fn cadence(law: Law, on: usize, off: usize) -> Vec<u8> {
    let level = 10f64.powf(-13.0 / 20.0);
    let samples = (0..on).map(|n| sample(law, level * sine(425.0, n)));
    samples.chain((0..off).map(|_| law.silence())).collect()
}

/// Notes of the tune: semitones above A3, and length in beats.
const TUNE: [(i32, usize); 24] = [
    (3, 1),
    (7, 1),
    (10, 1),
    (15, 2),
    (10, 1),
    (0, 1),
    (3, 1),
    (7, 1),
    (12, 2),
    (7, 1),
    (5, 1),
    (8, 1),
    (12, 1),
    (17, 2),
    (12, 1),
    (7, 1),
    (10, 1),
    (14, 1),
    (19, 2),
    (14, 1),
    (10, 1),
    (7, 1),
    (2, 1),
    (3, 4),
];
/// Samples of a beat: 300 ms.
const BEAT: usize = 2_400;

/// Plucked notes with a sub-octave, at about −24 dBm0.
fn tune(law: Law) -> Vec<u8> {
    let beats: usize = TUNE.iter().map(|(_, beats)| beats).sum();
    let mut bytes = Vec::with_capacity(beats * BEAT);
    for (semitones, beats) in TUNE {
        let hertz = 220.0 * 2f64.powf(f64::from(semitones) / 12.0);
        let length = beats * BEAT;
        for n in 0..length {
            let attack = (n as f64 / 80.0).min(1.0);
            let release = ((length - n) as f64 / 160.0).min(1.0);
            let decay = (-3.0 * n as f64 / RATE).exp();
            let wave = sine(hertz, n) + 0.3 * sine(2.0 * hertz, n) + 0.2 * sine(hertz / 2.0, n);
            bytes.push(sample(law, 0.12 * attack * release * decay * wave));
        }
    }
    bytes
}

/// Build a packet of generated audio.
pub(super) fn build_packet(header: &rtp::Header, frame: &[u8; SAMPLES]) -> [u8; HEADER + SAMPLES] {
    let mut packet = [0; HEADER + SAMPLES];
    let (head, payload) = packet.split_at_mut(HEADER);
    payload.copy_from_slice(frame);
    if let Some(first) = head.first_mut() {
        *first = 0x80;
    }
    rtp::rewrite(head, header);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Level of decoded audio in dBm0, and the fraction of its power at a frequency.
    fn measure(law: Law, bytes: &[u8], hertz: f64) -> (f64, f64) {
        let peak = law.milliwatt_peak();
        let samples: Vec<f64> = bytes.iter().map(|b| f64::from(law.decode(*b)) / peak).collect();
        let power = samples.iter().map(|s| s * s).sum::<f64>() / samples.len() as f64;
        let (re, im) = samples.iter().enumerate().fold((0.0, 0.0), |(re, im), (n, s)| {
            let phase = TAU * hertz * n as f64 / RATE;
            (re + s * phase.cos(), im + s * phase.sin())
        });
        let line = 2.0 * (re * re + im * im) / (samples.len() as f64).powi(2);
        (10.0 * (power / 0.5).log10(), line / power)
    }

    #[test]
    fn the_milliwatt_is_1004_hz_at_0_dbm0() {
        for law in [Law::Mu, Law::A] {
            let (level, purity) = measure(law, ToneCache::default().get(Tone::Milliwatt, law), 1_004.0);
            assert!(level.abs() < 0.05, "{law:?} {level}");
            assert!(purity > 0.999, "{law:?} {purity}");
        }
    }

    #[test]
    fn cadences_sound_at_425_hz_and_pause() {
        let mut cache = ToneCache::default();
        let ringback = cache.get(Tone::Ringback, Law::A);
        let (level, purity) = measure(Law::A, &ringback[..8_000], 425.0);
        assert!((level + 13.0).abs() < 0.1 && purity > 0.99);
        assert!(ringback[8_000..].iter().all(|b| *b == Law::A.silence()));
        assert_eq!((ringback.len(), cache.get(Tone::Busy, Law::A).len()), (40_000, 8_000));
        let music = cache.get(Tone::Music, Law::Mu);
        let (level, _) = measure(Law::Mu, music, 440.0);
        assert!((-40.0..-20.0).contains(&level), "{level}");
    }

    #[test]
    fn a_late_tick_catches_up_a_little_and_skips_the_rest() {
        let mut play = TonePlayer::new(None, Instant::ZERO);
        let at = |ms: u64| Instant::from_micros(ms * 1_000);
        assert_eq!(play.frames_due(at(0)), (1, Catchup::None));
        assert_eq!(play.frames_due(at(10)), (0, Catchup::None));
        assert_eq!(play.frames_due(at(65)), (3, Catchup::None));
        assert_eq!(play.due(), at(80));
        assert_eq!(play.frames_due(at(1_000)), (1, Catchup::Skipped));
        assert!(play.due() > at(1_000));
    }
}
