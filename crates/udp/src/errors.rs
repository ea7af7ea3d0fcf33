//! Socket options for destination addresses and ICMP errors, and the error queue (ip(7), `IP_RECVERR`).
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{c_int, c_void, iovec, msghdr, socklen_t};

use crate::address::{self, SockaddrBuf};

/// Make the socket report the local destination address of each datagram.
pub fn ask_destination(socket: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    if v6 {
        set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)
    } else {
        set(socket, libc::IPPROTO_IP, libc::IP_PKTINFO)
    }
}

/// Make the socket queue ICMP errors for [`undelivered`].
pub fn ask_errors(socket: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    if v6 {
        set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
    } else {
        set(socket, libc::IPPROTO_IP, libc::IP_RECVERR)
    }
}

/// Take one entry of the socket's error queue: the destination of a datagram that was not delivered, if it is known. `None`: the queue is empty.
pub fn undelivered(socket: BorrowedFd<'_>) -> Option<Option<SocketAddr>> {
    let mut name = SockaddrBuf([0; address::BYTES]);
    let mut byte = [0_u8; 1];
    let mut iov = iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: byte.len() };
    // SAFETY: all zeros is a valid msghdr; its pointers are to locals that outlive the call, with their lengths.
    let (got, len) = unsafe {
        let mut header: msghdr = mem::zeroed();
        header.msg_name = (&raw mut name).cast();
        header.msg_namelen = address::BYTES as socklen_t;
        header.msg_iov = &raw mut iov;
        header.msg_iovlen = 1;
        let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
        (libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags), header.msg_namelen)
    };
    (got >= 0).then(|| address::read(name.0.get(..len as usize).unwrap_or_default()))
}

fn set(socket: BorrowedFd<'_>, level: c_int, option: c_int) -> io::Result<()> {
    let on: c_int = 1;
    // SAFETY: the option's value is an int; its address and size are passed.
    let done = unsafe {
        let value: *const c_void = (&raw const on).cast();
        libc::setsockopt(socket.as_raw_fd(), level, option, value, mem::size_of::<c_int>() as socklen_t)
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(all(test, not(miri)))] // Miri has no error queue
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_closed_port_is_reported() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(ours) = UdpSocket::bind(host) else { continue };
            ask_errors(ours.as_fd(), host.starts_with('[')).unwrap();
            assert_eq!(undelivered(ours.as_fd()), None);
            let gone = UdpSocket::bind(host).unwrap().local_addr().unwrap();
            ours.send_to(b"hello", gone).unwrap();
            let mut found = None;
            while found.is_none() {
                found = undelivered(ours.as_fd());
            }
            assert_eq!(found, Some(Some(gone)));
        }
    }
}
