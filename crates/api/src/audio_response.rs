//! Audio responses: the whole file or one byte range, streamed in chunks, so that no recording is held in memory as a whole.

use std::future::ready;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;

use crate::App;
use crate::audio_store::{AudioFile, AudioFormatRequest, BoxFuture, Opened};
use crate::error::{ApiError, Fault};
use crate::limits::AUDIO_CHUNK;
use crate::range::{RequestedRange, requested_range};

/// Stream an audio file. `hash` distinguishes versions of the file and becomes the entity tag.
pub(crate) async fn audio_response(
    app: &App,
    file: AudioFile,
    wanted: AudioFormatRequest,
    hash: Option<&str>,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let ending = if wanted == AudioFormatRequest::Wav { "wav" } else { file.format.ending() };
    let name = file.name.rsplit('/').next().unwrap_or_default().to_owned();
    let tag = hash.map(|hash| format!("\"{hash}-{ending}\""));
    let opened = match app.audio_store().open(file, wanted).await {
        Ok(opened) => opened,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(Fault::NotFound.into()),
        Err(error) => {
            tracing::error!(%error, name, "an audio file could not be opened");
            return Err(Fault::AudioUnavailable.into());
        }
    };
    respond(opened, &format!("{name}.{ending}"), tag, headers)
}

/// Stream Opus in Ogg that is already in memory.
pub(crate) fn ogg_response(ogg: Bytes, name: &str, headers: &HeaderMap) -> Result<Response, ApiError> {
    let length = ogg.len() as u64;
    let read = move |part: Range<u64>| -> BoxFuture<io::Result<Bytes>> {
        let part = ogg.slice(part.start as usize..part.end as usize);
        Box::pin(ready(Ok(part)))
    };
    let opened = Opened { length, content_type: "audio/ogg", read: Arc::new(read) };
    respond(opened, &format!("{name}.ogg"), None, headers)
}

fn respond(
    opened: Opened,
    name: &str,
    tag: Option<String>,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let (length, content_type) = (opened.length, opened.content_type);
    let (status, from, to) = match requested_range(headers, tag.as_deref(), length) {
        RequestedRange::All => (StatusCode::OK, 0, length),
        RequestedRange::Part(from, to) => (StatusCode::PARTIAL_CONTENT, from, to),
        RequestedRange::Unsatisfiable => {
            let beyond = [(header::CONTENT_RANGE, format!("bytes */{length}"))];
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, beyond).into_response());
        }
    };
    let mut response = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, content_type)
        .header(header::CONTENT_LENGTH, to - from)
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::CACHE_CONTROL, "private, no-cache")
        .header(header::CONTENT_DISPOSITION, format!("inline; filename=\"{name}\""));
    if let Some(tag) = tag {
        response = response.header(header::ETAG, tag);
    }
    if status == StatusCode::PARTIAL_CONTENT {
        response = response.header(header::CONTENT_RANGE, format!("bytes {from}-{}/{length}", to - 1));
    }
    response.body(chunks(opened, from, to)).map_err(|_| Fault::Internal.into())
}

fn chunks(opened: Opened, from: u64, to: u64) -> Body {
    Body::from_stream(stream::try_unfold(from, move |at| {
        let opened = opened.clone();
        async move {
            if at >= to {
                return Ok(None);
            }
            let bytes = (opened.read)(at..to.min(at + AUDIO_CHUNK)).await?;
            if bytes.is_empty() {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof));
            }
            let next = at + bytes.len() as u64;
            Ok(Some((bytes, next)))
        }
    }))
}
