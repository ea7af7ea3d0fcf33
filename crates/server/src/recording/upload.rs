//! Converts uploaded WAV audio to the stored format: mono, 8 kHz.

use api::AudioError;

/// Samples of the longest greeting: 60 s.
const MAX_SAMPLES: usize = 8_000 * 60;

/// Decode a WAV (16-bit PCM, 8 to 48 kHz, one or two channels) to samples of 8 kHz.
pub(super) fn samples(bytes: &[u8]) -> Result<Vec<i16>, AudioError> {
    const NOT_WAV: AudioError = AudioError::Unreadable(
        "the audio is not a WAV file with 16-bit PCM, one or two channels and 8 to 48 kHz",
        "el audio no es un archivo WAV con PCM de 16 bits, uno o dos canales y entre 8 y 48 kHz",
    );
    let number = |at: usize, len: usize| -> Option<usize> {
        let part = bytes.get(at..at + len)?;
        Some(part.iter().rev().fold(0, |n, byte| n << 8 | usize::from(*byte)))
    };
    if bytes.get(..4) != Some(b"RIFF") || bytes.get(8..12) != Some(b"WAVE") {
        return Err(NOT_WAV);
    }
    let (mut at, mut format) = (12, None);
    loop {
        let (Some(kind), Some(length)) = (bytes.get(at..at + 4), number(at + 4, 4)) else {
            return Err(NOT_WAV);
        };
        let body = at + 8;
        match kind {
            b"fmt " => {
                // 1 is PCM, 0xfffe is WAVE_FORMAT_EXTENSIBLE.
                let pcm = matches!(number(body, 2), Some(1 | 0xfffe)) && number(body + 14, 2) == Some(16);
                let (channels, rate) = (number(body + 2, 2), number(body + 4, 4));
                match (pcm, channels, rate) {
                    (true, Some(channels @ 1..=2), Some(rate @ 8_000..=48_000)) => {
                        format = Some((channels, rate));
                    }
                    _ => return Err(NOT_WAV),
                }
            }
            b"data" => {
                let Some((channels, rate)) = format else { return Err(NOT_WAV) };
                // A program that writes to a pipe does not know the length: 0 or all ones means up to the end.
                let unknown_length = length == 0 || length == u32::MAX as usize;
                let end =
                    if unknown_length { bytes.len() } else { body.saturating_add(length).min(bytes.len()) };
                let audio = bytes.get(body..end).unwrap_or_default();
                let samples = resampled(audio, channels, rate);
                if samples.len() > MAX_SAMPLES {
                    return Err(AudioError::Unreadable(
                        "the audio is longer than a minute",
                        "el audio dura más de un minuto",
                    ));
                }
                if samples.len() < 800 {
                    return Err(AudioError::Unreadable("the audio is empty", "el audio está vacío"));
                }
                return Ok(samples);
            }
            _ => {}
        }
        at = body.saturating_add(length).saturating_add(length % 2);
    }
}

/// Convert to mono and 8 kHz. Averaging over each output sample's span attenuates higher frequencies.
fn resampled(audio: &[u8], channels: usize, rate: usize) -> Vec<i16> {
    let mono: Vec<i32> = audio
        .chunks_exact(2 * channels)
        .map(|frame| {
            let sum: i32 = frame.chunks_exact(2).map(|s| i32::from(i16::from_le_bytes([s[0], s[1]]))).sum();
            sum / channels as i32
        })
        .collect();
    if rate == 8_000 {
        return mono.iter().map(|sample| *sample as i16).collect();
    }
    let count = mono.len() * 8_000 / rate;
    (0..count)
        .map(|n| {
            let (from, to) = (n * rate / 8_000, ((n + 1) * rate / 8_000).min(mono.len()));
            let part = mono.get(from..to.max(from + 1)).unwrap_or_default();
            (part.iter().sum::<i32>() / part.len().max(1) as i32) as i16
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::wav;
    use super::*;

    fn wav_of(rate: u32, channels: u16, samples: &[i16]) -> Vec<u8> {
        let mut bytes = wav::header(channels, samples.len() as u64 * 2).to_vec();
        bytes[24..28].copy_from_slice(&rate.to_le_bytes());
        bytes.extend(samples.iter().flat_map(|s| s.to_le_bytes()));
        bytes
    }

    #[test]
    fn uploads_become_one_channel_of_eight_kilohertz() {
        let plain: Vec<i16> = (0..8_000).map(|n| (n % 100) as i16).collect();
        assert_eq!(samples(&wav_of(8_000, 1, &plain)).unwrap(), plain);
        let stereo: Vec<i16> = (0..96_000).map(|n| if n % 2 == 0 { 100 } else { 300 }).collect();
        let down = samples(&wav_of(48_000, 2, &stereo)).unwrap();
        assert_eq!((down.len(), down[4_000]), (8_000, 200));
        for length in [0, u32::MAX] {
            let mut piped = wav_of(8_000, 1, &plain);
            piped[4..8].copy_from_slice(&length.to_le_bytes());
            piped[40..44].copy_from_slice(&length.to_le_bytes());
            assert_eq!(samples(&piped).unwrap(), plain, "{length}");
        }
        for bad in [
            &b""[..],
            b"RIFF....WAVEfmt ",
            &wav_of(4_000, 1, &plain),
            &wav_of(8_000, 3, &plain),
            &wav_of(8_000, 1, &[0; 10]),
        ] {
            assert!(matches!(samples(bad), Err(AudioError::Unreadable(..))));
        }
        let long = vec![0; 8_000 * 61];
        assert!(matches!(
            samples(&wav_of(8_000, 1, &long)),
            Err(AudioError::Unreadable("the audio is longer than a minute", _))
        ));
    }
}
