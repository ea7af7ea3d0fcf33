//! Wakes a loop that waits for its sockets, with one system call for any number of rings.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use mio::{Registry, Token, Waker};

/// Ring it after something was put into a queue of the loop.
#[derive(Debug)]
pub struct LoopWaker {
    waker: Waker,
    rung: AtomicBool,
}

impl LoopWaker {
    /// A bell that wakes the poll behind `registry`.
    pub fn new(registry: &Registry, token: Token) -> io::Result<LoopWaker> {
        Ok(LoopWaker { waker: Waker::new(registry, token)?, rung: AtomicBool::new(false) })
    }

    /// Wake the loop, unless it is being woken already.
    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel)
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(%error, "the exchange cannot be woken");
        }
    }

    /// The loop calls this before it looks into its queues: who rings later wakes it again.
    pub fn rest(&self) {
        self.rung.swap(false, Ordering::AcqRel);
    }
}
