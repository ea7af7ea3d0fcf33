//! Floods with a forged source address: our responses must not hurt that address, nor block its own phones (security.md row 12).

use std::time::Duration;

use crate::test_switch::{Phone, TestSwitch};

/// Challenges that an address gets at once before the rate limit applies.
const BURST: usize = 20_000;

fn challenges(pbx: &mut TestSwitch, phone: &Phone, count: usize) -> usize {
    let text = pbx.request(phone, "REGISTER", "sip:localhost", "<sip:phone1001@localhost>", "");
    for _ in 0..count {
        pbx.send_from(phone.address, text.clone());
    }
    pbx.received(phone).len()
}

#[test]
fn an_address_without_authentication_gets_a_burst_of_responses_and_then_few_a_second() {
    let mut pbx = TestSwitch::open();
    let victim = pbx.phone("1001").at("10.0.0.66:5060");
    assert_eq!(challenges(&mut pbx, &victim, BURST + 1000), BURST);
    pbx.advance(Duration::from_secs(1));
    assert_eq!(challenges(&mut pbx, &victim, 1000), 500);
    let elsewhere = victim.at("10.0.0.67:5060");
    assert_eq!(challenges(&mut pbx, &elsewhere, 10), 10, "another address is not concerned");
    assert_eq!(pbx.status().counters.answers_withheld, 1500);
    assert_eq!((pbx.switch.counts(), pbx.switch.deadline()), ([0; 4], None));
}

#[test]
fn many_phones_behind_one_address_are_not_rate_limited() {
    let mut pbx = TestSwitch::open();
    let phone = pbx.phone("1001");
    // One of its phones has registered: from then on the source is not limited, whoever forges its address.
    pbx.register(&phone);
    pbx.advance(Duration::from_secs(7000));
    assert_eq!(challenges(&mut pbx, &phone, BURST + 1000), BURST + 1000);
    assert_eq!(pbx.status().counters.answers_withheld, 0);
}

#[test]
fn a_tcp_source_cannot_be_forged_and_is_not_counted() {
    let mut pbx = TestSwitch::open();
    let unknown_peer = pbx.phone("1001").at("10.0.0.66:40000");
    pbx.open_flow(&unknown_peer, 1);
    assert_eq!(challenges(&mut pbx, &unknown_peer, BURST + 1000), BURST + 1000);
}
