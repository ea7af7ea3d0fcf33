//! Many datagrams per system call: `recvmmsg`, `sendmmsg` and the error queue, over `libc`. The one module with `unsafe`.
//!
//! Every pointer handed to the kernel points into a buffer that is owned by the same value, is never resized after its making, and outlives
//! the call. What the kernel writes back (lengths, addresses, control messages) is checked before it is believed.
#![allow(unsafe_code)]

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use libc::{c_int, c_uint, c_void, iovec, mmsghdr, msghdr, sockaddr_storage, socklen_t};

/// Room for one control message with a packet info, or an extended error with its offender.
const CONTROL_BYTES: usize = 128;

#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL_BYTES]);

/// One received datagram.
#[derive(Debug)]
pub struct Datagram<'a> {
    /// Who sent it.
    pub from: SocketAddr,
    /// Our address that it was sent to, where the socket was asked to tell ([`ask_destination`]).
    pub to: Option<IpAddr>,
    /// Its bytes.
    pub bytes: &'a mut [u8],
}

/// Buffers for receiving up to N datagrams at once.
pub struct Receiver {
    slot: usize,
    buffer: Box<[u8]>,
    names: Box<[sockaddr_storage]>,
    controls: Box<[Control]>,
    iovecs: Box<[iovec]>,
    headers: Box<[mmsghdr]>,
    filled: usize,
}

// SAFETY: the raw pointers in `iovecs` and `headers` point into this value's own boxes, which move with it.
unsafe impl Send for Receiver {}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").field("count", &self.headers.len()).finish_non_exhaustive()
    }
}

impl Receiver {
    /// Room for `count` datagrams of at most `slot` bytes; longer ones are dropped. Pages that are never written cost no memory.
    pub fn new(count: usize, slot: usize) -> Receiver {
        // SAFETY: all zeros is a valid value of these plain C structs.
        let (name, header): (sockaddr_storage, mmsghdr) = unsafe { (mem::zeroed(), mem::zeroed()) };
        let mut receiver = Receiver {
            slot,
            buffer: vec![0; count * slot].into_boxed_slice(),
            names: vec![name; count].into_boxed_slice(),
            controls: vec![Control([0; CONTROL_BYTES]); count].into_boxed_slice(),
            iovecs: vec![iovec { iov_base: ptr::null_mut(), iov_len: 0 }; count].into_boxed_slice(),
            headers: vec![header; count].into_boxed_slice(),
            filled: 0,
        };
        let buffer: *mut u8 = receiver.buffer.as_mut_ptr();
        for n in 0..count {
            // SAFETY: `n * slot` lies inside the buffer of `count * slot` bytes.
            let base = unsafe { buffer.add(n * slot) };
            receiver.iovecs[n] = iovec { iov_base: base.cast(), iov_len: slot };
        }
        for n in 0..count {
            let header = &mut receiver.headers[n].msg_hdr;
            header.msg_name = (&raw mut receiver.names[n]).cast();
            header.msg_control = (&raw mut receiver.controls[n]).cast();
            header.msg_iov = &raw mut receiver.iovecs[n];
            header.msg_iovlen = 1;
        }
        receiver
    }

    /// Take what the socket holds, at most `count` datagrams, without waiting. 0 where there is none.
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        for header in &mut self.headers {
            header.msg_hdr.msg_namelen = mem::size_of::<sockaddr_storage>() as socklen_t;
            header.msg_hdr.msg_controllen = CONTROL_BYTES as _;
            header.msg_hdr.msg_flags = 0;
        }
        self.filled = 0;
        // SAFETY: every header points at live buffers of this value with the lengths given; the count is that of the box.
        let got = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                self.headers.len() as c_uint,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        self.filled = counted(got)?;
        Ok(self.filled)
    }

    /// Number `n` of what [`Receiver::receive`] got; `None` where it was cut off or came from nowhere.
    pub fn datagram(&mut self, n: usize) -> Option<Datagram<'_>> {
        if n >= self.filled {
            return None;
        }
        let header = &self.headers[n];
        if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
            return None;
        }
        let from = address(&self.names[n], header.msg_hdr.msg_namelen)?;
        let to = destination(&header.msg_hdr);
        let len = (header.msg_len as usize).min(self.slot);
        let start = n * self.slot;
        Some(Datagram { from, to, bytes: self.buffer.get_mut(start..start + len)? })
    }

    /// How many datagrams fit.
    pub fn count(&self) -> usize {
        self.headers.len()
    }
}

/// One datagram to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// To whom.
    pub to: SocketAddr,
    /// From which address of ours; the kernel chooses where `None`.
    pub from: Option<IpAddr>,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// Buffers for sending up to N datagrams at once.
pub struct Sender {
    names: Box<[sockaddr_storage]>,
    controls: Box<[Control]>,
    iovecs: Box<[iovec]>,
    headers: Box<[mmsghdr]>,
}

// SAFETY: the raw pointers point into this value's own boxes, except `iov_base`, which is only read inside `send`.
unsafe impl Send for Sender {}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").field("count", &self.headers.len()).finish_non_exhaustive()
    }
}

impl Sender {
    /// Room for `count` datagrams.
    pub fn new(count: usize) -> Sender {
        // SAFETY: all zeros is a valid value of these plain C structs.
        let (name, header): (sockaddr_storage, mmsghdr) = unsafe { (mem::zeroed(), mem::zeroed()) };
        let mut sender = Sender {
            names: vec![name; count].into_boxed_slice(),
            controls: vec![Control([0; CONTROL_BYTES]); count].into_boxed_slice(),
            iovecs: vec![iovec { iov_base: ptr::null_mut(), iov_len: 0 }; count].into_boxed_slice(),
            headers: vec![header; count].into_boxed_slice(),
        };
        for n in 0..count {
            let header = &mut sender.headers[n].msg_hdr;
            header.msg_name = (&raw mut sender.names[n]).cast();
            header.msg_iov = &raw mut sender.iovecs[n];
            header.msg_iovlen = 1;
        }
        sender
    }

    /// How many datagrams fit.
    pub fn count(&self) -> usize {
        self.headers.len()
    }

    /// Send as many of `batch` as the kernel takes without waiting, and say how many. An error is that of the first one.
    pub fn send(&mut self, socket: BorrowedFd<'_>, batch: &[Outgoing<'_>]) -> io::Result<usize> {
        let count = batch.len().min(self.headers.len());
        for (n, outgoing) in batch.iter().take(count).enumerate() {
            // The kernel only reads through `iov_base` when it sends.
            self.iovecs[n] =
                iovec { iov_base: outgoing.bytes.as_ptr().cast_mut().cast(), iov_len: outgoing.bytes.len() };
            let header = &mut self.headers[n].msg_hdr;
            header.msg_namelen = store(outgoing.to, &mut self.names[n]);
            if let Some(from) = outgoing.from {
                header.msg_control = (&raw mut self.controls[n]).cast();
                header.msg_controllen = CONTROL_BYTES as _;
                header.msg_controllen = origin(from, header) as _;
            } else {
                header.msg_control = ptr::null_mut();
                header.msg_controllen = 0;
            }
        }
        // SAFETY: the first `count` headers point at live names and controls of this value, and at the bytes of `batch`, borrowed for this call.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                count as c_uint,
                (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
            )
        };
        counted(sent)
    }
}

/// Ask the socket to tell with every datagram which address of ours it was sent to.
pub fn ask_destination(socket: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    if v6 {
        set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)
    } else {
        set(socket, libc::IPPROTO_IP, libc::IP_PKTINFO)
    }
}

/// Ask the socket to keep ICMP errors for [`undelivered`].
pub fn ask_errors(socket: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    if v6 {
        set(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
    } else {
        set(socket, libc::IPPROTO_IP, libc::IP_RECVERR)
    }
}

/// The next peer that a datagram of ours did not reach, from the socket's error queue.
pub fn undelivered(socket: BorrowedFd<'_>) -> Option<Option<SocketAddr>> {
    let mut control = Control([0; CONTROL_BYTES]);
    let mut name = MaybeUninit::<sockaddr_storage>::zeroed();
    let mut byte = [0_u8; 1];
    let mut iov = iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: byte.len() };
    // SAFETY: all zeros is a valid msghdr; its pointers are to locals that outlive the call.
    let (got, header) = unsafe {
        let mut header: msghdr = mem::zeroed();
        header.msg_name = name.as_mut_ptr().cast();
        header.msg_namelen = mem::size_of::<sockaddr_storage>() as socklen_t;
        header.msg_control = (&raw mut control).cast();
        header.msg_controllen = CONTROL_BYTES as _;
        header.msg_iov = &raw mut iov;
        header.msg_iovlen = 1;
        (libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT), header)
    };
    if got < 0 {
        return None;
    }
    // SAFETY: the storage was zeroed, which is valid, and the kernel wrote an address over it.
    let name = unsafe { name.assume_init() };
    Some(address(&name, header.msg_namelen))
}

fn set(socket: BorrowedFd<'_>, level: c_int, option: c_int) -> io::Result<()> {
    let on: c_int = 1;
    // SAFETY: the option's value is an int, and its address and size are given.
    let done = unsafe {
        let value: *const c_void = (&raw const on).cast();
        libc::setsockopt(socket.as_raw_fd(), level, option, value, mem::size_of::<c_int>() as socklen_t)
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A count that the kernel returned; nothing to do is 0 and no error.
fn counted(result: c_int) -> io::Result<usize> {
    if result >= 0 {
        return Ok(result as usize);
    }
    let error = io::Error::last_os_error();
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(0),
        _ => Err(error),
    }
}

fn address(storage: &sockaddr_storage, len: socklen_t) -> Option<SocketAddr> {
    match c_int::from(storage.ss_family) {
        libc::AF_INET if len as usize >= mem::size_of::<libc::sockaddr_in>() => {
            // SAFETY: the family says that this is a sockaddr_in, and the storage is large and aligned enough for it.
            let v4: libc::sockaddr_in = unsafe { ptr::read((&raw const *storage).cast()) };
            let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddr::from((ip, u16::from_be(v4.sin_port))))
        }
        libc::AF_INET6 if len as usize >= mem::size_of::<libc::sockaddr_in6>() => {
            // SAFETY: as above, for a sockaddr_in6.
            let v6: libc::sockaddr_in6 = unsafe { ptr::read((&raw const *storage).cast()) };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), v6.sin6_flowinfo, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

fn store(address: SocketAddr, storage: &mut sockaddr_storage) -> socklen_t {
    match address {
        SocketAddr::V4(v4) => {
            let raw = libc::sockaddr_in {
                sin_family: libc::AF_INET as _,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: the storage is large and aligned enough for every address.
            unsafe { ptr::write((&raw mut *storage).cast(), raw) };
            mem::size_of::<libc::sockaddr_in>() as socklen_t
        }
        SocketAddr::V6(v6) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as _,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: as above.
            unsafe { ptr::write((&raw mut *storage).cast(), raw) };
            mem::size_of::<libc::sockaddr_in6>() as socklen_t
        }
    }
}

/// Our own address in the control messages of a received datagram.
fn destination(header: &msghdr) -> Option<IpAddr> {
    // SAFETY: the kernel set msg_controllen to what it wrote into our control buffer; the CMSG functions stay inside it.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while let Some(head) = message.as_ref() {
            let data = libc::CMSG_DATA(message);
            let room = head.cmsg_len;
            match (head.cmsg_level, head.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO)
                    if room >= libc::CMSG_LEN(mem::size_of::<libc::in_pktinfo>() as u32) as usize =>
                {
                    let info: libc::in_pktinfo = ptr::read_unaligned(data.cast());
                    return Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()).into());
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO)
                    if room >= libc::CMSG_LEN(mem::size_of::<libc::in6_pktinfo>() as u32) as usize =>
                {
                    let info: libc::in6_pktinfo = ptr::read_unaligned(data.cast());
                    return Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
                }
                _ => {}
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    None
}

/// Write the control message that names our source address; its length is returned.
fn origin(from: IpAddr, header: &mut msghdr) -> usize {
    // SAFETY: msg_control points at CONTROL_BYTES of aligned room, which both messages fit into.
    unsafe {
        let message = libc::CMSG_FIRSTHDR(header);
        let Some(head) = message.as_mut() else { return 0 };
        match from {
            IpAddr::V4(v4) => {
                let size = mem::size_of::<libc::in_pktinfo>() as u32;
                head.cmsg_level = libc::IPPROTO_IP;
                head.cmsg_type = libc::IP_PKTINFO;
                head.cmsg_len = libc::CMSG_LEN(size) as _;
                let address = libc::in_addr { s_addr: u32::from_ne_bytes(v4.octets()) };
                let none = libc::in_addr { s_addr: 0 };
                let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: address, ipi_addr: none };
                ptr::write_unaligned(libc::CMSG_DATA(message).cast(), info);
                libc::CMSG_SPACE(size) as usize
            }
            IpAddr::V6(v6) => {
                let size = mem::size_of::<libc::in6_pktinfo>() as u32;
                head.cmsg_level = libc::IPPROTO_IPV6;
                head.cmsg_type = libc::IPV6_PKTINFO;
                head.cmsg_len = libc::CMSG_LEN(size) as _;
                let address = libc::in6_addr { s6_addr: v6.octets() };
                let info = libc::in6_pktinfo { ipi6_addr: address, ipi6_ifindex: 0 };
                ptr::write_unaligned(libc::CMSG_DATA(message).cast(), info);
                libc::CMSG_SPACE(size) as usize
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_batch_goes_out_and_comes_in_with_both_addresses() {
        for host in ["127.0.0.1", "[::1]"] {
            let wildcard = if host == "[::1]" { "[::]:0" } else { "0.0.0.0:0" };
            let Ok(ours) = UdpSocket::bind(wildcard) else { continue };
            ask_destination(ours.as_fd(), host == "[::1]").unwrap();
            let peer = UdpSocket::bind(format!("{host}:0")).unwrap();
            let to = SocketAddr::new(peer.local_addr().unwrap().ip(), ours.local_addr().unwrap().port());
            for n in 0..5_u8 {
                peer.send_to(&[n; 100], to).unwrap();
            }
            let mut receiver = Receiver::new(8, 2048);
            assert_eq!(receiver.receive(ours.as_fd()).unwrap(), 5);
            for n in 0..5 {
                let got = receiver.datagram(n).unwrap();
                assert_eq!((got.from, got.to), (peer.local_addr().unwrap(), Some(to.ip())));
                assert_eq!(got.bytes, &[n as u8; 100]);
            }
            assert!(receiver.datagram(5).is_none() && receiver.receive(ours.as_fd()).unwrap() == 0);
            let mut sender = Sender::new(4);
            let one = Outgoing { to: peer.local_addr().unwrap(), from: Some(to.ip()), bytes: b"pong" };
            assert_eq!(sender.send(ours.as_fd(), &[one; 6]).unwrap(), 4);
            let mut buffer = [0; 16];
            assert_eq!(peer.recv_from(&mut buffer).unwrap(), (4, to));
        }
    }
}
