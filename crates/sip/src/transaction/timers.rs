//! One ordered queue of timers for transactions, sessions and subscriptions. Setting, moving and removing a timer costs O(log n); a moved timer
//! leaves no stale entry.

use std::collections::BTreeSet;

use base::Instant;

/// The owner of a timer, by its slot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Timer {
    Client(u32),
    Server(u32),
    Session(u32),
    Subscription(u32),
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeSet<(Instant, Timer)>,
}

impl Timers {
    /// Move the only timer of an owner from `timer_at` to `at`; `None` means not set.
    pub(crate) fn set(&mut self, timer: Timer, timer_at: &mut Option<Instant>, at: Option<Instant>) {
        if *timer_at == at {
            return;
        }
        if let Some(old) = *timer_at {
            self.due.remove(&(old, timer));
        }
        if let Some(new) = at {
            self.due.insert((new, timer));
        }
        *timer_at = at;
    }

    /// The time of the next timer.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Remove and return a timer that is due at `now`. Its owner must reset its own copy of the time.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Timer> {
        let (at, timer) = *self.due.first()?;
        if at > now {
            return None;
        }
        self.due.pop_first();
        Some(timer)
    }
}
