//! Parsing: strict about the syntax of lines, lenient about their content.

use bytes::Bytes;

use super::{Line, Media, SdpError, SessionDescription};
use crate::limits;

pub(super) fn description(bytes: &[u8]) -> Result<SessionDescription, SdpError> {
    if bytes.len() > limits::SDP_BYTES {
        return Err(SdpError::Malformed { line: 0, what: "too long" });
    }
    let whole = Bytes::copy_from_slice(bytes);
    let mut session: Vec<Line> = Vec::new();
    let mut media: Vec<Media> = Vec::new();
    for (index, raw) in whole.split(|b| *b == b'\n').enumerate() {
        let number = index + 1;
        let malformed = |what| SdpError::Malformed { line: number, what };
        if index >= limits::SDP_LINES {
            return Err(malformed("too many lines"));
        }
        let raw = raw.strip_suffix(b"\r").unwrap_or(raw);
        let (kind, value) = match raw {
            [] => continue, // empty lines are common at the end, and harmless elsewhere
            [kind, b'=', value @ ..] if kind.is_ascii_alphabetic() => (*kind, value),
            _ => return Err(malformed("a line must begin with a letter and '='")),
        };
        if value.iter().any(|b| matches!(b, 0..=8 | 0x0a..=0x1f | 0x7f)) {
            return Err(malformed("control character"));
        }
        if session.is_empty() != (kind == b'v') {
            return Err(malformed("v= must be the first line and occur once"));
        }
        match kind {
            b'v' if value.trim_ascii() != b"0" => return Err(malformed("v= must be 0")),
            b'c' if value.split(|b| *b == b' ').filter(|t| !t.is_empty()).count() < 3 => {
                return Err(malformed("c= needs network type, address type and address"));
            }
            b'm' => {
                if media.len() == limits::SDP_MEDIA {
                    return Err(malformed("too many m= lines"));
                }
                media.push(media_line(value).map_err(malformed)?);
                continue;
            }
            _ => {}
        }
        let line = Line { kind, value: whole.slice_ref(value) };
        match media.last_mut() {
            Some(section) => section.lines.push(line),
            None => session.push(line),
        }
    }
    if session.is_empty() {
        return Err(SdpError::Malformed { line: 1, what: "empty" });
    }
    Ok(SessionDescription { session, media })
}

/// `<media> <port>[/<count>] <proto> <fmt> …` (RFC 8866 §5.14).
fn media_line(value: &[u8]) -> Result<Media, &'static str> {
    let text = std::str::from_utf8(value).map_err(|_| "m= must be ASCII")?;
    if !text.bytes().all(|b| matches!(b, b' '..=b'~')) {
        return Err("m= must be ASCII");
    }
    let mut words = text.split(' ').filter(|w| !w.is_empty());
    let (Some(kind), Some(port), Some(proto)) = (words.next(), words.next(), words.next()) else {
        return Err("m= needs media, port, transport and formats");
    };
    let (port, count) = match port.split_once('/') {
        Some((port, count)) => (port, Some(count.parse().map_err(|_| "invalid number of ports in m=")?)),
        None => (port, None),
    };
    let port = port.parse().map_err(|_| "invalid port in m=")?;
    let formats: Vec<String> = words.take(limits::SDP_PAYLOADS + 1).map(str::to_owned).collect();
    match formats.len() {
        0 => Err("m= without a format"),
        n if n > limits::SDP_PAYLOADS => Err("too many formats"),
        _ => Ok(Media {
            kind: kind.to_owned(),
            port,
            count,
            proto: proto.to_owned(),
            formats,
            lines: Vec::new(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> (usize, &'static str) {
        match description(text.as_bytes()) {
            Err(SdpError::Malformed { line, what }) => (line, what),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_error_names_the_line_and_the_fault() {
        assert_eq!(fault("").0, 1);
        assert_eq!(fault("o=- 1 1 IN IP4 1.2.3.4\n").1, "v= must be the first line and occur once");
        assert_eq!(fault("v=0\r\ns=-\r\nv=0\r\n").0, 3);
        assert_eq!(fault("v=1\n"), (1, "v= must be 0"));
        assert_eq!(fault("v=0\nhello\n").0, 2);
        assert_eq!(fault("v=0\nm=audio 99999 RTP/AVP 0\n"), (2, "invalid port in m="));
        assert_eq!(fault("v=0\nm=audio -1 RTP/AVP 0\n").0, 2);
        assert_eq!(fault("v=0\nm=audio 4000 RTP/AVP\n"), (2, "m= without a format"));
        assert_eq!(fault("v=0\nc=IN IP4\n").0, 2);
        assert_eq!(fault("v=0\ns=a\0b\n").1, "control character");
    }

    #[test]
    fn each_limit_is_enforced() {
        let formats = "v=0\nm=audio 4000 RTP/AVP".to_owned() + &" 0".repeat(limits::SDP_PAYLOADS + 1);
        assert_eq!(fault(&formats).1, "too many formats");
        let sections = "v=0\n".to_owned() + &"m=audio 4000 RTP/AVP 0\n".repeat(limits::SDP_MEDIA + 1);
        assert_eq!(fault(&sections).1, "too many m= lines");
        assert_eq!(fault(&("v=0\n".to_owned() + &"a=x\n".repeat(limits::SDP_LINES))).1, "too many lines");
        assert_eq!(fault(&"v".repeat(limits::SDP_BYTES + 1)).1, "too long");
    }

    #[test]
    fn bare_line_feeds_and_a_missing_last_line_end_are_accepted() {
        let crlf = description(b"v=0\r\ns=-\r\nm=audio 4000/2 RTP/AVP 0\r\na=x\r\n\r\n").unwrap();
        assert_eq!(description(b"v=0\ns=-\nm=audio 4000/2 RTP/AVP  0\na=x"), Ok(crlf));
    }
}
