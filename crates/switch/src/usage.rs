//! What users may spend on the outside: so many calls begun in a minute, so many minutes in a day (security.md row 7). The office has no
//! price list; minutes are what it can count honestly. Calls for help never come here.
//!
//! A minute that is used up refuses the next call. A day that is used up ends the calls that are on as well: whoever stole a password
//! opens fifty at once, and a cap that only the next call feels would be exceeded by hours.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use base::{Instant, Now, Timestamp};
use model::journal::OutboundCallTime;
use model::recurrence::Zone;
use model::{CallId, Cause, UserId};

use crate::call::CallKey;

/// Shares of the day's minutes that are told of, in hundredths.
const LEVELS: [u8; 3] = [50, 80, 100];
const MINUTE: Duration = Duration::from_secs(60);
/// A clock that is set back by less does not begin another day.
const SET_BACK: Duration = Duration::from_secs(3600);

/// What one user may spend on the outside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutboundLimits {
    /// Calls that may begin within any minute; no limit where 0.
    pub calls_per_minute: u32,
    /// Minutes a day of all calls together; no limit where 0.
    pub minutes_per_day: u32,
    /// Whose midnight begins a day.
    pub zone: Zone,
}

impl Default for OutboundLimits {
    fn default() -> Self {
        OutboundLimits { calls_per_minute: 30, minutes_per_day: 600, zone: Zone::utc() }
    }
}

impl OutboundLimits {
    /// How long a share of the day's minutes is; `None` where they have no limit.
    fn share(&self, percent: u8) -> Option<Duration> {
        let whole = MINUTE.saturating_mul(self.minutes_per_day);
        (self.minutes_per_day > 0).then(|| whole.saturating_mul(u32::from(percent)) / 100)
    }
}

/// What one user has spent.
#[derive(Debug, Default)]
struct UserUsage {
    /// The day that it speaks of: a meter of another day counts as empty when it is next looked at.
    day: Timestamp,
    /// When calls of the last minute began.
    begun: VecDeque<Instant>,
    /// Of that day, without what is on.
    used: Duration,
    /// How many levels were told of.
    told: usize,
    /// Calls that are on, and since when they count: their answer, or midnight.
    on: BTreeMap<CallKey, Instant>,
    /// When the next level may be reached.
    due: Option<Instant>,
}

impl UserUsage {
    fn total(&self, now: Instant) -> Duration {
        self.on.values().fold(self.used, |sum, since| sum + now.since(*since))
    }
}

/// A call that is up outside.
#[derive(Debug)]
struct Running {
    time: OutboundCallTime,
    /// When it was answered, by the clock that never jumps.
    answered: Instant,
}

/// A share of the day's minutes that a user has reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LimitReached {
    pub(crate) user: UserId,
    pub(crate) percent: u8,
    pub(crate) day: Timestamp,
}

/// All meters.
#[derive(Debug)]
pub(crate) struct OutboundUsage {
    limits: OutboundLimits,
    users: BTreeMap<UserId, UserUsage>,
    /// Calls that are up outside.
    running: BTreeMap<CallKey, Running>,
    /// When today began, and when it is over.
    day: (Timestamp, Timestamp),
    /// When today began, by the clock that nobody sets.
    midnight: Instant,
    /// Whose next level may be reached when.
    due: BTreeSet<(Instant, UserId)>,
}

impl OutboundUsage {
    pub(crate) fn new(limits: OutboundLimits) -> OutboundUsage {
        OutboundUsage {
            limits,
            users: BTreeMap::new(),
            running: BTreeMap::new(),
            day: (Timestamp::default(), Timestamp::default()),
            midnight: Instant::ZERO,
            due: BTreeSet::new(),
        }
    }

    pub(crate) fn limits(&self) -> &OutboundLimits {
        &self.limits
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Count what was spent before this start.
    pub(crate) fn restore(&mut self, now: Now, times: &[OutboundCallTime]) {
        self.turn(now);
        for time in times {
            let until = time.until.unwrap_or(now.wall).min(now.wall);
            let used = until.since(time.since.max(self.day.0));
            if !used.is_zero() {
                self.meter(&time.user).used += used;
            }
        }
    }

    /// Whether one more call of this user may go outside. It is counted.
    pub(crate) fn admit(&mut self, now: Now, user: &UserId) -> Result<(), Cause> {
        self.turn(now);
        let (share, most) = (self.limits.share(100), self.limits.calls_per_minute);
        let meter = self.meter(user);
        if share.is_some_and(|share| meter.total(now.instant) >= share) {
            return Err(Cause::OutsideMinutesUsed);
        }
        while meter.begun.front().is_some_and(|begun| now.instant.since(*begun) >= MINUTE) {
            meter.begun.pop_front();
        }
        if most == 0 {
            return Ok(());
        }
        if meter.begun.len() >= most as usize {
            return Err(Cause::CallRateLimit);
        }
        meter.begun.push_back(now.instant);
        Ok(())
    }

    /// A call was answered outside.
    pub(crate) fn begins(
        &mut self,
        now: Now,
        key: CallKey,
        call: CallId,
        leg: usize,
        user: UserId,
    ) -> OutboundCallTime {
        self.turn(now);
        let time = OutboundCallTime { call, leg: leg as u32, user, since: now.wall, until: None };
        self.meter(&time.user).on.insert(key, now.instant);
        self.running.insert(key, Running { time: time.clone(), answered: now.instant });
        self.plan(now, &time.user);
        time
    }

    /// A call is over; `None` where it was not outside.
    pub(crate) fn ends(&mut self, now: Now, key: CallKey) -> Option<OutboundCallTime> {
        let Running { mut time, answered } = self.running.remove(&key)?; // most calls are not among them
        self.turn(now);
        let meter = self.meter(&time.user);
        if let Some(since) = meter.on.remove(&key) {
            meter.used += now.instant.since(since);
        }
        time.until = Some(time.since + now.instant.since(answered));
        self.plan(now, &time.user);
        Some(time)
    }

    /// A user whose next level may be reached by now.
    pub(crate) fn next_due(&self, now: Now) -> Option<UserId> {
        self.due.first().filter(|(due, _)| *due <= now.instant).map(|(_, user)| user.clone())
    }

    /// The levels that a user has reached since the last time. Each is told once a day.
    pub(crate) fn reached(&mut self, now: Now, user: &UserId) -> Vec<LimitReached> {
        self.turn(now);
        let shares = LEVELS.map(|percent| (percent, self.limits.share(percent)));
        let day = self.day.0;
        let meter = self.meter(user);
        let total = meter.total(now.instant);
        let mut reached = Vec::new();
        while let Some((percent, share)) = shares.get(meter.told).copied()
            && share.is_some_and(|share| total >= share)
        {
            meter.told += 1;
            reached.push(LimitReached { user: user.clone(), percent, day });
        }
        self.plan(now, user);
        reached
    }

    /// The calls of a user whose day is used up.
    pub(crate) fn over_limit(&self, now: Now, user: &UserId) -> Vec<CallKey> {
        let Some(meter) = self.users.get(user) else { return Vec::new() };
        let over = self.limits.share(100).is_some_and(|most| meter.total(now.instant) >= most);
        if over { meter.on.keys().copied().collect() } else { Vec::new() }
    }

    /// A user's meter, as of today.
    fn meter(&mut self, user: &UserId) -> &mut UserUsage {
        let (day, midnight) = (self.day.0, self.midnight);
        if !self.users.contains_key(user) {
            self.users.insert(user.clone(), UserUsage { day, ..UserUsage::default() });
        }
        let meter = self.users.entry(user.clone()).or_default();
        if meter.day != day {
            (meter.day, meter.used, meter.told) = (day, Duration::ZERO, 0);
            for since in meter.on.values_mut() {
                *since = (*since).max(midnight);
            }
        }
        meter
    }

    /// When to look at a user again: at the first moment at which the next level can be reached. One that was planned before midnight comes
    /// too early at worst.
    fn plan(&mut self, now: Now, user: &UserId) {
        let limits = self.limits.clone();
        let meter = self.meter(user);
        // Where all levels are told, a call that rang while the day ran out has been answered: it ends at once.
        let percent = LEVELS.get(meter.told).copied().unwrap_or_default();
        let left = limits.share(percent).map(|share| share.saturating_sub(meter.total(now.instant)));
        let calls = meter.on.len() as u32;
        // Rounded up: a moment too early would plan the same moment again.
        let due =
            left.filter(|_| calls > 0).map(|left| now.instant + left / calls + Duration::from_micros(1));
        let before = std::mem::replace(&mut meter.due, due);
        if let Some(before) = before {
            self.due.remove(&(before, user.clone()));
        }
        self.due.extend(due.map(|due| (due, user.clone())));
    }

    /// A new day forgets what was spent on the last one, meter by meter when each is next looked at.
    fn turn(&mut self, now: Now) {
        let (from, to) = self.day;
        let set_back = now.wall < from && from.since(now.wall) < SET_BACK;
        if set_back || (from..to).contains(&now.wall) {
            return;
        }
        self.day = self.limits.zone.day(now.wall);
        self.midnight = now.instant - now.wall.since(self.day.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Now {
        let base = 1_700_000_000_000_000 - 1_700_000_000_000_000 % 86_400_000_000; // a midnight of UTC
        Now {
            instant: Instant::from_micros(seconds * 1_000_000),
            wall: Timestamp::from_micros(base + seconds as i64 * 1_000_000),
        }
    }

    fn usage(calls: u32, minutes: u32) -> (OutboundUsage, UserId) {
        let limits =
            OutboundLimits { calls_per_minute: calls, minutes_per_day: minutes, ..OutboundLimits::default() };
        (OutboundUsage::new(limits), UserId::parse("ana").unwrap())
    }

    fn call(n: u64) -> CallId {
        CallId::parse(&format!("session_{n}_a")).unwrap()
    }

    #[test]
    fn no_minute_sees_more_calls_than_it_may() {
        let (mut usage, ana) = usage(3, 0);
        let admitted: Vec<u64> = (0..130).filter(|n| usage.admit(at(*n), &ana).is_ok()).collect();
        assert_eq!(admitted, [0, 1, 2, 60, 61, 62, 120, 121, 122]); // security.md row 7
        assert_eq!(usage.admit(at(130), &ana), Err(Cause::CallRateLimit));
        assert_eq!(usage.admit(at(130), &UserId::parse("eva").unwrap()), Ok(()), "each user has his own");
    }

    #[test]
    fn calls_at_once_use_the_day_up_together_and_midnight_gives_it_back() {
        let (mut usage, ana) = usage(0, 10);
        let begin = 86_400 - 600; // ten minutes before midnight
        for n in 0..4 {
            usage.begins(at(begin), CallKey::new(n, 0), call(n), 1, ana.clone());
        }
        let due = usage.deadline().unwrap();
        assert_eq!(due.as_micros() / 1_000_000, begin + 75, "four minutes a minute: half of ten");
        let percents = |reached: Vec<LimitReached>| reached.iter().map(|r| r.percent).collect::<Vec<_>>();
        assert_eq!(percents(usage.reached(at(begin + 76), &ana)), [50]);
        assert_eq!(percents(usage.reached(at(begin + 77), &ana)), [] as [u8; 0]);
        assert_eq!(percents(usage.reached(at(begin + 151), &ana)), [80, 100]);
        assert_eq!(usage.over_limit(at(begin + 151), &ana).len(), 4);
        assert_eq!(usage.admit(at(begin + 151), &ana), Err(Cause::OutsideMinutesUsed));
        for n in 0..3 {
            assert!(usage.ends(at(begin + 151), CallKey::new(n, 0)).is_some());
        }
        assert_eq!(usage.admit(at(86_400 + 1), &ana), Ok(()), "another day");
        assert_eq!(
            usage.meter(&ana).total(at(86_400 + 60).instant),
            MINUTE,
            "what is on counts from midnight"
        );
        assert_eq!(usage.ends(at(86_400 + 60), CallKey::new(3, 0)).unwrap().since, at(begin).wall);
        assert_eq!(usage.ends(at(86_400 + 61), CallKey::new(3, 0)), None);
    }

    #[test]
    fn a_restart_forgets_nothing_of_today_and_all_of_yesterday() {
        let (mut usage, ana) = usage(0, 2);
        let time = |since: u64, until| OutboundCallTime {
            call: call(since),
            leg: 1,
            user: ana.clone(),
            since: at(since).wall,
            until,
        };
        let day = 86_400;
        let before = [time(day - 600, Some(at(day + 30).wall)), time(day + 100, None)];
        usage.restore(at(day + 160), &before);
        assert_eq!(usage.meter(&ana).total(at(day + 160).instant), Duration::from_secs(90));
        usage.restore(at(day + 160), &[time(day + 130, Some(at(day + 160).wall))]);
        assert_eq!(usage.admit(at(day + 161), &ana), Err(Cause::OutsideMinutesUsed));
    }
}
