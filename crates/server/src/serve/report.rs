//! What the process tells of itself: its tasks, and what is counted outside the API.

use std::fmt;
use std::sync::Arc;

use api::MetricKind::{Counter, Gauge};
use api::{MetricsPage, TaskStatus};

use crate::log::Log;
use crate::media::{MediaWorkers, WorkerStats};
use crate::metrics::FeederLag;
use crate::supervisor::Supervisor;
use crate::switch_thread::Published;

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
        let stats = self.workers.stats();
        let busy = stats.iter().map(|worker| (worker.worker.to_string(), worker.busy.as_secs_f64()));
        let help = "CPU time of a media worker: its rate is the worker's load";
        page.values(Counter, "media_worker_busy_seconds", help, "worker", busy)?;
        let each = |read: fn(&WorkerStats) -> u64| {
            stats.iter().map(move |worker| (worker.worker.to_string(), read(worker)))
        };
        let received = each(|worker| worker.received);
        page.values(Counter, "rtp_packets_received", "RTP and RTCP packets that came", "worker", received)?;
        let sent = each(|worker| worker.forwarded + worker.generated);
        page.values(Counter, "rtp_packets_sent", "RTP and RTCP packets that were sent", "worker", sent)?;
        let dropped = |read: fn(&WorkerStats) -> u64| stats.iter().map(read).sum::<u64>();
        let dropped = [
            ("closed".to_owned(), dropped(|worker| worker.dropped_closed)),
            ("refused".to_owned(), dropped(|worker| worker.dropped_refused)),
            ("oversized".to_owned(), dropped(|worker| worker.dropped_oversized)),
            ("unsent".to_owned(), dropped(|worker| worker.dropped_unsent)),
        ];
        let help = "RTP and RTCP packets that were dropped: their stream was over, not the stream's peer, too long, not taken by the kernel";
        page.values(Counter, "rtp_packets_dropped", help, "reason", dropped)?;
        let ports = |read: fn(&WorkerStats) -> u64| stats.iter().map(read).sum::<u64>();
        let ports = [
            ("free".to_owned(), ports(|worker| worker.ports_free)),
            ("resting".to_owned(), ports(|worker| worker.ports_resting)),
            ("unbound".to_owned(), ports(|worker| worker.ports_unbound)),
        ];
        page.values(Gauge, "rtp_port_pairs", "Pairs of RTP ports that no stream uses", "state", ports)
    }
}
