//! Via values (RFC 3261 §20.42, RFC 3581).

use std::net::IpAddr;

use bytes::Bytes;

use super::params::Params;
use crate::Transport;
use crate::lexer::{self, Span, TOKEN};
use crate::uri::check_host;

/// One Via value (RFC 3261 §20.42).
#[derive(Clone, Debug)]
pub struct Via {
    /// The transport; `None` for an unknown one.
    pub transport: Option<Transport>,
    /// Host of sent-by as written, brackets included.
    pub host: Bytes,
    /// Port of sent-by, if present.
    pub port: Option<u16>,
    /// The branch; empty if there is none.
    pub branch: Bytes,
    /// `rport` (RFC 3581): `Some(None)` as a request, `Some(Some(port))` with a value.
    pub rport: Option<Option<u16>>,
    /// `received`, if present and a valid address.
    pub received: Option<IpAddr>,
}

/// Spans of the parts of one value in its text.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::option_option)] // absent, without value, with value: as in [`Via`]
pub(crate) struct ViaSpans {
    transport: Option<Transport>,
    pub(crate) host: Span,
    port: Option<u16>,
    pub(crate) branch: Span,
    pub(crate) rport: Option<Option<u16>>,
    received: Option<IpAddr>,
    /// Offset of the first parameter.
    pub(crate) params: u32,
    /// End of the value: a comma, or the end of the line.
    pub(crate) end: u32,
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn skip_space(&mut self) {
        while self.text.get(self.at).is_some_and(|&b| lexer::is_space(b)) {
            self.at += 1;
        }
    }

    fn token(&mut self) -> Span {
        self.skip_space();
        let start = self.at;
        while self.text.get(self.at).is_some_and(|&b| lexer::is(b, TOKEN)) {
            self.at += 1;
        }
        Span::new(start, self.at)
    }

    fn separator(&mut self, separator: u8) -> Option<()> {
        self.skip_space();
        (self.text.get(self.at) == Some(&separator)).then(|| self.at += 1)
    }
}

impl ViaSpans {
    /// Parse the first value of a line.
    pub(crate) fn read(text: &[u8]) -> Option<ViaSpans> {
        let end = lexer::value_end(text, 0);
        let text = text.get(..end)?;
        let mut reader = Reader { text, at: 0 };
        let protocol = reader.token();
        reader.separator(b'/')?;
        let version = reader.token();
        reader.separator(b'/')?;
        let transport = reader.token().of(text);
        let spaced = reader.text.get(reader.at).is_some_and(|&b| lexer::is_space(b));
        if !protocol.of(text).eq_ignore_ascii_case(b"SIP")
            || version.of(text) != b"2.0"
            || transport.is_empty()
            || !spaced
        {
            return None;
        }
        reader.skip_space();
        let mut found =
            ViaSpans { transport: transport_from_name(transport), end: end as u32, ..ViaSpans::default() };
        found.sent_by(&mut reader)?;
        found.params = reader.at as u32;
        for param in Params::new(text, reader.at) {
            let param = param?;
            let value = param.value.of(text);
            match param.name.of(text) {
                n if n.eq_ignore_ascii_case(b"branch") => found.branch = param.value,
                n if n.eq_ignore_ascii_case(b"rport") => found.rport = Some(lexer::port(value)),
                n if n.eq_ignore_ascii_case(b"received") => found.received = parse_address(value),
                _ => {}
            }
        }
        Some(found)
    }

    fn sent_by(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        let start = reader.at;
        let rest = reader.text.get(start..)?;
        let bracketed = rest.first() == Some(&b'[');
        let len = if bracketed {
            memchr::memchr(b']', rest)? + 1
        } else {
            rest.iter().position(|&b| matches!(b, b':' | b';') || lexer::is_space(b)).unwrap_or(rest.len())
        };
        let name = if bracketed { rest.get(1..len - 1)? } else { rest.get(..len)? };
        if !check_host(name, bracketed) {
            return None;
        }
        self.host = Span::new(start, start + len);
        reader.at = start + len;
        if reader.separator(b':').is_some() {
            self.port = Some(lexer::port(reader.token().of(reader.text))?);
        }
        reader.skip_space();
        Some(())
    }

    /// The value, sharing its text.
    pub(crate) fn via(&self, text: &Bytes) -> Via {
        Via {
            transport: self.transport,
            host: self.host.cut(text),
            port: self.port,
            branch: self.branch.cut(text),
            rport: self.rport,
            received: self.received,
        }
    }
}

impl Via {
    /// Parse one value; the whole of `value` must be one.
    pub fn parse(value: &Bytes) -> Option<Via> {
        ViaSpans::read(value).filter(|spans| spans.end as usize == value.len()).map(|spans| spans.via(value))
    }
}

fn transport_from_name(transport: &[u8]) -> Option<Transport> {
    [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss]
        .into_iter()
        .find(|t| t.as_str().as_bytes().eq_ignore_ascii_case(transport))
}

/// Parse an address, with or without the brackets that RFC 5118 §4.5 allows for IPv6 in `received`.
fn parse_address(value: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(value).ok()?;
    text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text).parse().ok()
}
