//! A parsed SIP message: one buffer, and the spans of its parts.

mod index;
mod parse;

use std::sync::Arc;

use bytes::Bytes;

use crate::headers::ViaSpans;
use crate::lexer;
use crate::{CSeq, Contacts, HeaderName, Method, NameAddr, Uri, Via};
use index::Index;

/// The start line.
#[derive(Clone, Debug)]
pub enum Start {
    /// `INVITE sip:1002@localhost SIP/2.0`
    Request {
        /// The method.
        method: Method,
        /// The Request-URI.
        uri: Uri,
    },
    /// `SIP/2.0 200 OK`
    Response {
        /// Status code, 100 to 699.
        status: u16,
    },
}

/// A message that failed to parse, with what is needed for an error response.
#[derive(Clone, Debug)]
pub struct ParseError {
    /// Status for a response to a request with this fault (400, 483, 505, 513, …).
    pub status: u16,
    /// The fault, for the reason phrase: `Bad Content-Length`.
    pub what: &'static str,
    /// The message, if it is a request with a Via that a response can follow. Use it for a response only: header fields may be missing (the response
    /// repeats those that exist), and accessors of malformed ones return empty values.
    pub answerable: Option<Box<Message>>,
}

/// A parsed message. Cheap to clone (one reference count); every accessor reads from the one buffer.
///
/// A message that [`Message::parse`] accepted has: a valid start line; exactly one Call-ID, CSeq, From and To, each well-formed; at least one Via,
/// the topmost well-formed; a CSeq that fits the method; at most one Content-Length, which fits the body.
#[derive(Clone, Debug)]
pub struct Message {
    index: Arc<Index>,
}

impl Message {
    /// Parse one whole message: a datagram, or one frame of a stream. Never panics; allocates at most the index.
    ///
    /// Without Content-Length the body extends to the end; bytes after a body of the given length are ignored (RFC 3261 §18.3).
    #[allow(clippy::needless_pass_by_value)]
    pub fn parse(bytes: Bytes) -> Result<Message, ParseError> {
        parse::parse(&bytes)
    }

    /// The start line.
    pub fn start(&self) -> &Start {
        &self.index.start
    }

    /// The method of a request; for a response, that of CSeq.
    pub fn method(&self) -> &Method {
        match &self.index.start {
            Start::Request { method, .. } => method,
            Start::Response { .. } => &self.index.cseq.method,
        }
    }

    /// The status code of a response; `None` for a request.
    pub fn status(&self) -> Option<u16> {
        match self.index.start {
            Start::Request { .. } => None,
            Start::Response { status } => Some(status),
        }
    }

    /// The Request-URI; `None` for a response.
    pub fn uri(&self) -> Option<&Uri> {
        match &self.index.start {
            Start::Request { uri, .. } => Some(uri),
            Start::Response { .. } => None,
        }
    }

    /// The value of the first line of a header, unfolded and trimmed; `None` if absent or not UTF-8.
    pub fn header(&self, name: HeaderName) -> Option<&str> {
        let at = self.index.first(name)?;
        std::str::from_utf8(self.index.value(at)).ok()
    }

    /// The value of the first line of a header that has no [`HeaderName`], by its case-insensitive name.
    pub fn header_named(&self, name: &str) -> Option<&str> {
        let known = HeaderName::of(name.as_bytes());
        if known != HeaderName::Other {
            return self.header(known);
        }
        let at = self
            .index
            .all(HeaderName::Other)
            .find(|&at| self.index.name(at).eq_ignore_ascii_case(name.as_bytes()))?;
        std::str::from_utf8(self.index.value(at)).ok()
    }

    /// The value of every line of a header, in order, as written (folding included).
    pub fn header_lines(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> + '_ {
        self.index.all(name).map(|at| self.index.raw(at))
    }

    /// Every header line as (name as written, value as written), in order.
    pub fn all_headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> + '_ {
        (0..self.index.lines.len()).map(|at| (self.index.name(at), self.index.raw(at)))
    }

    /// The comma-separated tokens of all lines of a header (`Supported`, `Require`, `Allow`), trimmed.
    pub fn tokens(&self, name: HeaderName) -> impl Iterator<Item = &str> + '_ {
        self.index
            .all(name)
            .filter_map(|at| std::str::from_utf8(self.index.value(at)).ok())
            .flat_map(|line| line.split(','))
            .map(str::trim)
            .filter(|token| !token.is_empty())
    }

    /// The topmost Via value.
    pub fn via(&self) -> Via {
        self.index.via.spans.via(&self.index.value_bytes(self.index.via.line))
    }

    /// The From value.
    pub fn from(&self) -> NameAddr {
        self.index.from.spans.name_addr(&self.index.value_bytes(self.index.from.line))
    }

    /// The To value.
    pub fn to(&self) -> NameAddr {
        self.index.to.spans.name_addr(&self.index.value_bytes(self.index.to.line))
    }

    /// The From tag; empty if there is none (RFC 2543).
    pub fn from_tag(&self) -> &str {
        let part = &self.index.from;
        part.spans.tag.text(self.index.value(part.line))
    }

    /// The To tag; empty if there is none.
    pub fn to_tag(&self) -> &str {
        let part = &self.index.to;
        part.spans.tag.text(self.index.value(part.line))
    }

    /// The Call-ID.
    pub fn call_id(&self) -> &str {
        std::str::from_utf8(self.index.value(self.index.call_id)).unwrap_or_default()
    }

    /// The CSeq number and method.
    pub fn cseq(&self) -> CSeq {
        self.index.cseq.clone()
    }

    /// The Contact values; `Err` with 400 if one is malformed, or if `*` is not the only one.
    pub fn contacts(&self) -> Result<Contacts, ParseError> {
        let (mut list, mut star) = (Vec::new(), false);
        for value in self.index.values(HeaderName::Contact) {
            if &*value == b"*" {
                star = true;
            } else if let Some(addr) = NameAddr::parse(value) {
                list.push(addr);
            } else {
                return Err(self.bad_request("Bad Contact"));
            }
        }
        match (star, list.is_empty()) {
            (false, true) => Ok(Contacts::None),
            (false, false) => Ok(Contacts::List(list)),
            (true, true) if self.index.values(HeaderName::Contact).count() == 1 => Ok(Contacts::Star),
            (true, _) => Err(self.bad_request("Bad Contact")),
        }
    }

    fn bad_request(&self, what: &'static str) -> ParseError {
        let answerable = self.status().is_none().then(|| Box::new(self.clone()));
        ParseError { status: 400, what, answerable }
    }

    /// All values of a header that holds addresses (Route, Record-Route, Path), over all lines; `None` if one is malformed.
    pub fn addresses(&self, name: HeaderName) -> Option<Vec<NameAddr>> {
        self.index.values(name).map(NameAddr::parse).collect()
    }

    /// A header that holds one non-negative number (Expires, Max-Forwards, Min-SE…): `Some(Err)` if it is not a number; larger values become 2³²−1.
    /// Text after a `;` or a comment is ignored.
    #[allow(clippy::result_unit_err)]
    pub fn number(&self, name: HeaderName) -> Option<Result<u32, ()>> {
        let value = self.index.value(self.index.first(name)?);
        let len = value.iter().position(|b| !b.is_ascii_digit()).unwrap_or(value.len());
        let (digits, rest) = value.split_at_checked(len)?;
        let clean = matches!(lexer::trim(rest).first(), None | Some(b';' | b'('));
        let number = lexer::decimal(digits).filter(|_| clean).ok_or(());
        Some(number.map(|n| u32::try_from(n).unwrap_or(u32::MAX)))
    }

    /// The body, with the length of Content-Length.
    pub fn body(&self) -> Bytes {
        self.index.body.cut(&self.index.bytes)
    }

    /// The whole message as received.
    pub fn bytes(&self) -> &Bytes {
        &self.index.bytes
    }

    /// The values of all lines of a header, unfolded, so that they can be written into another message.
    pub(crate) fn clean_lines(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> + '_ {
        self.index.all(name).map(|at| self.index.value(at))
    }

    /// The spans of the topmost Via value within its unfolded line; `None` if it is malformed.
    pub(crate) fn via_spans(&self) -> Option<&ViaSpans> {
        Some(&self.index.via.spans).filter(|spans| spans.end > 0)
    }
}
