//! Follow-me and forwarding to numbers outside: each has a way of its own, and what nobody answers leaves nothing behind.

use std::time::Duration;

use centralita_switch::{Command, Reply};
use model::{
    CallDirection, CallStatus, CallerId, Cause, Change, DialledNumber, FollowMe, FollowMode, FollowStep,
    Forwarding, Trunk,
};
use sip::HeaderName;

use crate::office::carrier::{carrier, did, trunk};
use crate::office::line::Line;
use crate::office::sdp::sdp;
use crate::office::{Office, Phone};

const MOBILE: &str = "+34612345678";
const HOME: &str = "+34912345678";

fn offer() -> String {
    sdp("10.0.0.11", 30_000, "0 8", "sendrecv")
}

fn answer() -> String {
    sdp("10.9.0.1", 40_000, "0 8", "sendrecv")
}

/// 1001 calls 1002, whose owner is looked for at these numbers; 1003 has a phone too.
fn office(trunks: &[Trunk], alive: &[u8], mode: FollowMode, numbers: &[(&str, u16)]) -> (Office, [Phone; 3]) {
    let mut office = Office::open();
    let phones = ["1001", "1002", "1003"].map(|number| office.phone(number));
    for phone in &phones {
        office.register(phone);
    }
    for trunk in trunks {
        office.add_trunk(trunk, alive);
    }
    let step = |(number, ring_seconds): &(&str, u16)| FollowStep {
        number: DialledNumber::parse(number).unwrap(),
        ring_seconds: *ring_seconds,
    };
    let numbers = numbers.iter().map(step).collect();
    office.change_extension("1002", |e| e.follow_me = Some(FollowMe { mode, numbers }));
    (office, phones)
}

/// The calls that a trunk carries now.
fn channels(office: &mut Office) -> u32 {
    match office.ask(Command::Trunks) {
        Reply::Trunks(all) => all[0].calls,
        other => panic!("{other:?}"),
    }
}

/// The INVITEs that a carrier has heard, by the number that they call.
fn called(office: &mut Office, n: u8, number: &str) -> Line {
    let mut found = None;
    for message in office.carried(n) {
        let is_it = message.method().as_str() == "INVITE"
            && message.status().is_none()
            && message.uri().unwrap().user().as_deref() == Some(number);
        match found {
            None if is_it => found = Some(message),
            _ => office.put_back(&carrier(n), message),
        }
    }
    let invite = found.unwrap_or_else(|| panic!("carrier {n} is asked for {number}"));
    office.line_of(&carrier(n), invite)
}

// S71, S123
#[test]
fn house_and_outside_ring_at_once_and_the_one_who_answers_outside_has_the_call() {
    let numbers = [("1003", 30), (MOBILE, 30), (HOME, 30)];
    let (mut office, [ana, _, carla]) =
        office(&[trunk("one", &[1])], &[1], FollowMode::Simultaneous, &numbers);
    let mut caller = office.call(&ana, "1002", Some(&offer()));
    let inside = office.rung(&carla);
    let (mobile, home) = (called(&mut office, 1, MOBILE), called(&mut office, 1, HOME));
    assert_ne!(mobile.call_id, home.call_id);
    assert_eq!(channels(&mut office), 2);
    for line in [&inside, &mobile, &home] {
        office.answer(line, 180, None);
    }
    office.answer(&mobile, 200, Some(&answer()));
    let ok = office.last(&ana);
    office.acknowledge(&mut caller, &ok, None);
    assert_eq!(office.summary(&carla), "CANCEL");
    assert_eq!(channels(&mut office), 1, "the line that was not answered is free");
    let heard = office.carried(1);
    let cancel = heard.iter().find(|m| m.method().as_str() == "CANCEL").expect("the other is cancelled");
    assert_eq!(cancel.call_id(), home.call_id.as_str());
    assert_eq!(heard.len(), 2, "CANCEL, and the ACK of the answer");
    // The other was answered at the same moment: it is told that nobody wants it any more.
    office.answer(&home, 200, Some(&answer()));
    assert_eq!(office.carried_in_short(1), "ACK BYE");
    assert_eq!(office.status().active_calls, 1);
    office.within(&mut caller, "BYE", "", None);
    let bye = office.carried(1).pop().unwrap();
    assert_eq!(bye.call_id(), mobile.call_id.as_str());
    office.respond(&mobile, &bye, 200, "", None);
    let record = office.record();
    assert_eq!((record.status, record.legs.len()), (CallStatus::Completed, 4));
    assert_eq!(record.direction, CallDirection::Outbound);
    assert_eq!(channels(&mut office), 0);
    office.change(vec![Change::TrunkGone(trunk("one", &[1]).id)]);
    office.is_at_rest();
}

// S71
#[test]
fn a_phone_of_the_house_that_answers_first_leaves_no_line_in_use() {
    let (mut office, [ana, _, carla]) =
        office(&[trunk("one", &[1])], &[1], FollowMode::Simultaneous, &[(MOBILE, 30), ("1003", 30)]);
    let mut caller = office.call(&ana, "1002", Some(&offer()));
    let (inside, mobile) = (office.rung(&carla), called(&mut office, 1, MOBILE));
    office.answer(&mobile, 180, None);
    office.answer(&inside, 200, Some(&answer()));
    let ok = office.last(&ana);
    office.acknowledge(&mut caller, &ok, None);
    assert_eq!(office.carried_in_short(1), "CANCEL");
    assert_eq!(channels(&mut office), 0);
    office.answer(&mobile, 487, None);
    office.within(&mut caller, "BYE", "", None);
    office.pass_with(Duration::from_secs(3), &[1]);
    assert_eq!(office.record().direction, CallDirection::Internal);
}

// S71, S123
#[test]
fn numbers_outside_are_rung_one_after_the_other_each_for_its_time_and_by_every_host() {
    let (mut office, [ana, _, carla]) = office(
        &[trunk("one", &[1, 2])],
        &[1, 2],
        FollowMode::Sequential,
        &[(MOBILE, 10), (HOME, 10), ("1003", 10)],
    );
    let mut caller = office.call(&ana, "1002", Some(&offer()));
    let first = called(&mut office, 1, MOBILE);
    office.answer(&first, 503, None);
    let second = called(&mut office, 2, MOBILE); // the next host of the same number
    office.answer(&second, 180, None);
    assert_eq!(channels(&mut office), 1);
    office.pass_with(Duration::from_secs(10), &[1, 2]);
    assert!(office.carried_in_short(2).contains("CANCEL"), "its time is over");
    office.answer(&second, 487, None);
    let home = called(&mut office, 1, HOME);
    assert_eq!(channels(&mut office), 1);
    office.answer(&home, 603, None); // speaks of that number only
    let inside = office.rung(&carla);
    assert_eq!(channels(&mut office), 0);
    office.answer(&inside, 200, Some(&answer()));
    let ok = office.last(&ana);
    office.acknowledge(&mut caller, &ok, None);
    office.within(&mut caller, "BYE", "", None);
    office.pass_with(Duration::from_secs(3), &[1, 2]);
    assert_eq!(office.record().legs.len(), 5);
}

// S71
#[test]
fn nobody_answers_anywhere_and_the_caller_is_told_once() {
    let (mut office, [ana, _, carla]) =
        office(&[trunk("one", &[1])], &[1], FollowMode::Simultaneous, &[(MOBILE, 10), ("1003", 30)]);
    let caller = office.call(&ana, "1002", Some(&offer()));
    let (inside, mobile) = (office.rung(&carla), called(&mut office, 1, MOBILE));
    office.answer(&inside, 486, None);
    assert_eq!(office.summary(&ana), "100", "one is still being called");
    office.answer(&mobile, 404, None);
    let refusal = office.last(&ana);
    office.ack_refusal(&caller, &refusal);
    assert_eq!(refusal.status(), Some(486), "busy says more than a number that nobody has");
    assert_eq!((office.record().cause, channels(&mut office)), (Some(Cause::Busy), 0));
    office.change(vec![Change::TrunkGone(trunk("one", &[1]).id)]);
    office.is_at_rest();
}

// S71
#[test]
fn a_caller_who_gives_up_frees_every_line() {
    let (mut office, [ana, ..]) =
        office(&[trunk("one", &[1])], &[1], FollowMode::Simultaneous, &[(MOBILE, 30), (HOME, 30)]);
    let caller = office.call(&ana, "1002", Some(&offer()));
    let lines = [called(&mut office, 1, MOBILE), called(&mut office, 1, HOME)];
    for line in &lines {
        office.answer(line, 180, None);
    }
    office.cancel(&caller);
    assert_eq!(office.carried_in_short(1), "CANCEL CANCEL");
    for line in &lines {
        office.answer(line, 487, None);
    }
    assert_eq!((office.record().cause, channels(&mut office)), (Some(Cause::Cancelled), 0));
    office.change(vec![Change::TrunkGone(trunk("one", &[1]).id)]);
    office.is_at_rest();
}

// S29, S71: the same limits as any call
#[test]
fn a_number_for_which_no_line_is_left_is_not_rung_and_one_that_waits_for_its_turn_is_forgotten_in_time() {
    let mut one = trunk("one", &[1]);
    one.settings.max_channels = Some(1);
    let numbers = [(MOBILE, 30), (HOME, 30)];
    let (mut office, [ana, ..]) = office(&[one.clone()], &[1], FollowMode::Simultaneous, &numbers);
    let caller = office.call(&ana, "1002", Some(&offer()));
    let mobile = called(&mut office, 1, MOBILE);
    assert_eq!(office.carried_in_short(1), "");
    office.answer(&mobile, 486, None);
    let refusal = office.last(&ana);
    office.ack_refusal(&caller, &refusal);
    assert!(office.why().contains("the channels of one are used up"), "{}", office.why());
    assert_eq!(office.carried_in_short(1), "ACK");

    (one.settings.max_channels, one.settings.calls_per_second) = (None, Some(1));
    office.add_trunk(&one, &[1]);
    let mut caller = office.call(&ana, "1002", Some(&offer()));
    let mobile = called(&mut office, 1, MOBILE);
    assert_eq!(channels(&mut office), 2, "one rings, one waits for its turn");
    office.answer(&mobile, 200, Some(&answer()));
    let ok = office.last(&ana);
    office.acknowledge(&mut caller, &ok, None);
    assert_eq!(channels(&mut office), 1);
    office.pass_with(Duration::from_secs(3), &[1]);
    assert_eq!(office.carried_in_short(1), "ACK", "the other number is not called any more");
}

// security.md row 7, S188
#[test]
fn what_may_not_be_dialled_is_left_out_with_its_reason_and_the_carrier_hears_nothing_of_it() {
    let numbers = [("+8816123456789", 10), ("+34803123456", 10), ("112", 10), (MOBILE, 10)];
    let (mut office, [ana, ..]) = office(&[trunk("one", &[1])], &[1], FollowMode::Simultaneous, &numbers);
    let caller = office.call(&ana, "1002", Some(&offer()));
    let mobile = called(&mut office, 1, MOBILE);
    assert_eq!(office.carried_in_short(1), "");
    office.answer(&mobile, 486, None);
    let refusal = office.last(&ana);
    office.ack_refusal(&caller, &refusal);
    for step in ["+8816123456789 is not rung: number_blocked", "+34803123456 is not rung: number_blocked"] {
        assert!(office.why().contains(step), "{step} in {}", office.why());
    }
    assert!(office.why().contains("112 is not rung: emergency_not_allowed"));
    assert_eq!(office.carried_in_short(1), "ACK");
    // An extension that may not dial abroad is not followed there either.
    office.change_extension("1002", |e| e.dial_permissions.international = false);
    let caller = office.call(&ana, "1002", Some(&offer()));
    let refusal = office.last(&ana);
    office.ack_refusal(&caller, &refusal);
    assert_eq!(refusal.status(), Some(403));
    assert_eq!(office.carried_in_short(1), "");
}

// security.md row 7: no rewriting opens what the policy shuts
#[test]
fn what_a_trunks_prefixes_make_of_a_number_is_judged_again() {
    let mut strips = trunk("one", &[1]);
    strips.settings.strip_prefix = Some(DialledNumber::parse("34").unwrap());
    let mut adds = trunk("one", &[1]);
    adds.settings.add_prefix = Some(DialledNumber::parse("+882").unwrap());
    let mut writes = trunk("one", &[1]);
    writes.settings.strip_prefix = Some(DialledNumber::parse("34").unwrap());
    writes.settings.number_format = model::NumberFormat::Dialled;
    for (one, number) in [
        (&strips, "348821312345"),  // → +8821312345, a satellite
        (&strips, "3419005551234"), // → +19005551234, premium
        (&adds, "1312345"),         // → +8821312345
        (&writes, "348821312345"),
    ] {
        let (mut office, [ana, ..]) =
            office(std::slice::from_ref(one), &[1], FollowMode::Sequential, &[(number, 10)]);
        let caller = office.call(&ana, number, Some(&offer()));
        let refusal = office.last(&ana);
        office.ack_refusal(&caller, &refusal);
        assert_eq!(refusal.status(), Some(403), "{number}");
        assert!(refusal.header(HeaderName::Reason).unwrap().contains("blocked"), "{number}");
        let caller = office.call(&ana, "1002", Some(&offer())); // and by a follow-me
        let refusal = office.last(&ana);
        office.ack_refusal(&caller, &refusal);
        assert_eq!(refusal.status(), Some(403), "{number}");
        office.pass_with(Duration::from_secs(5), &[1]);
        assert_eq!(office.carried_in_short(1), "", "{number}");
    }
    // What they make of other numbers does go out, and a trunk that rewrites nothing carries what this one does not.
    let (mut office, [ana, ..]) = office(&[strips], &[1], FollowMode::Sequential, &[(MOBILE, 10)]);
    office.call(&ana, "3433142000000", Some(&offer()));
    assert_eq!(office.invited(1).invite.uri().unwrap().user().as_deref(), Some("+33142000000"));
}

// security.md row 7
#[test]
fn prefixes_that_a_trunk_is_given_while_a_call_is_on_its_way_are_judged_too() {
    let mut second = trunk("two", &[2]);
    second.priority = 20;
    let trunks = [trunk("one", &[1]), second.clone()];
    let (mut office, [ana, ..]) = office(&trunks, &[1, 2], FollowMode::Sequential, &[(MOBILE, 10)]);
    let caller = office.call(&ana, "+348821312345", Some(&offer()));
    let first = office.invited(1);
    second.settings.strip_prefix = Some(DialledNumber::parse("+34").unwrap());
    office.add_trunk(&second, &[1, 2]);
    office.answer(&first, 503, None);
    let refusal = office.last(&ana);
    office.ack_refusal(&caller, &refusal);
    assert_eq!(refusal.status(), Some(503));
    assert_eq!(office.carried_in_short(2), "");
    assert!(office.why().contains("two no longer carries this number"), "{}", office.why());
}

/// 1002 forwards everything to a number outside.
fn forwarding(one: &Trunk) -> (Office, Phone) {
    let mut office = Office::open();
    let ana = office.phone("1001");
    office.register(&ana);
    office.add_trunk(one, &[1]);
    let number = Some(DialledNumber::parse(MOBILE).unwrap());
    office.change_extension("1002", |e| {
        e.forwarding = Forwarding { enabled: true, number, ..Forwarding::default() };
    });
    (office, ana)
}

// S71, S107
#[test]
fn a_forwarded_call_shows_the_number_of_who_forwards_and_tells_of_it_only_where_the_trunk_allows() {
    let mut one = trunk("one", &[1]);
    one.settings.caller_id = CallerId::Own;
    one.settings.dids = vec![did("+34911000001", Some("1001")), did("+34911000002", Some("1002"))];
    let (mut office, ana) = forwarding(&one);
    office.call(&ana, "1002", Some(&offer()));
    let invite = office.invited(1).invite;
    assert!(
        invite.header(HeaderName::From).unwrap().starts_with("<sip:+34911000002@10.9.0.1>"),
        "{invite:?}"
    );
    assert_eq!(invite.header_named("P-Asserted-Identity"), Some("<sip:+34911000002@10.9.0.1>"));
    assert_eq!((invite.header_named("Diversion"), invite.header_named("History-Info")), (None, None));

    one.settings.diversion = true;
    let (mut office, ana) = forwarding(&one);
    office.call(&ana, "1002", Some(&offer()));
    let invite = office.invited(1).invite;
    assert_eq!(
        invite.header_named("Diversion"),
        Some("<sip:+34911000002@localhost>;reason=unconditional;counter=1;privacy=off")
    );
    assert_eq!(
        invite.header_named("History-Info"),
        Some("<sip:+34911000002@localhost>;index=1, <sip:+34612345678@10.9.0.1;cause=302>;index=1.1;mp=1")
    );
    // A call that nobody forwarded tells of nothing, and shows its caller's number.
    office.call(&ana, HOME, Some(&offer()));
    let invite = office.invited(1).invite;
    assert!(invite.header(HeaderName::From).unwrap().starts_with("<sip:+34911000001@localhost>"));
    assert_eq!(invite.header_named("Diversion"), None);
}

// S71
#[test]
fn a_carrier_never_learns_the_inner_numbers_of_a_calls_way() {
    let mut one = trunk("one", &[1]);
    one.settings.diversion = true;
    let (mut office, ana) = forwarding(&one);
    let number = Some(DialledNumber::parse("1002").unwrap());
    office.change_extension("1003", |e| {
        e.forwarding = Forwarding { enabled: true, number, ..Forwarding::default() };
    });
    office.call(&ana, "1003", Some(&offer()));
    let invite = office.invited(1).invite;
    assert_eq!(
        invite.header_named("Diversion"),
        Some("<sip:+34910000000@localhost>;reason=unconditional;counter=2;privacy=off"),
        "two of them, under the trunk's own number"
    );
    let text = String::from_utf8_lossy(invite.bytes()).into_owned();
    for inner in ["1001", "1002@", "1003@"] {
        assert!(!text.contains(inner), "{inner} in {text}");
    }
}

#[test]
fn a_refused_call_gives_its_line_back() {
    let mut one = trunk("one", &[1]);
    one.settings.max_channels = Some(1);
    let (mut office, ana) = forwarding(&one);
    for round in 0..3 {
        let caller = office.call(&ana, HOME, Some(&offer()));
        let callee = office.invited(1);
        office.answer(&callee, 486, None);
        let refusal = office.last(&ana);
        assert_eq!(refusal.status(), Some(486), "round {round}");
        office.ack_refusal(&caller, &refusal);
        office.carried(1);
        assert_eq!(channels(&mut office), 0);
    }
}

#[test]
fn a_carriers_call_that_goes_to_voicemail_still_takes_up_its_line() {
    let mut one = trunk("one", &[1]);
    one.settings.sources = vec![crate::office::carrier::source("10.9.0.1")];
    one.settings.default_extension = Some(model::ExtensionNumber::parse("1002").unwrap());
    let (mut office, _) = forwarding(&one);
    office.change_extension("1002", |e| e.voicemail_enabled = true);
    office.deliver(&carrier(1), "sip:+34910000000@10.0.0.1", "+33142000000", &offer());
    let out = called(&mut office, 1, MOBILE);
    assert_eq!(channels(&mut office), 2, "it came in by the trunk and goes out by it");
    office.answer(&out, 486, None);
    assert_eq!(channels(&mut office), 1, "voicemail has the caller");
}
