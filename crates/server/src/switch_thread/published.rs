//! What the loop publishes about itself, for readers that must not wait for it: probes and metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use base::Instant;
use switch::Status;

use crate::metrics::Histogram;

/// The longest that the loop sleeps, so that an idle one still shows its heartbeat.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(1);
/// Between two snapshots of a loop that is busy. A change of its state is published at once.
pub(super) const SNAPSHOT: Duration = Duration::from_millis(250);

/// See the module. Written by the loop only.
#[derive(Debug, Default)]
pub struct Published {
    status: ArcSwapOption<Status>,
    /// Microseconds of the process's clock, 0 before the first iteration.
    heartbeat: AtomicU64,
    /// How long the loop's iterations take, without their waiting.
    pub iteration: Histogram,
    /// How long writing to the journal takes.
    pub journal: Histogram,
}

impl Published {
    /// The last snapshot; `None` before the first.
    pub fn status(&self) -> Option<Arc<Status>> {
        self.status.load_full()
    }

    /// When the loop last began an iteration; `None` before the first.
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

/// When the loop owes a snapshot.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    last: Instant,
    changed: bool,
    urgent: bool,
}

impl Snapshot {
    /// Something was absorbed.
    pub(super) fn changed(&mut self) {
        self.changed = true;
    }

    /// Something was absorbed that readers must see before the loop answers anybody.
    pub(super) fn urgent(&mut self) {
        self.urgent = true;
    }

    /// Whether one is due, which is then taken as made.
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
