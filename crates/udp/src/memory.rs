//! Memory whose addresses the kernel keeps for longer than one call.
#![allow(unsafe_code)]

use std::ptr::{NonNull, slice_from_raw_parts_mut};

/// Values in a row that stay where they are. There is nothing but the pointer: a `Box` or a `&mut` that is moved or looked at asserts that nobody
/// else holds one, and the kernel does.
#[derive(Debug)]
pub struct KernelMemory<T> {
    start: NonNull<T>,
    count: usize,
}

// SAFETY: the values belong to this value alone, as those of a `Box<[T]>` would.
unsafe impl<T: Send> Send for KernelMemory<T> {}

impl<T: Copy> KernelMemory<T> {
    /// So many times this value.
    pub fn new(value: T, count: usize) -> KernelMemory<T> {
        let all: &mut [T] = Box::leak(vec![value; count].into_boxed_slice());
        KernelMemory { start: NonNull::from(all).cast(), count }
    }

    /// Where they begin. What is read and written there must be agreed with the kernel.
    pub fn as_ptr(&self) -> *mut T {
        self.start.as_ptr()
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.count
    }
}

impl<T> KernelMemory<T> {
    /// Leave it to the kernel for ever, which could not be told to keep off. Nothing is left here.
    pub fn leak(&mut self) {
        let none = KernelMemory { start: NonNull::dangling(), count: 0 };
        std::mem::forget(std::mem::replace(self, none));
    }
}

impl<T> Drop for KernelMemory<T> {
    fn drop(&mut self) {
        // SAFETY: this is the slice that `new` took out of its box, and nobody has freed it.
        drop(unsafe { Box::from_raw(slice_from_raw_parts_mut(self.start.as_ptr(), self.count)) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_through_an_old_address_is_there_after_a_move() {
        let memory = KernelMemory::new(7_u64, 4);
        let kernel = memory.as_ptr();
        let moved = Box::new(memory);
        // SAFETY: inside the four, and nobody else writes.
        unsafe {
            kernel.add(3).write(9);
            assert_eq!((moved.as_ptr().read(), moved.as_ptr().add(3).read()), (7, 9));
            moved.as_ptr().write(8);
            assert_eq!(kernel.read(), 8);
        }
        assert_eq!(moved.count(), 4);
    }

    #[test]
    fn what_is_left_to_the_kernel_stays_readable() {
        let mut memory = KernelMemory::new(7_u8, 4);
        let kernel = memory.as_ptr();
        memory.leak();
        assert_eq!(memory.count(), 0);
        drop(memory);
        // SAFETY: nobody has freed it; here the test does.
        unsafe {
            assert_eq!(kernel.add(3).read(), 7);
            drop(Box::from_raw(slice_from_raw_parts_mut(kernel, 4)));
        }
    }
}
