//! Busy polling: under load the loop sleeps briefly between iterations, so that one wake-up, one journal write and one send serve many packets.

use std::time::Duration;

use base::Instant;

/// Sleep between iterations under load: too short for a phone to notice.
pub(super) const BUSY_POLL: Duration = Duration::from_micros(400);
/// Window over which packets are counted.
const WINDOW: Duration = Duration::from_millis(5);
/// Packets per window from which on busy polling pays: 3 per 800 µs.
const BUSY_PACKETS: usize = 20;
/// Iterations after which the kernel is polled for connections and errors all the same.
const POLL_EVERY: u32 = 8;

/// Measures the load by the number of packets per iteration.
#[derive(Debug, Default)]
pub(super) struct BusyPoller {
    since: Instant,
    packets: usize,
    busy: bool,
    iterations: u32,
}

impl BusyPoller {
    /// Count the packets of one iteration.
    pub(super) fn count(&mut self, now: Instant, packets: usize) {
        self.packets += packets;
        if now.since(self.since) >= WINDOW {
            // A window that was long because no packet arrived is not load.
            self.busy = self.packets >= BUSY_PACKETS && now.since(self.since) < WINDOW * 2;
            self.since = now;
            self.packets = 0;
        }
    }

    /// Whether to sleep [`BUSY_POLL`] instead of waiting for sockets.
    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }

    /// Whether to poll the kernel now although the loop is busy.
    pub(super) fn should_poll(&mut self) -> bool {
        self.iterations = self.iterations.wrapping_add(1);
        self.iterations.is_multiple_of(POLL_EVERY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_polling_needs_a_steady_load_and_ends_with_it() {
        let mut poller = BusyPoller::default();
        let at = |micros| Instant::from_micros(micros);
        poller.count(at(1_000_000), 1000);
        assert!(!poller.is_busy(), "one burst after a silence is no load");
        for n in 1..=60 {
            poller.count(at(1_000_000 + n * 100), 1);
        }
        assert!(poller.is_busy());
        poller.count(at(1_030_000), 1);
        assert!(!poller.is_busy());
    }
}
