//! SIP, SIPS and TEL URIs (RFC 3261 §19.1, RFC 3966): parsing, construction, comparison (RFC 3261 §19.1.4).

mod compare;
mod parse;

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::net::SocketAddr;

use bytes::Bytes;

use crate::Transport;
use crate::lexer::{self, USER};

pub(crate) use parse::{Kind, Spans, check_host};

/// The scheme of a URI.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Scheme {
    Sip,
    Sips,
    Tel,
    /// Any other scheme, as written; requests to it get 416.
    Other(Bytes),
}

/// A parsed URI that shares the buffer it was parsed from. Cloning costs a reference count.
///
/// Equality (`==`) follows RFC 3261 §19.1.4: escapes decoded, host case-insensitive, parameters as the RFC says. It is not transitive (a URI without
/// `;foo` equals one with `;foo=1` and one with `;foo=2`), so there is no `Eq` and no `Hash`.
#[derive(Clone)]
pub struct Uri {
    text: Bytes,
    spans: Spans,
}

/// A text that is not a URI.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UriError {
    /// The faulty part, by its name in the grammar: `host`, `port`, `escape`, …
    pub what: &'static str,
}

impl fmt::Display for UriError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a URI: bad {}", self.what)
    }
}

impl std::error::Error for UriError {}

impl Uri {
    /// Parse a URI; the whole of `text` must be one.
    pub fn parse(text: Bytes) -> Result<Uri, UriError> {
        let spans = Spans::read(&text)?;
        Ok(Uri { text, spans })
    }

    /// A URI with spans that were parsed before.
    pub(crate) fn from_spans(text: Bytes, spans: Spans) -> Uri {
        Uri { text, spans }
    }

    /// A text that is not a URI, kept for an error response. It has no scheme.
    pub(crate) fn opaque(text: Bytes) -> Uri {
        Uri { text, spans: Spans::default() }
    }

    /// Build `sip:user@host:port;transport=…`; `user` is escaped as needed.
    pub fn sip(user: Option<&str>, host: SocketAddr, transport: Option<Transport>) -> Uri {
        let mut text = String::with_capacity(64);
        write_user(&mut text, user);
        let _ = write!(text, "{host}");
        if let Some(transport) = transport {
            let _ = write!(text, ";transport={}", transport.as_param());
        }
        Uri::from_text(text)
    }

    /// Like [`Uri::sip`], with a host name or address and without a port. The caller must validate `host`.
    pub fn sip_at(user: Option<&str>, host: &str) -> Uri {
        let mut text = String::with_capacity(64);
        write_user(&mut text, user);
        if host.contains(':') && !host.starts_with('[') {
            let _ = write!(text, "[{host}]");
        } else {
            text.push_str(host);
        }
        Uri::from_text(text)
    }

    fn from_text(text: String) -> Uri {
        let text = Bytes::from(text);
        let spans = Spans::read(&text).unwrap_or_default();
        Uri { text, spans }
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        match self.spans.kind {
            Kind::Sip => Scheme::Sip,
            Kind::Sips => Scheme::Sips,
            Kind::Tel => Scheme::Tel,
            Kind::Other => Scheme::Other(self.spans.scheme.cut(&self.text)),
        }
    }

    /// The user part with escapes decoded (for `tel:` the number); `None` if absent or not UTF-8.
    pub fn user(&self) -> Option<Cow<'_, str>> {
        let user = self.spans.user?.of(&self.text);
        if user.contains(&b'%') {
            String::from_utf8(unescaped(user)).ok().map(Cow::Owned)
        } else {
            std::str::from_utf8(user).ok().map(Cow::Borrowed)
        }
    }

    /// The host as written, without the brackets of IPv6.
    pub fn host(&self) -> &str {
        self.spans.host.text(&self.text)
    }

    /// The port, if present.
    pub fn port(&self) -> Option<u16> {
        self.spans.port
    }

    /// A URI parameter, by case-insensitive name; `Some("")` if it has no value.
    pub fn param(&self, name: &str) -> Option<&str> {
        let (_, value) = self.params().find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()))?;
        std::str::from_utf8(value).ok()
    }

    /// The parameters as (name, value), escapes unchanged; a missing value is empty.
    fn params(&self) -> impl Iterator<Item = (&[u8], &[u8])> + '_ {
        pairs(self.spans.params.of(&self.text), b';')
    }

    /// Whether the URI has headers (after `?`).
    pub fn has_headers(&self) -> bool {
        self.spans.headers.is_some()
    }

    /// The URI as written.
    pub fn as_bytes(&self) -> &Bytes {
        &self.text
    }

    /// The URI as written; empty if it is not UTF-8.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text).unwrap_or_default()
    }
}

/// `name=value` pairs separated by `separator`; empty ones are skipped.
fn pairs(text: &[u8], separator: u8) -> impl Iterator<Item = (&[u8], &[u8])> + '_ {
    text.split(move |&b| b == separator).filter(|pair| !pair.is_empty()).map(|pair| {
        match memchr::memchr(b'=', pair) {
            Some(at) => (pair.get(..at).unwrap_or_default(), pair.get(at + 1..).unwrap_or_default()),
            None => (pair, b"".as_slice()),
        }
    })
}

fn write_user(text: &mut String, user: Option<&str>) {
    text.push_str("sip:");
    let Some(user) = user else { return };
    for b in user.bytes() {
        // `#` is accepted from phones that do not escape it, and never written.
        if lexer::is(b, USER) && b != b'#' {
            text.push(char::from(b));
        } else {
            let _ = write!(text, "%{b:02X}");
        }
    }
    text.push('@');
}

/// `text` with every `%HH` decoded.
fn unescaped(text: &[u8]) -> Vec<u8> {
    compare::Units::of(text).map(|unit| unit as u8).collect()
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uri({})", self.text.escape_ascii())
    }
}

impl PartialEq for Uri {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text || compare::equal(self, other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_uris_are_escaped_and_parse_again() {
        let host: SocketAddr = "[2001:db8::1]:5062".parse().unwrap();
        let uri = Uri::sip(Some("José #1@x"), host, Some(Transport::Tcp));
        assert_eq!(uri.to_string(), "sip:Jos%C3%A9%20%231%40x@[2001:db8::1]:5062;transport=tcp");
        let again = Uri::parse(uri.as_bytes().clone()).unwrap();
        assert_eq!(again.user().unwrap(), "José #1@x");
        assert_eq!(
            (again.host(), again.port(), again.param("Transport")),
            ("2001:db8::1", Some(5062), Some("tcp"))
        );
        assert_eq!(Uri::sip_at(None, "::1").to_string(), "sip:[::1]");
    }
}
