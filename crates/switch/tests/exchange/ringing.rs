//! What a caller is told while phones ring, and what the phones are told when they stop.

use sip::HeaderName;

use crate::test_switch::TestSwitch;
use crate::test_switch::sdp::sdp;

#[test]
fn what_a_phone_says_last_while_it_rings_is_what_the_caller_is_told() {
    let mut pbx = TestSwitch::open();
    let (ana, benito) = (pbx.phone("1001"), pbx.phone("1002"));
    pbx.register(&benito);
    pbx.call(&ana, "1002", Some(&sdp("10.0.0.11", 30_000, "0", "sendrecv")));
    let callee = pbx.expect_invite(&benito);
    pbx.received(&ana);
    let media = sdp("10.0.0.12", 31_000, "0", "sendrecv");
    for (status, body, told) in [
        (183, Some(media.as_str()), Some(183)),
        (180, None, Some(180)), // it rings after all: where no media flows, the caller's phone makes the ringback itself
        (180, None, None),
        (183, None, Some(183)),
        (180, None, Some(180)),
    ] {
        pbx.answer(&callee, status, body);
        let heard: Vec<u16> = pbx.received(&ana).iter().filter_map(sip::Message::status).collect();
        assert_eq!(heard, Vec::from_iter(told), "after {status}");
    }
}

#[test]
fn a_phone_that_stops_ringing_is_told_why() {
    // Answered elsewhere: no missed call (RFC 3326).
    let mut pbx = TestSwitch::open();
    let ana = pbx.phone("1001");
    let desk = pbx.phone("1002");
    let mobile = desk.clone().at("10.0.0.22:5060");
    pbx.register(&desk);
    pbx.register(&mobile);
    pbx.call(&ana, "1002", Some(&sdp("10.0.0.11", 30_000, "0", "sendrecv")));
    let (first, second) = (pbx.expect_invite(&desk), pbx.expect_invite(&mobile));
    pbx.answer(&first, 180, None);
    pbx.answer(&second, 180, None);
    pbx.received(&mobile);
    pbx.answer(&first, 200, Some(&sdp("10.0.0.12", 31_000, "0", "sendrecv")));
    let cancel =
        pbx.received(&mobile).into_iter().find(|m| m.method().as_str() == "CANCEL").expect("a CANCEL");
    assert_eq!(cancel.header(HeaderName::Reason), Some("SIP;cause=200;text=\"Call completed elsewhere\""));

    // The caller gave up: a missed call.
    let mut pbx = TestSwitch::open();
    let (ana, benito) = (pbx.phone("1001"), pbx.phone("1002"));
    pbx.register(&benito);
    let caller = pbx.call(&ana, "1002", Some(&sdp("10.0.0.11", 30_000, "0", "sendrecv")));
    let callee = pbx.expect_invite(&benito);
    pbx.answer(&callee, 180, None);
    pbx.received(&benito);
    pbx.cancel(&caller);
    let cancel =
        pbx.received(&benito).into_iter().find(|m| m.method().as_str() == "CANCEL").expect("a CANCEL");
    let reason = cancel.header(HeaderName::Reason).expect("a reason");
    assert!(!reason.contains("cause=200"), "{reason}");
}
