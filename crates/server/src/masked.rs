//! Phone numbers in the log, masked: enough digits to follow a call, too few to dial the number.

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};

/// How phone numbers are written to the log (`log.numbers`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Numbers {
    /// `+34•••001`: the country code or the first digits, and the last three.
    #[default]
    Masked,
    /// Unmasked.
    Full,
    /// Replaced by `-`.
    None,
}

impl Numbers {
    /// Name in the configuration: `masked`, `full`, `none`.
    pub fn as_str(self) -> &'static str {
        match self {
            Numbers::Masked => "masked",
            Numbers::Full => "full",
            Numbers::None => "none",
        }
    }

    /// Parse the name.
    pub fn parse(text: &str) -> Option<Numbers> {
        [Numbers::Masked, Numbers::Full, Numbers::None].into_iter().find(|choice| choice.as_str() == text)
    }

    /// A number or user name as the log shows it, with control characters replaced.
    pub fn shown(self, text: &str) -> String {
        let clean = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
        match self {
            Numbers::None => "-".into(),
            Numbers::Full => clean.collect(),
            Numbers::Masked => masked(&clean.collect::<String>()),
        }
    }
}

/// Up to four characters stay (extensions are no secret). Of longer texts at least three characters are hidden.
fn masked(text: &str) -> String {
    let all: Vec<char> = text.chars().collect();
    if all.len() <= 4 {
        return text.into();
    }
    let digits = text.strip_prefix('+').filter(|rest| rest.bytes().all(|b| b.is_ascii_digit()));
    let country = digits.and_then(model::policy::country_of).map_or(0, |code| code.len() + 1);
    let first = if country > 0 { country } else { 2 };
    let last = 3.min(all.len().saturating_sub(first + 3));
    let end: String = all.iter().skip(all.len() - last).collect();
    format!("{}•••{end}", all.iter().take(first).collect::<String>())
}

/// Set by [`configure`].
static CHOSEN: AtomicU8 = AtomicU8::new(0);

/// Set how numbers are written, for the whole process.
pub fn configure(numbers: Numbers) {
    CHOSEN.store(numbers as u8, Ordering::Relaxed);
}

/// A number or user name as the log shows it.
pub fn number(text: &str) -> impl fmt::Display {
    let numbers = match CHOSEN.load(Ordering::Relaxed) {
        0 => Numbers::Masked,
        1 => Numbers::Full,
        _ => Numbers::None,
    };
    numbers.shown(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_number_is_followed_and_not_called() {
        let table = [
            ("+34911000001", "+34•••001"),
            ("+14155550123", "+1•••123"),
            ("911000001", "91•••001"),
            ("1001", "1001"),
            ("phone_1001", "ph•••001"),
            ("12345", "12•••"),
            ("123456", "12•••6"),
            ("", ""),
            ("ana\r\nFAKE", "an•••AKE"),
        ];
        for (number, shown) in table {
            assert_eq!(Numbers::Masked.shown(number), shown, "{number}");
        }
        assert_eq!(Numbers::Full.shown("+34911000001"), "+34911000001");
        assert_eq!(Numbers::None.shown("+34911000001"), "-");
        assert_eq!(Numbers::parse("some"), None);
    }
}
