//! Calls that fail: the response to the caller and the cause in the record.

use std::time::Duration;

use model::{CallStatus, Cause, ExtensionStatus};
use sip::{HeaderName, Message};

use crate::test_switch::sdp::sdp;
use crate::test_switch::{Phone, TestSwitch};

const OFFER: fn() -> String = || sdp("10.0.0.11", 30_000, "0", "sendrecv");

/// Dial, and return the rejection that follows at once.
fn expect_rejection(pbx: &mut TestSwitch, phone: &Phone, number: &str) -> Message {
    let dialog = pbx.call(phone, number, Some(&OFFER()));
    let rejection = pbx.last(phone);
    pbx.ack_error(&dialog, &rejection);
    rejection
}

#[test]
fn an_unroutable_call_is_rejected_with_its_reason() {
    let mut pbx = TestSwitch::open();
    pbx.change_extension("1003", |e| e.do_not_disturb = true);
    let ana = pbx.phone("1001");
    for (number, status, cause) in [
        ("1002", 480, Cause::Unreachable),
        ("9999", 404, Cause::NotFound),
        ("+15551234567", 404, Cause::NoRoute), // S194
        ("1003", 480, Cause::DoNotDisturb),
        ("nobody", 404, Cause::NotFound),
    ] {
        let rejection = expect_rejection(&mut pbx, &ana, number);
        assert_eq!(rejection.status(), Some(status), "{number}");
        let reason = rejection.header(HeaderName::Reason).unwrap_or_default().to_string();
        assert!(reason.starts_with(&format!("Q.850;cause={};text=", cause.q850())), "{number}: {reason}");
        let record = pbx.records().pop().unwrap();
        assert_eq!((record.cause, record.status), (Some(cause), cause.call_status()), "{number}");
    }
    pbx.change_extension("1002", |e| e.status = ExtensionStatus::Inactive);
    assert_eq!(expect_rejection(&mut pbx, &ana, "1002").status(), Some(480)); // S70
    assert_eq!(pbx.records().len(), 6);
    pbx.assert_idle();
}

#[test]
fn busy_and_declined_have_different_causes() {
    let mut pbx = TestSwitch::open();
    let (ana, benito) = (pbx.phone("1001"), pbx.phone("1002"));
    pbx.register(&benito);
    for (status, passed, cause, end) in [
        (486, 486, Cause::Busy, CallStatus::Busy),
        (603, 603, Cause::Declined, CallStatus::Busy),
        (480, 480, Cause::Refused, CallStatus::Failed),
        (488, 488, Cause::IncompatibleMedia, CallStatus::Failed),
    ] {
        let dialog = pbx.call(&ana, "1002", Some(&OFFER()));
        let callee = pbx.expect_invite(&benito);
        pbx.answer(&callee, status, None);
        let rejection = pbx.last(&ana);
        pbx.ack_error(&dialog, &rejection);
        assert_eq!(rejection.status(), Some(passed));
        let record = pbx.records().pop().unwrap();
        assert_eq!((record.cause, record.status), (Some(cause), end));
        assert_eq!(record.legs[1].sip_status, Some(status));
        assert_eq!(pbx.summary(&benito), "ACK");
    }
    pbx.assert_idle();
}

#[test]
fn of_several_rejections_the_best_one_is_forwarded() {
    let mut pbx = TestSwitch::open();
    let (ana, desk) = (pbx.phone("1001"), pbx.phone("1002"));
    let mobile = desk.at("10.0.0.99:5060");
    pbx.register(&desk);
    pbx.register(&mobile);
    pbx.call(&ana, "1002", Some(&OFFER()));
    let (on_desk, on_mobile) = (pbx.expect_invite(&desk), pbx.expect_invite(&mobile));
    pbx.received(&ana);
    pbx.answer(&on_desk, 486, None);
    assert!(pbx.received(&ana).is_empty(), "the other one still rings");
    pbx.answer(&on_mobile, 480, None);
    assert_eq!(pbx.last(&ana).status(), Some(486)); // RFC 3261 §16.7 step 6
    pbx.assert_idle();
}

#[test]
fn a_603_cancels_the_other_branches() {
    let mut pbx = TestSwitch::open();
    let (ana, desk) = (pbx.phone("1001"), pbx.phone("1002"));
    let mobile = desk.at("10.0.0.99:5060");
    pbx.register(&desk);
    pbx.register(&mobile);
    pbx.call(&ana, "1002", Some(&OFFER()));
    let (on_desk, on_mobile) = (pbx.expect_invite(&desk), pbx.expect_invite(&mobile));
    pbx.answer(&on_mobile, 180, None);
    pbx.answer(&on_desk, 603, None);
    assert_eq!(pbx.last(&ana).status(), Some(603)); // RFC 3261 §16.7 step 5
    assert_eq!(pbx.last(&mobile).method().as_str(), "CANCEL");
    pbx.answer(&on_mobile, 487, None);
    pbx.assert_idle();
}

#[test]
fn no_answer_ends_the_call_after_the_extensions_ring_time() {
    let mut pbx = TestSwitch::open();
    let (ana, benito) = (pbx.phone("1001"), pbx.phone("1002"));
    pbx.register(&benito);
    let dialog = pbx.call(&ana, "1002", Some(&OFFER()));
    let callee = pbx.expect_invite(&benito);
    pbx.answer(&callee, 180, None);
    pbx.advance(Duration::from_secs(24));
    assert_eq!(pbx.status().active_calls, 1);
    pbx.advance(Duration::from_secs(2));
    let rejection = pbx.last(&ana);
    assert_eq!(rejection.status(), Some(480));
    pbx.ack_error(&dialog, &rejection);
    assert_eq!(pbx.last(&benito).method().as_str(), "CANCEL");
    pbx.answer(&callee, 487, None);
    assert_eq!(pbx.record().status, CallStatus::NoAnswer);
    pbx.assert_idle();
}

#[test]
fn a_second_call_rings_unless_call_waiting_is_off() {
    let mut pbx = TestSwitch::open();
    super::basic_calls::connected(&mut pbx);
    let carla = pbx.phone("1003");
    pbx.call(&carla, "1002", Some(&OFFER()));
    let benito = pbx.phone("1002");
    let second = pbx.expect_invite(&benito); // S193
    pbx.answer(&second, 486, None);
    pbx.change_extension("1002", |e| e.call_waiting = false);
    assert_eq!(expect_rejection(&mut pbx, &carla, "1002").status(), Some(486));
    assert!(pbx.received(&benito).iter().all(|m| m.method().as_str() == "ACK"), "it does not even ring");
}

#[test]
fn the_fifty_first_call_of_a_user_is_rejected_and_the_fifty_go_on() {
    let mut pbx = TestSwitch::open();
    let ana = pbx.phone("1001");
    for _ in 0..50 {
        pbx.call(&ana, "*43", Some(&OFFER()));
        assert_eq!(pbx.last(&ana).status(), Some(200));
    }
    let dialog = pbx.call(&ana, "*43", Some(&OFFER()));
    let rejection = pbx.last(&ana);
    assert_eq!((rejection.status(), rejection.header(HeaderName::RetryAfter)), (Some(503), Some("10"))); // S29
    pbx.send_from(ana.address, dialog.invite.bytes().clone());
    assert_eq!(pbx.last(&ana).bytes(), rejection.bytes(), "a retransmission gets the same response");
    assert_eq!(pbx.status().active_calls, 50);
    let benito = pbx.phone("1002");
    pbx.call(&benito, "*43", Some(&OFFER()));
    assert_eq!(pbx.last(&benito).status(), Some(200), "another user is not concerned");
}

#[test]
fn an_sdp_that_is_invalid_or_incompatible_is_rejected() {
    let mut pbx = TestSwitch::open();
    let (ana, benito) = (pbx.phone("1001"), pbx.phone("1002"));
    pbx.register(&benito);
    pbx.call(&ana, "1002", Some("this is no SDP"));
    assert_eq!(pbx.last(&ana).status(), Some(400));
    pbx.call(&ana, "*43", Some(&sdp("10.0.0.11", 30_000, "98", "sendrecv")));
    assert_eq!(pbx.last(&ana).status(), Some(488));
    assert!(pbx.received(&benito).is_empty());
    pbx.assert_idle();
}

#[test]
fn an_invite_with_max_forwards_0_is_rejected_with_483() {
    let mut pbx = TestSwitch::open();
    let (ana, benito) = (pbx.phone("1001"), pbx.phone("1002"));
    pbx.register(&benito);
    let lines = "";
    let mut dialog = pbx.call_with(&ana, "1002", Some(&OFFER()), lines);
    let leg = pbx.expect_invite(&benito);
    assert_eq!(leg.invite.number(HeaderName::MaxForwards), Some(Ok(69)), "one less than the caller's");
    pbx.answer(&leg, 486, None);
    let rejection = pbx.last(&ana);
    pbx.ack_error(&dialog, &rejection);
    dialog.call_id.push('x');
    let text = String::from_utf8_lossy(dialog.invite.bytes()).replace("Max-Forwards: 70", "Max-Forwards: 0");
    let text = text.replace("z9hG4bK", "z9hG4bKother").replace("Call-ID: ", "Call-ID: other");
    pbx.send_from(ana.address, text);
    assert_eq!(pbx.last(&ana).status(), Some(483)); // RFC 3261 §8.2, §16.3
    pbx.assert_idle();
}
