//! One range of bytes of an answer (RFC 9110 §14): what players of audio ask for.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use bytes::Bytes;

/// What of so many bytes is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wanted {
    All,
    Part {
        first: usize,
        last: usize,
    },
    /// Nothing of it exists.
    Nothing,
}

/// Answer bytes of some type, whole or in part as `Range` asks.
pub(crate) fn answer(headers: &HeaderMap, kind: &'static str, bytes: Bytes) -> axum::response::Response {
    let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    let total = bytes.len();
    let (status, body, part) = match wanted(range, total) {
        Wanted::All => (StatusCode::OK, bytes, None),
        Wanted::Part { first, last } => {
            let part = format!("bytes {first}-{last}/{total}");
            (StatusCode::PARTIAL_CONTENT, bytes.slice(first..=last), Some(part))
        }
        Wanted::Nothing => {
            (StatusCode::RANGE_NOT_SATISFIABLE, Bytes::new(), Some(format!("bytes */{total}")))
        }
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

/// Several ranges, other units and what cannot be read count as none: then everything is answered (RFC 9110 §14.2).
fn wanted(range: Option<&str>, total: usize) -> Wanted {
    let Some((first, last)) = range
        .and_then(|range| range.strip_prefix("bytes="))
        .filter(|range| !range.contains(','))
        .and_then(|range| range.trim().split_once('-'))
    else {
        return Wanted::All;
    };
    let end = total.saturating_sub(1);
    match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), _) if first >= total => Wanted::Nothing,
        (Ok(first), Ok(last)) if last >= first => Wanted::Part { first, last: last.min(end) },
        (Ok(first), Err(_)) if last.is_empty() => Wanted::Part { first, last: end },
        (Err(_), Ok(0)) if first.is_empty() => Wanted::Nothing,
        (Err(_), Ok(count)) if first.is_empty() && total > 0 => {
            Wanted::Part { first: total.saturating_sub(count), last: end }
        }
        _ => Wanted::All,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_rfc_9110() {
        let part = |first, last| Wanted::Part { first, last };
        for (range, is) in [
            (None, Wanted::All),
            (Some("bytes=0-9"), part(0, 9)),
            (Some("bytes=90-"), part(90, 99)),
            (Some("bytes=90-500"), part(90, 99)),
            (Some("bytes=-5"), part(95, 99)),
            (Some("bytes=-500"), part(0, 99)),
            (Some("bytes=100-"), Wanted::Nothing),
            (Some("bytes=-0"), Wanted::Nothing),
            (Some("bytes=9-3"), Wanted::All),
            (Some("bytes=0-1,5-6"), Wanted::All),
            (Some("lines=0-1"), Wanted::All),
            (Some("bytes=x"), Wanted::All),
        ] {
            assert_eq!(wanted(range, 100), is, "{range:?}");
        }
        assert_eq!(
            (wanted(Some("bytes=0-"), 0), wanted(Some("bytes=-1"), 0)),
            (Wanted::Nothing, Wanted::All)
        );
    }
}
