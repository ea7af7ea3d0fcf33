//! Audio that somebody sent: a WAV of any usual kind, as what is kept.

use api::AudioError;

/// Samples of the longest greeting.
const GREETING: usize = 8_000 * 60;

/// PCM of 16 bits, of any usual rate, one channel or two, as samples of 8 kHz.
pub(super) fn samples(bytes: &[u8]) -> Result<Vec<i16>, AudioError> {
    const NO_WAV: AudioError = AudioError::Unreadable(
        "the audio is no WAV with PCM of 16 bits, one or two channels and 8 to 48 kHz",
        "el audio no es un WAV con PCM de 16 bits, uno o dos canales y de 8 a 48 kHz",
    );
    let number = |at: usize, len: usize| -> Option<usize> {
        let part = bytes.get(at..at + len)?;
        Some(part.iter().rev().fold(0, |n, byte| n << 8 | usize::from(*byte)))
    };
    if bytes.get(..4) != Some(b"RIFF") || bytes.get(8..12) != Some(b"WAVE") {
        return Err(NO_WAV);
    }
    let (mut at, mut format) = (12, None);
    loop {
        let (Some(kind), Some(length)) = (bytes.get(at..at + 4), number(at + 4, 4)) else {
            return Err(NO_WAV);
        };
        let body = at + 8;
        match kind {
            b"fmt " => {
                // 1 is PCM, 0xfffe one whose exact kind is said later.
                let pcm = matches!(number(body, 2), Some(1 | 0xfffe)) && number(body + 14, 2) == Some(16);
                let (channels, rate) = (number(body + 2, 2), number(body + 4, 4));
                match (pcm, channels, rate) {
                    (true, Some(channels @ 1..=2), Some(rate @ 8_000..=48_000)) => {
                        format = Some((channels, rate));
                    }
                    _ => return Err(NO_WAV),
                }
            }
            b"data" => {
                let Some((channels, rate)) = format else { return Err(NO_WAV) };
                // Who writes into a pipe does not know the length: 0, or all ones, is up to the end.
                let open = length == 0 || length == u32::MAX as usize;
                let end = if open { bytes.len() } else { body.saturating_add(length).min(bytes.len()) };
                let audio = bytes.get(body..end).unwrap_or_default();
                let samples = resampled(audio, channels, rate);
                if samples.len() > GREETING {
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

/// To one channel and 8 kHz. What lies above is damped by taking the mean of what one sample stands for.
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
        for open in [0, u32::MAX] {
            let mut piped = wav_of(8_000, 1, &plain);
            piped[4..8].copy_from_slice(&open.to_le_bytes());
            piped[40..44].copy_from_slice(&open.to_le_bytes());
            assert_eq!(samples(&piped).unwrap(), plain, "{open}");
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
