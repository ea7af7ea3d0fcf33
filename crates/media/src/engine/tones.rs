//! Keys that are sent as tones in the audio (ITU-T Q.23, Q.24): two sines at once, found by Goertzel's algorithm.
//!
//! A voice must not press keys: nearly all the energy of a block has to lie in one tone of each group, neither much stronger than the other,
//! and two blocks in a row have to agree.

use std::f32::consts::{PI, TAU};

use super::dtmf::DtmfDigit;

/// Samples per second.
const RATE: f32 = 8_000.0;
/// Samples that are judged together, 12.75 ms: a bin is as wide as the tones are apart.
const BLOCK: usize = 2 * STEP;
/// A block begins every so many samples: four of them lie within the shortest press (40 ms), however it falls.
const STEP: usize = 51;
const ROWS: [f32; 4] = [697.0, 770.0, 852.0, 941.0];
const COLUMNS: [f32; 4] = [1_209.0, 1_336.0, 1_477.0, 1_633.0];
const KEYS: [[char; 4]; 4] =
    [['1', '2', '3', 'A'], ['4', '5', '6', 'B'], ['7', '8', '9', 'C'], ['*', '0', '#', 'D']];
/// The amplitude of the faintest tone, −33 dBm0: a quarter below the −27 dBm0 that a far phone's may have (Q.24 §2).
const FAINTEST: f32 = 500.0;
/// How much of a block's energy the bins of the two tones have to see, and how much has to be in the tones when it is known how far off
/// the bins they are: noise 10 dB below the tones leaves that.
const SEEN: f32 = 0.6;
const PURITY: f32 = 0.9;
/// How much stronger the low and the high tone may be: 8 and 4 dB (Q.24 §2), and what the bins misjudge.
const TWIST: (f32, f32) = (8.0, 3.2);
/// How far off a tone may be: between the 1.5 % that have to be borne and the 3.5 % that have to be refused (Q.24 §2).
const DETUNED: f32 = 0.023;
/// How much a tone's power may change from one block to the next within a press: 3 dB.
const STEADY: f32 = 2.0;
/// How much stronger a tone has to be than the others of its group: 6 dB.
const PEAK: f32 = 4.0;
/// Blocks in a row that have to agree, and that may be missing within a press (Q.24: breaks below 10 ms are none).
const AGREE: u32 = 4;
const BREAK: u32 = 3;
/// Lost audio that a press goes on over, in samples: two packets.
const BRIDGED: i32 = 320;

/// Listens to one peer.
#[derive(Debug)]
pub(super) struct ToneDetector {
    block: [f32; BLOCK],
    filled: usize,
    /// What the last block was, and how many before it agree.
    last: Option<(Key, u32)>,
    press: Option<Held>,
    /// The timestamp that goes on from what was heard.
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
    /// Goertzel's algorithm. Its phase advances from block to block as the real tone's does, which tells that one's pitch far closer than
    /// a bin is wide.
    fn of(block: &[f32; BLOCK], hertz: f32) -> Tone {
        let (sin, cos) = (TAU * hertz / RATE).sin_cos();
        let (one, two) = block.iter().fold((0.0, 0.0), |(one, two), x| (x + 2.0 * cos * one - two, one));
        let (real, imaginary) = (one - cos * two, sin * two);
        Tone { hertz, power: real * real + imaginary * imaginary, phase: imaginary.atan2(real) }
    }

    /// The power of this tone in the next block, if it is the same tone, at its own pitch instead of the bin's.
    fn goes_on_as(&self, next: &Tone) -> Option<f32> {
        let steady = self.power <= STEADY * next.power && next.power <= STEADY * self.power;
        let turn = TAU * self.hertz * STEP as f32 / RATE;
        let off = (next.phase - self.phase - turn + PI).rem_euclid(TAU) - PI;
        // A block is two steps long, so half its turn is one step's.
        let seen = if off.abs() < 1e-3 { 1.0 } else { off.sin() / off };
        (steady && off.abs() <= turn * DETUNED).then(|| next.power / (seen * seen))
    }
}

/// What a block is made of.
#[derive(Clone, Copy, Debug)]
struct Key {
    digit: char,
    low: Tone,
    high: Tone,
    /// What the powers of two pure tones would come to.
    energy: f32,
}

impl Key {
    fn goes_on_as(&self, next: &Key) -> bool {
        let power = self.low.goes_on_as(&next.low).zip(self.high.goes_on_as(&next.high));
        self.digit == next.digit && power.is_some_and(|(low, high)| low + high >= PURITY * next.energy)
    }
}

/// A key that is down.
#[derive(Clone, Copy, Debug)]
struct Held {
    digit: char,
    blocks: u32,
    missed: u32,
}

impl Default for ToneDetector {
    fn default() -> ToneDetector {
        ToneDetector { block: [0.0; BLOCK], filled: 0, last: None, press: None, next: None }
    }
}

impl ToneDetector {
    /// Audio of 8 kHz that begins at `timestamp`; `pressed` is told of every key that was let go.
    pub(super) fn hear(&mut self, timestamp: u32, audio: &[i16], mut pressed: impl FnMut(DtmfDigit)) {
        let gap = self.next.map_or(0, |next| timestamp.wrapping_sub(next) as i32);
        if gap < 0 && gap > -16_000 {
            return; // late: its time is over
        }
        if !(0..=BRIDGED).contains(&gap) {
            self.let_go(&mut pressed);
            (self.filled, self.last) = (0, None);
        }
        self.next = Some(timestamp.wrapping_add(audio.len() as u32));
        for sample in audio {
            if let Some(slot) = self.block.get_mut(self.filled) {
                *slot = f32::from(*sample);
            }
            self.filled += 1;
            if self.filled == BLOCK {
                let key = key(&self.block);
                self.judge(key, &mut pressed);
                self.block.copy_within(STEP.., 0);
                self.filled = BLOCK - STEP;
            }
        }
    }

    fn judge(&mut self, key: Option<Key>, pressed: &mut impl FnMut(DtmfDigit)) {
        let run = key.map(|key| match self.last {
            Some((before, run)) if before.goes_on_as(&key) => (key, run + 1),
            Some(_) | None => (key, 1),
        });
        self.last = run;
        if let Some(held) = &mut self.press {
            if key.is_some_and(|key| key.digit == held.digit) {
                held.blocks += 1 + std::mem::take(&mut held.missed);
                return;
            }
            held.missed += 1;
            if held.missed <= BREAK {
                return;
            }
            self.let_go(pressed);
        }
        if let Some((key, _)) = run.filter(|(_, run)| *run >= AGREE) {
            self.press = Some(Held { digit: key.digit, blocks: AGREE, missed: 0 });
        }
    }

    fn let_go(&mut self, pressed: &mut impl FnMut(DtmfDigit)) {
        if let Some(Held { digit, blocks, .. }) = self.press.take() {
            let millis = ((blocks + 1) * STEP as u32 / 8).min(u32::from(u16::MAX)) as u16;
            pressed(DtmfDigit { digit, millis });
        }
    }
}

/// The strongest of a group by its place, where it stands out.
fn strongest(tones: [Tone; 4]) -> Option<(usize, Tone)> {
    let (place, best) = tones.into_iter().enumerate().max_by(|(_, a), (_, b)| a.power.total_cmp(&b.power))?;
    let mut others = tones.iter().enumerate().filter(|(n, _)| *n != place);
    others.all(|(_, tone)| tone.power * PEAK < best.power).then_some((place, best))
}

/// The key whose tones a block is made of.
fn key(block: &[f32; BLOCK]) -> Option<Key> {
    let half = BLOCK as f32 / 2.0;
    let energy: f32 = half * block.iter().map(|x| x * x).sum::<f32>();
    let faintest = (half * FAINTEST).powi(2);
    if energy < faintest {
        return None; // most blocks of silence end here
    }
    let (row, low) = strongest(ROWS.map(|hertz| Tone::of(block, hertz)))?;
    let (column, high) = strongest(COLUMNS.map(|hertz| Tone::of(block, hertz)))?;
    let twisted = low.power > TWIST.0 * high.power || high.power > TWIST.1 * low.power;
    let seen = low.power + high.power >= SEEN * energy && low.power.min(high.power) >= faintest;
    let digit = KEYS.get(row)?.get(column).copied()?;
    (seen && !twisted).then_some(Key { digit, low, high, energy })
}
