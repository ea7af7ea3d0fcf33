//! Floods under a forged source address: what we send there must hurt nobody, and no office may suffer for it (security.md row 12).

use std::time::Duration;

use crate::office::{Office, Phone};

/// Challenges that go to an address at once before it has its share.
const SHARE: usize = 20_000;

fn challenges(office: &mut Office, phone: &Phone, count: usize) -> usize {
    let text = office.request(phone, "REGISTER", "sip:localhost", "<sip:phone1001@localhost>", "");
    for _ in 0..count {
        office.send_from(phone.address, text.clone());
    }
    office.heard(phone).len()
}

#[test]
fn an_address_that_never_shows_a_password_gets_a_share_of_answers_and_then_few_a_second() {
    let mut office = Office::open();
    let victim = office.phone("1001").at("10.0.0.66:5060");
    assert_eq!(challenges(&mut office, &victim, SHARE + 1000), SHARE);
    office.pass(Duration::from_secs(1));
    assert_eq!(challenges(&mut office, &victim, 1000), 500);
    let elsewhere = victim.at("10.0.0.67:5060");
    assert_eq!(challenges(&mut office, &elsewhere, 10), 10, "another address is not concerned");
    assert_eq!(office.status().counters.answers_withheld, 1500);
    assert_eq!((office.switch.counts(), office.switch.deadline()), ([0; 4], None));
}

#[test]
fn an_office_behind_one_address_is_never_short_of_answers() {
    let mut office = Office::open();
    let phone = office.phone("1001");
    // One of its phones has registered: from then on nothing is counted, whoever floods in its name.
    office.register(&phone);
    office.pass(Duration::from_secs(7000));
    assert_eq!(challenges(&mut office, &phone, SHARE + 1000), SHARE + 1000);
    assert_eq!(office.status().counters.answers_withheld, 0);
}

#[test]
fn a_connection_cannot_be_forged_and_is_not_counted() {
    let mut office = Office::open();
    let stranger = office.phone("1001").at("10.0.0.66:40000");
    office.connects(&stranger, 1);
    assert_eq!(challenges(&mut office, &stranger, SHARE + 1000), SHARE + 1000);
}
