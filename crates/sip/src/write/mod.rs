//! Serialisation of responses and header lines. The header writer drops control characters.

mod response;

use std::fmt::{self, Write as _};

use bytes::Bytes;

use crate::lexer::{self, TOKEN};
use crate::{Hop, Message};

pub(crate) use response::response;

/// Header lines under construction, `Name: value\r\n` each. A value is cut at the first byte below 0x20 or at 0x7f, so that text from a peer cannot
/// start a header line (security.md row 26).
#[derive(Clone, Default, Debug)]
pub struct Headers {
    text: Vec<u8>,
}

impl Headers {
    /// No lines.
    pub fn new() -> Self {
        Headers::default()
    }

    /// Append one line: `lines.add("Expires", 3600)`, `lines.add("Contact", format_args!("<{uri}>"))`. Does nothing if the name is not a token.
    pub fn add(&mut self, name: &str, value: impl fmt::Display) -> &mut Self {
        if lexer::all(name.as_bytes(), TOKEN) {
            self.text.extend_from_slice(name.as_bytes());
            self.text.extend_from_slice(b": ");
            clean(&mut self.text, value);
            self.text.extend_from_slice(b"\r\n");
        }
        self
    }

    /// The lines as bytes, each with its CRLF.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// Append the lines of `lines`.
    pub fn extend(&mut self, lines: &Headers) -> &mut Self {
        self.text.extend_from_slice(&lines.text);
        self
    }

    /// Whether there are no lines.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Remove all lines, keep the allocation.
    pub fn clear(&mut self) {
        self.text.clear();
    }
}

/// Writer that stops at the first control character.
struct Clean<'a> {
    out: &'a mut Vec<u8>,
    stopped: bool,
}

impl fmt::Write for Clean<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.stopped {
            return Ok(());
        }
        let bytes = text.as_bytes();
        let len = bytes.iter().position(|&b| b < 0x20 || b == 0x7f);
        self.stopped = len.is_some();
        self.out.extend_from_slice(bytes.get(..len.unwrap_or(bytes.len())).unwrap_or_default());
        Ok(())
    }
}

/// Append `value` up to the first control character.
pub(crate) fn clean(out: &mut Vec<u8>, value: impl fmt::Display) {
    let _ = write!(Clean { out, stopped: false }, "{value}");
}

/// A text as a quoted string, for display names: `"` and `\` escaped, control characters dropped.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars().filter(|c| !c.is_control()) {
            if matches!(c, '"' | '\\') {
                f.write_char('\\')?;
            }
            f.write_char(c)?;
        }
        f.write_char('"')
    }
}

/// A response, apart from the fields that every response copies from its request (Via with `received`/`rport`, From, To with our tag, Call-ID, CSeq).
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// Status code, 100 to 699.
    pub status: u16,
    /// Reason phrase; `None` means the standard one.
    pub phrase: Option<&'a str>,
    /// Additional header lines.
    pub lines: Option<&'a Headers>,
    /// Content-Type and body.
    pub body: Option<(&'a str, &'a [u8])>,
}

impl<'a> Reply<'a> {
    /// A response with the standard phrase and without additional lines or body.
    pub fn new(status: u16) -> Reply<'a> {
        Reply { status, phrase: None, lines: None, body: None }
    }

    /// Sets the additional header lines.
    pub fn lines(self, lines: &'a Headers) -> Reply<'a> {
        Reply { lines: Some(lines), ..self }
    }

    /// The serialised response, for use without an endpoint (a stream that closes, a message that was dropped). `source` is the hop of the request;
    /// `to_tag` is appended to a To without tag.
    pub fn to(self, request: &Message, source: Option<&Hop>, to_tag: Option<&str>) -> Bytes {
        let mut out = Vec::new();
        response(request, source, self, to_tag, None, &mut out);
        out.into()
    }

    /// Sets the reason phrase.
    pub fn phrase(self, phrase: &'a str) -> Reply<'a> {
        Reply { phrase: Some(phrase), ..self }
    }
}

/// Append a decimal number.
pub(crate) fn number(out: &mut Vec<u8>, value: u64) {
    let mut digits = [0u8; 20];
    let (mut value, mut at) = (value, digits.len());
    for (i, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
        at = i;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
}

/// Append `name: value`; the value must have no control characters.
pub(crate) fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Append Content-Type, Content-Length, the empty line and the body.
pub(crate) fn finish(out: &mut Vec<u8>, body: Option<(&str, &[u8])>) {
    let (kind, bytes) = body.unwrap_or(("", b""));
    if !kind.is_empty() {
        out.extend_from_slice(b"Content-Type: ");
        clean(out, kind);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"Content-Length: ");
    number(out, bytes.len() as u64);
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests;
