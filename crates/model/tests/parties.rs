//! The party of a SIP or tel URI: numbers in all their spellings, and user names.

use std::sync::Arc;

use base::{Id, Timestamp};
use centralita_model::dialplan::{CallOrigin, DialContext, Route, route};
use centralita_model::policy::{self, emergency};
use centralita_model::trunk::{self, Did, Trunk, TrunkSettings};
use centralita_model::{
    Cause, Change, DialPermissions, DialRules, DialledNumber, Directory, Extension, ExtensionNumber, Party,
};
use proptest::prelude::*;

fn parse(user: &str, phone_context: Option<&str>) -> Party {
    Party::parse(user, phone_context, &DialRules::default()).unwrap_or_else(|| panic!("{user:?} is a party"))
}

#[test]
fn a_number_is_recognised_with_separators_and_parameters() {
    // F5: RFC 3261 §19.1.6, RFC 3966 §3 and §5.1, RFC 4694, RFC 4904
    for (user, number) in [
        ("+34911000001", "+34911000001"),
        ("+34-911-000-001", "+34911000001"),
        ("tel:+34-911-000-001", "+34911000001"),
        ("TEL:+34.911.000.001", "+34911000001"),
        ("+34 (911) 000 001", "+34911000001"),
        ("+34\u{a0}911\u{202f}000\u{2011}001", "+34911000001"),
        ("\u{202a}+34911000001\u{202c}", "+34911000001"),
        ("+34911000001;npdi;rn=+34500911000001", "+34911000001"),
        ("+34911000001;rn=+34500;cic=+1-6789;rn-context=+34", "+34911000001"),
        ("911000001;tgrp=tg55/3;trunk-context=isp.example.net", "911000001"),
        ("911000001;cic=+1-212-5556789", "911000001"),
        ("1002;isub=12;ext=7", "1002"),
        ("*43", "*43"),
        ("1-0-0-2", "1002"),
    ] {
        let party = parse(user, None);
        assert_eq!(party.number().map(DialledNumber::as_str), Some(number), "{user}");
        assert_eq!((party.as_str(), party.domain()), (number, None), "{user}");
    }
}

#[test]
fn a_user_name_stays_as_it_is() {
    // RFC 3261 §19.1.4: `alice;day=tuesday` is one name
    for user in [
        "alice",
        "user_1234567890",
        "alice;day=tuesday",
        "user_12.34-5",
        "anonymous",
        "+",
        ";npdi",
        "tel:",
        "1002x",
    ] {
        assert_eq!(parse(user, Some("+34")), Party::Username(user.into()));
    }
    assert_eq!(Party::parse("", Some("+34"), &DialRules::default()), None);
}

#[test]
fn a_context_of_a_country_or_area_makes_a_local_number_global() {
    // F5: RFC 3966 §5.1.5
    for (user, context, number) in [
        ("911000001", "+34", "+34911000001"),
        ("911-000-001", "+34", "+34911000001"),
        ("020 7946 0000", "+44", "+442079460000"),
        ("06 1234567", "+39", "+39061234567"),
        ("2125551234", "+1", "+12125551234"),
        ("12125551234", "+1", "+12125551234"),
        ("863-1234", "+1-914-555", "+19148631234"),
        ("863-1234", "+1-914", "+19148631234"),
        ("863-1234", "+1", "8631234"),
        ("7946 0000", "+44 20", "+442079460000"),
        ("020 7946 0000", "+44-20", "+442079460000"),
        ("0033142000000", "+34", "+33142000000"),
        ("+33142000000", "+34", "+33142000000"),
        ("1002", "+34", "1002"),
        ("911", "+1", "911"),
        ("112", "+34", "112"),
        ("*43", "+34", "*43"),
        ("911000001", "34", "911000001"),
        ("911000001", "", "911000001"),
        ("9110000010000000", "+34", "9110000010000000"),
    ] {
        let expected = Party::Number { number: DialledNumber::parse(number).unwrap(), domain: None };
        assert_eq!(parse(user, Some(context)), expected, "{user} in {context}");
        assert_eq!(
            parse(&format!("{user};npdi;Phone-Context={context}"), None),
            expected,
            "{user};{context}"
        );
        assert_eq!(parse(&format!("{user};phone-context={context}"), Some("example.com")), expected);
    }
    let rules = DialRules { emergency: [Arc::from("0800911")].into(), ..DialRules::default() };
    assert_eq!(Party::parse("0800911", Some("+57"), &rules).unwrap().as_str(), "0800911"); // security.md row 31
}

#[test]
fn a_context_of_a_domain_is_reported() {
    // F6: RFC 3966 §5.1.5
    let party = parse("10-02", Some("PBX.example"));
    assert_eq!((party.as_str(), party.domain()), ("1002", Some("pbx.example")));
    assert_eq!(party.extension(), ExtensionNumber::parse("1002").ok());
    assert_eq!(parse("1002;phone-context=pbx.example", None), party);
    assert_eq!(parse("+34911000001", Some("pbx.example")).domain(), None, "a global number has no context");
}

fn directory() -> Directory {
    let mut directory = Directory::default();
    let (id, user) = (Id::parse("ext_1").unwrap(), Id::parse("ana").unwrap());
    let number = ExtensionNumber::parse("1002").unwrap();
    directory.apply(Change::Extension(Extension::new(id, user, number, "user_1002", Timestamp::default())));
    directory
}

fn is_extension(route: &Route) -> bool {
    matches!(route, Route::Extension(extension) if extension.number.as_str() == "1002")
}

#[test]
fn a_call_is_routed_by_any_spelling_of_the_called_number() {
    // F5, F6
    let context = DialContext { origin: CallOrigin::Phone, permissions: DialPermissions::default() };
    let directory = directory();
    for dialled in ["1002", "10-02", "1002;phone-context=pbx.example", "tel:1002", "1002;phone-context=+34"] {
        assert!(is_extension(&route(&directory, context, dialled).route), "{dialled}");
    }
    for (dialled, cause) in [
        ("911000001;phone-context=+34", Cause::NoRoute),
        ("00870773123456;phone-context=+34", Cause::NumberBlocked),
        ("112;phone-context=+34", Cause::EmergencyNoRoute),
    ] {
        assert_eq!(route(&directory, context, dialled).route, Route::Refused(cause), "{dialled}");
    }
}

#[test]
fn a_did_is_found_by_any_spelling_of_the_called_number() {
    // F5
    let did = |number: &str| Did {
        number: DialledNumber::parse(number).unwrap(),
        extension: ExtensionNumber::parse("1002").ok(),
    };
    let trunk = Trunk {
        id: Id::parse("trunk_1").unwrap(),
        name: "carrier".into(),
        enabled: true,
        priority: 10,
        settings: TrunkSettings { dids: vec![did("+34911000001")], ..TrunkSettings::default() },
        password: None,
        created_at: Timestamp::default(),
        updated_at: Timestamp::default(),
    };
    for dialled in [
        "+34911000001",
        "0034911000001",
        "+34-911-000-001",
        "+34911000001;npdi;rn=+34500911000001",
        "34911000001;tgrp=tg1;trunk-context=carrier.example",
        "911000001;phone-context=+34",
        "tel:+34-911-000-001",
    ] {
        assert!(trunk::names(&trunk, &["unknown", dialled]), "{dialled}");
        assert!(is_extension(&trunk::inbound(&directory(), &trunk, &[dialled]).route), "{dialled}");
    }
    assert!(!trunk::names(&trunk, &["911000001;phone-context=carrier.example"]));
}

fn parameters() -> impl Strategy<Value = String> {
    let one = prop::sample::select(vec![
        ";npdi",
        ";rn=+34500911",
        ";cic=+1-6789",
        ";tgrp=a-b/c",
        ";trunk-context=x.example",
        ";isub=1",
        ";user=phone",
    ]);
    prop::collection::vec(one, 0..4).prop_map(|all| all.concat())
}

proptest! {
    #[test]
    fn separators_and_parameters_do_not_change_a_number(
        number in r"\+?[0-9*#]{1,32}",
        separators in prop::collection::vec(prop::sample::select(vec!["", "", "-", ".", " ", "(", ")", "\u{a0}"]), 40),
        parameters in parameters(),
        scheme in prop::sample::select(vec!["", "tel:", "Tel:"]),
    ) {
        let written: String = number.chars().zip(&separators).map(|(c, s)| format!("{s}{c}")).collect();
        let party = parse(&format!("{scheme}{written}{parameters}"), None);
        prop_assert_eq!(party.as_str(), number);
    }

    #[test]
    fn any_text_is_a_party_and_its_text_is_the_same_party(user in r"[\PC\r\n]{0,40}", context in r"\PC{0,12}") {
        let rules = DialRules::default();
        match Party::parse(&user, Some(&context), &rules) {
            None => prop_assert!(user.is_empty()),
            Some(Party::Username(name)) => prop_assert_eq!(&*name, user.as_str()),
            Some(Party::Number { number, .. }) => {
                let again = Party::parse(number.as_str(), None, &rules).unwrap();
                prop_assert_eq!(again, Party::Number { number, domain: None });
            }
        }
    }

    #[test]
    fn a_national_number_in_its_country_is_the_number_that_the_policy_reads(
        digits in "[0-9]{7,12}", country in prop::sample::select(vec!["1", "7", "34", "39", "44", "49", "351", "507"]),
    ) {
        // Seven digits are local to an area of the NANP, which the country code alone does not name: they stay as they are.
        prop_assume!(country != "1" || digits.len() != 7);
        let rules = DialRules { country: Some(country.into()), ..DialRules::default() };
        let number = DialledNumber::parse(&digits).unwrap();
        let is_legal = |global: &String| !global.starts_with('1') || global.len() == 11;
        let global = policy::e164(&rules, &number).filter(is_legal).filter(|_| emergency(&rules, &number).is_none());
        let party = parse(&digits, Some(&format!("+{country}")));
        prop_assert_eq!(party.as_str(), global.map_or(digits, |global| format!("+{global}")));
    }

    #[test]
    fn no_context_allows_a_blocked_number(
        range in prop::sample::select(vec!["870", "881", "882", "1900", "449", "34803", "979", "247"]),
        tail in "[0-9]{6,8}",
        prefix in prop::sample::select(vec!["+", "00"]),
        context in prop::sample::select(vec!["+1", "+34", "+44-20", "+1-914-555", "+39", "pbx.example", "34"]),
        home in prop::sample::select(vec!["", "34", "1", "44"]),
    ) {
        let rules = DialRules { country: (!home.is_empty()).then(|| home.into()), ..DialRules::default() };
        let party = parse(&format!("{prefix}{range}{tail};phone-context={context}"), None);
        let number = party.number().unwrap();
        let verdict = policy::check(&rules, CallOrigin::Phone, DialPermissions::default(), number, &mut Vec::new());
        prop_assert_eq!(verdict, Err(Cause::NumberBlocked), "{:?}", party);
    }
}
