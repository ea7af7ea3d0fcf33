//! Limit on responses to sources that have never authenticated. An attacker who forges a source address can make us send to a victim; the limit keeps
//! that traffic harmless (security.md row 12).

use std::net::IpAddr;

use base::{Instant, KeyedHash, KeyedMap, Rng, source_of};

use crate::limits::{ANSWER_CREDIT, ANSWER_INTERVAL, ANSWER_SOURCES, PROOF_HOLDS};

/// Leaky bucket per source. Counts UDP only, because the source address of a connection cannot be forged, and never loopback addresses, which no
/// remote host can use.
#[derive(Debug)]
pub(super) struct ResponseLimiter {
    /// Per source, the time until which the responses sent so far use up the average rate.
    spent: RecentSources,
    /// When a source last authenticated. Unauthenticated traffic cannot add entries, so a flood of addresses evicts no authenticated source.
    proved: RecentSources,
    /// Number of responses suppressed.
    pub(super) withheld: u64,
}

impl ResponseLimiter {
    pub(super) fn new(rng: &mut Rng) -> ResponseLimiter {
        ResponseLimiter { spent: RecentSources::new(rng), proved: RecentSources::new(rng), withheld: 0 }
    }

    /// Whether one more response may go to `source`; if so, it is counted.
    pub(super) fn charge(&mut self, now: Instant, source: IpAddr) -> bool {
        if source.to_canonical().is_loopback() {
            return true;
        }
        let source = source_of(source);
        if self.proved.get(source).is_some_and(|at| now.since(at) < PROOF_HOLDS) {
            return true;
        }
        let spent = self.spent.get(source).map_or(now, |until| until.max(now));
        if spent.since(now) >= ANSWER_CREDIT {
            self.withheld += 1;
            return false;
        }
        self.spent.put(source, spent + ANSWER_INTERVAL);
        true
    }

    /// A peer at `source` authenticated with a nonce that was sent there: the address is not forged.
    pub(super) fn proved(&mut self, now: Instant, source: IpAddr) {
        if source.to_canonical().is_loopback() {
            return;
        }
        let source = source_of(source);
        // Written at most once a minute: most registrations only read.
        if self.proved.get(source).is_none_or(|at| now.since(at) >= PROOF_HOLDS / 120) {
            self.proved.put(source, now);
        }
    }
}

/// A time per recently seen source, in two generations of tables; when the current one is full, the older one is dropped.
#[derive(Debug)]
struct RecentSources {
    young: KeyedMap<IpAddr, Instant>,
    old: KeyedMap<IpAddr, Instant>,
    hash: KeyedHash,
}

impl RecentSources {
    fn new(rng: &mut Rng) -> RecentSources {
        let hash = KeyedHash::new(rng);
        RecentSources { young: KeyedMap::with_hasher(hash), old: KeyedMap::with_hasher(hash), hash }
    }

    fn get(&self, source: IpAddr) -> Option<Instant> {
        self.young.get(&source).or_else(|| self.old.get(&source)).copied()
    }

    fn put(&mut self, source: IpAddr, at: Instant) {
        if self.young.len() >= ANSWER_SOURCES && !self.young.contains_key(&source) {
            self.old = std::mem::replace(&mut self.young, KeyedMap::with_hasher(self.hash));
        }
        self.young.insert(source, at);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn a_flood_of_addresses_costs_a_bounded_table_and_makes_nobody_a_stranger_again() {
        let mut budget = ResponseLimiter::new(&mut Rng::from_number(1));
        let (now, office) = (Instant::from_micros(1_000_000), IpAddr::from([192, 0, 2, 1]));
        budget.proved(now, office);
        for n in 0..3 * ANSWER_SOURCES as u32 {
            assert!(budget.charge(now, IpAddr::from((0x0a00_0000 + n).to_be_bytes())));
        }
        assert!(budget.spent.young.len() + budget.spent.old.len() <= 2 * ANSWER_SOURCES);
        assert!((0..100_000).all(|_| budget.charge(now, office)));
        assert_eq!(budget.withheld, 0);
    }

    #[test]
    fn a_household_is_one_source_and_the_loopback_is_nobody_elses() {
        let mut budget = ResponseLimiter::new(&mut Rng::from_number(1));
        let (now, most) =
            (Instant::from_micros(1_000_000), ANSWER_CREDIT.as_micros() / ANSWER_INTERVAL.as_micros());
        let from = |n: u128| IpAddr::from(Ipv6Addr::from_bits(0x2001_0db8 << 96 | n));
        assert_eq!((0..most + 5).filter(|n| budget.charge(now, from(*n))).count() as u128, most);
        assert!(budget.charge(now, from(1 << 64)), "the neighbours are another one");
        for loopback in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert!((0..most + 5).all(|_| budget.charge(now, loopback.parse().unwrap())), "{loopback}");
        }
    }
}
