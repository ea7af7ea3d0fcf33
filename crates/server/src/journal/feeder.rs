//! Feeds the database from the journal, and keeps the disk small.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use model::journal::Record;
use store::{Store, StoreError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::pending::Due;
use super::segment::Segments;
use super::sync::Syncer;
use super::{Pending, Written};
use crate::limits::{SEGMENT_BYTES, SEGMENTS_WAITING};
use crate::metrics::FeederLag;

/// Where records end up.
pub trait Ledger: Send + Sync + 'static {
    /// Take all of them in, or none. Taking the same ones in twice changes nothing.
    fn feed(&self, records: &[Record]) -> impl Future<Output = Result<(), StoreError>> + Send;
}

impl Ledger for Store {
    async fn feed(&self, records: &[Record]) -> Result<(), StoreError> {
        Store::feed(self, records).await
    }
}

/// How often the database is fed.
#[derive(Clone, Copy, Debug)]
pub struct Rhythm {
    /// Calls wait at most for so long.
    pub calls: Duration,
    /// Bindings wait for so long: a refresh that follows makes the last one worthless.
    pub bindings: Duration,
    /// … unless there are so many.
    pub most_bindings: usize,
    /// Records of one transaction: others want to write too.
    pub batch: usize,
    /// A failed attempt is repeated after this, then after twice as long, and so on, up to four times as long: when the database is back,
    /// nobody waits long for what it missed.
    pub retry: Duration,
    /// Closed segments may hold so many bytes more than twice the last rewriting before they are rewritten.
    pub waiting_bytes: u64,
}

impl Default for Rhythm {
    fn default() -> Self {
        Rhythm {
            calls: Duration::from_millis(500),
            bindings: Duration::from_secs(5),
            most_bindings: 16_384,
            batch: 2_000,
            retry: Duration::from_secs(1),
            waiting_bytes: SEGMENT_BYTES * SEGMENTS_WAITING as u64,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Feeder {
    segments: Segments,
    written: mpsc::UnboundedReceiver<Written>,
    writer: Writer,
    pending: Pending,
    current: u64,
    bindings_since: Option<Instant>,
    failures: u32,
    retry_at: Option<Instant>,
    base_bytes: u64,
    lag: Arc<FeederLag>,
    /// When the database last had every call that was due.
    caught_up: Instant,
    /// The journal's thread lives at least as long as we do.
    _syncer: Syncer,
}

/// Resolves when the journal's writer is gone. What it wrote is not waited for but looked at when the database is fed: a thread that is woken for
/// each batch would cost more than all it does with them.
pub(super) type Writer = oneshot::Receiver<std::convert::Infallible>;

/// How feeding ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fed {
    /// The database has everything.
    All,
    /// The rest stays in the journal.
    Part,
}

impl Feeder {
    pub(super) fn new(
        segments: Segments,
        written: mpsc::UnboundedReceiver<Written>,
        writer: Writer,
        pending: Pending,
        current: u64,
        syncer: Syncer,
    ) -> Feeder {
        Feeder {
            segments,
            written,
            writer,
            pending,
            current,
            bindings_since: None,
            failures: 0,
            retry_at: None,
            base_bytes: 0,
            lag: Arc::default(),
            caught_up: Instant::now(),
            _syncer: syncer,
        }
    }

    /// How far the database is behind.
    pub fn lag(&self) -> Arc<FeederLag> {
        Arc::clone(&self.lag)
    }

    fn measure(&mut self) {
        let (calls, bindings) = self.pending.len();
        if self.failures == 0 {
            self.caught_up = Instant::now();
        }
        self.lag.set(calls + bindings, self.caught_up.elapsed());
    }

    /// Feed until the journal's writer is gone, then feed what is left.
    pub async fn run<L: Ledger>(mut self, ledger: Arc<L>, rhythm: Rhythm) -> Fed {
        let mut beat = interval(rhythm.calls);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = &mut self.writer => break,
                _ = beat.tick() => {
                    self.absorb();
                    self.measure();
                    self.round(&*ledger, rhythm).await;
                    self.measure();
                    self.compact(rhythm);
                }
            }
        }
        self.absorb();
        self.finish(&*ledger, rhythm).await
    }

    fn absorb(&mut self) {
        while let Ok(written) = self.written.try_recv() {
            self.current = self.current.max(written.segment);
            for record in written.records {
                self.pending.apply(written.segment, record);
            }
        }
    }

    /// Feed what is due.
    async fn round<L: Ledger>(&mut self, ledger: &L, rhythm: Rhythm) {
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        let due = self.due(rhythm);
        let mut left = match due {
            Due::Calls => self.pending.len().0,
            Due::All => self.pending.len().0 + self.pending.len().1,
        };
        while left > 0 {
            let taken = self.pending.take(rhythm.batch, due);
            left = left.saturating_sub(taken.len().max(1));
            if taken.is_empty() || !self.feed(ledger, rhythm, taken).await {
                return;
            }
        }
        if due == Due::All {
            self.bindings_since = None;
        }
        self.delete();
    }

    fn due(&mut self, rhythm: Rhythm) -> Due {
        let bindings = self.pending.len().1;
        if bindings == 0 {
            self.bindings_since = None;
            return Due::Calls;
        }
        let since = *self.bindings_since.get_or_insert_with(Instant::now);
        if bindings >= rhythm.most_bindings || since.elapsed() >= rhythm.bindings {
            Due::All
        } else {
            Due::Calls
        }
    }

    /// One transaction. What fails is put back.
    async fn feed<L: Ledger>(&mut self, ledger: &L, rhythm: Rhythm, taken: Vec<(u64, Record)>) -> bool {
        let (segments, records): (Vec<u64>, Vec<Record>) = taken.into_iter().unzip();
        match ledger.feed(&records).await {
            Ok(()) => {
                if self.failures > 0 {
                    tracing::info!("the database takes records again");
                }
                self.failures = 0;
                self.retry_at = None;
                true
            }
            Err(error) => {
                let wait = rhythm.retry * 2_u32.pow(self.failures.min(2));
                if self.failures == 0 {
                    tracing::error!(%error, "the database takes no records; they wait in the journal");
                }
                self.failures += 1;
                self.retry_at = Some(Instant::now() + wait);
                self.pending.put_back(segments.into_iter().zip(records).collect());
                false
            }
        }
    }

    /// Delete the segments that nothing pending needs. The one that is being written stays.
    fn delete(&self) {
        let floor = self.pending.floor().unwrap_or(self.current).min(self.current);
        if let Err(error) = self.segments.delete_below(floor) {
            tracing::warn!(%error, "journal segments cannot be deleted");
        }
    }

    /// Rewrite closed segments without what is outdated, where they have grown beyond measure.
    fn compact(&mut self, rhythm: Rhythm) {
        let allowed = rhythm.waiting_bytes + 2 * self.base_bytes;
        if self.failures == 0 || self.segments.bytes_below(self.current) <= allowed {
            return;
        }
        let number = self.current - 1;
        let closed: Vec<Record> = self
            .pending
            .clone()
            .into_records()
            .into_iter()
            .filter(|(segment, _)| *segment <= number)
            .map(|(_, record)| record)
            .collect();
        match self.segments.replace(number, &closed) {
            Ok(bytes) => {
                self.base_bytes = bytes;
                self.pending.moved_to(number);
            }
            Err(error) => tracing::error!(%error, "journal segments cannot be rewritten"),
        }
    }

    /// The writer is gone: feed everything, once, and leave an empty directory where that succeeds.
    async fn finish<L: Ledger>(&mut self, ledger: &L, rhythm: Rhythm) -> Fed {
        while !self.pending.is_empty() {
            let taken = self.pending.take(rhythm.batch, Due::All);
            if !self.feed(ledger, rhythm, taken).await {
                return Fed::Part;
            }
        }
        if let Err(error) = self.segments.delete_below(self.current + 1) {
            tracing::warn!(%error, "journal segments cannot be deleted");
        }
        Fed::All
    }
}
