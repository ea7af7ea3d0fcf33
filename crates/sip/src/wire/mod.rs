//! Serialisation of the requests that we send, appended to one reusable buffer.

mod request;

use std::io::Write as _;
use std::net::SocketAddr;

pub(crate) use crate::write::number;
use crate::{Hop, Message, Transport};
pub(crate) use request::{RequestHead, ack_or_cancel, begin, finish};

/// Append text up to the first control character, so that text from a peer cannot start a header line.
pub(crate) fn clean(buf: &mut Vec<u8>, text: &[u8]) {
    let end = text.iter().position(|b| *b < 0x20 || *b == 0x7f).unwrap_or(text.len());
    buf.extend_from_slice(text.get(..end).unwrap_or(text));
}

/// Append a header value unchanged, but with every control character (line folding included) replaced by a space.
pub(crate) fn value(buf: &mut Vec<u8>, raw: &[u8]) {
    let raw = raw.trim_ascii();
    if raw.iter().any(|b| *b < 0x20 || *b == 0x7f) {
        buf.extend(raw.iter().map(|b| if *b < 0x20 || *b == 0x7f { b' ' } else { *b }));
    } else {
        buf.extend_from_slice(raw);
    }
}

/// Append `host:port`, with brackets for IPv6.
pub(crate) fn address(buf: &mut Vec<u8>, address: SocketAddr) {
    // Writing to a vector cannot fail.
    let _ = write!(buf, "{address}");
}

/// Append `len` base-36 digits of a number, the least significant first.
pub(crate) fn base36(buf: &mut Vec<u8>, mut n: u64, len: usize) {
    for _ in 0..len {
        let digit = (n % 36) as u8;
        buf.push(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
        n /= 36;
    }
}

/// The address of a From, To or Contact value without its header parameters: `"Ana" <sip:1001@localhost>`.
pub(crate) fn without_params(raw: &[u8]) -> &[u8] {
    let raw = raw.trim_ascii();
    let (mut quoted, mut escaped, mut open) = (false, false, false);
    for (at, byte) in raw.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'<' if !quoted => open = true,
            b'>' if !quoted && open => return raw.get(..=at).unwrap_or(raw),
            b';' if !quoted && !open => return raw.get(..at).unwrap_or(raw).trim_ascii(),
            _ => {}
        }
    }
    raw
}

/// The destination of a response (RFC 3261 §18.2.2, RFC 3581): the same connection; over UDP the source address, with the source port if `rport` is
/// present, else the port of sent-by. Never an address that only a header names.
pub(crate) fn reply_hop(request: &Message, hop: &Hop) -> Hop {
    let mut back = *hop;
    if hop.transport == Transport::Udp {
        let via = request.via();
        if via.rport.is_none() {
            back.remote.set_port(via.port.unwrap_or(5060));
        }
    }
    back
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_header_parameters_are_cut_off() {
        for (raw, cut) in [
            (&b"\"a;>\\\" b\" <sip:a@b;x=1>;tag=7;y=\">\""[..], &b"\"a;>\\\" b\" <sip:a@b;x=1>"[..]),
            (b"sip:a@b ;tag=7", b"sip:a@b"),
            (b"<sip:a@b>", b"<sip:a@b>"),
        ] {
            assert_eq!(without_params(raw), cut);
        }
    }

    #[test]
    fn folding_becomes_spaces_and_a_control_character_ends_the_text() {
        let mut buf = Vec::new();
        value(&mut buf, b" a\r\n b ");
        clean(&mut buf, b"x\r\nEvil: 1");
        assert_eq!(buf, b"a   bx");
    }
}
