//! Serialisation of a description, and the lines that we generate.

use std::net::IpAddr;

use bytes::{BufMut, Bytes, BytesMut};

use super::{Direction, Line, LocalMedia, Media, SessionDescription};

pub(super) fn description(description: &SessionDescription) -> Bytes {
    let mut out = BytesMut::with_capacity(512);
    for line in &description.session {
        put(&mut out, line);
    }
    for media in &description.media {
        let Media { kind, port, count, proto, formats, lines } = media;
        let count = count.map_or_else(String::new, |n| format!("/{n}"));
        out.put_slice(format!("m={kind} {port}{count} {proto} {}\r\n", formats.join(" ")).as_bytes());
        for line in lines {
            put(&mut out, line);
        }
    }
    out.freeze()
}

fn put(out: &mut BytesMut, line: &Line) {
    out.put_u8(line.kind);
    out.put_u8(b'=');
    out.put_slice(&line.value);
    out.put_slice(b"\r\n");
}

/// A generated line.
pub(super) fn line(kind: char, value: impl Into<String>) -> Line {
    Line { kind: kind as u8, value: Bytes::from(value.into()) }
}

/// Network type, address type and address: `IN IP4 192.0.2.1`.
fn address(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => format!("IN IP4 {v4}"),
        IpAddr::V6(v6) => format!("IN IP6 {v6}"),
    }
}

/// `v=`, `o=`, `s=` and `c=` of our description, in the order of RFC 8866 §5.
pub(super) fn heading(local: &LocalMedia) -> Vec<Line> {
    let at = address(local.address);
    vec![
        line('v', "0"),
        line('o', format!("- {} {} {at}", local.session, local.version)),
        line('s', "-"),
        line('c', at),
    ]
}

/// `a=sendrecv` and the other direction attributes.
pub(super) fn direction(direction: Direction) -> Line {
    line(
        'a',
        match direction {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        },
    )
}
