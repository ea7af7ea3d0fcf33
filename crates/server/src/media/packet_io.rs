//! How packets come to a worker and go: through io_uring where the kernel lets us, else through epoll.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use super::io_uring::IoUringIo;
use super::packet::{Arrival, Packet, Token};
use super::poll::Poll;
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
pub(super) enum PacketIo {
    Ring(Box<IoUringIo>),
    Poll(Poll),
}

impl PacketIo {
    pub(super) fn new(waker: &impl AsFd, ring: bool) -> io::Result<PacketIo> {
        if !ring {
            return Ok(PacketIo::Poll(Poll::new(waker)?));
        }
        match IoUringIo::new(waker) {
            Ok(ring) => Ok(PacketIo::Ring(Box::new(ring))),
            Err(error) => {
                tracing::info!(%error, "voice goes through epoll: io_uring is not to be had here");
                Ok(PacketIo::Poll(Poll::new(waker)?))
            }
        }
    }

    /// On the thread that will use it.
    pub(super) fn begin(&mut self, waker: &impl AsFd) -> io::Result<()> {
        if let PacketIo::Ring(ring) = self
            && let Err(error) = ring.begin()
        {
            tracing::warn!(%error, "voice goes through epoll: the ring does not begin");
            *self = PacketIo::Poll(Poll::new(waker)?);
        }
        Ok(())
    }

    pub(super) fn watch(&mut self, token: Token, socket: &MediaSocket) {
        match self {
            PacketIo::Ring(ring) => ring.watch(token, socket),
            PacketIo::Poll(poll) => poll.watch(token, socket),
        }
    }

    pub(super) fn forget(&mut self, token: Token, socket: &MediaSocket) {
        match self {
            PacketIo::Ring(ring) => ring.forget(token),
            PacketIo::Poll(poll) => poll.forget(socket),
        }
    }

    /// Let packets gather for so long, or wait for the first arrival until the end of `timeout`. How many arrived.
    pub(super) fn wait(&mut self, gather: Option<Duration>, timeout: Option<Duration>) -> io::Result<usize> {
        match self {
            PacketIo::Ring(ring) => ring.wait(gather, timeout),
            PacketIo::Poll(poll) => poll.wait(gather, timeout),
        }
    }

    #[inline]
    pub(super) fn next<'a>(&mut self, socket: impl Fn(Token) -> Option<&'a MediaSocket>) -> Option<Arrival> {
        match self {
            PacketIo::Ring(ring) => ring.next(),
            PacketIo::Poll(poll) => poll.next(socket),
        }
    }

    #[inline]
    pub(super) fn bytes(&mut self, packet: &Packet) -> &mut [u8] {
        match self {
            PacketIo::Ring(ring) => ring.bytes(packet),
            PacketIo::Poll(poll) => poll.bytes(packet),
        }
    }

    /// Send the first `len` bytes of what a packet has become.
    #[inline]
    pub(super) fn forward(&mut self, packet: Packet, len: usize, socket: &MediaSocket, to: SocketAddr) {
        match self {
            PacketIo::Ring(ring) => ring.forward(packet, len, socket, socket.as_sent(to)),
            PacketIo::Poll(poll) => poll.forward(len, socket, to),
        }
    }

    pub(super) fn losses(&self) -> Losses {
        match self {
            PacketIo::Ring(ring) => ring.losses,
            PacketIo::Poll(poll) => poll.losses,
        }
    }

    #[inline]
    pub(super) fn release(&mut self, packet: Packet) {
        if let PacketIo::Ring(ring) = self {
            ring.release(packet);
        }
    }
}
