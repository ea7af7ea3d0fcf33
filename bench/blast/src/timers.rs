//! Retransmission over UDP: after 0.5 s, doubling up to 4 s (RFC 3261 Timers A and E), with a timeout after the fifth wait.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

const WAITS_MS: [u64; 5] = [500, 1000, 2000, 4000, 4000];

/// A sent message that may have to be retransmitted.
#[derive(Clone, Copy)]
pub struct Due {
    at: Instant,
    /// Slot of its owner.
    pub slot: usize,
    /// Stamp of its owner when it was sent; the owner's stamp counts everything that it sent, so a difference means that this one is obsolete.
    pub stamp: u64,
}

/// One queue per wait: entries are due in the order in which they were added.
#[derive(Default)]
pub struct Timers {
    queues: [VecDeque<Due>; WAITS_MS.len()],
}

/// Action for a message without response.
pub enum Expired {
    /// Retransmit it, and pass the number of the next wait to [`Timers::start`].
    Again(Due, usize),
    /// Timed out.
    Lost(Due),
}

impl Timers {
    /// The message was sent for the `wait`th time, counted from 0.
    pub fn start(&mut self, now: Instant, slot: usize, stamp: u64, wait: usize) {
        self.queues[wait].push_back(Due { at: now + Duration::from_millis(WAITS_MS[wait]), slot, stamp });
    }

    /// The next message whose wait is over.
    pub fn expired(&mut self, now: Instant) -> Option<Expired> {
        let wait = self.queues.iter().position(|queue| queue.front().is_some_and(|due| due.at <= now))?;
        let due = self.queues[wait].pop_front()?;
        Some(if wait + 1 < WAITS_MS.len() { Expired::Again(due, wait + 1) } else { Expired::Lost(due) })
    }
}
