//! How many calls a trunk takes at once, and how many a second: what the carrier sold, and no more, so that it never has to refuse.

use std::time::Duration;

use base::Instant;
use model::{Trunk, TrunkId};

use super::Trunks;
use crate::limits::TRUNK_QUEUE;

/// What a trunk is carrying.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TrunkUsage {
    /// Calls on it.
    pub(super) channels: u32,
    /// When the next call may begin.
    next: Option<Instant>,
}

/// Whether a call may begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Admission {
    Now,
    At(Instant),
    /// Every channel is in use.
    NoChannel,
    /// The queue is longer than a caller's patience.
    CpsExceeded,
}

impl Trunks {
    /// Ask for a channel and a place in the queue. Who calls for help asks nobody, and is counted all the same.
    pub(super) fn admit(&mut self, now: Instant, trunk: &Trunk, help: bool) -> Admission {
        let pace = self.paces.entry(trunk.id.clone()).or_default();
        if trunk.settings.max_channels.is_some_and(|max| pace.channels >= max) && !help {
            return Admission::NoChannel;
        }
        let mut turn = now;
        if let Some(rate) = trunk.settings.calls_per_second {
            let span = Duration::from_micros(1_000_000 / u64::from(rate.max(1)));
            turn = pace.next.map_or(now, |next| next.max(now));
            if help {
                turn = now;
            } else if turn.since(now) > TRUNK_QUEUE {
                return Admission::CpsExceeded;
            }
            pace.next = Some(pace.next.map_or(turn, |next| next.max(turn)) + span);
        }
        pace.channels += 1;
        if turn > now { Admission::At(turn) } else { Admission::Now }
    }

    /// Count a call that a carrier delivers; `false` where every channel is in use.
    pub(crate) fn admit_inbound(&mut self, trunk: &Trunk) -> bool {
        let pace = self.paces.entry(trunk.id.clone()).or_default();
        let free = trunk.settings.max_channels.is_none_or(|max| pace.channels < max);
        pace.channels += u32::from(free);
        free
    }

    /// Count a call that nobody was asked about: it is tried where it was let in before.
    pub(super) fn take(&mut self, trunk: &TrunkId) {
        self.paces.entry(trunk.clone()).or_default().channels += 1;
    }

    /// A call has left its trunk.
    pub(crate) fn release_channel(&mut self, channel: Option<TrunkId>) {
        if let Some(pace) = channel.and_then(|id| self.paces.get_mut(&id)) {
            pace.channels = pace.channels.saturating_sub(1);
        }
    }

    pub(super) fn channels(&self, trunk: &TrunkId) -> u32 {
        self.paces.get(trunk).map_or(0, |pace| pace.channels)
    }
}
