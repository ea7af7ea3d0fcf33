//! Emergency numbers (security.md row 31): the configured ones, else the common ones of the world plus those of the country.

use super::DialRules;
use crate::DialledNumber;

/// Recognised everywhere: numbers of Europe, the Americas and Oceania, which visitors and their phones dial wherever they are.
const COMMON: [&str; 17] = [
    "112", "911", "999", "000", "110", "113", "118", "119", "131", "132", "133", "061", "062", "080", "091",
    "190", "192",
];

/// Additional emergency numbers by country code: in other countries they are services or unassigned.
const NATIONAL: &[(&str, &str)] = &[
    ("27", "10111 10177"),
    ("33", "15 17 18 114 115 191 196"),
    ("34", "085 088 092"),
    ("351", "115 117"),
    ("39", "114 115 117"),
    ("502", "120 122 123"),
    ("503", "913"),
    ("506", "128"),
    ("507", "103 104"),
    ("51", "105 106 116 117"),
    ("53", "104 105 106"),
    ("54", "100 101 105 107"),
    ("55", "193 197 199"),
    ("56", "130 134 137"),
    ("57", "123 125"),
    ("58", "171"),
    ("591", "120"),
    ("61", "106"),
    ("64", "111"),
    ("81", "171"),
    ("86", "120 122"),
    ("91", "100 101 102 108"),
];

fn national(country: &str) -> impl Iterator<Item = &'static str> {
    let row = NATIONAL.iter().find(|(code, _)| *code == country);
    row.into_iter().flat_map(|(_, numbers)| numbers.split(' '))
}

/// The emergency number that a dialled number stands for, if any. A `+`, leading zeros, the country code, and trailing `*` or `#` are ignored.
pub fn emergency<'r>(rules: &'r DialRules, number: &DialledNumber) -> Option<&'r str> {
    let dialled = number.as_str().trim_end_matches(['#', '*']);
    let digits = dialled.trim_start_matches('+');
    let without_prefix = dialled.trim_start_matches(['+', '0']);
    let without_country = rules
        .country
        .as_deref()
        .filter(|_| without_prefix.len() < dialled.len())
        .and_then(|c| without_prefix.strip_prefix(c));
    let zeros = digits.bytes().take_while(|b| *b == b'0').count();
    (0..=zeros)
        .find_map(|n| find_known(rules, digits.get(n..)?))
        .or_else(|| find_known(rules, without_country?))
}

/// The known emergency number equal to `text`. Called for every call, so it allocates nothing.
fn find_known<'r>(rules: &'r DialRules, text: &str) -> Option<&'r str> {
    if !rules.emergency.is_empty() {
        return rules
            .emergency
            .iter()
            .map(|number| &**number)
            .find(|emergency_number| *emergency_number == text);
    }
    let country = rules.country.as_deref().unwrap_or_default();
    COMMON.into_iter().chain(national(country)).find(|emergency_number| *emergency_number == text)
}

/// Whether a number is an emergency number under the default rules; no extension should have it.
pub fn is_emergency(number: &DialledNumber) -> bool {
    emergency(&DialRules::default(), number).is_some()
}
