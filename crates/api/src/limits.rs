//! Every limit of the API, and the token buckets behind S28.

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

/// Bytes of a request's body: the largest that is documented has a few hundred.
const BODY_BYTES: usize = 64 * 1024;
/// Bytes of audio that is sent: a minute of 48 kHz in stereo.
const AUDIO_BYTES: usize = 12 * 1024 * 1024;
/// How long a body may take to arrive: whoever drips holds a connection that others want (security.md row 16).
const BODY_PATIENCE: Duration = Duration::from_secs(10);
/// Extensions of one import: the largest office that one process serves.
pub(crate) const IMPORT_LINES: usize = 100_000;
/// Bytes of an import: so many lines of some 300 bytes. It is read only for an administrator.
const IMPORT_BYTES: usize = 32 * 1024 * 1024;
/// How long an import may take to arrive: 5 Mbit/s are enough.
const IMPORT_PATIENCE: Duration = Duration::from_secs(60);
/// How large a body may be and how long it may take: whoever reads the body of a route asks the same limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BodyLimit {
    pub bytes: usize,
    pub patience: Duration,
    pub too_large: Fault,
}

impl BodyLimit {
    /// Of what a few fields need.
    pub(crate) const FORM: BodyLimit =
        BodyLimit { bytes: BODY_BYTES, patience: BODY_PATIENCE, too_large: Fault::BodyTooLarge };
    /// Of audio.
    pub(crate) const AUDIO: BodyLimit =
        BodyLimit { bytes: AUDIO_BYTES, patience: BODY_PATIENCE, too_large: Fault::AudioTooLarge };
    /// Of a list that may hold all extensions.
    pub(crate) const IMPORT: BodyLimit =
        BodyLimit { bytes: IMPORT_BYTES, patience: IMPORT_PATIENCE, too_large: Fault::ImportTooLarge };
}

/// Characters of a password that is imported; what we make has sixteen, and digests hash any length.
pub(crate) const PASSWORD_CHARS: usize = 256;
/// Nesting of JSON: what is documented has two levels.
pub(crate) const JSON_DEPTH: usize = 32;
/// Characters of a display name: what phones show of it (security.md row 26).
pub(crate) const DISPLAY_NAME_CHARS: usize = 64;
/// Characters of a key's name.
pub(crate) const KEY_NAME_CHARS: usize = 100;
/// Things on one page of a list.
pub(crate) const PAGE: u32 = 1000;
/// Calls that are looked at for one page, where a filter has no index.
pub(crate) const CALLS_LOOKED_AT: usize = 5000;
/// Bytes of audio that are read and sent in one piece.
pub(crate) const AUDIO_CHUNK: u64 = 256 * 1024;
/// Things on a page where nobody asks for a number.
pub(crate) const PAGE_DEFAULT: u32 = 50;
/// Recurring calls of one extension: more than one for each quarter of an hour of a day.
pub(crate) const RECURRING_PER_EXTENSION: usize = 100;
/// Sounds of one extension: some megabytes of the database.
pub(crate) const SOUNDS_PER_EXTENSION: u32 = 50;
/// Attempts for one occurrence: who does not answer ten times does not want to.
pub(crate) const MAX_ATTEMPTS: u64 = 10;
/// Minutes between two attempts: a day.
pub(crate) const RETRY_MINUTES: u64 = 1440;
/// Instants that are computed for one question.
pub(crate) const RUNS_SHOWN: u64 = 100;
/// A loop that has begun no iteration for so long hangs: an idle one begins one every second, and no disk that still works holds it up so
/// long.
pub(crate) const HEARTBEAT_LIMIT: Duration = Duration::from_secs(10);
/// How long an answer waits for a record that is on its way from the journal to the database.
pub(crate) const JOURNAL_PATIENCE: Duration = Duration::from_secs(2);
/// Sources and keys whose buckets are remembered. A forgotten one begins anew.
const BUCKETS: usize = 65_536;
/// Rows of keys' use that wait to be written; beyond this, uses are counted under no route.
pub(crate) const USES: usize = 10_000;

/// Webhooks of one user: each is a request of ours for each event.
pub(crate) const WEBHOOKS_OF_USER: usize = 20;
/// Clients that follow events at once; each holds a connection and a queue.
pub(crate) const FOLLOWERS: usize = 256;
/// … and of one user.
pub(crate) const FOLLOWERS_OF_USER: usize = 32;
/// Events that wait for a client that reads slowly.
pub(crate) const FOLLOWER_QUEUE: usize = 64;
/// How long its queue may be full before it is cut.
pub(crate) const FOLLOWER_PATIENCE: Duration = Duration::from_secs(10);
/// Events that are read from the database at once for a client.
pub(crate) const FOLLOWER_PAGE: u32 = 100;
/// How often a client that hears nothing is told that we are here.
pub(crate) const FOLLOWER_BEAT: Duration = Duration::from_secs(15);
/// How long a WebSocket may wait with its key.
pub(crate) const HELLO_PATIENCE: Duration = Duration::from_secs(5);
/// Characters of an Idempotency-Key.
pub(crate) const IDEMPOTENCY_KEY_CHARS: usize = 128;

/// What a bucket answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Quota {
    pub granted: bool,
    pub limit: u32,
    pub remaining: u32,
    /// Seconds until the bucket is full again.
    pub reset: u64,
    /// Seconds until the next request is granted; 0 where one is now.
    pub retry_after: u64,
}

/// The time that the asker says it is: buckets read no clock, so tests need not wait.
#[derive(Clone, Debug, Default)]
struct ToldTime(Arc<AtomicU64>);

impl Clock for ToldTime {
    type Instant = Duration;

    fn now(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// Requests a minute, refilled evenly; `None` where none is ever granted.
type Limiter = RateLimiter<NotKeyed, InMemoryState, ToldTime, StateInformationMiddleware>;

#[derive(Debug)]
struct Bucket {
    limiter: Option<Limiter>,
    per_minute: u32,
    at: Instant,
}

impl Bucket {
    fn new(time: &ToldTime, per_minute: u32, now: Instant) -> Bucket {
        let limiter = NonZeroU32::new(per_minute).map(|burst| {
            RateLimiter::direct_with_clock(governor::Quota::per_minute(burst), time.clone())
                .with_middleware::<StateInformationMiddleware>()
        });
        Bucket { limiter, per_minute, at: now }
    }

    fn take(&mut self, time: &ToldTime, now: Instant) -> Quota {
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

/// The buckets of all keys and sources.
#[derive(Debug)]
pub(crate) struct Limits {
    time: ToldTime,
    keys: Mutex<KeyedMap<ApiKeyId, Bucket>>,
    sources: Mutex<KeyedMap<IpAddr, Bucket>>,
}

impl Limits {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let hash = KeyedHash::new(rng);
        Limits {
            time: ToldTime::default(),
            keys: Mutex::new(KeyedMap::with_hasher(hash)),
            sources: Mutex::new(KeyedMap::with_hasher(hash)),
        }
    }

    /// A request of a key (S28).
    pub(crate) fn of_key(&self, key: &ApiKeyId, per_minute: u32, now: Instant) -> Quota {
        self.take(&self.keys, key.clone(), per_minute, now)
    }

    /// A request of a source that showed no valid key.
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
            // A bucket that was not touched for a minute is full: forgetting it changes nothing.
            buckets.retain(|_, bucket| now.since(bucket.at) < Duration::from_mins(1));
            if buckets.len() >= BUCKETS {
                buckets.clear();
            }
        }
        // Clocks of several askers may be read in another order than they come here.
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
        assert_eq!((0..50).filter(|_| granted("192.0.2.1".into())).count(), 9, "one was asked for as mapped");
    }

    #[test]
    fn a_hundred_a_minute_are_granted_and_come_back_evenly() {
        let limits = Limits::new(&mut Rng::from_number(1));
        let key = ApiKeyId::parse("key_1").unwrap();
        let at = |millis: u64| Instant::from_micros(millis * 1000);
        let granted = (0..150).filter(|_| limits.of_key(&key, 100, at(0)).granted).count();
        assert_eq!(granted, 100); // S28
        let refused = limits.of_key(&key, 100, at(0));
        assert_eq!((refused.remaining, refused.reset, refused.retry_after), (0, 60, 1));
        // Asking in vain, again and again, delays nothing.
        assert!((1..600).all(|ms| !limits.of_key(&key, 100, at(ms)).granted));
        assert!(limits.of_key(&key, 100, at(600)).granted);
        assert!(!limits.of_key(&key, 100, at(601)).granted);
        assert_eq!(limits.of_key(&key, 100, at(120_000)).remaining, 99);
        assert!(!limits.of_key(&ApiKeyId::parse("key_2").unwrap(), 0, at(0)).granted);
    }
}
