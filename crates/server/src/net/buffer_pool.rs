//! Small received messages share large allocations.

use bytes::{Bytes, BytesMut};

/// Bytes of one allocation. A message that is kept (the INVITE of a call) keeps its whole chunk, so it is not larger.
const CHUNK: usize = 16 * 1024;

/// Cuts messages from chunks. A chunk is used again when all messages in it are gone.
#[derive(Debug, Default)]
pub(super) struct BufferPool {
    chunk: BytesMut,
}

impl BufferPool {
    /// The same bytes, shared.
    pub(super) fn keep(&mut self, bytes: &[u8]) -> Bytes {
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
    fn messages_of_one_chunk_lie_side_by_side() {
        let mut arena = BufferPool::default();
        let (a, b) = (arena.keep(b"first"), arena.keep(b"second"));
        assert_eq!((a.as_ref(), b.as_ref()), (&b"first"[..], &b"second"[..]));
        assert_eq!(b.as_ptr() as usize - a.as_ptr() as usize, 5);
        let large = arena.keep(&[7; CHUNK]);
        assert!(large.iter().all(|byte| *byte == 7) && large.len() == CHUNK);
    }
}
