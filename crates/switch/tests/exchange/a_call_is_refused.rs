//! Calls that come to nothing: each says why, to the caller and in its record.

use std::time::Duration;

use model::{CallStatus, Cause, ExtensionStatus};
use sip::{HeaderName, Message};

use crate::office::sdp::sdp;
use crate::office::{Office, Phone};

const OFFER: fn() -> String = || sdp("10.0.0.11", 30_000, "0", "sendrecv");

/// Dial, and hear the refusal that comes at once.
fn refused(office: &mut Office, phone: &Phone, number: &str) -> Message {
    let line = office.call(phone, number, Some(&OFFER()));
    let refusal = office.last(phone);
    office.ack_refusal(&line, &refusal);
    refusal
}

#[test]
fn nowhere_to_go_is_said_with_its_reason() {
    let mut office = Office::open();
    office.change_extension("1003", |e| e.do_not_disturb = true);
    let ana = office.phone("1001");
    for (number, status, cause) in [
        ("1002", 480, Cause::Unreachable),
        ("9999", 404, Cause::NotFound),
        ("+15551234567", 404, Cause::NoRoute), // S194
        ("1003", 480, Cause::DoNotDisturb),
        ("nobody", 404, Cause::NotFound),
    ] {
        let refusal = refused(&mut office, &ana, number);
        assert_eq!(refusal.status(), Some(status), "{number}");
        let reason = refusal.header(HeaderName::Reason).unwrap_or_default().to_string();
        assert!(reason.starts_with(&format!("Q.850;cause={};text=", cause.q850())), "{number}: {reason}");
        let record = office.records().pop().unwrap();
        assert_eq!((record.cause, record.status), (Some(cause), cause.call_status()), "{number}");
    }
    office.change_extension("1002", |e| e.status = ExtensionStatus::Inactive);
    assert_eq!(refused(&mut office, &ana, "1002").status(), Some(480)); // S70
    assert_eq!(office.records().len(), 6);
    office.is_at_rest();
}

#[test]
fn a_busy_phone_and_one_that_declines_are_told_apart() {
    let mut office = Office::open();
    let (ana, benito) = (office.phone("1001"), office.phone("1002"));
    office.register(&benito);
    for (status, passed, cause, end) in [
        (486, 486, Cause::Busy, CallStatus::Busy),
        (603, 603, Cause::Declined, CallStatus::Busy),
        (480, 480, Cause::Refused, CallStatus::Failed),
        (488, 488, Cause::IncompatibleMedia, CallStatus::Failed),
    ] {
        let line = office.call(&ana, "1002", Some(&OFFER()));
        let callee = office.rung(&benito);
        office.answer(&callee, status, None);
        let refusal = office.last(&ana);
        office.ack_refusal(&line, &refusal);
        assert_eq!(refusal.status(), Some(passed));
        let record = office.records().pop().unwrap();
        assert_eq!((record.cause, record.status), (Some(cause), end));
        assert_eq!(record.legs[1].sip_status, Some(status));
        assert_eq!(office.summary(&benito), "ACK");
    }
    office.is_at_rest();
}

#[test]
fn of_several_refusals_the_most_telling_is_passed_on() {
    let mut office = Office::open();
    let (ana, desk) = (office.phone("1001"), office.phone("1002"));
    let mobile = desk.at("10.0.0.99:5060");
    office.register(&desk);
    office.register(&mobile);
    office.call(&ana, "1002", Some(&OFFER()));
    let (on_desk, on_mobile) = (office.rung(&desk), office.rung(&mobile));
    office.heard(&ana);
    office.answer(&on_desk, 486, None);
    assert!(office.heard(&ana).is_empty(), "the other one still rings");
    office.answer(&on_mobile, 480, None);
    assert_eq!(office.last(&ana).status(), Some(486)); // RFC 3261 §16.7 step 6
    office.is_at_rest();
}

#[test]
fn a_decline_speaks_for_all_phones() {
    let mut office = Office::open();
    let (ana, desk) = (office.phone("1001"), office.phone("1002"));
    let mobile = desk.at("10.0.0.99:5060");
    office.register(&desk);
    office.register(&mobile);
    office.call(&ana, "1002", Some(&OFFER()));
    let (on_desk, on_mobile) = (office.rung(&desk), office.rung(&mobile));
    office.answer(&on_mobile, 180, None);
    office.answer(&on_desk, 603, None);
    assert_eq!(office.last(&ana).status(), Some(603)); // RFC 3261 §16.7 step 5
    assert_eq!(office.last(&mobile).method().as_str(), "CANCEL");
    office.answer(&on_mobile, 487, None);
    office.is_at_rest();
}

#[test]
fn nobody_answers_in_the_time_that_the_extension_rings() {
    let mut office = Office::open();
    let (ana, benito) = (office.phone("1001"), office.phone("1002"));
    office.register(&benito);
    let line = office.call(&ana, "1002", Some(&OFFER()));
    let callee = office.rung(&benito);
    office.answer(&callee, 180, None);
    office.pass(Duration::from_secs(24));
    assert_eq!(office.status().active_calls, 1);
    office.pass(Duration::from_secs(2));
    let refusal = office.last(&ana);
    assert_eq!(refusal.status(), Some(480));
    office.ack_refusal(&line, &refusal);
    assert_eq!(office.last(&benito).method().as_str(), "CANCEL");
    office.answer(&callee, 487, None);
    assert_eq!(office.record().status, CallStatus::NoAnswer);
    office.is_at_rest();
}

#[test]
fn a_second_call_rings_unless_the_extension_does_not_want_that() {
    let mut office = Office::open();
    super::a_call_is_made::connected(&mut office);
    let carla = office.phone("1003");
    office.call(&carla, "1002", Some(&OFFER()));
    let benito = office.phone("1002");
    let second = office.rung(&benito); // S193
    office.answer(&second, 486, None);
    office.change_extension("1002", |e| e.call_waiting = false);
    assert_eq!(refused(&mut office, &carla, "1002").status(), Some(486));
    assert!(office.heard(&benito).iter().all(|m| m.method().as_str() == "ACK"), "it does not even ring");
}

#[test]
fn the_fifty_first_call_of_a_user_is_refused_and_the_fifty_live_on() {
    let mut office = Office::open();
    let ana = office.phone("1001");
    for _ in 0..50 {
        office.call(&ana, "*43", Some(&OFFER()));
        assert_eq!(office.last(&ana).status(), Some(200));
    }
    let line = office.call(&ana, "*43", Some(&OFFER()));
    let refusal = office.last(&ana);
    assert_eq!((refusal.status(), refusal.header(HeaderName::RetryAfter)), (Some(503), Some("10"))); // S29
    office.send_from(ana.address, line.invite.bytes().clone());
    assert_eq!(office.last(&ana).bytes(), refusal.bytes(), "a repetition is told the same");
    assert_eq!(office.status().active_calls, 50);
    let benito = office.phone("1002");
    office.call(&benito, "*43", Some(&OFFER()));
    assert_eq!(office.last(&benito).status(), Some(200), "another user is not concerned");
}

#[test]
fn a_description_that_cannot_be_read_or_met_is_refused() {
    let mut office = Office::open();
    let (ana, benito) = (office.phone("1001"), office.phone("1002"));
    office.register(&benito);
    office.call(&ana, "1002", Some("this is no SDP"));
    assert_eq!(office.last(&ana).status(), Some(400));
    office.call(&ana, "*43", Some(&sdp("10.0.0.11", 30_000, "98", "sendrecv")));
    assert_eq!(office.last(&ana).status(), Some(488));
    assert!(office.heard(&benito).is_empty());
    office.is_at_rest();
}

#[test]
fn a_call_without_hops_left_goes_nowhere() {
    let mut office = Office::open();
    let (ana, benito) = (office.phone("1001"), office.phone("1002"));
    office.register(&benito);
    let lines = "";
    let mut line = office.call_with(&ana, "1002", Some(&OFFER()), lines);
    let rung = office.rung(&benito);
    assert_eq!(rung.invite.number(HeaderName::MaxForwards), Some(Ok(69)), "one less than the caller's");
    office.answer(&rung, 486, None);
    let refusal = office.last(&ana);
    office.ack_refusal(&line, &refusal);
    line.call_id.push('x');
    let text = String::from_utf8_lossy(line.invite.bytes()).replace("Max-Forwards: 70", "Max-Forwards: 0");
    let text = text.replace("z9hG4bK", "z9hG4bKother").replace("Call-ID: ", "Call-ID: other");
    office.send_from(ana.address, text);
    assert_eq!(office.last(&ana).status(), Some(483)); // RFC 3261 §8.2, §16.3
    office.is_at_rest();
}
