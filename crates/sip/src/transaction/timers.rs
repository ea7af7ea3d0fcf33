//! One ordered queue of alarms for everything that waits: setting, moving and removing one costs O(log n), and nothing stale stays.

use std::collections::BTreeSet;

use base::Instant;

/// Whose alarm it is, by its slot.
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
    /// Move an owner's only alarm from where `armed` says it stands to `at`.
    pub(crate) fn set(&mut self, alarm: Timer, armed: &mut Option<Instant>, at: Option<Instant>) {
        if *armed == at {
            return;
        }
        if let Some(old) = *armed {
            self.due.remove(&(old, alarm));
        }
        if let Some(new) = at {
            self.due.insert((new, alarm));
        }
        *armed = at;
    }

    /// When the next one rings.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Take one that is due. Its owner must forget that it was armed.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Timer> {
        let (at, alarm) = *self.due.first()?;
        if at > now {
            return None;
        }
        self.due.pop_first();
        Some(alarm)
    }
}
