//! Network model of one run: loss, duplication and delay of datagrams.

use std::time::Duration;

use base::{Instant, Rng};

use crate::rng_ext::RngExt;

/// Rates in percent, drawn once per run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NetworkConditions {
    loss: u64,
    duplication: u64,
    /// Datagrams with a long delay, so that later ones overtake them.
    reordering: u64,
    max_delay: Duration,
}

impl NetworkConditions {
    /// Highest rate of each kind, in percent.
    const MAX_RATE: u64 = 20;

    pub(crate) fn of(rng: &mut Rng) -> NetworkConditions {
        match rng.below(10) {
            0 => NetworkConditions { loss: 0, duplication: 0, reordering: 0, max_delay: Duration::ZERO },
            1 => NetworkConditions {
                loss: NetworkConditions::MAX_RATE,
                duplication: NetworkConditions::MAX_RATE,
                reordering: NetworkConditions::MAX_RATE,
                max_delay: Duration::from_millis(1500),
            },
            _ => NetworkConditions {
                loss: rng.below(NetworkConditions::MAX_RATE + 1),
                duplication: rng.below(NetworkConditions::MAX_RATE + 1),
                reordering: rng.below(NetworkConditions::MAX_RATE + 1),
                max_delay: rng.millis(50, 1500),
            },
        }
    }

    /// Arrival times of a datagram's copies: none, one or two.
    pub(crate) fn datagram(&self, now: Instant, rng: &mut Rng) -> Vec<Instant> {
        let mut arrivals = Vec::new();
        if !rng.odds(self.loss) {
            arrivals.push(now + self.delay(rng));
            if rng.odds(self.duplication) {
                arrivals.push(now + self.delay(rng));
            }
        }
        arrivals
    }

    /// Arrival time of a segment of a TCP connection: segments are not lost and keep their order.
    pub(crate) fn stream(now: Instant, last: Instant, rng: &mut Rng) -> Instant {
        (now + rng.millis(1, 60)).max(last + Duration::from_micros(1))
    }

    fn delay(&self, rng: &mut Rng) -> Duration {
        if rng.odds(self.reordering) {
            rng.millis(1, self.max_delay.as_millis() as u64)
        } else {
            rng.millis(1, 20)
        }
    }
}
