//! One socket of a stream.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::sockopt::{set_ip_tos, set_ipv6_tclass, set_socket_recv_buffer_size};
use rustix::net::{RecvFlags, SendFlags, recvfrom, sendto};

/// Kernel memory for packets of an open stream that wait for us: seconds of audio.
const OPEN_BUFFER: usize = 256 * 1024;
/// The same of a socket that is only kept ready: strangers who spray the range shall fill nothing.
const IDLE_BUFFER: usize = 2 * 1024;
/// Expedited forwarding (RFC 3246), as voice is marked (RFC 4594 §4.1).
const EXPEDITED: u8 = 46 << 2;

/// Whether the kernel took a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sent {
    Yes,
    No,
}

/// See the module.
#[derive(Debug)]
pub(super) struct MediaSocket {
    socket: UdpSocket,
    v6: bool,
}

impl MediaSocket {
    /// Bind, ready but idle.
    pub(super) fn bind(address: SocketAddr) -> io::Result<MediaSocket> {
        let socket = UdpSocket::bind(address)?;
        let media = MediaSocket { socket, v6: address.is_ipv6() };
        media.resize(IDLE_BUFFER);
        // A mark that the system refuses costs quality on a busy network, not the call.
        let _ = match address {
            SocketAddr::V4(_) => set_ip_tos(&media, EXPEDITED),
            SocketAddr::V6(_) => set_ipv6_tclass(&media, u32::from(EXPEDITED)),
        };
        Ok(media)
    }

    /// A stream begins: forget what strangers sent, and give it room.
    pub(super) fn open(&self) {
        self.drain();
        self.resize(OPEN_BUFFER);
    }

    /// The stream is over.
    pub(super) fn idle(&self) {
        self.resize(IDLE_BUFFER);
    }

    fn resize(&self, bytes: usize) {
        // The kernel cuts to its own limits; a smaller buffer than wished is no reason to refuse a call.
        let _ = set_socket_recv_buffer_size(self, bytes);
    }

    /// Throw away what waits, but not for ever.
    fn drain(&self) {
        let mut waste = [0; 1];
        for _ in 0..1_000 {
            // An error is either an empty socket or an ICMP message that was taken off it.
            if let Err(rustix::io::Errno::AGAIN) = recvfrom(self, &mut waste, RecvFlags::DONTWAIT) {
                return;
            }
        }
    }

    /// The next packet, if there is one.
    #[inline]
    pub(super) fn receive(&self, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
        let (len, _, from) = recvfrom(self, buffer, RecvFlags::DONTWAIT).ok()?;
        let from = SocketAddr::try_from(from?).ok()?;
        Some((len, if self.v6 { SocketAddr::new(from.ip().to_canonical(), from.port()) } else { from }))
    }

    /// Send a packet. What the kernel does not take at once is lost, as on any network.
    #[inline]
    pub(super) fn send(&self, packet: &[u8], to: SocketAddr) -> Sent {
        match sendto(self, packet, SendFlags::DONTWAIT, &self.as_sent(to)) {
            Ok(_) => Sent::Yes,
            Err(_) => Sent::No,
        }
    }

    /// An address as this socket's system calls take it.
    #[inline]
    pub(super) fn as_sent(&self, to: SocketAddr) -> SocketAddr {
        match to.ip() {
            IpAddr::V4(v4) if self.v6 => {
                let mapped: Ipv6Addr = v4.to_ipv6_mapped();
                SocketAddr::new(mapped.into(), to.port())
            }
            IpAddr::V4(_) | IpAddr::V6(_) => to,
        }
    }
}

impl AsFd for MediaSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
