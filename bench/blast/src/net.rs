//! A UDP socket connected to one server, with batched reads and writes.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;

/// Datagrams per system call.
const BATCH: usize = 64;
/// Maximum size of a received message in bytes.
const SLOT: usize = 4096;
/// Requested size of the kernel's socket buffers in bytes.
const KERNEL_BUFFER: libc::c_int = 16 << 20;

/// A socket with its send queue and receive buffers.
pub struct Port {
    socket: UdpSocket,
    /// Messages to send.
    pub out: Outbox,
    /// Received messages.
    pub inbox: Inbox,
}

impl Port {
    /// Bind `port` on loopback, connected to `server`.
    pub fn open(port: u16, server: SocketAddr) -> io::Result<Port> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, port))?;
        socket.connect(server)?;
        socket.set_nonblocking(true)?;
        let (fd, wanted) = (socket.as_raw_fd(), KERNEL_BUFFER);
        for option in [libc::SO_RCVBUF, libc::SO_RCVBUFFORCE, libc::SO_SNDBUF, libc::SO_SNDBUFFORCE] {
            // SAFETY: the value is an int that outlives the call. The forcing options need root; without it they fail, which does no harm.
            unsafe {
                let value = (&raw const wanted).cast();
                libc::setsockopt(fd, libc::SOL_SOCKET, option, value, mem::size_of::<libc::c_int>() as u32);
            }
        }
        Ok(Port { socket, out: Outbox::new(fd), inbox: Inbox::new(fd) })
    }

    /// Its port number.
    pub fn number(&self) -> u16 {
        self.socket.local_addr().map_or(0, |address| address.port())
    }
}

/// Messages for the next `sendmmsg`.
pub struct Outbox {
    fd: RawFd,
    bytes: Vec<u8>,
    ends: Vec<usize>,
    iovecs: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

impl Outbox {
    fn new(fd: RawFd) -> Outbox {
        Outbox { fd, bytes: Vec::new(), ends: Vec::new(), iovecs: Vec::new(), headers: Vec::new() }
    }

    /// Queue one message.
    pub fn put(&mut self, message: &[u8]) {
        self.bytes.extend_from_slice(message);
        self.ends.push(self.bytes.len());
    }

    /// Send the queued messages. Messages that the kernel rejects are lost, as on a network.
    pub fn flush(&mut self) {
        if self.ends.is_empty() {
            return;
        }
        self.iovecs.clear();
        self.headers.clear();
        let mut start = 0;
        for end in &self.ends {
            let base = self.bytes[start..].as_mut_ptr().cast();
            self.iovecs.push(libc::iovec { iov_base: base, iov_len: end - start });
            start = *end;
        }
        for iovec in &mut self.iovecs {
            // SAFETY: all zeros is a valid header: no name, no control data.
            let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
            header.msg_hdr.msg_iov = ptr::from_mut(iovec);
            header.msg_hdr.msg_iovlen = 1;
            self.headers.push(header);
        }
        let mut rest = &mut self.headers[..];
        while !rest.is_empty() {
            let count = rest.len().min(BATCH);
            // SAFETY: `count` headers point at iovecs and bytes of this value, which are not modified during the call.
            let sent = unsafe { libc::sendmmsg(self.fd, rest.as_mut_ptr(), count as u32, 0) };
            if sent > 0 {
                rest = &mut rest[sent as usize..];
                continue;
            }
            match io::Error::last_os_error().kind() {
                io::ErrorKind::WouldBlock => wait(&[self.fd], libc::POLLOUT, 1_000_000),
                io::ErrorKind::Interrupted => {}
                // The ICMP error of an earlier message: it is reported once, then the next call works.
                io::ErrorKind::ConnectionRefused => {}
                _ => rest = &mut rest[1..],
            }
        }
        self.bytes.clear();
        self.ends.clear();
    }
}

/// Buffers for one `recvmmsg`.
pub struct Inbox {
    fd: RawFd,
    buffer: Box<[u8]>,
    _iovecs: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

impl Inbox {
    fn new(fd: RawFd) -> Inbox {
        let mut buffer = vec![0_u8; BATCH * SLOT].into_boxed_slice();
        let mut iovecs: Box<[libc::iovec]> = buffer
            .chunks_mut(SLOT)
            .map(|slot| libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: SLOT })
            .collect();
        let headers = iovecs
            .iter_mut()
            .map(|iovec| {
                // SAFETY: all zeros is a valid header.
                let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
                header.msg_hdr.msg_iov = ptr::from_mut(iovec);
                header.msg_hdr.msg_iovlen = 1;
                header
            })
            .collect();
        Inbox { fd, buffer, _iovecs: iovecs, headers }
    }

    /// Receive one batch at most. Returns the number of messages.
    pub fn fill(&mut self) -> usize {
        // SAFETY: the headers point at this value's own boxes, which do not move.
        let got = unsafe {
            let flags = libc::MSG_DONTWAIT;
            libc::recvmmsg(self.fd, self.headers.as_mut_ptr(), BATCH as u32, flags, ptr::null_mut())
        };
        usize::try_from(got).unwrap_or(0)
    }

    /// Message number `n` of the batch.
    pub fn message(&self, n: usize) -> &[u8] {
        let start = n * SLOT;
        &self.buffer[start..start + self.headers[n].msg_len as usize]
    }

    /// File descriptor to wait on.
    pub fn fd(&self) -> RawFd {
        self.fd
    }
}

/// Wait until one of `fds` is ready, for at most `nanos`.
pub fn wait(fds: &[RawFd], events: libc::c_short, nanos: u64) {
    let mut polled: Vec<libc::pollfd> =
        fds.iter().map(|fd| libc::pollfd { fd: *fd, events, revents: 0 }).collect();
    let timeout =
        libc::timespec { tv_sec: (nanos / 1_000_000_000) as _, tv_nsec: (nanos % 1_000_000_000) as _ };
    // SAFETY: pointer and length are those of the vector; the timeout is on the stack; no signal mask.
    unsafe { libc::ppoll(polled.as_mut_ptr(), polled.len() as _, &raw const timeout, ptr::null()) };
}
