//! URI parser: finds the spans of the parts.

use std::net::{IpAddr, Ipv6Addr};

use super::UriError;
use crate::lexer::{self, HEADERS, HOST, PARAM, PASSWORD, PHONE, SCHEME, Span, USER, VISIBLE};
use crate::limits;

/// The known schemes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Kind {
    Sip,
    Sips,
    Tel,
    #[default]
    Other,
}

/// Spans of the parts of a URI in its text.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spans {
    pub(crate) kind: Kind,
    pub(crate) scheme: Span,
    pub(crate) user: Option<Span>,
    pub(crate) password: Option<Span>,
    pub(crate) host: Span,
    pub(crate) port: Option<u16>,
    /// From the first `;` on.
    pub(crate) params: Span,
    /// After the `?`.
    pub(crate) headers: Option<Span>,
}

const fn bad(what: &'static str) -> UriError {
    UriError { what }
}

impl Spans {
    pub(crate) fn read(text: &[u8]) -> Result<Spans, UriError> {
        if text.len() > limits::URI_BYTES {
            return Err(bad("length"));
        }
        let colon =
            memchr::memchr(b':', text.get(..text.len().min(64)).unwrap_or_default()).ok_or(bad("scheme"))?;
        let scheme = Span::new(0, colon);
        let kind = match scheme.of(text) {
            s if s.eq_ignore_ascii_case(b"sip") => Kind::Sip,
            s if s.eq_ignore_ascii_case(b"sips") => Kind::Sips,
            s if s.eq_ignore_ascii_case(b"tel") => Kind::Tel,
            s if s.first().is_some_and(u8::is_ascii_alphabetic) && lexer::all(s, SCHEME) => Kind::Other,
            _ => return Err(bad("scheme")),
        };
        let spans = Spans { kind, scheme, ..Spans::default() };
        match kind {
            Kind::Sip | Kind::Sips => spans.sip(text, colon + 1),
            Kind::Tel => spans.tel(text, colon + 1),
            Kind::Other => {
                let rest = text.get(colon + 1..).unwrap_or_default();
                let clean =
                    lexer::all(rest, VISIBLE) && !rest.iter().any(|b| matches!(b, b'<' | b'>' | b'"'));
                if clean { Ok(spans) } else { Err(bad("text")) }
            }
        }
    }

    fn sip(mut self, text: &[u8], start: usize) -> Result<Spans, UriError> {
        let rest = text.get(start..).unwrap_or_default();
        let host = match memchr::memchr(b'@', rest) {
            None => start,
            Some(0) => return Err(bad("user")),
            Some(len) => {
                let info = rest.get(..len).unwrap_or_default();
                let user = memchr::memchr(b':', info).unwrap_or(len);
                let name = Span::new(start, start + user);
                if name.is_empty() || !lexer::all_escaped(name.of(text), USER) {
                    return Err(bad("user"));
                }
                self.user = Some(name);
                if user < len {
                    let password = Span::new(start + user + 1, start + len);
                    if !lexer::all_escaped(password.of(text), PASSWORD) {
                        return Err(bad("password"));
                    }
                    self.password = Some(password);
                }
                start + len + 1
            }
        };
        let mut at = self.hostport(text, host)?;
        if text.get(at) == Some(&b';') {
            let end = memchr::memchr(b'?', text.get(at..).unwrap_or_default()).map_or(text.len(), |i| at + i);
            self.params(text, at, end)?;
            at = end;
        }
        match text.get(at) {
            None => Ok(self),
            Some(b'?') => {
                let headers = Span::new(at + 1, text.len());
                if headers.is_empty() || !lexer::all_escaped(headers.of(text), HEADERS) {
                    return Err(bad("headers"));
                }
                self.headers = Some(headers);
                Ok(self)
            }
            Some(_) => Err(bad("host")),
        }
    }

    /// Parse host and port; returns the offset after them.
    fn hostport(&mut self, text: &[u8], start: usize) -> Result<usize, UriError> {
        let rest = text.get(start..).unwrap_or_default();
        let (host, end) = if rest.first() == Some(&b'[') {
            let len = memchr::memchr(b']', rest).ok_or(bad("host"))?;
            (Span::new(start + 1, start + len), start + len + 1)
        } else {
            let len = rest.iter().position(|b| matches!(b, b':' | b';' | b'?')).unwrap_or(rest.len());
            (Span::new(start, start + len), start + len)
        };
        if !check_host(host.of(text), host.start as usize != start) {
            return Err(bad("host"));
        }
        self.host = host;
        if text.get(end) != Some(&b':') {
            return Ok(end);
        }
        let digits = text.get(end + 1..).unwrap_or_default();
        let len = digits.iter().position(|b| !b.is_ascii_digit()).unwrap_or(digits.len());
        self.port = Some(lexer::port(digits.get(..len).unwrap_or_default()).ok_or(bad("port"))?);
        let end = end + 1 + len;
        if matches!(text.get(end), None | Some(b';' | b'?')) { Ok(end) } else { Err(bad("port")) }
    }

    /// Check the parameters `;name=value` up to `end`. Empty ones are accepted: some phones write a trailing `;`.
    fn params(&mut self, text: &[u8], start: usize, end: usize) -> Result<(), UriError> {
        self.params = Span::new(start, end);
        let all = self.params.of(text);
        for pair in all.split(|&b| b == b';') {
            if !lexer::all_escaped(pair, PARAM) || pair.first() == Some(&b'=') {
                return Err(bad("parameter"));
            }
        }
        Ok(())
    }

    fn tel(mut self, text: &[u8], start: usize) -> Result<Spans, UriError> {
        let rest = text.get(start..).unwrap_or_default();
        let len = memchr::memchr(b';', rest).unwrap_or(rest.len());
        let number = rest.get(..len).unwrap_or_default();
        let plus = number.iter().skip(1).any(|&b| b == b'+');
        let has_digit = number.iter().any(|&b| b.is_ascii_hexdigit() || matches!(b, b'*' | b'#'));
        if plus || !has_digit || !lexer::all(number, PHONE) {
            return Err(bad("number"));
        }
        self.user = Some(Span::new(start, start + len));
        if len < rest.len() {
            self.params(text, start + len, text.len())?;
        }
        Ok(self)
    }
}

/// Whether `host` is a host name, an IPv4 address, or (if `bracketed`) an IPv6 address.
pub(crate) fn check_host(host: &[u8], bracketed: bool) -> bool {
    if !bracketed {
        return lexer::all(host, HOST);
    }
    let Ok(text) = std::str::from_utf8(host) else { return false };
    // The grammar of RFC 3261 allowed three colons before an embedded IPv4 address; RFC 5118 §4.10 asks parsers to accept that.
    text.parse::<Ipv6Addr>().is_ok()
        || (text.contains(":::") && text.replacen(":::", "::", 1).parse::<Ipv6Addr>().is_ok())
}

/// The address that `host` denotes; `None` for a name.
pub(super) fn ip_literal(host: &str) -> Option<IpAddr> {
    host.starts_with(|c: char| c.is_ascii_hexdigit() || c == ':').then(|| host.parse().ok()).flatten()
}
