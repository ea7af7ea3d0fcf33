//! How packets come to a worker and go: through io_uring where the kernel lets us, else through epoll.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use super::packet::{Arrival, Packet, Token};
use super::poll::Poll;
use super::ring::Ring;
use super::socket::MediaSocket;

/// Packets that were lost below the engine, since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Losses {
    /// Too long for a buffer. Through epoll the engine refuses them.
    pub(super) oversized: u64,
    /// The kernel did not take them.
    pub(super) unsent: u64,
}

/// See the module.
pub(super) enum Packets {
    Ring(Box<Ring>),
    Poll(Poll),
}

impl Packets {
    pub(super) fn new(bell: &impl AsFd, ring: bool) -> io::Result<Packets> {
        if !ring {
            return Ok(Packets::Poll(Poll::new(bell)?));
        }
        match Ring::new(bell) {
            Ok(ring) => Ok(Packets::Ring(Box::new(ring))),
            Err(error) => {
                tracing::info!(%error, "voice goes through epoll: io_uring is not to be had here");
                Ok(Packets::Poll(Poll::new(bell)?))
            }
        }
    }

    /// On the thread that will use it.
    pub(super) fn begin(&mut self, bell: &impl AsFd) -> io::Result<()> {
        if let Packets::Ring(ring) = self
            && let Err(error) = ring.begin()
        {
            tracing::warn!(%error, "voice goes through epoll: the ring does not begin");
            *self = Packets::Poll(Poll::new(bell)?);
        }
        Ok(())
    }

    pub(super) fn watch(&mut self, token: Token, socket: &MediaSocket) {
        match self {
            Packets::Ring(ring) => ring.watch(token, socket),
            Packets::Poll(poll) => poll.watch(token, socket),
        }
    }

    pub(super) fn forget(&mut self, token: Token, socket: &MediaSocket) {
        match self {
            Packets::Ring(ring) => ring.forget(token),
            Packets::Poll(poll) => poll.forget(socket),
        }
    }

    /// Let packets gather for so long, or wait for the first arrival until the end of `timeout`. How many arrived.
    pub(super) fn wait(&mut self, gather: Option<Duration>, timeout: Option<Duration>) -> io::Result<usize> {
        match self {
            Packets::Ring(ring) => ring.wait(gather, timeout),
            Packets::Poll(poll) => poll.wait(gather, timeout),
        }
    }

    #[inline]
    pub(super) fn next<'a>(&mut self, socket: impl Fn(Token) -> Option<&'a MediaSocket>) -> Option<Arrival> {
        match self {
            Packets::Ring(ring) => ring.next(),
            Packets::Poll(poll) => poll.next(socket),
        }
    }

    #[inline]
    pub(super) fn bytes(&mut self, packet: &Packet) -> &mut [u8] {
        match self {
            Packets::Ring(ring) => ring.bytes(packet),
            Packets::Poll(poll) => poll.bytes(packet),
        }
    }

    /// Send the first `len` bytes of what a packet has become.
    #[inline]
    pub(super) fn forward(&mut self, packet: Packet, len: usize, socket: &MediaSocket, to: SocketAddr) {
        match self {
            Packets::Ring(ring) => ring.forward(packet, len, socket, socket.as_sent(to)),
            Packets::Poll(poll) => poll.forward(len, socket, to),
        }
    }

    pub(super) fn losses(&self) -> Losses {
        match self {
            Packets::Ring(ring) => ring.losses,
            Packets::Poll(poll) => poll.losses,
        }
    }

    #[inline]
    pub(super) fn release(&mut self, packet: Packet) {
        if let Packets::Ring(ring) = self {
            ring.release(packet);
        }
    }
}
