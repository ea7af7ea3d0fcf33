//! SDP in message bodies: as the whole body, or as a part of a `multipart/mixed` body (RFC 5621).

use bytes::Bytes;

use crate::{HeaderName, Message};

/// The SDP of a message. `Ok(None)` if it has none; `Err(415)` if it has a body that must be understood and is not.
pub(crate) fn sdp_of(message: &Message) -> Result<Option<Bytes>, u16> {
    let body = message.body();
    if body.is_empty() {
        return Ok(None);
    }
    let kind = message.header(HeaderName::ContentType).unwrap_or("application/sdp");
    let bare = kind.split(';').next().unwrap_or(kind).trim();
    if bare.eq_ignore_ascii_case("application/sdp") {
        return Ok(Some(body));
    }
    if bare.get(..10).is_some_and(|start| start.eq_ignore_ascii_case("multipart/"))
        && let Some(part) = parameter(kind, "boundary").and_then(|boundary| sdp_part(&body, boundary))
    {
        return Ok(Some(part));
    }
    let optional = message.header(HeaderName::ContentDisposition).is_some_and(|disposition| {
        disposition.to_ascii_lowercase().replace(' ', "").contains("handling=optional")
    });
    if optional { Ok(None) } else { Err(415) }
}

fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    value.split(';').skip(1).find_map(|param| {
        let (key, value) = param.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    })
}

/// The first part with Content-Type `application/sdp`.
fn sdp_part(body: &Bytes, boundary: &str) -> Option<Bytes> {
    let delimiter = [b"--", boundary.as_bytes()].concat();
    let mut marks = memchr::memmem::find_iter(body, &delimiter).peekable();
    while let Some(mark) = marks.next() {
        let (start, end) = (mark + delimiter.len(), *marks.peek()?);
        let part = body.get(start..end)?;
        let blank = memchr::memmem::find(part, b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(part.get(..blank)?).to_ascii_lowercase();
        if head.lines().any(|line| line.starts_with("content-type:") && line.contains("application/sdp")) {
            return Some(body.slice(start + blank + 4..end.saturating_sub(2).max(start + blank + 4)));
        }
    }
    None
}
