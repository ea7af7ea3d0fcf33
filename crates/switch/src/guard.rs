//! The guard against guessing (security.md row 1): ten wrong answers a minute per source and account, a hundred per source, then silence
//! that doubles each time. It charges wrong answers only, never challenges, so it cannot be made to lock an owner out from elsewhere.

use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::time::Duration;

use base::{Chance, Instant, KeyedHash, KeyedMap, source_of};

use crate::limits;

const WINDOW: Duration = Duration::from_secs(60);
const LONGEST_BAN: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    since: Instant,
    wrong: u32,
    strikes: u32,
    banned_until: Instant,
}

impl Tally {
    /// How long a ban begins, if one does.
    fn charge(&mut self, now: Instant, limit: u32) -> Duration {
        if now.since(self.since) >= WINDOW {
            (self.since, self.wrong) = (now, 0);
        }
        self.wrong += 1;
        if self.wrong >= limit {
            self.wrong = 0;
            self.since = now;
            let ban = WINDOW.saturating_mul(1 << self.strikes.min(6)).min(LONGEST_BAN);
            self.strikes += 1;
            self.banned_until = now + ban;
            return ban;
        }
        Duration::ZERO
    }
}

/// What a wrong answer is worth telling of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Told {
    /// It follows others.
    Nothing,
    /// It is the first of this source and account for a minute.
    First,
    /// Messages are dropped from now on.
    Ban { seconds: u32 },
}

/// Whom an entry is about: a source, and one account or all. Accounts are hashed, for strangers choose their length.
type Key = (IpAddr, Option<u64>);

/// What is remembered of wrong answers; bounded by two generations of tables, of which the older is dropped.
#[derive(Debug)]
pub(crate) struct Guard {
    young: KeyedMap<Key, Tally>,
    old: KeyedMap<Key, Tally>,
    hash: KeyedHash,
}

impl Guard {
    pub(crate) fn new(chance: &mut Chance) -> Self {
        let hash = KeyedHash::new(chance);
        Guard { young: KeyedMap::with_hasher(hash), old: KeyedMap::with_hasher(hash), hash }
    }

    /// Whether an answer from `source` for `account` is judged at all. `known` says that the pair has a live binding, and so is exempt
    /// from its source's budget: one wrong phone must not lock out its office.
    pub(crate) fn admits(&self, now: Instant, source: IpAddr, account: &str, known: bool) -> bool {
        if self.young.is_empty() && self.old.is_empty() {
            return true;
        }
        let banned = |key: Key| {
            self.young.get(&key).or_else(|| self.old.get(&key)).is_some_and(|t| now < t.banned_until)
        };
        let source = source_of(source);
        !banned((source, Some(self.hash.hash_one(account)))) && (known || !banned((source, None)))
    }

    /// Charge one wrong answer. What of it is worth telling: the first of a minute, and each beginning of a ban.
    pub(crate) fn charge(&mut self, now: Instant, source: IpAddr, account: &str) -> Told {
        let source = source_of(source);
        let pair = self.tally((source, Some(self.hash.hash_one(account))));
        let ban = pair.charge(now, limits::WRONG_PER_PAIR);
        let first = pair.wrong == 1;
        let ban = ban.max(self.tally((source, None)).charge(now, limits::WRONG_PER_SOURCE));
        match (ban.as_secs() as u32, first) {
            (0, false) => Told::Nothing,
            (0, true) => Told::First,
            (seconds, _) => Told::Ban { seconds },
        }
    }

    fn tally(&mut self, key: Key) -> &mut Tally {
        if self.young.len() >= limits::GUARD_ENTRIES {
            self.old = std::mem::replace(&mut self.young, KeyedMap::with_hasher(self.hash));
        }
        let before = self.old.remove(&key).unwrap_or_default();
        self.young.entry(key).or_insert(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ban_ends_and_the_next_one_is_twice_as_long() {
        let mut guard = Guard::new(&mut Chance::from_number(1));
        let (thief, neighbour) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        let mut now = Instant::from_micros(5_000_000);
        for ban in [60, 120, 240, 480] {
            for n in 1..=limits::WRONG_PER_PAIR {
                assert!(guard.admits(now, thief, "1001", false)); // security.md row 1
                let told = match n {
                    1 => Told::First,
                    limits::WRONG_PER_PAIR => Told::Ban { seconds: ban as u32 },
                    _ => Told::Nothing,
                };
                assert_eq!(guard.charge(now, thief, "1001"), told);
            }
            assert!(!guard.admits(now + Duration::from_secs(ban - 1), neighbour, "1001", false));
            now += Duration::from_secs(ban);
        }
    }

    #[test]
    fn ten_wrong_answers_silence_the_pair_but_not_the_owner_elsewhere() {
        let mut guard = Guard::new(&mut Chance::from_number(1));
        let (thief, owner): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let start = Instant::from_micros(5_000_000);
        let judged = (0..300).filter(|_| {
            let admitted = guard.admits(start, thief, "1001", false);
            if admitted {
                guard.charge(start, thief, "1001");
            }
            admitted
        });
        assert_eq!(judged.count(), 10);
        assert!(guard.admits(start, owner, "1001", false));
        assert!(guard.admits(start + Duration::from_secs(61), thief, "1001", false));
        for n in 0..100 {
            guard.charge(start, thief, &format!("x{n}"));
        }
        assert!(!guard.admits(start, thief, "1002", false), "the source's budget is used up");
        assert!(guard.admits(start, thief, "1003", true), "a phone with a binding goes on");
    }
}
