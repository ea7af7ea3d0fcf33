//! Under load, packets are gathered for a moment: one wake-up, one write and one send then serve many of them.

use std::time::Duration;

use base::Instant;

/// How long packets are gathered: what a phone cannot notice.
pub(super) const BUSY_POLL: Duration = Duration::from_micros(400);
/// How long packets are counted before the load is judged.
const WINDOW: Duration = Duration::from_millis(5);
/// Packets of one window from which on gathering pays: three in two naps.
const BUSY: usize = 20;
/// Turns after which the kernel is asked about connections and errors even so.
const POLL_EVERY: u32 = 8;

/// Judges the load from the number of packets in each turn.
#[derive(Debug, Default)]
pub(super) struct BusyPoller {
    since: Instant,
    packets: usize,
    busy: bool,
    turns: u32,
}

impl BusyPoller {
    /// A turn took so many packets.
    pub(super) fn note(&mut self, now: Instant, packets: usize) {
        self.packets += packets;
        if now.since(self.since) >= WINDOW {
            // A window that lasted long because nothing came was no load.
            self.busy = self.packets >= BUSY && now.since(self.since) < WINDOW * 2;
            self.since = now;
            self.packets = 0;
        }
    }

    /// Whether to gather before the next turn.
    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }

    /// Whether it is time to ask the kernel, though we are busy.
    pub(super) fn should_poll(&mut self) -> bool {
        self.turns = self.turns.wrapping_add(1);
        self.turns.is_multiple_of(POLL_EVERY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_steady_load_is_gathered_and_silence_ends_it() {
        let mut pace = BusyPoller::default();
        let at = |micros| Instant::from_micros(micros);
        pace.note(at(1_000_000), 1000);
        assert!(!pace.is_busy(), "one burst after a silence is no load");
        for n in 1..=60 {
            pace.note(at(1_000_000 + n * 100), 1);
        }
        assert!(pace.is_busy());
        pace.note(at(1_030_000), 1);
        assert!(!pace.is_busy());
    }
}
