//! Parser: one pass over a message. A fault does not end the pass, because an error response needs the other header fields too.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::index::{Entry, Index, NONE, Part};
use super::{Message, ParseError, Start};
use crate::headers::{AddrSpans, ViaSpans};
use crate::lexer::{self, Span, VISIBLE};
use crate::lines::{self, Lines, Step};
use crate::{CSeq, HeaderName, Method, Uri, limits};

/// The first fault found: status for the response, and reason phrase.
type Fault = (u16, &'static str);

struct Parser {
    index: Index,
    fault: Option<Fault>,
    /// The start line is not a status line.
    request: bool,
    vias: usize,
    body_length: Option<u64>,
}

pub(super) fn parse(bytes: &Bytes) -> Result<Message, ParseError> {
    let mut parser = Parser::new(bytes.clone());
    let mut lines = Lines::new(bytes);
    let body = match lines.start_line() {
        None => None,
        Some(line) => {
            if line.bare {
                parser.record_fault(400, "CR or LF in Start Line");
            }
            if let Err((status, what)) = parser.start_line(bytes, line.span) {
                parser.record_fault(status, what);
            }
            parser.header_lines(bytes, &mut lines)
        }
    };
    match body {
        Some(at) => {
            if at > limits::HEAD_BYTES {
                parser.record_fault(513, "Head Too Large");
            }
            parser.body(at);
        }
        None => parser.record_fault(400, "Incomplete Head"),
    }
    parser.finish()
}

impl Parser {
    fn new(bytes: Bytes) -> Parser {
        let index = Index {
            bytes,
            start: Start::Response { status: 0 },
            lines: SmallVec::new(),
            unfolded: Vec::new(),
            via: Part::default(),
            from: Part::default(),
            to: Part::default(),
            call_id: NONE,
            cseq: CSeq { number: 0, method: Method::Other(Bytes::new()) },
            body: Span::default(),
        };
        Parser { index, fault: None, request: false, vias: 0, body_length: None }
    }

    fn record_fault(&mut self, status: u16, what: &'static str) {
        self.fault.get_or_insert((status, what));
    }

    // ---- the start line ------------------------------------------------------------------------------------------------------

    fn start_line(&mut self, bytes: &Bytes, span: Span) -> Result<(), Fault> {
        let line = span.of(bytes);
        if line.get(..4).is_some_and(|begin| begin.eq_ignore_ascii_case(b"SIP/")) {
            self.index.start = Start::Response { status: status(line)? };
            return Ok(());
        }
        self.request = true;
        // Set the method even if the line has a fault: an error response depends on it.
        let first = memchr::memchr(b' ', line).unwrap_or(line.len());
        let last = memchr::memrchr(b' ', line).unwrap_or(line.len());
        let at = |i: usize| span.start as usize + i;
        let (method, uri) = (Span::new(at(0), at(first)), Span::new(at(first + 1), at(last)));
        let known = Method::cut(bytes, method);
        self.index.start = Start::Request {
            method: known.clone().unwrap_or(Method::Other(Bytes::from_static(b"-"))),
            uri: Uri::opaque(Bytes::new()),
        };
        let Some(method) = known else { return Err((400, "Bad Method")) };
        version(line.get(last + 1..).unwrap_or_default())?;
        if uri.is_empty() || !lexer::all(uri.of(bytes), VISIBLE) {
            return Err((400, "Bad Request-URI"));
        }
        let uri = Uri::parse(uri.cut(bytes)).map_err(|error| match error.what {
            "length" => (414, "Request-URI Too Long"),
            _ => (400, "Bad Request-URI"),
        })?;
        if uri.has_headers() {
            return Err((400, "Headers in Request-URI")); // RFC 4475 §3.1.2.11
        }
        self.index.start = Start::Request { method, uri };
        Ok(())
    }

    // ---- the header ----------------------------------------------------------------------------------------------------------

    /// Parse all header lines. Returns the offset of the body, or `None` if the head is incomplete.
    fn header_lines(&mut self, bytes: &Bytes, lines: &mut Lines<'_>) -> Option<usize> {
        loop {
            let line = match lines.next_line() {
                Step::Line(line) => line,
                Step::End(at) => return Some(at),
                Step::Incomplete => return None,
            };
            let Some((name, value)) = lines::field(bytes, line.span) else {
                self.record_fault(400, "Bad Header Line");
                continue;
            };
            if line.bare {
                self.record_fault(400, "CR or LF in Header");
            }
            let known = HeaderName::of(name.of(bytes));
            let at = self.index.lines.len();
            if at >= limits::HEADERS {
                self.record_fault(400, "Too Many Headers");
                if !self.is_missing(known) {
                    continue;
                }
            }
            let name_len = u16::try_from(name.end - name.start).unwrap_or(u16::MAX);
            let mut entry = Entry { name: known, folded: false, name_len, at: name.start, value };
            if (line.folded || line.bare)
                && let Cow::Owned(text) = lines::unfold(value.of(bytes))
            {
                entry.folded = true;
                self.index.unfolded.push((at, text.into()));
            }
            self.index.lines.push(entry);
            self.parse_field(known, at);
        }
    }

    /// Whether it is a field that a response needs and that is not present yet.
    fn is_missing(&self, name: HeaderName) -> bool {
        matches!(
            name,
            HeaderName::Via | HeaderName::From | HeaderName::To | HeaderName::CallId | HeaderName::CSeq
        ) && self.index.first(name).is_none()
    }

    /// Parse the fields that every message needs; others are parsed on access.
    #[allow(clippy::wildcard_enum_match_arm)]
    fn parse_field(&mut self, name: HeaderName, at: usize) {
        match name {
            HeaderName::Via => self.via(at),
            HeaderName::From => {
                let part = self.address(self.index.from.line, at, "From");
                self.index.from = part.unwrap_or(self.index.from);
            }
            HeaderName::To => {
                let part = self.address(self.index.to.line, at, "To");
                self.index.to = part.unwrap_or(self.index.to);
            }
            HeaderName::CallId => {
                let clean = lexer::all(self.index.value(at), VISIBLE);
                if self.index.call_id == NONE {
                    self.index.call_id = at;
                    if !clean {
                        self.record_fault(400, "Bad Call-ID");
                    }
                } else {
                    self.record_fault(400, "Repeated Call-ID");
                }
            }
            HeaderName::CSeq => self.cseq(at),
            HeaderName::ContentLength => {
                let length = lines::content_length(self.index.raw(at));
                if self.body_length.is_some() {
                    self.record_fault(400, "Repeated Content-Length");
                } else if length.is_none() {
                    self.record_fault(400, "Bad Content-Length");
                }
                self.body_length = length.or(Some(0));
            }
            _ => {}
        }
    }

    fn via(&mut self, at: usize) {
        let base = self.index.value(at);
        let spans = (self.index.via.line == NONE).then(|| ViaSpans::read(base));
        let commas = memchr::memchr_iter(b',', base).count();
        let empty = base.is_empty();
        self.vias += commas + 1;
        if self.vias > limits::VIAS {
            self.record_fault(483, "Too Many Vias");
        }
        match spans {
            Some(Some(spans)) => self.index.via = Part { line: at, spans },
            Some(None) => {
                self.record_fault(400, "Bad Via");
                if !empty {
                    self.index.via.line = at;
                }
            }
            None => {}
        }
    }

    fn address(&mut self, before: usize, at: usize, what: &'static str) -> Option<Part<AddrSpans>> {
        let is_from = what == "From";
        if before != NONE {
            self.record_fault(400, if is_from { "Repeated From" } else { "Repeated To" });
            return None;
        }
        let spans = AddrSpans::read(self.index.value(at));
        if spans.is_none() {
            self.record_fault(400, if is_from { "Bad From" } else { "Bad To" });
        }
        Some(Part { line: at, spans: spans.unwrap_or_default() })
    }

    fn cseq(&mut self, at: usize) {
        if self.index.first(HeaderName::CSeq) != Some(at) {
            return self.record_fault(400, "Repeated CSeq");
        }
        let base = self.index.value(at);
        let len = base.iter().position(|b| !b.is_ascii_digit()).unwrap_or(base.len());
        let number = lexer::decimal(base.get(..len).unwrap_or_default()).filter(|n| *n < 1 << 31);
        let spaced = base.get(len).is_some_and(|&b| lexer::is_space(b));
        let token = Span::new(len, base.len()).trim(base);
        let method =
            Method::known(token.of(base)).or_else(|| Method::cut(&self.index.value_bytes(at), token));
        match (number, method) {
            (Some(number), Some(method)) if spaced => {
                self.index.cseq = CSeq { number: number as u32, method }
            }
            _ => self.record_fault(400, "Bad CSeq"),
        }
    }

    // ---- the end -------------------------------------------------------------------------------------------------------------

    fn body(&mut self, at: usize) {
        let rest = self.index.bytes.len().saturating_sub(at);
        let length = match self.body_length {
            None => rest,
            Some(length) if length <= rest as u64 => length as usize,
            Some(_) => {
                self.record_fault(400, "Body Shorter Than Content-Length");
                rest
            }
        };
        if length > limits::BODY_BYTES {
            self.record_fault(513, "Body Too Large");
        }
        self.index.body = Span::new(at, at + length);
    }

    fn finish(mut self) -> Result<Message, ParseError> {
        for (missing, what) in [
            (self.index.via.line == NONE, "Missing Via"),
            (self.index.from.line == NONE, "Missing From"),
            (self.index.to.line == NONE, "Missing To"),
            (self.index.call_id == NONE, "Missing Call-ID"),
            (self.index.first(HeaderName::CSeq).is_none(), "Missing CSeq"),
        ] {
            if missing {
                self.record_fault(400, what);
            }
        }
        if let Start::Request { method, .. } = &self.index.start
            && *method != self.index.cseq.method
        {
            self.record_fault(400, "CSeq of Another Method");
        }
        let answerable = self.request && self.index.via.line != NONE;
        let message = Message { index: Arc::new(self.index) };
        match self.fault {
            None => Ok(message),
            Some((status, what)) => {
                Err(ParseError { status, what, answerable: answerable.then(|| Box::new(message)) })
            }
        }
    }
}

/// Check the version `SIP/2.0`, case-insensitive.
fn version(text: &[u8]) -> Result<(), Fault> {
    match text.split_at_checked(4) {
        Some((begin, number)) if begin.eq_ignore_ascii_case(b"SIP/") => match number {
            b"2.0" => Ok(()),
            [major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
                Err((505, "Version Not Supported"))
            }
            _ => Err((400, "Bad Version")),
        },
        _ => Err((400, "Bad Request Line")),
    }
}

/// The status code of `SIP/2.0 200 OK`. The phrase may be empty or any text.
fn status(line: &[u8]) -> Result<u16, Fault> {
    const BAD: Fault = (400, "Bad Status Line");
    let (begin, rest) = line.split_at_checked(7).ok_or(BAD)?;
    version(begin)?;
    match rest {
        [b' ', a @ b'1'..=b'6', b, c] | [b' ', a @ b'1'..=b'6', b, c, b' ', ..] => {
            lexer::decimal(&[*a, *b, *c]).map(|n| n as u16).ok_or(BAD)
        }
        _ => Err(BAD),
    }
}
