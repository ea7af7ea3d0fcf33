//! The party that a SIP or tel URI names: a telephone number in one of its spellings, or a user name.
//!
//! The user part of a SIP URI may be a whole telephone-subscriber (RFC 3261 §19.1.6): a number with visual separators, followed by parameters
//! such as `;phone-context=` (RFC 3966 §5.1.5), `;npdi;rn=` and `;cic=` (RFC 4694), `;tgrp=` and `;trunk-context=` (RFC 4904).

use std::sync::Arc;

use crate::policy::{self, DialRules, country_of};
use crate::{DialledNumber, ExtensionNumber, is_host};

/// Local numbers up to this length are extensions or short codes, and no context makes subscriber numbers of them.
const MAX_SHORT: usize = 6;
/// Length of a NANP number with its country code, and without its area code.
const NANP_DIGITS: usize = 11;
const NANP_LOCAL_DIGITS: usize = 7;

/// The party that a URI names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Party {
    /// A telephone number, an extension number or a feature code.
    Number {
        /// The number without separators. A local number whose `phone-context` is a country or area is in international form, with `+`.
        number: DialledNumber,
        /// The `phone-context` in lower case where it is a domain name: the number is valid in this domain only. For a SIP URI the host decides
        /// which domain is responsible, so it can be ignored; for a tel URI it must be a served domain.
        domain: Option<Arc<str>>,
    },
    /// A user name: the user part as it is, parameters included (`alice;day=tuesday` is one name, RFC 3261 §19.1.4).
    Username(Arc<str>),
}

impl Party {
    /// Parse the user part of a SIP URI, or the subscriber of a tel URI, with escapes decoded. `None` where it is empty.
    ///
    /// `user` may contain telephone-subscriber parameters, and may begin with `tel:`. `phone_context` is the parameter of that name outside the
    /// user part: of a tel URI, or of a SIP URI that has it behind its host. One in `user` has precedence. `rules` supplies the emergency
    /// numbers, which a context does not change.
    ///
    /// A user name may look like a number with separators (`12.34`): look `user` up as a user name first.
    pub fn parse(user: &str, phone_context: Option<&str>, rules: &DialRules) -> Option<Party> {
        let subscriber = match user.split_at_checked(4) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("tel:") => rest,
            Some(_) | None => user,
        };
        let (written, parameters) = subscriber.split_once(';').unwrap_or((subscriber, ""));
        let Ok(number) = DialledNumber::parse_written(written) else {
            return (!user.is_empty()).then(|| Party::Username(user.into()));
        };
        // A global number has no context (RFC 3966 §5.1.5).
        let context = parameter(parameters, "phone-context").or(phone_context);
        let Some(context) = context.filter(|_| !number.as_str().starts_with('+')) else {
            return Some(Party::Number { number, domain: None });
        };
        match DialledNumber::parse_written(context) {
            Ok(area) if area.as_str().starts_with('+') => {
                let global = in_area(&number, area.as_str().trim_start_matches('+'), rules);
                Some(Party::Number { number: global.unwrap_or(number), domain: None })
            }
            Ok(_) | Err(_) => {
                let domain = is_host(context).then(|| context.to_ascii_lowercase().into());
                Some(Party::Number { number, domain })
            }
        }
    }

    /// The number or the user name: what [`crate::dialplan::route`] takes.
    pub fn as_str(&self) -> &str {
        match self {
            Party::Number { number, .. } => number.as_str(),
            Party::Username(name) => name,
        }
    }

    /// The number; `None` for a user name.
    pub fn number(&self) -> Option<&DialledNumber> {
        match self {
            Party::Number { number, .. } => Some(number),
            Party::Username(_) => None,
        }
    }

    /// The number as an extension number, where it can be one.
    pub fn extension(&self) -> Option<ExtensionNumber> {
        ExtensionNumber::parse(self.number()?.as_str()).ok()
    }

    /// The domain in which the number is valid, where the URI restricts it to one.
    pub fn domain(&self) -> Option<&str> {
        match self {
            Party::Number { domain, .. } => domain.as_deref(),
            Party::Username(_) => None,
        }
    }
}

/// The value of a parameter in `name=value;name;…`; names are case-insensitive.
fn parameter<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = parameters.split(';').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// A local number of an area, given by the first digits of its global numbers, in international form. `None` where it stays as it is: an
/// extension, a short code, an emergency number, or digits that make no legal number with this area. (The area is a context, not a prefix:
/// `911` in `+1` is not `+1911`, RFC 3966 §5.1.5.)
fn in_area(number: &DialledNumber, area: &str, rules: &DialRules) -> Option<DialledNumber> {
    let digits = number.as_str();
    let country = country_of(area)?;
    let national = DialRules { country: Some(country.into()), ..DialRules::default() };
    let is_emergency =
        policy::emergency(rules, number).is_some() || policy::emergency(&national, number).is_some();
    if digits.len() <= MAX_SHORT || is_emergency || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // The digits that dialling within the area leaves out.
    let omitted = match country {
        "1" if digits.len() == NANP_LOCAL_DIGITS => Some(area.get(..NANP_DIGITS - NANP_LOCAL_DIGITS)?),
        "1" => None,
        _ => Some(area).filter(|area| area.len() > country.len() && !digits.starts_with('0')),
    };
    let whole = match omitted {
        Some(omitted) => DialledNumber::parse(&format!("+{omitted}{digits}")).ok()?,
        None => number.clone(),
    };
    let global = policy::e164(&national, &whole)?;
    let is_legal = !global.starts_with('1') || global.len() == NANP_DIGITS;
    is_legal.then(|| DialledNumber::parse(&format!("+{global}")).ok())?
}
