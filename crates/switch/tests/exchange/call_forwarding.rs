//! Call forwarding by mode (S71, S73), and the diversion headers of forwarded calls.

use std::time::Duration;

use centralita_switch::{Command, Reply};
use media::{MediaCommand, Source, Tone};
use model::{CallStatus, Cause, DialPermissions, DialledNumber, ExtensionStatus, Forwarding, ForwardingMode};
use sip::HeaderName;

use crate::test_switch::dialog::TestDialog;
use crate::test_switch::sdp::sdp;
use crate::test_switch::{Phone, TestSwitch, user};

const OFFER: fn() -> String = || sdp("10.0.0.11", 30_000, "0", "sendrecv");
const ANSWER: fn() -> String = || sdp("10.0.0.13", 31_000, "0", "sendrecv");

fn forward(pbx: &mut TestSwitch, number: &str, mode: ForwardingMode, to: &str) {
    let forwarding = Forwarding { enabled: true, number: Some(DialledNumber::parse(to).unwrap()), mode };
    pbx.change_extension(number, |e| e.forwarding = forwarding);
}

/// 1001 (ana) calls 1002 (benito); all three phones are registered.
fn three_phones() -> (TestSwitch, Phone, Phone, Phone) {
    let mut pbx = TestSwitch::open();
    let phones = ["1001", "1002", "1003"].map(|number| pbx.phone(number));
    for phone in &phones {
        pbx.register(phone);
    }
    let [ana, benito, carla] = phones;
    (pbx, ana, benito, carla)
}

/// The forwarded call rings at 1003, which answers. Both hang up, and no state is left.
fn answered_by_the_third(pbx: &mut TestSwitch, caller: &mut TestDialog, third: &Phone) -> TestDialog {
    let leg = pbx.expect_invite(third);
    pbx.answer(&leg, 180, None);
    pbx.answer(&leg, 200, Some(&ANSWER()));
    let ok = pbx.last(&caller.phone);
    pbx.send_ack(caller, &ok, None);
    pbx.received(third);
    pbx.in_dialog_request(caller, "BYE", "", None);
    let bye = pbx.last(third);
    pbx.respond(&leg, &bye, 200, "", None);
    assert_eq!(pbx.record().status, CallStatus::Completed);
    pbx.received(&caller.phone);
    leg
}

fn expect_rejection(pbx: &mut TestSwitch, dialog: &TestDialog) -> u16 {
    let rejection = pbx.last(&dialog.phone);
    pbx.ack_error(dialog, &rejection);
    rejection.status().unwrap()
}

#[test]
fn an_unconditional_forward_wins_over_everything_else() {
    // S73: neither the phone's state nor do-not-disturb matters.
    let (mut pbx, ana, benito, carla) = three_phones();
    forward(&mut pbx, "1002", ForwardingMode::Always, "1003");
    pbx.change_extension("1002", |e| e.do_not_disturb = true);
    let mut dialog = pbx.call(&ana, "1002", Some(&OFFER()));
    assert_eq!(pbx.summary(&ana), "100 181");
    let leg = answered_by_the_third(&mut pbx, &mut dialog, &carla);
    assert!(pbx.received(&benito).is_empty(), "it does not ring there");
    let invite = &leg.invite;
    assert_eq!(
        invite.header_named("Diversion"),
        Some("<sip:1002@localhost>;reason=unconditional;counter=1;privacy=off") // RFC 5806
    );
    assert_eq!(
        invite.header_named("History-Info"),
        Some("<sip:1002@localhost>;index=1, <sip:1003@localhost;cause=302>;index=1.1;mp=1") // RFC 7044
    );
    assert!(
        invite.header(HeaderName::From).unwrap().contains("<sip:1001@localhost>"),
        "the caller is still ana"
    );
    assert!(pbx.trace().contains("forward: 1002 forwards to 1003: it always does"), "{}", pbx.trace());
    assert_eq!(pbx.record().to_number, "1002");
    pbx.assert_idle();
}

#[test]
fn a_busy_phone_a_decline_do_not_disturb_and_no_call_waiting_are_all_busy() {
    for (how, reason) in [
        ("486", "user-busy"),
        ("600", "user-busy"),
        ("603", "user-busy"),
        ("do not disturb", "do-not-disturb"),
        ("no call waiting", "user-busy"),
    ] {
        let (mut pbx, ana, benito, carla) = three_phones();
        forward(&mut pbx, "1002", ForwardingMode::Busy, "1003");
        match how {
            "do not disturb" => pbx.change_extension("1002", |e| e.do_not_disturb = true),
            "no call waiting" => {
                pbx.change_extension("1002", |e| e.call_waiting = false);
                pbx.call(&benito, "*43", Some(&OFFER()));
                pbx.received(&benito);
            }
            _ => {}
        }
        let mut dialog = pbx.call(&ana, "1002", Some(&OFFER()));
        if let Ok(status) = how.parse() {
            let leg = pbx.expect_invite(&benito);
            pbx.answer(&leg, status, None);
            assert_eq!(pbx.summary(&benito), "ACK");
        } else {
            assert!(pbx.received(&benito).is_empty(), "{how}: it does not ring");
        }
        assert_eq!(pbx.summary(&ana), "100 181", "{how}");
        let leg = pbx.expect_invite(&carla);
        let diversion = leg.invite.header_named("Diversion").unwrap();
        assert!(diversion.contains(&format!("reason={reason};")), "{how}: {diversion}");
        pbx.answer(&leg, 200, Some(&ANSWER()));
        let ok = pbx.last(&ana);
        pbx.send_ack(&mut dialog, &ok, None);
        pbx.in_dialog_request(&mut dialog, "BYE", "", None);
        let bye = pbx.last(&carla);
        pbx.respond(&leg, &bye, 200, "", None);
        pbx.assert_idle();
    }
}

#[test]
fn no_answer_forwards_after_the_extensions_ring_time() {
    let (mut pbx, ana, benito, carla) = three_phones();
    forward(&mut pbx, "1002", ForwardingMode::NoAnswer, "1003");
    pbx.change_extension("1002", |e| e.ring_seconds = 12);
    let mut dialog = pbx.call(&ana, "1002", Some(&OFFER()));
    let leg = pbx.expect_invite(&benito);
    pbx.answer(&leg, 180, None);
    pbx.advance(Duration::from_secs(11));
    assert!(pbx.received(&carla).is_empty());
    assert_eq!(pbx.summary(&ana), "100 180");
    pbx.advance(Duration::from_secs(1));
    assert_eq!(pbx.last(&benito).method().as_str(), "CANCEL");
    pbx.answer(&leg, 487, None);
    assert_eq!(pbx.summary(&ana), "181");
    let usernames = vec!["phone1002".into(), "phone1003".into()];
    let Reply::Presence(there) = pbx.command(Command::Presence { usernames }) else { panic!() };
    assert_eq!((there[0].busy, there[1].busy), (false, true), "the call is at the other one now");
    let third = answered_by_the_third(&mut pbx, &mut dialog, &carla);
    assert!(third.invite.header_named("Diversion").unwrap().contains("reason=no-answer"));
    assert!(third.invite.header_named("History-Info").unwrap().contains("cause=408>"));
    let legs = pbx.record().legs;
    assert_eq!((legs.len(), legs[1].cause, legs[1].answered_at), (3, Some(Cause::NoAnswer), None));
    pbx.assert_idle();
}

#[test]
fn no_phone_is_registered() {
    let (mut pbx, ana, _, carla) = three_phones();
    pbx.add_extension("1004", "benito");
    forward(&mut pbx, "1004", ForwardingMode::Unreachable, "1003");
    let mut dialog = pbx.call(&ana, "1004", Some(&OFFER()));
    let leg = answered_by_the_third(&mut pbx, &mut dialog, &carla);
    assert!(leg.invite.header_named("Diversion").unwrap().contains("reason=unavailable"));
    pbx.assert_idle();
}

#[test]
fn a_forward_of_another_mode_is_not_applied() {
    let (mut pbx, ana, benito, carla) = three_phones();
    for (mode, status, cause) in [
        (ForwardingMode::Busy, 404, Cause::NotFound),
        (ForwardingMode::NoAnswer, 486, Cause::Busy),
        (ForwardingMode::Unreachable, 486, Cause::Busy),
    ] {
        forward(&mut pbx, "1002", mode, "1003");
        let dialog = pbx.call(&ana, "1002", Some(&OFFER()));
        let leg = pbx.expect_invite(&benito);
        pbx.answer(&leg, status, None);
        assert_eq!(expect_rejection(&mut pbx, &dialog), status);
        assert_eq!(pbx.records().pop().unwrap().cause, Some(cause));
    }
    forward(&mut pbx, "1002", ForwardingMode::Always, "1003");
    pbx.change_extension("1002", |e| e.forwarding.enabled = false);
    pbx.call(&ana, "1002", Some(&OFFER()));
    pbx.expect_invite(&benito);
    assert!(pbx.received(&carla).is_empty());
}

#[test]
fn a_forwarding_loop_of_two_ends_after_one_round() {
    let (mut pbx, ana, ..) = three_phones();
    pbx.add_extension("1004", "benito");
    forward(&mut pbx, "1002", ForwardingMode::Always, "1004");
    forward(&mut pbx, "1004", ForwardingMode::Always, "1002");
    let dialog = pbx.call(&ana, "1002", Some(&OFFER()));
    assert_eq!(expect_rejection(&mut pbx, &dialog), 482);
    assert_eq!(pbx.record().cause, Some(Cause::ForwardingLoop));
    assert!(pbx.trace().contains("loop: 1002 has had this call already"), "{}", pbx.trace());
    // A call is not forwarded back to its caller.
    forward(&mut pbx, "1004", ForwardingMode::Always, "1001");
    let dialog = pbx.call(&ana, "1004", Some(&OFFER()));
    assert_eq!(expect_rejection(&mut pbx, &dialog), 482);
    pbx.assert_idle();
}

#[test]
fn a_sixth_forward_is_one_too_many() {
    let (mut pbx, ana, ..) = three_phones();
    let chain = ["1004", "1005", "1006", "1007", "1008", "1009", "1010"];
    for number in chain {
        pbx.add_extension(number, "benito");
    }
    for pair in chain.windows(2) {
        forward(&mut pbx, pair[0], ForwardingMode::Always, pair[1]);
    }
    let dialog = pbx.call(&ana, "1004", Some(&OFFER()));
    assert_eq!(expect_rejection(&mut pbx, &dialog), 482);
    assert!(pbx.trace().contains("loop: forwarded 5 times already"), "{}", pbx.trace());
    let last = pbx.phone("1010");
    pbx.register(&last);
    pbx.call(&ana, "1005", Some(&OFFER()));
    let leg = pbx.expect_invite(&last);
    let history = leg.invite.header_named("History-Info").unwrap();
    assert!(history.ends_with("<sip:1010@localhost;cause=302>;index=1.1.1.1.1.1;mp=1.1.1.1.1"), "{history}");
    let newest = leg.invite.header_named("Diversion").unwrap();
    assert!(newest.starts_with("<sip:1009@localhost>"), "{newest}");
    // Diversions before the call reached us count too.
    for lines in [
        "Diversion: <sip:5551@carrier>;reason=user-busy;counter=3, <sip:5552@carrier>;reason=unknown\r\n",
        "History-Info: <sip:5@c>;index=1, <sip:6@c;cause=302>;index=1.1;mp=1\r\nHistory-Info: \
         <sip:7@c;cause=302>;index=1.2;mp=1.1, <sip:8@c;cause=486>;index=1.3;mp=1.2, <sip:9@c;cause=486>;index=1.4\r\n",
    ] {
        let dialog = pbx.call_with(&ana, "1008", Some(&OFFER()), lines);
        assert_eq!(expect_rejection(&mut pbx, &dialog), 482, "{lines}");
    }
    let dialog =
        pbx.call_with(&ana, "1008", Some(&OFFER()), "Diversion: rubbish;counter=99999999999999999999\r\n");
    pbx.cancel(&dialog);
    pbx.expect_invite(&last);
}

#[test]
fn a_forward_to_a_forbidden_number_is_rejected_with_a_reason() {
    // S188, security.md rows 7 and 31
    let (mut pbx, ana, ..) = three_phones();
    for (to, rule, cause) in [
        ("+8816123456789", "blocked", Cause::NumberBlocked),
        ("0019005551234", "blocked", Cause::NumberBlocked),
        ("112", "emergency", Cause::EmergencyNotAllowed),
        ("+34911234567", "permission", Cause::NotPermitted),
        ("1003", "permission", Cause::NotPermitted),
        ("+447700900123", "trunk", Cause::NoRoute),
        ("1777", "extension", Cause::NotFound),
    ] {
        forward(&mut pbx, "1002", ForwardingMode::Always, to);
        let permitted =
            DialPermissions { internal: false, international: false, ..DialPermissions::default() };
        let shut = cause == Cause::NotPermitted;
        let permissions = if shut { permitted } else { DialPermissions::default() };
        pbx.change_extension("1002", |e| e.dial_permissions = permissions);
        let dialog = pbx.call(&ana, "1002", Some(&OFFER()));
        assert_eq!(expect_rejection(&mut pbx, &dialog), cause.sip_status(), "{to}");
        assert_eq!(pbx.records().pop().unwrap().cause, Some(cause), "{to}");
        let steps = pbx.records().pop().unwrap().trace;
        assert_eq!(steps.last().map(|step| step.rule.as_str()), Some(rule), "{to}: {}", pbx.trace());
    }
    pbx.assert_idle();
}

#[test]
fn a_forwarded_call_is_charged_to_the_forwarding_user() {
    // S29
    let mut pbx = TestSwitch::open_with(|config| config.calls_per_user = 1);
    let (ana, benito, carla) = (pbx.phone("1001"), pbx.phone("1002"), pbx.add_extension("1004", "carla"));
    for phone in [&ana, &benito, &carla] {
        pbx.register(phone);
    }
    forward(&mut pbx, "1002", ForwardingMode::Always, "1004");
    let dialog = pbx.call(&ana, "1002", Some(&OFFER()));
    let leg = pbx.expect_invite(&carla);
    let own = pbx.call(&benito, "*43", Some(&OFFER()));
    assert_eq!(expect_rejection(&mut pbx, &own), 503, "the forwarded call is benito's too");
    pbx.cancel(&dialog);
    pbx.answer(&leg, 487, None);
    pbx.received(&benito);
    pbx.call(&benito, "*43", Some(&OFFER()));
    assert_eq!(pbx.last(&benito).status(), Some(200), "it is over");
    pbx.received(&ana);
    let dialog = pbx.call(&ana, "1002", Some(&OFFER()));
    assert_eq!(expect_rejection(&mut pbx, &dialog), 503);
    assert!(pbx.trace().contains("limit: the owner of 1002 has no call left"), "{}", pbx.trace());
}

#[test]
fn the_caller_hangs_up_while_the_call_is_being_forwarded() {
    let (mut pbx, ana, benito, carla) = three_phones();
    forward(&mut pbx, "1002", ForwardingMode::NoAnswer, "1003");
    let dialog = pbx.call(&ana, "1002", Some(&OFFER()));
    let first = pbx.expect_invite(&benito);
    pbx.answer(&first, 180, None);
    pbx.advance(Duration::from_secs(25));
    let second = pbx.expect_invite(&carla);
    pbx.cancel(&dialog); // the first phone has not answered its CANCEL, the second has sent no response
    pbx.answer(&first, 487, None);
    pbx.answer(&second, 100, None);
    assert!(pbx.received(&carla).iter().any(|m| m.method().as_str() == "CANCEL"));
    pbx.answer(&second, 487, None);
    let rejection = pbx.received(&ana).into_iter().find(|m| m.status() == Some(487)).unwrap();
    pbx.ack_error(&dialog, &rejection);
    assert_eq!(pbx.record().cause, Some(Cause::Cancelled));
    pbx.assert_idle();
}

#[test]
fn an_answer_that_crosses_the_no_answer_timer_gets_ack_and_bye() {
    let (mut pbx, ana, benito, carla) = three_phones();
    forward(&mut pbx, "1002", ForwardingMode::NoAnswer, "1003");
    let mut dialog = pbx.call(&ana, "1002", Some(&OFFER()));
    let first = pbx.expect_invite(&benito);
    pbx.answer(&first, 180, None);
    pbx.advance(Duration::from_secs(25));
    assert_eq!(pbx.last(&benito).method().as_str(), "CANCEL");
    pbx.answer(&first, 200, Some(&ANSWER())); // answered at the moment of the diversion
    let said: Vec<String> = pbx.received(&benito).iter().map(|m| m.method().to_string()).collect();
    assert_eq!(said, ["ACK", "BYE"]);
    assert_eq!(pbx.summary(&ana), "100 180 181");
    answered_by_the_third(&mut pbx, &mut dialog, &carla);
    pbx.advance(Duration::from_secs(60));
    assert_eq!(pbx.records().len(), 1);
}

#[test]
fn a_302_diverts_the_caller_under_the_same_rules() {
    for (contact, goes) in [
        ("<sip:1003@localhost>", true),
        ("<sip:1003@10.0.0.1:5060>;q=0.5", true),
        ("<tel:1003>", true),
        ("<sip:1003@elsewhere.example>", false),
        ("<sip:+8816123456789@localhost;user=phone>", false),
        ("<sip:112@localhost>", false),
        ("<mailto:1003@localhost>", false),
        ("<sip:1002@localhost>", false),
    ] {
        let (mut pbx, ana, benito, carla) = three_phones();
        let dialog = pbx.call(&ana, "1002", Some(&OFFER()));
        let leg = pbx.expect_invite(&benito);
        let invite = leg.invite.clone();
        pbx.respond_with_contact(&leg, &invite, 302, contact);
        if goes {
            let leg = pbx.expect_invite(&carla);
            let diversion = leg.invite.header_named("Diversion").unwrap();
            assert!(diversion.contains("reason=deflection"), "{contact}: {diversion}");
            pbx.cancel(&dialog);
            pbx.answer(&leg, 487, None);
        } else {
            assert!(pbx.received(&carla).is_empty(), "{contact}");
            let status = expect_rejection(&mut pbx, &dialog);
            assert!((400..500).contains(&status), "{contact}: {status}");
        }
        pbx.assert_idle();
    }
}

#[test]
fn a_caller_who_heard_early_media_hears_ringing_when_the_call_goes_on_and_then_the_next_phone() {
    let (mut pbx, ana, benito, carla) = three_phones();
    forward(&mut pbx, "1002", ForwardingMode::NoAnswer, "1003");
    pbx.call(&ana, "1002", Some(&OFFER()));
    let first = pbx.expect_invite(&benito);
    pbx.answer(&first, 183, Some(&ANSWER()));
    pbx.media.clear();
    pbx.advance(Duration::from_secs(25));
    let tone =
        |c: &MediaCommand| matches!(c, MediaCommand::SetSource { source: Source::Tone(Tone::Ringback), .. });
    assert!(pbx.media.iter().any(tone));
    pbx.media.clear();
    let second = pbx.expect_invite(&carla);
    pbx.answer(&second, 183, Some(&ANSWER()));
    let received = |c: &MediaCommand| matches!(c, MediaCommand::SetSource { source: Source::Stream(_), .. });
    assert_eq!(pbx.media.iter().filter(|c| received(c)).count(), 1);
}

#[test]
fn a_click_to_call_is_forwarded_too() {
    let (mut pbx, ana, _, carla) = three_phones();
    forward(&mut pbx, "1002", ForwardingMode::Always, "1003");
    let originate_params = centralita_switch::Originate {
        user: user("ana"),
        from: Some("1001".into()),
        device: None,
        to: "1002".into(),
        ring_timeout: Duration::from_secs(30),
        require_device: false,
        planned: None,
    };
    pbx.command(centralita_switch::Command::Originate(originate_params));
    let device = pbx.expect_invite(&ana);
    pbx.answer(&device, 200, Some(&OFFER()));
    let leg = pbx.expect_invite(&carla);
    pbx.answer(&leg, 200, Some(&ANSWER()));
    assert_eq!(pbx.status().active_calls, 1);
    assert_eq!(pbx.summary(&ana), "ACK", "no 181 to a phone that has answered");
}

#[test]
fn a_forward_to_an_inactive_extension_ends_there() {
    let (mut pbx, ana, ..) = three_phones();
    forward(&mut pbx, "1002", ForwardingMode::Always, "1003");
    pbx.change_extension("1003", |e| e.status = ExtensionStatus::Inactive);
    let dialog = pbx.call(&ana, "1002", Some(&OFFER()));
    assert_eq!(expect_rejection(&mut pbx, &dialog), 480);
    assert_eq!(pbx.record().cause, Some(Cause::Inactive)); // S70
    forward(&mut pbx, "1002", ForwardingMode::Always, "*43");
    pbx.received(&ana);
    pbx.call(&ana, "1002", Some(&OFFER()));
    assert_eq!(pbx.last(&ana).status(), Some(200), "an application may take it");
}
