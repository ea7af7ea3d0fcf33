//! Outbound usage limits per user: calls started per minute, and minutes per day. There is no price list, so the limits count calls and minutes.
//! Emergency calls are not counted.
//!
//! Over the limit per minute, the next call is refused. Over the limit per day, active calls are ended as well: an attacker with a stolen password
//! starts fifty calls at once, and a limit that applies only to the next call would be exceeded by hours.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use base::{Instant, Now, Timestamp};
use model::journal::OutboundCallTime;
use model::recurrence::Zone;
use model::{CallId, Cause, UserId};

use crate::call::CallKey;

/// Shares of the daily minutes that are reported, in percent.
const LEVELS: [u8; 3] = [50, 80, 100];
const MINUTE: Duration = Duration::from_secs(60);
/// A wall clock set back by less than this does not start another day.
const SET_BACK: Duration = Duration::from_secs(3600);

/// Limits of outbound calls, for each user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutboundLimits {
    /// Maximum number of calls started within any 60 s; 0 = unlimited.
    pub calls_per_minute: u32,
    /// Maximum minutes per day, summed over all calls; 0 = unlimited.
    pub minutes_per_day: u32,
    /// Time zone in which a day starts at midnight.
    pub zone: Zone,
}

impl Default for OutboundLimits {
    fn default() -> Self {
        OutboundLimits { calls_per_minute: 30, minutes_per_day: 600, zone: Zone::utc() }
    }
}

impl OutboundLimits {
    /// Duration of a share of the daily minutes, in percent; `None` if unlimited.
    fn share(&self, percent: u8) -> Option<Duration> {
        let whole = MINUTE.saturating_mul(self.minutes_per_day);
        (self.minutes_per_day > 0).then(|| whole.saturating_mul(u32::from(percent)) / 100)
    }
}

/// Outbound usage of one user.
#[derive(Debug, Default)]
struct UserUsage {
    /// Start of the day that this usage belongs to; usage of another day is reset at the next access.
    day: Timestamp,
    /// Start times of the calls of the last minute.
    begun: VecDeque<Instant>,
    /// Time used on that day, without the active calls.
    used: Duration,
    /// Number of [`LEVELS`] reported.
    told: usize,
    /// Active calls, with the time from which they count: their answer, or midnight.
    on: BTreeMap<CallKey, Instant>,
    /// Earliest time at which the next level can be reached.
    due: Option<Instant>,
}

impl UserUsage {
    fn total(&self, now: Instant) -> Duration {
        self.on.values().fold(self.used, |sum, since| sum + now.since(*since))
    }
}

/// An answered outbound call.
#[derive(Debug)]
struct Running {
    time: OutboundCallTime,
    /// Time of the answer, by the monotonic clock.
    answered: Instant,
}

/// Report that a user has reached a share of the daily minutes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LimitReached {
    pub(crate) user: UserId,
    pub(crate) percent: u8,
    pub(crate) day: Timestamp,
}

/// Outbound usage of all users.
#[derive(Debug)]
pub(crate) struct OutboundUsage {
    limits: OutboundLimits,
    users: BTreeMap<UserId, UserUsage>,
    /// Answered outbound calls.
    running: BTreeMap<CallKey, Running>,
    /// Start and end of the current day.
    day: (Timestamp, Timestamp),
    /// Start of the current day, by the monotonic clock.
    midnight: Instant,
    /// [`UserUsage::due`] of all users, in order of time.
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

    /// Add the usage of the current day from before the start of the process.
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

    /// Admit and count one more outbound call of a user. Errors: [`Cause::OutsideMinutesUsed`], [`Cause::CallRateLimit`].
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

    /// An outbound call was answered.
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

    /// A call has ended; `None` if it was not an answered outbound call.
    pub(crate) fn ends(&mut self, now: Now, key: CallKey) -> Option<OutboundCallTime> {
        let Running { mut time, answered } = self.running.remove(&key)?; // most calls are not outbound
        self.turn(now);
        let meter = self.meter(&time.user);
        if let Some(since) = meter.on.remove(&key) {
            meter.used += now.instant.since(since);
        }
        time.until = Some(time.since + now.instant.since(answered));
        self.plan(now, &time.user);
        Some(time)
    }

    /// A user that may have reached the next level by now.
    pub(crate) fn next_due(&self, now: Now) -> Option<UserId> {
        self.due.first().filter(|(due, _)| *due <= now.instant).map(|(_, user)| user.clone())
    }

    /// The levels that a user has reached since the last query. Each level is reported once a day.
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

    /// Active calls of a user over the daily limit; empty if below it.
    pub(crate) fn over_limit(&self, now: Now, user: &UserId) -> Vec<CallKey> {
        let Some(meter) = self.users.get(user) else { return Vec::new() };
        let over = self.limits.share(100).is_some_and(|most| meter.total(now.instant) >= most);
        if over { meter.on.keys().copied().collect() } else { Vec::new() }
    }

    /// Usage of a user on the current day; created or reset as needed.
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

    /// Plan the next check of a user, at the earliest time at which the next level can be reached. A check planned before midnight may come too
    /// early, which has no effect.
    fn plan(&mut self, now: Now, user: &UserId) {
        let limits = self.limits.clone();
        let meter = self.meter(user);
        // All levels are reported: a call answered after the limit was reached must end at once, so the share is 0 %.
        let percent = LEVELS.get(meter.told).copied().unwrap_or_default();
        let left = limits.share(percent).map(|share| share.saturating_sub(meter.total(now.instant)));
        let calls = meter.on.len() as u32;
        // Rounded up: a check that comes too early would be planned again for the same time.
        let due =
            left.filter(|_| calls > 0).map(|left| now.instant + left / calls + Duration::from_micros(1));
        let before = std::mem::replace(&mut meter.due, due);
        if let Some(before) = before {
            self.due.remove(&(before, user.clone()));
        }
        self.due.extend(due.map(|due| (due, user.clone())));
    }

    /// Advance to the current day. The usage of each user is reset at its next access.
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
        let base = 1_700_000_000_000_000 - 1_700_000_000_000_000 % 86_400_000_000; // midnight UTC
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
        assert_eq!(admitted, [0, 1, 2, 60, 61, 62, 120, 121, 122]);
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
