//! The dial policy: whether a number may be dialled at all, from this origin and with these permissions (S188; security.md rows 7 and 31).
//!
//! Every outbound call passes [`check`]: calls from phones, the API, forwarding, schedules and trunks. A number is checked in every
//! interpretation that a carrier could give it, so that no spelling of a blocked number is allowed.

mod emergency;
mod ranges;

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use emergency::{emergency, is_emergency};
pub use ranges::{Kind, country_of};

use crate::number::without_separators;
use crate::{Cause, DialledNumber, ExtensionNumber, TraceStep};

/// Maximum number of digits of an international number (ITU-T E.164 §6).
const MAX_DIGITS: usize = 15;
/// International call prefixes of Australia, of North America, and of the rest of the world.
const INTERNATIONAL_PREFIXES: [&str; 3] = ["0011", "011", "00"];
/// Maximum number of digits of a national number with its trunk prefix.
const MAX_NATIONAL_DIGITS: usize = 12;

/// Classes of numbers that an extension may dial (S188).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct DialPermissions {
    pub internal: bool,
    pub national: bool,
    pub international: bool,
    pub premium: bool,
}

impl Default for DialPermissions {
    fn default() -> Self {
        DialPermissions { internal: true, national: true, international: true, premium: false }
    }
}

impl DialPermissions {
    /// Whether every permission of this set is also in `other`.
    pub fn is_subset_of(self, other: DialPermissions) -> bool {
        let at_most = |mine: bool, theirs: bool| theirs || !mine;
        at_most(self.internal, other.internal)
            && at_most(self.national, other.national)
            && at_most(self.international, other.international)
            && at_most(self.premium, other.premium)
    }
}

/// Origin of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallOrigin {
    /// A registered phone.
    Phone,
    /// The REST API.
    Api,
    /// Forwarding or follow-me of an extension; also a phone's 302.
    Forward,
    /// A recurring call.
    Schedule,
    /// An inbound call from a carrier: it may reach an extension, never another trunk.
    Trunk,
}

/// Class of a call: the permission that it needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum CallClass {
    Internal,
    /// An emergency call: it needs no permission, and no limit applies.
    Emergency,
    National,
    International,
    Premium,
}

/// Dial rules of the installation, the same for every extension.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DialRules {
    /// Country code of national numbers, `34`; `None` where unknown.
    pub country: Option<Arc<str>>,
    /// Prefixes of foreign numbers that may be dialled, in international form without `+`; all where empty.
    pub allowed: Arc<[Arc<str>]>,
    /// High-risk countries that are allowed nevertheless, in the same form.
    pub opened: Arc<[Arc<str>]>,
    /// Additional blocked prefixes, in the same form.
    pub blocked: Arc<[Arc<str>]>,
    /// Emergency numbers that replace the common ones and those of the country.
    pub emergency: Arc<[Arc<str>]>,
}

/// The dialled text without a `tel:` scheme, parameters and visual separators. A text that is not a number is returned unchanged.
/// [`crate::Party::parse`] also applies a `phone-context`.
pub fn normalise(text: &str) -> Cow<'_, str> {
    let bare = match text.split_at_checked(4) {
        Some((scheme, number)) if scheme.eq_ignore_ascii_case("tel:") => number,
        Some(_) | None => text,
    };
    let number = without_separators(bare.split(';').next().unwrap_or_default());
    if number.len() == text.len() || DialledNumber::parse(&number).is_err() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(number.into_owned())
}

/// Check an outbound number. The step that decided is appended to `trace`.
pub fn check(
    rules: &DialRules,
    origin: CallOrigin,
    permissions: DialPermissions,
    number: &DialledNumber,
    trace: &mut Vec<TraceStep>,
) -> Result<CallClass, Cause> {
    let (rule, outcome, verdict) = evaluate(rules, origin, permissions, number);
    trace.push(TraceStep { rule: rule.into(), outcome });
    verdict
}

/// Check only what is blocked from this origin whatever the caller's permissions. Numbers that could be an extension or a feature code are left
/// to the dial plan.
pub fn check_always_blocked(
    rules: &DialRules,
    origin: CallOrigin,
    number: &DialledNumber,
) -> Result<(), Cause> {
    let internal = ExtensionNumber::parse(number.as_str()).is_ok() || number.as_str().starts_with('*');
    if internal && emergency(rules, number).is_none() {
        return Ok(());
    }
    let all = DialPermissions { internal: true, national: true, international: true, premium: true };
    evaluate(rules, origin, all, number).2.map(|_| ())
}

/// Check a call to a local extension.
pub fn check_internal(
    origin: CallOrigin,
    permissions: DialPermissions,
    trace: &mut Vec<TraceStep>,
) -> Result<CallClass, Cause> {
    if permissions.internal || origin == CallOrigin::Trunk {
        return Ok(CallClass::Internal);
    }
    let outcome = "the caller may not dial other extensions".into();
    trace.push(TraceStep { rule: "permission".into(), outcome });
    Err(Cause::NotPermitted)
}

type Evaluation = (&'static str, String, Result<CallClass, Cause>);

fn evaluate(
    rules: &DialRules,
    origin: CallOrigin,
    permissions: DialPermissions,
    number: &DialledNumber,
) -> Evaluation {
    if let Some(emergency_number) = emergency(rules, number) {
        return match origin {
            CallOrigin::Phone => {
                ("emergency", format!("{emergency_number} is an emergency number"), Ok(CallClass::Emergency))
            }
            CallOrigin::Api | CallOrigin::Forward | CallOrigin::Schedule | CallOrigin::Trunk => {
                let why = "emergency numbers only from a registered phone".into();
                ("emergency", why, Err(Cause::EmergencyNotAllowed))
            }
        };
    }
    if origin == CallOrigin::Trunk {
        let why = "a call from a trunk is not routed to a trunk".into();
        return ("trunk_to_trunk", why, Err(Cause::Forbidden));
    }
    let Some(parsed) = ParsedNumber::of(number) else {
        return ("number", "`*` or `#` inside an outside number".into(), Err(Cause::BadNumber));
    };
    let primary = parsed.primary(rules);
    let mut premium = None;
    for interpretation in parsed.interpretations(rules) {
        if interpretation.is_empty() {
            continue;
        }
        if let Some(prefix) = rules.blocked.iter().find(|prefix| interpretation.starts_with(&***prefix)) {
            return (
                "blocked",
                format!("+{prefix} is on the configured block list"),
                Err(Cause::NumberBlocked),
            );
        }
        match ranges::range_of(&interpretation) {
            Some((Kind::Premium, range)) => premium = Some(range),
            Some((Kind::HighRisk, _))
                if matches_any(&rules.opened, &interpretation)
                    || matches_any(&rules.allowed, &interpretation) => {}
            Some((kind, range)) => {
                let why = format!("+{range} is on the block list ({kind:?})");
                return ("blocked", why, Err(Cause::NumberBlocked));
            }
            None => {}
        }
    }
    if !(1..=MAX_DIGITS).contains(&primary.digits.len()) {
        return ("number", "an outside number has 1 to 15 digits".into(), Err(Cause::BadNumber));
    }
    if let Some(range) = premium {
        return match permissions.premium && origin == CallOrigin::Phone {
            true => {
                ("permission", format!("+{range} is premium, which is permitted"), Ok(CallClass::Premium))
            }
            false => {
                ("blocked", format!("+{range} is on the block list (Premium)"), Err(Cause::NumberBlocked))
            }
        };
    }
    let (class, permitted) = match primary.domestic {
        true => (CallClass::National, permissions.national),
        false => (CallClass::International, permissions.international),
    };
    let known_home = class == CallClass::National && rules.country.is_some();
    if !rules.allowed.is_empty() && !known_home && !matches_any(&rules.allowed, &primary.digits) {
        let why = "the number begins with none of the allowed country prefixes".into();
        return ("allow_list", why, Err(Cause::NumberBlocked));
    }
    match permitted {
        true => ("permission", format!("{class:?} calls are permitted"), Ok(class)),
        false => ("permission", format!("{class:?} calls are not permitted"), Err(Cause::NotPermitted)),
    }
}

/// The number in international form without `+`, as given to a carrier. `None` where it is national and the country is not configured, or
/// where it cannot be a legal E.164 number.
pub fn e164(rules: &DialRules, number: &DialledNumber) -> Option<String> {
    let parsed = ParsedNumber::of(number)?;
    let primary = parsed.primary(rules);
    let country_known = !primary.domestic || rules.country.is_some();
    let legal = (1..=MAX_DIGITS).contains(&primary.digits.len()) && !primary.digits.starts_with('0');
    (country_known && legal).then_some(primary.digits)
}

fn matches_any(prefixes: &[Arc<str>], digits: &str) -> bool {
    prefixes.iter().any(|prefix| digits.starts_with(&**prefix))
}

/// The digits of a dialled number, and whether it had a `+`.
struct ParsedNumber<'a> {
    plus: bool,
    digits: &'a str,
}

/// The primary interpretation of a number.
struct Interpretation {
    /// International form, or as dialled where the country is not configured.
    digits: String,
    /// Whether it belongs to the configured country.
    domestic: bool,
}

impl<'a> ParsedNumber<'a> {
    /// `None` where `*` or `#` stand between digits. At the end they terminate dialling and carriers drop them.
    fn of(number: &'a DialledNumber) -> Option<ParsedNumber<'a>> {
        let text = number.as_str().trim_end_matches(['#', '*']);
        let digits = text.strip_prefix('+').unwrap_or(text);
        let legal = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        legal.then_some(ParsedNumber { plus: text.len() != digits.len(), digits })
    }

    /// The digits after the international prefix, if the number has one that is used in this country or cannot be a national prefix.
    fn after_international_prefix(&self, rules: &DialRules) -> Option<&'a str> {
        let country = rules.country.as_deref();
        let foreign = country.is_none() || self.plus || self.digits.len() > MAX_NATIONAL_DIGITS;
        let used = |prefix: &str| match prefix {
            "011" => foreign || country == Some("1"),
            _ => true, // 0011 too: no area code of +1 begins with 1
        };
        let after = INTERNATIONAL_PREFIXES
            .into_iter()
            .find_map(|prefix| self.digits.strip_prefix(prefix).filter(|_| used(prefix)));
        after.or_else(|| self.plus.then_some(self.digits)).map(|rest| rest.trim_start_matches('0'))
    }

    fn primary(&self, rules: &DialRules) -> Interpretation {
        let country = rules.country.as_deref();
        if let Some(digits) = self.after_international_prefix(rules) {
            let domestic =
                country.is_some_and(|country| digits.starts_with(country)) && !is_foreign_nanp(digits);
            return Interpretation { digits: digits.to_owned(), domestic };
        }
        let digits = match country {
            None => self.digits.to_owned(),
            Some("1") => format!("1{}", self.digits.strip_prefix('1').unwrap_or(self.digits)),
            Some("39") => format!("39{}", self.digits), // in Italy the leading zero is part of the number
            Some(country) => format!("{country}{}", self.digits.trim_start_matches('0')),
        };
        let domestic = !(country == Some("1") && is_foreign_nanp(&digits));
        Interpretation { digits, domestic }
    }

    /// Every international form that a carrier could read this number as.
    fn interpretations(&self, rules: &DialRules) -> Vec<String> {
        let mut interpretations = vec![self.primary(rules).digits];
        if let Some(after_international_prefix) = self.after_international_prefix(rules) {
            interpretations.push(after_international_prefix.to_owned());
        }
        if self.plus || rules.country.is_none() || self.digits.len() > MAX_NATIONAL_DIGITS {
            interpretations.push(self.digits.trim_start_matches('0').to_owned());
        }
        if self.digits.len() > MAX_NATIONAL_DIGITS {
            // An outside-line digit before the international prefix: no national number is that long.
            let lines = ["9", "8", "0"].into_iter().filter_map(|line| self.digits.strip_prefix(line));
            let behind = lines
                .filter_map(|digits| INTERNATIONAL_PREFIXES.into_iter().find_map(|p| digits.strip_prefix(p)));
            interpretations.extend(behind.map(|rest| rest.trim_start_matches('0').to_owned()));
        }
        if rules.country.is_none() && !self.plus && self.digits.len() == 10 {
            interpretations.push(format!("1{}", self.digits)); // ten-digit dialling of North America
        }
        for place in 0..interpretations.len() {
            // A trunk prefix that was not removed: +44 (0) …, +1 1 ….
            let Some(interpretation) = interpretations.get(place).cloned() else { continue };
            let Some(country) = country_of(&interpretation) else { continue };
            let rest = interpretation.get(country.len()..).unwrap_or_default();
            let kept = rest.trim_start_matches(if country == "1" { ['0', '1'] } else { ['0', '0'] });
            if kept.len() < rest.len() {
                interpretations.push(format!("{country}{kept}"));
            }
            let again = kept.strip_prefix(country).unwrap_or_default();
            if kept.len() > MAX_NATIONAL_DIGITS - 2 && !again.is_empty() {
                interpretations.push(format!("{country}{again}"));
            }
        }
        interpretations
    }
}

fn is_foreign_nanp(digits: &str) -> bool {
    digits
        .strip_prefix('1')
        .is_some_and(|rest| ranges::FOREIGN_NANP_CODES.iter().any(|code| rest.starts_with(code)))
}
