//! RFC 3339 timestamps (§5.6).

use base::Timestamp;

const DAY: i64 = 86_400;

/// Parse `2026-11-21T09:30:00.5Z` or `2026-11-21T10:30:00+01:00`; `None` for anything else. A leap second becomes the following second.
pub(crate) fn instant(text: &str) -> Option<Timestamp> {
    let (date, rest) = (text.get(..10)?, text.get(10..)?);
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, rest) = (rest.get(..8)?, rest.get(8..)?);
    let (year, month, day) = parse_three(date, '-', 4)?;
    let (hour, minute, second) = parse_three(clock, ':', 2)?;
    if !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction, zone) = match rest.strip_prefix('.') {
        None => ("", rest),
        Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?),
    };
    if rest.starts_with('.') && fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let micros: i64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    let seconds = days(year, month, day) * DAY + hour * 3600 + minute * 60 + second - offset(zone)?;
    Some(Timestamp::from_micros(seconds * 1_000_000 + micros))
}

/// Parse three numbers of fixed width: the first has `first` digits, the others two.
fn parse_three(text: &str, between: char, first: usize) -> Option<(i64, i64, i64)> {
    let mut parts = text.split(between);
    let mut part = |width: usize| {
        let digits = parts.next().filter(|d| d.len() == width && d.bytes().all(|b| b.is_ascii_digit()))?;
        digits.parse::<i64>().ok()
    };
    let numbers = (part(first)?, part(2)?, part(2)?);
    parts.next().is_none().then_some(numbers)
}

/// Offset of a zone in seconds east of UTC.
fn offset(zone: &str) -> Option<i64> {
    if zone == "Z" || zone == "z" {
        return Some(0);
    }
    // A `+` that was not percent-encoded in a query arrives as a space.
    let (sign, rest) = match zone.split_at_checked(1)? {
        ("+" | " ", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes, _) = parse_three(&format!("{rest}:00"), ':', 2)?;
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let before = |year: i64| year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let in_year: i64 = (1..month).map(|month| days_in(year, month)).sum();
    before(year - 1) - before(1969) + in_year + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read_with_fractions_and_zones() {
        for (text, micros) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2023-11-14T22:13:20Z", 1_700_000_000_000_000),
            ("2023-11-14T22:13:20.25Z", 1_700_000_000_250_000),
            ("2023-11-14T23:13:20.123456789+01:00", 1_700_000_000_123_456),
            ("2023-11-14 16:43:20-05:30", 1_700_000_000_000_000),
            ("2000-02-29T00:00:00z", 951_782_400_000_000),
            ("1969-12-31T23:59:59Z", -1_000_000),
        ] {
            assert_eq!(instant(text), Some(Timestamp::from_micros(micros)), "{text}");
        }
        let half = instant("2025-01-15T10:30:00.5Z").unwrap();
        assert_eq!(instant(&half.to_string()), Some(half), "the server's own format");
    }

    #[test]
    fn invalid_timestamps_are_rejected() {
        for text in [
            "",
            "2023-11-14",
            "1700000000",
            "2023-02-29T00:00:00Z",
            "2023-13-01T00:00:00Z",
            "2023-11-14T24:00:00Z",
            "2023-11-14T22:13:20",
            "2023-11-14T22:13:20.Z",
            "2023-11-14T22:13:20+0100",
            "2023-11-14T22:13:20Zx",
            "2023-11-1\u{e9}T22:13:20Z",
            "+023-11-14T22:13:20Z",
        ] {
            assert_eq!(instant(text), None, "{text}");
        }
    }
}
