//! Packet I/O with io_uring: every socket of an open stream has one multishot receive request, and all packets to send are submitted in the
//! system call that waits for the next ones.
//!
//! Memory that the kernel reads or writes is in [`Buffers`] and in `recv_header`, which never move and outlive the ring: [`IoUringIo`]'s `drop`
//! cancels every request first. A buffer belongs either to the kernel, to one [`Packet`], or to a send that was not submitted yet.
//!
//! A persistent request (polling a socket or the waker, cancelling a poll) is never dropped: if the kernel does not accept it, it is retried in
//! the next iteration. A stream without a receive request would receive nothing.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use udp::address;
use udp::memory::KernelMemory;
use udp::provided::Buffers;

use super::packet::{Arrival, Packet, Token};
use super::packet_io::Losses;
use super::socket::MediaSocket;

/// Receive buffers; further packets wait in their sockets. A power of two.
const BUFFERS: u16 = 512;
/// Bytes that the kernel writes before the payload: four lengths, and an address with room for IPv6.
const LENGTHS: usize = 16;
const ADDRESS: usize = address::BYTES;
const HEADER: usize = LENGTHS + ADDRESS;
/// Bytes of a buffer. Longer packets are not voice: the engine refuses them.
const BUFFER: usize = HEADER + 2_048;
/// Entries of the submission and of the completion queue.
const SQ_ENTRIES: u32 = 1_024;
const CQ_ENTRIES: u32 = 4_096;
/// Id of our only buffer group.
const GROUP: u16 = 0;
/// User data of cancel requests; their completions are ignored.
const CANCEL_DATA: u64 = u64::MAX - 1;
/// User data of sends; only failed ones have a completion. An unsent packet is lost, as on any network.
const SEND_DATA: u64 = u64::MAX - 2;
/// A number of completions that is never reached: the wait ends by its timeout.
const NEVER_REACHED: usize = CQ_ENTRIES as usize;
/// Longest wait while requests could not be submitted.
const RETRY_INTERVAL: Duration = Duration::from_millis(5);

/// Packet I/O of a worker through io_uring.
pub(super) struct IoUringIo {
    ring: IoUring,
    buffers: Buffers,
    /// Persistent requests that the kernel has not accepted yet, in order.
    backlog: VecDeque<squeue::Entry>,
    /// Buffers of sends that the next wait submits.
    sending: Vec<u16>,
    waker: i32,
    pub(super) losses: Losses,
    /// Header of every receive request; the kernel reads it when a request starts or continues.
    recv_header: KernelMemory<libc::msghdr>,
}

// SAFETY: the pointers in `recv_header` and in the backlog are null or point into memory owned by this value; only the kernel has copies of them.
unsafe impl Send for IoUringIo {}

impl IoUringIo {
    /// A ring that is disabled until [`IoUringIo::start`]. Fails if the kernel is older than 6.1 or forbids io_uring.
    pub(super) fn new(waker: &impl AsFd) -> io::Result<IoUringIo> {
        let ring = IoUring::builder()
            .setup_cqsize(CQ_ENTRIES)
            .setup_single_issuer()
            .setup_submit_all()
            .setup_defer_taskrun()
            .setup_r_disabled()
            .build(SQ_ENTRIES)?;
        let buffers = Buffers::new(BUFFERS, BUFFER);
        // SAFETY: the pages live as long as the ring, which `drop` empties before they go.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(buffers.list(), buffers.count(), GROUP, 0)?;
        }
        // SAFETY: all zeros is a valid value of this plain C struct: no address, no vectors, no control messages.
        let mut recv_header: libc::msghdr = unsafe { std::mem::zeroed() };
        recv_header.msg_namelen = ADDRESS as _;
        let recv_header = KernelMemory::new(recv_header, 1);
        let waker = waker.as_fd().as_raw_fd();
        let sending = Vec::with_capacity(usize::from(BUFFERS));
        let (backlog, losses) = (VecDeque::new(), Losses::default());
        Ok(IoUringIo { ring, buffers, backlog, sending, waker, losses, recv_header })
    }

    /// Enable the ring. From here on only the calling thread may use it.
    pub(super) fn start(&mut self) -> io::Result<()> {
        self.ring.submitter().register_enable_rings()?;
        for id in 0..BUFFERS {
            self.buffers.give(id);
        }
        self.poll_waker();
        Ok(())
    }

    fn poll_waker(&mut self) {
        let request = opcode::PollAdd::new(Fd(self.waker), libc::POLLIN as u32).multi(true).build();
        self.submit_persistent(request.user_data(Token::WAKER.0));
    }

    pub(super) fn register(&mut self, token: Token, socket: &MediaSocket) {
        let socket = Fd(socket.as_fd().as_raw_fd());
        let request = opcode::RecvMsgMulti::new(socket, self.recv_header.as_ptr(), GROUP).build();
        self.submit_persistent(request.user_data(token.0));
    }

    pub(super) fn deregister(&mut self, token: Token) {
        self.submit_persistent(opcode::AsyncCancel::new(token.0).build().user_data(CANCEL_DATA));
    }

    /// Send a packet from its buffer, with the next [`IoUringIo::wait`].
    pub(super) fn forward(&mut self, packet: Packet, len: usize, socket: &MediaSocket, to: SocketAddr) {
        let (address, payload) = self.buffers.bytes(packet.buffer).split_at_mut(HEADER);
        let Some(room) = address.get_mut(LENGTHS..).and_then(|room| room.first_chunk_mut()) else {
            return self.release(packet);
        };
        let address_len = address::write(to, room);
        let request = opcode::Send::new(
            Fd(socket.as_fd().as_raw_fd()),
            payload.as_ptr(),
            len.min(payload.len()) as u32,
        )
        .flags(libc::MSG_DONTWAIT)
        .dest_addr(room.as_ptr().cast())
        .dest_addr_len(address_len)
        .build()
        .flags(squeue::Flags::SKIP_SUCCESS);
        match self.submit(request.user_data(SEND_DATA)) {
            Ok(()) => self.sending.push(packet.buffer),
            Err(_) => {
                self.losses.unsent += 1;
                self.release(packet);
            }
        }
    }

    pub(super) fn release(&mut self, packet: Packet) {
        self.buffers.give(packet.buffer);
    }

    pub(super) fn bytes(&mut self, packet: &Packet) -> &mut [u8] {
        self.buffers.bytes(packet.buffer).get_mut(HEADER..HEADER + packet.len).unwrap_or_default()
    }

    /// Submit a request; an error if the kernel does not accept the earlier ones.
    fn submit(&mut self, request: squeue::Entry) -> io::Result<()> {
        // SAFETY: the request points to `recv_header` and buffers of this value, and to descriptors that stay open as long as the worker lives.
        while unsafe { self.ring.submission().push(&request) }.is_err() {
            match self.ring.submit() {
                Ok(0) => return Err(io::ErrorKind::WouldBlock.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Submit a persistent request, after those of the backlog.
    fn submit_persistent(&mut self, request: squeue::Entry) {
        if self.backlog.is_empty() {
            let Err(error) = self.submit(request.clone()) else { return };
            tracing::warn!(%error, "io_uring accepts no more requests; they are retried");
        }
        self.backlog.push_back(request);
    }

    /// Retry the requests of the backlog as far as the kernel accepts them.
    fn retry_backlog(&mut self) {
        while let Some(request) = self.backlog.pop_front() {
            if self.submit(request.clone()).is_err() {
                self.backlog.push_front(request);
                return;
            }
        }
    }

    /// Submit all sends and wait: for `gather`, or for the first event until `timeout`.
    pub(super) fn wait(&mut self, gather: Option<Duration>, timeout: Option<Duration>) -> io::Result<usize> {
        self.retry_backlog();
        let want = if gather.is_some() { NEVER_REACHED } else { 1 };
        let mut until = gather.or(timeout);
        if !self.backlog.is_empty() {
            until = Some(until.map_or(RETRY_INTERVAL, |until| until.min(RETRY_INTERVAL)));
        }
        let until = until.map(Timespec::from);
        let entered = match &until {
            Some(until) => self.ring.submitter().submit_with_args(want, &SubmitArgs::new().timespec(until)),
            None => self.ring.submitter().submit_with_args(want, &SubmitArgs::new()),
        };
        match entered {
            Ok(_) => {}
            Err(error) if matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY)) => {}
            // No memory for the requests: handle the completions, and retry later.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOMEM)) => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error),
        }
        // A non-blocking send completes while it is submitted, so its buffer is free. Entries that the kernel has not taken still use theirs.
        if self.ring.submission().is_empty() {
            for id in self.sending.drain(..) {
                self.buffers.give(id);
            }
        }
        Ok(self.ring.completion().len())
    }

    /// The next completion.
    pub(super) fn next(&mut self) -> Option<Arrival> {
        loop {
            let completion = self.ring.completion().next()?;
            let token = Token(completion.user_data());
            let more = cqueue::more(completion.flags());
            if token == Token::WAKER {
                if !more {
                    self.poll_waker();
                }
                return Some(Arrival::Waker);
            }
            let buffer = cqueue::buffer_select(completion.flags());
            match token.0 {
                CANCEL_DATA => continue,
                SEND_DATA => {
                    self.losses.unsent += 1;
                    continue;
                }
                _ => {}
            }
            let packet = buffer.and_then(|buffer| self.parse_packet(token, buffer, completion.result()));
            let rearm =
                !more && !matches!(-completion.result(), libc::ECANCELED | libc::EBADF | libc::EINVAL);
            match packet {
                Some(packet) => return Some(Arrival::Packet(packet, rearm)),
                None if rearm => return Some(Arrival::Rearm(token)),
                None => {}
            }
        }
    }

    fn parse_packet(&mut self, token: Token, buffer: u16, written: i32) -> Option<Packet> {
        let bytes = self.buffers.bytes(buffer);
        let number =
            |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes);
        let truncated = number(12) & libc::MSG_TRUNC as u32 != 0;
        let len = usize::try_from(written).ok().and_then(|written| written.checked_sub(HEADER));
        let from = address::read(bytes.get(LENGTHS..HEADER).unwrap_or_default()).map(address::canonical);
        match (len, from) {
            (Some(len), Some(from)) if !truncated => {
                Some(Packet { token, from, buffer, len: len.min(BUFFER - HEADER) })
            }
            _ => {
                self.losses.oversized += u64::from(truncated);
                self.buffers.give(buffer);
                None
            }
        }
    }
}

impl Drop for IoUringIo {
    fn drop(&mut self) {
        // "Nothing to cancel" is reported as an error too. After any other error requests remain, so their memory must stay.
        match self.ring.submitter().register_sync_cancel(None, CancelBuilder::any()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => {
                self.buffers.leak();
                self.recv_header.leak();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use ::media::{Component, StreamId};
    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

    /// A ring that is not enabled accepts requests until its queue is full and refuses further ones, like one whose kernel has no memory.
    #[test]
    fn refused_persistent_requests_are_retried_and_refused_packets_are_dropped() {
        let waker = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap();
        let mut ring = IoUringIo::new(&waker).unwrap();
        let token = |n: u32, channel| Token::new(StreamId(n), n as usize, channel);
        for n in 0..SQ_ENTRIES {
            ring.deregister(token(n, Component::Rtp));
        }
        assert!(ring.backlog.is_empty());
        let bound = || {
            let address = SocketAddr::from(([127, 0, 0, 1], 0));
            MediaSocket::bind(address).unwrap()
        };
        let address =
            |socket: &MediaSocket| SocketAddr::try_from(rustix::net::getsockname(socket).unwrap()).unwrap();
        let (active, cancelled) = (bound(), bound());
        let (first, second) = (token(7, Component::Rtp), token(8, Component::Rtcp));
        ring.register(first, &active);
        ring.register(second, &cancelled);
        ring.deregister(second);
        assert_eq!(ring.backlog.len(), 3, "no persistent request is dropped");
        let packet = Packet { token: first, from: address(&active), buffer: 0, len: 4 };
        ring.forward(packet, 4, &active, address(&active));
        assert_eq!(
            (ring.losses.unsent, ring.sending.len()),
            (1, 0),
            "a delayed packet is useless: it is dropped"
        );

        ring.start().unwrap();
        let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut received = Vec::new();
        for turn in 0..100_u8 {
            for socket in [&cancelled, &active] {
                phone.send_to(&[turn; 12], address(socket)).unwrap();
            }
            ring.wait(None, Some(Duration::from_millis(20))).unwrap();
            while let Some(arrival) = ring.next() {
                if let Arrival::Packet(packet, _) = arrival {
                    received.push(packet.token);
                    ring.release(packet);
                }
            }
            if received.len() >= 20 {
                break;
            }
        }
        assert!(ring.backlog.is_empty());
        // A receive request and its cancellation stay in order: a packet or two may arrive between them.
        let others = received.iter().filter(|token| **token == second).count();
        assert!(received.len() >= 20 && others <= 2, "{others} of {}", received.len());
        // The request for the waker had to wait as well.
        rustix::io::write(&waker, &1_u64.to_ne_bytes()).unwrap();
        ring.wait(None, Some(Duration::from_secs(5))).unwrap();
        let mut woken = false;
        while let Some(arrival) = ring.next() {
            woken |= matches!(arrival, Arrival::Waker);
        }
        assert!(woken);
    }
}
