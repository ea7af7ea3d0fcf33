//! Calls for help go out whatever else stands in the way, and nothing counts them (security.md row 31).

use std::time::Duration;

use centralita_switch::{Command, Originate, Reply, State};
use model::journal::{CallEvent, Record};
use model::{Cause, Change, DialPermissions, DialRules, User};
use sip::HeaderName;

use crate::office::carrier::trunk;
use crate::office::line::Line;
use crate::office::sdp::sdp;
use crate::office::{Office, Phone, user};

const MADRID: &str = "+34912345678";

fn offer() -> String {
    sdp("10.0.0.11", 30_000, "0 8 101", "sendrecv")
}

fn answer() -> String {
    sdp("10.9.0.1", 40_000, "0 8 101", "sendrecv")
}

/// How often calls for help were told of.
fn told(office: &Office) -> usize {
    office.journal.iter().filter(|r| matches!(r, Record::Noted(CallEvent::Emergency { .. }))).count()
}

fn refused(office: &mut Office, line: &Line) -> sip::Message {
    let answer = office.last(&line.phone);
    assert!(answer.status().is_some_and(|status| status >= 300), "{answer:?}");
    office.ack_refusal(line, &answer);
    answer
}

/// Help is called, and answers.
fn helped(office: &mut Office, phone: &Phone, number: &str, wire: &str) -> (Line, Line) {
    let mut caller = office.call(phone, number, Some(&offer()));
    let callee = office.invited(1);
    assert_eq!(callee.invite.uri().unwrap().user().as_deref(), Some(wire), "{number}");
    office.answer(&callee, 200, Some(&answer()));
    let ok = office.last(phone);
    office.acknowledge(&mut caller, &ok, None);
    office.carried(1);
    (caller, callee)
}

fn hung_up(office: &mut Office, (mut caller, callee): (Line, Line)) {
    office.within(&mut caller, "BYE", "", None);
    let bye = office.carried(1).pop().unwrap();
    office.respond(&callee, &bye, 200, "", None);
    office.heard(&caller.phone);
}

#[test]
fn no_limit_and_no_permission_stands_in_the_way_and_none_is_used_up() {
    let mut office = Office::open_with(|config| {
        config.calls_per_user = 1;
        (config.outside.calls_per_minute, config.outside.minutes_per_day) = (1, 1);
    });
    let ana = office.phone("1001");
    office.register(&ana);
    let mut one = trunk("one", &[1]);
    (one.settings.max_channels, one.settings.calls_per_second) = (Some(1), Some(1));
    office.add_trunk(&one, &[1]);
    let nothing = DialPermissions { internal: false, national: false, international: false, premium: false };
    // Help first: afterwards there is as much left as before.
    let help = helped(&mut office, &ana, "112", "112");
    let line = office.call(&ana, MADRID, Some(&offer()));
    assert_eq!(office.last(&ana).status(), Some(503), "the trunk's one channel");
    drop(line);
    office.pass(Duration::from_secs(90)); // longer than the minutes of the day
    hung_up(&mut office, help);
    // The user's one call, in the minute's one call.
    let busy = office.call(&ana, MADRID, Some(&offer()));
    let callee = office.invited(1);
    office.answer(&callee, 180, None);
    office.change_extension("1001", |e| e.dial_permissions = nothing);
    for (number, wire) in
        [("911", "911"), ("+112", "112"), ("000", "000"), ("1-1-2", "112"), ("00112", "112")]
    {
        let help = helped(&mut office, &ana, number, wire);
        assert_eq!(office.status().active_calls, 2);
        hung_up(&mut office, help);
    }
    assert_eq!(told(&office), 6);
    office.cancel(&busy);
    let costs =
        |r: &&Record| matches!(r, Record::Noted(CallEvent::Outside(_) | CallEvent::SpendAlert { .. }));
    assert_eq!(office.journal.iter().filter(costs).count(), 0, "help costs nobody anything");
}

#[test]
fn while_the_exchange_is_going_down_help_is_still_called() {
    let mut office = Office::open();
    let ana = office.phone("1001");
    office.register(&ana);
    office.add_trunk(&trunk("one", &[1]), &[1]);
    let line = office.call(&ana, "*43", Some(&offer()));
    let ok = office.last(&ana);
    let mut echo = line;
    office.acknowledge(&mut echo, &ok, None);
    office.ask(Command::Stop { force: false });
    assert_eq!(office.status().state, State::Draining);
    let line = office.call(&ana, MADRID, Some(&offer()));
    assert!(refused(&mut office, &line).header(HeaderName::Reason).unwrap().contains("shutting down"));
    let help = helped(&mut office, &ana, "112", "112");
    office.within(&mut echo, "BYE", "", None);
    office.pass(Duration::from_secs(40));
    assert!(office.listens.is_empty(), "nobody hangs up on who calls for help");
    hung_up(&mut office, help);
    office.pass(Duration::from_secs(40));
    assert_eq!(office.listens, [false]);
}

#[test]
fn without_a_trunk_the_caller_is_told_to_use_another_telephone() {
    let mut office = Office::open();
    let ana = office.phone("1001");
    office.register(&ana);
    let line = office.call(&ana, "112", Some(&offer()));
    let answer = refused(&mut office, &line);
    assert_eq!(answer.status(), Some(503));
    assert!(answer.header(HeaderName::Reason).unwrap().contains("use another telephone"), "{answer:?}");
    assert_eq!(office.records().pop().unwrap().cause, Some(Cause::EmergencyNoRoute));
    assert_eq!(told(&office), 1, "whoever watches should know");
}

#[test]
fn the_numbers_are_those_of_the_house_s_country_or_those_it_names() {
    let mut office = Office::open();
    let ana = office.phone("1001");
    office.register(&ana);
    office.add_trunk(&trunk("one", &[1]), &[1]);
    let rules = |office: &mut Office, country: &str, named: &[&str]| {
        office.directory.set_rules(DialRules {
            country: Some(country.into()),
            emergency: named.iter().map(|number| (*number).into()).collect(),
            ..DialRules::default()
        });
        let user = User { id: user("ana"), created_at: base::Timestamp::default() };
        office.change(vec![Change::User(user)]); // every change brings the rules along
    };
    rules(&mut office, "57", &[]);
    let help = helped(&mut office, &ana, "123", "123");
    hung_up(&mut office, help);
    rules(&mut office, "34", &[]);
    let line = office.call(&ana, "123", Some(&offer()));
    assert_eq!(refused(&mut office, &line).status(), Some(404), "it is Colombia's");
    rules(&mut office, "34", &["112", "0800911"]);
    let help = helped(&mut office, &ana, "0800911", "0800911");
    hung_up(&mut office, help);
    let line = office.call(&ana, "999", Some(&offer()));
    assert_eq!(refused(&mut office, &line).status(), Some(404), "the house does not name it");
    let wish = Originate {
        user: user("ana"),
        from: Some("1001".into()),
        device: None,
        to: "0800911".into(),
        ring_timeout: Duration::from_secs(30),
        require_device: true,
        planned: None,
    };
    assert_eq!(office.ask(Command::Originate(wish)), Reply::Refused(Cause::EmergencyNotAllowed));
}
