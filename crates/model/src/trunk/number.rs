//! Number formats of trunks: how called and calling numbers are written for a carrier.

use serde::{Deserialize, Serialize};

use super::{CallerId, TrunkSettings};
use crate::policy::normalise;
use crate::{DialledNumber, ExtensionNumber};

/// Number format that a carrier expects.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NumberFormat {
    /// `+` and 7 to 15 digits. A number that cannot be written so is not sent over this trunk.
    #[default]
    E164,
    /// The same digits without `+`.
    Digits,
    /// As dialled, apart from the trunk's prefixes.
    Dialled,
}

/// Whether two numbers are equal, ignoring an international prefix `+` or `00`.
pub fn same_number(a: &str, b: &str) -> bool {
    fn bare(text: &str) -> &str {
        text.strip_prefix('+').or_else(|| text.strip_prefix("00")).unwrap_or(text)
    }
    !a.is_empty() && bare(a) == bare(b)
}

impl TrunkSettings {
    /// A dialled number in this carrier's format; `None` where it cannot be written so. `whole`: the E.164 digits of the number without `+`, where
    /// known. Emergency numbers (`help`) are sent as dialled, without `+`.
    pub fn format_number(
        &self,
        number: &DialledNumber,
        e164: Option<&str>,
        is_emergency: bool,
    ) -> Option<String> {
        let text = number.as_str();
        if is_emergency {
            return Some(text.trim_start_matches('+').to_owned());
        }
        let stripped = self.strip_prefix.as_ref().and_then(|prefix| text.strip_prefix(prefix.as_str()));
        let text = stripped.filter(|rest| !rest.is_empty()).unwrap_or(text);
        let international = text.strip_prefix('+').or_else(|| text.strip_prefix("00"));
        let added = match (&self.add_prefix, international) {
            (Some(prefix), None) => Some(format!("{}{text}", prefix.as_str())),
            (Some(_) | None, _) => None,
        };
        if self.number_format == NumberFormat::Dialled {
            return Some(added.unwrap_or_else(|| text.to_owned()));
        }
        let digits = match (&added, international) {
            (Some(added), _) => added.strip_prefix('+').unwrap_or(added),
            (None, Some(international)) => international,
            (None, None) if stripped.is_none() => e164?,
            (None, None) => text,
        };
        let plain = (7..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        (plain && !digits.starts_with('0')).then(|| match self.number_format {
            NumberFormat::E164 => format!("+{digits}"),
            NumberFormat::Digits | NumberFormat::Dialled => digits.to_owned(),
        })
    }

    /// The number that this carrier will read, in a form that the dial policy can check: prefixes are stripped, and added where
    /// they begin an international number. `None` where the number is not sent over this trunk.
    pub(crate) fn number_after_prefixes(
        &self,
        number: &DialledNumber,
        e164: Option<&str>,
    ) -> Option<DialledNumber> {
        let wire = self.format_number(number, e164, false)?;
        let text = match self.number_format {
            NumberFormat::E164 => wire,
            NumberFormat::Digits => format!("+{wire}"),
            // A prefix that does not begin an international number selects a route at the carrier.
            NumberFormat::Dialled => match &self.add_prefix {
                Some(prefix) if !prefix.as_str().starts_with('+') => {
                    wire.strip_prefix(prefix.as_str()).unwrap_or(&wire).to_owned()
                }
                Some(_) | None => wire,
            },
        };
        DialledNumber::parse(&text).ok()
    }

    /// The DID by which outside callers reach an extension over this trunk.
    pub fn number_of(&self, extension: &ExtensionNumber) -> Option<&str> {
        let mine = self.dids.iter().find(|did| did.extension.as_ref() == Some(extension));
        mine.map(|did| did.number.as_str())
    }

    /// The caller number shown to the callee. `shown`: the number that the call carries. `None` where no number results.
    pub fn caller_number(&self, shown: &str, extension: Option<&ExtensionNumber>) -> Option<String> {
        let fixed = || self.caller_number.as_ref().map(|number| number.as_str().to_owned());
        let did = || self.number_of(extension?).map(str::to_owned);
        let number =
            |text: &str| DialledNumber::parse(&normalise(text)).ok().map(|number| number.as_str().to_owned());
        match self.caller_id {
            CallerId::Fixed => fixed(),
            CallerId::Own => did().or_else(fixed).or_else(|| number(shown)),
            CallerId::Pass => number(shown).or_else(fixed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> TrunkSettings {
        serde_json::from_value(serde_json::json!({
            "hosts": [{"host": "carrier.example"}], "username": null, "realm": null, "register": null, "outboundProxy": null,
            "sources": [], "dids": [{"number": "+34911000001", "extension": "1001"}], "defaultExtension": null,
            "callerId": "fixed", "callerNumber": "+34910000000", "numberFormat": "e164", "stripPrefix": null, "addPrefix": null,
            "codecs": [], "maxChannels": null, "callsPerSecond": null, "probe": true,
        }))
        .unwrap()
    }

    fn wire(settings: &TrunkSettings, number: &str, e164: Option<&str>) -> Option<String> {
        settings.format_number(&DialledNumber::parse(number).unwrap(), e164, false)
    }

    #[test]
    fn e164_is_written_with_plus_or_not_at_all() {
        let mut carrier = settings();
        assert_eq!(wire(&carrier, "+5215512345678", None).unwrap(), "+5215512345678");
        assert_eq!(wire(&carrier, "005215512345678", None).unwrap(), "+5215512345678");
        assert_eq!(wire(&carrier, "912345678", Some("34912345678")).unwrap(), "+34912345678");
        for bad in ["912345678", "+0987654321", "+1", "+1234567890123456", "*99", "+34#911"] {
            assert_eq!(wire(&carrier, bad, None), None, "{bad}");
        }
        carrier.number_format = NumberFormat::Digits;
        assert_eq!(wire(&carrier, "+5215512345678", None).unwrap(), "5215512345678");
    }

    #[test]
    fn prefixes_are_cut_and_added() {
        let mut carrier = settings();
        carrier.strip_prefix = Some(DialledNumber::parse("0").unwrap());
        carrier.add_prefix = Some(DialledNumber::parse("+34").unwrap());
        assert_eq!(wire(&carrier, "0912345678", None).unwrap(), "+34912345678");
        assert_eq!(wire(&carrier, "912345678", None).unwrap(), "+34912345678");
        assert_eq!(wire(&carrier, "+5215512345678", None).unwrap(), "+5215512345678");
        carrier.number_format = NumberFormat::Dialled;
        carrier.add_prefix = None;
        assert_eq!(wire(&carrier, "0912345678", None).unwrap(), "912345678");
        assert_eq!(carrier.format_number(&DialledNumber::parse("+112").unwrap(), None, true).unwrap(), "112");
    }

    #[test]
    fn the_shown_number_follows_the_rule() {
        let mut carrier = settings();
        let [with, without] = ["1001", "1002"].map(|n| ExtensionNumber::parse(n).unwrap());
        let shown =
            |carrier: &TrunkSettings, shown: &str, e| carrier.caller_number(shown, e).unwrap_or_default();
        assert_eq!(shown(&carrier, "1001", Some(&with)), "+34910000000");
        carrier.caller_id = CallerId::Own;
        assert_eq!(shown(&carrier, "1001", Some(&with)), "+34911000001");
        assert_eq!(shown(&carrier, "1002", Some(&without)), "+34910000000");
        carrier.caller_id = CallerId::Pass;
        assert_eq!(shown(&carrier, "+33142000000", None), "+33142000000");
        assert_eq!(shown(&carrier, "+33-1-42-00-00-00;npdi", None), "+33142000000");
        assert_eq!(shown(&carrier, "anonymous", None), "+34910000000");
        carrier.caller_number = None;
        assert_eq!(carrier.caller_number("anonymous", None), None);
    }

    #[test]
    fn international_prefixes_do_not_tell_numbers_apart() {
        assert!(same_number("+34911", "0034911") && same_number("34911", "+34911"));
        assert!(!same_number("", "") && !same_number("34911", "34912"));
        assert_eq!(settings().did("34911000001").unwrap().extension.as_ref().unwrap().as_str(), "1001");
        assert!(settings().did("911000001").is_none());
    }
}
