//! What each worker has done: counted by its thread for itself, published once per turn, read by anybody without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// One worker's figures. Counters grow from the start of the worker's thread; the last four are what there is now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WorkerStats {
    /// Which worker.
    pub worker: u8,
    /// Turns of its loop.
    pub turns: u64,
    /// CPU time of its thread, what the kernel did in its system calls included. The growth per second is the worker's load.
    pub busy: Duration,
    /// RTP and RTCP packets that came, whatever became of them.
    pub received: u64,
    /// Of those, the packets that were handed to another stream's socket.
    pub forwarded: u64,
    /// Packets that the engine made: tones, clips, silence, our own RTCP.
    pub generated: u64,
    /// Dropped: the stream was over.
    pub dropped_closed: u64,
    /// Dropped: not from the stream's peer, no RTP, against the direction, or too many of one second.
    pub dropped_refused: u64,
    /// Dropped: longer than any packet of voice.
    pub dropped_oversized: u64,
    /// Dropped: the kernel did not take what was to be sent.
    pub dropped_unsent: u64,
    /// Streams that are open: each has a pair of ports.
    pub streams: u64,
    /// Pairs of ports that are bound and free.
    pub ports_free: u64,
    /// Pairs of ports that rest after a stream.
    pub ports_resting: u64,
    /// Pairs of the range that are not bound.
    pub ports_unbound: u64,
}

/// Where a worker publishes: one writer, any number of readers. The figures of one snapshot may be one turn apart.
#[derive(Debug, Default)]
pub(super) struct Counters {
    turns: AtomicU64,
    busy_us: AtomicU64,
    received: AtomicU64,
    forwarded: AtomicU64,
    generated: AtomicU64,
    dropped_closed: AtomicU64,
    dropped_refused: AtomicU64,
    dropped_oversized: AtomicU64,
    dropped_unsent: AtomicU64,
    streams: AtomicU64,
    ports_free: AtomicU64,
    ports_resting: AtomicU64,
    ports_unbound: AtomicU64,
}

impl Counters {
    pub(super) fn publish(&self, stats: &WorkerStats) {
        let WorkerStats { worker: _, turns, busy, received, forwarded, generated, .. } = *stats;
        let busy_us = busy.as_micros().min(u128::from(u64::MAX)) as u64;
        for (place, value) in [
            (&self.turns, turns),
            (&self.busy_us, busy_us),
            (&self.received, received),
            (&self.forwarded, forwarded),
            (&self.generated, generated),
            (&self.dropped_closed, stats.dropped_closed),
            (&self.dropped_refused, stats.dropped_refused),
            (&self.dropped_oversized, stats.dropped_oversized),
            (&self.dropped_unsent, stats.dropped_unsent),
            (&self.streams, stats.streams),
            (&self.ports_free, stats.ports_free),
            (&self.ports_resting, stats.ports_resting),
            (&self.ports_unbound, stats.ports_unbound),
        ] {
            place.store(value, Ordering::Relaxed);
        }
    }

    pub(super) fn snapshot(&self, worker: u8) -> WorkerStats {
        let read = |place: &AtomicU64| place.load(Ordering::Relaxed);
        WorkerStats {
            worker,
            turns: read(&self.turns),
            busy: Duration::from_micros(read(&self.busy_us)),
            received: read(&self.received),
            forwarded: read(&self.forwarded),
            generated: read(&self.generated),
            dropped_closed: read(&self.dropped_closed),
            dropped_refused: read(&self.dropped_refused),
            dropped_oversized: read(&self.dropped_oversized),
            dropped_unsent: read(&self.dropped_unsent),
            streams: read(&self.streams),
            ports_free: read(&self.ports_free),
            ports_resting: read(&self.ports_resting),
            ports_unbound: read(&self.ports_unbound),
        }
    }
}

/// CPU time of the calling thread. Wall time between two waits would miss what io_uring sends while it waits.
pub(super) fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec.clamp(0, 999_999_999) as u32)
}
