//! Random choices for the simulator.

use std::time::Duration;

use base::Rng;

/// Extension of [`Rng`].
pub(crate) trait RngExt {
    /// True in `percent` of all cases.
    fn odds(&mut self, percent: u64) -> bool;
    /// A duration between two bounds in milliseconds, inclusive.
    fn millis(&mut self, from: u64, to: u64) -> Duration;
    /// One element of a slice, which must not be empty.
    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T;
}

impl RngExt for Rng {
    fn odds(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_micros(1000 * from + self.below(1000 * to.saturating_sub(from) + 1))
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}
