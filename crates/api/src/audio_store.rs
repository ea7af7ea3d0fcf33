//! Where audio is kept (recordings, messages, greetings), as far as the API must know: the shell keeps it, in a folder or an object store.

use std::future::Future;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use model::RecordingFormat;
use store::{Kept, Place};

/// A future that is sent between threads.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// One piece of audio.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AudioFile {
    /// A path below the data directory, without its ending; also its key in an object store. Made by us, never by callers.
    pub name: String,
    /// What it is.
    pub format: RecordingFormat,
    /// Where it is.
    pub place: Place,
}

impl AudioFile {
    /// A message or a greeting: Opus, in the folder.
    pub fn voicemail(name: String) -> AudioFile {
        AudioFile { name, format: RecordingFormat::Opus, place: Place::Folder }
    }
}

impl From<&Kept> for AudioFile {
    fn from(kept: &Kept) -> AudioFile {
        AudioFile { name: kept.recording.name(), format: kept.recording.format, place: kept.place }
    }
}

/// What the audio is wanted as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AudioFormatRequest {
    /// As it is kept.
    Stored,
    /// As WAV (PCM of 16 bits, 8 kHz), whatever it is kept as.
    Wav,
}

/// Audio that can be read.
#[derive(Clone)]
pub struct Opened {
    /// All its bytes.
    pub length: u64,
    /// `audio/ogg`, `audio/wav`.
    pub content_type: &'static str,
    /// Reads a part.
    pub read: Arc<dyn Fn(Range<u64>) -> BoxFuture<io::Result<Bytes>> + Send + Sync>,
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

/// See the module.
pub trait AudioStore: Send + Sync {
    /// Open audio; `NotFound` where it is not there.
    fn open(&self, file: AudioFile, wanted: AudioFormatRequest) -> BoxFuture<io::Result<Opened>>;

    /// Keep an uploaded WAV as [`AudioFile::voicemail`] of this name, in place of what lay there.
    fn keep_wav(&self, name: String, wav: Bytes) -> BoxFuture<Result<(), AudioError>>;

    /// Remove audio, wherever it is. What is not there any more is removed.
    fn remove(&self, file: AudioFile) -> BoxFuture<io::Result<()>>;
}

/// A shelf with nothing on it, for an API without a shell.
#[derive(Debug)]
pub(crate) struct EmptyShelf;

impl AudioStore for EmptyShelf {
    fn open(&self, _: AudioFile, _: AudioFormatRequest) -> BoxFuture<io::Result<Opened>> {
        Box::pin(async { Err(io::ErrorKind::NotFound.into()) })
    }

    fn keep_wav(&self, _: String, _: Bytes) -> BoxFuture<Result<(), AudioError>> {
        Box::pin(async { Err(AudioError::Disk) })
    }

    fn remove(&self, _: AudioFile) -> BoxFuture<io::Result<()>> {
        Box::pin(async { Ok(()) })
    }
}
