//! In-band DTMF detection (ITU-T Q.23, Q.24): two simultaneous sines, found with Goertzel's algorithm.
//!
//! Speech must not be taken for keys: nearly all the energy of a block has to be in one tone of each group, neither may be much stronger than
//! the other, and consecutive blocks have to agree.

use std::f32::consts::{PI, TAU};

use super::dtmf::DtmfDigit;

/// Samples per second.
const RATE: f32 = 8_000.0;
/// Samples of a block, 12.75 ms: a bin is as wide as the distance between two tones.
const BLOCK: usize = 2 * STEP;
/// Samples from one block to the next: the shortest key press (40 ms) contains four blocks at any alignment.
const STEP: usize = 51;
const ROWS: [f32; 4] = [697.0, 770.0, 852.0, 941.0];
const COLUMNS: [f32; 4] = [1_209.0, 1_336.0, 1_477.0, 1_633.0];
const KEYS: [[char; 4]; 4] =
    [['1', '2', '3', 'A'], ['4', '5', '6', 'B'], ['7', '8', '9', 'C'], ['*', '0', '#', 'D']];
/// The amplitude of the weakest accepted tone, −33 dBm0: below the −27 dBm0 that has to be accepted (Q.24 §2).
const MIN_AMPLITUDE: f32 = 500.0;
/// Minimum fraction of a block's energy in the bins of the two tones, and in the two tones after correction of their frequency: noise 10 dB
/// below the tones leaves that much.
const MIN_BIN_ENERGY: f32 = 0.6;
const MIN_TONE_ENERGY: f32 = 0.9;
/// Maximum twist, low to high and high to low: 8 and 4 dB (Q.24 §2), adjusted for the error of the bins.
const MAX_TWIST: (f32, f32) = (8.0, 3.2);
/// Maximum deviation of a tone's frequency: between the 1.5 % that have to be accepted and the 3.5 % that have to be rejected (Q.24 §2).
const MAX_DETUNE: f32 = 0.023;
/// Maximum ratio of a tone's power in two consecutive blocks of a key press: 3 dB.
const MAX_POWER_CHANGE: f32 = 2.0;
/// Minimum ratio of a tone's power to the other tones of its group: 6 dB.
const MIN_PEAK_RATIO: f32 = 4.0;
/// Consecutive blocks that have to agree, and blocks that may be missing within a key press (Q.24: interruptions below 10 ms are ignored).
const MIN_BLOCKS: u32 = 4;
const MAX_BREAK: u32 = 3;
/// Samples of lost audio that do not end a key press: two packets.
const MAX_LOST: i32 = 320;

/// In-band DTMF detection for one peer.
#[derive(Debug)]
pub(super) struct ToneDetector {
    block: [f32; BLOCK],
    filled: usize,
    /// The key of the last block, and the number of consecutive blocks that agree.
    last: Option<(KeyTones, u32)>,
    held: Option<HeldKey>,
    /// The RTP timestamp expected next.
    next: Option<u32>,
}

/// One tone of a block.
#[derive(Clone, Copy, Debug)]
struct Tone {
    hertz: f32,
    power: f32,
    phase: f32,
}

impl Tone {
    /// Goertzel's algorithm. The phase advances from block to block as that of the real tone does, which gives its frequency far more precisely
    /// than the width of a bin.
    fn of(block: &[f32; BLOCK], hertz: f32) -> Tone {
        let (sin, cos) = (TAU * hertz / RATE).sin_cos();
        let (one, two) = block.iter().fold((0.0, 0.0), |(one, two), x| (x + 2.0 * cos * one - two, one));
        let (real, imaginary) = (one - cos * two, sin * two);
        Tone { hertz, power: real * real + imaginary * imaginary, phase: imaginary.atan2(real) }
    }

    /// If `next` is the same tone in the next block: its power, corrected from the bin's frequency to the tone's own.
    fn continues_as(&self, next: &Tone) -> Option<f32> {
        let steady =
            self.power <= MAX_POWER_CHANGE * next.power && next.power <= MAX_POWER_CHANGE * self.power;
        let advance = TAU * self.hertz * STEP as f32 / RATE;
        let deviation = (next.phase - self.phase - advance + PI).rem_euclid(TAU) - PI;
        // A block is two steps long, so half its phase advance is that of one step.
        let response = if deviation.abs() < 1e-3 { 1.0 } else { deviation.sin() / deviation };
        (steady && deviation.abs() <= advance * MAX_DETUNE).then(|| next.power / (response * response))
    }
}

/// The key whose tones dominate a block.
#[derive(Clone, Copy, Debug)]
struct KeyTones {
    digit: char,
    low: Tone,
    high: Tone,
    /// The power that two pure tones of the block's energy would have.
    energy: f32,
}

impl KeyTones {
    fn continues_as(&self, next: &KeyTones) -> bool {
        let power = self.low.continues_as(&next.low).zip(self.high.continues_as(&next.high));
        self.digit == next.digit
            && power.is_some_and(|(low, high)| low + high >= MIN_TONE_ENERGY * next.energy)
    }
}

/// A key that is held down.
#[derive(Clone, Copy, Debug)]
struct HeldKey {
    digit: char,
    blocks: u32,
    missing: u32,
}

impl Default for ToneDetector {
    fn default() -> ToneDetector {
        ToneDetector { block: [0.0; BLOCK], filled: 0, last: None, held: None, next: None }
    }
}

impl ToneDetector {
    /// Handle 8 kHz audio that begins at `timestamp`; `pressed` is called for each key that is released.
    pub(super) fn on_audio(&mut self, timestamp: u32, audio: &[i16], mut pressed: impl FnMut(DtmfDigit)) {
        let gap = self.next.map_or(0, |next| timestamp.wrapping_sub(next) as i32);
        if gap < 0 && gap > -16_000 {
            return; // a late packet
        }
        if !(0..=MAX_LOST).contains(&gap) {
            self.release_key(&mut pressed);
            (self.filled, self.last) = (0, None);
        }
        self.next = Some(timestamp.wrapping_add(audio.len() as u32));
        for sample in audio {
            if let Some(slot) = self.block.get_mut(self.filled) {
                *slot = f32::from(*sample);
            }
            self.filled += 1;
            if self.filled == BLOCK {
                let key = detect_key(&self.block);
                self.on_block(key, &mut pressed);
                self.block.copy_within(STEP.., 0);
                self.filled = BLOCK - STEP;
            }
        }
    }

    fn on_block(&mut self, key: Option<KeyTones>, pressed: &mut impl FnMut(DtmfDigit)) {
        let run = key.map(|key| match self.last {
            Some((before, run)) if before.continues_as(&key) => (key, run + 1),
            Some(_) | None => (key, 1),
        });
        self.last = run;
        if let Some(held) = &mut self.held {
            if key.is_some_and(|key| key.digit == held.digit) {
                held.blocks += 1 + std::mem::take(&mut held.missing);
                return;
            }
            held.missing += 1;
            if held.missing <= MAX_BREAK {
                return;
            }
            self.release_key(pressed);
        }
        if let Some((key, _)) = run.filter(|(_, run)| *run >= MIN_BLOCKS) {
            self.held = Some(HeldKey { digit: key.digit, blocks: MIN_BLOCKS, missing: 0 });
        }
    }

    fn release_key(&mut self, pressed: &mut impl FnMut(DtmfDigit)) {
        if let Some(HeldKey { digit, blocks, .. }) = self.held.take() {
            let millis = ((blocks + 1) * STEP as u32 / 8).min(u32::from(u16::MAX)) as u16;
            pressed(DtmfDigit { digit, millis });
        }
    }
}

/// Index and tone of the strongest of a group, if it dominates the others.
fn strongest(tones: [Tone; 4]) -> Option<(usize, Tone)> {
    let (index, best) = tones.into_iter().enumerate().max_by(|(_, a), (_, b)| a.power.total_cmp(&b.power))?;
    let mut others = tones.iter().enumerate().filter(|(n, _)| *n != index);
    others.all(|(_, tone)| tone.power * MIN_PEAK_RATIO < best.power).then_some((index, best))
}

/// The key of a block, if its tones dominate.
fn detect_key(block: &[f32; BLOCK]) -> Option<KeyTones> {
    let half = BLOCK as f32 / 2.0;
    let energy: f32 = half * block.iter().map(|x| x * x).sum::<f32>();
    let min_power = (half * MIN_AMPLITUDE).powi(2);
    if energy < min_power {
        return None; // most blocks of silence end here
    }
    let (row, low) = strongest(ROWS.map(|hertz| Tone::of(block, hertz)))?;
    let (column, high) = strongest(COLUMNS.map(|hertz| Tone::of(block, hertz)))?;
    let twisted = low.power > MAX_TWIST.0 * high.power || high.power > MAX_TWIST.1 * low.power;
    let dominant =
        low.power + high.power >= MIN_BIN_ENERGY * energy && low.power.min(high.power) >= min_power;
    let digit = KEYS.get(row)?.get(column).copied()?;
    (dominant && !twisted).then_some(KeyTones { digit, low, high, energy })
}
