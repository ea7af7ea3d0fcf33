//! Datagram listeners: read and written in batches, owned by the exchange's loop.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use bytes::Bytes;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use sip::{Flow, Hop, Transport};
use socket2::{Domain, Protocol, Socket, Type};
use udp::batch::{Outgoing, Receiver, Sender};
use udp::errors::{ask_destination, ask_errors, undelivered};

use super::Shown;
use super::buffer_pool::BufferPool;
use crate::limits::{DATAGRAMS_PER_TURN, ERRORS_PER_TURN, SOCKET_BUFFER};

/// The largest datagram that there can be.
const DATAGRAM_BYTES: usize = 65_535;

/// The buffers that all listeners of a loop share.
#[derive(Debug)]
pub struct Batches {
    receiver: Receiver,
    sender: Sender,
    arena: BufferPool,
}

impl Default for Batches {
    fn default() -> Self {
        Batches {
            receiver: Receiver::new(DATAGRAMS_PER_TURN, DATAGRAM_BYTES),
            sender: Sender::new(DATAGRAMS_PER_TURN),
            arena: BufferPool::default(),
        }
    }
}

/// One bound UDP socket.
#[derive(Debug)]
pub struct UdpListener {
    socket: Socket,
    index: u16,
    shown: Shown,
    /// Whether there may be something to read.
    pub ready: bool,
    /// Whether there may be delivery errors to read.
    pub failed: bool,
}

impl UdpListener {
    /// Bind listener number `index` of the configuration.
    pub fn bind(
        index: u16,
        address: SocketAddr,
        public: Option<std::net::IpAddr>,
    ) -> io::Result<UdpListener> {
        let v6 = address.is_ipv6();
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if v6 {
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        // The kernel cuts these down to its own limits, which is no reason not to start.
        socket.set_recv_buffer_size(SOCKET_BUFFER).ok();
        socket.set_send_buffer_size(SOCKET_BUFFER).ok();
        socket.bind(&address.into())?;
        let bound = socket.local_addr()?.as_socket().unwrap_or(address);
        if address.ip().is_unspecified() {
            ask_destination(socket.as_fd(), v6)?;
        }
        ask_errors(socket.as_fd(), v6)?;
        Ok(UdpListener { socket, index, shown: Shown::new(bound, public), ready: true, failed: false })
    }

    /// Where it is bound.
    pub fn address(&self) -> SocketAddr {
        self.shown.bound
    }

    /// Its number in the configuration.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// Be told by `registry` when there is something to read.
    pub fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut SourceFd(&self.socket.as_raw_fd()), token, Interest::READABLE)
    }

    /// Read one batch, and note whether there may be more.
    pub fn receive(&mut self, batches: &mut Batches, packets: &mut Vec<(Hop, Bytes)>) {
        let Ok(got) = batches.receiver.receive(self.socket.as_fd()) else {
            // An error of an earlier datagram: it is in the error queue, and what waits to be read still does.
            self.failed = true;
            return;
        };
        // A batch that is not full emptied the socket; what comes later is told anew.
        self.ready = got == batches.receiver.count();
        for n in 0..got {
            let Some(datagram) = batches.receiver.datagram(n) else { continue };
            let hop = self.hop(datagram.from, self.shown.to_peer(datagram.to));
            packets.push((hop, batches.arena.keep(datagram.bytes)));
        }
    }

    /// Send what belongs to this listener. How many could not be sent is returned: UDP promises nothing, and its callers repeat themselves.
    pub fn send(&mut self, batches: &mut Batches, packets: &[(Hop, Bytes)]) -> usize {
        let mut lost = 0;
        let mut rest = packets;
        let mut batch: Vec<Outgoing<'_>> = Vec::with_capacity(rest.len().min(batches.sender.count()));
        while !rest.is_empty() {
            batch.clear();
            batch.extend(rest.iter().take(batches.sender.count()).map(|(hop, bytes)| Outgoing {
                to: hop.remote,
                from: self.shown.source(hop.local),
                bytes,
            }));
            let done = match batches.sender.send(self.socket.as_fd(), &batch) {
                Ok(sent) if sent > 0 => sent,
                Ok(_) => {
                    // The send buffer is full: the kernel would drop the rest as well.
                    return lost + rest.len();
                }
                // The first of the batch cannot be sent, or an older error is reported in its place.
                Err(_) => {
                    self.failed = true;
                    lost += usize::from(batches.sender.send(self.socket.as_fd(), &batch[..1]).is_err());
                    1
                }
            };
            rest = rest.get(done..).unwrap_or_default();
        }
        lost
    }

    /// Which peers could not be reached, by the ICMP errors that came since.
    pub fn undelivered(&mut self, hops: &mut Vec<Hop>) {
        for _ in 0..ERRORS_PER_TURN {
            match undelivered(self.socket.as_fd()) {
                Some(Some(peer)) => hops.push(self.hop(peer, self.shown.to_peer(None))),
                Some(None) => {}
                None => {
                    self.failed = false;
                    return;
                }
            }
        }
    }

    fn hop(&self, remote: SocketAddr, local: SocketAddr) -> Hop {
        Hop { transport: Transport::Udp, listener: self.index, local, remote, flow: Flow::default() }
    }
}

impl AsFd for UdpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
