//! Brute-force protection: a ban after ten wrong answers per minute from one source for one account, or a hundred from one source. Each further
//! ban is twice as long as the one before. Only wrong answers are counted, never challenges, so an attacker elsewhere cannot lock the owner out.
//!
//! During a ban one answer per [`PROBE`] is still checked. A phone whose password was corrected therefore recovers at once, and not only after a
//! ban of up to an hour. This allows four guesses per minute; staying below the ban threshold allows nine.

use std::collections::VecDeque;
use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base::{Instant, KeyedHash, KeyedMap, Now, Rng, source_of};

use crate::{Ban, limits};

const WINDOW: Duration = Duration::from_secs(60);
const LONGEST_BAN: Duration = Duration::from_secs(3600);
/// Interval of the answers that are checked during a ban.
const PROBE: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    since: Instant,
    wrong: u32,
    strikes: u32,
    banned_until: Instant,
    /// When the next answer is checked during the ban.
    next_probe: Instant,
}

impl Tally {
    /// Count a wrong answer. Returns the length of the ban that it starts, or zero.
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
            self.next_probe = now + PROBE;
            return ban;
        }
        Duration::ZERO
    }
}

/// Whether a wrong answer is reported as an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Report {
    /// Not reported: it follows others.
    Nothing,
    /// The first one of this source and account in a minute.
    First,
    /// It starts a ban of this length.
    Ban { seconds: u32 },
}

/// A source, with one account or (`None`) all accounts. Accounts are stored as hashes, because an attacker chooses their length.
type Key = (IpAddr, Option<u64>);

/// Tallies of wrong answers, bounded by two generations of tables: when the younger one is full, the older one is dropped.
#[derive(Debug)]
pub(crate) struct Guard {
    young: KeyedMap<Key, Tally>,
    old: KeyedMap<Key, Tally>,
    hash: KeyedHash,
    /// The latest bans for listing, newest last.
    bans: VecDeque<(Key, Option<Arc<str>>)>,
}

impl Guard {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let hash = KeyedHash::new(rng);
        let map = || KeyedMap::with_hasher(hash);
        Guard { young: map(), old: map(), hash, bans: VecDeque::new() }
    }

    /// Whether this answer from `source` for `account` is checked. During a ban only one per [`PROBE`] is.
    pub(crate) fn judges(&mut self, now: Instant, source: IpAddr, account: &str, known: bool) -> bool {
        if self.admits(now, source, account, known) {
            return true;
        }
        let source = source_of(source);
        let keys = [Some((source, Some(self.hash.hash_one(account)))), (!known).then_some((source, None))];
        // Both tallies must allow it: trying all accounts of a domain gains a source no more probes than trying one.
        let mut tallies = keys.iter().flatten().filter_map(|key| self.find(key));
        if tallies.any(|tally| now < tally.banned_until && now < tally.next_probe) {
            return false;
        }
        for key in keys.iter().flatten() {
            if let Some(tally) = self.young.get_mut(key).or_else(|| self.old.get_mut(key)) {
                tally.next_probe = now + PROBE;
            }
        }
        true
    }

    /// A correct answer: clear the tally of this source and account. The tally of the source stays, or one valid password would allow guessing
    /// others.
    pub(crate) fn forgive(&mut self, source: IpAddr, account: &str) {
        if !self.young.is_empty() || !self.old.is_empty() {
            let key = (source_of(source), Some(self.hash.hash_one(account)));
            if self.find(&key).is_some_and(|tally| tally.strikes > 0) {
                self.forget(&key);
            }
        }
    }

    /// Active bans, newest first.
    pub(crate) fn bans(&self, now: Now) -> Vec<Ban> {
        self.bans.iter().rev().filter_map(|(key, account)| self.shown(now, key, account.clone())).collect()
    }

    /// Lift the bans of a source: that of one account or, with `None`, all of them. Returns the lifted bans.
    pub(crate) fn lift(&mut self, now: Now, source: IpAddr, account: Option<&str>) -> Vec<Ban> {
        let source = source_of(source);
        let one = account.map(|account| (source, Some(self.hash.hash_one(account))));
        let listed = self.bans.iter().filter(|(key, _)| key.0 == source && one.is_none_or(|one| one == *key));
        let mut keys: Vec<(Key, Option<Arc<str>>)> = listed.cloned().collect();
        // A ban that has dropped out of the list can still be lifted by its account.
        if let (Some(one), true) = (one, keys.is_empty()) {
            keys.push((one, account.map(harmless)));
        }
        let lifted = keys.iter().filter_map(|(key, account)| self.shown(now, key, account.clone())).collect();
        keys.iter().for_each(|(key, _)| self.forget(key));
        lifted
    }

    fn shown(&self, now: Now, key: &Key, account: Option<Arc<str>>) -> Option<Ban> {
        let tally = self.find(key).filter(|tally| now.instant < tally.banned_until)?;
        Some(Ban { source: key.0, account, until: now.wall + tally.banned_until.since(now.instant) })
    }

    fn find(&self, key: &Key) -> Option<&Tally> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    fn forget(&mut self, key: &Key) {
        self.young.remove(key);
        self.old.remove(key);
        self.bans.retain(|(other, _)| other != key);
    }

    fn list(&mut self, key: Key, account: Option<&str>) {
        self.bans.retain(|(other, _)| *other != key);
        if self.bans.len() >= limits::BANS_LISTED {
            self.bans.pop_front();
        }
        self.bans.push_back((key, account.map(harmless)));
    }

    /// Whether an answer from `source` for `account` is outside any ban. `known` means that the pair has a live binding; it is then exempt from the
    /// ban of its source, so that one misconfigured phone does not lock out its whole office.
    pub(crate) fn admits(&self, now: Instant, source: IpAddr, account: &str, known: bool) -> bool {
        if self.young.is_empty() && self.old.is_empty() {
            return true;
        }
        let banned = |key: Key| self.find(&key).is_some_and(|tally| now < tally.banned_until);
        let source = source_of(source);
        !banned((source, Some(self.hash.hash_one(account)))) && (known || !banned((source, None)))
    }

    /// Count one wrong answer. Reported are the first one per minute and the start of each ban.
    pub(crate) fn charge(&mut self, now: Instant, source: IpAddr, account: &str) -> Report {
        let source = source_of(source);
        let key = (source, Some(self.hash.hash_one(account)));
        let pair = self.tally(key);
        let ban = pair.charge(now, limits::WRONG_PER_PAIR);
        let first = pair.wrong == 1;
        if !ban.is_zero() {
            self.list(key, Some(account));
        }
        let whole = self.tally((source, None)).charge(now, limits::WRONG_PER_SOURCE);
        if !whole.is_zero() {
            self.list((source, None), None);
        }
        let ban = ban.max(whole);
        match (ban.as_secs() as u32, first) {
            (0, false) => Report::Nothing,
            (0, true) => Report::First,
            (seconds, _) => Report::Ban { seconds },
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

/// An account for display: printable ASCII, at most 64 characters, because an attacker chooses the text.
pub(crate) fn harmless(account: &str) -> Arc<str> {
    account.chars().filter(char::is_ascii_graphic).take(64).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ban_ends_and_the_next_one_is_twice_as_long() {
        let mut guard = Guard::new(&mut Rng::from_number(1));
        let (thief, neighbour) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        let mut now = Instant::from_micros(5_000_000);
        for ban in [60, 120, 240, 480] {
            for n in 1..=limits::WRONG_PER_PAIR {
                assert!(guard.admits(now, thief, "1001", false));
                let told = match n {
                    1 => Report::First,
                    limits::WRONG_PER_PAIR => Report::Ban { seconds: ban as u32 },
                    _ => Report::Nothing,
                };
                assert_eq!(guard.charge(now, thief, "1001"), told);
            }
            assert!(!guard.admits(now + Duration::from_secs(ban - 1), neighbour, "1001", false));
            now += Duration::from_secs(ban);
        }
    }

    #[test]
    fn patience_gets_a_guesser_more_than_the_probes_of_a_ban() {
        let mut guard = Guard::new(&mut Rng::from_number(1));
        let thief: IpAddr = "10.0.0.1".parse().unwrap();
        // One guess per 100 ms for an hour, against one account and against fifty.
        for (accounts, most) in [(1_u64, 9 * 60), (50, 99 * 60)] {
            let (mut judged, source) = (0, IpAddr::from([10, 0, 0, accounts as u8]));
            for n in 0..36_000_u64 {
                let now = Instant::from_micros(5_000_000 + n * 100_000);
                let account = format!("a{}", n % accounts);
                if guard.judges(now, source, &account, false) {
                    guard.charge(now, source, &account);
                    judged += 1;
                }
            }
            assert!(judged <= most, "{judged} guesses of an hour were judged against {accounts} accounts");
        }
        // One minute of guessing.
        let judged = (0..300_u64).filter(|n| {
            let now = Instant::from_micros(5_000_000 + n * 200_000);
            let admitted = guard.judges(now, thief, "1002", false);
            if admitted {
                guard.charge(now, thief, "1002");
            }
            admitted
        });
        assert!(judged.count() <= 15);
    }

    #[test]
    fn a_ban_is_listed_and_lifted_by_its_source_or_its_pair() {
        let mut guard = Guard::new(&mut Rng::from_number(1));
        let (one, two): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "2001:db8::7".parse().unwrap());
        let now = Now { instant: Instant::from_micros(5_000_000), wall: base::Timestamp::from_micros(0) };
        for (source, account) in [(one, "1001"), (one, "10\r\n02"), (two, "1001")] {
            for _ in 0..limits::WRONG_PER_PAIR {
                guard.charge(now.instant, source, account);
            }
        }
        let shown = |bans: Vec<Ban>| -> Vec<String> {
            let line = |ban: &Ban| {
                format!("{} {} {}", ban.source, ban.account.as_deref().unwrap_or("-"), ban.until.as_micros())
            };
            bans.iter().map(line).collect()
        };
        assert_eq!(
            shown(guard.bans(now)),
            ["2001:db8:: 1001 60000000", "10.0.0.1 1002 60000000", "10.0.0.1 1001 60000000"]
        );
        assert_eq!(shown(guard.lift(now, two, Some("1001"))), ["2001:db8:: 1001 60000000"]);
        assert!(guard.lift(now, two, None).is_empty());
        assert_eq!(guard.lift(now, one, None).len(), 2);
        assert!(guard.bans(now).is_empty() && guard.admits(now.instant, one, "1001", false));
    }

    #[test]
    fn ten_wrong_answers_silence_the_pair_but_not_the_owner_elsewhere() {
        let mut guard = Guard::new(&mut Rng::from_number(1));
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
