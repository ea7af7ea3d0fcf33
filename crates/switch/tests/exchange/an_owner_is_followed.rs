//! Follow-me: the owner of an extension is looked for at several numbers.

use std::time::Duration;

use model::{CallStatus, Cause, DialledNumber, FollowMe, FollowMode, FollowStep, ForwardingMode};

use crate::office::sdp::sdp;
use crate::office::{Office, Phone};

const OFFER: fn() -> String = || sdp("10.0.0.11", 30_000, "0", "sendrecv");
const ANSWER: fn() -> String = || sdp("10.0.0.13", 31_000, "0", "sendrecv");

/// 1001 calls 1002, whose owner is looked for at these numbers.
fn office(mode: FollowMode, numbers: &[(&str, u16)]) -> (Office, Phone, Phone, Phone, Phone) {
    let mut office = Office::open();
    let dora = office.hire("1004", "dora");
    let phones = ["1001", "1002", "1003"].map(|number| office.phone(number));
    for phone in phones.iter().chain([&dora]) {
        office.register(phone);
    }
    let step = |(number, ring_seconds): &(&str, u16)| FollowStep {
        number: DialledNumber::parse(number).unwrap(),
        ring_seconds: *ring_seconds,
    };
    let numbers = numbers.iter().map(step).collect();
    office.change_extension("1002", |e| e.follow_me = Some(FollowMe { mode, numbers }));
    let [ana, benito, carla] = phones;
    (office, ana, benito, carla, dora)
}

#[test]
fn one_number_rings_after_the_other_and_the_first_answer_has_the_call() {
    let (mut office, ana, benito, carla, dora) =
        office(FollowMode::Sequential, &[("1002", 10), ("1003", 15), ("1004", 20)]);
    let mut line = office.call(&ana, "1002", Some(&OFFER()));
    let own = office.rung(&benito);
    assert_eq!(own.invite.header_named("Diversion"), None, "its own phone is no diversion");
    office.answer(&own, 180, None);
    assert!(office.heard(&carla).is_empty() && office.heard(&dora).is_empty());
    office.pass(Duration::from_secs(10));
    assert_eq!(office.last(&benito).method().as_str(), "CANCEL");
    office.answer(&own, 487, None);
    let second = office.rung(&carla);
    assert!(
        second.invite.header_named("Diversion").unwrap().contains("<sip:1002@localhost>;reason=follow-me")
    );
    office.answer(&second, 486, None); // busy: the next one at once
    let third = office.rung(&dora);
    office.pass(Duration::from_secs(19));
    office.answer(&third, 200, Some(&ANSWER()));
    let ok = office.last(&ana);
    office.acknowledge(&mut line, &ok, None);
    office.heard(&dora);
    office.within(&mut line, "BYE", "", None);
    let bye = office.last(&dora);
    office.respond(&third, &bye, 200, "", None);
    let record = office.record();
    assert_eq!((record.status, record.legs.len()), (CallStatus::Completed, 4));
    assert!(office.why().contains("follow_me: 1002 is looked for at 3 numbers, one after the other"));
    office.is_at_rest();
}

#[test]
fn all_numbers_ring_at_once_each_for_its_time_and_the_losers_are_cancelled() {
    let (mut office, ana, benito, carla, dora) =
        office(FollowMode::Simultaneous, &[("1002", 30), ("1003", 8), ("1004", 30)]);
    let mut line = office.call(&ana, "1002", Some(&OFFER()));
    let (own, second, third) = (office.rung(&benito), office.rung(&carla), office.rung(&dora));
    for rung in [&own, &second, &third] {
        office.answer(rung, 180, None);
    }
    office.pass(Duration::from_secs(8));
    assert_eq!(office.summary(&carla), "CANCEL", "its time is over");
    office.answer(&second, 487, None);
    assert!(office.heard(&benito).is_empty() && office.heard(&dora).is_empty(), "theirs is not");
    office.answer(&own, 486, None);
    assert_eq!(office.summary(&ana), "100 180", "one still rings");
    office.answer(&third, 200, Some(&ANSWER()));
    let ok = office.last(&ana);
    office.acknowledge(&mut line, &ok, None);
    assert_eq!(office.status().active_calls, 1);
    office.heard(&dora);
    office.within(&mut line, "BYE", "", None);
    let bye = office.last(&dora);
    office.respond(&third, &bye, 200, "", None);
    office.is_at_rest();
}

#[test]
fn whoever_answers_first_of_two_has_the_call_and_the_other_is_told_goodbye() {
    let (mut office, ana, benito, carla, _) = office(FollowMode::Simultaneous, &[("1002", 30), ("1003", 30)]);
    office.call(&ana, "1002", Some(&OFFER()));
    let (own, second) = (office.rung(&benito), office.rung(&carla));
    office.answer(&own, 180, None);
    office.answer(&second, 200, Some(&ANSWER()));
    assert_eq!(office.last(&ana).status(), Some(200));
    assert_eq!(office.summary(&benito), "CANCEL");
    office.answer(&own, 200, Some(&ANSWER()));
    assert_eq!(office.summary(&benito), "ACK BYE");
    assert_eq!(office.summary(&carla), "ACK");
    assert_eq!(office.status().active_calls, 1);
}

#[test]
fn an_owner_who_is_nowhere_is_forwarded_like_any_other() {
    let (mut office, ana, _, carla, dora) = office(FollowMode::Sequential, &[("1003", 10)]);
    let forwarding = model::Forwarding {
        enabled: true,
        number: Some(DialledNumber::parse("1004").unwrap()),
        mode: ForwardingMode::NoAnswer,
    };
    office.change_extension("1002", |e| e.forwarding = forwarding);
    office.call(&ana, "1002", Some(&OFFER()));
    let rung = office.rung(&carla);
    office.answer(&rung, 180, None);
    office.pass(Duration::from_secs(10));
    assert_eq!(office.last(&carla).method().as_str(), "CANCEL");
    office.answer(&rung, 487, None);
    let rung = office.rung(&dora);
    let way = rung.invite.header_named("Diversion").unwrap();
    assert!(way.contains("<sip:1002@localhost>;reason=no-answer"), "{way}");
}

#[test]
fn what_may_not_be_dialled_or_wants_no_call_is_left_out() {
    let (mut office, ana, benito, carla, _) = office(
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
    office.change_extension("1004", |e| e.do_not_disturb = true);
    let forwarding = model::Forwarding {
        enabled: true,
        number: Some(DialledNumber::parse("1002").unwrap()),
        ..Default::default()
    };
    office.change_extension("1003", |e| e.forwarding = forwarding); // which follow-me does not ask about
    let line = office.call(&ana, "1002", Some(&OFFER()));
    let rung = office.rung(&carla);
    assert!(office.heard(&benito).is_empty(), "it is not among the numbers");
    office.answer(&rung, 180, None);
    office.pass(Duration::from_secs(10));
    office.answer(&rung, 487, None);
    let refusal = office.last(&ana);
    office.ack_refusal(&line, &refusal);
    assert_eq!(refusal.status(), Some(480));
    assert_eq!(office.record().cause, Some(Cause::NoAnswer));
    for step in [
        "blocked: ",
        "emergency: ",
        "follow_me: 1004 takes no call now",
        "follow_me: 1001 has had this call already",
    ] {
        assert!(office.why().contains(step), "{step} in {}", office.why());
    }
    office.is_at_rest();
}

#[test]
fn a_decline_ends_the_search_and_a_caller_who_gives_up_ends_it_too() {
    let (mut office, ana, _, carla, dora) = office(FollowMode::Sequential, &[("1003", 10), ("1004", 10)]);
    let line = office.call(&ana, "1002", Some(&OFFER()));
    let rung = office.rung(&carla);
    office.answer(&rung, 603, None);
    let refusal = office.last(&ana);
    assert_eq!(refusal.status(), Some(603));
    office.ack_refusal(&line, &refusal);
    assert!(office.heard(&dora).is_empty());
    office.heard(&carla);
    let line = office.call(&ana, "1002", Some(&OFFER()));
    let rung = office.rung(&carla);
    office.answer(&rung, 180, None);
    office.cancel(&line);
    assert_eq!(office.last(&carla).method().as_str(), "CANCEL");
    office.answer(&rung, 487, None);
    office.pass(Duration::from_secs(60));
    assert!(office.heard(&dora).is_empty());
    assert_eq!(office.records().pop().unwrap().cause, Some(Cause::Cancelled));
}
