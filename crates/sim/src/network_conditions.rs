//! The network of one day: how much it loses, doubles, and brings late.

use std::time::Duration;

use base::{Instant, Rng};

use crate::rng_ext::Dice;

/// Rates in percent, drawn once a day.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NetworkConditions {
    loss: u64,
    duplication: u64,
    /// Datagrams that dawdle, and so are overtaken by later ones.
    dawdling: u64,
    slowest: Duration,
}

impl NetworkConditions {
    /// The worst rate of each kind.
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

    /// When the copies of a datagram arrive: none, one, or two times.
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

    /// When a part of a stream arrives: always, and after those before it.
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
