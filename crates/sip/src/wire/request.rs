//! Request serialisation: the header lines of every request, and the two requests derived from an INVITE (ACK of a rejection, CANCEL).

use bytes::Bytes;

use super::{address, clean, number};
use crate::{Hop, Uri};

/// The request line and the header fields of every request (RFC 3261 §8.1.1).
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestHead<'a> {
    pub(crate) method: &'a str,
    pub(crate) uri: &'a [u8],
    pub(crate) hop: &'a Hop,
    pub(crate) branch: &'a [u8],
    pub(crate) max_forwards: u8,
    pub(crate) route: &'a [Uri],
    /// A last Route: the remote target, if the first proxy is a strict router.
    pub(crate) last_route: Option<&'a Uri>,
    pub(crate) from: &'a str,
    pub(crate) from_tag: &'a str,
    pub(crate) to: &'a str,
    pub(crate) to_tag: &'a str,
    pub(crate) call_id: &'a str,
    pub(crate) cseq: u32,
}

/// Start a request: clear the buffer, write the request line and the mandatory header lines.
pub(crate) fn begin(buf: &mut Vec<u8>, head: &RequestHead<'_>) {
    buf.clear();
    buf.extend_from_slice(head.method.as_bytes());
    buf.push(b' ');
    clean(buf, head.uri);
    buf.extend_from_slice(b" SIP/2.0\r\nVia: SIP/2.0/");
    buf.extend_from_slice(head.hop.transport.as_str().as_bytes());
    buf.push(b' ');
    address(buf, head.hop.local);
    buf.extend_from_slice(b";rport;branch=");
    buf.extend_from_slice(head.branch);
    buf.extend_from_slice(b"\r\nMax-Forwards: ");
    number(buf, u64::from(head.max_forwards));
    for route in head.route.iter().chain(head.last_route) {
        buf.extend_from_slice(b"\r\nRoute: <");
        clean(buf, route.as_bytes());
        buf.push(b'>');
    }
    buf.extend_from_slice(b"\r\nFrom: ");
    clean(buf, head.from.as_bytes());
    buf.extend_from_slice(b";tag=");
    buf.extend_from_slice(head.from_tag.as_bytes());
    buf.extend_from_slice(b"\r\nTo: ");
    clean(buf, head.to.as_bytes());
    if !head.to_tag.is_empty() {
        buf.extend_from_slice(b";tag=");
        clean(buf, head.to_tag.as_bytes());
    }
    buf.extend_from_slice(b"\r\nCall-ID: ");
    clean(buf, head.call_id.as_bytes());
    buf.extend_from_slice(b"\r\nCSeq: ");
    number(buf, u64::from(head.cseq));
    buf.push(b' ');
    buf.extend_from_slice(head.method.as_bytes());
    buf.extend_from_slice(b"\r\n");
}

/// Write Content-Type, Content-Length and the body; return the message. The buffer can be reused.
pub(crate) fn finish(buf: &mut Vec<u8>, body: Option<(&str, &[u8])>) -> Bytes {
    let bytes = body.map_or(&[][..], |(_, bytes)| bytes);
    if let Some((kind, _)) = body.filter(|(_, bytes)| !bytes.is_empty()) {
        buf.extend_from_slice(b"Content-Type: ");
        clean(buf, kind.as_bytes());
        buf.extend_from_slice(b"\r\n");
    }
    buf.extend_from_slice(b"Content-Length: ");
    number(buf, bytes.len() as u64);
    buf.extend_from_slice(b"\r\n\r\n");
    buf.extend_from_slice(bytes);
    Bytes::copy_from_slice(buf)
}

/// The ACK of a rejected INVITE, or its CANCEL, derived from an INVITE that [`begin`] wrote: same Request-URI, Via, Route, From, Call-ID and CSeq
/// number (RFC 3261 §17.1.1.3, §9.1). `to` is the To value of the response; CANCEL repeats that of the INVITE.
pub(crate) fn ack_or_cancel(
    buf: &mut Vec<u8>,
    invite: &[u8],
    method: &str,
    to: Option<&[u8]>,
    lines: &[u8],
) -> Bytes {
    buf.clear();
    for (at, line) in invite.split(|b| *b == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if at == 0 {
            buf.extend_from_slice(method.as_bytes());
            buf.extend_from_slice(line.strip_prefix(b"INVITE").unwrap_or(line));
        } else if let Some(number) = line.strip_prefix(b"CSeq: ") {
            buf.extend_from_slice(b"CSeq: ");
            buf.extend_from_slice(number.strip_suffix(b"INVITE").unwrap_or(number));
            buf.extend_from_slice(method.as_bytes());
            buf.extend_from_slice(b"\r\n");
            break; // CSeq is the last line that `begin` writes
        } else if let (Some(to), true) = (to, line.starts_with(b"To: ")) {
            buf.extend_from_slice(b"To: ");
            super::value(buf, to);
        } else {
            buf.extend_from_slice(line);
        }
        buf.extend_from_slice(b"\r\n");
    }
    buf.extend_from_slice(lines);
    finish(buf, None)
}
