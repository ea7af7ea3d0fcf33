//! A received packet, and the socket that it belongs to.

use std::net::SocketAddr;

use ::media::{Component, StreamId};

/// Identifies a socket: the stream, its slot, and the component (RTP or RTCP). A late packet of the slot's former stream is recognised by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Token(pub(super) u64);

impl Token {
    /// The waker: commands were queued.
    pub(super) const WAKER: Token = Token(u64::MAX);

    pub(super) fn new(stream: StreamId, slot: usize, component: Component) -> Token {
        Token(
            u64::from(stream.0) << 32
                | (slot as u64 & 0x7fff_ffff) << 1
                | u64::from(component == Component::Rtcp),
        )
    }

    pub(super) fn stream(self) -> StreamId {
        StreamId((self.0 >> 32) as u32)
    }

    pub(super) fn slot(self) -> usize {
        (self.0 as u32 >> 1) as usize
    }

    pub(super) fn component(self) -> Component {
        if self.0 & 1 == 0 { Component::Rtp } else { Component::Rtcp }
    }
}

/// A completion or readiness event.
pub(super) enum Arrival {
    Waker,
    /// A packet to be forwarded or dropped; if true, its socket must be registered again.
    Packet(Packet, bool),
    /// A socket must be registered again.
    Rearm(Token),
}

/// A packet in one of our buffers.
#[must_use]
pub(super) struct Packet {
    pub(super) token: Token,
    pub(super) from: SocketAddr,
    pub(super) buffer: u16,
    pub(super) len: usize,
}
