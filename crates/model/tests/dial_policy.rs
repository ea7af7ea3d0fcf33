//! The dial policy: which numbers may be dialled, in every spelling.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use centralita_model::policy::{self, CallClass, CallOrigin};
use centralita_model::{Cause, DialPermissions, DialRules, DialledNumber, TraceStep};
use proptest::prelude::*;

const EVERYTHING: DialPermissions =
    DialPermissions { internal: true, national: true, international: true, premium: true };
const ORIGINS: [CallOrigin; 5] =
    [CallOrigin::Phone, CallOrigin::Api, CallOrigin::Forward, CallOrigin::Schedule, CallOrigin::Trunk];

fn rules(country: &str) -> DialRules {
    DialRules { country: (!country.is_empty()).then(|| country.into()), ..DialRules::default() }
}

fn prefixes(list: &[&str]) -> Arc<[Arc<str>]> {
    list.iter().map(|prefix| Arc::from(*prefix)).collect()
}

fn check(
    rules: &DialRules,
    origin: CallOrigin,
    permissions: DialPermissions,
    text: &str,
) -> (Result<CallClass, Cause>, String) {
    let number =
        DialledNumber::parse(&policy::normalise(text)).unwrap_or_else(|_| panic!("{text} is a number"));
    let mut trace: Vec<TraceStep> = Vec::new();
    let verdict = policy::check(rules, origin, permissions, &number, &mut trace);
    assert_eq!(trace.len(), 1, "one step says what decided");
    (verdict, trace.remove(0).rule)
}

fn dial(country: &str, text: &str) -> Result<CallClass, Cause> {
    check(&rules(country), CallOrigin::Phone, DialPermissions::default(), text).0
}

/// All spellings of a number in international form that people, phones and fraudsters use.
fn spellings(number: &str) -> Vec<String> {
    let dashed = |separator: &str| {
        let parts: Vec<&str> =
            number.as_bytes().chunks(3).filter_map(|p| std::str::from_utf8(p).ok()).collect();
        parts.join(separator)
    };
    let mut all: Vec<String> = ["+", "00", "011", "0011", "000", "+0", "+00", "+011", ""]
        .iter()
        .map(|prefix| format!("{prefix}{number}"))
        .collect();
    for separator in ["-", ".", " ", ") ("] {
        for prefix in ["+", "00", "011 ", "0011-"] {
            all.push(format!("{prefix}{}", dashed(separator)));
        }
    }
    for tail in ["#", "*", "##", "#*", ";user=phone", ";phone-context=+1", ";npdi;isub=7"] {
        all.push(format!("+{number}{tail}"));
        all.push(format!("00{number}{tail}"));
    }
    all.extend(["tel:+", "TEL:+", "tel:00", "tel:"].iter().map(|scheme| format!("{scheme}{number}")));
    all
}

#[test]
fn a_forbidden_number_is_refused_however_it_is_spelled() {
    // S188, security.md row 7: satellites, premium services, shared revenue.
    for number in [
        "870773123456",
        "881612345678",
        "88216123456",
        "883510012345",
        "97912345",
        "19005551234",
        "12129765551",
        "447012345678",
        "449012345678",
        "34803123456",
        "25261234567",
        "6741234567",
    ] {
        let all = spellings(number);
        assert!(all.len() >= 27, "{}", all.len());
        for spelling in all {
            for (country, origin) in [
                ("", CallOrigin::Phone),
                ("", CallOrigin::Api),
                ("", CallOrigin::Forward),
                ("", CallOrigin::Schedule),
            ] {
                let (verdict, rule) = check(&rules(country), origin, DialPermissions::default(), &spelling);
                assert_eq!(verdict, Err(Cause::NumberBlocked), "{spelling} from {country:?} by {origin:?}");
                assert_eq!(rule, "blocked");
            }
        }
        for country in ["34", "1", "44", "56"] {
            for spelling in spellings(number).iter().filter(|s| s.starts_with('+') || s.starts_with("00")) {
                assert_eq!(dial(country, spelling), Err(Cause::NumberBlocked), "{spelling} from {country}");
            }
        }
    }
}

#[test]
fn national_numbers_are_read_with_the_configured_country() {
    for (country, number) in [
        ("34", "803123456"),
        ("34", "+34 803 12 34 56"),
        ("44", "0901 234 5678"),
        ("44", "+44 (0) 901 234 5678"),
        ("44", "0871-234-5678"),
        ("1", "900-555-1234"),
        ("1", "1 900 555 1234"),
        ("1", "+1 1 900 555 1234"),
        ("1", "212-976-5551"),
        ("56", "700 123 456"),
        ("49", "0900 1234567"),
        ("", "9005551234"),
    ] {
        assert_eq!(dial(country, number), Err(Cause::NumberBlocked), "{number} in {country:?}");
    }
    for (country, number, class) in [
        ("34", "912345678", CallClass::National),
        ("34", "900123456", CallClass::National), // toll-free there
        ("34", "+34912345678", CallClass::National),
        ("34", "0044 20 7946 0000", CallClass::International),
        ("44", "020 7946 0000", CallClass::National),
        ("44", "01189 701234", CallClass::National), // 011 is not an international prefix there
        ("27", "011 881 2345", CallClass::National),
        ("1", "870 555 1234", CallClass::National), // Arkansas
        ("1", "011 34 912345678", CallClass::International),
        ("1", "+12125551234", CallClass::National),
        ("1", "4415551234", CallClass::International), // Bermuda
        ("", "+12125551234", CallClass::International),
        ("", "5551234567", CallClass::National),
        ("", "+0987654321", CallClass::International), // S32
        ("", "*67", CallClass::Internal),
    ] {
        let expected = if class == CallClass::Internal { Err(Cause::BadNumber) } else { Ok(class) };
        assert_eq!(dial(country, number), expected, "{number} in {country:?}");
    }
}

#[test]
fn each_permission_opens_its_own_class_and_no_other() {
    // S188
    let only = |national, international, premium| DialPermissions {
        internal: false,
        national,
        international,
        premium,
    };
    let home = rules("34");
    for (permissions, number, expected) in [
        (only(true, false, false), "912345678", Ok(CallClass::National)),
        (only(true, false, false), "+442079460000", Err(Cause::NotPermitted)),
        (only(false, true, false), "+442079460000", Ok(CallClass::International)),
        (only(false, true, false), "912345678", Err(Cause::NotPermitted)),
        (only(true, true, false), "803123456", Err(Cause::NumberBlocked)),
        (only(false, false, true), "803123456", Ok(CallClass::Premium)),
        (only(true, true, true), "+870773123456", Err(Cause::NumberBlocked)),
    ] {
        assert_eq!(
            check(&home, CallOrigin::Phone, permissions, number).0,
            expected,
            "{number} with {permissions:?}"
        );
    }
    // A premium number may be dialled on a phone only.
    for origin in [CallOrigin::Api, CallOrigin::Forward, CallOrigin::Schedule] {
        assert_eq!(check(&home, origin, EVERYTHING, "803123456").0, Err(Cause::NumberBlocked), "{origin:?}");
    }
    let mut trace = Vec::new();
    assert_eq!(
        policy::check_internal(CallOrigin::Phone, only(true, true, true), &mut trace),
        Err(Cause::NotPermitted)
    );
    assert_eq!(trace.first().map(|step| step.rule.as_str()), Some("permission"));
    assert_eq!(
        policy::check_internal(CallOrigin::Trunk, only(true, true, true), &mut trace),
        Ok(CallClass::Internal)
    );
    assert!(
        only(true, false, false).is_subset_of(EVERYTHING) && !EVERYTHING.is_subset_of(only(true, true, true))
    );
}

#[test]
fn emergency_numbers_are_dialled_from_a_phone_only() {
    // security.md row 31
    let nothing = DialPermissions { internal: false, national: false, international: false, premium: false };
    let shut = DialRules { allowed: prefixes(&["999999"]), blocked: prefixes(&["1", "9"]), ..rules("34") };
    for number in
        ["112", "+112", "911", "911#", "000", "999", "00112", "0112", "1-1-2", "+34112", "0034112", "tel:112"]
    {
        for origin in ORIGINS {
            let expected = if origin == CallOrigin::Phone {
                Ok(CallClass::Emergency)
            } else {
                Err(Cause::EmergencyNotAllowed)
            };
            assert_eq!(check(&shut, origin, nothing, number).0, expected, "{number} by {origin:?}");
        }
    }
    for number in ["1120", "9112", "34112", "+1911555", "11", "0000000"] {
        let number = DialledNumber::parse(number).unwrap();
        assert_eq!(
            policy::emergency(&rules("34"), &number).filter(|_| number.as_str() != "0000000"),
            None,
            "{number}"
        );
    }
}

#[test]
fn each_country_has_emergency_numbers_and_the_configuration_may_replace_them() {
    // security.md row 31
    let emergency = |rules: &DialRules, text: &str| {
        policy::emergency(rules, &DialledNumber::parse(text).unwrap()).map(str::to_owned)
    };
    for (country, number) in [
        ("33", "15"),
        ("57", "123"),
        ("51", "105"),
        ("54", "107"),
        ("56", "134"),
        ("27", "10111"),
        ("91", "108"),
    ] {
        let ours = rules(country);
        assert_eq!(emergency(&ours, number).as_deref(), Some(number), "{number} in {country}");
        assert_eq!(emergency(&ours, &format!("+{country}{number}")).as_deref(), Some(number));
        for common in ["112", "911"] {
            assert_eq!(emergency(&ours, common).as_deref(), Some(common), "in {country}");
        }
        assert_eq!(emergency(&rules("49"), number), None, "{number} is nothing in Germany");
        assert_eq!(emergency(&rules(""), number), None);
    }
    let named = DialRules { emergency: prefixes(&["112", "0800911"]), ..rules("57") };
    assert_eq!(emergency(&named, "0800911#").as_deref(), Some("0800911"));
    assert_eq!(emergency(&named, "+57112").as_deref(), Some("112"));
    assert_eq!((emergency(&named, "123"), emergency(&named, "911")), (None, None));
}

#[test]
fn an_outside_line_digit_does_not_hide_a_blocked_number() {
    // security.md row 7
    for country in ["", "34", "1", "44"] {
        for number in
            ["901119005551234", "900881612345678", "800881612345678", "90011881612345678", "9011881612345"]
        {
            let verdict = dial(country, number);
            // With a country code in front it may be too long for a legal number.
            let refused = matches!(verdict, Err(Cause::NumberBlocked | Cause::BadNumber));
            assert!(refused, "{number} in {country:?}: {verdict:?}");
        }
        assert_eq!(dial("", "901119005551234"), Err(Cause::NumberBlocked));
    }
    assert_eq!(dial("34", "900881612"), Ok(CallClass::National), "a free number of Spain");
}

#[test]
fn an_allow_list_blocks_all_other_countries_and_allows_high_risk_ones() {
    let listed = DialRules { allowed: prefixes(&["44", "371"]), ..rules("34") };
    for (number, expected) in [
        ("+442079460000", Ok(CallClass::International)),
        ("+37161234567", Ok(CallClass::International)),
        ("912345678", Ok(CallClass::National)), // a domestic number is not subject to the list
        ("+12125551234", Err(Cause::NumberBlocked)),
        ("+442", Ok(CallClass::International)),
        ("+449012345678", Err(Cause::NumberBlocked)),
        ("+8821612345", Err(Cause::NumberBlocked)),
    ] {
        assert_eq!(check(&listed, CallOrigin::Api, EVERYTHING, number).0, expected, "{number}");
    }
    assert_eq!(check(&listed, CallOrigin::Api, EVERYTHING, "+12125551234").1, "allow_list");
    assert_eq!(dial("34", "+37161234567"), Err(Cause::NumberBlocked));
    let opened = DialRules { opened: prefixes(&["371"]), blocked: prefixes(&["33"]), ..rules("34") };
    assert_eq!(check(&opened, CallOrigin::Phone, EVERYTHING, "+37161234567").0, Ok(CallClass::International));
    assert_eq!(
        check(&opened, CallOrigin::Phone, EVERYTHING, "+33 1 23 45 67 89").0,
        Err(Cause::NumberBlocked)
    );
    assert_eq!(check(&opened, CallOrigin::Phone, EVERYTHING, "+12125551234").0, Ok(CallClass::International));
}

#[test]
fn a_call_from_a_trunk_never_goes_out_again() {
    // security.md row 8
    for number in ["+442079460000", "912345678", "+19005551234"] {
        assert_eq!(
            check(&rules("34"), CallOrigin::Trunk, EVERYTHING, number).0,
            Err(Cause::Forbidden),
            "{number}"
        );
    }
}

#[test]
fn a_carrier_gets_the_number_that_was_checked() {
    for (country, number, expected) in [
        ("34", "912345678", Some("34912345678")),
        ("34", "+34912345678", Some("34912345678")),
        ("34", "00 44 20 7946 0000", Some("442079460000")),
        ("44", "020 7946 0000#", Some("442079460000")),
        ("39", "06 1234567", Some("39061234567")),
        ("1", "2125551234", Some("12125551234")),
        ("1", "12125551234", Some("12125551234")),
        ("", "+12125551234", Some("12125551234")),
        ("", "2125551234", None),
        ("34", "*67912345678*1", None),
        ("34", "+1234567890123456", None),
    ] {
        let number = DialledNumber::parse(&policy::normalise(number)).unwrap();
        assert_eq!(policy::e164(&rules(country), &number).as_deref(), expected, "{number} in {country:?}");
    }
    for (digits, country) in [
        ("12125551234", "1"),
        ("79161234567", "7"),
        ("34912345678", "34"),
        ("35312345", "353"),
        ("5622", "56"),
    ] {
        assert_eq!(policy::country_of(digits), Some(country));
    }
    assert_eq!(policy::normalise("user_12.34-5"), "user_12.34-5");
    assert_eq!(policy::normalise("+34 (91) 234-56.78"), "+34912345678");
}

proptest! {
    #[test]
    fn no_spelling_allows_a_blocked_number(
        range in prop::sample::select(vec!["870", "881", "882", "883", "1900", "449", "4470", "34803", "979", "247", "252"]),
        tail in "[0-9]{6,8}",
        country in prop::sample::select(vec!["", "34", "1", "44", "56", "39", "61"]),
        separators in prop::collection::vec(prop::sample::select(vec!["", "-", " ", ".", "(", ")"]), 12),
        prefix in prop::sample::select(vec!["+", "00", "+0", "+00", "tel:+"]),
        end in prop::sample::select(vec!["", "#", "*", "#*#", ";user=phone"]),
        origin in prop::sample::select(vec![CallOrigin::Phone, CallOrigin::Api, CallOrigin::Forward, CallOrigin::Schedule]),
    ) {
        let digits = format!("{range}{tail}");
        let separated: String = digits.chars().zip(separators.iter().cycle()).map(|(c, s)| format!("{c}{s}")).collect();
        let (verdict, _) = check(&rules(country), origin, DialPermissions::default(), &format!("{prefix}{separated}{end}"));
        prop_assert_eq!(verdict, Err(Cause::NumberBlocked));
    }

    #[test]
    fn any_dialled_number_is_decided_and_a_permitted_one_is_not_blocked(
        text in r"\+?[0-9*#]{1,32}", country in prop::sample::select(vec!["", "34", "1", "44", "39", "61"]),
    ) {
        let number = DialledNumber::parse(&text).unwrap();
        let rules = rules(country);
        let (verdict, _) = check(&rules, CallOrigin::Api, EVERYTHING, &text);
        if verdict.is_ok() && let Some(given) = policy::e164(&rules, &number) {
            let again = check(&rules, CallOrigin::Api, EVERYTHING, &format!("+{given}")).0;
            prop_assert!(again.is_ok(), "{} passes, +{} does not", text, given);
        }
    }
}
