//! Click-to-call: the user's own device rings first, then the destination (S48).

use std::time::Duration;

use centralita_switch::{CallsOf, Command, Originate, Reply};
use model::{CallRecord, CallStatus, Cause};

use crate::test_switch::sdp::{sdp, wants};
use crate::test_switch::{TestSwitch, user};

fn originate_params(from: Option<&str>, to: &str) -> Originate {
    Originate {
        user: user("ana"),
        from: from.map(Into::into),
        device: None,
        to: to.into(),
        ring_timeout: Duration::from_secs(30),
        require_device: false,
        planned: None,
    }
}

fn originate(pbx: &mut TestSwitch, originate_params: Originate) -> CallRecord {
    match pbx.command(Command::Originate(originate_params)) {
        Reply::Call(record) => record,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_device_rings_then_the_destination_and_the_two_are_bridged() {
    let mut pbx = TestSwitch::open();
    let (ana, benito) = (pbx.phone("1001"), pbx.phone("1002"));
    pbx.register(&ana);
    pbx.register(&benito);
    let record = originate(&mut pbx, originate_params(Some("1001"), "1002"));
    assert_eq!((record.status, record.device.as_deref()), (CallStatus::Ringing, Some("phone1001")));
    let mut device = pbx.expect_invite(&ana);
    assert!(pbx.received(&benito).is_empty(), "the destination rings only once the device has answered");
    pbx.answer(&device, 200, Some(&sdp("10.0.0.11", 30_000, "0", "sendrecv")));
    assert_eq!(pbx.summary(&ana), "ACK");
    let callee = pbx.expect_invite(&benito);
    assert_eq!(wants(&callee.invite.body()).0, "10.0.0.1");
    pbx.answer(&callee, 200, Some(&sdp("10.0.0.12", 31_000, "0", "sendrecv")));
    let Reply::Call(record) = pbx.command(Command::Show { call: record.id }) else { panic!() };
    assert_eq!(record.status, CallStatus::InProgress);
    pbx.received(&benito);
    pbx.in_dialog_request(&mut device, "BYE", "", None);
    let bye = pbx.last(&benito);
    pbx.respond(&callee, &bye, 200, "", None);
    assert_eq!((pbx.record().legs.len(), pbx.record().cause), (2, Some(Cause::Completed)));
    pbx.assert_idle();
}

#[test]
fn the_device_is_chosen_in_the_documented_order() {
    let mut pbx = TestSwitch::open();
    let (desk, other, plain) = (pbx.phone("1001"), pbx.phone("1003"), pbx.phone("user_1700000001"));
    let device = |pbx: &mut TestSwitch, from: Option<&str>| {
        let record = originate(pbx, originate_params(from, "*43"));
        pbx.command(Command::End { call: record.id });
        record.device
    };
    pbx.register(&other);
    assert_eq!(device(&mut pbx, None).as_deref(), Some("phone1003"));
    pbx.register(&desk);
    assert_eq!(device(&mut pbx, None).as_deref(), Some("phone1001"), "the lowest extension"); // S48
    pbx.register(&plain);
    assert_eq!(
        device(&mut pbx, None).as_deref(),
        Some("user_1700000001"),
        "a plain credential before extensions"
    );
    assert_eq!(
        device(&mut pbx, Some("1003")).as_deref(),
        Some("phone1003"),
        "the one that is named before all"
    );
    assert_eq!(device(&mut pbx, Some("+34600000000")).as_deref(), Some("user_1700000001"));
}

#[test]
fn without_a_device_the_call_waits_for_one_to_register() {
    let mut pbx = TestSwitch::open();
    let ana = pbx.phone("1001");
    let record = originate(&mut pbx, originate_params(None, "*43"));
    assert_eq!(record.status, CallStatus::Queued);
    pbx.advance(Duration::from_secs(20));
    let lines = format!("Contact: {}\r\n", ana.contact());
    assert_eq!(pbx.register_with(&ana, &lines).status(), Some(200));
    assert_eq!(pbx.last(&ana).method().as_str(), "INVITE", "after its 200");
    let Reply::Call(record) = pbx.command(Command::Show { call: record.id }) else { panic!() };
    assert_eq!((record.status, record.device.as_deref()), (CallStatus::Ringing, Some("phone1001")));
}

#[test]
fn a_call_whose_device_never_registers_is_recorded_with_its_cause() {
    let mut pbx = TestSwitch::open();
    originate(&mut pbx, originate_params(None, "*43"));
    pbx.advance(Duration::from_secs(31));
    assert_eq!(pbx.record().cause, Some(Cause::NoRegisteredDevice)); // S48
    pbx.assert_idle();
}

#[test]
fn an_impossible_originate_is_rejected_at_once() {
    let mut pbx = TestSwitch::open();
    let strict = Originate { require_device: true, ..originate_params(None, "*43") };
    for (originate_params, cause) in [
        (strict, Cause::NoRegisteredDevice),
        (originate_params(None, "9999"), Cause::NotFound),
        (originate_params(None, "+15551234567"), Cause::NoRoute),
        (originate_params(None, "112"), Cause::EmergencyNotAllowed),
    ] {
        assert_eq!(pbx.command(Command::Originate(originate_params)), Reply::Refused(cause));
    }
    assert!(pbx.journal.is_empty());
    pbx.assert_idle();
}

#[test]
fn a_call_is_ended_over_the_api_in_every_state() {
    let mut pbx = TestSwitch::open();
    let waiting = originate(&mut pbx, originate_params(None, "1002"));
    let Reply::Call(ended) = pbx.command(Command::End { call: waiting.id.clone() }) else {
        panic!("it is known")
    };
    assert_eq!((ended.status, ended.cause), (CallStatus::Canceled, Some(Cause::EndedByApi)));
    assert_eq!(pbx.command(Command::End { call: waiting.id }), Reply::Unknown);
    let (caller, callee) = super::basic_calls::connected(&mut pbx);
    let Reply::Calls(calls) = pbx.command(Command::Calls { of: CallsOf::Everybody, after: None, limit: 10 })
    else {
        panic!()
    };
    let Reply::Call(ended) = pbx.command(Command::End { call: calls[0].id.clone() }) else { panic!() };
    assert_eq!(ended.status, CallStatus::Completed);
    for dialog in [caller, callee] {
        let bye = pbx.last(&dialog.phone);
        assert_eq!(bye.method().as_str(), "BYE");
        pbx.respond(&dialog, &bye, 200, "", None);
    }
    pbx.assert_idle();
}

#[test]
fn the_user_does_not_answer_and_the_destination_never_rings() {
    let mut pbx = TestSwitch::open();
    let (ana, benito) = (pbx.phone("1001"), pbx.phone("1002"));
    pbx.register(&ana);
    pbx.register(&benito);
    originate(&mut pbx, originate_params(None, "1002"));
    let device = pbx.expect_invite(&ana);
    pbx.answer(&device, 180, None);
    pbx.advance(Duration::from_secs(31));
    assert_eq!(pbx.last(&ana).method().as_str(), "CANCEL");
    pbx.answer(&device, 487, None);
    assert!(pbx.received(&benito).is_empty());
    assert_eq!(pbx.record().cause, Some(Cause::NoAnswer));
    pbx.assert_idle();
}
