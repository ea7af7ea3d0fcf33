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
