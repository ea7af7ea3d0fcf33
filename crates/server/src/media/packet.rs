//! A packet on its way through a worker, and whose it is.

use std::net::SocketAddr;

use ::media::{Component, StreamId};

/// Whose packet it is: a stream, the slot it lies in, and which of its two sockets. A late packet of a slot's former stream is known by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Token(pub(super) u64);

impl Token {
    /// Not a packet: somebody put commands in.
    pub(super) const BELL: Token = Token(u64::MAX);

    pub(super) fn new(stream: StreamId, slot: usize, channel: Component) -> Token {
        Token(
            u64::from(stream.0) << 32
                | (slot as u64 & 0x7fff_ffff) << 1
                | u64::from(channel == Component::Rtcp),
        )
    }

    pub(super) fn stream(self) -> StreamId {
        StreamId((self.0 >> 32) as u32)
    }

    pub(super) fn slot(self) -> usize {
        (self.0 as u32 >> 1) as usize
    }

    pub(super) fn channel(self) -> Component {
        if self.0 & 1 == 0 { Component::Rtp } else { Component::Rtcp }
    }
}

/// What a turn found.
pub(super) enum Arrival {
    Bell,
    /// To be forwarded or dropped; with true its socket must be watched anew.
    Packet(Packet, bool),
    /// A socket must be watched anew.
    Ended(Token),
}

/// A packet that lies with us.
#[must_use]
pub(super) struct Packet {
    pub(super) token: Token,
    pub(super) from: SocketAddr,
    pub(super) buffer: u16,
    pub(super) len: usize,
}
