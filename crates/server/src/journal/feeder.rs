//! Feeds the database from the journal, and keeps the disk small.

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

/// Where records end up.
pub trait RecordSink: Send + Sync + 'static {
    /// Take all of them in, or none. Taking the same ones in twice changes nothing.
    fn feed(&self, records: &[Record]) -> impl Future<Output = Result<(), StoreError>> + Send;
}

impl RecordSink for Store {
    async fn feed(&self, records: &[Record]) -> Result<(), StoreError> {
        Store::feed(self, records).await
    }
}

/// How often the database is fed.
#[derive(Clone, Copy, Debug)]
pub struct FeedIntervals {
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

impl Default for FeedIntervals {
    fn default() -> Self {
        FeedIntervals {
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
    done: mpsc::UnboundedReceiver<Fact>,
    pending: Pending,
    /// The first segment that memory does not have all of, where more waits than it shall hold: it is read again later, and all after it.
    behind: Option<u64>,
    current: u64,
    bindings_since: Option<Instant>,
    failures: u32,
    retry_at: Option<Instant>,
    base_bytes: u64,
    /// Writes the lines of the day; none where `None`.
    day: Option<DayLog>,
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
        behind: Option<u64>,
        current: u64,
        syncer: Syncer,
    ) -> Feeder {
        Feeder {
            segments,
            written,
            writer,
            done,
            pending,
            behind,
            current,
            bindings_since: None,
            failures: 0,
            retry_at: None,
            base_bytes: 0,
            day: None,
            lag: Arc::default(),
            caught_up: Instant::now(),
            _syncer: syncer,
        }
    }

    /// Write the lines of the day to the log as records come.
    pub fn telling(self, day: DayLog) -> Feeder {
        Feeder { day: Some(day), ..self }
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
    pub async fn run<L: RecordSink>(mut self, low_priority: Arc<L>, rhythm: FeedIntervals) -> FeedResult {
        let mut beat = interval(rhythm.calls);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = &mut self.writer => break,
                _ = beat.tick() => {
                    self.absorb();
                    self.measure();
                    self.round(&*low_priority, rhythm).await;
                    self.measure();
                    self.compact(rhythm);
                }
            }
        }
        self.absorb();
        self.finish(&*low_priority, rhythm).await
    }

    fn absorb(&mut self) {
        while let Ok(written) = self.written.try_recv() {
            self.current = self.current.max(written.segment);
            if written.on_disk && self.behind.is_none() && self.pending.len().0 >= CALLS_WAITING {
                tracing::warn!("much waits for the database: from now on it is read from the journal again");
                self.behind = Some(written.segment);
            }
            let later = written.on_disk && self.behind.is_some();
            for record in written.records {
                if let Some(day) = &mut self.day {
                    day.tell(&record);
                }
                // Who does what a fact says tells us so once, before it would be read again.
                if !later || matches!(record, Record::Voicemail(_)) {
                    self.pending.apply(written.segment, record);
                }
            }
        }
        // After the records: what is done was written down before.
        while let Ok(fact) = self.done.try_recv() {
            self.pending.done(&fact);
        }
        if let Some(day) = &mut self.day {
            day.rest();
        }
    }

    /// Read the next segment that memory does not have. `false` where there is none.
    fn catch_up(&mut self) -> bool {
        let Some(next) = self.behind else { return false };
        // What was told until now is in the segments; of the last one memory has, from now on, what is told as well.
        self.absorb();
        self.behind = (next < self.current).then_some(next + 1);
        match self.segments.read(next) {
            Ok(records) => {
                for record in records.into_iter().filter(|record| !matches!(record, Record::Voicemail(_))) {
                    self.pending.apply(next, record);
                }
            }
            Err(error) => tracing::error!(%error, segment = next, "a journal segment cannot be read again"),
        }
        true
    }

    /// Feed what is due, and then what waits in segments only.
    async fn round<L: RecordSink>(&mut self, low_priority: &L, rhythm: FeedIntervals) {
        self.feed_due(low_priority, rhythm).await;
        while self.failures == 0 && self.pending.len().0 == 0 && self.catch_up() {
            self.feed_due(low_priority, rhythm).await;
        }
    }

    async fn feed_due<L: RecordSink>(&mut self, low_priority: &L, rhythm: FeedIntervals) {
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
            if taken.is_empty() || !self.feed(low_priority, rhythm, taken).await {
                return;
            }
        }
        if due == Due::All {
            self.bindings_since = None;
        }
        self.delete();
    }

    fn due(&mut self, rhythm: FeedIntervals) -> Due {
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
    async fn feed<L: RecordSink>(
        &mut self,
        low_priority: &L,
        rhythm: FeedIntervals,
        taken: Vec<(u64, Record)>,
    ) -> bool {
        let (segments, records): (Vec<u64>, Vec<Record>) = taken.into_iter().unzip();
        match low_priority.feed(&records).await {
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
        let floor = self.behind.map_or(floor, |behind| floor.min(behind));
        if let Err(error) = self.segments.delete_below(floor) {
            tracing::warn!(%error, "journal segments cannot be deleted");
        }
    }

    /// Rewrite closed segments without what is outdated, where they have grown beyond measure.
    fn compact(&mut self, rhythm: FeedIntervals) {
        let allowed = rhythm.waiting_bytes + 2 * self.base_bytes;
        if self.failures == 0 || self.behind.is_some() || self.segments.bytes_below(self.current) <= allowed {
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
    async fn finish<L: RecordSink>(&mut self, low_priority: &L, rhythm: FeedIntervals) -> FeedResult {
        loop {
            while !self.pending.is_empty() {
                let taken = self.pending.take(rhythm.batch, Due::All);
                if !self.feed(low_priority, rhythm, taken).await {
                    return FeedResult::Part;
                }
            }
            if !self.catch_up() {
                break;
            }
        }
        // Voicemail's part of the shell ends after the exchange, and does what it was told last.
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
