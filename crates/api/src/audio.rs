//! The door to files with audio, which the shell keeps.

use std::future::Future;
use std::pin::Pin;

use axum::extract::Request;
use axum::http::header;
use bytes::Bytes;

use crate::error::{ApiError, Fault};
use crate::limits::{AUDIO_BYTES, BODY_PATIENCE};

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

/// The WAV that is sent: any length up to the limit, not looked at yet.
pub(crate) async fn sent_wav(request: Request) -> Result<Bytes, ApiError> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let essence = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !["audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave"].contains(&essence.as_str()) {
        return Err(ApiError::said(
            Fault::MediaType,
            ("send the audio as audio/wav", "envíe el audio como audio/wav"),
        ));
    }
    let reading = axum::body::to_bytes(request.into_body(), AUDIO_BYTES);
    let Ok(Ok(wav)) = tokio::time::timeout(BODY_PATIENCE, reading).await else {
        let said = (
            "the audio is larger than 12 MB, or came too slowly",
            "el audio supera los 12 MB o llegó demasiado lento",
        );
        return Err(ApiError::said(Fault::BodyTooLarge, said));
    };
    Ok(wav)
}

impl From<AudioError> for ApiError {
    fn from(error: AudioError) -> Self {
        match error {
            AudioError::Unreadable(en, es) => ApiError::said(Fault::BadValue, (en, es)),
            AudioError::Disk => Fault::StoreAway.into(),
        }
    }
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
