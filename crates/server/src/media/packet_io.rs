//! Packet I/O of a worker: io_uring if the kernel allows it, else epoll.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use super::io_uring::IoUringIo;
use super::packet::{Arrival, Packet, Token};
use super::poll::Poll;
use super::socket::MediaSocket;

/// Packets lost below the engine, since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Losses {
    /// Too long for a buffer. With epoll the engine refuses them.
    pub(super) oversized: u64,
    /// Not accepted by the kernel.
    pub(super) unsent: u64,
}

/// The packet I/O in use.
pub(super) enum PacketIo {
    IoUring(Box<IoUringIo>),
    Poll(Poll),
}

impl PacketIo {
    pub(super) fn new(waker: &impl AsFd, io_uring: bool) -> io::Result<PacketIo> {
        if !io_uring {
            return Ok(PacketIo::Poll(Poll::new(waker)?));
        }
        match IoUringIo::new(waker) {
            Ok(io_uring) => Ok(PacketIo::IoUring(Box::new(io_uring))),
            Err(error) => {
                tracing::info!(%error, "media uses epoll: io_uring is not available");
                Ok(PacketIo::Poll(Poll::new(waker)?))
            }
        }
    }

    /// Enable the I/O. Must be called on the thread that uses it.
    pub(super) fn start(&mut self, waker: &impl AsFd) -> io::Result<()> {
        if let PacketIo::IoUring(io_uring) = self
            && let Err(error) = io_uring.start()
        {
            tracing::warn!(%error, "media uses epoll: io_uring cannot be enabled");
            *self = PacketIo::Poll(Poll::new(waker)?);
        }
        Ok(())
    }

    pub(super) fn register(&mut self, token: Token, socket: &MediaSocket) {
        match self {
            PacketIo::IoUring(io_uring) => io_uring.register(token, socket),
            PacketIo::Poll(poll) => poll.register(token, socket),
        }
    }

    pub(super) fn deregister(&mut self, token: Token, socket: &MediaSocket) {
        match self {
            PacketIo::IoUring(io_uring) => io_uring.deregister(token),
            PacketIo::Poll(poll) => poll.deregister(socket),
        }
    }

    /// Gather packets for `gather`, or wait for the first event until `timeout`. Returns the number of events.
    pub(super) fn wait(&mut self, gather: Option<Duration>, timeout: Option<Duration>) -> io::Result<usize> {
        match self {
            PacketIo::IoUring(io_uring) => io_uring.wait(gather, timeout),
            PacketIo::Poll(poll) => poll.wait(gather, timeout),
        }
    }

    #[inline]
    pub(super) fn next<'a>(&mut self, socket: impl Fn(Token) -> Option<&'a MediaSocket>) -> Option<Arrival> {
        match self {
            PacketIo::IoUring(io_uring) => io_uring.next(),
            PacketIo::Poll(poll) => poll.next(socket),
        }
    }

    #[inline]
    pub(super) fn bytes(&mut self, packet: &Packet) -> &mut [u8] {
        match self {
            PacketIo::IoUring(io_uring) => io_uring.bytes(packet),
            PacketIo::Poll(poll) => poll.bytes(packet),
        }
    }

    /// Send the first `len` bytes of a packet's buffer to `to`.
    #[inline]
    pub(super) fn forward(&mut self, packet: Packet, len: usize, socket: &MediaSocket, to: SocketAddr) {
        match self {
            PacketIo::IoUring(io_uring) => io_uring.forward(packet, len, socket, socket.to_family(to)),
            PacketIo::Poll(poll) => poll.forward(len, socket, to),
        }
    }

    pub(super) fn losses(&self) -> Losses {
        match self {
            PacketIo::IoUring(io_uring) => io_uring.losses,
            PacketIo::Poll(poll) => poll.losses,
        }
    }

    #[inline]
    pub(super) fn release(&mut self, packet: Packet) {
        if let PacketIo::IoUring(io_uring) = self {
            io_uring.release(packet);
        }
    }
}
