//! What the process tells of itself: its tasks, and what is counted outside the API.

use std::fmt;
use std::sync::Arc;

use api::MetricKind::{Counter, Gauge};
use api::{MetricsPage, TaskStatus};

use crate::exchange::Published;
use crate::log::Log;
use crate::media::MediaWorkers;
use crate::metrics::{FeederLag, WorkerCounters};
use crate::supervisor::Supervisor;

/// See the module.
pub(super) struct Report {
    pub(super) supervisor: Supervisor,
    pub(super) exchange: Arc<Published>,
    pub(super) workers: Arc<MediaWorkers>,
    pub(super) lag: Arc<FeederLag>,
    pub(super) log: Log,
}

impl api::Process for Report {
    fn tasks(&self) -> Vec<TaskStatus> {
        self.supervisor.tasks()
    }

    fn metrics(&self, page: &mut MetricsPage<'_>) -> fmt::Result {
        let exchange = &self.exchange;
        exchange.iteration.write(
            page,
            "loop_iteration_seconds",
            "How long the iterations of the exchange's loop take",
        )?;
        exchange.journal.write(page, "journal_write_seconds", "How long writing to the journal takes")?;
        let (waiting, age) = self.lag.get();
        page.value(Gauge, "feeder_waiting_records", "Records that the database does not have yet", waiting)?;
        page.value(Gauge, "feeder_lag_seconds", "How long the database has been behind", age.as_secs_f64())?;
        self.media(page)?;
        let help = "Lines that a slow or full output did not take";
        page.values(Counter, "log_lines_dropped", help, "output", self.log.dropped())
    }
}

impl Report {
    fn media(&self, page: &mut MetricsPage<'_>) -> fmt::Result {
        let each = |read: fn(&WorkerCounters) -> &std::sync::atomic::AtomicU64| {
            let of = move |counters| read(counters).load(std::sync::atomic::Ordering::Relaxed);
            (0..)
                .zip(self.workers.counters())
                .map(move |(n, counters): (usize, _)| (n.to_string(), of(counters)))
        };
        let busy = each(|counters| &counters.busy_micros).map(|(n, micros)| (n, micros as f64 / 1e6));
        let help = "Time that a media worker did not wait: its rate is the worker's load";
        page.values(Counter, "media_worker_busy_seconds", help, "worker", busy)?;
        let received = each(|counters| &counters.received);
        page.values(Counter, "rtp_packets_received", "RTP and RTCP packets that came", "worker", received)?;
        let sent = each(|counters| &counters.sent);
        page.values(Counter, "rtp_packets_sent", "RTP and RTCP packets that were sent", "worker", sent)?;
        let help = "RTP and RTCP packets that came for a stream that is over";
        page.values(Counter, "rtp_packets_dropped", help, "worker", each(|counters| &counters.dropped))
    }
}
