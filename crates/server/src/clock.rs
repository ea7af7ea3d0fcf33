//! The only module that reads the system clocks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base::{Instant, Now, Timestamp};

/// The monotonic and the wall clock of this process. Copies share one origin.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: std::time::Instant,
}

impl Clock {
    /// A clock whose monotonic time starts at zero now.
    pub fn start() -> Clock {
        Clock { start: std::time::Instant::now() }
    }

    /// The current monotonic and wall-clock time.
    pub fn now(&self) -> Now {
        Now { instant: Instant::from_micros(self.start.elapsed().as_micros() as u64), wall: wall() }
    }

    /// The time left until `instant`; zero if it has passed.
    pub fn until(&self, instant: Instant) -> Duration {
        instant.since(self.now().instant)
    }
}

fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(since.as_micros() as i64)
}

/// Guards deletion by age against jumps of the wall clock.
///
/// A clock that steps ahead makes every row look expired. So nothing is deleted by age until the clock has run evenly, and not far ahead of the
/// newest row, for a day: an operator who corrects it within that day loses nothing.
#[derive(Debug)]
pub struct SteadyClock {
    last: Now,
    suspended_since: Option<Instant>,
    checked_newest: bool,
}

/// A jump of at least this much suspends deletion. Leap seconds, suspended machines and NTP make smaller ones.
const MAX_JUMP: Duration = Duration::from_hours(24);
/// Deletion is suspended for this long after such a jump.
const SUSPENSION: Duration = Duration::from_hours(24);

impl SteadyClock {
    /// Start watching the clock at `now`.
    pub fn begin(now: Now) -> SteadyClock {
        SteadyClock { last: now, suspended_since: None, checked_newest: false }
    }

    /// Whether rows that have expired at `now` may be deleted. `newest` is the time of the newest row, if there is one.
    pub fn is_settled(&mut self, now: Now, newest: Option<Timestamp>) -> bool {
        let elapsed = now.instant.since(self.last.instant).as_micros() as i64;
        let wall_elapsed = now.wall.as_micros() - self.last.wall.as_micros();
        let mut jumped = wall_elapsed - elapsed > MAX_JUMP.as_micros() as i64;
        if !std::mem::replace(&mut self.checked_newest, true) {
            let ahead = newest.map_or(0, |newest| now.wall.as_micros() - newest.as_micros());
            jumped |= ahead > MAX_JUMP.as_micros() as i64;
        }
        self.last = now;
        if jumped {
            tracing::warn!(
                "the system clock jumped more than a day ahead: nothing is deleted by age during the next 24 hours"
            );
            self.suspended_since = Some(now.instant);
        }
        if self.suspended_since.is_some_and(|since| now.instant.since(since) >= SUSPENSION) {
            self.suspended_since = None;
        }
        self.suspended_since.is_none()
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
    fn a_start_far_ahead_of_the_newest_row_waits_too() {
        let mut clock = SteadyClock::begin(at(0, 10_000));
        let newest = Some(Timestamp::from_micros(1_000 * 3_600_000_000));
        assert!(!clock.is_settled(at(0, 10_000), newest));
        assert!(!clock.is_settled(at(23, 10_023), newest));
        assert!(clock.is_settled(at(24, 10_024), newest));
        let mut fresh = SteadyClock::begin(at(0, 10_000));
        assert!(fresh.is_settled(at(0, 10_000), None), "an empty database has nothing to lose");
    }
}
