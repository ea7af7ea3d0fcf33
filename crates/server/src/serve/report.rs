//! Reports the supervised tasks and the metrics that are counted outside the API.

use std::fmt;
use std::sync::Arc;

use api::MetricKind::{Counter, Gauge};
use api::{MetricsPage, TaskStatus};

use crate::log::Log;
use crate::media::{MediaWorkers, WorkerStats};
use crate::metrics::FeederLag;
use crate::supervisor::Supervisor;
use crate::switch_thread::Published;

/// Source of the process's metrics.
pub(super) struct Report {
    pub(super) supervisor: Supervisor,
    pub(super) switch: Arc<Published>,
    pub(super) workers: Arc<MediaWorkers>,
    pub(super) lag: Arc<FeederLag>,
    pub(super) log: Log,
}

impl api::Process for Report {
    fn tasks(&self) -> Vec<TaskStatus> {
        self.supervisor.tasks()
    }

    fn metrics(&self, page: &mut MetricsPage<'_>) -> fmt::Result {
        let switch = &self.switch;
        switch.iteration.write(
            page,
            "loop_iteration_seconds",
            "Duration of the iterations of the switch's event loop",
        )?;
        switch.journal.write(page, "journal_write_seconds", "Duration of journal writes")?;
        let (waiting, age) = self.lag.get();
        page.value(
            Gauge,
            "feeder_waiting_records",
            "Journal records not yet written to the database",
            waiting,
        )?;
        page.value(
            Gauge,
            "feeder_lag_seconds",
            "Time since the database last had all records",
            age.as_secs_f64(),
        )?;
        self.media(page)?;
        let help = "Log lines dropped because an output was slow or full";
        page.values(Counter, "log_lines_dropped", help, "output", self.log.dropped())
    }
}

impl Report {
    fn media(&self, page: &mut MetricsPage<'_>) -> fmt::Result {
        let stats = self.workers.stats();
        let busy = stats.iter().map(|worker| (worker.worker.to_string(), worker.busy.as_secs_f64()));
        let help = "CPU time of a media worker: its rate is the worker's load";
        page.values(Counter, "media_worker_busy_seconds", help, "worker", busy)?;
        let per_worker = |read: fn(&WorkerStats) -> u64| {
            stats.iter().map(move |worker| (worker.worker.to_string(), read(worker)))
        };
        let received = per_worker(|worker| worker.received);
        page.values(Counter, "rtp_packets_received", "RTP and RTCP packets received", "worker", received)?;
        let sent = per_worker(|worker| worker.forwarded + worker.generated);
        page.values(Counter, "rtp_packets_sent", "RTP and RTCP packets sent", "worker", sent)?;
        let total = |read: fn(&WorkerStats) -> u64| stats.iter().map(read).sum::<u64>();
        let dropped = [
            ("closed".to_owned(), total(|worker| worker.dropped_closed)),
            ("refused".to_owned(), total(|worker| worker.dropped_refused)),
            ("oversized".to_owned(), total(|worker| worker.dropped_oversized)),
            ("unsent".to_owned(), total(|worker| worker.dropped_unsent)),
        ];
        let help = "RTP and RTCP packets dropped: stream closed, refused (not from the stream's peer), oversized, not sent by the kernel";
        page.values(Counter, "rtp_packets_dropped", help, "reason", dropped)?;
        let count = |read: fn(&WorkerStats) -> u64| stats.iter().map(read).sum::<u64>();
        let pairs = [
            ("free".to_owned(), count(|worker| worker.ports_free)),
            ("resting".to_owned(), count(|worker| worker.ports_quarantined)),
            ("unbound".to_owned(), count(|worker| worker.ports_unbound)),
        ];
        page.values(Gauge, "rtp_port_pairs", "Pairs of RTP ports not in use", "state", pairs)
    }
}
