//! Retransmission over UDP: after 0.5 s, then doubled to 4 s (RFC 3261 Timers A and E), given up after the fifth wait.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

const WAITS_MS: [u64; 5] = [500, 1000, 2000, 4000, 4000];

/// A message that was sent and may have to be sent again.
#[derive(Clone, Copy)]
pub struct Due {
    at: Instant,
    /// Whose it is.
    pub slot: usize,
    /// Tells whether it still is: counts everything that its owner sent.
    pub stamp: u64,
}

/// One queue for each wait: what is put in last is due last.
#[derive(Default)]
pub struct Timers {
    queues: [VecDeque<Due>; WAITS_MS.len()],
}

/// What to do with a message that was not answered.
pub enum Expired {
    /// Send it again, and tell [`Timers::start`] which wait comes next.
    Again(Due, usize),
    /// Give up.
    Lost(Due),
}

impl Timers {
    /// The message was sent for the `wait`th time, counted from 0.
    pub fn start(&mut self, now: Instant, slot: usize, stamp: u64, wait: usize) {
        self.queues[wait].push_back(Due { at: now + Duration::from_millis(WAITS_MS[wait]), slot, stamp });
    }

    /// The next message whose time is over.
    pub fn expired(&mut self, now: Instant) -> Option<Expired> {
        let wait = self.queues.iter().position(|queue| queue.front().is_some_and(|due| due.at <= now))?;
        let due = self.queues[wait].pop_front()?;
        Some(if wait + 1 < WAITS_MS.len() { Expired::Again(due, wait + 1) } else { Expired::Lost(due) })
    }
}
