//! Feature codes: settings that a phone dials, a number that is not shown, and a call back.

use std::time::Duration;

use centralita_switch::{Config, Input, Setting};
use media::{MediaCommand, MediaEvent};
use model::{CallStatus, Cause, DialledNumber};
use sip::{HeaderName, Message};

use crate::office::carrier::{carrier, trunk};
use crate::office::line::Line;
use crate::office::sdp::sdp;
use crate::office::{Office, Phone};

fn offer() -> String {
    sdp("10.0.0.11", 30_000, "0 8 101", "sendrecv")
}

/// 1001 and 1002 at their phones.
fn open_with(change: impl FnOnce(&mut Config)) -> (Office, Phone, Phone) {
    let mut office = Office::open_with(change);
    let [ana, benito] = ["1001", "1002"].map(|number| office.phone(number));
    office.register(&ana);
    office.register(&benito);
    (office, ana, benito)
}

fn open() -> (Office, Phone, Phone) {
    open_with(|_| {})
}

/// A phone dials a code that changes a setting; what the shell is asked for.
fn dial(office: &mut Office, phone: &Phone, code: &str) -> (Line, u64, Setting) {
    let line = office.call(phone, code, Some(&offer()));
    assert_eq!(office.summary(phone), "100", "it waits until the setting is written");
    let (token, change) = office.settings.pop().expect("a setting is asked for");
    assert_eq!(change.extension.as_str(), format!("ext_{}", &phone.user[5..]));
    assert_eq!(change.from, phone.address.ip());
    (line, token, change.to)
}

/// The clip that is played last.
fn tones(office: &Office) -> Vec<i16> {
    let play = |command: &MediaCommand| match command {
        MediaCommand::Play { clip, .. } => Some(clip.to_vec()),
        _ => None,
    };
    office.media.iter().rev().find_map(play).expect("a tone confirms it")
}

#[test]
fn a_setting_is_written_and_then_confirmed_by_tones() {
    let (mut office, ana, _) = open();
    let number = |text| DialledNumber::parse(text).unwrap();
    let mut heard = Vec::new();
    for (code, wanted) in [
        ("*721002", Setting::ForwardTo(number("1002"))),
        ("*73", Setting::ForwardOff),
        ("*78", Setting::DoNotDisturb(true)),
        ("*79", Setting::DoNotDisturb(false)),
    ] {
        let (mut line, token, setting) = dial(&mut office, &ana, code);
        assert_eq!(setting, wanted, "{code}");
        office.feed(Input::SettingChanged { token, done: true });
        let ok = office.last(&ana);
        assert_eq!(ok.status(), Some(200), "{code}");
        office.acknowledge(&mut line, &ok, None);
        heard.push(tones(&office));
        let stream = office.media.iter().rev().find_map(|command| match command {
            MediaCommand::Play { stream, play, .. } => {
                Some(MediaEvent::PlaybackFinished { stream: *stream, play: *play })
            }
            _ => None,
        });
        office.feed(Input::Media(stream.unwrap()));
        assert_eq!(office.summary(&ana), "BYE", "{code}: it hangs up by itself");
        office.pass(Duration::from_secs(60));
    }
    assert!(
        heard[0] == heard[2] && heard[1] == heard[3] && heard[0] != heard[1],
        "on and off sound differently"
    );
    let record = office.records().remove(0);
    assert_eq!((record.status, record.to_number.as_str()), (CallStatus::Completed, "*721002"));
    assert!(record.trace.iter().any(|step| step.rule == "feature"), "{:?}", record.trace);
    office.is_at_rest();
}

#[test]
fn a_code_without_a_number_turns_the_former_forward_on_again() {
    let (mut office, ana, _) = open();
    let line = office.call(&ana, "*72", Some(&offer()));
    let refusal = office.last(&ana);
    assert_eq!(refusal.status(), Some(484), "there was none");
    office.ack_refusal(&line, &refusal);
    office.change_extension("1001", |extension| {
        extension.forwarding.number = Some(DialledNumber::parse("1003").unwrap());
    });
    let (_, _, setting) = dial(&mut office, &ana, "*72");
    assert_eq!(setting, Setting::ForwardTo(DialledNumber::parse("1003").unwrap()));
}

#[test]
fn what_may_not_be_is_refused_before_anything_is_written() {
    let (mut office, ana, _) = open();
    for (code, status) in [
        ("*72+34912345678", 404), // there is no trunk
        ("*72+19005551234", 403), // premium
        ("*729999", 404),
        ("*721001", 482), // to itself
        ("*72x", 484),
    ] {
        let line = office.call(&ana, code, Some(&offer()));
        let refusal = office.last(&ana);
        assert_eq!(refusal.status(), Some(status), "{code}");
        office.ack_refusal(&line, &refusal);
    }
    let nobody = office.phone("user_1700000001");
    let line = office.call(&nobody, "*78", Some(&offer()));
    let refusal = office.last(&nobody);
    assert_eq!(refusal.status(), Some(403), "it has no extension");
    office.ack_refusal(&line, &refusal);
    assert!(office.settings.is_empty());
    office.is_at_rest();
}

#[test]
fn a_setting_that_could_not_be_written_is_not_confirmed() {
    let (mut office, ana, _) = open();
    let (line, token, _) = dial(&mut office, &ana, "*78");
    office.feed(Input::SettingChanged { token, done: false });
    let refusal = office.last(&ana);
    assert_eq!(refusal.status(), Some(500));
    office.ack_refusal(&line, &refusal);
    // A shell that never answers holds nothing up, and its late answer finds nobody.
    let (line, token, _) = dial(&mut office, &ana, "*78");
    office.pass(Duration::from_secs(6));
    let refusal = office.last(&ana);
    assert_eq!(refusal.status(), Some(480));
    office.ack_refusal(&line, &refusal);
    office.feed(Input::SettingChanged { token, done: true });
    assert_eq!(office.summary(&ana), "");
    office.is_at_rest();
}

#[test]
fn a_caller_who_hangs_up_first_is_not_answered() {
    let (mut office, ana, _) = open();
    let (line, token, _) = dial(&mut office, &ana, "*78");
    office.cancel(&line);
    office.heard(&ana);
    office.feed(Input::SettingChanged { token, done: true });
    assert!(!office.heard(&ana).iter().any(|message| message.status() == Some(200)));
}

#[test]
fn codes_are_configured_and_switched_off() {
    let (mut office, ana, _) = open_with(|config| {
        config.features.do_not_disturb_on = "*60".into();
        config.features.call_back = String::new();
    });
    for code in ["*78", "*69"] {
        let line = office.call(&ana, code, Some(&offer()));
        let refusal = office.last(&ana);
        assert!(matches!(refusal.status(), Some(404 | 484)), "{code}: {:?}", refusal.status());
        office.ack_refusal(&line, &refusal);
    }
    let (_, _, setting) = dial(&mut office, &ana, "*60");
    assert_eq!(setting, Setting::DoNotDisturb(true));
}

fn shows_nobody(invite: &Message, number: &str) {
    let from = invite.header(HeaderName::From).unwrap();
    assert!(from.starts_with("\"Anonymous\" <sip:anonymous@anonymous.invalid>"), "{from}"); // RFC 3323 §4.1.1.3
    assert_eq!(invite.header(HeaderName::Privacy), Some("id"));
    let text = String::from_utf8_lossy(invite.bytes()).into_owned();
    let told: Vec<&str> = text.lines().filter(|line| line.contains(number)).collect();
    assert!(told.iter().all(|line| line.starts_with("P-Asserted-Identity:")), "{told:?}");
}

#[test]
fn a_hidden_number_is_shown_to_no_phone_and_cannot_be_called_back() {
    let (mut office, ana, benito) = open();
    let line = office.call(&ana, "*671002", Some(&offer()));
    let invite = office.rung(&benito).invite;
    shows_nobody(&invite, "1001");
    office.cancel(&line);
    office.heard(&benito);
    office.pass(Duration::from_secs(60));
    let line = office.call(&benito, "*69", Some(&offer()));
    let refusal = office.last(&benito);
    assert_eq!(refusal.status(), Some(404), "who hid is not called back");
    office.ack_refusal(&line, &refusal);
    assert_eq!(office.records()[0].cause, Some(Cause::Cancelled));
}

#[test]
fn a_carrier_is_told_the_number_and_not_to_pass_it_on() {
    let (mut office, ana, _) = open();
    office.add_trunk(&trunk("one", &[1]), &[1]);
    office.call(&ana, "*67+34912345678", Some(&offer()));
    let invite = office.rung(&carrier(1)).invite;
    shows_nobody(&invite, "+34910000000");
    let asserted = invite.header(HeaderName::PAssertedIdentity).unwrap();
    assert!(asserted.contains("+34910000000"), "{asserted}"); // RFC 3325 §7
}

#[test]
fn the_last_caller_is_called_back() {
    let (mut office, ana, benito) = open();
    let line = office.call(&benito, "*69", Some(&offer()));
    let refusal = office.last(&benito);
    assert_eq!(refusal.status(), Some(404), "nobody has called yet");
    office.ack_refusal(&line, &refusal);
    let line = office.call(&ana, "1002", Some(&offer()));
    office.rung(&benito);
    office.cancel(&line);
    office.heard(&benito);
    office.heard(&ana);
    office.call(&benito, "*69", Some(&offer()));
    let invite = office.rung(&ana).invite;
    assert!(invite.header(HeaderName::From).unwrap().contains("sip:1002@"), "1001's phone rings");
}
