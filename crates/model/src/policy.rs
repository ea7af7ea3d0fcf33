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

use crate::{Cause, DialledNumber, ExtensionNumber, TraceStep};

/// Maximum number of digits of an international number (ITU-T E.164 §6).
const LONGEST: usize = 15;
/// International call prefixes of Australia, of North America, and of the rest of the world.
const PREFIXES: [&str; 3] = ["0011", "011", "00"];
/// Maximum number of digits of a national number with its trunk prefix.
const LONGEST_NATIONAL: usize = 12;

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

/// The dialled text without a `tel:` scheme, parameters and the visual separators of RFC 3966 §5.1.1. A text that is not a number is returned
/// unchanged.
pub fn normalise(text: &str) -> Cow<'_, str> {
    let bare = text.strip_prefix("tel:").or_else(|| text.strip_prefix("TEL:")).unwrap_or(text);
    let bare = bare.split(';').next().unwrap_or_default();
    let spaced = |c: char| matches!(c, '-' | '.' | '(' | ')' | ' ');
    if bare == text && !text.contains(spaced) {
        return Cow::Borrowed(text);
    }
    let number: String = bare.chars().filter(|c| !spaced(*c)).collect();
    if DialledNumber::parse(&number).is_ok() { Cow::Owned(number) } else { Cow::Borrowed(text) }
}

/// Check an outbound number. The step that decided is appended to `trace`.
pub fn check(
    rules: &DialRules,
    road: CallOrigin,
    who: DialPermissions,
    number: &DialledNumber,
    trace: &mut Vec<TraceStep>,
) -> Result<CallClass, Cause> {
    let (rule, outcome, verdict) = evaluate(rules, road, who, number);
    trace.push(TraceStep { rule: rule.into(), outcome });
    verdict
}

/// Check only what is blocked from this origin whatever the caller's permissions. Numbers that could be an extension or a feature code are left
/// to the dial plan.
pub fn check_always_blocked(
    rules: &DialRules,
    road: CallOrigin,
    number: &DialledNumber,
) -> Result<(), Cause> {
    let ours = ExtensionNumber::parse(number.as_str()).is_ok() || number.as_str().starts_with('*');
    if ours && emergency(rules, number).is_none() {
        return Ok(());
    }
    let all = DialPermissions { internal: true, national: true, international: true, premium: true };
    evaluate(rules, road, all, number).2.map(|_| ())
}

/// Check a call to a local extension.
pub fn check_internal(
    road: CallOrigin,
    who: DialPermissions,
    trace: &mut Vec<TraceStep>,
) -> Result<CallClass, Cause> {
    if who.internal || road == CallOrigin::Trunk {
        return Ok(CallClass::Internal);
    }
    let outcome = "the caller may not dial other extensions".into();
    trace.push(TraceStep { rule: "permission".into(), outcome });
    Err(Cause::NotPermitted)
}

type Judged = (&'static str, String, Result<CallClass, Cause>);

fn evaluate(rules: &DialRules, road: CallOrigin, who: DialPermissions, number: &DialledNumber) -> Judged {
    if let Some(help) = emergency(rules, number) {
        return match road {
            CallOrigin::Phone => ("emergency", format!("{help} calls for help"), Ok(CallClass::Emergency)),
            CallOrigin::Api | CallOrigin::Forward | CallOrigin::Schedule | CallOrigin::Trunk => {
                let why = "emergency numbers only from a registered phone".into();
                ("emergency", why, Err(Cause::EmergencyNotAllowed))
            }
        };
    }
    if road == CallOrigin::Trunk {
        let why = "a call from a trunk does not go out again".into();
        return ("trunk_to_trunk", why, Err(Cause::Forbidden));
    }
    let Some(spoken) = Spoken::of(number) else {
        return ("number", "keys inside a number lead nowhere outside".into(), Err(Cause::BadNumber));
    };
    let main = spoken.main(rules);
    let mut premium = None;
    for reading in spoken.readings(rules) {
        if reading.is_empty() {
            continue;
        }
        if let Some(prefix) = rules.blocked.iter().find(|prefix| reading.starts_with(&***prefix)) {
            return ("blocked", format!("+{prefix} is on the house's block list"), Err(Cause::NumberBlocked));
        }
        match ranges::range_of(&reading) {
            Some((Kind::Premium, range)) => premium = Some(range),
            Some((Kind::HighRisk, _))
                if lists(&rules.opened, &reading) || lists(&rules.allowed, &reading) => {}
            Some((kind, range)) => {
                let why = format!("+{range} is on the block list ({kind:?})");
                return ("blocked", why, Err(Cause::NumberBlocked));
            }
            None => {}
        }
    }
    if !(1..=LONGEST).contains(&main.digits.len()) {
        return ("number", "no telephone number has so many digits".into(), Err(Cause::BadNumber));
    }
    if let Some(range) = premium {
        return match who.premium && road == CallOrigin::Phone {
            true => {
                ("permission", format!("+{range} is premium, which is permitted"), Ok(CallClass::Premium))
            }
            false => {
                ("blocked", format!("+{range} is on the block list (Premium)"), Err(Cause::NumberBlocked))
            }
        };
    }
    let (class, permitted) = match main.home {
        true => (CallClass::National, who.national),
        false => (CallClass::International, who.international),
    };
    let known_home = class == CallClass::National && rules.country.is_some();
    if !rules.allowed.is_empty() && !known_home && !lists(&rules.allowed, &main.digits) {
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
    let spoken = Spoken::of(number)?;
    let main = spoken.main(rules);
    let whole = !main.home || rules.country.is_some();
    let legal = (1..=LONGEST).contains(&main.digits.len()) && !main.digits.starts_with('0');
    (whole && legal).then_some(main.digits)
}

fn lists(prefixes: &[Arc<str>], digits: &str) -> bool {
    prefixes.iter().any(|prefix| digits.starts_with(&**prefix))
}

/// The digits of a dialled number, and whether it had a `+`.
struct Spoken<'a> {
    plus: bool,
    digits: &'a str,
}

/// The primary interpretation of a number.
struct Main {
    /// International form, or as dialled where the country is not configured.
    digits: String,
    /// Whether it belongs to the configured country.
    home: bool,
}

impl<'a> Spoken<'a> {
    /// `None` where `*` or `#` stand between digits. At the end they terminate dialling and carriers drop them.
    fn of(number: &'a DialledNumber) -> Option<Spoken<'a>> {
        let text = number.as_str().trim_end_matches(['#', '*']);
        let digits = text.strip_prefix('+').unwrap_or(text);
        let legal = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        legal.then_some(Spoken { plus: text.len() != digits.len(), digits })
    }

    /// The digits after the international prefix, if the number has one that is used in this country or cannot be a national prefix.
    fn abroad(&self, rules: &DialRules) -> Option<&'a str> {
        let country = rules.country.as_deref();
        let foreign = country.is_none() || self.plus || self.digits.len() > LONGEST_NATIONAL;
        let used = |prefix: &str| match prefix {
            "011" => foreign || country == Some("1"),
            _ => true, // 0011 too: no area code of +1 begins with 1
        };
        let after =
            PREFIXES.into_iter().find_map(|prefix| self.digits.strip_prefix(prefix).filter(|_| used(prefix)));
        after.or_else(|| self.plus.then_some(self.digits)).map(|rest| rest.trim_start_matches('0'))
    }

    fn main(&self, rules: &DialRules) -> Main {
        let country = rules.country.as_deref();
        if let Some(digits) = self.abroad(rules) {
            let home =
                country.is_some_and(|country| digits.starts_with(country)) && !is_abroad_in_nanp(digits);
            return Main { digits: digits.to_owned(), home };
        }
        let digits = match country {
            None => self.digits.to_owned(),
            Some("1") => format!("1{}", self.digits.strip_prefix('1').unwrap_or(self.digits)),
            Some("39") => format!("39{}", self.digits), // in Italy the leading zero is part of the number
            Some(country) => format!("{country}{}", self.digits.trim_start_matches('0')),
        };
        let home = !(country == Some("1") && is_abroad_in_nanp(&digits));
        Main { digits, home }
    }

    /// Every international form that a carrier could read this number as.
    fn readings(&self, rules: &DialRules) -> Vec<String> {
        let mut readings = vec![self.main(rules).digits];
        if let Some(abroad) = self.abroad(rules) {
            readings.push(abroad.to_owned());
        }
        if self.plus || rules.country.is_none() || self.digits.len() > LONGEST_NATIONAL {
            readings.push(self.digits.trim_start_matches('0').to_owned());
        }
        if self.digits.len() > LONGEST_NATIONAL {
            // An outside-line digit before the international prefix: no national number is that long.
            let lines = ["9", "8", "0"].into_iter().filter_map(|line| self.digits.strip_prefix(line));
            let behind = lines.filter_map(|digits| PREFIXES.into_iter().find_map(|p| digits.strip_prefix(p)));
            readings.extend(behind.map(|rest| rest.trim_start_matches('0').to_owned()));
        }
        if rules.country.is_none() && !self.plus && self.digits.len() == 10 {
            readings.push(format!("1{}", self.digits)); // ten-digit dialling of North America
        }
        for place in 0..readings.len() {
            // A trunk prefix that was not removed: +44 (0) …, +1 1 ….
            let Some(reading) = readings.get(place).cloned() else { continue };
            let Some(country) = country_of(&reading) else { continue };
            let rest = reading.get(country.len()..).unwrap_or_default();
            let kept = rest.trim_start_matches(if country == "1" { ['0', '1'] } else { ['0', '0'] });
            if kept.len() < rest.len() {
                readings.push(format!("{country}{kept}"));
            }
            let again = kept.strip_prefix(country).unwrap_or_default();
            if kept.len() > LONGEST_NATIONAL - 2 && !again.is_empty() {
                readings.push(format!("{country}{again}"));
            }
        }
        readings
    }
}

fn is_abroad_in_nanp(digits: &str) -> bool {
    digits
        .strip_prefix('1')
        .is_some_and(|rest| ranges::ABROAD_IN_NANP.iter().any(|code| rest.starts_with(code)))
}
