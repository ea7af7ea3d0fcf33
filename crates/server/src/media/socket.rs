//! A UDP socket for RTP or RTCP.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::sockopt::{set_ip_tos, set_ipv6_tclass, set_socket_recv_buffer_size};
use rustix::net::{RecvFlags, SendFlags, recvfrom, sendto};

/// Receive buffer of an open stream's socket, bytes: seconds of audio.
const OPEN_BUFFER: usize = 256 * 1024;
/// Receive buffer of an idle socket: packets sprayed over the port range must not fill memory.
const IDLE_BUFFER: usize = 2 * 1024;
/// DSCP Expedited Forwarding (RFC 3246), as for voice (RFC 4594 §4.1).
const EXPEDITED: u8 = 46 << 2;

/// Whether the kernel accepted a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sent {
    Yes,
    No,
}

/// A media socket.
#[derive(Debug)]
pub(super) struct MediaSocket {
    socket: UdpSocket,
    v6: bool,
}

impl MediaSocket {
    /// Bind an idle socket.
    pub(super) fn bind(address: SocketAddr) -> io::Result<MediaSocket> {
        let socket = UdpSocket::bind(address)?;
        let media = MediaSocket { socket, v6: address.is_ipv6() };
        media.resize(IDLE_BUFFER);
        // Without DSCP only the quality on a busy network suffers.
        let _ = match address {
            SocketAddr::V4(_) => set_ip_tos(&media, EXPEDITED),
            SocketAddr::V6(_) => set_ipv6_tclass(&media, u32::from(EXPEDITED)),
        };
        Ok(media)
    }

    /// A stream starts: discard received packets and enlarge the buffer.
    pub(super) fn open(&self) {
        self.drain();
        self.resize(OPEN_BUFFER);
    }

    /// The stream has ended: shrink the buffer.
    pub(super) fn idle(&self) {
        self.resize(IDLE_BUFFER);
    }

    fn resize(&self, bytes: usize) {
        // The kernel caps the size; a smaller buffer is acceptable.
        let _ = set_socket_recv_buffer_size(self, bytes);
    }

    /// Discard pending packets, a bounded number.
    fn drain(&self) {
        let mut waste = [0; 1];
        for _ in 0..1_000 {
            // An error is either an empty socket or an ICMP error, which the call has consumed.
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

    /// Send a packet. A packet that the kernel does not accept at once is lost, as on any network.
    #[inline]
    pub(super) fn send(&self, packet: &[u8], to: SocketAddr) -> Sent {
        match sendto(self, packet, SendFlags::DONTWAIT, &self.to_family(to)) {
            Ok(_) => Sent::Yes,
            Err(_) => Sent::No,
        }
    }

    /// The address in the family of this socket (IPv4-mapped on an IPv6 socket).
    #[inline]
    pub(super) fn to_family(&self, to: SocketAddr) -> SocketAddr {
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
