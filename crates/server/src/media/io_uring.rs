//! Packets through io_uring: every socket of an open stream has one lasting order to receive, and all that a turn sends goes to the kernel
//! in the call that waits for the next packets.
//!
//! What the kernel may write to or read from lies in [`Buffers`] and in `asked`, which move nowhere and outlive the ring: [`IoUringIo`]'s `drop` takes
//! every order back first. A buffer belongs either to the kernel, to one [`Packet`], or to a send that was not handed over yet.
//!
//! An order that lasts (a socket or the bell to be watched, a watch to be cancelled) is never given up: where the kernel does not take it, it waits
//! for the next turn. A stream that is not watched would be deaf for ever.
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

/// Packets that can lie with us at once; more wait in their sockets. A power of two.
const BUFFERS: u16 = 512;
/// What the kernel writes before the payload: four lengths, and an address with room for IPv6.
const LENGTHS: usize = 16;
const ADDRESS: usize = address::BYTES;
const HEAD: usize = LENGTHS + ADDRESS;
/// Longer packets are no voice: the engine refuses them.
const BUFFER: usize = HEAD + 2_048;
/// Entries on the way to the kernel, and back.
const ORDERS: u32 = 1_024;
const ANSWERS: u32 = 4_096;
/// The group of our buffers, the only one.
const GROUP: u16 = 0;
/// Answers to cancelling: nobody asks for them.
const CANCELLED: u64 = u64::MAX - 1;
/// Answers to sends that failed; those that succeed answer nothing. What is not sent is lost, as on any network.
const UNSENT: u64 = u64::MAX - 2;
/// Nobody waits for so many packets: a full turn ends by its time.
const NEVER: usize = ANSWERS as usize;
/// How long a turn lasts at most while orders wait for the kernel to take them.
const AGAIN: Duration = Duration::from_millis(5);

/// See the module.
pub(super) struct IoUringIo {
    ring: IoUring,
    buffers: Buffers,
    /// Lasting orders that the kernel has not taken yet, in their order.
    waiting: VecDeque<squeue::Entry>,
    /// Of sends that the next call hands over.
    held: Vec<u16>,
    waker: i32,
    pub(super) losses: Losses,
    /// What each order to receive asks for; the kernel reads it when the order begins and whenever it goes on.
    asked: KernelMemory<libc::msghdr>,
}

// SAFETY: the pointers in `asked` and in waiting orders are null, or point to what belongs to this value; nothing else knows them but the kernel.
unsafe impl Send for IoUringIo {}

impl IoUringIo {
    /// A ring that rests until [`IoUringIo::begin`]; an error where the kernel is older than 6.1, or forbids it.
    pub(super) fn new(waker: &impl AsFd) -> io::Result<IoUringIo> {
        let ring = IoUring::builder()
            .setup_cqsize(ANSWERS)
            .setup_single_issuer()
            .setup_submit_all()
            .setup_defer_taskrun()
            .setup_r_disabled()
            .build(ORDERS)?;
        let buffers = Buffers::new(BUFFERS, BUFFER);
        // SAFETY: the pages live as long as the ring, which `drop` empties before they go.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(buffers.list(), buffers.count(), GROUP, 0)?;
        }
        // SAFETY: all zeros is a valid value of this plain C struct: no address, no vectors, no control messages.
        let mut asked: libc::msghdr = unsafe { std::mem::zeroed() };
        asked.msg_namelen = ADDRESS as _;
        let asked = KernelMemory::new(asked, 1);
        let waker = waker.as_fd().as_raw_fd();
        let held = Vec::with_capacity(usize::from(BUFFERS));
        let (waiting, losses) = (VecDeque::new(), Losses::default());
        Ok(IoUringIo { ring, buffers, waiting, held, waker, losses, asked })
    }

    /// From here on only the calling thread uses it.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        self.ring.submitter().register_enable_rings()?;
        for id in 0..BUFFERS {
            self.buffers.give(id);
        }
        self.listen_for_the_bell();
        Ok(())
    }

    fn listen_for_the_bell(&mut self) {
        let order = opcode::PollAdd::new(Fd(self.waker), libc::POLLIN as u32).multi(true).build();
        self.order_lasting(order.user_data(Token::BELL.0));
    }

    pub(super) fn watch(&mut self, token: Token, socket: &MediaSocket) {
        let socket = Fd(socket.as_fd().as_raw_fd());
        let order = opcode::RecvMsgMulti::new(socket, self.asked.as_ptr(), GROUP).build();
        self.order_lasting(order.user_data(token.0));
    }

    pub(super) fn forget(&mut self, token: Token) {
        self.order_lasting(opcode::AsyncCancel::new(token.0).build().user_data(CANCELLED));
    }

    /// Send what a packet has become, from its buffer, with the next [`IoUringIo::wait`].
    pub(super) fn forward(&mut self, packet: Packet, len: usize, socket: &MediaSocket, to: SocketAddr) {
        let (address, payload) = self.buffers.bytes(packet.buffer).split_at_mut(HEAD);
        let Some(room) = address.get_mut(LENGTHS..).and_then(|room| room.first_chunk_mut()) else {
            return self.release(packet);
        };
        let address_len = address::write(to, room);
        let order = opcode::Send::new(
            Fd(socket.as_fd().as_raw_fd()),
            payload.as_ptr(),
            len.min(payload.len()) as u32,
        )
        .flags(libc::MSG_DONTWAIT)
        .dest_addr(room.as_ptr().cast())
        .dest_addr_len(address_len)
        .build()
        .flags(squeue::Flags::SKIP_SUCCESS);
        match self.order(order.user_data(UNSENT)) {
            Ok(()) => self.held.push(packet.buffer),
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
        self.buffers.bytes(packet.buffer).get_mut(HEAD..HEAD + packet.len).unwrap_or_default()
    }

    /// Order something; an error where the kernel does not take what was ordered before.
    fn order(&mut self, order: squeue::Entry) -> io::Result<()> {
        // SAFETY: what the order points at are `asked` and buffers of this value, and descriptors that stay open as long as the worker lives.
        while unsafe { self.ring.submission().push(&order) }.is_err() {
            match self.ring.submit() {
                Ok(0) => return Err(io::ErrorKind::WouldBlock.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Order something that must come about, after those that wait.
    fn order_lasting(&mut self, order: squeue::Entry) {
        if self.waiting.is_empty() {
            let Err(error) = self.order(order.clone()) else { return };
            tracing::warn!(%error, "the kernel takes no more orders for packets: they are repeated");
        }
        self.waiting.push_back(order);
    }

    /// Repeat the orders that wait, as far as the kernel takes them.
    fn repeat(&mut self) {
        while let Some(order) = self.waiting.pop_front() {
            if self.order(order.clone()).is_err() {
                self.waiting.push_front(order);
                return;
            }
        }
    }

    /// Hand over what is to be sent, and wait: `gather` for as long as it says, else for the first arrival or the end of `timeout`.
    pub(super) fn wait(&mut self, gather: Option<Duration>, timeout: Option<Duration>) -> io::Result<usize> {
        self.repeat();
        let want = if gather.is_some() { NEVER } else { 1 };
        let mut until = gather.or(timeout);
        if !self.waiting.is_empty() {
            until = Some(until.map_or(AGAIN, |until| until.min(AGAIN)));
        }
        let until = until.map(Timespec::from);
        let entered = match &until {
            Some(until) => self.ring.submitter().submit_with_args(want, &SubmitArgs::new().timespec(until)),
            None => self.ring.submitter().submit_with_args(want, &SubmitArgs::new()),
        };
        match entered {
            Ok(_) => {}
            Err(error) if matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY)) => {}
            // No memory for what is ordered: what has arrived is looked at, and the rest tried again.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOMEM)) => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error),
        }
        // A datagram that must not wait is sent, or given up, while it is handed over. What the kernel has not taken yet it still reads.
        if self.ring.submission().is_empty() {
            for id in self.held.drain(..) {
                self.buffers.give(id);
            }
        }
        Ok(self.ring.completion().len())
    }

    /// The next of what has arrived.
    pub(super) fn next(&mut self) -> Option<Arrival> {
        loop {
            let answer = self.ring.completion().next()?;
            let token = Token(answer.user_data());
            let goes_on = cqueue::more(answer.flags());
            if token == Token::BELL {
                if !goes_on {
                    self.listen_for_the_bell();
                }
                return Some(Arrival::Bell);
            }
            let buffer = cqueue::buffer_select(answer.flags());
            match token.0 {
                CANCELLED => continue,
                UNSENT => {
                    self.losses.unsent += 1;
                    continue;
                }
                _ => {}
            }
            let packet = buffer.and_then(|buffer| self.arrived(token, buffer, answer.result()));
            let ended = !goes_on && !matches!(-answer.result(), libc::ECANCELED | libc::EBADF | libc::EINVAL);
            match packet {
                Some(packet) => return Some(Arrival::Packet(packet, ended)),
                None if ended => return Some(Arrival::Ended(token)),
                None => {}
            }
        }
    }

    fn arrived(&mut self, token: Token, buffer: u16, written: i32) -> Option<Packet> {
        let bytes = self.buffers.bytes(buffer);
        let number =
            |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes);
        let truncated = number(12) & libc::MSG_TRUNC as u32 != 0;
        let len = usize::try_from(written).ok().and_then(|written| written.checked_sub(HEAD));
        let from = address::read(bytes.get(LENGTHS..HEAD).unwrap_or_default()).map(address::canonical);
        match (len, from) {
            (Some(len), Some(from)) if !truncated => {
                Some(Packet { token, from, buffer, len: len.min(BUFFER - HEAD) })
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
        // Nothing to cancel is an error too; any other leaves orders behind, and their memory must then stay.
        match self.ring.submitter().register_sync_cancel(None, CancelBuilder::any()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => {
                self.buffers.leak();
                self.asked.leak();
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

    /// A ring that is not begun takes what fits its queue and refuses the rest, as one whose kernel has no memory does.
    #[test]
    fn orders_that_the_kernel_does_not_take_are_repeated_until_it_does_and_packets_are_given_up() {
        let waker = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap();
        let mut ring = IoUringIo::new(&waker).unwrap();
        let token = |n: u32, channel| Token::new(StreamId(n), n as usize, channel);
        for n in 0..ORDERS {
            ring.forget(token(n, Component::Rtp));
        }
        assert!(ring.waiting.is_empty());
        let bound = || {
            let address = SocketAddr::from(([127, 0, 0, 1], 0));
            MediaSocket::bind(address).unwrap()
        };
        let address =
            |socket: &MediaSocket| SocketAddr::try_from(rustix::net::getsockname(socket).unwrap()).unwrap();
        let (heard, cancelled) = (bound(), bound());
        let (first, second) = (token(7, Component::Rtp), token(8, Component::Rtcp));
        ring.watch(first, &heard);
        ring.watch(second, &cancelled);
        ring.forget(second);
        assert_eq!(ring.waiting.len(), 3, "nothing lasting is given up");
        let packet = Packet { token: first, from: address(&heard), buffer: 0, len: 4 };
        ring.forward(packet, 4, &heard, address(&heard));
        assert_eq!((ring.losses.unsent, ring.held.len()), (1, 0), "a packet is late soon: it is lost");

        ring.begin().unwrap();
        let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut heard_by = Vec::new();
        for turn in 0..100_u8 {
            for socket in [&cancelled, &heard] {
                phone.send_to(&[turn; 12], address(socket)).unwrap();
            }
            ring.wait(None, Some(Duration::from_millis(20))).unwrap();
            while let Some(arrival) = ring.next() {
                if let Arrival::Packet(packet, _) = arrival {
                    heard_by.push(packet.token);
                    ring.release(packet);
                }
            }
            if heard_by.len() >= 20 {
                break;
            }
        }
        assert!(ring.waiting.is_empty());
        // The order of a watch and of what cancels it stays: a packet or two may come between.
        let others = heard_by.iter().filter(|token| **token == second).count();
        assert!(heard_by.len() >= 20 && others <= 2, "{others} of {}", heard_by.len());
        // The bell's watch had to wait as well.
        rustix::io::write(&waker, &1_u64.to_ne_bytes()).unwrap();
        ring.wait(None, Some(Duration::from_secs(5))).unwrap();
        let mut rung = false;
        while let Some(arrival) = ring.next() {
            rung |= matches!(arrival, Arrival::Bell);
        }
        assert!(rung);
    }
}
