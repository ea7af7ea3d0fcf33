//! Limit on responses to sources that have never authenticated. An attacker who forges a source address can make us send to a victim; the limit keeps
//! that traffic harmless (security.md row 12).

use std::net::IpAddr;

use base::{Instant, KeyedHash, KeyedMap, Rng, source_of};

use crate::limits::{AUTH_MEMORY, RESPONSE_BURST, RESPONSE_INTERVAL, RESPONSE_SOURCES};

/// Leaky bucket per source. Counts UDP only, because the source address of a connection cannot be forged, and never loopback addresses, which no
/// remote host can use.
#[derive(Debug)]
pub(super) struct ResponseLimiter {
    /// Per source, the time until which the responses sent so far use up the average rate.
    charged_until: RecentSources,
    /// When a source last authenticated. Unauthenticated traffic cannot add entries, so a flood of addresses evicts no authenticated source.
    authenticated: RecentSources,
    /// Number of responses suppressed.
    pub(super) suppressed: u64,
}

impl ResponseLimiter {
    pub(super) fn new(rng: &mut Rng) -> ResponseLimiter {
        ResponseLimiter {
            charged_until: RecentSources::new(rng),
            authenticated: RecentSources::new(rng),
            suppressed: 0,
        }
    }

    /// Whether one more response may go to `source`; if so, it is counted.
    pub(super) fn try_charge(&mut self, now: Instant, source: IpAddr) -> bool {
        if source.to_canonical().is_loopback() {
            return true;
        }
        let source = source_of(source);
        if self.authenticated.get(source).is_some_and(|at| now.since(at) < AUTH_MEMORY) {
            return true;
        }
        let charged_until = self.charged_until.get(source).map_or(now, |until| until.max(now));
        if charged_until.since(now) >= RESPONSE_BURST {
            self.suppressed += 1;
            return false;
        }
        self.charged_until.put(source, charged_until + RESPONSE_INTERVAL);
        true
    }

    /// A peer at `source` authenticated with a nonce that was sent there: the address is not forged.
    pub(super) fn on_authenticated(&mut self, now: Instant, source: IpAddr) {
        if source.to_canonical().is_loopback() {
            return;
        }
        let source = source_of(source);
        // Written at most once a minute: most registrations only read.
        if self.authenticated.get(source).is_none_or(|at| now.since(at) >= AUTH_MEMORY / 120) {
            self.authenticated.put(source, now);
        }
    }
}

/// A time per recently seen source, in two generations of tables; when the current one is full, the older one is dropped.
#[derive(Debug)]
struct RecentSources {
    current: KeyedMap<IpAddr, Instant>,
    previous: KeyedMap<IpAddr, Instant>,
    hash: KeyedHash,
}

impl RecentSources {
    fn new(rng: &mut Rng) -> RecentSources {
        let hash = KeyedHash::new(rng);
        RecentSources { current: KeyedMap::with_hasher(hash), previous: KeyedMap::with_hasher(hash), hash }
    }

    fn get(&self, source: IpAddr) -> Option<Instant> {
        self.current.get(&source).or_else(|| self.previous.get(&source)).copied()
    }

    fn put(&mut self, source: IpAddr, at: Instant) {
        if self.current.len() >= RESPONSE_SOURCES && !self.current.contains_key(&source) {
            self.previous = std::mem::replace(&mut self.current, KeyedMap::with_hasher(self.hash));
        }
        self.current.insert(source, at);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn a_flood_of_addresses_uses_bounded_memory_and_evicts_no_authenticated_source() {
        let mut limiter = ResponseLimiter::new(&mut Rng::from_number(1));
        let (now, office) = (Instant::from_micros(1_000_000), IpAddr::from([192, 0, 2, 1]));
        limiter.on_authenticated(now, office);
        for n in 0..3 * RESPONSE_SOURCES as u32 {
            assert!(limiter.try_charge(now, IpAddr::from((0x0a00_0000 + n).to_be_bytes())));
        }
        assert!(
            limiter.charged_until.current.len() + limiter.charged_until.previous.len()
                <= 2 * RESPONSE_SOURCES
        );
        assert!((0..100_000).all(|_| limiter.try_charge(now, office)));
        assert_eq!(limiter.suppressed, 0);
    }

    #[test]
    fn an_ipv6_64_is_one_source_and_loopback_is_exempt() {
        let mut limiter = ResponseLimiter::new(&mut Rng::from_number(1));
        let (now, most) =
            (Instant::from_micros(1_000_000), RESPONSE_BURST.as_micros() / RESPONSE_INTERVAL.as_micros());
        let from = |n: u128| IpAddr::from(Ipv6Addr::from_bits(0x2001_0db8 << 96 | n));
        assert_eq!((0..most + 5).filter(|n| limiter.try_charge(now, from(*n))).count() as u128, most);
        assert!(limiter.try_charge(now, from(1 << 64)), "another /64 is another source");
        for loopback in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert!((0..most + 5).all(|_| limiter.try_charge(now, loopback.parse().unwrap())), "{loopback}");
        }
    }
}
