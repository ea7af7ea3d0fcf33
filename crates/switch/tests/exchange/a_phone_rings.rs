//! What a caller is told while phones ring, and what the phones are told when they stop.

use sip::HeaderName;

use crate::office::Office;
use crate::office::sdp::sdp;

#[test]
fn what_a_phone_says_last_while_it_rings_is_what_the_caller_is_told() {
    let mut office = Office::open();
    let (ana, benito) = (office.phone("1001"), office.phone("1002"));
    office.register(&benito);
    office.call(&ana, "1002", Some(&sdp("10.0.0.11", 30_000, "0", "sendrecv")));
    let callee = office.rung(&benito);
    office.heard(&ana);
    let media = sdp("10.0.0.12", 31_000, "0", "sendrecv");
    for (status, body, told) in [
        (183, Some(media.as_str()), Some(183)),
        (180, None, Some(180)), // it rings after all: where no media flows, the caller's phone makes the ringback itself
        (180, None, None),
        (183, None, Some(183)),
        (180, None, Some(180)),
    ] {
        office.answer(&callee, status, body);
        let heard: Vec<u16> = office.heard(&ana).iter().filter_map(sip::Message::status).collect();
        assert_eq!(heard, Vec::from_iter(told), "after {status}");
    }
}

#[test]
fn a_phone_that_stops_ringing_is_told_why() {
    // Answered elsewhere: no missed call (RFC 3326).
    let mut office = Office::open();
    let ana = office.phone("1001");
    let desk = office.phone("1002");
    let mobile = desk.clone().at("10.0.0.22:5060");
    office.register(&desk);
    office.register(&mobile);
    office.call(&ana, "1002", Some(&sdp("10.0.0.11", 30_000, "0", "sendrecv")));
    let (first, second) = (office.rung(&desk), office.rung(&mobile));
    office.answer(&first, 180, None);
    office.answer(&second, 180, None);
    office.heard(&mobile);
    office.answer(&first, 200, Some(&sdp("10.0.0.12", 31_000, "0", "sendrecv")));
    let cancel =
        office.heard(&mobile).into_iter().find(|m| m.method().as_str() == "CANCEL").expect("a CANCEL");
    assert_eq!(
        cancel.header(HeaderName::Reason).as_deref(),
        Some("SIP;cause=200;text=\"Call completed elsewhere\"")
    );

    // The caller gave up: a missed call.
    let mut office = Office::open();
    let (ana, benito) = (office.phone("1001"), office.phone("1002"));
    office.register(&benito);
    let mut caller = office.call(&ana, "1002", Some(&sdp("10.0.0.11", 30_000, "0", "sendrecv")));
    let callee = office.rung(&benito);
    office.answer(&callee, 180, None);
    office.heard(&benito);
    office.cancel(&mut caller);
    let cancel =
        office.heard(&benito).into_iter().find(|m| m.method().as_str() == "CANCEL").expect("a CANCEL");
    let reason = cancel.header(HeaderName::Reason).expect("a reason");
    assert!(!reason.contains("cause=200"), "{reason}");
}
