//! Audio analysis: frequency and level of a tone in recorded samples.

use std::f64::consts::PI;
use std::fmt::Write as _;
use std::path::Path;

/// Sample rate of all phones here, in Hz: narrowband audio.
pub const RATE: u32 = 8000;

/// Measurement of a stretch of audio.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sound {
    /// Number of measured samples; 0 if no packet arrived.
    pub samples: usize,
    /// The strongest frequency in Hz, to 10 Hz.
    pub hz: u32,
    /// Level relative to full scale, in dB; -100 for digital silence.
    pub dbfs: f64,
    /// Share of the power in the strongest frequency: near 1 for a pure tone, small for noise or speech.
    pub purity: f64,
}

impl Sound {
    /// Whether this is clearly the tone of `hz`: loud, pure, and at that frequency.
    pub fn is_tone(&self, hz: u32) -> bool {
        self.dbfs > -40.0 && self.purity > 0.6 && self.hz.abs_diff(hz) <= 10
    }

    /// Whether it is silence to a human ear.
    pub fn is_silence(&self) -> bool {
        self.dbfs < -50.0
    }
}

/// Find the strongest frequency between 100 and 3,800 Hz.
pub fn measure(samples: &[i16]) -> Sound {
    let power: f64 =
        samples.iter().map(|s| (f64::from(*s) / 32768.0).powi(2)).sum::<f64>() / samples.len().max(1) as f64;
    let dbfs = if power > 0.0 { 10.0 * power.log10() } else { -100.0 };
    let (hz, strongest) = (10..=380)
        .map(|step| (step * 10, power_at(samples, f64::from(step * 10))))
        .fold((0, 0.0), |best, one| if one.1 > best.1 { one } else { best });
    Sound { samples: samples.len(), hz, dbfs, purity: if power > 0.0 { strongest / power } else { 0.0 } }
}

/// Power at one frequency, averaged over windows so short (50 ms) that a tone a few hertz off still counts.
fn power_at(samples: &[i16], hz: f64) -> f64 {
    let stretches = samples.chunks_exact(400);
    let count = stretches.len().max(1) as f64;
    stretches.map(|stretch| goertzel(stretch, hz)).sum::<f64>() / count
}

/// Power at one frequency, by Goertzel's algorithm.
fn goertzel(samples: &[i16], hz: f64) -> f64 {
    let coefficient = 2.0 * (2.0 * PI * hz / f64::from(RATE)).cos();
    let (mut one, mut two) = (0.0_f64, 0.0_f64);
    for sample in samples {
        let zero = coefficient.mul_add(one, f64::from(*sample) / 32768.0) - two;
        two = one;
        one = zero;
    }
    let count = samples.len().max(1) as f64;
    2.0 * (coefficient * one).mul_add(-two, one * one + two * two) / (count * count)
}

/// A sine of `seconds` at a third of full scale.
pub fn sine(hz: u32, seconds: u32) -> Vec<i16> {
    let step = 2.0 * PI * f64::from(hz) / f64::from(RATE);
    (0..RATE * seconds).map(|n| (10_000.0 * (step * f64::from(n)).sin()) as i16).collect()
}

/// A mono WAV file, 16 bits per sample.
pub fn wav(samples: &[i16]) -> Vec<u8> {
    let bytes = samples.len() as u32 * 2;
    let mut out = Vec::with_capacity(44 + bytes as usize);
    out.extend_from_slice(b"RIFF");
    out.extend_from_slice(&(36 + bytes).to_le_bytes());
    out.extend_from_slice(b"WAVEfmt ");
    for word in [16_u32, 0x0001_0001, RATE, RATE * 2, 0x0010_0002] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(b"data");
    out.extend_from_slice(&bytes.to_le_bytes());
    out.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    out
}

/// The samples that a recording contains so far. The writer completes the header when it closes the file, so the sizes in it are ignored; a file
/// without audio yet is empty.
pub fn recorded(path: &Path) -> Vec<i16> {
    let bytes = std::fs::read(path).unwrap_or_default();
    let data = bytes.windows(4).position(|window| window == b"data").map_or(bytes.len(), |at| at + 8);
    let data = bytes.get(data..).unwrap_or_default();
    data.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
}

/// Print sounds one per line, for a failure message.
pub fn list(sounds: &[Sound]) -> String {
    sounds.iter().fold(String::new(), |mut text, sound| {
        let _ = writeln!(text, "  {sound:?}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_is_told_from_another_from_silence_and_from_noise() {
        let tone = measure(&sine(440, 1));
        assert!(tone.is_tone(440) && !tone.is_tone(1000) && !tone.is_silence(), "{tone:?}");
        assert!((tone.dbfs + 13.3).abs() < 0.5, "{tone:?}");
        assert!(measure(&[0; 4000]).is_silence());
        assert!(measure(&[]).is_silence());
        let mut state = 1_u32;
        assert!(measure(&sine(1004, 1)).is_tone(1000), "the milliwatt tone is 1004 Hz");
        let noise: Vec<i16> = (0..4000)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 16) as i16 / 4
            })
            .collect();
        assert!((1..38).all(|step| !measure(&noise).is_tone(step * 100)));
    }

    #[test]
    fn a_recording_that_is_still_open_is_read_up_to_its_end() {
        let scratch = crate::Scratch::new("wav");
        let mut bytes = wav(&sine(1000, 1));
        bytes[40..44].copy_from_slice(&[0; 4]);
        assert_eq!(recorded(&scratch.write("open.wav", &bytes)).len(), 8000);
        assert!(recorded(&scratch.path().join("none.wav")).is_empty());
    }
}
