//! Several datagrams per system call: `recvmmsg` and `sendmmsg`.
//!
//! The kernel follows the pointers of a batch only during the call, so they are set anew for each call, to buffers borrowed for it. Values that the
//! kernel writes back (lengths, addresses, control messages) are checked before use.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use libc::{c_int, c_uint, iovec, mmsghdr, socklen_t};

use crate::address::{self, SockaddrBuf};
use crate::control::{self, Control};

/// One received datagram.
#[derive(Debug)]
pub struct Datagram<'a> {
    /// Source address.
    pub from: SocketAddr,
    /// Our address that it was sent to, if the socket reports it ([`ask_destination`](crate::errors::ask_destination)).
    pub to: Option<IpAddr>,
    /// Payload.
    pub bytes: &'a mut [u8],
}

/// The structures that the kernel reads for a batch. Between two calls their pointers are dangling and unused.
struct Headers {
    names: Box<[SockaddrBuf]>,
    controls: Box<[Control]>,
    iovecs: Box<[iovec]>,
    headers: Box<[mmsghdr]>,
}

// SAFETY: the raw pointers are set before each call and dereferenced only during it, by the calling thread.
unsafe impl Send for Headers {}

impl Headers {
    fn new(count: usize) -> Headers {
        // SAFETY: all zeros is a valid value of this plain C struct.
        let header: mmsghdr = unsafe { mem::zeroed() };
        Headers {
            names: vec![SockaddrBuf([0; address::BYTES]); count].into_boxed_slice(),
            controls: vec![Control([0; control::BYTES]); count].into_boxed_slice(),
            iovecs: vec![iovec { iov_base: ptr::null_mut(), iov_len: 0 }; count].into_boxed_slice(),
            headers: vec![header; count].into_boxed_slice(),
        }
    }

    fn count(&self) -> usize {
        self.headers.len()
    }

    /// Point the first `count` headers at their names, controls and the buffers that `part` returns, with the matching lengths.
    fn set_pointers(
        &mut self,
        count: usize,
        mut part: impl FnMut(usize, &mut SockaddrBuf, &mut Control) -> Part,
    ) -> *mut mmsghdr {
        for (n, iovec) in self.iovecs.iter_mut().enumerate().take(count) {
            let (name, control, header) = (&mut self.names[n], &mut self.controls[n], &mut self.headers[n]);
            let part = part(n, name, control);
            *iovec = libc::iovec { iov_base: part.base.cast(), iov_len: part.len };
            header.msg_len = 0;
            let header = &mut header.msg_hdr;
            header.msg_name = name.0.as_mut_ptr().cast();
            header.msg_namelen = part.name_len;
            header.msg_iov = iovec;
            header.msg_iovlen = 1;
            header.msg_control =
                if part.control_len == 0 { ptr::null_mut() } else { control.0.as_mut_ptr().cast() };
            header.msg_controllen = part.control_len as _;
            header.msg_flags = 0;
        }
        self.headers.as_mut_ptr()
    }
}

/// Buffers and lengths of one datagram of a batch.
struct Part {
    base: *mut u8,
    len: usize,
    name_len: socklen_t,
    control_len: usize,
}

/// Buffers for receiving a batch of datagrams.
pub struct Receiver {
    slot: usize,
    buffer: Box<[u8]>,
    headers: Headers,
    filled: usize,
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").field("count", &self.count()).finish_non_exhaustive()
    }
}

impl Receiver {
    /// Buffers for `count` datagrams of at most `slot` bytes; longer ones are dropped. Pages that are never written use no memory.
    pub fn new(count: usize, slot: usize) -> Receiver {
        let buffer = vec![0; count * slot].into_boxed_slice();
        Receiver { slot, buffer, headers: Headers::new(count), filled: 0 }
    }

    fn prepare(&mut self) -> *mut mmsghdr {
        let (slot, buffer) = (self.slot, self.buffer.as_mut_ptr());
        self.headers.set_pointers(self.headers.count(), |n, _, _| Part {
            // SAFETY: the buffer has as many slots as there are headers.
            base: unsafe { buffer.add(n * slot) },
            len: slot,
            name_len: address::BYTES as socklen_t,
            control_len: control::BYTES,
        })
    }

    /// Receive at most `count` datagrams without blocking; 0 if there are none.
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.filled = 0;
        let (count, headers) = (self.count() as c_uint, self.prepare());
        // SAFETY: every header points at live buffers of this value with the given lengths; nothing else accesses them during the call.
        let got = unsafe {
            libc::recvmmsg(socket.as_raw_fd(), headers, count, libc::MSG_DONTWAIT as _, ptr::null_mut())
        };
        self.filled = count_or_zero(got)?;
        Ok(self.filled)
    }

    /// Datagram `n` of the last [`Receiver::receive`]; `None` if it was truncated or has no valid source address.
    pub fn datagram(&mut self, n: usize) -> Option<Datagram<'_>> {
        if n >= self.filled {
            return None;
        }
        let mmsghdr { msg_hdr, msg_len } = &self.headers.headers[n];
        if msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
            return None;
        }
        let from = address::read(self.headers.names[n].0.get(..msg_hdr.msg_namelen as usize)?)?;
        #[allow(clippy::unnecessary_cast)] // the type is narrower with musl
        let control_len = msg_hdr.msg_controllen as usize;
        let to = control::destination(self.headers.controls[n].0.get(..control_len)?);
        let (start, len) = (n * self.slot, (*msg_len as usize).min(self.slot));
        Some(Datagram { from, to, bytes: self.buffer.get_mut(start..start + len)? })
    }

    /// Capacity, in datagrams.
    pub fn count(&self) -> usize {
        self.headers.count()
    }
}

/// A datagram to send.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Destination address.
    pub to: SocketAddr,
    /// Our source address; `None` lets the kernel choose.
    pub from: Option<IpAddr>,
    /// Payload.
    pub bytes: &'a [u8],
}

/// Buffers for sending a batch of datagrams.
pub struct Sender {
    headers: Headers,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").field("count", &self.count()).finish_non_exhaustive()
    }
}

impl Sender {
    /// Buffers for `count` datagrams.
    pub fn new(count: usize) -> Sender {
        Sender { headers: Headers::new(count) }
    }

    /// Capacity, in datagrams.
    pub fn count(&self) -> usize {
        self.headers.count()
    }

    fn prepare(&mut self, batch: &[Outgoing<'_>]) -> *mut mmsghdr {
        self.headers.set_pointers(batch.len(), |n, name, control| {
            let outgoing = &batch[n];
            Part {
                base: outgoing.bytes.as_ptr().cast_mut(), // the kernel only reads it when it sends
                len: outgoing.bytes.len(),
                name_len: address::write(outgoing.to, &mut name.0),
                control_len: outgoing.from.map_or(0, |from| control::origin(from, control)),
            }
        })
    }

    /// Send as many datagrams of `batch` as the kernel accepts without blocking; returns their number. An error is that of the first datagram.
    pub fn send(&mut self, socket: BorrowedFd<'_>, batch: &[Outgoing<'_>]) -> io::Result<usize> {
        let batch = batch.get(..self.count()).unwrap_or(batch);
        let headers = self.prepare(batch);
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: as many headers as the batch has point at live names and controls of this value, and at the bytes of `batch`, borrowed for this
        // call.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers, batch.len() as c_uint, flags as _) };
        count_or_zero(sent)
    }
}

/// The count that a system call returned; 0 if it would block or was interrupted.
fn count_or_zero(result: c_int) -> io::Result<usize> {
    if result >= 0 {
        return Ok(result as usize);
    }
    let error = io::Error::last_os_error();
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(0),
        _ => Err(error),
    }
}

#[cfg(test)]
#[allow(clippy::unnecessary_cast)] // lengths are narrower with musl
mod tests {
    use super::*;

    /// Writes a datagram to header `n`, as `recvmmsg` does.
    fn kernel_receives(headers: *mut mmsghdr, n: usize, from: SocketAddr, control: &[u8], bytes: &[u8]) {
        // SAFETY: `prepare` set up the headers, and writes are limited to the lengths that they give.
        unsafe {
            let header = headers.add(n);
            let hdr = &raw mut (*header).msg_hdr;
            let mut name = [0; address::BYTES];
            (*hdr).msg_namelen = address::write(from, &mut name).min((*hdr).msg_namelen);
            (*hdr).msg_name.cast::<u8>().copy_from_nonoverlapping(name.as_ptr(), (*hdr).msg_namelen as usize);
            (*hdr).msg_controllen = control.len().min((*hdr).msg_controllen as usize) as _;
            let room = (*hdr).msg_control.cast::<u8>();
            room.copy_from_nonoverlapping(control.as_ptr(), (*hdr).msg_controllen as usize);
            let iov = *(*hdr).msg_iov;
            let len = bytes.len().min(iov.iov_len);
            iov.iov_base.cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), len);
            (*hdr).msg_flags = if len < bytes.len() { libc::MSG_TRUNC } else { 0 };
            (*header).msg_len = len as c_uint;
        }
    }

    /// Reads the datagram of header `n`, as `sendmmsg` does.
    fn kernel_sends(headers: *mut mmsghdr, n: usize) -> (Option<SocketAddr>, Vec<u8>, Vec<u8>) {
        // SAFETY: `prepare` set up the headers, with these lengths.
        unsafe {
            let hdr = &raw const (*headers.add(n)).msg_hdr;
            let read = |start: *const u8, len: usize| match len {
                0 => Vec::new(),
                _ => std::slice::from_raw_parts(start, len).to_vec(),
            };
            let name = read((*hdr).msg_name.cast(), (*hdr).msg_namelen as usize);
            let control = read((*hdr).msg_control.cast(), (*hdr).msg_controllen as usize);
            let iov = *(*hdr).msg_iov;
            (address::read(&name), control, read(iov.iov_base.cast(), iov.iov_len))
        }
    }

    #[test]
    fn each_datagram_of_a_batch_has_its_own_slot_and_too_long_ones_are_dropped() {
        let mut receiver = Receiver::new(4, 100);
        for round in 0..3_u8 {
            let headers = receiver.prepare();
            for n in 0..4 {
                let from: SocketAddr = format!("192.0.2.{n}:506{round}").parse().unwrap();
                let to = control::tests::pktinfo_of(format!("198.51.100.{n}").parse().unwrap());
                kernel_receives(headers, n, from, &to, &vec![round; if n == 2 { 101 } else { 97 + n }]);
            }
            receiver.filled = 4;
            let mut moved = Box::new(receiver);
            for n in [0, 1, 3] {
                let got = moved.datagram(n).unwrap();
                assert_eq!(got.from.to_string(), format!("192.0.2.{n}:506{round}"));
                assert_eq!(got.to.unwrap().to_string(), format!("198.51.100.{n}"));
                assert_eq!(got.bytes, vec![round; 97 + n]);
                got.bytes.fill(0xff);
            }
            assert!(moved.datagram(2).is_none() && moved.datagram(4).is_none());
            receiver = *moved;
        }
    }

    #[test]
    fn each_datagram_of_a_batch_goes_to_its_own_peer_from_its_own_address() {
        let mut sender = Sender::new(3);
        for round in 0..3_u8 {
            let texts: Vec<Vec<u8>> = (0..3).map(|n| vec![round; 10 * n]).collect();
            let from = |n: usize| (n != 1).then(|| IpAddr::from([198, 51, 100, n as u8]));
            let to = |n: usize| SocketAddr::from(([192, 0, 2, n as u8], 5060 + u16::from(round)));
            let batch: Vec<Outgoing<'_>> = texts
                .iter()
                .enumerate()
                .map(|(n, bytes)| Outgoing { to: to(n), from: from(n), bytes })
                .collect();
            let headers = sender.prepare(&batch);
            for (n, text) in texts.iter().enumerate() {
                let mut control = Control([0; control::BYTES]);
                let len = from(n).map_or(0, |from| control::origin(from, &mut control));
                assert_eq!(kernel_sends(headers, n), (Some(to(n)), control.0[..len].to_vec(), text.clone()));
            }
            sender = *Box::new(sender);
        }
    }
}

#[cfg(all(test, not(miri)))] // Miri supports neither of the two system calls
mod socket_tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;
    use crate::errors::ask_destination;

    #[test]
    fn a_batch_is_sent_and_received_with_both_addresses() {
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
