//! Status snapshot, heartbeat and timings that the loop publishes for readers that must not wait for it: health probes and metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use base::Instant;
use switch::Status;

use crate::metrics::Histogram;

/// The longest sleep of the loop, so that an idle loop still updates its heartbeat.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(1);
/// Interval between snapshots of a busy loop. A change of state is published at once.
pub(super) const SNAPSHOT: Duration = Duration::from_millis(250);

/// The published values. Written by the loop only.
#[derive(Debug, Default)]
pub struct Published {
    status: ArcSwapOption<Status>,
    /// Time of the last iteration in µs of the process clock; 0 before the first.
    heartbeat: AtomicU64,
    /// Duration of the loop's iterations, without waiting.
    pub iteration: Histogram,
    /// Duration of journal writes.
    pub journal: Histogram,
}

impl Published {
    /// The latest snapshot; `None` before the first.
    pub fn status(&self) -> Option<Arc<Status>> {
        self.status.load_full()
    }

    /// Start of the loop's latest iteration; `None` before the first.
    pub fn heartbeat(&self) -> Option<Instant> {
        let micros = self.heartbeat.load(Ordering::Relaxed);
        (micros > 0).then(|| Instant::from_micros(micros))
    }

    pub(super) fn beat(&self, now: Instant) {
        self.heartbeat.store(now.as_micros().max(1), Ordering::Relaxed);
    }

    pub(super) fn put(&self, status: Status) {
        self.status.store(Some(Arc::new(status)));
    }
}

/// Decides when the next snapshot is due.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    last: Instant,
    changed: bool,
    urgent: bool,
}

impl Snapshot {
    /// An input was handled.
    pub(super) fn changed(&mut self) {
        self.changed = true;
    }

    /// An input was handled that readers must see before its reply is sent.
    pub(super) fn urgent(&mut self) {
        self.urgent = true;
    }

    /// Whether a snapshot is due; if so it counts as published.
    pub(super) fn take_due(&mut self, now: Instant) -> bool {
        let due = self.urgent || (self.changed && now.since(self.last) >= SNAPSHOT);
        if due {
            *self = Snapshot { last: now, changed: false, urgent: false };
        }
        due
    }

    /// How long the loop may sleep.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        if self.changed { SNAPSHOT.saturating_sub(now.since(self.last)) } else { HEARTBEAT }
    }
}
