//! Waiting for a condition.

use std::time::{Duration, Instant};

/// Polling interval.
const STEP: Duration = Duration::from_millis(20);

/// Poll until `probe` returns a value, or fail after `limit` with `what` was awaited.
///
/// # Panics
/// If the limit is reached.
#[track_caller]
pub fn until<T>(limit: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(STEP);
    }
}

/// [`until`] with a limit that suits one message exchange on a busy machine.
#[track_caller]
pub fn soon<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    until(Duration::from_secs(10), what, probe)
}
