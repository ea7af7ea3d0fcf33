//! Upload of WAV audio, of any duration up to the byte limit.

use axum::extract::Request;
use axum::http::header;
use bytes::Bytes;

use crate::audio_store::AudioError;
use crate::error::{ApiError, Fault};
use crate::input::{limit_of, read_whole};

/// Read an uploaded WAV. Only the Content-Type is checked, not the content.
pub(crate) async fn read_wav(request: Request) -> Result<Bytes, ApiError> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let essence = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !["audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave"].contains(&essence.as_str()) {
        return Err(ApiError::with_detail(
            Fault::MediaType,
            ("send the audio as audio/wav", "envíe el audio como audio/wav"),
        ));
    }
    let limit = limit_of(&request);
    Ok(read_whole(request.into_body(), limit).await?)
}

impl From<AudioError> for ApiError {
    fn from(error: AudioError) -> Self {
        match error {
            AudioError::Unreadable(en, es) => ApiError::with_detail(Fault::BadValue, (en, es)),
            AudioError::Disk => Fault::StoreUnavailable.into(),
        }
    }
}
