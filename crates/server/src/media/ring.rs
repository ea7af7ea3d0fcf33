//! Packets through io_uring: every socket of an open stream has one lasting order to receive, and all that a turn sends goes to the kernel
//! in the call that waits for the next packets.
//!
//! What the kernel may write to or read from lies in [`Buffers`], which is never resized, moves nowhere and outlives the ring: [`Ring`]'s
//! `drop` takes every order back first. A buffer belongs either to the kernel, to one [`Packet`], or to a send that was not handed over yet.
#![allow(unsafe_code)]

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use io_uring::types::{BufRingEntry, CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use super::packet::{Arrival, Packet, Token};
use super::packets::Losses;
use super::socket::MediaSocket;

/// Packets that can lie with us at once; more wait in their sockets. A power of two.
const BUFFERS: u16 = 512;
/// What the kernel writes before the payload: four lengths, and an address with room for IPv6.
const LENGTHS: usize = 16;
const ADDRESS: usize = 28;
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

/// See the module.
pub(super) struct Ring {
    ring: IoUring,
    buffers: Buffers,
    /// Of sends that the next call hands over.
    held: Vec<u16>,
    bell: i32,
    pub(super) losses: Losses,
    /// What each order to receive asks for; the kernel reads it when the order begins and whenever it goes on.
    asked: Box<libc::msghdr>,
}

// SAFETY: the pointers in `buffers` and `asked` point into boxes that move with the value; nothing else knows them but the kernel.
unsafe impl Send for Ring {}

impl Ring {
    /// A ring that rests until [`Ring::begin`]; an error where the kernel is older than 6.1, or forbids it.
    pub(super) fn new(bell: &impl AsFd) -> io::Result<Ring> {
        let ring = IoUring::builder()
            .setup_cqsize(ANSWERS)
            .setup_single_issuer()
            .setup_submit_all()
            .setup_defer_taskrun()
            .setup_r_disabled()
            .build(ORDERS)?;
        let buffers = Buffers::new();
        // SAFETY: the pages live as long as the ring, which `drop` empties before they go.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(buffers.entries() as u64, BUFFERS, GROUP, 0)?;
        }
        // SAFETY: all zeros is a valid value of this plain C struct: no address, no vectors, no control messages.
        let mut asked: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        asked.msg_namelen = ADDRESS as _;
        let bell = bell.as_fd().as_raw_fd();
        let held = Vec::with_capacity(usize::from(BUFFERS));
        Ok(Ring { ring, buffers, held, bell, losses: Losses::default(), asked })
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
        let order = opcode::PollAdd::new(Fd(self.bell), libc::POLLIN as u32).multi(true).build();
        self.order(order.user_data(Token::BELL.0));
    }

    pub(super) fn watch(&mut self, token: Token, socket: &MediaSocket) {
        let socket = Fd(socket.as_fd().as_raw_fd());
        let order = opcode::RecvMsgMulti::new(socket, &raw const *self.asked, GROUP).build();
        self.order(order.user_data(token.0));
    }

    pub(super) fn forget(&mut self, token: Token) {
        self.order(opcode::AsyncCancel::new(token.0).build().user_data(CANCELLED));
    }

    /// Send what a packet has become, from its buffer, with the next [`Ring::wait`].
    pub(super) fn forward(&mut self, packet: Packet, len: usize, socket: &MediaSocket, to: SocketAddr) {
        let (address, payload) = self.buffers.bytes(packet.buffer).split_at_mut(HEAD);
        let Some(address_len) = address.get_mut(LENGTHS..).and_then(|room| write_address(room, to)) else {
            return self.release(packet);
        };
        let order = opcode::Send::new(
            Fd(socket.as_fd().as_raw_fd()),
            payload.as_ptr(),
            len.min(payload.len()) as u32,
        )
        .flags(libc::MSG_DONTWAIT)
        .dest_addr(address[LENGTHS..].as_ptr().cast())
        .dest_addr_len(address_len)
        .build()
        .flags(squeue::Flags::SKIP_SUCCESS);
        self.order(order.user_data(UNSENT));
        self.held.push(packet.buffer);
    }

    pub(super) fn release(&mut self, packet: Packet) {
        self.buffers.give(packet.buffer);
    }

    pub(super) fn bytes(&mut self, packet: &Packet) -> &mut [u8] {
        self.buffers.bytes(packet.buffer).get_mut(HEAD..HEAD + packet.len).unwrap_or_default()
    }

    fn order(&mut self, order: squeue::Entry) {
        // SAFETY: what the order points at are `asked` and buffers of this value, and descriptors that stay open until their stream has rested.
        while unsafe { self.ring.submission().push(&order) }.is_err() {
            if let Err(error) = self.ring.submit()
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "the kernel takes no more packets");
                return;
            }
        }
    }

    /// Hand over what is to be sent, and wait: `gather` for as long as it says, else for the first arrival or the end of `timeout`.
    pub(super) fn wait(&mut self, gather: Option<Duration>, timeout: Option<Duration>) -> io::Result<usize> {
        let want = if gather.is_some() { NEVER } else { 1 };
        let until = gather.or(timeout).map(Timespec::from);
        let entered = match &until {
            Some(until) => self.ring.submitter().submit_with_args(want, &SubmitArgs::new().timespec(until)),
            None => self.ring.submitter().submit_with_args(want, &SubmitArgs::new()),
        };
        match entered {
            Ok(_) => {}
            Err(error) if matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY)) => {}
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
        let from = read_address(bytes.get(LENGTHS..HEAD).unwrap_or_default());
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

impl Drop for Ring {
    fn drop(&mut self) {
        // Nothing to cancel is an error too; any other leaves orders behind, and their memory must then stay.
        match self.ring.submitter().register_sync_cancel(None, CancelBuilder::any()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => {
                std::mem::forget(std::mem::take(&mut self.buffers.pages));
                std::mem::forget(std::mem::take(&mut self.buffers.bytes));
                let copy = Box::new(*self.asked);
                Box::leak(std::mem::replace(&mut self.asked, copy));
            }
        }
    }
}

/// The memory that packets lie in, and the list of those that the kernel may fill.
struct Buffers {
    pages: Box<[Page]>,
    bytes: Box<[u8]>,
    /// How many were ever given.
    given: u16,
}

#[derive(Clone)]
#[repr(C, align(4096))]
struct Page([u8; 4096]);

impl Buffers {
    fn new() -> Buffers {
        let pages = (usize::from(BUFFERS) * size_of::<BufRingEntry>()).div_ceil(size_of::<Page>());
        Buffers {
            pages: vec![Page([0; 4096]); pages].into_boxed_slice(),
            bytes: vec![0; usize::from(BUFFERS) * BUFFER].into_boxed_slice(),
            given: 0,
        }
    }

    fn entries(&self) -> *mut BufRingEntry {
        self.pages.as_ptr().cast_mut().cast()
    }

    fn bytes(&mut self, id: u16) -> &mut [u8] {
        let at = usize::from(id) * BUFFER;
        self.bytes.get_mut(at..at + BUFFER).unwrap_or_default()
    }

    /// The kernel may fill this one.
    fn give(&mut self, id: u16) {
        let address = self.bytes(id).as_mut_ptr() as u64;
        let entries = self.entries();
        // SAFETY: the list has BUFFERS entries in pages of ours; the remainder lies inside. The kernel reads an entry only after the tail has passed
        // it, which the ordering of the store makes certain; the tail lies in a field of the first entry that setting one does not touch.
        unsafe {
            let entry = &mut *entries.add(usize::from(self.given % BUFFERS));
            entry.set_addr(address);
            entry.set_len(BUFFER as u32);
            entry.set_bid(id);
            self.given = self.given.wrapping_add(1);
            let tail = BufRingEntry::tail(entries).cast::<AtomicU16>();
            (*tail).store(self.given, Ordering::Release);
        }
    }
}

/// An address as the kernel writes it (`sockaddr_in`, `sockaddr_in6`).
fn read_address(bytes: &[u8]) -> Option<SocketAddr> {
    let (family, rest) = bytes.split_first_chunk::<2>()?;
    let (port, rest) = rest.split_first_chunk::<2>()?;
    let ip: IpAddr = match i32::from(u16::from_ne_bytes(*family)) {
        libc::AF_INET => Ipv4Addr::from(*rest.first_chunk::<4>()?).into(),
        libc::AF_INET6 => Ipv6Addr::from(*rest.get(4..)?.first_chunk::<16>()?).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes(*port)))
}

/// The reverse; the length of what was written.
fn write_address(room: &mut [u8], address: SocketAddr) -> Option<u32> {
    room.get_mut(..ADDRESS)?.fill(0);
    let (family, len) = match address {
        SocketAddr::V4(v4) => {
            room[4..8].copy_from_slice(&v4.ip().octets());
            (libc::AF_INET, size_of::<libc::sockaddr_in>())
        }
        SocketAddr::V6(v6) => {
            room[8..24].copy_from_slice(&v6.ip().octets());
            room[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
            (libc::AF_INET6, size_of::<libc::sockaddr_in6>())
        }
    };
    room[..2].copy_from_slice(&(family as u16).to_ne_bytes());
    room[2..4].copy_from_slice(&address.port().to_be_bytes());
    Some(len as u32)
}
