//! Feature codes: settings, withheld number, and call return.

use std::time::Duration;

use centralita_switch::{Config, Input, Setting};
use media::{MediaCommand, MediaEvent};
use model::{CallStatus, Cause, DialledNumber};
use sip::{HeaderName, Message};

use crate::test_switch::carrier::{carrier, trunk};
use crate::test_switch::dialog::TestDialog;
use crate::test_switch::sdp::sdp;
use crate::test_switch::{Phone, TestSwitch};

fn offer() -> String {
    sdp("10.0.0.11", 30_000, "0 8 101", "sendrecv")
}

/// 1001 and 1002 with registered phones.
fn open_with(change: impl FnOnce(&mut Config)) -> (TestSwitch, Phone, Phone) {
    let mut pbx = TestSwitch::open_with(change);
    let [ana, benito] = ["1001", "1002"].map(|number| pbx.phone(number));
    pbx.register(&ana);
    pbx.register(&benito);
    (pbx, ana, benito)
}

fn open() -> (TestSwitch, Phone, Phone) {
    open_with(|_| {})
}

/// A phone dials a code that changes a setting. Returns the requested change.
fn dial(pbx: &mut TestSwitch, phone: &Phone, code: &str) -> (TestDialog, u64, Setting) {
    let dialog = pbx.call(phone, code, Some(&offer()));
    assert_eq!(pbx.summary(phone), "100", "it waits until the setting is written");
    let (token, change) = pbx.settings.pop().expect("a setting is asked for");
    assert_eq!(change.extension.as_str(), format!("ext_{}", &phone.user[5..]));
    assert_eq!(change.from, phone.address.ip());
    (dialog, token, change.to)
}

/// The clip that was played last.
fn last_clip(pbx: &TestSwitch) -> Vec<i16> {
    let play = |command: &MediaCommand| match command {
        MediaCommand::Play { clip, .. } => Some(clip.to_vec()),
        _ => None,
    };
    pbx.media.iter().rev().find_map(play).expect("a tone confirms it")
}

#[test]
fn a_setting_is_stored_and_then_confirmed_by_tones() {
    let (mut pbx, ana, _) = open();
    let number = |text| DialledNumber::parse(text).unwrap();
    let mut received = Vec::new();
    for (code, wanted) in [
        ("*721002", Setting::ForwardTo(number("1002"))),
        ("*73", Setting::ForwardOff),
        ("*78", Setting::DoNotDisturb(true)),
        ("*79", Setting::DoNotDisturb(false)),
    ] {
        let (mut dialog, token, setting) = dial(&mut pbx, &ana, code);
        assert_eq!(setting, wanted, "{code}");
        pbx.feed(Input::SettingChanged { token, done: true });
        let ok = pbx.last(&ana);
        assert_eq!(ok.status(), Some(200), "{code}");
        pbx.send_ack(&mut dialog, &ok, None);
        received.push(last_clip(&pbx));
        let stream = pbx.media.iter().rev().find_map(|command| match command {
            MediaCommand::Play { stream, play, .. } => {
                Some(MediaEvent::PlaybackFinished { stream: *stream, play: *play })
            }
            _ => None,
        });
        pbx.feed(Input::Media(stream.unwrap()));
        assert_eq!(pbx.summary(&ana), "BYE", "{code}: it hangs up by itself");
        pbx.advance(Duration::from_secs(60));
    }
    assert!(
        received[0] == received[2] && received[1] == received[3] && received[0] != received[1],
        "on and off sound differently"
    );
    let record = pbx.records().remove(0);
    assert_eq!((record.status, record.to_number.as_str()), (CallStatus::Completed, "*721002"));
    assert!(record.trace.iter().any(|step| step.rule == "feature"), "{:?}", record.trace);
    pbx.assert_idle();
}

#[test]
fn a_code_without_a_number_enables_the_previous_forward() {
    let (mut pbx, ana, _) = open();
    let dialog = pbx.call(&ana, "*72", Some(&offer()));
    let rejection = pbx.last(&ana);
    assert_eq!(rejection.status(), Some(484), "there was none");
    pbx.ack_error(&dialog, &rejection);
    pbx.change_extension("1001", |extension| {
        extension.forwarding.number = Some(DialledNumber::parse("1003").unwrap());
    });
    let (_, _, setting) = dial(&mut pbx, &ana, "*72");
    assert_eq!(setting, Setting::ForwardTo(DialledNumber::parse("1003").unwrap()));
}

#[test]
fn a_forbidden_setting_is_rejected_before_it_is_stored() {
    let (mut pbx, ana, _) = open();
    for (code, status) in [
        ("*72+34912345678", 404), // there is no trunk
        ("*72+19005551234", 403), // premium
        ("*729999", 404),
        ("*721001", 482), // to itself
        ("*72x", 484),
    ] {
        let dialog = pbx.call(&ana, code, Some(&offer()));
        let rejection = pbx.last(&ana);
        assert_eq!(rejection.status(), Some(status), "{code}");
        pbx.ack_error(&dialog, &rejection);
    }
    let nobody = pbx.phone("user_1700000001");
    let dialog = pbx.call(&nobody, "*78", Some(&offer()));
    let rejection = pbx.last(&nobody);
    assert_eq!(rejection.status(), Some(403), "it has no extension");
    pbx.ack_error(&dialog, &rejection);
    assert!(pbx.settings.is_empty());
    pbx.assert_idle();
}

#[test]
fn a_setting_that_could_not_be_stored_is_not_confirmed() {
    let (mut pbx, ana, _) = open();
    let (dialog, token, _) = dial(&mut pbx, &ana, "*78");
    pbx.feed(Input::SettingChanged { token, done: false });
    let rejection = pbx.last(&ana);
    assert_eq!(rejection.status(), Some(500));
    pbx.ack_error(&dialog, &rejection);
    // Without a response from the database the call ends, and the late response has no effect.
    let (dialog, token, _) = dial(&mut pbx, &ana, "*78");
    pbx.advance(Duration::from_secs(6));
    let rejection = pbx.last(&ana);
    assert_eq!(rejection.status(), Some(480));
    pbx.ack_error(&dialog, &rejection);
    pbx.feed(Input::SettingChanged { token, done: true });
    assert_eq!(pbx.summary(&ana), "");
    pbx.assert_idle();
}

#[test]
fn a_caller_who_hangs_up_first_is_not_answered() {
    let (mut pbx, ana, _) = open();
    let (dialog, token, _) = dial(&mut pbx, &ana, "*78");
    pbx.cancel(&dialog);
    pbx.received(&ana);
    pbx.feed(Input::SettingChanged { token, done: true });
    assert!(!pbx.received(&ana).iter().any(|message| message.status() == Some(200)));
}

#[test]
fn feature_codes_can_be_changed_and_disabled() {
    let (mut pbx, ana, _) = open_with(|config| {
        config.features.do_not_disturb_on = "*60".into();
        config.features.call_back = String::new();
    });
    for code in ["*78", "*69"] {
        let dialog = pbx.call(&ana, code, Some(&offer()));
        let rejection = pbx.last(&ana);
        assert!(matches!(rejection.status(), Some(404 | 484)), "{code}: {:?}", rejection.status());
        pbx.ack_error(&dialog, &rejection);
    }
    let (_, _, setting) = dial(&mut pbx, &ana, "*60");
    assert_eq!(setting, Setting::DoNotDisturb(true));
}

fn assert_anonymous(invite: &Message, number: &str) {
    let from = invite.header(HeaderName::From).unwrap();
    assert!(from.starts_with("\"Anonymous\" <sip:anonymous@anonymous.invalid>"), "{from}"); // RFC 3323 §4.1.1.3
    assert_eq!(invite.header(HeaderName::Privacy), Some("id"));
    let text = String::from_utf8_lossy(invite.bytes()).into_owned();
    let shown: Vec<&str> = text.lines().filter(|header| header.contains(number)).collect();
    assert!(shown.iter().all(|header| header.starts_with("P-Asserted-Identity:")), "{shown:?}");
}

#[test]
fn a_withheld_number_is_shown_to_no_phone_and_cannot_be_called_back() {
    let (mut pbx, ana, benito) = open();
    let dialog = pbx.call(&ana, "*671002", Some(&offer()));
    let invite = pbx.expect_invite(&benito).invite;
    assert_anonymous(&invite, "1001");
    pbx.cancel(&dialog);
    pbx.received(&benito);
    pbx.advance(Duration::from_secs(60));
    let dialog = pbx.call(&benito, "*69", Some(&offer()));
    let rejection = pbx.last(&benito);
    assert_eq!(rejection.status(), Some(404), "a withheld number is not called back");
    pbx.ack_error(&dialog, &rejection);
    assert_eq!(pbx.records()[0].cause, Some(Cause::Cancelled));
}

#[test]
fn a_carrier_gets_the_number_with_privacy_id() {
    let (mut pbx, ana, _) = open();
    pbx.add_trunk(&trunk("one", &[1]), &[1]);
    pbx.call(&ana, "*67+34912345678", Some(&offer()));
    let invite = pbx.expect_invite(&carrier(1)).invite;
    assert_anonymous(&invite, "+34910000000");
    let asserted = invite.header(HeaderName::PAssertedIdentity).unwrap();
    assert!(asserted.contains("+34910000000"), "{asserted}"); // RFC 3325 §7
}

#[test]
fn the_last_caller_is_called_back() {
    let (mut pbx, ana, benito) = open();
    let dialog = pbx.call(&benito, "*69", Some(&offer()));
    let rejection = pbx.last(&benito);
    assert_eq!(rejection.status(), Some(404), "there is no last caller");
    pbx.ack_error(&dialog, &rejection);
    let dialog = pbx.call(&ana, "1002", Some(&offer()));
    pbx.expect_invite(&benito);
    pbx.cancel(&dialog);
    pbx.received(&benito);
    pbx.received(&ana);
    pbx.call(&benito, "*69", Some(&offer()));
    let invite = pbx.expect_invite(&ana).invite;
    assert!(invite.header(HeaderName::From).unwrap().contains("sip:1002@"), "1001's phone rings");
}
