//! Splits a message head into lines. Parser and framer share it, so that both agree on where a line ends.

use std::borrow::Cow;

use crate::HeaderName;
use crate::lexer::{self, Span, TOKEN};

/// One header line, folding included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    /// The range without its CRLF.
    pub(crate) span: Span,
    /// It extends over several lines of text (RFC 3261 §7.3.1).
    pub(crate) folded: bool,
    /// It contains a CR or LF that is not part of a CRLF.
    pub(crate) bare: bool,
}

/// The next element of a head.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Line(Line),
    /// The empty line; the value is the offset of the body.
    End(usize),
    /// The text ends before the empty line.
    Incomplete,
}

/// Reads a head line by line.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    /// Starts after the empty lines that may precede a start line (RFC 3261 §7.5).
    pub(crate) fn new(text: &'a [u8]) -> Self {
        let mut at = 0;
        while text.get(at..at + 2) == Some(b"\r\n") {
            at += 2;
        }
        Lines { text, at }
    }

    /// The start line, which cannot be folded.
    pub(crate) fn start_line(&mut self) -> Option<Line> {
        let mut line = Line { span: Span::new(self.at, self.at), folded: false, bare: false };
        self.extend(&mut line).then_some(line)
    }

    /// Extend `line` to the next CRLF; `false` if there is none.
    fn extend(&mut self, line: &mut Line) -> bool {
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let Some(i) = memchr::memchr2(b'\r', b'\n', rest) else { return false };
            if rest.get(i..i + 2) == Some(b"\r\n") {
                line.span.end = (self.at + i) as u32;
                self.at += i + 2;
                return true;
            }
            line.bare = true;
            self.at += i + 1;
        }
    }

    /// The next header line.
    #[inline]
    pub(crate) fn next_line(&mut self) -> Step {
        if self.text.get(self.at..self.at + 2) == Some(b"\r\n") {
            return Step::End(self.at + 2);
        }
        let mut line = Line { span: Span::new(self.at, self.at), folded: false, bare: false };
        if !self.extend(&mut line) {
            return Step::Incomplete;
        }
        while self.text.get(self.at).is_some_and(|&b| lexer::is_space(b)) {
            line.folded = true;
            if !self.extend(&mut line) {
                return Step::Incomplete;
            }
        }
        Step::Line(line)
    }
}

/// The name and the value of a header line; `None` if it is malformed.
#[inline]
pub(crate) fn field(text: &[u8], line: Span) -> Option<(Span, Span)> {
    let bytes = line.of(text);
    let len = bytes.iter().position(|&b| !lexer::is(b, TOKEN))?;
    let mut colon = len;
    while bytes.get(colon).is_some_and(|&b| lexer::is_space(b)) {
        colon += 1;
    }
    if len == 0 || bytes.get(colon) != Some(&b':') {
        return None;
    }
    let start = line.start;
    let value = Span { start: start + colon as u32 + 1, end: line.end };
    Some((Span { start, end: start + len as u32 }, value.trim(text)))
}

/// A value without folding: each fold becomes one space (RFC 3261 §7.3.1), and so does a lone CR or LF.
pub(crate) fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'\r', b'\n', value).is_none() {
        return Cow::Borrowed(value);
    }
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some(i) = memchr::memchr2(b'\r', b'\n', rest) {
        out.extend_from_slice(rest.get(..i).unwrap_or_default());
        while out.last().is_some_and(|&b| lexer::is_space(b)) {
            out.pop();
        }
        out.push(b' ');
        rest = rest.get(i..).unwrap_or_default();
        let blank =
            rest.iter().position(|b| !matches!(b, b' ' | b'\t' | b'\r' | b'\n')).unwrap_or(rest.len());
        rest = rest.get(blank..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    Cow::Owned(out)
}

/// Parse a Content-Length value: digits only, saturating.
pub(crate) fn content_length(value: &[u8]) -> Option<u64> {
    lexer::decimal(lexer::trim(value))
}

/// The Content-Length of a head, with the same rules as the parser; `Ok(None)` if absent.
pub(crate) fn body_length(head: &[u8]) -> Result<Option<u64>, &'static str> {
    let mut lines = Lines::new(head);
    let mut found = None;
    if lines.start_line().is_none() {
        return Ok(None);
    }
    while let Step::Line(line) = lines.next_line() {
        let Some((name, value)) = field(head, line.span) else { continue };
        if HeaderName::of(name.of(head)) != HeaderName::ContentLength {
            continue;
        }
        if found.is_some() {
            return Err("Repeated Content-Length");
        }
        found = Some(content_length(value.of(head)).ok_or("Bad Content-Length")?);
    }
    Ok(found)
}
