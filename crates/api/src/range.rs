//! Range requests (RFC 9110 §14): a single byte range. Anything else is answered with the whole content, as the RFC allows.

use axum::http::{HeaderMap, header};
use http_range_header::RangeUnsatisfiableError;

/// The byte range that a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RequestedRange {
    All,
    /// From the first byte (inclusive) to the second (exclusive).
    Part(u64, u64),
    /// Not satisfiable: 416.
    Unsatisfiable,
}

/// Read the `Range` header for content of `length` bytes. `tag` is the current entity tag; a range of another version (`If-Range`) is answered with
/// the whole content.
pub(crate) fn requested_range(headers: &HeaderMap, tag: Option<&str>, length: u64) -> RequestedRange {
    let text = |name| headers.get(name).and_then(|value: &axum::http::HeaderValue| value.to_str().ok());
    if text(header::IF_RANGE).is_some_and(|wanted| Some(wanted) != tag) {
        return RequestedRange::All;
    }
    text(header::RANGE).and_then(|range| part(range, length)).unwrap_or(RequestedRange::All)
}

fn part(range: &str, length: u64) -> Option<RequestedRange> {
    let ranges = http_range_header::parse_range_header(range.trim_end()).ok()?;
    if length == 0 {
        return Some(RequestedRange::Unsatisfiable); // the library reports a suffix range of empty content as malformed
    }
    match ranges.validate(length) {
        Ok(parts) => match parts.as_slice() {
            [part] => Some(RequestedRange::Part(*part.start(), part.end() + 1)),
            [..] => None, // several ranges are answered with the whole content, not with a multipart body
        },
        Err(RangeUnsatisfiableError::Unsatisfiable) => Some(RequestedRange::Unsatisfiable),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(range: &str) -> RequestedRange {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, range.parse().unwrap());
        requested_range(&headers, Some("\"a\""), 1_000)
    }

    #[test]
    fn a_single_range_is_served_and_anything_else_is_the_whole() {
        assert_eq!(of("bytes=0-0"), RequestedRange::Part(0, 1));
        assert_eq!(of("bytes=10-"), RequestedRange::Part(10, 1_000));
        assert_eq!(of("bytes=-10"), RequestedRange::Part(990, 1_000));
        assert_eq!(of("bytes=-5000"), RequestedRange::Part(0, 1_000));
        assert_eq!(of("bytes=900-5000"), RequestedRange::Part(900, 1_000));
        for beyond in ["bytes=1000-", "bytes=1000-1001", "bytes=-0"] {
            assert_eq!(of(beyond), RequestedRange::Unsatisfiable, "{beyond}");
        }
        for other in
            ["bytes=5-1", "bytes=a-b", "lines=1-2", "bytes=1-2,4-5", "bytes=", "bytes=-", "bytes=+1-2"]
        {
            assert_eq!(of(other), RequestedRange::All, "{other}");
        }
    }

    #[test]
    fn an_empty_file_has_no_satisfiable_range() {
        for range in ["bytes=0-", "bytes=0-0", "bytes=-1"] {
            assert_eq!(part(range, 0), Some(RequestedRange::Unsatisfiable), "{range}");
        }
    }

    #[test]
    fn if_range_of_another_version_gets_the_whole() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, "bytes=0-9".parse().unwrap());
        headers.insert(header::IF_RANGE, "\"a\"".parse().unwrap());
        assert_eq!(requested_range(&headers, Some("\"a\""), 100), RequestedRange::Part(0, 10));
        assert_eq!(requested_range(&headers, Some("\"b\""), 100), RequestedRange::All);
        assert_eq!(requested_range(&headers, None, 100), RequestedRange::All);
    }
}
