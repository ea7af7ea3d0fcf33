//! Every limit of the API, and the token buckets of the rate limits (S28).

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::{Instant, KeyedHash, KeyedMap, Rng};
use governor::RateLimiter;
use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use model::ApiKeyId;

use crate::error::Fault;

/// Bytes of a request body. The largest documented body has a few hundred.
const BODY_BYTES: usize = 64 * 1024;
/// Bytes of uploaded audio: one minute of 48 kHz stereo.
const AUDIO_BYTES: usize = 12 * 1024 * 1024;
/// Time for a body to arrive. A slow sender occupies a connection that others need (security.md row 16).
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Extensions in one import: the largest installation that one process serves.
pub(crate) const IMPORT_LINES: usize = 100_000;
/// Bytes of an import: [`IMPORT_LINES`] lines of about 300 bytes. Only an administrator may send so much.
const IMPORT_BYTES: usize = 32 * 1024 * 1024;
/// Time for an import to arrive: enough at 5 Mbit/s.
const IMPORT_TIMEOUT: Duration = Duration::from_secs(60);
/// Size and time limit of a route's body. Every reader of the body uses the limit of the route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BodyLimit {
    pub bytes: usize,
    pub timeout: Duration,
    pub too_large: Fault,
}

impl BodyLimit {
    /// For forms of a few fields.
    pub(crate) const FORM: BodyLimit =
        BodyLimit { bytes: BODY_BYTES, timeout: BODY_TIMEOUT, too_large: Fault::BodyTooLarge };
    /// For audio.
    pub(crate) const AUDIO: BodyLimit =
        BodyLimit { bytes: AUDIO_BYTES, timeout: BODY_TIMEOUT, too_large: Fault::AudioTooLarge };
    /// For a list that may hold all extensions.
    pub(crate) const IMPORT: BodyLimit =
        BodyLimit { bytes: IMPORT_BYTES, timeout: IMPORT_TIMEOUT, too_large: Fault::ImportTooLarge };
}

/// Characters of an imported password. Generated ones have 16; digest authentication hashes any length.
pub(crate) const PASSWORD_CHARS: usize = 256;
/// Nesting depth of JSON. Documented bodies have two levels.
pub(crate) const JSON_DEPTH: usize = 32;
/// Characters of a display name, as far as phones show it (security.md row 26).
pub(crate) const DISPLAY_NAME_CHARS: usize = 64;
/// Characters of a key's name.
pub(crate) const KEY_NAME_CHARS: usize = 100;
/// Items on one page of a list.
pub(crate) const PAGE: u32 = 1000;
/// Calls that are scanned for one page when a filter has no index.
pub(crate) const CALLS_SCANNED: usize = 5000;
/// Bytes of audio that are read and sent in one chunk.
pub(crate) const AUDIO_CHUNK: u64 = 256 * 1024;
/// Items on a page if the request gives no limit.
pub(crate) const PAGE_DEFAULT: u32 = 50;
/// Recurring calls per extension: more than one for every quarter of an hour of a day.
pub(crate) const RECURRING_PER_EXTENSION: usize = 100;
/// Sounds per extension: some megabytes of the database.
pub(crate) const SOUNDS_PER_EXTENSION: u32 = 50;
/// Call attempts per occurrence; more would be a nuisance to a callee who does not answer.
pub(crate) const MAX_ATTEMPTS: u64 = 10;
/// Minutes between two attempts: at most a day.
pub(crate) const RETRY_MINUTES: u64 = 1440;
/// Future instants that one request may ask for.
pub(crate) const NEXT_RUNS: u64 = 100;
/// Age of the heartbeat from which the event loop counts as hung. An idle loop iterates every second, and no working disk delays it so long.
pub(crate) const HEARTBEAT_LIMIT: Duration = Duration::from_secs(10);
/// How long a request waits for a record on its way from the journal to the database.
pub(crate) const JOURNAL_TIMEOUT: Duration = Duration::from_secs(2);
/// Sources and keys with a bucket in memory. A dropped bucket starts full again.
const BUCKETS: usize = 65_536;
/// Rows of key use that wait to be written. Beyond this limit, uses are counted without a route.
pub(crate) const KEY_USE_ROWS: usize = 10_000;

/// Webhooks per user. Each one causes a request for each event.
pub(crate) const WEBHOOKS_PER_USER: usize = 20;
/// Concurrent event subscribers. Each one occupies a connection and a queue.
pub(crate) const SUBSCRIBERS: usize = 256;
/// Concurrent event subscribers of one user.
pub(crate) const SUBSCRIBERS_PER_USER: usize = 32;
/// Events queued for a subscriber that reads slowly.
pub(crate) const SUBSCRIBER_QUEUE: usize = 64;
/// How long the queue of a subscriber may stay full before it is disconnected.
pub(crate) const SUBSCRIBER_TIMEOUT: Duration = Duration::from_secs(10);
/// Events that are read from the database at once for a subscriber.
pub(crate) const SUBSCRIBER_PAGE: u32 = 100;
/// Keep-alive interval on an idle event stream.
pub(crate) const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// How long a WebSocket client may take to send its key.
pub(crate) const SOCKET_AUTH_TIMEOUT: Duration = Duration::from_secs(5);
/// Characters of an `Idempotency-Key`.
pub(crate) const IDEMPOTENCY_KEY_CHARS: usize = 128;

/// State of a bucket after a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Quota {
    pub granted: bool,
    pub limit: u32,
    pub remaining: u32,
    /// Seconds until the bucket is full.
    pub reset: u64,
    /// Seconds until the next request is granted; 0 if this one was.
    pub retry_after: u64,
}

/// A clock that is set by the caller. Buckets read no system clock, so tests need not wait.
#[derive(Clone, Debug, Default)]
struct ManualClock(Arc<AtomicU64>);

impl Clock for ManualClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// Token bucket of one key or source, refilled evenly over a minute.
type Limiter = RateLimiter<NotKeyed, InMemoryState, ManualClock, StateInformationMiddleware>;

#[derive(Debug)]
struct Bucket {
    limiter: Option<Limiter>,
    per_minute: u32,
    at: Instant,
}

impl Bucket {
    fn new(time: &ManualClock, per_minute: u32, now: Instant) -> Bucket {
        let limiter = NonZeroU32::new(per_minute).map(|burst| {
            RateLimiter::direct_with_clock(governor::Quota::per_minute(burst), time.clone())
                .with_middleware::<StateInformationMiddleware>()
        });
        Bucket { limiter, per_minute, at: now }
    }

    fn take(&mut self, time: &ManualClock, now: Instant) -> Quota {
        self.at = now;
        let limit = self.per_minute;
        let seconds = |time: Duration| time.as_secs() + u64::from(time.subsec_nanos() > 0);
        let Some(limiter) = &self.limiter else {
            return Quota { granted: false, limit, remaining: 0, reset: 60, retry_after: 60 };
        };
        match limiter.check() {
            Ok(state) => {
                let remaining = state.remaining_burst_capacity();
                let missing = state.quota().replenish_interval() * limit.saturating_sub(remaining);
                Quota { granted: true, limit, remaining, reset: seconds(missing), retry_after: 0 }
            }
            Err(until) => {
                let wait = until.wait_time_from(time.now());
                let full = wait + until.quota().replenish_interval() * limit.saturating_sub(1);
                Quota {
                    granted: false,
                    limit,
                    remaining: 0,
                    reset: seconds(full),
                    retry_after: seconds(wait).max(1),
                }
            }
        }
    }
}

/// The buckets of all keys and all sources.
#[derive(Debug)]
pub(crate) struct Limits {
    time: ManualClock,
    keys: Mutex<KeyedMap<ApiKeyId, Bucket>>,
    sources: Mutex<KeyedMap<IpAddr, Bucket>>,
}

impl Limits {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let hash = KeyedHash::new(rng);
        Limits {
            time: ManualClock::default(),
            keys: Mutex::new(KeyedMap::with_hasher(hash)),
            sources: Mutex::new(KeyedMap::with_hasher(hash)),
        }
    }

    /// Charge a request with a valid key (S28).
    pub(crate) fn of_key(&self, key: &ApiKeyId, per_minute: u32, now: Instant) -> Quota {
        self.take(&self.keys, key.clone(), per_minute, now)
    }

    /// Charge a request without a valid key to its source address.
    pub(crate) fn of_source(&self, source: IpAddr, per_minute: u32, now: Instant) -> Quota {
        self.take(&self.sources, base::source_of(source), per_minute, now)
    }

    fn take<K: Eq + Hash>(
        &self,
        buckets: &Mutex<KeyedMap<K, Bucket>>,
        key: K,
        per_minute: u32,
        now: Instant,
    ) -> Quota {
        let mut buckets = buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= BUCKETS {
            // A bucket that was not used for a minute is full, so dropping it changes nothing.
            buckets.retain(|_, bucket| now.since(bucket.at) < Duration::from_mins(1));
            if buckets.len() >= BUCKETS {
                buckets.clear();
            }
        }
        // Threads may arrive here in another order than they read the clock.
        self.time.0.fetch_max(now.as_micros(), Ordering::Relaxed);
        let fresh = || Bucket::new(&self.time, per_minute, now);
        let bucket = buckets.entry(key).or_insert_with(fresh);
        if bucket.per_minute != per_minute {
            *bucket = fresh();
        }
        bucket.take(&self.time, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_ipv6_is_one_source_and_each_mapped_address_its_own() {
        let limits = Limits::new(&mut Rng::from_number(1));
        let now = Instant::from_micros(1_000_000);
        let granted = |source: String| limits.of_source(source.parse().unwrap(), 10, now).granted;
        assert_eq!((0..50).filter(|n| granted(format!("2001:db8::{n:x}"))).count(), 10);
        assert_eq!((0..50).filter(|n| granted(format!("::ffff:192.0.2.{n}"))).count(), 50);
        assert_eq!(
            (0..50).filter(|_| granted("192.0.2.1".into())).count(),
            9,
            "one of its ten was charged as a mapped address"
        );
    }

    #[test]
    fn a_hundred_requests_a_minute_are_granted_and_refilled_evenly() {
        let limits = Limits::new(&mut Rng::from_number(1));
        let key = ApiKeyId::parse("key_1").unwrap();
        let at = |millis: u64| Instant::from_micros(millis * 1000);
        let granted = (0..150).filter(|_| limits.of_key(&key, 100, at(0)).granted).count();
        assert_eq!(granted, 100); // S28
        let refused = limits.of_key(&key, 100, at(0));
        assert_eq!((refused.remaining, refused.reset, refused.retry_after), (0, 60, 1));
        // Rejected requests do not delay the refill.
        assert!((1..600).all(|ms| !limits.of_key(&key, 100, at(ms)).granted));
        assert!(limits.of_key(&key, 100, at(600)).granted);
        assert!(!limits.of_key(&key, 100, at(601)).granted);
        assert_eq!(limits.of_key(&key, 100, at(120_000)).remaining, 99);
        assert!(!limits.of_key(&ApiKeyId::parse("key_2").unwrap(), 0, at(0)).granted);
    }
}
