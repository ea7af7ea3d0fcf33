//! Admission of calls to a trunk: limits of channels and of calls per second, as contracted, so that the carrier does not reject calls.

use std::time::Duration;

use base::Instant;
use model::{Trunk, TrunkId};

use super::Trunks;
use crate::limits::TRUNK_QUEUE;

/// Usage of a trunk.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TrunkUsage {
    /// Channels in use, inbound and outbound.
    pub(super) channels: u32,
    /// Earliest start of the next outbound call under the limit of calls per second.
    next: Option<Instant>,
}

/// Result of an admission check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Admission {
    Now,
    /// The call is paced: it may start at this time.
    At(Instant),
    /// Every channel is in use.
    NoChannel,
    /// Pacing would delay the call by more than [`TRUNK_QUEUE`].
    CpsExceeded,
}

impl Trunks {
    /// Allocate a channel and a start time for an outbound call. An emergency call (`help`) is always admitted at once, and is counted.
    pub(super) fn admit(&mut self, now: Instant, trunk: &Trunk, is_emergency: bool) -> Admission {
        let pace = self.paces.entry(trunk.id.clone()).or_default();
        if trunk.settings.max_channels.is_some_and(|max| pace.channels >= max) && !is_emergency {
            return Admission::NoChannel;
        }
        let mut turn = now;
        if let Some(rate) = trunk.settings.calls_per_second {
            let span = Duration::from_micros(1_000_000 / u64::from(rate.max(1)));
            turn = pace.next.map_or(now, |next| next.max(now));
            if is_emergency {
                turn = now;
            } else if turn.since(now) > TRUNK_QUEUE {
                return Admission::CpsExceeded;
            }
            pace.next = Some(pace.next.map_or(turn, |next| next.max(turn)) + span);
        }
        pace.channels += 1;
        if turn > now { Admission::At(turn) } else { Admission::Now }
    }

    /// Allocate a channel for an inbound call; `false` when every channel is in use.
    pub(crate) fn admit_inbound(&mut self, trunk: &Trunk) -> bool {
        let pace = self.paces.entry(trunk.id.clone()).or_default();
        let free = trunk.settings.max_channels.is_none_or(|max| pace.channels < max);
        pace.channels += u32::from(free);
        free
    }

    /// Allocate a channel without a check, for a last-resort target on a trunk that has admitted the call before.
    pub(super) fn take(&mut self, trunk: &TrunkId) {
        self.paces.entry(trunk.clone()).or_default().channels += 1;
    }

    /// Release the channel of a call.
    pub(crate) fn release_channel(&mut self, channel: Option<TrunkId>) {
        if let Some(pace) = channel.and_then(|id| self.paces.get_mut(&id)) {
            pace.channels = pace.channels.saturating_sub(1);
        }
    }

    pub(super) fn channels(&self, trunk: &TrunkId) -> u32 {
        self.paces.get(trunk).map_or(0, |pace| pace.channels)
    }
}
