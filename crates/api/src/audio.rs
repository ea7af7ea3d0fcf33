//! The door to files with audio, which the shell keeps.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

/// What is done with a file of audio: bytes, or nothing where there is none.
pub type Sound = Pin<Box<dyn Future<Output = Option<Bytes>> + Send>>;

/// How audio is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AudioFormat {
    /// Opus in Ogg, as it is kept.
    Ogg,
    /// PCM of 16 bits, 8 kHz.
    Wav,
}

/// Why uploaded audio was not taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AudioError {
    /// It is not what it must be; the sentence says what, in English and Spanish.
    #[error("{0}")]
    Unreadable(&'static str, &'static str),
    /// The disk does not take it.
    #[error("the file could not be written")]
    Disk,
}

/// Files of audio by name: a path below the data directory without its ending. Names are made by us, never by callers.
pub trait AudioPort: Send + Sync + 'static {
    /// Read one.
    fn read(&self, name: String, format: AudioFormat) -> Sound;

    /// Keep an uploaded WAV under a name, in place of what lay there.
    fn keep_wav(
        &self,
        name: String,
        wav: Bytes,
    ) -> Pin<Box<dyn Future<Output = Result<(), AudioError>> + Send>>;

    /// Delete one, where it is there.
    fn remove(&self, name: String);
}

/// No files: for an API without a shell.
#[derive(Clone, Copy, Debug)]
pub struct NoAudio;

impl AudioPort for NoAudio {
    fn read(&self, _name: String, _format: AudioFormat) -> Sound {
        Box::pin(std::future::ready(None))
    }

    fn keep_wav(
        &self,
        _name: String,
        _wav: Bytes,
    ) -> Pin<Box<dyn Future<Output = Result<(), AudioError>> + Send>> {
        Box::pin(std::future::ready(Err(AudioError::Disk)))
    }

    fn remove(&self, _name: String) {}
}
