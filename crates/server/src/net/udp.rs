//! UDP listeners: read and written in batches, owned by the event loop.

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

use super::AdvertisedAddress;
use super::buffer_pool::BufferPool;
use crate::limits::{DATAGRAMS_PER_ITERATION, ERRORS_PER_ITERATION, SOCKET_BUFFER};

/// The largest possible datagram.
const DATAGRAM_BYTES: usize = 65_535;

/// Buffers shared by all listeners of a loop.
#[derive(Debug)]
pub struct Batches {
    receiver: Receiver,
    sender: Sender,
    buffers: BufferPool,
}

impl Default for Batches {
    fn default() -> Self {
        Batches {
            receiver: Receiver::new(DATAGRAMS_PER_ITERATION, DATAGRAM_BYTES),
            sender: Sender::new(DATAGRAMS_PER_ITERATION),
            buffers: BufferPool::default(),
        }
    }
}

/// One bound UDP socket.
#[derive(Debug)]
pub struct UdpListener {
    socket: Socket,
    index: u16,
    advertised: AdvertisedAddress,
    /// Whether there may be datagrams to read.
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
        // The kernel caps these at its own limits; a smaller buffer is acceptable.
        socket.set_recv_buffer_size(SOCKET_BUFFER).ok();
        socket.set_send_buffer_size(SOCKET_BUFFER).ok();
        socket.bind(&address.into())?;
        let bound = socket.local_addr()?.as_socket().unwrap_or(address);
        if address.ip().is_unspecified() {
            ask_destination(socket.as_fd(), v6)?;
        }
        ask_errors(socket.as_fd(), v6)?;
        Ok(UdpListener {
            socket,
            index,
            advertised: AdvertisedAddress::new(bound, public),
            ready: true,
            failed: false,
        })
    }

    /// The bound address.
    pub fn address(&self) -> SocketAddr {
        self.advertised.bound
    }

    /// Index of the listener in the configuration.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// Register for readable events.
    pub fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut SourceFd(&self.socket.as_raw_fd()), token, Interest::READABLE)
    }

    /// Read one batch; [`UdpListener::ready`] says whether there may be more.
    pub fn receive(&mut self, batches: &mut Batches, packets: &mut Vec<(Hop, Bytes)>) {
        let Ok(count) = batches.receiver.receive(self.socket.as_fd()) else {
            // An error of an earlier datagram: it is in the error queue, and pending datagrams are still readable.
            self.failed = true;
            return;
        };
        // A batch that is not full emptied the socket; later datagrams cause a new event.
        self.ready = count == batches.receiver.count();
        for n in 0..count {
            let Some(datagram) = batches.receiver.datagram(n) else { continue };
            let hop = self.hop(datagram.from, self.advertised.to_peer(datagram.to));
            packets.push((hop, batches.buffers.copy(datagram.bytes)));
        }
    }

    /// Send the packets of this listener. Returns how many could not be sent; SIP retransmits over UDP.
    pub fn send(&mut self, batches: &mut Batches, packets: &[(Hop, Bytes)]) -> usize {
        let mut unsent = 0;
        let mut rest = packets;
        let mut batch: Vec<Outgoing<'_>> = Vec::with_capacity(rest.len().min(batches.sender.count()));
        while !rest.is_empty() {
            batch.clear();
            batch.extend(rest.iter().take(batches.sender.count()).map(|(hop, bytes)| Outgoing {
                to: hop.remote,
                from: self.advertised.source(hop.local),
                bytes,
            }));
            let done = match batches.sender.send(self.socket.as_fd(), &batch) {
                Ok(sent) if sent > 0 => sent,
                Ok(_) => {
                    // The send buffer is full: the kernel would drop the rest too.
                    return unsent + rest.len();
                }
                // The first datagram of the batch cannot be sent, or an earlier error is reported instead.
                Err(_) => {
                    self.failed = true;
                    unsent += usize::from(batches.sender.send(self.socket.as_fd(), &batch[..1]).is_err());
                    1
                }
            };
            rest = rest.get(done..).unwrap_or_default();
        }
        unsent
    }

    /// Append the peers that could not be reached, from the ICMP errors received.
    pub fn undelivered(&mut self, hops: &mut Vec<Hop>) {
        for _ in 0..ERRORS_PER_ITERATION {
            match undelivered(self.socket.as_fd()) {
                Some(Some(peer)) => hops.push(self.hop(peer, self.advertised.to_peer(None))),
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
