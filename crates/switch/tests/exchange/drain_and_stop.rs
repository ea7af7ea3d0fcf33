//! Draining, stopping, starting again, and recovery from a crash.

use std::time::Duration;

use centralita_switch::{Command, Input, Reply, State};
use model::{CallStatus, Cause};
use sip::HeaderName;

use super::basic_calls::connected;
use crate::test_switch::TestSwitch;
use crate::test_switch::sdp::sdp;

#[test]
fn calls_may_end_before_the_listeners_close() {
    let mut pbx = TestSwitch::open();
    let (mut caller, callee) = connected(&mut pbx);
    let Reply::Status(status) = pbx.command(Command::Stop { force: false }) else { panic!() };
    assert_eq!(status.state, State::Draining); // S35
    let carla = pbx.phone("1003");
    let dialog = pbx.call(&carla, "*43", Some(&sdp("10.0.0.13", 30_000, "0", "sendrecv")));
    let rejection = pbx.last(&carla);
    assert_eq!((rejection.status(), rejection.header(HeaderName::RetryAfter)), (Some(503), Some("10")));
    pbx.ack_error(&dialog, &rejection);
    pbx.advance(Duration::from_secs(30));
    assert!(pbx.listen_outputs.is_empty(), "a call is still up");
    pbx.in_dialog_request(&mut caller, "BYE", "", None);
    let bye = pbx.last(&callee.phone);
    pbx.respond(&callee, &bye, 200, "", None);
    pbx.advance(Duration::from_secs(40));
    assert_eq!(pbx.listen_outputs, [false]);
    pbx.feed(Input::Listening(false));
    assert_eq!(pbx.status().state, State::Stopped);
    pbx.command(Command::Start); // S34
    assert_eq!(pbx.listen_outputs, [false, true]);
    pbx.feed(Input::Listening(true));
    assert_eq!(pbx.status().state, State::Running);
}

#[test]
fn a_forced_stop_ends_the_calls() {
    let mut pbx = TestSwitch::open();
    let (caller, callee) = connected(&mut pbx);
    pbx.command(Command::Stop { force: true });
    for dialog in [caller, callee] {
        let bye = pbx.last(&dialog.phone);
        assert!(bye.header(HeaderName::Reason).unwrap().contains("shutting down"));
        pbx.respond(&dialog, &bye, 200, "", None);
    }
    assert_eq!((pbx.record().cause, pbx.record().status), (Some(Cause::Draining), CallStatus::Completed));
    assert_eq!(pbx.listen_outputs, [false]);
    pbx.assert_idle();
}

#[test]
fn after_a_crash_bindings_are_restored_and_both_phones_get_bye() {
    let mut pbx = TestSwitch::open();
    let (caller, callee) = connected(&mut pbx);
    pbx.received(&caller.phone);
    pbx.crash();
    assert_eq!(pbx.registrations(), ["phone1001", "phone1002"]);
    for dialog in [&caller, &callee] {
        let bye = pbx.last(&dialog.phone);
        assert_eq!((bye.method().as_str(), bye.call_id()), ("BYE", dialog.call_id.as_str()));
        assert!(dialog.local.ends_with(bye.to_tag()) && dialog.remote.ends_with(bye.from_tag()));
        assert!(bye.cseq().number > dialog.invite.cseq().number);
        pbx.respond(dialog, &bye, 200, "", None);
    }
    let record = pbx.record();
    assert_eq!((record.cause, record.status), (Some(Cause::Crash), CallStatus::Completed));
    assert_eq!(pbx.status().active_calls, 0);
    let carla = pbx.phone("1003");
    pbx.call(&carla, "1002", Some(&sdp("10.0.0.13", 30_000, "0", "sendrecv")));
    let leg = pbx.expect_invite(&pbx.phone("1002")); // reachable without registering again
    pbx.answer(&leg, 486, None);
    pbx.assert_idle();
}

#[test]
fn a_call_that_rang_when_the_process_died_is_recorded_as_failed() {
    let mut pbx = TestSwitch::open();
    let (ana, benito) = (pbx.phone("1001"), pbx.phone("1002"));
    pbx.register(&benito);
    pbx.call(&ana, "1002", Some(&sdp("10.0.0.11", 30_000, "0", "sendrecv")));
    pbx.received(&benito);
    pbx.crash();
    assert!(pbx.received(&benito).is_empty(), "there is no dialog that could be ended");
    assert_eq!((pbx.record().cause, pbx.record().status), (Some(Cause::Crash), CallStatus::Failed));
    pbx.crash();
    assert_eq!(pbx.records().len(), 1, "and it is not buried twice");
}

#[test]
fn a_binding_does_not_outlive_its_maximum_after_a_clock_change() {
    let mut pbx = TestSwitch::open();
    let phone = pbx.phone("1001");
    pbx.register(&phone);
    let future = pbx.now().wall + Duration::from_secs(50 * 3600);
    for record in &mut pbx.journal {
        if let model::journal::Record::Bound(binding) = record {
            binding.expires_at = future; // written before the clock was set back
        }
    }
    pbx.crash();
    assert_eq!(pbx.registrations(), ["phone1001"]);
    pbx.advance(Duration::from_secs(7201));
    assert!(pbx.registrations().is_empty());
}

#[test]
fn a_caller_with_our_200_gets_bye_after_a_crash_before_its_ack() {
    let mut pbx = TestSwitch::open();
    let (ana, benito) = (pbx.phone("1001"), pbx.phone("1002"));
    pbx.register(&benito);
    let mut caller = pbx.call(&ana, "1002", Some(&sdp("10.0.0.11", 30_000, "0", "sendrecv")));
    let callee = pbx.expect_invite(&benito);
    pbx.answer(&callee, 200, Some(&sdp("10.0.0.12", 31_000, "0", "sendrecv")));
    let ok = pbx.last(&ana);
    pbx.received(&benito);
    pbx.crash();
    assert_eq!((pbx.summary(&ana).as_str(), pbx.summary(&benito).as_str()), ("BYE", "BYE"));
    pbx.send_ack(&mut caller, &ok, None);
    assert!(pbx.received(&ana).is_empty());
}

#[test]
fn a_call_that_was_held_before_the_crash_gets_one_bye_at_each_phone() {
    let mut pbx = TestSwitch::open();
    let (mut caller, callee) = connected(&mut pbx);
    pbx.in_dialog_request(&mut caller, "INVITE", "", Some(&sdp("10.0.0.11", 30_000, "0 8 101", "sendrecv")));
    let ok = pbx.last(&caller.phone);
    pbx.ack_reinvite(&caller, &ok, None);
    pbx.crash();
    assert_eq!((pbx.summary(&caller.phone).as_str(), pbx.summary(&callee.phone).as_str()), ("BYE", "BYE"));
}

#[test]
fn a_lost_bye_is_sent_again_after_a_crash() {
    let mut pbx = TestSwitch::open();
    let (mut caller, callee) = connected(&mut pbx);
    pbx.in_dialog_request(&mut caller, "BYE", "", None);
    assert_eq!(pbx.summary(&callee.phone), "BYE", "which gets lost on its way");
    pbx.crash();
    let bye = pbx.received(&callee.phone).into_iter().find(|m| m.method().as_str() == "BYE");
    let bye = bye.expect("a BYE to each phone"); // DESIGN: confirmed calls get a BYE to both phones
    assert_eq!(bye.call_id(), callee.call_id);
    pbx.respond(&callee, &bye, 200, "", None);
    let gone = pbx.last(&caller.phone);
    pbx.respond(&caller, &gone, 481, "", None); // it has ended the dialog already
    assert_eq!(pbx.records().len(), 1);
    pbx.assert_idle();
}

#[test]
fn the_cdr_waits_for_the_response_to_bye_but_not_for_an_unreachable_phone() {
    let mut pbx = TestSwitch::open();
    let (mut caller, callee) = connected(&mut pbx);
    pbx.in_dialog_request(&mut caller, "BYE", "", None);
    assert!(pbx.records().is_empty());
    let bye = pbx.last(&callee.phone);
    pbx.respond(&callee, &bye, 200, "", None);
    assert_eq!(pbx.record().cause, Some(Cause::Completed), "at once");
    let ended = pbx.record().ended_at;
    pbx.crash();
    assert!(pbx.received(&callee.phone).is_empty(), "no second BYE");
    assert_eq!(pbx.record().ended_at, ended);

    let (mut caller, callee) = connected(&mut pbx);
    let before = pbx.now().wall;
    pbx.in_dialog_request(&mut caller, "BYE", "", None);
    pbx.advance(Duration::from_secs(3));
    assert_eq!(pbx.records().len(), 2, "a phone that is gone holds no record up");
    assert_eq!(pbx.records()[1].ended_at, Some(before), "and the record says when the call ended");
    pbx.received(&callee.phone);
    pbx.assert_idle();
}
