//! Words for chance that read well where a life is made up.

use std::time::Duration;

use base::Rng;

/// What the simulation asks of chance.
pub(crate) trait Dice {
    /// Whether something happens that does so in `percent` of all cases.
    fn odds(&mut self, percent: u64) -> bool;
    /// A while between two bounds, in milliseconds.
    fn millis(&mut self, from: u64, to: u64) -> Duration;
    /// One of several; there must be one.
    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T;
}

impl Dice for Rng {
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
