//! Calls that nobody takes go on to where the extension wants them (S71, S73), and say on the way where they have been.

use std::time::Duration;

use centralita_switch::{Command, Reply};
use media::{MediaCommand, Source, Tone};
use model::{CallStatus, Cause, DialPermissions, DialledNumber, ExtensionStatus, Forwarding, ForwardingMode};
use sip::HeaderName;

use crate::office::line::Line;
use crate::office::sdp::sdp;
use crate::office::{Office, Phone, user};

const OFFER: fn() -> String = || sdp("10.0.0.11", 30_000, "0", "sendrecv");
const ANSWER: fn() -> String = || sdp("10.0.0.13", 31_000, "0", "sendrecv");

fn forward(office: &mut Office, number: &str, mode: ForwardingMode, to: &str) {
    let forwarding = Forwarding { enabled: true, number: Some(DialledNumber::parse(to).unwrap()), mode };
    office.change_extension(number, |e| e.forwarding = forwarding);
}

/// 1001 (ana) calls 1002 (benito); all three phones are registered.
fn three() -> (Office, Phone, Phone, Phone) {
    let mut office = Office::open();
    let phones = ["1001", "1002", "1003"].map(|number| office.phone(number));
    for phone in &phones {
        office.register(phone);
    }
    let [ana, benito, carla] = phones;
    (office, ana, benito, carla)
}

/// The forwarded call rings at 1003, which answers; both hang up, and nothing is left.
fn answered_by_the_third(office: &mut Office, caller: &mut Line, third: &Phone) -> Line {
    let rung = office.rung(third);
    office.answer(&rung, 180, None);
    office.answer(&rung, 200, Some(&ANSWER()));
    let ok = office.last(&caller.phone);
    office.acknowledge(caller, &ok, None);
    office.heard(third);
    office.within(caller, "BYE", "", None);
    let bye = office.last(third);
    office.respond(&rung, &bye, 200, "", None);
    assert_eq!(office.record().status, CallStatus::Completed);
    office.heard(&caller.phone);
    rung
}

fn refused(office: &mut Office, line: &Line) -> u16 {
    let refusal = office.last(&line.phone);
    office.ack_refusal(line, &refusal);
    refusal.status().unwrap()
}

#[test]
fn an_unconditional_forward_wins_over_everything_else() {
    // S73: neither the phone nor do-not-disturb is asked.
    let (mut office, ana, benito, carla) = three();
    forward(&mut office, "1002", ForwardingMode::Always, "1003");
    office.change_extension("1002", |e| e.do_not_disturb = true);
    let mut line = office.call(&ana, "1002", Some(&OFFER()));
    assert_eq!(office.summary(&ana), "100 181");
    let rung = answered_by_the_third(&mut office, &mut line, &carla);
    assert!(office.heard(&benito).is_empty(), "it does not ring there");
    let invite = &rung.invite;
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
    assert!(office.why().contains("forward: 1002 forwards to 1003: it always does"), "{}", office.why());
    assert_eq!(office.record().to_number, "1002");
    office.is_at_rest();
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
        let (mut office, ana, benito, carla) = three();
        forward(&mut office, "1002", ForwardingMode::Busy, "1003");
        match how {
            "do not disturb" => office.change_extension("1002", |e| e.do_not_disturb = true),
            "no call waiting" => {
                office.change_extension("1002", |e| e.call_waiting = false);
                office.call(&benito, "*43", Some(&OFFER()));
                office.heard(&benito);
            }
            _ => {}
        }
        let mut line = office.call(&ana, "1002", Some(&OFFER()));
        if let Ok(status) = how.parse() {
            let rung = office.rung(&benito);
            office.answer(&rung, status, None);
            assert_eq!(office.summary(&benito), "ACK");
        } else {
            assert!(office.heard(&benito).is_empty(), "{how}: it does not ring");
        }
        assert_eq!(office.summary(&ana), "100 181", "{how}");
        let rung = office.rung(&carla);
        let diversion = rung.invite.header_named("Diversion").unwrap();
        assert!(diversion.contains(&format!("reason={reason};")), "{how}: {diversion}");
        office.answer(&rung, 200, Some(&ANSWER()));
        let ok = office.last(&ana);
        office.acknowledge(&mut line, &ok, None);
        office.within(&mut line, "BYE", "", None);
        let bye = office.last(&carla);
        office.respond(&rung, &bye, 200, "", None);
        office.is_at_rest();
    }
}

#[test]
fn nobody_answers_in_the_seconds_that_the_extension_rings() {
    let (mut office, ana, benito, carla) = three();
    forward(&mut office, "1002", ForwardingMode::NoAnswer, "1003");
    office.change_extension("1002", |e| e.ring_seconds = 12);
    let mut line = office.call(&ana, "1002", Some(&OFFER()));
    let rung = office.rung(&benito);
    office.answer(&rung, 180, None);
    office.pass(Duration::from_secs(11));
    assert!(office.heard(&carla).is_empty());
    assert_eq!(office.summary(&ana), "100 180");
    office.pass(Duration::from_secs(1));
    assert_eq!(office.last(&benito).method().as_str(), "CANCEL");
    office.answer(&rung, 487, None);
    assert_eq!(office.summary(&ana), "181");
    let usernames = vec!["phone1002".into(), "phone1003".into()];
    let Reply::Presence(there) = office.ask(Command::Presence { usernames }) else { panic!() };
    assert_eq!((there[0].busy, there[1].busy), (false, true), "the call is at the other one now");
    let third = answered_by_the_third(&mut office, &mut line, &carla);
    assert!(third.invite.header_named("Diversion").unwrap().contains("reason=no-answer"));
    assert!(third.invite.header_named("History-Info").unwrap().contains("cause=408>"));
    let legs = office.record().legs;
    assert_eq!((legs.len(), legs[1].cause, legs[1].answered_at), (3, Some(Cause::NoAnswer), None));
    office.is_at_rest();
}

#[test]
fn no_phone_is_registered() {
    let (mut office, ana, _, carla) = three();
    office.hire("1004", "benito");
    forward(&mut office, "1004", ForwardingMode::Unreachable, "1003");
    let mut line = office.call(&ana, "1004", Some(&OFFER()));
    let rung = answered_by_the_third(&mut office, &mut line, &carla);
    assert!(rung.invite.header_named("Diversion").unwrap().contains("reason=unavailable"));
    office.is_at_rest();
}

#[test]
fn a_forward_that_is_not_meant_for_this_is_not_taken() {
    let (mut office, ana, benito, carla) = three();
    for (mode, status, cause) in [
        (ForwardingMode::Busy, 404, Cause::NotFound),
        (ForwardingMode::NoAnswer, 486, Cause::Busy),
        (ForwardingMode::Unreachable, 486, Cause::Busy),
    ] {
        forward(&mut office, "1002", mode, "1003");
        let line = office.call(&ana, "1002", Some(&OFFER()));
        let rung = office.rung(&benito);
        office.answer(&rung, status, None);
        assert_eq!(refused(&mut office, &line), status);
        assert_eq!(office.records().pop().unwrap().cause, Some(cause));
    }
    forward(&mut office, "1002", ForwardingMode::Always, "1003");
    office.change_extension("1002", |e| e.forwarding.enabled = false);
    office.call(&ana, "1002", Some(&OFFER()));
    office.rung(&benito);
    assert!(office.heard(&carla).is_empty());
}

#[test]
fn a_circle_of_two_ends_after_one_round() {
    let (mut office, ana, ..) = three();
    office.hire("1004", "benito");
    forward(&mut office, "1002", ForwardingMode::Always, "1004");
    forward(&mut office, "1004", ForwardingMode::Always, "1002");
    let line = office.call(&ana, "1002", Some(&OFFER()));
    assert_eq!(refused(&mut office, &line), 482);
    assert_eq!(office.record().cause, Some(Cause::ForwardingLoop));
    assert!(office.why().contains("loop: 1002 has had this call already"), "{}", office.why());
    // Nor does a call come back to who made it.
    forward(&mut office, "1004", ForwardingMode::Always, "1001");
    let line = office.call(&ana, "1004", Some(&OFFER()));
    assert_eq!(refused(&mut office, &line), 482);
    office.is_at_rest();
}

#[test]
fn a_sixth_forward_is_one_too_many() {
    let (mut office, ana, ..) = three();
    let chain = ["1004", "1005", "1006", "1007", "1008", "1009", "1010"];
    for number in chain {
        office.hire(number, "benito");
    }
    for pair in chain.windows(2) {
        forward(&mut office, pair[0], ForwardingMode::Always, pair[1]);
    }
    let line = office.call(&ana, "1004", Some(&OFFER()));
    assert_eq!(refused(&mut office, &line), 482);
    assert!(office.why().contains("loop: forwarded 5 times already"), "{}", office.why());
    let last = office.phone("1010");
    office.register(&last);
    office.call(&ana, "1005", Some(&OFFER()));
    let rung = office.rung(&last);
    let history = rung.invite.header_named("History-Info").unwrap();
    assert!(history.ends_with("<sip:1010@localhost;cause=302>;index=1.1.1.1.1.1;mp=1.1.1.1.1"), "{history}");
    let newest = rung.invite.header_named("Diversion").unwrap();
    assert!(newest.starts_with("<sip:1009@localhost>"), "{newest}");
    // What was diverted before it came here counts too.
    for lines in [
        "Diversion: <sip:5551@carrier>;reason=user-busy;counter=3, <sip:5552@carrier>;reason=unknown\r\n",
        "History-Info: <sip:5@c>;index=1, <sip:6@c;cause=302>;index=1.1;mp=1\r\nHistory-Info: \
         <sip:7@c;cause=302>;index=1.2;mp=1.1, <sip:8@c;cause=486>;index=1.3;mp=1.2, <sip:9@c;cause=486>;index=1.4\r\n",
    ] {
        let line = office.call_with(&ana, "1008", Some(&OFFER()), lines);
        assert_eq!(refused(&mut office, &line), 482, "{lines}");
    }
    let line =
        office.call_with(&ana, "1008", Some(&OFFER()), "Diversion: rubbish;counter=99999999999999999999\r\n");
    office.cancel(&line);
    office.rung(&last);
}

#[test]
fn a_forward_to_a_forbidden_number_is_refused_and_says_why() {
    // S188, security.md rows 7 and 31
    let (mut office, ana, ..) = three();
    for (to, rule, cause) in [
        ("+8816123456789", "blocked", Cause::NumberBlocked),
        ("0019005551234", "blocked", Cause::NumberBlocked),
        ("112", "emergency", Cause::EmergencyNotAllowed),
        ("+34911234567", "permission", Cause::NotPermitted),
        ("1003", "permission", Cause::NotPermitted),
        ("+447700900123", "trunk", Cause::NoRoute),
        ("1777", "extension", Cause::NotFound),
    ] {
        forward(&mut office, "1002", ForwardingMode::Always, to);
        let permitted =
            DialPermissions { internal: false, international: false, ..DialPermissions::default() };
        let shut = cause == Cause::NotPermitted;
        let permissions = if shut { permitted } else { DialPermissions::default() };
        office.change_extension("1002", |e| e.dial_permissions = permissions);
        let line = office.call(&ana, "1002", Some(&OFFER()));
        assert_eq!(refused(&mut office, &line), cause.sip_status(), "{to}");
        assert_eq!(office.records().pop().unwrap().cause, Some(cause), "{to}");
        let steps = office.records().pop().unwrap().trace;
        assert_eq!(steps.last().map(|step| step.rule.as_str()), Some(rule), "{to}: {}", office.why());
    }
    office.is_at_rest();
}

#[test]
fn a_forwarded_call_counts_for_the_one_who_forwards_it() {
    // S29
    let mut office = Office::open_with(|config| config.calls_per_user = 1);
    let (ana, benito, carla) = (office.phone("1001"), office.phone("1002"), office.hire("1004", "carla"));
    for phone in [&ana, &benito, &carla] {
        office.register(phone);
    }
    forward(&mut office, "1002", ForwardingMode::Always, "1004");
    let line = office.call(&ana, "1002", Some(&OFFER()));
    let rung = office.rung(&carla);
    let own = office.call(&benito, "*43", Some(&OFFER()));
    assert_eq!(refused(&mut office, &own), 503, "the forwarded call is benito's too");
    office.cancel(&line);
    office.answer(&rung, 487, None);
    office.heard(&benito);
    office.call(&benito, "*43", Some(&OFFER()));
    assert_eq!(office.last(&benito).status(), Some(200), "it is over");
    office.heard(&ana);
    let line = office.call(&ana, "1002", Some(&OFFER()));
    assert_eq!(refused(&mut office, &line), 503);
    assert!(office.why().contains("limit: the owner of 1002 has no call left"), "{}", office.why());
}

#[test]
fn the_caller_hangs_up_while_the_call_is_being_forwarded() {
    let (mut office, ana, benito, carla) = three();
    forward(&mut office, "1002", ForwardingMode::NoAnswer, "1003");
    let line = office.call(&ana, "1002", Some(&OFFER()));
    let first = office.rung(&benito);
    office.answer(&first, 180, None);
    office.pass(Duration::from_secs(25));
    let second = office.rung(&carla);
    office.cancel(&line); // the first phone has not answered its CANCEL, the second one has said nothing
    office.answer(&first, 487, None);
    office.answer(&second, 100, None);
    assert!(office.heard(&carla).iter().any(|m| m.method().as_str() == "CANCEL"));
    office.answer(&second, 487, None);
    let refusal = office.heard(&ana).into_iter().find(|m| m.status() == Some(487)).unwrap();
    office.ack_refusal(&line, &refusal);
    assert_eq!(office.record().cause, Some(Cause::Cancelled));
    office.is_at_rest();
}

#[test]
fn an_answer_that_crosses_the_timer_is_thanked_and_ended() {
    let (mut office, ana, benito, carla) = three();
    forward(&mut office, "1002", ForwardingMode::NoAnswer, "1003");
    let mut line = office.call(&ana, "1002", Some(&OFFER()));
    let first = office.rung(&benito);
    office.answer(&first, 180, None);
    office.pass(Duration::from_secs(25));
    assert_eq!(office.last(&benito).method().as_str(), "CANCEL");
    office.answer(&first, 200, Some(&ANSWER())); // picked up in the moment that the call went on
    let said: Vec<String> = office.heard(&benito).iter().map(|m| m.method().to_string()).collect();
    assert_eq!(said, ["ACK", "BYE"]);
    assert_eq!(office.summary(&ana), "100 180 181");
    answered_by_the_third(&mut office, &mut line, &carla);
    office.pass(Duration::from_secs(60));
    assert_eq!(office.records().len(), 1);
}

#[test]
fn a_phone_that_says_302_sends_the_caller_on_under_the_same_rules() {
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
        let (mut office, ana, benito, carla) = three();
        let line = office.call(&ana, "1002", Some(&OFFER()));
        let rung = office.rung(&benito);
        let invite = rung.invite.clone();
        office.respond_with_contact(&rung, &invite, 302, contact);
        if goes {
            let rung = office.rung(&carla);
            let diversion = rung.invite.header_named("Diversion").unwrap();
            assert!(diversion.contains("reason=deflection"), "{contact}: {diversion}");
            office.cancel(&line);
            office.answer(&rung, 487, None);
        } else {
            assert!(office.heard(&carla).is_empty(), "{contact}");
            let status = refused(&mut office, &line);
            assert!((400..500).contains(&status), "{contact}: {status}");
        }
        office.is_at_rest();
    }
}

#[test]
fn a_caller_who_heard_early_media_hears_ringing_when_the_call_goes_on_and_then_the_next_phone() {
    let (mut office, ana, benito, carla) = three();
    forward(&mut office, "1002", ForwardingMode::NoAnswer, "1003");
    office.call(&ana, "1002", Some(&OFFER()));
    let first = office.rung(&benito);
    office.answer(&first, 183, Some(&ANSWER()));
    office.media.clear();
    office.pass(Duration::from_secs(25));
    let tone =
        |c: &MediaCommand| matches!(c, MediaCommand::SetSource { source: Source::Tone(Tone::Ringback), .. });
    assert!(office.media.iter().any(tone));
    office.media.clear();
    let second = office.rung(&carla);
    office.answer(&second, 183, Some(&ANSWER()));
    let heard = |c: &MediaCommand| matches!(c, MediaCommand::SetSource { source: Source::Stream(_), .. });
    assert_eq!(office.media.iter().filter(|c| heard(c)).count(), 1);
}

#[test]
fn a_click_to_call_is_forwarded_too() {
    let (mut office, ana, _, carla) = three();
    forward(&mut office, "1002", ForwardingMode::Always, "1003");
    let wish = centralita_switch::Originate {
        user: user("ana"),
        from: Some("1001".into()),
        device: None,
        to: "1002".into(),
        ring_timeout: Duration::from_secs(30),
        require_device: false,
        planned: None,
    };
    office.ask(centralita_switch::Command::Originate(wish));
    let device = office.rung(&ana);
    office.answer(&device, 200, Some(&OFFER()));
    let rung = office.rung(&carla);
    office.answer(&rung, 200, Some(&ANSWER()));
    assert_eq!(office.status().active_calls, 1);
    assert_eq!(office.summary(&ana), "ACK", "no 181 to a phone that has answered");
}

#[test]
fn a_forward_to_an_extension_that_is_switched_off_ends_there() {
    let (mut office, ana, ..) = three();
    forward(&mut office, "1002", ForwardingMode::Always, "1003");
    office.change_extension("1003", |e| e.status = ExtensionStatus::Inactive);
    let line = office.call(&ana, "1002", Some(&OFFER()));
    assert_eq!(refused(&mut office, &line), 480);
    assert_eq!(office.record().cause, Some(Cause::Inactive)); // S70
    forward(&mut office, "1002", ForwardingMode::Always, "*43");
    office.heard(&ana);
    office.call(&ana, "1002", Some(&OFFER()));
    assert_eq!(office.last(&ana).status(), Some(200), "an application may take it");
}
