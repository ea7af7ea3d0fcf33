//! Follow-me: a call to an extension rings several numbers.

use std::time::Duration;

use model::{CallStatus, Cause, DialledNumber, FollowMe, FollowMode, FollowStep, ForwardingMode};

use crate::test_switch::sdp::sdp;
use crate::test_switch::{Phone, TestSwitch};

const OFFER: fn() -> String = || sdp("10.0.0.11", 30_000, "0", "sendrecv");
const ANSWER: fn() -> String = || sdp("10.0.0.13", 31_000, "0", "sendrecv");

/// 1001 calls 1002, whose follow-me rings these numbers.
fn setup(mode: FollowMode, numbers: &[(&str, u16)]) -> (TestSwitch, Phone, Phone, Phone, Phone) {
    let mut pbx = TestSwitch::open();
    let dora = pbx.add_extension("1004", "dora");
    let phones = ["1001", "1002", "1003"].map(|number| pbx.phone(number));
    for phone in phones.iter().chain([&dora]) {
        pbx.register(phone);
    }
    let step = |(number, ring_seconds): &(&str, u16)| FollowStep {
        number: DialledNumber::parse(number).unwrap(),
        ring_seconds: *ring_seconds,
    };
    let numbers = numbers.iter().map(step).collect();
    pbx.change_extension("1002", |e| e.follow_me = Some(FollowMe { mode, numbers }));
    let [ana, benito, carla] = phones;
    (pbx, ana, benito, carla, dora)
}

#[test]
fn numbers_ring_in_sequence_and_the_first_answer_wins() {
    let (mut pbx, ana, benito, carla, dora) =
        setup(FollowMode::Sequential, &[("1002", 10), ("1003", 15), ("1004", 20)]);
    let mut dialog = pbx.call(&ana, "1002", Some(&OFFER()));
    let own = pbx.expect_invite(&benito);
    assert_eq!(own.invite.header_named("Diversion"), None, "its own phone is no diversion");
    pbx.answer(&own, 180, None);
    assert!(pbx.received(&carla).is_empty() && pbx.received(&dora).is_empty());
    pbx.advance(Duration::from_secs(10));
    assert_eq!(pbx.last(&benito).method().as_str(), "CANCEL");
    pbx.answer(&own, 487, None);
    let second = pbx.expect_invite(&carla);
    assert!(
        second.invite.header_named("Diversion").unwrap().contains("<sip:1002@localhost>;reason=follow-me")
    );
    pbx.answer(&second, 486, None); // busy: the next one at once
    let third = pbx.expect_invite(&dora);
    pbx.advance(Duration::from_secs(19));
    pbx.answer(&third, 200, Some(&ANSWER()));
    let ok = pbx.last(&ana);
    pbx.send_ack(&mut dialog, &ok, None);
    pbx.received(&dora);
    pbx.in_dialog_request(&mut dialog, "BYE", "", None);
    let bye = pbx.last(&dora);
    pbx.respond(&third, &bye, 200, "", None);
    let record = pbx.record();
    assert_eq!((record.status, record.legs.len()), (CallStatus::Completed, 4));
    assert!(pbx.trace().contains("follow_me: 1002 is looked for at 3 numbers, one after the other"));
    pbx.assert_idle();
}

#[test]
fn numbers_ring_simultaneously_each_for_its_time_and_the_others_are_cancelled() {
    let (mut pbx, ana, benito, carla, dora) =
        setup(FollowMode::Simultaneous, &[("1002", 30), ("1003", 8), ("1004", 30)]);
    let mut dialog = pbx.call(&ana, "1002", Some(&OFFER()));
    let (own, second, third) =
        (pbx.expect_invite(&benito), pbx.expect_invite(&carla), pbx.expect_invite(&dora));
    for leg in [&own, &second, &third] {
        pbx.answer(leg, 180, None);
    }
    pbx.advance(Duration::from_secs(8));
    assert_eq!(pbx.summary(&carla), "CANCEL", "its time is over");
    pbx.answer(&second, 487, None);
    assert!(pbx.received(&benito).is_empty() && pbx.received(&dora).is_empty(), "theirs is not");
    pbx.answer(&own, 486, None);
    assert_eq!(pbx.summary(&ana), "100 180", "one still rings");
    pbx.answer(&third, 200, Some(&ANSWER()));
    let ok = pbx.last(&ana);
    pbx.send_ack(&mut dialog, &ok, None);
    assert_eq!(pbx.status().active_calls, 1);
    pbx.received(&dora);
    pbx.in_dialog_request(&mut dialog, "BYE", "", None);
    let bye = pbx.last(&dora);
    pbx.respond(&third, &bye, 200, "", None);
    pbx.assert_idle();
}

#[test]
fn of_two_simultaneous_answers_the_first_wins_and_the_other_gets_bye() {
    let (mut pbx, ana, benito, carla, _) = setup(FollowMode::Simultaneous, &[("1002", 30), ("1003", 30)]);
    pbx.call(&ana, "1002", Some(&OFFER()));
    let (own, second) = (pbx.expect_invite(&benito), pbx.expect_invite(&carla));
    pbx.answer(&own, 180, None);
    pbx.answer(&second, 200, Some(&ANSWER()));
    assert_eq!(pbx.last(&ana).status(), Some(200));
    assert_eq!(pbx.summary(&benito), "CANCEL");
    pbx.answer(&own, 200, Some(&ANSWER()));
    assert_eq!(pbx.summary(&benito), "ACK BYE");
    assert_eq!(pbx.summary(&carla), "ACK");
    assert_eq!(pbx.status().active_calls, 1);
}

#[test]
fn find_me_without_answer_falls_back_to_forwarding() {
    let (mut pbx, ana, _, carla, dora) = setup(FollowMode::Sequential, &[("1003", 10)]);
    let forwarding = model::Forwarding {
        enabled: true,
        number: Some(DialledNumber::parse("1004").unwrap()),
        mode: ForwardingMode::NoAnswer,
    };
    pbx.change_extension("1002", |e| e.forwarding = forwarding);
    pbx.call(&ana, "1002", Some(&OFFER()));
    let leg = pbx.expect_invite(&carla);
    pbx.answer(&leg, 180, None);
    pbx.advance(Duration::from_secs(10));
    assert_eq!(pbx.last(&carla).method().as_str(), "CANCEL");
    pbx.answer(&leg, 487, None);
    let leg = pbx.expect_invite(&dora);
    let way = leg.invite.header_named("Diversion").unwrap();
    assert!(way.contains("<sip:1002@localhost>;reason=no-answer"), "{way}");
}

#[test]
fn a_forbidden_or_do_not_disturb_number_is_skipped() {
    let (mut pbx, ana, benito, carla, _) = setup(
        FollowMode::Sequential,
        &[
            ("+8816123456789", 10),
            ("112", 10),
            ("1004", 10),
            ("*43", 10),
            ("1777", 10),
            ("1001", 10),
            ("1003", 10),
        ],
    );
    pbx.change_extension("1004", |e| e.do_not_disturb = true);
    let forwarding = model::Forwarding {
        enabled: true,
        number: Some(DialledNumber::parse("1002").unwrap()),
        ..Default::default()
    };
    pbx.change_extension("1003", |e| e.forwarding = forwarding); // which follow-me ignores
    let dialog = pbx.call(&ana, "1002", Some(&OFFER()));
    let leg = pbx.expect_invite(&carla);
    assert!(pbx.received(&benito).is_empty(), "it is not among the numbers");
    pbx.answer(&leg, 180, None);
    pbx.advance(Duration::from_secs(10));
    pbx.answer(&leg, 487, None);
    let rejection = pbx.last(&ana);
    pbx.ack_error(&dialog, &rejection);
    assert_eq!(rejection.status(), Some(480));
    assert_eq!(pbx.record().cause, Some(Cause::NoAnswer));
    for step in [
        "blocked: ",
        "emergency: ",
        "follow_me: 1004 takes no call now",
        "follow_me: 1001 has had this call already",
    ] {
        assert!(pbx.trace().contains(step), "{step} in {}", pbx.trace());
    }
    pbx.assert_idle();
}

#[test]
fn a_decline_or_a_cancel_ends_find_me() {
    let (mut pbx, ana, _, carla, dora) = setup(FollowMode::Sequential, &[("1003", 10), ("1004", 10)]);
    let dialog = pbx.call(&ana, "1002", Some(&OFFER()));
    let leg = pbx.expect_invite(&carla);
    pbx.answer(&leg, 603, None);
    let rejection = pbx.last(&ana);
    assert_eq!(rejection.status(), Some(603));
    pbx.ack_error(&dialog, &rejection);
    assert!(pbx.received(&dora).is_empty());
    pbx.received(&carla);
    let dialog = pbx.call(&ana, "1002", Some(&OFFER()));
    let leg = pbx.expect_invite(&carla);
    pbx.answer(&leg, 180, None);
    pbx.cancel(&dialog);
    assert_eq!(pbx.last(&carla).method().as_str(), "CANCEL");
    pbx.answer(&leg, 487, None);
    pbx.advance(Duration::from_secs(60));
    assert!(pbx.received(&dora).is_empty());
    assert_eq!(pbx.records().pop().unwrap().cause, Some(Cause::Cancelled));
}
