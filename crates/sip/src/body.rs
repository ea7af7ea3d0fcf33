//! Message bodies: the SDP, alone or as a part of a multipart body, and the other parts (RFC 5621).

use bytes::Bytes;

use crate::{HeaderName, Headers, Message, lexer, limits, lines};

/// Content-Type of session descriptions.
pub(crate) const SDP: &str = "application/sdp";
/// Value of Accept: the bodies that we understand.
pub(crate) const ACCEPT: &str = "application/sdp, multipart/mixed";

/// A body, or a part of a multipart body, that is not the SDP of the session: location (PIDF-LO, RFC 6442), ISUP (RFC 3204), ….
#[derive(Clone, Debug)]
pub struct BodyPart {
    /// Value of Content-Type; `text/plain` for a part without one (RFC 2046 §5.1).
    pub content_type: String,
    /// The other header lines of the part: Content-ID (the target of a `cid:` URI in Geolocation), Content-Disposition, ….
    pub headers: Headers,
    /// The content, as transferred (Content-Transfer-Encoding is not decoded).
    pub body: Bytes,
}

/// A message body, split into the SDP of the session and all other parts.
#[derive(Clone, Default, Debug)]
pub struct BodyParts {
    /// The session description; `None` if the body has none.
    pub sdp: Option<Bytes>,
    /// The other parts, in order. A nested multipart body without SDP is one part.
    pub others: Vec<BodyPart>,
}

impl Message {
    /// The SDP of the session, wherever it is in the body. `Ok(None)` if there is none; `Err(415)` as for [`Message::body_parts`].
    pub fn sdp(&self) -> Result<Option<Bytes>, u16> {
        self.body_parts().map(|parts| parts.sdp)
    }

    /// Split the body into the SDP of the session and the other parts. A body without Content-Type counts as SDP; SDP for an early session
    /// (RFC 3959) is another part. `Err(415)` if there is no SDP and a part must be understood (`handling` is not `optional`, RFC 3261 §20.11),
    /// or if the body is compressed.
    pub fn body_parts(&self) -> Result<BodyParts, u16> {
        let body = self.body();
        if body.is_empty() {
            return Ok(BodyParts::default());
        }
        if self.tokens(HeaderName::ContentEncoding).any(|coding| !coding.eq_ignore_ascii_case("identity")) {
            return Err(415);
        }
        let mut part = Part::new(body);
        for name in ["Content-Disposition", "Content-ID", "Content-Transfer-Encoding"] {
            if let Some(value) = self.header_named(name) {
                part.add_header(name, value);
            }
        }
        self.header(HeaderName::ContentType).unwrap_or(SDP).clone_into(&mut part.content_type);
        let optional = part.optional;
        let mut found = Found::default();
        found.add(part, 0);
        if found.sdp.is_none() && found.required && !optional {
            return Err(415);
        }
        Ok(BodyParts { sdp: found.sdp, others: found.others })
    }
}

/// The result of searching a body.
#[derive(Default)]
struct Found {
    sdp: Option<Bytes>,
    others: Vec<BodyPart>,
    /// One of the other parts must be understood.
    required: bool,
}

impl Found {
    fn add(&mut self, part: Part, depth: usize) {
        if self.sdp.is_none() && part.is_session_description() {
            self.sdp = Some(part.body);
            return;
        }
        if let Some(parts) = part.split().filter(|_| depth < limits::BODY_DEPTH) {
            let mut inner = Found::default();
            let alternative = media_type(&part.content_type).eq_ignore_ascii_case("multipart/alternative");
            if alternative {
                // Alternatives come in increasing order of preference (RFC 2046 §5.1.4): take the last one with SDP.
                for part in parts.into_iter().rev() {
                    inner = Found::default();
                    inner.add(part, depth + 1);
                    if inner.sdp.is_some() {
                        break;
                    }
                }
            } else {
                parts.into_iter().for_each(|part| inner.add(part, depth + 1));
            }
            // A nested multipart body without SDP, and alternatives without SDP, stay whole.
            if (depth == 0 && !alternative) || (self.sdp.is_none() && inner.sdp.is_some()) {
                self.required |= inner.required;
                self.sdp = self.sdp.take().or(inner.sdp);
                self.others.extend(inner.others);
                return;
            }
        }
        self.required |= !part.optional;
        self.others.push(BodyPart {
            content_type: part.content_type,
            headers: part.headers,
            body: part.body,
        });
    }
}

/// One part with the headers that decide what it is for.
struct Part {
    content_type: String,
    headers: Headers,
    /// `handling=optional`: the receiver may ignore the part.
    optional: bool,
    /// Content-Disposition is `early-session` (RFC 3959): SDP, but not that of the session.
    early_session: bool,
    /// The content has a transfer encoding that changes its bytes.
    encoded: bool,
    body: Bytes,
}

impl Part {
    fn new(body: Bytes) -> Part {
        Part {
            content_type: "text/plain".to_owned(),
            headers: Headers::new(),
            optional: false,
            early_session: false,
            encoded: false,
            body,
        }
    }

    /// Parse a part: MIME header lines, an empty line, the content. `text` is a slice of the message.
    fn parse(text: &Bytes) -> Part {
        let mut head: Vec<Vec<u8>> = Vec::new();
        let mut at = 0;
        loop {
            let Some(len) = memchr::memchr(b'\n', text.get(at..).unwrap_or_default()) else {
                return Part::new(text.clone()); // no end of the header
            };
            let line = text.get(at..at + len).unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            at += len + 1;
            match head.last_mut() {
                _ if line.is_empty() => break,
                Some(last) if line.first().is_some_and(|&b| lexer::is_space(b)) => {
                    last.push(b' ');
                    last.extend_from_slice(line.trim_ascii());
                }
                Some(_) | None => head.push(line.to_vec()),
            }
        }
        let mut part = Part::new(text.slice(at..));
        for line in &head {
            let Some((name, value)) = lines::field(line, lexer::Span::new(0, line.len())) else { continue };
            let (name, value) = (name.text(line), String::from_utf8_lossy(value.of(line)));
            if HeaderName::of(name.as_bytes()) == HeaderName::ContentType {
                part.content_type = value.into_owned();
            } else {
                part.add_header(name, &value);
            }
        }
        part
    }

    fn add_header(&mut self, name: &str, value: &str) {
        self.headers.add(name, value);
        if name.eq_ignore_ascii_case("Content-Disposition") {
            self.early_session = media_type(value).eq_ignore_ascii_case("early-session");
            self.optional = parameter(value, "handling")
                .is_some_and(|handling| handling.eq_ignore_ascii_case("optional"));
        }
        if name.eq_ignore_ascii_case("Content-Transfer-Encoding") {
            self.encoded =
                !["7bit", "8bit", "binary"].iter().any(|plain| value.trim().eq_ignore_ascii_case(plain));
        }
    }

    fn is_session_description(&self) -> bool {
        let is_sdp = media_type(&self.content_type).eq_ignore_ascii_case(SDP);
        is_sdp && !self.early_session && !self.encoded && !self.body.is_empty()
    }

    /// The parts of a multipart body (RFC 2046 §5.1.1); `None` if it is not one, or has no part. A missing closing delimiter is tolerated.
    fn split(&self) -> Option<Vec<Part>> {
        let kind = media_type(&self.content_type);
        if !kind.get(..10).is_some_and(|start| start.eq_ignore_ascii_case("multipart/")) {
            return None;
        }
        let boundary = parameter(&self.content_type, "boundary").filter(|boundary| !boundary.is_empty())?;
        let delimiter = [b"--", boundary.as_bytes()].concat();
        let (mut parts, mut start) = (Vec::new(), None);
        for at in memchr::memmem::find_iter(&self.body, &delimiter) {
            let (before, after) = self.body.split_at_checked(at)?;
            let after = after.get(delimiter.len()..).unwrap_or_default();
            let line_len = memchr::memchr(b'\n', after);
            let rest = after.get(..line_len.unwrap_or(after.len())).unwrap_or_default();
            let (closing, padding) =
                rest.strip_prefix(b"--").map_or((false, rest), |padding| (true, padding));
            if !matches!(before.last(), None | Some(b'\n')) || !padding.trim_ascii().is_empty() {
                continue; // not a line of its own: content, or a longer boundary
            }
            if let Some(start) = start {
                let content = before.strip_suffix(b"\n").unwrap_or(before);
                let end = content.strip_suffix(b"\r").unwrap_or(content).len();
                parts.push(Part::parse(&self.body.slice(start..end.max(start))));
            }
            let more = !closing && parts.len() < limits::BODY_PARTS;
            start = line_len.filter(|_| more).map(|len| at + delimiter.len() + len + 1);
            if start.is_none() {
                break;
            }
        }
        parts.extend(start.map(|start| Part::parse(&self.body.slice(start..))));
        (!parts.is_empty()).then_some(parts)
    }
}

/// The value before the first parameter: `multipart/mixed` of `multipart/mixed;boundary=x`.
fn media_type(value: &str) -> &str {
    value.split(';').next().unwrap_or(value).trim()
}

/// A parameter of a MIME header value, by case-insensitive name, with quotes and escapes removed.
fn parameter(value: &str, name: &str) -> Option<String> {
    let mut rest = value.split_once(';')?.1;
    loop {
        let (key, after) = rest.split_at_checked(rest.find(['=', ';'])?)?;
        let Some(after) = after.strip_prefix('=').map(str::trim_start) else {
            rest = after.get(1..)?;
            continue;
        };
        let end = if after.starts_with('"') {
            lexer::after_quoted(after.as_bytes(), 0)?
        } else {
            after.find(';').unwrap_or(after.len())
        };
        let (text, next) = after.split_at_checked(end)?;
        if key.trim().eq_ignore_ascii_case(name) {
            let Some(quoted) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else {
                return Some(text.trim().to_owned());
            };
            let mut escaped = false;
            let unescaped = quoted.chars().filter(|&c| {
                escaped = c == '\\' && !escaped;
                !escaped
            });
            return Some(unescaped.collect());
        }
        rest = next.split_once(';')?.1;
    }
}

/// Content-Type and bytes of a `multipart/mixed` body with this SDP and these parts. `boundary` must not occur in any of them.
pub(crate) fn join(sdp: &[u8], parts: &[BodyPart], boundary: &str) -> (Box<str>, Bytes) {
    let mut out = Vec::new();
    let mut append = |content_type: &str, headers: &Headers, body: &[u8]| {
        let mut lines = Headers::new();
        lines.add("Content-Type", content_type).extend(headers);
        out.extend_from_slice(b"--");
        out.extend_from_slice(boundary.as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(lines.as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(body);
        out.extend_from_slice(b"\r\n");
    };
    append(SDP, &Headers::new(), sdp);
    parts.iter().for_each(|part| append(&part.content_type, &part.headers, &part.body));
    out.extend_from_slice(b"--");
    out.extend_from_slice(boundary.as_bytes());
    out.extend_from_slice(b"--\r\n");
    (format!("multipart/mixed;boundary={boundary}").into(), out.into())
}

/// Whether `boundary` occurs in a part.
pub(crate) fn contains(sdp: &[u8], parts: &[BodyPart], boundary: &str) -> bool {
    let bodies = parts.iter().map(|part| part.body.as_ref()).chain([sdp]);
    bodies.into_iter().any(|body| memchr::memmem::find(body, boundary.as_bytes()).is_some())
}
