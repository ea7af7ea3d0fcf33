//! Click-to-call: the user's own device rings first, then the destination (S48).

use std::time::Duration;

use centralita_switch::{CallsOf, Command, Originate, Reply};
use model::{CallRecord, CallStatus, Cause};

use crate::office::sdp::{sdp, wants};
use crate::office::{Office, user};

fn wish(from: Option<&str>, to: &str) -> Originate {
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

fn originate(office: &mut Office, wish: Originate) -> CallRecord {
    match office.ask(Command::Originate(wish)) {
        Reply::Call(record) => record,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_device_rings_then_the_destination_and_the_two_are_bridged() {
    let mut office = Office::open();
    let (ana, benito) = (office.phone("1001"), office.phone("1002"));
    office.register(&ana);
    office.register(&benito);
    let record = originate(&mut office, wish(Some("1001"), "1002"));
    assert_eq!((record.status, record.device.as_deref()), (CallStatus::Ringing, Some("phone1001")));
    let mut device = office.rung(&ana);
    assert!(office.heard(&benito).is_empty(), "the destination rings only once the device has answered");
    office.answer(&device, 200, Some(&sdp("10.0.0.11", 30_000, "0", "sendrecv")));
    assert_eq!(office.summary(&ana), "ACK");
    let callee = office.rung(&benito);
    assert_eq!(wants(&callee.invite.body()).0, "10.0.0.1");
    office.answer(&callee, 200, Some(&sdp("10.0.0.12", 31_000, "0", "sendrecv")));
    let Reply::Call(record) = office.ask(Command::Show { call: record.id }) else { panic!() };
    assert_eq!(record.status, CallStatus::InProgress);
    office.heard(&benito);
    office.within(&mut device, "BYE", "", None);
    let bye = office.last(&benito);
    office.respond(&callee, &bye, 200, "", None);
    assert_eq!((office.record().legs.len(), office.record().cause), (2, Some(Cause::Completed)));
    office.is_at_rest();
}

#[test]
fn the_device_is_chosen_in_the_documented_order() {
    let mut office = Office::open();
    let (desk, other, plain) = (office.phone("1001"), office.phone("1003"), office.phone("user_1700000001"));
    let device = |office: &mut Office, from: Option<&str>| {
        let record = originate(office, wish(from, "*43"));
        office.ask(Command::End { call: record.id });
        record.device
    };
    office.register(&other);
    assert_eq!(device(&mut office, None).as_deref(), Some("phone1003"));
    office.register(&desk);
    assert_eq!(device(&mut office, None).as_deref(), Some("phone1001"), "the lowest extension"); // S48
    office.register(&plain);
    assert_eq!(
        device(&mut office, None).as_deref(),
        Some("user_1700000001"),
        "a plain credential before extensions"
    );
    assert_eq!(
        device(&mut office, Some("1003")).as_deref(),
        Some("phone1003"),
        "the one that is named before all"
    );
    assert_eq!(device(&mut office, Some("+34600000000")).as_deref(), Some("user_1700000001"));
}

#[test]
fn without_a_device_the_call_waits_for_one_to_register() {
    let mut office = Office::open();
    let ana = office.phone("1001");
    let record = originate(&mut office, wish(None, "*43"));
    assert_eq!(record.status, CallStatus::Queued);
    office.pass(Duration::from_secs(20));
    let lines = format!("Contact: {}\r\n", ana.contact());
    assert_eq!(office.register_with(&ana, &lines).status(), Some(200));
    assert_eq!(office.last(&ana).method().as_str(), "INVITE", "after its 200");
    let Reply::Call(record) = office.ask(Command::Show { call: record.id }) else { panic!() };
    assert_eq!((record.status, record.device.as_deref()), (CallStatus::Ringing, Some("phone1001")));
}

#[test]
fn a_call_that_waits_in_vain_is_recorded_so() {
    let mut office = Office::open();
    originate(&mut office, wish(None, "*43"));
    office.pass(Duration::from_secs(31));
    assert_eq!(office.record().cause, Some(Cause::NoRegisteredDevice)); // S48
    office.is_at_rest();
}

#[test]
fn what_cannot_be_is_refused_at_once() {
    let mut office = Office::open();
    let strict = Originate { require_device: true, ..wish(None, "*43") };
    for (wish, cause) in [
        (strict, Cause::NoRegisteredDevice),
        (wish(None, "9999"), Cause::NotFound),
        (wish(None, "+15551234567"), Cause::NoRoute),
        (wish(None, "112"), Cause::EmergencyNotAllowed),
    ] {
        assert_eq!(office.ask(Command::Originate(wish)), Reply::Refused(cause));
    }
    assert!(office.journal.is_empty());
    office.is_at_rest();
}

#[test]
fn a_call_is_ended_over_the_api_in_every_state() {
    let mut office = Office::open();
    let waiting = originate(&mut office, wish(None, "1002"));
    let Reply::Call(ended) = office.ask(Command::End { call: waiting.id.clone() }) else {
        panic!("it is known")
    };
    assert_eq!((ended.status, ended.cause), (CallStatus::Canceled, Some(Cause::EndedByApi)));
    assert_eq!(office.ask(Command::End { call: waiting.id }), Reply::Unknown);
    let (caller, callee) = super::a_call_is_made::connected(&mut office);
    let Reply::Calls(calls) = office.ask(Command::Calls { of: CallsOf::Everybody, after: None, limit: 10 })
    else {
        panic!()
    };
    let Reply::Call(ended) = office.ask(Command::End { call: calls[0].id.clone() }) else { panic!() };
    assert_eq!(ended.status, CallStatus::Completed);
    for line in [caller, callee] {
        let bye = office.last(&line.phone);
        assert_eq!(bye.method().as_str(), "BYE");
        office.respond(&line, &bye, 200, "", None);
    }
    office.is_at_rest();
}

#[test]
fn the_user_does_not_answer_and_the_destination_never_rings() {
    let mut office = Office::open();
    let (ana, benito) = (office.phone("1001"), office.phone("1002"));
    office.register(&ana);
    office.register(&benito);
    originate(&mut office, wish(None, "1002"));
    let device = office.rung(&ana);
    office.answer(&device, 180, None);
    office.pass(Duration::from_secs(31));
    assert_eq!(office.last(&ana).method().as_str(), "CANCEL");
    office.answer(&device, 487, None);
    assert!(office.heard(&benito).is_empty());
    assert_eq!(office.record().cause, Some(Cause::NoAnswer));
    office.is_at_rest();
}
