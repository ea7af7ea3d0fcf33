//! The dial policy: whether a number may be called at all, by this road, by this caller (S188; security.md rows 7 and 31).
//!
//! Every road to the outside passes through [`check`]: phones, the API, forwarding, schedules and trunks. A number is judged in every way
//! that a carrier could read it, so that no spelling opens what another one shuts.

mod emergency;
mod ranges;

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use emergency::{emergency, is_emergency};
pub use ranges::{Kind, country_of};

use crate::{Cause, DialledNumber, ExtensionNumber, TraceStep};

/// The longest number there is (ITU-T E.164 §6).
const LONGEST: usize = 15;
/// What is dialled before a country code, in Australia, in North America, and elsewhere.
const PREFIXES: [&str; 3] = ["0011", "011", "00"];
/// With its trunk prefix no national number is longer.
const LONGEST_NATIONAL: usize = 12;

/// What an extension may dial (S188).
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
    /// Whether nothing is permitted here that `other` forbids.
    pub fn is_subset_of(self, other: DialPermissions) -> bool {
        let at_most = |mine: bool, theirs: bool| theirs || !mine;
        at_most(self.internal, other.internal)
            && at_most(self.national, other.national)
            && at_most(self.international, other.international)
            && at_most(self.premium, other.premium)
    }
}

/// By which road a call comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallOrigin {
    /// A registered phone dialled.
    Phone,
    /// The API asked for it.
    Api,
    /// An extension forwards, or follows its owner; a phone's 302 too.
    Forward,
    /// A recurring call is due.
    Schedule,
    /// A carrier delivers a call: it may reach the office, and never the outside again.
    Trunk,
}

/// What kind of call it is, and so which permission it needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum CallClass {
    Internal,
    /// A call for help: no permission and no limit stands in its way.
    Emergency,
    National,
    International,
    Premium,
}

/// The rules of the house, the same for every extension.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DialRules {
    /// The country code that national numbers belong to, `34`; unknown where none.
    pub country: Option<Arc<str>>,
    /// Beginnings of numbers abroad that may be dialled, in international form without `+`; all where empty.
    pub allowed: Arc<[Arc<str>]>,
    /// High-risk countries that the house does call, in the same form.
    pub opened: Arc<[Arc<str>]>,
    /// Further beginnings that are never dialled.
    pub blocked: Arc<[Arc<str>]>,
    /// The numbers that call for help, instead of the common ones and those of the country.
    pub emergency: Arc<[Arc<str>]>,
}

/// A dialled text without what people and address books put into numbers: `tel:`, parameters, and the separators of RFC 3966 §5.1.1.
/// A text that is no number comes back as it was.
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

/// Judge a number for the outside. The step that decided is added to `trace`.
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

/// What nobody may dial by this road, whatever his permissions. What could be an extension or an application is left to the dial plan.
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

/// Judge a call to one of our own extensions.
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

/// The number in international form without `+`, for the edge that goes to a carrier: none where the house does not say which country
/// its national numbers belong to, or where there can be no such number.
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

/// A number as it was dialled: whether with `+`, and its digits.
struct Spoken<'a> {
    plus: bool,
    digits: &'a str,
}

/// How we read a number ourselves.
struct Main {
    /// In international form, or as dialled where our country is unknown.
    digits: String,
    /// Whether it is a number of our own country.
    home: bool,
}

impl<'a> Spoken<'a> {
    /// None where keys stand between digits. Those behind them end the dialling, and carriers drop them.
    fn of(number: &'a DialledNumber) -> Option<Spoken<'a>> {
        let text = number.as_str().trim_end_matches(['#', '*']);
        let digits = text.strip_prefix('+').unwrap_or(text);
        let legal = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        legal.then_some(Spoken { plus: text.len() != digits.len(), digits })
    }

    /// What follows the international prefix, if there is one that is used here (or that nobody here could mean otherwise).
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
            Some("39") => format!("39{}", self.digits), // Italy's zeros belong to the number
            Some(country) => format!("{country}{}", self.digits.trim_start_matches('0')),
        };
        let home = !(country == Some("1") && is_abroad_in_nanp(&digits));
        Main { digits, home }
    }

    /// Every number in international form that somebody could take this for.
    fn readings(&self, rules: &DialRules) -> Vec<String> {
        let mut readings = vec![self.main(rules).digits];
        if let Some(abroad) = self.abroad(rules) {
            readings.push(abroad.to_owned());
        }
        if self.plus || rules.country.is_none() || self.digits.len() > LONGEST_NATIONAL {
            readings.push(self.digits.trim_start_matches('0').to_owned());
        }
        if self.digits.len() > LONGEST_NATIONAL {
            // A figure for an outside line before the international prefix: no national number is so long.
            let lines = ["9", "8", "0"].into_iter().filter_map(|line| self.digits.strip_prefix(line));
            let behind = lines.filter_map(|digits| PREFIXES.into_iter().find_map(|p| digits.strip_prefix(p)));
            readings.extend(behind.map(|rest| rest.trim_start_matches('0').to_owned()));
        }
        if rules.country.is_none() && !self.plus && self.digits.len() == 10 {
            readings.push(format!("1{}", self.digits)); // North America dials ten digits
        }
        for place in 0..readings.len() {
            // A trunk prefix that was left in: +44 (0) …, +1 1 ….
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
