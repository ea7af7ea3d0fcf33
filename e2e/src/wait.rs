//! Waiting for a condition, never for time.

use std::time::{Duration, Instant};

/// How often a condition is looked at.
const STEP: Duration = Duration::from_millis(20);

/// Looks until `probe` has something to show, or fails after `limit` saying what was awaited.
///
/// # Panics
/// When the limit is reached.
#[track_caller]
pub fn until<T>(limit: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} in vain: {what}");
        std::thread::sleep(STEP);
    }
}

/// [`until`] with the patience that suits one exchange of messages on a busy machine.
#[track_caller]
pub fn soon<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    until(Duration::from_secs(10), what, probe)
}
