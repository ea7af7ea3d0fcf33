//! Memory whose address the kernel keeps beyond a single call.
#![allow(unsafe_code)]

use std::ptr::{NonNull, slice_from_raw_parts_mut};

/// An array at a fixed address. It holds only a pointer: moving or reading a `Box` or `&mut` asserts unique access, but the kernel has access too.
#[derive(Debug)]
pub struct KernelMemory<T> {
    start: NonNull<T>,
    count: usize,
}

// SAFETY: this value owns the array exclusively, like a `Box<[T]>`.
unsafe impl<T: Send> Send for KernelMemory<T> {}

impl<T: Copy> KernelMemory<T> {
    /// An array of `count` copies of `value`.
    pub fn new(value: T, count: usize) -> KernelMemory<T> {
        let all: &mut [T] = Box::leak(vec![value; count].into_boxed_slice());
        KernelMemory { start: NonNull::from(all).cast(), count }
    }

    /// Pointer to the first element. Reads and writes through it must be coordinated with the kernel.
    pub fn as_ptr(&self) -> *mut T {
        self.start.as_ptr()
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        self.count
    }
}

impl<T> KernelMemory<T> {
    /// Leak the array, because the kernel may still write to it. This value is empty afterwards.
    pub fn leak(&mut self) {
        let none = KernelMemory { start: NonNull::dangling(), count: 0 };
        std::mem::forget(std::mem::replace(self, none));
    }
}

impl<T> Drop for KernelMemory<T> {
    fn drop(&mut self) {
        // SAFETY: this is the slice that `new` leaked from its box, freed only here.
        drop(unsafe { Box::from_raw(slice_from_raw_parts_mut(self.start.as_ptr(), self.count)) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_keeps_its_address_after_a_move() {
        let memory = KernelMemory::new(7_u64, 4);
        let kernel = memory.as_ptr();
        let moved = Box::new(memory);
        // SAFETY: within the four elements, and nothing else writes.
        unsafe {
            kernel.add(3).write(9);
            assert_eq!((moved.as_ptr().read(), moved.as_ptr().add(3).read()), (7, 9));
            moved.as_ptr().write(8);
            assert_eq!(kernel.read(), 8);
        }
        assert_eq!(moved.count(), 4);
    }

    #[test]
    fn leaked_memory_stays_readable() {
        let mut memory = KernelMemory::new(7_u8, 4);
        let kernel = memory.as_ptr();
        memory.leak();
        assert_eq!(memory.count(), 0);
        drop(memory);
        // SAFETY: the memory was leaked; this test frees it.
        unsafe {
            assert_eq!(kernel.add(3).read(), 7);
            drop(Box::from_raw(slice_from_raw_parts_mut(kernel, 4)));
        }
    }
}
