//! Feeds the database from the journal, and deletes or compacts old segments.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use model::journal::Record;
use model::voicemail::Fact;
use store::{Store, StoreError};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::pending::Due;
use super::segment::Segments;
use super::sync::Syncer;
use super::{Pending, Written};
use crate::day_log::DayLog;
use crate::limits::{CALLS_WAITING, SEGMENT_BYTES, SEGMENTS_WAITING};
use crate::metrics::FeederLag;

/// The destination of records: the database.
pub trait RecordSink: Send + Sync + 'static {
    /// Store all records or none (one transaction). Storing the same records again changes nothing.
    fn feed(&self, records: &[Record]) -> impl Future<Output = Result<(), StoreError>> + Send;
}

impl RecordSink for Store {
    async fn feed(&self, records: &[Record]) -> Result<(), StoreError> {
        Store::feed(self, records).await
    }
}

/// Intervals and batch sizes of the feeder.
#[derive(Clone, Copy, Debug)]
pub struct FeedIntervals {
    /// Maximum wait of calls.
    pub calls: Duration,
    /// Maximum wait of bindings: a later refresh replaces an earlier one.
    pub bindings: Duration,
    /// Bindings are fed earlier if so many wait.
    pub max_bindings: usize,
    /// Records per transaction: other writers need the database too.
    pub batch: usize,
    /// Retry interval after a failure; it doubles up to four times this value, so that feeding resumes soon after the database is back.
    pub retry: Duration,
    /// Closed segments are compacted when they exceed twice the last compaction by so many bytes.
    pub waiting_bytes: u64,
}

impl Default for FeedIntervals {
    fn default() -> Self {
        FeedIntervals {
            calls: Duration::from_millis(500),
            bindings: Duration::from_secs(5),
            max_bindings: 16_384,
            batch: 2_000,
            retry: Duration::from_secs(1),
            waiting_bytes: SEGMENT_BYTES * SEGMENTS_WAITING as u64,
        }
    }
}

/// The feeder.
#[derive(Debug)]
pub struct Feeder {
    segments: Segments,
    written: mpsc::UnboundedReceiver<Written>,
    writer: Writer,
    done: mpsc::UnboundedReceiver<Fact>,
    pending: Pending,
    /// The first segment that is not completely in memory, when more records wait than memory may hold: it and all later ones are read again.
    reread_from: Option<u64>,
    current: u64,
    bindings_since: Option<Instant>,
    failures: u32,
    retry_at: Option<Instant>,
    base_bytes: u64,
    /// Logs daily operation, if set.
    day_log: Option<DayLog>,
    lag: Arc<FeederLag>,
    /// When the database last had every record that was due.
    caught_up: Instant,
    /// Keeps the journal's sync thread alive.
    _syncer: Syncer,
}

/// Resolves when the journal's writer is dropped. Its records are not awaited but polled at each feeding interval: waking a thread per batch
/// would cost more than all it does.
pub(super) type Writer = oneshot::Receiver<std::convert::Infallible>;

/// Result of the feeder at its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FeedResult {
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
        done: mpsc::UnboundedReceiver<Fact>,
        pending: Pending,
        reread_from: Option<u64>,
        current: u64,
        syncer: Syncer,
    ) -> Feeder {
        Feeder {
            segments,
            written,
            writer,
            done,
            pending,
            reread_from,
            current,
            bindings_since: None,
            failures: 0,
            retry_at: None,
            base_bytes: 0,
            day_log: None,
            lag: Arc::default(),
            caught_up: Instant::now(),
            _syncer: syncer,
        }
    }

    /// Log daily operation as records arrive.
    pub fn with_day_log(self, day_log: DayLog) -> Feeder {
        Feeder { day_log: Some(day_log), ..self }
    }

    /// The lag of the database, updated by the feeder.
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

    /// Feed until the journal's writer is dropped, then feed the rest.
    pub async fn run<S: RecordSink>(mut self, sink: Arc<S>, intervals: FeedIntervals) -> FeedResult {
        let mut timer = interval(intervals.calls);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = &mut self.writer => break,
                _ = timer.tick() => {
                    self.receive();
                    self.measure();
                    self.feed_all(&*sink, intervals).await;
                    self.measure();
                    self.compact(intervals);
                }
            }
        }
        self.receive();
        self.finish(&*sink, intervals).await
    }

    fn receive(&mut self) {
        while let Ok(written) = self.written.try_recv() {
            self.current = self.current.max(written.segment);
            if written.on_disk && self.reread_from.is_none() && self.pending.len().0 >= CALLS_WAITING {
                tracing::warn!(
                    "too many records wait for the database: further records will be read from the journal again"
                );
                self.reread_from = Some(written.segment);
            }
            let skip = written.on_disk && self.reread_from.is_some();
            for record in written.records {
                if let Some(day_log) = &mut self.day_log {
                    day_log.log(&record);
                }
                // Facts are reported as executed only once, possibly before the segment is read again.
                if !skip || matches!(record, Record::Voicemail(_)) {
                    self.pending.apply(written.segment, record);
                }
            }
        }
        // After the records: a fact is written before it is executed.
        while let Ok(fact) = self.done.try_recv() {
            self.pending.done(&fact);
        }
        if let Some(day_log) = &mut self.day_log {
            day_log.end_batch();
        }
    }

    /// Read the next segment that is not in memory. `false` if there is none.
    fn catch_up(&mut self) -> bool {
        let Some(next) = self.reread_from else { return false };
        // Records received so far are in the segments. From now on, records received for the last segment are kept in memory as well.
        self.receive();
        self.reread_from = (next < self.current).then_some(next + 1);
        match self.segments.read(next) {
            Ok(records) => {
                for record in records.into_iter().filter(|record| !matches!(record, Record::Voicemail(_))) {
                    self.pending.apply(next, record);
                }
            }
            Err(error) => tracing::error!(%error, segment = next, "a journal segment cannot be read"),
        }
        true
    }

    /// Feed what is due, then the segments that are not in memory.
    async fn feed_all<S: RecordSink>(&mut self, sink: &S, intervals: FeedIntervals) {
        self.feed_due(sink, intervals).await;
        while self.failures == 0 && self.pending.len().0 == 0 && self.catch_up() {
            self.feed_due(sink, intervals).await;
        }
    }

    async fn feed_due<S: RecordSink>(&mut self, sink: &S, intervals: FeedIntervals) {
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        let due = self.due(intervals);
        let mut left = match due {
            Due::Calls => self.pending.len().0,
            Due::All => self.pending.len().0 + self.pending.len().1,
        };
        while left > 0 {
            let batch = self.pending.take(intervals.batch, due);
            left = left.saturating_sub(batch.len().max(1));
            if batch.is_empty() || !self.feed(sink, intervals, batch).await {
                return;
            }
        }
        if due == Due::All {
            self.bindings_since = None;
        }
        self.delete();
    }

    fn due(&mut self, intervals: FeedIntervals) -> Due {
        let bindings = self.pending.len().1;
        if bindings == 0 {
            self.bindings_since = None;
            return Due::Calls;
        }
        let since = *self.bindings_since.get_or_insert_with(Instant::now);
        if bindings >= intervals.max_bindings || since.elapsed() >= intervals.bindings {
            Due::All
        } else {
            Due::Calls
        }
    }

    /// Feed one transaction. On failure the records are put back.
    async fn feed<S: RecordSink>(
        &mut self,
        sink: &S,
        intervals: FeedIntervals,
        batch: Vec<(u64, Record)>,
    ) -> bool {
        let (segments, records): (Vec<u64>, Vec<Record>) = batch.into_iter().unzip();
        match sink.feed(&records).await {
            Ok(()) => {
                if self.failures > 0 {
                    tracing::info!("the database accepts records again");
                }
                self.failures = 0;
                self.retry_at = None;
                true
            }
            Err(error) => {
                let wait = intervals.retry * 2_u32.pow(self.failures.min(2));
                if self.failures == 0 {
                    tracing::error!(%error, "the database cannot be written; records wait in the journal");
                }
                self.failures += 1;
                self.retry_at = Some(Instant::now() + wait);
                self.pending.put_back(segments.into_iter().zip(records).collect());
                false
            }
        }
    }

    /// Delete the segments that no pending record needs. The current one stays.
    fn delete(&self) {
        let floor = self.pending.floor().unwrap_or(self.current).min(self.current);
        let floor = self.reread_from.map_or(floor, |reread_from| floor.min(reread_from));
        if let Err(error) = self.segments.delete_below(floor) {
            tracing::warn!(%error, "journal segments cannot be deleted");
        }
    }

    /// Compact the closed segments if they have grown too large.
    fn compact(&mut self, intervals: FeedIntervals) {
        let limit = intervals.waiting_bytes + 2 * self.base_bytes;
        if self.failures == 0
            || self.reread_from.is_some()
            || self.segments.bytes_below(self.current) <= limit
        {
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
                self.pending.set_segment(number);
            }
            Err(error) => tracing::error!(%error, "journal segments cannot be compacted"),
        }
    }

    /// After the writer is dropped: feed everything, once, and leave an empty directory if that succeeds.
    async fn finish<S: RecordSink>(&mut self, sink: &S, intervals: FeedIntervals) -> FeedResult {
        loop {
            while !self.pending.is_empty() {
                let batch = self.pending.take(intervals.batch, Due::All);
                if !self.feed(sink, intervals, batch).await {
                    return FeedResult::Part;
                }
            }
            if !self.catch_up() {
                break;
            }
        }
        // The voicemail tasks end after the switch thread, when its last facts are executed.
        while let Some(fact) = self.done.recv().await {
            self.pending.done(&fact);
        }
        let floor = self.pending.floor().unwrap_or(self.current + 1);
        if let Err(error) = self.segments.delete_below(floor) {
            tracing::warn!(%error, "journal segments cannot be deleted");
        }
        if self.pending.floor().is_some() { FeedResult::Part } else { FeedResult::All }
    }
}
