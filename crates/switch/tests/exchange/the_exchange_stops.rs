//! Draining, stopping, starting again, and coming back from a crash.

use std::time::Duration;

use centralita_switch::{Command, Input, Reply, State};
use model::{CallStatus, Cause};
use sip::HeaderName;

use super::a_call_is_made::connected;
use crate::office::Office;
use crate::office::sdp::sdp;

#[test]
fn calls_may_end_before_the_listeners_close() {
    let mut office = Office::open();
    let (mut caller, callee) = connected(&mut office);
    let Reply::Status(status) = office.ask(Command::Stop { force: false }) else { panic!() };
    assert_eq!(status.state, State::Draining); // S35
    let carla = office.phone("1003");
    let line = office.call(&carla, "*43", Some(&sdp("10.0.0.13", 30_000, "0", "sendrecv")));
    let refusal = office.last(&carla);
    assert_eq!((refusal.status(), refusal.header(HeaderName::RetryAfter)), (Some(503), Some("10")));
    office.ack_refusal(&line, &refusal);
    office.pass(Duration::from_secs(30));
    assert!(office.listens.is_empty(), "a call is still up");
    office.within(&mut caller, "BYE", "", None);
    let bye = office.last(&callee.phone);
    office.respond(&callee, &bye, 200, "", None);
    office.pass(Duration::from_secs(40));
    assert_eq!(office.listens, [false]);
    office.feed(Input::Listening(false));
    assert_eq!(office.status().state, State::Stopped);
    office.ask(Command::Start); // S34
    assert_eq!(office.listens, [false, true]);
    office.feed(Input::Listening(true));
    assert_eq!(office.status().state, State::Running);
}

#[test]
fn a_forced_stop_ends_the_calls() {
    let mut office = Office::open();
    let (caller, callee) = connected(&mut office);
    office.ask(Command::Stop { force: true });
    for line in [caller, callee] {
        let bye = office.last(&line.phone);
        assert!(bye.header(HeaderName::Reason).unwrap().contains("shutting down"));
        office.respond(&line, &bye, 200, "", None);
    }
    assert_eq!(
        (office.record().cause, office.record().status),
        (Some(Cause::Draining), CallStatus::Completed)
    );
    assert_eq!(office.listens, [false]);
    office.is_at_rest();
}

#[test]
fn after_a_crash_bindings_are_back_and_both_phones_are_told_goodbye() {
    let mut office = Office::open();
    let (caller, callee) = connected(&mut office);
    office.heard(&caller.phone);
    office.crash();
    assert_eq!(office.registrations(), ["phone1001", "phone1002"]);
    for line in [&caller, &callee] {
        let bye = office.last(&line.phone);
        assert_eq!((bye.method().as_str(), bye.call_id()), ("BYE", line.call_id.as_str()));
        assert!(line.local.ends_with(bye.to_tag()) && line.remote.ends_with(bye.from_tag()));
        assert!(bye.cseq().number > line.invite.cseq().number);
        office.respond(line, &bye, 200, "", None);
    }
    let record = office.record();
    assert_eq!((record.cause, record.status), (Some(Cause::Crash), CallStatus::Completed));
    assert_eq!(office.status().active_calls, 0);
    let carla = office.phone("1003");
    office.call(&carla, "1002", Some(&sdp("10.0.0.13", 30_000, "0", "sendrecv")));
    let rung = office.rung(&office.phone("1002")); // callable without registering again
    office.answer(&rung, 486, None);
    office.is_at_rest();
}

#[test]
fn a_call_that_rang_when_the_process_died_is_recorded_as_failed() {
    let mut office = Office::open();
    let (ana, benito) = (office.phone("1001"), office.phone("1002"));
    office.register(&benito);
    office.call(&ana, "1002", Some(&sdp("10.0.0.11", 30_000, "0", "sendrecv")));
    office.heard(&benito);
    office.crash();
    assert!(office.heard(&benito).is_empty(), "there is no dialog that could be ended");
    assert_eq!((office.record().cause, office.record().status), (Some(Cause::Crash), CallStatus::Failed));
    office.crash();
    assert_eq!(office.records().len(), 1, "and it is not buried twice");
}

#[test]
fn a_binding_does_not_outlive_its_longest_time_though_the_clock_was_set_back() {
    let mut office = Office::open();
    let phone = office.phone("1001");
    office.register(&phone);
    let future = office.now().wall + Duration::from_secs(50 * 3600);
    for record in &mut office.journal {
        if let model::journal::Record::Bound(binding) = record {
            binding.expires_at = future; // written before the clock went back
        }
    }
    office.crash();
    assert_eq!(office.registrations(), ["phone1001"]);
    office.pass(Duration::from_secs(7201));
    assert!(office.registrations().is_empty());
}

#[test]
fn a_caller_that_has_our_200_is_told_goodbye_though_its_ack_was_not_here_yet() {
    let mut office = Office::open();
    let (ana, benito) = (office.phone("1001"), office.phone("1002"));
    office.register(&benito);
    let mut caller = office.call(&ana, "1002", Some(&sdp("10.0.0.11", 30_000, "0", "sendrecv")));
    let callee = office.rung(&benito);
    office.answer(&callee, 200, Some(&sdp("10.0.0.12", 31_000, "0", "sendrecv")));
    let ok = office.last(&ana);
    office.heard(&benito);
    office.crash();
    assert_eq!((office.summary(&ana).as_str(), office.summary(&benito).as_str()), ("BYE", "BYE"));
    office.acknowledge(&mut caller, &ok, None);
    assert!(office.heard(&ana).is_empty());
}

#[test]
fn a_call_that_was_held_before_the_crash_gets_one_bye_at_each_phone() {
    let mut office = Office::open();
    let (mut caller, callee) = connected(&mut office);
    office.within(&mut caller, "INVITE", "", Some(&sdp("10.0.0.11", 30_000, "0 8 101", "sendrecv")));
    let ok = office.last(&caller.phone);
    office.ack_within(&caller, &ok, None);
    office.crash();
    assert_eq!(
        (office.summary(&caller.phone).as_str(), office.summary(&callee.phone).as_str()),
        ("BYE", "BYE")
    );
}

#[test]
fn a_phone_whose_bye_was_lost_is_told_again_after_a_crash() {
    let mut office = Office::open();
    let (mut caller, callee) = connected(&mut office);
    office.within(&mut caller, "BYE", "", None);
    assert_eq!(office.summary(&callee.phone), "BYE", "which gets lost on its way");
    office.crash();
    let bye = office.heard(&callee.phone).into_iter().find(|m| m.method().as_str() == "BYE");
    let bye = bye.expect("nobody else would tell it"); // DESIGN: calls that were up get a BYE to both phones
    assert_eq!(bye.call_id(), callee.call_id);
    office.respond(&callee, &bye, 200, "", None);
    let gone = office.last(&caller.phone);
    office.respond(&caller, &gone, 481, "", None); // it knows already
    assert_eq!(office.records().len(), 1);
    office.is_at_rest();
}

#[test]
fn the_record_waits_for_the_answer_to_bye_but_not_for_a_phone_that_is_gone() {
    let mut office = Office::open();
    let (mut caller, callee) = connected(&mut office);
    office.within(&mut caller, "BYE", "", None);
    assert!(office.records().is_empty());
    let bye = office.last(&callee.phone);
    office.respond(&callee, &bye, 200, "", None);
    assert_eq!(office.record().cause, Some(Cause::Completed), "at once");
    let ended = office.record().ended_at;
    office.crash();
    assert!(office.heard(&callee.phone).is_empty(), "it has heard, and so it is not told again");
    assert_eq!(office.record().ended_at, ended);

    let (mut caller, callee) = connected(&mut office);
    let before = office.now().wall;
    office.within(&mut caller, "BYE", "", None);
    office.pass(Duration::from_secs(3));
    assert_eq!(office.records().len(), 2, "a phone that is gone holds no record up");
    assert_eq!(office.records()[1].ended_at, Some(before), "and the record says when the call ended");
    office.heard(&callee.phone);
    office.is_at_rest();
}
