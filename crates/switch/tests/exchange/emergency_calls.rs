//! Emergency calls are placed whatever limit or permission would block them, and count against none (security.md row 31).

use std::time::Duration;

use centralita_switch::{Command, Originate, Reply, State};
use model::journal::{CallEvent, Record};
use model::{Cause, Change, DialPermissions, DialRules, User};
use sip::HeaderName;

use crate::test_switch::carrier::trunk;
use crate::test_switch::dialog::TestDialog;
use crate::test_switch::sdp::sdp;
use crate::test_switch::{Phone, TestSwitch, user};

const MADRID: &str = "+34912345678";

fn offer() -> String {
    sdp("10.0.0.11", 30_000, "0 8 101", "sendrecv")
}

fn answer() -> String {
    sdp("10.9.0.1", 40_000, "0 8 101", "sendrecv")
}

/// Number of emergency call events.
fn emergency_events(pbx: &TestSwitch) -> usize {
    pbx.journal.iter().filter(|r| matches!(r, Record::Noted(CallEvent::Emergency { .. }))).count()
}

fn expect_rejection(pbx: &mut TestSwitch, dialog: &TestDialog) -> sip::Message {
    let answer = pbx.last(&dialog.phone);
    assert!(answer.status().is_some_and(|status| status >= 300), "{answer:?}");
    pbx.ack_error(dialog, &answer);
    answer
}

/// An emergency call that is answered.
fn emergency_call(pbx: &mut TestSwitch, phone: &Phone, number: &str, wire: &str) -> (TestDialog, TestDialog) {
    let mut caller = pbx.call(phone, number, Some(&offer()));
    let callee = pbx.expect_trunk_invite(1);
    assert_eq!(callee.invite.uri().unwrap().user().as_deref(), Some(wire), "{number}");
    pbx.answer(&callee, 200, Some(&answer()));
    let ok = pbx.last(phone);
    pbx.send_ack(&mut caller, &ok, None);
    pbx.received_by_carrier(1);
    (caller, callee)
}

fn hung_up(pbx: &mut TestSwitch, (mut caller, callee): (TestDialog, TestDialog)) {
    pbx.in_dialog_request(&mut caller, "BYE", "", None);
    let bye = pbx.received_by_carrier(1).pop().unwrap();
    pbx.respond(&callee, &bye, 200, "", None);
    pbx.received(&caller.phone);
}

#[test]
fn emergency_calls_bypass_limits_and_permissions_and_use_none_up() {
    let mut pbx = TestSwitch::open_with(|config| {
        config.calls_per_user = 1;
        (config.outside.calls_per_minute, config.outside.minutes_per_day) = (1, 1);
    });
    let ana = pbx.phone("1001");
    pbx.register(&ana);
    let mut one = trunk("one", &[1]);
    (one.settings.max_channels, one.settings.calls_per_second) = (Some(1), Some(1));
    pbx.add_trunk(&one, &[1]);
    let nothing = DialPermissions { internal: false, national: false, international: false, premium: false };
    // The emergency call first: it must not reduce what is left.
    let emergency = emergency_call(&mut pbx, &ana, "112", "112");
    let dialog = pbx.call(&ana, MADRID, Some(&offer()));
    assert_eq!(pbx.last(&ana).status(), Some(503), "the trunk's one channel");
    drop(dialog);
    pbx.advance(Duration::from_secs(90)); // longer than the daily minutes
    hung_up(&mut pbx, emergency);
    // The user's one permitted call, within the one permitted call per minute.
    let busy = pbx.call(&ana, MADRID, Some(&offer()));
    let callee = pbx.expect_trunk_invite(1);
    pbx.answer(&callee, 180, None);
    pbx.change_extension("1001", |e| e.dial_permissions = nothing);
    for (number, wire) in
        [("911", "911"), ("+112", "112"), ("000", "000"), ("1-1-2", "112"), ("00112", "112")]
    {
        let emergency = emergency_call(&mut pbx, &ana, number, wire);
        assert_eq!(pbx.status().active_calls, 2);
        hung_up(&mut pbx, emergency);
    }
    assert_eq!(emergency_events(&pbx), 6);
    pbx.cancel(&busy);
    let costs =
        |r: &&Record| matches!(r, Record::Noted(CallEvent::Outside(_) | CallEvent::SpendAlert { .. }));
    assert_eq!(pbx.journal.iter().filter(costs).count(), 0, "emergency calls are not charged");
}

#[test]
fn emergency_calls_are_placed_while_draining() {
    let mut pbx = TestSwitch::open();
    let ana = pbx.phone("1001");
    pbx.register(&ana);
    pbx.add_trunk(&trunk("one", &[1]), &[1]);
    let dialog = pbx.call(&ana, "*43", Some(&offer()));
    let ok = pbx.last(&ana);
    let mut echo = dialog;
    pbx.send_ack(&mut echo, &ok, None);
    pbx.command(Command::Stop { force: false });
    assert_eq!(pbx.status().state, State::Draining);
    let dialog = pbx.call(&ana, MADRID, Some(&offer()));
    assert!(
        expect_rejection(&mut pbx, &dialog).header(HeaderName::Reason).unwrap().contains("shutting down")
    );
    let emergency = emergency_call(&mut pbx, &ana, "112", "112");
    pbx.in_dialog_request(&mut echo, "BYE", "", None);
    pbx.advance(Duration::from_secs(40));
    assert!(pbx.listen_outputs.is_empty(), "the emergency call is not released");
    hung_up(&mut pbx, emergency);
    pbx.advance(Duration::from_secs(40));
    assert_eq!(pbx.listen_outputs, [false]);
}

#[test]
fn without_a_trunk_an_emergency_call_gets_a_clear_rejection() {
    let mut pbx = TestSwitch::open();
    let ana = pbx.phone("1001");
    pbx.register(&ana);
    let dialog = pbx.call(&ana, "112", Some(&offer()));
    let answer = expect_rejection(&mut pbx, &dialog);
    assert_eq!(answer.status(), Some(503));
    assert!(answer.header(HeaderName::Reason).unwrap().contains("use another telephone"), "{answer:?}");
    assert_eq!(pbx.records().pop().unwrap().cause, Some(Cause::EmergencyNoRoute));
    assert_eq!(emergency_events(&pbx), 1, "the event is reported");
}

#[test]
fn emergency_numbers_come_from_the_country_or_the_configuration() {
    let mut pbx = TestSwitch::open();
    let ana = pbx.phone("1001");
    pbx.register(&ana);
    pbx.add_trunk(&trunk("one", &[1]), &[1]);
    let rules = |pbx: &mut TestSwitch, country: &str, named: &[&str]| {
        pbx.directory.set_rules(DialRules {
            country: Some(country.into()),
            emergency: named.iter().map(|number| (*number).into()).collect(),
            ..DialRules::default()
        });
        let user = User { id: user("ana"), created_at: base::Timestamp::default() };
        pbx.change(vec![Change::User(user)]); // each change reloads the rules
    };
    rules(&mut pbx, "57", &[]);
    let emergency = emergency_call(&mut pbx, &ana, "123", "123");
    hung_up(&mut pbx, emergency);
    rules(&mut pbx, "34", &[]);
    let dialog = pbx.call(&ana, "123", Some(&offer()));
    assert_eq!(expect_rejection(&mut pbx, &dialog).status(), Some(404), "it is Colombia's");
    rules(&mut pbx, "34", &["112", "0800911"]);
    let emergency = emergency_call(&mut pbx, &ana, "0800911", "0800911");
    hung_up(&mut pbx, emergency);
    let dialog = pbx.call(&ana, "999", Some(&offer()));
    assert_eq!(expect_rejection(&mut pbx, &dialog).status(), Some(404), "not in the configured list");
    let originate_params = Originate {
        user: user("ana"),
        from: Some("1001".into()),
        device: None,
        to: "0800911".into(),
        ring_timeout: Duration::from_secs(30),
        require_device: true,
        planned: None,
    };
    assert_eq!(pbx.command(Command::Originate(originate_params)), Reply::Refused(Cause::EmergencyNotAllowed));
}

#[test]
fn the_location_of_the_caller_reaches_the_trunk_and_nobody_else() {
    let multipart = format!(
        "--b1\r\nContent-Type: application/sdp\r\n\r\n{}\r\n--b1\r\nContent-Type: application/pidf+xml\r\n\
         Content-ID: <here@phone>\r\n\r\n<presence/>\r\n--b1--\r\n",
        offer()
    );
    let lines = "Content-Type: multipart/mixed; boundary=b1\r\nGeolocation: <cid:here@phone>\r\nGeolocation-Routing: yes\r\n";
    let mut pbx = TestSwitch::open();
    pbx.add_trunk(&trunk("one", &[1]), &[1]);
    let (ana, benito) = (pbx.phone("1001"), pbx.phone("1002"));
    pbx.register(&benito);
    pbx.call_with(&ana, "112", Some(&multipart), lines);
    let invite = pbx.expect_trunk_invite(1).invite;
    let parts = invite.body_parts().unwrap();
    assert!(parts.sdp.is_some_and(|sdp| sdp.starts_with(b"v=0")), "ours, not the phone's");
    assert_eq!(parts.others.len(), 1);
    assert_eq!(
        (parts.others[0].content_type.as_str(), &parts.others[0].body[..]),
        ("application/pidf+xml", &b"<presence/>"[..])
    );
    assert_eq!(invite.header_named("Geolocation"), Some("<cid:here@phone>"));
    assert_eq!(invite.header_named("Geolocation-Routing"), Some("yes"));

    // The same INVITE to an extension: its SDP is used, and the location stays with us.
    pbx.call_with(&ana, "1002", Some(&multipart), lines);
    let invite = pbx.expect_invite(&benito).invite;
    let parts = invite.body_parts().unwrap();
    assert!(parts.sdp.is_some() && parts.others.is_empty());
    assert_eq!(invite.header_named("Geolocation"), None);
}
