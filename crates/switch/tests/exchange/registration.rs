//! Registration, refresh and expiry (RFC 3261 §10.3), and rejected registrations.

use std::time::Duration;

use crate::test_switch::TestSwitch;
use model::{Change, ExtensionStatus};
use sip::{HeaderName, Message};

fn contacts(answer: &Message) -> Vec<(String, u32)> {
    match answer.contacts() {
        Ok(sip::Contacts::List(list)) => {
            list.iter().map(|c| (c.uri.to_string(), c.param("expires").unwrap().parse().unwrap())).collect()
        }
        _ => Vec::new(),
    }
}

#[test]
fn a_phone_registers_refreshes_and_expires() {
    let mut pbx = TestSwitch::open();
    let phone = pbx.phone("1001");
    let lines = format!("Contact: {}\r\nExpires: 120\r\n", phone.contact());
    let answer = pbx.register_with(&phone, &lines); // S3
    assert_eq!(answer.status(), Some(200));
    assert_eq!(contacts(&answer), [("sip:phone1001@10.0.0.11:5060".to_string(), 120)]);
    pbx.advance(Duration::from_secs(100));
    assert_eq!(contacts(&pbx.register_with(&phone, &lines))[0].1, 120);
    pbx.advance(Duration::from_secs(100));
    assert_eq!(pbx.registrations(), ["phone1001"]);
    pbx.advance(Duration::from_secs(21));
    assert!(pbx.registrations().is_empty());
    assert!(matches!(pbx.journal.last(), Some(model::journal::Record::Unbound { .. })));
    assert_eq!(pbx.switch.deadline(), None);
}

#[test]
fn a_phone_may_authenticate_with_its_extension_number() {
    let mut pbx = TestSwitch::open();
    let mut phone = pbx.phone("1001");
    (phone.user, phone.login) = ("1001".into(), "1001".into()); // S39
    pbx.register(&phone);
    assert_eq!(pbx.registrations(), ["phone1001"], "one address of record, whatever the name");
}

#[test]
fn one_account_has_several_contacts_and_each_200_lists_them() {
    let mut pbx = TestSwitch::open();
    let desk = pbx.phone("1001");
    let mobile = desk.at("10.0.0.99:5062");
    pbx.register(&desk);
    let lines = format!("Contact: {};q=0.5\r\nExpires: 600\r\n", mobile.contact());
    let answer = pbx.register_with(&mobile, &lines);
    assert_eq!(contacts(&answer).len(), 2);
    assert!(String::from_utf8_lossy(answer.bytes()).contains("q=0.5"));
    let fetched = pbx.register_with(&desk, "");
    assert_eq!(contacts(&fetched).len(), 2, "without Contact the bindings are only asked for");
}

#[test]
fn an_eleventh_contact_is_rejected_and_the_ten_stay() {
    let mut pbx = TestSwitch::open();
    let phone = pbx.phone("1001");
    for n in 0..10 {
        let lines = format!("Contact: <sip:a@10.0.0.11:{}>\r\nExpires: 600\r\n", 6000 + n);
        assert_eq!(pbx.register_with(&phone, &lines).status(), Some(200));
    }
    let expect_rejection = pbx.register_with(&phone, "Contact: <sip:a@10.0.0.11:7000>\r\nExpires: 600\r\n");
    assert_eq!(expect_rejection.status(), Some(403)); // security.md row 6
    assert_eq!(pbx.registrations().len(), 10);
}

#[test]
fn a_contact_over_1024_bytes_is_rejected() {
    let mut pbx = TestSwitch::open();
    let phone = pbx.phone("1001");
    let padded = |bytes: usize| {
        let bare = phone.contact().trim_matches(['<', '>']).to_owned();
        let padding = "x".repeat(bytes - bare.len() - ";p=".len());
        format!("Contact: <{bare};p={padding}>\r\nExpires: 600\r\n")
    };
    assert_eq!(pbx.register_with(&phone, &padded(1025)).status(), Some(400));
    assert!(pbx.registrations().is_empty());
    assert_eq!(pbx.register_with(&phone, &padded(1024)).status(), Some(200));
}

#[test]
fn a_phone_is_behind_eight_proxies_at_most() {
    // security.md row 15
    let mut pbx = TestSwitch::open();
    let phone = pbx.phone("1001");
    for (proxies, status) in [(9, 403), (8, 200)] {
        let path = "Path: <sip:p.test;lr>\r\n".repeat(proxies);
        let lines = format!("Contact: {}\r\nSupported: path\r\n{path}", phone.contact());
        assert_eq!(pbx.register_with(&phone, &lines).status(), Some(status));
    }
}

#[test]
fn too_short_an_expiry_is_rejected_with_min_expires() {
    let mut pbx = TestSwitch::open();
    let phone = pbx.phone("1001");
    let answer = pbx.register_with(&phone, &format!("Contact: {}\r\nExpires: 30\r\n", phone.contact()));
    assert_eq!((answer.status(), answer.header(HeaderName::MinExpires)), (Some(423), Some("60"))); // RFC 3261 §10.3 step 7
    let answer = pbx.register_with(&phone, &format!("Contact: {};expires=99999\r\n", phone.contact()));
    assert_eq!(contacts(&answer)[0].1, 7200, "too long a one is cut");
}

#[test]
fn a_star_removes_all_contacts_and_only_with_expires_0() {
    let mut pbx = TestSwitch::open();
    let phone = pbx.phone("1001");
    pbx.register(&phone);
    assert_eq!(pbx.register_with(&phone, "Contact: *\r\nExpires: 60\r\n").status(), Some(400));
    assert_eq!(pbx.registrations().len(), 1);
    assert_eq!(pbx.register_with(&phone, "Contact: *\r\nExpires: 0\r\n").status(), Some(200));
    assert!(pbx.registrations().is_empty());
}

#[test]
fn an_older_cseq_of_the_same_registration_changes_nothing() {
    let mut pbx = TestSwitch::open();
    let phone = pbx.phone("1001");
    let to = "<sip:phone1001@localhost>";
    let lines = format!("Contact: {}\r\nExpires: 600\r\n", phone.contact());
    pbx.register(&phone);
    let text = pbx.request(&phone, "REGISTER", "sip:localhost", to, &lines);
    pbx.send_from(phone.address, text);
    let challenge = pbx.last(&phone);
    let authorization = pbx.authorization(&phone, &challenge, "REGISTER", "sip:localhost");
    let text = pbx.request(&phone, "REGISTER", "sip:localhost", to, &format!("{authorization}{lines}"));
    let stale = text.replace(
        &format!("CSeq: {}", text.split("CSeq: ").nth(1).unwrap().split(' ').next().unwrap()),
        "CSeq: 1",
    );
    pbx.send_from(phone.address, stale);
    assert_eq!(pbx.last(&phone).status(), Some(500)); // RFC 3261 §10.3 step 7: the request is aborted
}

#[test]
fn a_user_cannot_register_for_another() {
    let mut pbx = TestSwitch::open();
    let thief = pbx.phone("1001");
    let lines = format!("Contact: {}\r\nExpires: 600\r\n", thief.contact());
    let to = "<sip:phone1002@localhost>";
    let text = pbx.request(&thief, "REGISTER", "sip:localhost", to, &lines);
    pbx.send_from(thief.address, text);
    let challenge = pbx.last(&thief);
    let authorization = pbx.authorization(&thief, &challenge, "REGISTER", "sip:localhost");
    let text = pbx.request(&thief, "REGISTER", "sip:localhost", to, &format!("{authorization}{lines}"));
    pbx.send_from(thief.address, text.clone());
    let rejection = pbx.last(&thief);
    assert_eq!(rejection.status(), Some(403));
    assert!(rejection.header(HeaderName::Reason).is_some(), "a refusal says why");
    assert!(pbx.registrations().is_empty());
    pbx.send_from(thief.address, text);
    assert_eq!(pbx.last(&thief).status(), Some(403), "and says the same to a repetition");
}

#[test]
fn an_inactive_extension_loses_its_bindings_and_cannot_register() {
    let mut pbx = TestSwitch::open();
    let phone = pbx.phone("1001");
    pbx.register(&phone);
    pbx.change_extension("1001", |e| e.status = ExtensionStatus::Inactive); // S70
    assert!(pbx.registrations().is_empty());
    let lines = format!("Contact: {}\r\nExpires: 600\r\n", phone.contact());
    assert_eq!(pbx.register_with(&phone, &lines).status(), Some(403));
    pbx.change_extension("1001", |e| e.status = ExtensionStatus::Active);
    pbx.register(&phone);
    pbx.change(vec![Change::CredentialGone("phone1001".into())]);
    assert!(pbx.registrations().is_empty(), "nor does a credential that is gone keep any");
}

#[test]
fn a_retransmitted_register_gets_the_same_response() {
    let mut pbx = TestSwitch::open();
    let phone = pbx.phone("1001");
    let (to, lines) =
        ("<sip:phone1001@localhost>", format!("Contact: {}\r\nExpires: 600\r\n", phone.contact()));
    let text = pbx.request(&phone, "REGISTER", "sip:localhost", to, &lines);
    pbx.send_from(phone.address, text);
    let challenge = pbx.last(&phone);
    let authorization = pbx.authorization(&phone, &challenge, "REGISTER", "sip:localhost");
    let text = pbx.request(&phone, "REGISTER", "sip:localhost", to, &format!("{authorization}{lines}"));
    pbx.send_from(phone.address, text.clone());
    let first = pbx.last(&phone);
    pbx.advance(Duration::from_secs(10));
    pbx.send_from(phone.address, text);
    assert_eq!(pbx.last(&phone).bytes(), first.bytes());
    assert_eq!(pbx.status().counters.registrations_accepted, 1);
}
