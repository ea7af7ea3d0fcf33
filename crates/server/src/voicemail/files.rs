//! The files of voicemail: Opus in Ogg below the data directory, read as they are, as WAV, or as samples to be played.

use std::fs;
use std::future::Future;
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};
use std::pin::Pin;

use ::media::FileFormat;
use api::{AudioError, AudioFormat, AudioPort, Sound};
use bytes::Bytes;
use model::ExtensionId;
use switch::voicemail::Clip;

use crate::recording::ogg_opus::{self, OggWriter};
use crate::recording::{path_of, wav};

/// Samples of the longest audio that is read: a little more than the longest message.
const LONGEST: usize = 8_000 * 200;
/// A file that nobody knows is deleted once it is so old.
const SETTLED: std::time::Duration = std::time::Duration::from_secs(3600);
/// Samples of the longest greeting.
const GREETING: usize = 8_000 * 60;

/// See the module.
#[derive(Clone, Debug)]
pub struct Files {
    data: PathBuf,
}

impl Files {
    /// Files below a data directory.
    pub fn new(data: &Path) -> Files {
        Files { data: data.to_owned() }
    }

    /// Read a file as samples.
    pub async fn clip(&self, name: String) -> Option<Clip> {
        let files = self.clone();
        let reading = tokio::task::spawn_blocking(move || files.samples(&name));
        match reading.await.ok()? {
            Ok(samples) => Some(samples.into()),
            Err(error) => {
                tracing::warn!(%error, "audio of voicemail cannot be read");
                None
            }
        }
    }

    /// Keep samples as a file.
    pub async fn keep(&self, name: String, samples: Clip) -> io::Result<()> {
        let files = self.clone();
        tokio::task::spawn_blocking(move || files.keep_blocking(&name, &samples)).await?
    }

    /// Put a file in another's place.
    pub async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.path(from)?, self.path(to)?);
        tokio::task::spawn_blocking(move || fs::rename(from, to)).await?
    }

    /// Delete what nobody knows: what a deletion left, or a recording whose extension is gone.
    pub async fn sweep(&self, known: impl Fn(&ExtensionId, &str) -> bool + Send + 'static) {
        let folder = self.data.join("voicemail");
        let swept = tokio::task::spawn_blocking(move || sweep(&folder, known)).await;
        match swept {
            Ok(Ok(0)) => {}
            Ok(Ok(count)) => tracing::info!(count, "files of voicemail that nobody knows are deleted"),
            Ok(Err(error)) => tracing::warn!(%error, "the files of voicemail cannot be looked through"),
            Err(_) => tracing::error!("looking through the files of voicemail ended in a panic"),
        }
    }

    fn path(&self, name: &str) -> io::Result<PathBuf> {
        path_of(&self.data, name, FileFormat::Opus)
    }

    fn samples(&self, name: &str) -> io::Result<Vec<i16>> {
        let file = io::BufReader::new(fs::File::open(self.path(name)?)?);
        Ok(ogg_opus::read(file, LONGEST)?.mono())
    }

    fn read_blocking(&self, name: &str, format: AudioFormat) -> io::Result<Bytes> {
        match format {
            AudioFormat::Ogg => Ok(fs::read(self.path(name)?)?.into()),
            AudioFormat::Wav => Ok(to_wav(&self.samples(name)?).into()),
        }
    }

    fn keep_blocking(&self, name: &str, samples: &[i16]) -> io::Result<()> {
        let path = self.path(name)?;
        let draft = path.with_extension("new");
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut ogg = OggWriter::new(fs::File::create(&draft)?, 1, 1)?;
        for block in samples.chunks(800) {
            ogg.write(block)?;
        }
        ogg.finish()?.sync_data()?;
        fs::rename(draft, path)
    }
}

impl AudioPort for Files {
    fn read(&self, name: String, format: AudioFormat) -> Sound {
        let files = self.clone();
        Box::pin(async move {
            tokio::task::spawn_blocking(move || files.read_blocking(&name, format).ok()).await.ok()?
        })
    }

    fn keep_wav(
        &self,
        name: String,
        wav: Bytes,
    ) -> Pin<Box<dyn Future<Output = Result<(), AudioError>> + Send>> {
        let files = self.clone();
        Box::pin(async move {
            let keeping = tokio::task::spawn_blocking(move || {
                let samples = from_wav(&wav)?;
                files.keep_blocking(&name, &samples).map_err(|error| {
                    tracing::error!(%error, "a greeting cannot be written");
                    AudioError::Disk
                })
            });
            keeping.await.unwrap_or(Err(AudioError::Disk))
        })
    }

    fn remove(&self, name: String) {
        if let Ok(path) = self.path(&name) {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%error, "a file of voicemail cannot be deleted");
                }
                Ok(()) | Err(_) => {}
            }
        }
    }
}

/// Count of the files that were deleted.
fn sweep(folder: &Path, known: impl Fn(&ExtensionId, &str) -> bool) -> io::Result<usize> {
    let mut count = 0;
    let boxes = match fs::read_dir(folder) {
        Ok(boxes) => boxes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    for one in boxes {
        let one = one?;
        let Ok(extension) = ExtensionId::parse(&one.file_name().to_string_lossy()) else { continue };
        for file in fs::read_dir(one.path())? {
            let path = file?.path();
            let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            // What is young may be of a caller or an upload that came while we look.
            let age = fs::metadata(&path)?.modified()?.elapsed().unwrap_or_default();
            if age > SETTLED && !known(&extension, &name) {
                fs::remove_file(&path)?;
                count += 1;
            }
        }
    }
    Ok(count)
}

/// Samples of 8 kHz as a WAV file.
fn to_wav(samples: &[i16]) -> Vec<u8> {
    let mut bytes = wav::header(1, samples.len() as u64 * 2).to_vec();
    bytes.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    bytes
}

/// PCM of 16 bits, of any usual rate, one channel or two, as samples of 8 kHz.
fn from_wav(bytes: &[u8]) -> Result<Vec<i16>, AudioError> {
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
                let end = body.saturating_add(length).min(bytes.len());
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

/// Samples out of Opus in Ogg that is in memory.
pub(super) fn decode(ogg: &[u8]) -> io::Result<Vec<i16>> {
    Ok(ogg_opus::read(Cursor::new(ogg), LONGEST)?.mono())
}

#[cfg(test)]
mod tests {
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
        assert_eq!(from_wav(&wav_of(8_000, 1, &plain)).unwrap(), plain);
        let stereo: Vec<i16> = (0..96_000).map(|n| if n % 2 == 0 { 100 } else { 300 }).collect();
        let down = from_wav(&wav_of(48_000, 2, &stereo)).unwrap();
        assert_eq!((down.len(), down[4_000]), (8_000, 200));
        assert_eq!(from_wav(&to_wav(&plain)).unwrap(), plain);
        for bad in [
            &b""[..],
            b"RIFF....WAVEfmt ",
            &wav_of(4_000, 1, &plain),
            &wav_of(8_000, 3, &plain),
            &wav_of(8_000, 1, &[0; 10]),
        ] {
            assert!(matches!(from_wav(bad), Err(AudioError::Unreadable(..))));
        }
        let long = vec![0; 8_000 * 61];
        assert!(matches!(
            from_wav(&wav_of(8_000, 1, &long)),
            Err(AudioError::Unreadable("the audio is longer than a minute", _))
        ));
    }
}
