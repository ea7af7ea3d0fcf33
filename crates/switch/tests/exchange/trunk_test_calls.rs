//! Test calls over a trunk: subject to the dial policy, with a report of the outcome.

use std::time::Duration;

use centralita_switch::{Command, Reply, TestedCall};
use model::{CallDirection, CallId, CallStatus, Cause, Change, Trunk};

use crate::test_switch::carrier::trunk;
use crate::test_switch::sdp::sdp;
use crate::test_switch::{TestSwitch, user};

const MADRID: &str = "+34912345678";

fn answer() -> String {
    sdp("10.9.0.1", 40_000, "0 8", "sendrecv")
}

fn setup(one: &Trunk, alive: &[u8]) -> TestSwitch {
    let mut pbx = TestSwitch::open();
    pbx.add_trunk(one, alive);
    pbx
}

fn test(pbx: &mut TestSwitch, one: &Trunk, number: &str) -> Reply {
    let (trunk, user) = (one.id.clone(), user("ana"));
    let patience = Duration::from_secs(20);
    pbx.command(Command::TestCall { trunk, user, number: number.into(), patience })
}

fn placed(pbx: &mut TestSwitch, one: &Trunk, number: &str) -> CallId {
    match test(pbx, one, number) {
        Reply::Call(call) => call.id,
        other => panic!("{other:?}"),
    }
}

fn tested(pbx: &mut TestSwitch, call: &CallId) -> TestedCall {
    match pbx.command(Command::Tested { call: call.clone() }) {
        Reply::TestCall(tested) => tested,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_answered_test_call_is_hung_up_and_its_times_are_reported() {
    let one = trunk("one", &[1]);
    let mut pbx = setup(&one, &[1]);
    let call = placed(&mut pbx, &one, MADRID);
    let callee = pbx.expect_trunk_invite(1);
    assert_eq!(tested(&mut pbx, &call).cause, None);
    pbx.advance_with_probes(Duration::from_millis(400), &[1]);
    pbx.answer(&callee, 180, None);
    pbx.advance_with_probes(Duration::from_millis(600), &[1]);
    pbx.answer(&callee, 200, Some(&answer()));
    let received = pbx.received_by_carrier(1);
    let names: Vec<_> = received.iter().map(|message| message.method().to_string()).collect();
    assert_eq!(names, ["ACK", "BYE"]);
    pbx.respond(&callee, &received[1], 200, "", None);
    let result = tested(&mut pbx, &call);
    assert_eq!((result.cause, result.status), (Some(Cause::Completed), Some(200)));
    assert_eq!(result.rang, Some(Duration::from_millis(400)));
    assert_eq!(result.answered, Some(Duration::from_millis(1000)));
    assert!(result.trace.iter().any(|step| step.outcome.contains("one is tried at 10.9.0.1:5060")));
    let record = pbx.record();
    assert_eq!((record.status, record.direction), (CallStatus::Completed, CallDirection::Outbound));
    assert!(record.answered_at.is_some());
    pbx.change(vec![Change::TrunkGone(one.id)]);
    pbx.assert_idle();
}

#[test]
fn a_rejection_a_down_host_and_a_timeout_are_reported_and_every_channel_is_released() {
    let mut one = trunk("one", &[1, 2]);
    one.settings.max_channels = Some(1);
    let mut pbx = setup(&one, &[1, 2]);
    let call = placed(&mut pbx, &one, MADRID);
    let first = pbx.expect_trunk_invite(1);
    pbx.answer(&first, 503, None);
    let second = pbx.expect_trunk_invite(2);
    let none_left = placed(&mut pbx, &one, MADRID);
    assert_eq!(tested(&mut pbx, &none_left).cause, Some(Cause::TrunkBusy));
    pbx.answer(&second, 486, None);
    let result = tested(&mut pbx, &call);
    assert_eq!(
        (result.cause, result.status, result.rang, result.answered),
        (Some(Cause::Busy), Some(486), None, None)
    );

    let call = placed(&mut pbx, &one, MADRID);
    let callee = pbx.expect_trunk_invite(1);
    pbx.answer(&callee, 180, None);
    pbx.advance_with_probes(Duration::from_secs(20), &[1, 2]);
    assert!(pbx.carrier_summary(1).contains("CANCEL"));
    pbx.answer(&callee, 487, None);
    let result = tested(&mut pbx, &call);
    assert_eq!((result.cause, result.status), (Some(Cause::NoAnswer), Some(180)));
    pbx.change(vec![Change::TrunkGone(one.id)]);
    pbx.assert_idle();
    assert_eq!(pbx.records().len(), 3);
}

// security.md rows 7 and 31
#[test]
fn a_forbidden_number_is_not_tested_either() {
    let one = trunk("one", &[1]);
    let mut off = trunk("off", &[2]);
    off.enabled = false;
    let mut pbx = setup(&one, &[1]);
    pbx.add_trunk(&off, &[]);
    for (number, cause) in [
        ("+8821312345678", Cause::NumberBlocked),
        ("+34803123456", Cause::NumberBlocked),
        ("112", Cause::EmergencyNotAllowed),
        ("1001", Cause::NoRoute),
        ("*43", Cause::NoRoute),
    ] {
        assert_eq!(test(&mut pbx, &one, number), Reply::Refused(cause), "{number}");
    }
    assert_eq!(test(&mut pbx, &off, MADRID), Reply::Refused(Cause::NoRoute));
    assert_eq!(test(&mut pbx, &trunk("none", &[3]), MADRID), Reply::Unknown);
    assert_eq!(pbx.carrier_summary(1), "");
    assert!(pbx.records().is_empty());
}
