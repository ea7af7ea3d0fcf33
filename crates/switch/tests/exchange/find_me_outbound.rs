//! Follow-me and forwarding to outside numbers: each is an outbound attempt of its own, and unanswered ones leave no state.

use std::time::Duration;

use centralita_switch::{Command, Reply};
use model::{
    CallDirection, CallStatus, CallerId, Cause, Change, DialledNumber, FollowMe, FollowMode, FollowStep,
    Forwarding, Trunk,
};
use sip::HeaderName;

use crate::test_switch::carrier::{carrier, did, trunk};
use crate::test_switch::dialog::TestDialog;
use crate::test_switch::sdp::sdp;
use crate::test_switch::{Phone, TestSwitch};

const MOBILE: &str = "+34612345678";
const HOME: &str = "+34912345678";

fn offer() -> String {
    sdp("10.0.0.11", 30_000, "0 8", "sendrecv")
}

fn answer() -> String {
    sdp("10.9.0.1", 40_000, "0 8", "sendrecv")
}

/// 1001 calls 1002, whose follow-me rings these numbers; 1003 has a phone too.
fn setup(
    trunks: &[Trunk],
    alive: &[u8],
    mode: FollowMode,
    numbers: &[(&str, u16)],
) -> (TestSwitch, [Phone; 3]) {
    let mut pbx = TestSwitch::open();
    let phones = ["1001", "1002", "1003"].map(|number| pbx.phone(number));
    for phone in &phones {
        pbx.register(phone);
    }
    for trunk in trunks {
        pbx.add_trunk(trunk, alive);
    }
    let step = |(number, ring_seconds): &(&str, u16)| FollowStep {
        number: DialledNumber::parse(number).unwrap(),
        ring_seconds: *ring_seconds,
    };
    let numbers = numbers.iter().map(step).collect();
    pbx.change_extension("1002", |e| e.follow_me = Some(FollowMe { mode, numbers }));
    (pbx, phones)
}

/// Number of channels in use on the trunk.
fn channels(pbx: &mut TestSwitch) -> u32 {
    match pbx.command(Command::Trunks) {
        Reply::Trunks(all) => all[0].calls,
        other => panic!("{other:?}"),
    }
}

/// The INVITE that a carrier has received for a number.
fn called(pbx: &mut TestSwitch, n: u8, number: &str) -> TestDialog {
    let mut found = None;
    for message in pbx.received_by_carrier(n) {
        let is_it = message.method().as_str() == "INVITE"
            && message.status().is_none()
            && message.uri().unwrap().user().as_deref() == Some(number);
        match found {
            None if is_it => found = Some(message),
            _ => pbx.put_back(&carrier(n), message),
        }
    }
    let invite = found.unwrap_or_else(|| panic!("carrier {n} is asked for {number}"));
    pbx.dialog_of(&carrier(n), invite)
}

// S71, S123
#[test]
fn phones_and_trunks_ring_at_once_and_the_outside_answer_wins() {
    let numbers = [("1003", 30), (MOBILE, 30), (HOME, 30)];
    let (mut pbx, [ana, _, carla]) = setup(&[trunk("one", &[1])], &[1], FollowMode::Simultaneous, &numbers);
    let mut caller = pbx.call(&ana, "1002", Some(&offer()));
    let inside = pbx.expect_invite(&carla);
    let (mobile, home) = (called(&mut pbx, 1, MOBILE), called(&mut pbx, 1, HOME));
    assert_ne!(mobile.call_id, home.call_id);
    assert_eq!(channels(&mut pbx), 2);
    for dialog in [&inside, &mobile, &home] {
        pbx.answer(dialog, 180, None);
    }
    pbx.answer(&mobile, 200, Some(&answer()));
    let ok = pbx.last(&ana);
    pbx.send_ack(&mut caller, &ok, None);
    assert_eq!(pbx.summary(&carla), "CANCEL");
    assert_eq!(channels(&mut pbx), 1, "the line that was not answered is free");
    let received = pbx.received_by_carrier(1);
    let cancel = received.iter().find(|m| m.method().as_str() == "CANCEL").expect("the other is cancelled");
    assert_eq!(cancel.call_id(), home.call_id.as_str());
    assert_eq!(received.len(), 2, "CANCEL, and the ACK of the answer");
    // The other was answered at the same moment: it gets BYE.
    pbx.answer(&home, 200, Some(&answer()));
    assert_eq!(pbx.carrier_summary(1), "ACK BYE");
    assert_eq!(pbx.status().active_calls, 1);
    pbx.in_dialog_request(&mut caller, "BYE", "", None);
    let bye = pbx.received_by_carrier(1).pop().unwrap();
    assert_eq!(bye.call_id(), mobile.call_id.as_str());
    pbx.respond(&mobile, &bye, 200, "", None);
    let record = pbx.record();
    assert_eq!((record.status, record.legs.len()), (CallStatus::Completed, 4));
    assert_eq!(record.direction, CallDirection::Outbound);
    assert_eq!(channels(&mut pbx), 0);
    pbx.change(vec![Change::TrunkGone(trunk("one", &[1]).id)]);
    pbx.assert_idle();
}

// S71
#[test]
fn a_phone_that_answers_first_releases_every_trunk_channel() {
    let (mut pbx, [ana, _, carla]) =
        setup(&[trunk("one", &[1])], &[1], FollowMode::Simultaneous, &[(MOBILE, 30), ("1003", 30)]);
    let mut caller = pbx.call(&ana, "1002", Some(&offer()));
    let (inside, mobile) = (pbx.expect_invite(&carla), called(&mut pbx, 1, MOBILE));
    pbx.answer(&mobile, 180, None);
    pbx.answer(&inside, 200, Some(&answer()));
    let ok = pbx.last(&ana);
    pbx.send_ack(&mut caller, &ok, None);
    assert_eq!(pbx.carrier_summary(1), "CANCEL");
    assert_eq!(channels(&mut pbx), 0);
    pbx.answer(&mobile, 487, None);
    pbx.in_dialog_request(&mut caller, "BYE", "", None);
    pbx.advance_with_probes(Duration::from_secs(3), &[1]);
    assert_eq!(pbx.record().direction, CallDirection::Internal);
}

// S71, S123
#[test]
fn outside_numbers_ring_in_sequence_each_for_its_time_and_over_every_host() {
    let (mut pbx, [ana, _, carla]) = setup(
        &[trunk("one", &[1, 2])],
        &[1, 2],
        FollowMode::Sequential,
        &[(MOBILE, 10), (HOME, 10), ("1003", 10)],
    );
    let mut caller = pbx.call(&ana, "1002", Some(&offer()));
    let first = called(&mut pbx, 1, MOBILE);
    pbx.answer(&first, 503, None);
    let second = called(&mut pbx, 2, MOBILE); // the next host of the same number
    pbx.answer(&second, 180, None);
    assert_eq!(channels(&mut pbx), 1);
    pbx.advance_with_probes(Duration::from_secs(10), &[1, 2]);
    assert!(pbx.carrier_summary(2).contains("CANCEL"), "its time is over");
    pbx.answer(&second, 487, None);
    let home = called(&mut pbx, 1, HOME);
    assert_eq!(channels(&mut pbx), 1);
    pbx.answer(&home, 603, None); // applies to that number only
    let inside = pbx.expect_invite(&carla);
    assert_eq!(channels(&mut pbx), 0);
    pbx.answer(&inside, 200, Some(&answer()));
    let ok = pbx.last(&ana);
    pbx.send_ack(&mut caller, &ok, None);
    pbx.in_dialog_request(&mut caller, "BYE", "", None);
    pbx.advance_with_probes(Duration::from_secs(3), &[1, 2]);
    assert_eq!(pbx.record().legs.len(), 5);
}

// S71
#[test]
fn without_any_answer_the_caller_gets_one_final_response() {
    let (mut pbx, [ana, _, carla]) =
        setup(&[trunk("one", &[1])], &[1], FollowMode::Simultaneous, &[(MOBILE, 10), ("1003", 30)]);
    let caller = pbx.call(&ana, "1002", Some(&offer()));
    let (inside, mobile) = (pbx.expect_invite(&carla), called(&mut pbx, 1, MOBILE));
    pbx.answer(&inside, 486, None);
    assert_eq!(pbx.summary(&ana), "100", "one is still being called");
    pbx.answer(&mobile, 404, None);
    let rejection = pbx.last(&ana);
    pbx.ack_error(&caller, &rejection);
    assert_eq!(rejection.status(), Some(486), "486 takes precedence over 404");
    assert_eq!((pbx.record().cause, channels(&mut pbx)), (Some(Cause::Busy), 0));
    pbx.change(vec![Change::TrunkGone(trunk("one", &[1]).id)]);
    pbx.assert_idle();
}

// S71
#[test]
fn a_caller_who_cancels_releases_every_trunk_channel() {
    let (mut pbx, [ana, ..]) =
        setup(&[trunk("one", &[1])], &[1], FollowMode::Simultaneous, &[(MOBILE, 30), (HOME, 30)]);
    let caller = pbx.call(&ana, "1002", Some(&offer()));
    let lines = [called(&mut pbx, 1, MOBILE), called(&mut pbx, 1, HOME)];
    for dialog in &lines {
        pbx.answer(dialog, 180, None);
    }
    pbx.cancel(&caller);
    assert_eq!(pbx.carrier_summary(1), "CANCEL CANCEL");
    for dialog in &lines {
        pbx.answer(dialog, 487, None);
    }
    assert_eq!((pbx.record().cause, channels(&mut pbx)), (Some(Cause::Cancelled), 0));
    pbx.change(vec![Change::TrunkGone(trunk("one", &[1]).id)]);
    pbx.assert_idle();
}

// S29, S71: the same limits as any call
#[test]
fn a_number_without_a_free_channel_is_skipped_and_a_queued_one_expires() {
    let mut one = trunk("one", &[1]);
    one.settings.max_channels = Some(1);
    let numbers = [(MOBILE, 30), (HOME, 30)];
    let (mut pbx, [ana, ..]) = setup(&[one.clone()], &[1], FollowMode::Simultaneous, &numbers);
    let caller = pbx.call(&ana, "1002", Some(&offer()));
    let mobile = called(&mut pbx, 1, MOBILE);
    assert_eq!(pbx.carrier_summary(1), "");
    pbx.answer(&mobile, 486, None);
    let rejection = pbx.last(&ana);
    pbx.ack_error(&caller, &rejection);
    assert!(pbx.trace().contains("the channels of one are used up"), "{}", pbx.trace());
    assert_eq!(pbx.carrier_summary(1), "ACK");

    (one.settings.max_channels, one.settings.calls_per_second) = (None, Some(1));
    pbx.add_trunk(&one, &[1]);
    let mut caller = pbx.call(&ana, "1002", Some(&offer()));
    let mobile = called(&mut pbx, 1, MOBILE);
    assert_eq!(channels(&mut pbx), 2, "one rings, one waits for its turn");
    pbx.answer(&mobile, 200, Some(&answer()));
    let ok = pbx.last(&ana);
    pbx.send_ack(&mut caller, &ok, None);
    assert_eq!(channels(&mut pbx), 1);
    pbx.advance_with_probes(Duration::from_secs(3), &[1]);
    assert_eq!(pbx.carrier_summary(1), "ACK", "the other number is not called any more");
}

// security.md row 7, S188
#[test]
fn a_forbidden_number_is_skipped_with_its_reason_and_never_sent_to_the_carrier() {
    let numbers = [("+8816123456789", 10), ("+34803123456", 10), ("112", 10), (MOBILE, 10)];
    let (mut pbx, [ana, ..]) = setup(&[trunk("one", &[1])], &[1], FollowMode::Simultaneous, &numbers);
    let caller = pbx.call(&ana, "1002", Some(&offer()));
    let mobile = called(&mut pbx, 1, MOBILE);
    assert_eq!(pbx.carrier_summary(1), "");
    pbx.answer(&mobile, 486, None);
    let rejection = pbx.last(&ana);
    pbx.ack_error(&caller, &rejection);
    for step in ["+8816123456789 is not rung: number_blocked", "+34803123456 is not rung: number_blocked"] {
        assert!(pbx.trace().contains(step), "{step} in {}", pbx.trace());
    }
    assert!(pbx.trace().contains("112 is not rung: emergency_not_allowed"));
    assert_eq!(pbx.carrier_summary(1), "ACK");
    // Follow-me does not dial abroad for an extension without international permission.
    pbx.change_extension("1002", |e| e.dial_permissions.international = false);
    let caller = pbx.call(&ana, "1002", Some(&offer()));
    let rejection = pbx.last(&ana);
    pbx.ack_error(&caller, &rejection);
    assert_eq!(rejection.status(), Some(403));
    assert_eq!(pbx.carrier_summary(1), "");
}

// security.md row 7: rewriting does not bypass the dial policy
#[test]
fn a_number_rewritten_by_trunk_prefixes_is_checked_again() {
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
        let (mut pbx, [ana, ..]) =
            setup(std::slice::from_ref(one), &[1], FollowMode::Sequential, &[(number, 10)]);
        let caller = pbx.call(&ana, number, Some(&offer()));
        let rejection = pbx.last(&ana);
        pbx.ack_error(&caller, &rejection);
        assert_eq!(rejection.status(), Some(403), "{number}");
        assert!(rejection.header(HeaderName::Reason).unwrap().contains("blocked"), "{number}");
        let caller = pbx.call(&ana, "1002", Some(&offer())); // and by a follow-me
        let rejection = pbx.last(&ana);
        pbx.ack_error(&caller, &rejection);
        assert_eq!(rejection.status(), Some(403), "{number}");
        pbx.advance_with_probes(Duration::from_secs(5), &[1]);
        assert_eq!(pbx.carrier_summary(1), "", "{number}");
    }
    // Other rewritten numbers are dialled, and a trunk without prefixes carries what this one may not.
    let (mut pbx, [ana, ..]) = setup(&[strips], &[1], FollowMode::Sequential, &[(MOBILE, 10)]);
    pbx.call(&ana, "3433142000000", Some(&offer()));
    assert_eq!(pbx.expect_trunk_invite(1).invite.uri().unwrap().user().as_deref(), Some("+33142000000"));
}

// security.md row 7
#[test]
fn prefixes_changed_during_call_setup_are_checked_too() {
    let mut second = trunk("two", &[2]);
    second.priority = 20;
    let trunks = [trunk("one", &[1]), second.clone()];
    let (mut pbx, [ana, ..]) = setup(&trunks, &[1, 2], FollowMode::Sequential, &[(MOBILE, 10)]);
    let caller = pbx.call(&ana, "+348821312345", Some(&offer()));
    let first = pbx.expect_trunk_invite(1);
    second.settings.strip_prefix = Some(DialledNumber::parse("+34").unwrap());
    pbx.add_trunk(&second, &[1, 2]);
    pbx.answer(&first, 503, None);
    let rejection = pbx.last(&ana);
    pbx.ack_error(&caller, &rejection);
    assert_eq!(rejection.status(), Some(503));
    assert_eq!(pbx.carrier_summary(2), "");
    assert!(pbx.trace().contains("two no longer carries this number"), "{}", pbx.trace());
}

/// 1002 forwards all calls to an outside number.
fn forwarding(one: &Trunk) -> (TestSwitch, Phone) {
    let mut pbx = TestSwitch::open();
    let ana = pbx.phone("1001");
    pbx.register(&ana);
    pbx.add_trunk(one, &[1]);
    let number = Some(DialledNumber::parse(MOBILE).unwrap());
    pbx.change_extension("1002", |e| {
        e.forwarding = Forwarding { enabled: true, number, ..Forwarding::default() };
    });
    (pbx, ana)
}

// S71, S107
#[test]
fn a_forwarded_call_shows_the_forwarding_number_and_a_diversion_only_if_the_trunk_allows() {
    let mut one = trunk("one", &[1]);
    one.settings.caller_id = CallerId::Own;
    one.settings.dids = vec![did("+34911000001", Some("1001")), did("+34911000002", Some("1002"))];
    let (mut pbx, ana) = forwarding(&one);
    pbx.call(&ana, "1002", Some(&offer()));
    let invite = pbx.expect_trunk_invite(1).invite;
    assert!(
        invite.header(HeaderName::From).unwrap().starts_with("<sip:+34911000002@10.9.0.1>"),
        "{invite:?}"
    );
    assert_eq!(invite.header_named("P-Asserted-Identity"), Some("<sip:+34911000002@10.9.0.1>"));
    assert_eq!((invite.header_named("Diversion"), invite.header_named("History-Info")), (None, None));

    one.settings.diversion = true;
    let (mut pbx, ana) = forwarding(&one);
    pbx.call(&ana, "1002", Some(&offer()));
    let invite = pbx.expect_trunk_invite(1).invite;
    assert_eq!(
        invite.header_named("Diversion"),
        Some("<sip:+34911000002@localhost>;reason=unconditional;counter=1;privacy=off")
    );
    assert_eq!(
        invite.header_named("History-Info"),
        Some("<sip:+34911000002@localhost>;index=1, <sip:+34612345678@10.9.0.1;cause=302>;index=1.1;mp=1")
    );
    // A call that was not forwarded has no Diversion and shows its caller's number.
    pbx.call(&ana, HOME, Some(&offer()));
    let invite = pbx.expect_trunk_invite(1).invite;
    assert!(invite.header(HeaderName::From).unwrap().starts_with("<sip:+34911000001@10.9.0.1>"));
    assert_eq!(invite.header_named("Diversion"), None);
}

// S71
#[test]
fn a_carrier_never_gets_internal_numbers_in_diversion_headers() {
    let mut one = trunk("one", &[1]);
    one.settings.diversion = true;
    let (mut pbx, ana) = forwarding(&one);
    let number = Some(DialledNumber::parse("1002").unwrap());
    pbx.change_extension("1003", |e| {
        e.forwarding = Forwarding { enabled: true, number, ..Forwarding::default() };
    });
    pbx.call(&ana, "1003", Some(&offer()));
    let invite = pbx.expect_trunk_invite(1).invite;
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
fn a_rejected_call_releases_its_trunk_channel() {
    let mut one = trunk("one", &[1]);
    one.settings.max_channels = Some(1);
    let (mut pbx, ana) = forwarding(&one);
    for round in 0..3 {
        let caller = pbx.call(&ana, HOME, Some(&offer()));
        let callee = pbx.expect_trunk_invite(1);
        pbx.answer(&callee, 486, None);
        let rejection = pbx.last(&ana);
        assert_eq!(rejection.status(), Some(486), "round {round}");
        pbx.ack_error(&caller, &rejection);
        pbx.received_by_carrier(1);
        assert_eq!(channels(&mut pbx), 0);
    }
}

#[test]
fn an_inbound_trunk_call_in_voicemail_keeps_its_channel() {
    let mut one = trunk("one", &[1]);
    one.settings.sources = vec![crate::test_switch::carrier::source("10.9.0.1")];
    one.settings.default_extension = Some(model::ExtensionNumber::parse("1002").unwrap());
    let (mut pbx, _) = forwarding(&one);
    pbx.change_extension("1002", |e| e.voicemail_enabled = true);
    pbx.inbound_call(&carrier(1), "sip:+34910000000@10.0.0.1", "+33142000000", &offer());
    let out = called(&mut pbx, 1, MOBILE);
    assert_eq!(channels(&mut pbx), 2, "it came in by the trunk and goes out by it");
    pbx.answer(&out, 486, None);
    assert_eq!(channels(&mut pbx), 1, "voicemail has the caller");
}
