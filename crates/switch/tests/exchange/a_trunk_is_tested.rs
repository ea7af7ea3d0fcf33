//! Test calls over a trunk: placed by the policy of any call, told what they met, and hung up.

use std::time::Duration;

use centralita_switch::{Command, Reply, TestedCall};
use model::{CallDirection, CallId, CallStatus, Cause, Change, Trunk};

use crate::office::carrier::trunk;
use crate::office::sdp::sdp;
use crate::office::{Office, user};

const MADRID: &str = "+34912345678";

fn answer() -> String {
    sdp("10.9.0.1", 40_000, "0 8", "sendrecv")
}

fn office(one: &Trunk, alive: &[u8]) -> Office {
    let mut office = Office::open();
    office.add_trunk(one, alive);
    office
}

fn test(office: &mut Office, one: &Trunk, number: &str) -> Reply {
    let (trunk, user) = (one.id.clone(), user("ana"));
    let patience = Duration::from_secs(20);
    office.ask(Command::TestCall { trunk, user, number: number.into(), patience })
}

fn placed(office: &mut Office, one: &Trunk, number: &str) -> CallId {
    match test(office, one, number) {
        Reply::Call(call) => call.id,
        other => panic!("{other:?}"),
    }
}

fn tested(office: &mut Office, call: &CallId) -> TestedCall {
    match office.ask(Command::Tested { call: call.clone() }) {
        Reply::TestCall(tested) => tested,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_that_is_answered_is_hung_up_and_its_times_are_told() {
    let one = trunk("one", &[1]);
    let mut office = office(&one, &[1]);
    let call = placed(&mut office, &one, MADRID);
    let callee = office.invited(1);
    assert_eq!(tested(&mut office, &call).cause, None);
    office.pass_with(Duration::from_millis(400), &[1]);
    office.answer(&callee, 180, None);
    office.pass_with(Duration::from_millis(600), &[1]);
    office.answer(&callee, 200, Some(&answer()));
    let heard = office.carried(1);
    let names: Vec<_> = heard.iter().map(|message| message.method().to_string()).collect();
    assert_eq!(names, ["ACK", "BYE"]);
    office.respond(&callee, &heard[1], 200, "", None);
    let met = tested(&mut office, &call);
    assert_eq!((met.cause, met.status), (Some(Cause::Completed), Some(200)));
    assert_eq!(met.rang, Some(Duration::from_millis(400)));
    assert_eq!(met.answered, Some(Duration::from_millis(1000)));
    assert!(met.trace.iter().any(|step| step.outcome.contains("one is tried at 10.9.0.1:5060")));
    let record = office.record();
    assert_eq!((record.status, record.direction), (CallStatus::Completed, CallDirection::Outbound));
    assert!(record.answered_at.is_some());
    office.change(vec![Change::TrunkGone(one.id)]);
    office.is_at_rest();
}

#[test]
fn a_refusal_a_dead_host_and_silence_are_told_and_every_line_is_free_afterwards() {
    let mut one = trunk("one", &[1, 2]);
    one.settings.max_channels = Some(1);
    let mut office = office(&one, &[1, 2]);
    let call = placed(&mut office, &one, MADRID);
    let first = office.invited(1);
    office.answer(&first, 503, None);
    let second = office.invited(2);
    let none_left = placed(&mut office, &one, MADRID);
    assert_eq!(tested(&mut office, &none_left).cause, Some(Cause::TrunkBusy));
    office.answer(&second, 486, None);
    let met = tested(&mut office, &call);
    assert_eq!((met.cause, met.status, met.rang, met.answered), (Some(Cause::Busy), Some(486), None, None));

    let call = placed(&mut office, &one, MADRID);
    let callee = office.invited(1);
    office.answer(&callee, 180, None);
    office.pass_with(Duration::from_secs(20), &[1, 2]);
    assert!(office.carried_in_short(1).contains("CANCEL"));
    office.answer(&callee, 487, None);
    let met = tested(&mut office, &call);
    assert_eq!((met.cause, met.status), (Some(Cause::NoAnswer), Some(180)));
    office.change(vec![Change::TrunkGone(one.id)]);
    office.is_at_rest();
    assert_eq!(office.records().len(), 3);
}

// security.md rows 7 and 31
#[test]
fn what_may_not_be_dialled_is_not_tested_either() {
    let one = trunk("one", &[1]);
    let mut off = trunk("off", &[2]);
    off.enabled = false;
    let mut office = office(&one, &[1]);
    office.add_trunk(&off, &[]);
    for (number, cause) in [
        ("+8821312345678", Cause::NumberBlocked),
        ("+34803123456", Cause::NumberBlocked),
        ("112", Cause::EmergencyNotAllowed),
        ("1001", Cause::NoRoute),
        ("*43", Cause::NoRoute),
    ] {
        assert_eq!(test(&mut office, &one, number), Reply::Refused(cause), "{number}");
    }
    assert_eq!(test(&mut office, &off, MADRID), Reply::Refused(Cause::NoRoute));
    assert_eq!(test(&mut office, &trunk("none", &[3]), MADRID), Reply::Unknown);
    assert_eq!(office.carried_in_short(1), "");
    assert!(office.records().is_empty());
}
