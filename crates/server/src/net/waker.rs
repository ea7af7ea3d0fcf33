//! Wakes the event loop: one system call, however often it is woken before it runs.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use mio::{Registry, Token, Waker};

/// Waker of the event loop: call [`LoopWaker::wake`] after putting something into one of its queues.
#[derive(Debug)]
pub struct LoopWaker {
    waker: Waker,
    pending: AtomicBool,
}

impl LoopWaker {
    /// A waker of the poll behind `registry`.
    pub fn new(registry: &Registry, token: Token) -> io::Result<LoopWaker> {
        Ok(LoopWaker { waker: Waker::new(registry, token)?, pending: AtomicBool::new(false) })
    }

    /// Wake the loop, unless a wake-up is pending.
    pub fn wake(&self) {
        if !self.pending.swap(true, Ordering::AcqRel)
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(%error, "the event loop cannot be woken");
        }
    }

    /// Called by the loop before it reads its queues: later calls of [`LoopWaker::wake`] wake it again.
    pub fn clear(&self) {
        self.pending.swap(false, Ordering::AcqRel);
    }
}
