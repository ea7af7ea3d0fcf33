//! Provided buffers of io_uring (`IORING_REGISTER_PBUF_RING`): the buffers, and the ring of those that the kernel may fill.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use crate::memory::KernelMemory;

/// The ring must start at a page boundary.
#[derive(Clone, Copy)]
#[repr(C, align(4096))]
struct Page([u8; 4096]);

/// A set of provided buffers. The kernel owns a buffer from [`Buffers::give`] until a completion names it; otherwise we own it.
pub struct Buffers {
    list: KernelMemory<Page>,
    bytes: KernelMemory<u8>,
    count: u16,
    size: usize,
    /// Number of buffers given so far, modulo 2¹⁶.
    given: u16,
}

impl Buffers {
    /// `count` buffers, rounded up to a power of two, of `size` bytes; we own all of them at first.
    pub fn new(count: u16, size: usize) -> Buffers {
        let count = count.next_power_of_two();
        let pages = (usize::from(count) * size_of::<BufRingEntry>()).div_ceil(size_of::<Page>());
        let bytes = KernelMemory::new(0, usize::from(count) * size);
        Buffers { list: KernelMemory::new(Page([0; 4096]), pages), bytes, count, size, given: 0 }
    }

    /// Number of buffers.
    pub fn count(&self) -> u16 {
        self.count
    }

    /// Address of the ring, for its registration with the kernel.
    pub fn list(&self) -> u64 {
        self.entries() as u64
    }

    fn entries(&self) -> *mut BufRingEntry {
        self.list.as_ptr().cast()
    }

    /// The bytes of a buffer that we own; empty if `id` is out of range.
    pub fn bytes(&mut self, id: u16) -> &mut [u8] {
        if id >= self.count {
            return &mut [];
        }
        // SAFETY: the buffer is in range, the kernel does not write to a buffer that we own, and `self` is borrowed as long as the slice lives.
        unsafe { std::slice::from_raw_parts_mut(self.start(id), self.size) }
    }

    /// Pointer to a buffer.
    fn start(&self, id: u16) -> *mut u8 {
        // SAFETY: callers have checked that `id` is in range.
        unsafe { self.bytes.as_ptr().add(usize::from(id) * self.size) }
    }

    /// Give a buffer to the kernel to fill.
    pub fn give(&mut self, id: u16) {
        if id >= self.count {
            return;
        }
        let (address, entries) = (self.start(id) as u64, self.entries());
        // SAFETY: the ring has `count` entries in pages that we own; the remainder is in range. The kernel reads an entry only after the tail has
        // passed it, which the Release store guarantees; the tail is a field of the first entry that setting an entry does not touch.
        unsafe {
            let entry = &mut *entries.add(usize::from(self.given % self.count));
            entry.set_addr(address);
            entry.set_len(self.size as u32);
            entry.set_bid(id);
            self.given = self.given.wrapping_add(1);
            let tail = BufRingEntry::tail(entries).cast::<AtomicU16>();
            (*tail).store(self.given, Ordering::Release);
        }
    }

    /// Leak ring and buffers, because the kernel may still write to them.
    pub fn leak(&mut self) {
        self.count = 0;
        self.list.leak();
        self.bytes.leak();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes the buffer that was given as number `n` and fills it, as the kernel does.
    fn kernel_fills(list: u64, n: u16, count: u16, byte: u8) -> u16 {
        let entries = std::ptr::with_exposed_provenance_mut::<BufRingEntry>(list as usize);
        // SAFETY: the ring has `count` entries, and each names a buffer that was given.
        unsafe {
            let tail = (*BufRingEntry::tail(entries).cast::<AtomicU16>()).load(Ordering::Acquire);
            assert_ne!(n, tail, "nothing was given");
            let entry = &*entries.add(usize::from(n % count));
            let buffer = std::ptr::with_exposed_provenance_mut::<u8>(entry.addr() as usize);
            buffer.write_bytes(byte, entry.len() as usize);
            entry.bid()
        }
    }

    #[test]
    fn buffers_circulate_between_kernel_and_owner_and_keep_their_addresses() {
        let mut buffers = Buffers::new(8, 100);
        let list = buffers.list();
        (0..8).for_each(|id| buffers.give(id));
        let mut buffers = Box::new(buffers); // the ring is moved to its thread
        for n in 0..100_u16 {
            let id = kernel_fills(list, n, 8, n as u8);
            let bytes = buffers.bytes(id);
            assert_eq!(bytes, [n as u8; 100]);
            bytes[0] = 1; // rewritten, sent, and given back
            buffers.give(id);
        }
        assert!(buffers.bytes(8).is_empty());
        buffers.give(8);
        assert_eq!(buffers.given, 108, "a buffer that does not exist cannot be given");
    }
}
