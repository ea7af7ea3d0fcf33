//! The one place that reads the clocks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base::{Instant, Now, Timestamp};

/// The clocks of this process. Copies agree.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: std::time::Instant,
}

impl Clock {
    /// A clock that begins now.
    pub fn start() -> Clock {
        Clock { start: std::time::Instant::now() }
    }

    /// What the clocks show.
    pub fn now(&self) -> Now {
        Now { instant: Instant::from_micros(self.start.elapsed().as_micros() as u64), wall: wall() }
    }

    /// How long it is until `instant`; zero where it has passed.
    pub fn until(&self, instant: Instant) -> Duration {
        instant.since(self.now().instant)
    }
}

fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(since.as_micros() as i64)
}

/// Whether the clock on the wall can be trusted with deleting what is old.
///
/// A clock that steps ahead makes everything old at once. So what is deleted by its age waits until the clock has gone evenly, and not far
/// ahead of what was written last, for a day: whoever sets it right within that day has lost nothing.
#[derive(Debug)]
pub struct SteadyClock {
    last: Now,
    doubted: Option<Instant>,
    begun: bool,
}

/// Steps that leap seconds, suspended machines and time servers make are smaller.
const STEP: Duration = Duration::from_hours(24);
/// For so long nothing is deleted after a larger one.
const DOUBT: Duration = Duration::from_hours(24);

impl SteadyClock {
    /// Begin to watch.
    pub fn begin(now: Now) -> SteadyClock {
        SteadyClock { last: now, doubted: None, begun: false }
    }

    /// Whether what is old by `now` may be deleted; `newest` is when the last thing was written, where anything was.
    pub fn is_settled(&mut self, now: Now, newest: Option<Timestamp>) -> bool {
        let passed = now.instant.since(self.last.instant).as_micros() as i64;
        let moved = now.wall.as_micros() - self.last.wall.as_micros();
        let mut stepped = moved - passed > STEP.as_micros() as i64;
        if !std::mem::replace(&mut self.begun, true) {
            let ahead = newest.map_or(0, |newest| now.wall.as_micros() - newest.as_micros());
            stepped |= ahead > STEP.as_micros() as i64;
        }
        self.last = now;
        if stepped {
            tracing::warn!(
                "the clock is more than a day ahead of what was written last: nothing is deleted for its age during the next 24 hours"
            );
            self.doubted = Some(now.instant);
        }
        if self.doubted.is_some_and(|since| now.instant.since(since) >= DOUBT) {
            self.doubted = None;
        }
        self.doubted.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours_running: u64, wall_hours: i64) -> Now {
        Now {
            instant: Instant::default() + Duration::from_hours(hours_running),
            wall: Timestamp::from_micros(wall_hours * 3_600_000_000),
        }
    }

    #[test]
    fn a_clock_that_steps_ahead_by_a_year_deletes_nothing_for_a_day() {
        let wall = |hours: i64| Timestamp::from_micros(hours * 3_600_000_000);
        let mut clock = SteadyClock::begin(at(0, 1_000));
        assert!(clock.is_settled(at(1, 1_001), Some(wall(1_000))));
        assert!(!clock.is_settled(at(2, 1_002 + 8_760), Some(wall(1_001))));
        assert!(!clock.is_settled(at(3, 1_003), Some(wall(1_001))), "set right again");
        assert!(clock.is_settled(at(27, 1_027), Some(wall(1_026))));
    }

    #[test]
    fn a_start_far_ahead_of_what_was_written_last_waits_too() {
        let mut clock = SteadyClock::begin(at(0, 10_000));
        let newest = Some(Timestamp::from_micros(1_000 * 3_600_000_000));
        assert!(!clock.is_settled(at(0, 10_000), newest));
        assert!(!clock.is_settled(at(23, 10_023), newest));
        assert!(clock.is_settled(at(24, 10_024), newest));
        let mut fresh = SteadyClock::begin(at(0, 10_000));
        assert!(fresh.is_settled(at(0, 10_000), None), "an empty database has nothing to lose");
    }
}
