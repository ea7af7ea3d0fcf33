//! SIP methods.

use std::fmt;

use bytes::Bytes;

use crate::lexer::{self, Span, TOKEN};
use crate::limits;

/// A method. Unknown ones are kept as their token of at most [`limits::METHOD_BYTES`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum Method {
    Invite,
    Ack,
    Bye,
    Cancel,
    Register,
    Options,
    Prack,
    Update,
    Info,
    Subscribe,
    Notify,
    Refer,
    Message,
    Publish,
    Other(Bytes),
}

impl Method {
    /// Parse a method; the whole of `token` must be one.
    pub fn parse(token: &Bytes) -> Option<Method> {
        Method::cut(token, Span::new(0, token.len()))
    }

    /// The method in `span` of `bytes`.
    pub(crate) fn cut(bytes: &Bytes, span: Span) -> Option<Method> {
        let token = span.of(bytes);
        let other = || token.len() <= limits::METHOD_BYTES && lexer::all(token, TOKEN);
        Method::known(token).or_else(|| other().then(|| Method::Other(span.cut(bytes))))
    }

    /// The method with this name, if it is a known one.
    pub(crate) fn known(token: &[u8]) -> Option<Method> {
        Some(match token {
            b"REGISTER" => Method::Register,
            b"INVITE" => Method::Invite,
            b"ACK" => Method::Ack,
            b"BYE" => Method::Bye,
            b"CANCEL" => Method::Cancel,
            b"OPTIONS" => Method::Options,
            b"PRACK" => Method::Prack,
            b"UPDATE" => Method::Update,
            b"INFO" => Method::Info,
            b"SUBSCRIBE" => Method::Subscribe,
            b"NOTIFY" => Method::Notify,
            b"REFER" => Method::Refer,
            b"MESSAGE" => Method::Message,
            b"PUBLISH" => Method::Publish,
            _ => return None,
        })
    }

    /// The method as in a request line. Methods are case-sensitive (RFC 3261 §7.1).
    pub fn as_str(&self) -> &str {
        match self {
            Method::Invite => "INVITE",
            Method::Ack => "ACK",
            Method::Bye => "BYE",
            Method::Cancel => "CANCEL",
            Method::Register => "REGISTER",
            Method::Options => "OPTIONS",
            Method::Prack => "PRACK",
            Method::Update => "UPDATE",
            Method::Info => "INFO",
            Method::Subscribe => "SUBSCRIBE",
            Method::Notify => "NOTIFY",
            Method::Refer => "REFER",
            Method::Message => "MESSAGE",
            Method::Publish => "PUBLISH",
            Method::Other(token) => std::str::from_utf8(token).unwrap_or("-"),
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
