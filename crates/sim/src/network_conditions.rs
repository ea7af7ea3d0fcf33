//! Network model of one run: loss, duplication and delay of datagrams.

use std::time::Duration;

use base::{Instant, Rng};

use crate::rng_ext::Dice;

/// Rates in percent, drawn once per run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NetworkConditions {
    loss: u64,
    duplication: u64,
    /// Datagrams with a long delay, so that later ones overtake them.
    dawdling: u64,
    slowest: Duration,
}

impl NetworkConditions {
    /// Highest rate of each kind, in percent.
    const WORST: u64 = 20;

    pub(crate) fn of(rng: &mut Rng) -> NetworkConditions {
        match rng.below(10) {
            0 => NetworkConditions { loss: 0, duplication: 0, dawdling: 0, slowest: Duration::ZERO },
            1 => NetworkConditions {
                loss: NetworkConditions::WORST,
                duplication: NetworkConditions::WORST,
                dawdling: NetworkConditions::WORST,
                slowest: Duration::from_millis(1500),
            },
            _ => NetworkConditions {
                loss: rng.below(NetworkConditions::WORST + 1),
                duplication: rng.below(NetworkConditions::WORST + 1),
                dawdling: rng.below(NetworkConditions::WORST + 1),
                slowest: rng.millis(50, 1500),
            },
        }
    }

    /// Arrival times of a datagram's copies: none, one or two.
    pub(crate) fn datagram(&self, now: Instant, rng: &mut Rng) -> Vec<Instant> {
        let mut arrivals = Vec::new();
        if !rng.odds(self.loss) {
            arrivals.push(now + self.journey(rng));
            if rng.odds(self.duplication) {
                arrivals.push(now + self.journey(rng));
            }
        }
        arrivals
    }

    /// Arrival time of a segment of a TCP connection: segments are not lost and keep their order.
    pub(crate) fn stream(now: Instant, last: Instant, rng: &mut Rng) -> Instant {
        (now + rng.millis(1, 60)).max(last + Duration::from_micros(1))
    }

    fn journey(&self, rng: &mut Rng) -> Duration {
        if rng.odds(self.dawdling) {
            rng.millis(1, self.slowest.as_millis() as u64)
        } else {
            rng.millis(1, 20)
        }
    }
}
