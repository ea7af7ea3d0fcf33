//! Small received messages share larger allocations.

use bytes::{Bytes, BytesMut};

/// Bytes of one allocation. A message that is kept (the INVITE of a call) keeps its whole chunk alive, so it is not larger.
const CHUNK: usize = 16 * 1024;

/// Allocates messages from chunks. A chunk is reused when all messages in it are dropped.
#[derive(Debug, Default)]
pub(super) struct BufferPool {
    chunk: BytesMut,
}

impl BufferPool {
    /// Copy bytes into shared memory.
    pub(super) fn copy(&mut self, bytes: &[u8]) -> Bytes {
        if bytes.len() > CHUNK / 4 {
            return Bytes::copy_from_slice(bytes);
        }
        if self.chunk.capacity() < bytes.len() {
            self.chunk.reserve(CHUNK);
        }
        self.chunk.extend_from_slice(bytes);
        self.chunk.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_one_chunk_are_adjacent() {
        let mut pool = BufferPool::default();
        let (a, b) = (pool.copy(b"first"), pool.copy(b"second"));
        assert_eq!((a.as_ref(), b.as_ref()), (&b"first"[..], &b"second"[..]));
        assert_eq!(b.as_ptr() as usize - a.as_ptr() as usize, 5);
        let large = pool.copy(&[7; CHUNK]);
        assert!(large.iter().all(|byte| *byte == 7) && large.len() == CHUNK);
    }
}
