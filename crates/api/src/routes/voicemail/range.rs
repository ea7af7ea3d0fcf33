//! Answers of audio that is in memory as a whole, or of one range of it: what players of audio ask for.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use bytes::Bytes;

use crate::range::{Asked, asked};

/// Answer bytes of some type, whole or in part as `Range` asks.
pub(crate) fn answer(headers: &HeaderMap, kind: &'static str, bytes: Bytes) -> axum::response::Response {
    let total = bytes.len();
    let (status, body, part) = match asked(headers, None, total as u64) {
        Asked::All => (StatusCode::OK, bytes, None),
        Asked::Part(from, to) => {
            let part = format!("bytes {from}-{}/{total}", to - 1);
            (StatusCode::PARTIAL_CONTENT, bytes.slice(from as usize..to as usize), Some(part))
        }
        Asked::Nothing => (StatusCode::RANGE_NOT_SATISFIABLE, Bytes::new(), Some(format!("bytes */{total}"))),
    };
    let length = body.len();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    if let Some(part) = part.and_then(|part| HeaderValue::from_str(&part).ok()) {
        headers.insert(header::CONTENT_RANGE, part);
    }
    response
}
