//! What a user may spend on the outside, by whichever road a call goes there (security.md row 7).

use std::time::Duration;

use centralita_switch::{Command, Config, Originate, Reply, ScheduledOrigin};
use model::journal::{CallEvent, Record};
use model::{CallId, CallStatus, Cause, DialledNumber, Forwarding, ForwardingMode, RecurringCallId};
use sip::{HeaderName, Message};

use crate::office::carrier::{carrier, trunk};
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

/// 1001 (ana's) and 1002 (benito's) at their phones, and a trunk.
fn house(change: impl FnOnce(&mut Config)) -> (Office, Phone, Phone) {
    let mut office = Office::open_with(change);
    let phones = ["1001", "1002"].map(|number| office.phone(number));
    for phone in &phones {
        office.register(phone);
    }
    office.add_trunk(&trunk("one", &[1]), &[1]);
    let [ana, benito] = phones;
    (office, ana, benito)
}

fn wish(planned: Option<&str>) -> Originate {
    Originate {
        user: user("ana"),
        from: Some("1001".into()),
        device: None,
        to: MADRID.into(),
        ring_timeout: Duration::from_secs(30),
        require_device: true,
        planned: planned.map(|id| ScheduledOrigin {
            call: CallId::parse(id).unwrap(),
            recurring: RecurringCallId::parse("recurring_1_a").unwrap(),
            due: base::Timestamp::default(),
            action: model::Action::Connect,
        }),
    }
}

fn refusal(office: &mut Office, line: &Line) -> Message {
    let refusal = office.last(&line.phone);
    assert!(refusal.status().is_some_and(|status| status >= 300), "{refusal:?}");
    office.ack_refusal(line, &refusal);
    refusal
}

/// A call that is up outside: the caller's end and the carrier's.
fn connected(office: &mut Office, phone: &Phone) -> (Line, Line) {
    let mut caller = office.call(phone, MADRID, Some(&offer()));
    let callee = office.invited(1);
    office.answer(&callee, 200, Some(&answer()));
    let ok = office.last(phone);
    office.acknowledge(&mut caller, &ok, None);
    office.carried(1);
    (caller, callee)
}

/// Both phones of a call that we ended say yes to BYE.
fn buried(office: &mut Office, (caller, callee): &(Line, Line)) {
    let bye = office.last(&caller.phone);
    assert!(bye.header(HeaderName::Reason).unwrap().contains("used up for today"), "{bye:?}");
    office.respond(caller, &bye, 200, "", None);
    let bye = office.carried(1).pop().unwrap();
    assert_eq!(bye.method().as_str(), "BYE");
    office.respond(callee, &bye, 200, "", None);
}

/// Shares of the day that were told of, by user.
fn alerts(office: &Office) -> Vec<(String, u8)> {
    let alert = |record: &Record| match record {
        Record::Noted(CallEvent::SpendAlert { user, percent, .. }) => Some((user.to_string(), *percent)),
        _ => None,
    };
    office.journal.iter().filter_map(alert).collect()
}

#[test]
fn so_many_calls_a_minute_leave_the_house_by_all_roads_together() {
    let (mut office, ana, benito) = house(|config| config.outside.calls_per_minute = 3);
    let to_madrid = Forwarding {
        enabled: true,
        number: Some(DialledNumber::parse(MADRID).unwrap()),
        mode: ForwardingMode::Always,
    };
    office.change_extension("1003", |e| e.forwarding = to_madrid.clone()); // ana's too
    office.change_extension("1002", |e| e.forwarding = to_madrid);
    // By telephone, by forwarding (benito calls ana's extension), and by the API.
    for (phone, number) in [(&ana, MADRID), (&benito, "1003")] {
        let line = office.call(phone, number, Some(&offer()));
        let callee = office.invited(1);
        office.answer(&callee, 486, None);
        assert_eq!(refusal(&mut office, &line).status(), Some(486));
    }
    let Reply::Call(record) = office.ask(Command::Originate(wish(None))) else { panic!("refused") };
    office.ask(Command::End { call: record.id });
    office.heard(&ana);
    office.carried(1);
    // The fourth is one too many, by each of the roads.
    let line = office.call(&ana, MADRID, Some(&offer()));
    let answer = refusal(&mut office, &line);
    assert_eq!((answer.status(), answer.header(HeaderName::RetryAfter)), (Some(503), Some("10")));
    assert!(answer.header(HeaderName::Reason).unwrap().contains("Too many calls to the outside"));
    assert!(office.why().contains("limit: who pays for it has begun 3 calls"), "{}", office.why());
    let line = office.call(&benito, "1003", Some(&offer()));
    assert_eq!(refusal(&mut office, &line).status(), Some(503));
    for planned in [None, Some("session_1_planned")] {
        let asked = office.ask(Command::Originate(wish(planned)));
        assert_eq!(asked, Reply::Refused(Cause::CallRateLimit));
    }
    assert_eq!(office.carried_in_short(1), "");
    // Calls inside the house are not counted, nor are those of others.
    let line = office.call(&ana, "1009", Some(&offer()));
    assert_eq!(refusal(&mut office, &line).status(), Some(404));
    let line = office.call(&ana, "1002", Some(&offer())); // benito forwards it, and pays
    let callee = office.invited(1);
    office.answer(&callee, 486, None);
    assert_eq!(refusal(&mut office, &line).status(), Some(486));
    office.pass(Duration::from_secs(61));
    office.heard(&ana);
    office.carried(1);
    office.call(&ana, MADRID, Some(&offer()));
    office.invited(1);
}

#[test]
fn a_click_to_call_is_counted_once() {
    let (mut office, ana, _) = house(|config| config.outside.calls_per_minute = 1);
    let Reply::Call(_) = office.ask(Command::Originate(wish(None))) else { panic!("refused") };
    let device = office.rung(&ana);
    office.answer(&device, 200, Some(&offer()));
    let callee = office.invited(1); // though nothing is left for a second call
    office.answer(&callee, 200, Some(&answer()));
    assert_eq!(office.ask(Command::Originate(wish(None))), Reply::Refused(Cause::CallRateLimit));
}

#[test]
fn a_day_that_is_used_up_ends_the_calls_that_are_on_and_refuses_others_until_midnight() {
    let (mut office, ana, benito) = house(|config| config.outside.minutes_per_day = 2);
    let (one, two) = (connected(&mut office, &ana), connected(&mut office, &ana));
    let other = connected(&mut office, &benito);
    office.pass(Duration::from_secs(29));
    assert_eq!(alerts(&office), []);
    office.pass(Duration::from_secs(2));
    assert_eq!(alerts(&office), [("ana".to_owned(), 50)], "two calls: twice as fast");
    office.pass(Duration::from_secs(18));
    assert_eq!(alerts(&office).last(), Some(&("ana".to_owned(), 80)));
    assert_eq!(office.status().active_calls, 3);
    office.heard(&ana);
    office.carried(1);
    office.pass(Duration::from_secs(12));
    assert_eq!(office.status().active_calls, 1, "benito has minutes left");
    for record in office.records() {
        assert_eq!(record.cause, Some(Cause::OutsideMinutesUsed));
    }
    let percents: Vec<u8> = alerts(&office).iter().filter(|(who, _)| who == "ana").map(|(_, p)| *p).collect();
    assert_eq!(percents, [50, 80, 100], "each is told once");
    let mut byes = office.heard(&ana);
    byes.retain(|message| message.method().as_str() == "BYE");
    byes.sort_by_key(|bye| bye.call_id().to_owned());
    byes.dedup_by_key(|bye| bye.call_id().to_owned()); // while nobody answers they are sent again
    assert_eq!(byes.len(), 2);
    for bye in &byes {
        assert!(bye.header(HeaderName::Reason).unwrap().contains("used up for today"), "{bye:?}");
        let line = if bye.call_id() == one.0.call_id { &one.0 } else { &two.0 };
        office.respond(line, bye, 200, "", None);
    }
    for bye in office.carried(1) {
        let line = if bye.call_id() == one.1.call_id { &one.1 } else { &two.1 };
        office.respond(line, &bye, 200, "", None);
    }
    assert!(office.records().iter().all(|record| record.status == CallStatus::Completed));
    assert!(office.why().contains("limit: the minutes of the day are used up"), "{}", office.why());

    let line = office.call(&ana, MADRID, Some(&offer()));
    let answer = refusal(&mut office, &line);
    assert_eq!(answer.status(), Some(403));
    assert!(answer.header(HeaderName::Reason).unwrap().contains("used up for today"), "{answer:?}");
    assert!(office.why().contains("limit: the 2 minutes a day of who pays for it are used up"));
    assert_eq!(office.ask(Command::Originate(wish(None))), Reply::Refused(Cause::OutsideMinutesUsed));
    assert_eq!(office.carried_in_short(1), "");

    office.pass(Duration::from_secs(70)); // now the other one's day is used up
    buried(&mut office, &other);
    assert_eq!(alerts(&office).len(), 6);
    office.pass(Duration::from_secs(13 * 3600 + 1800)); // it was half past ten in the morning
    office.register(&ana);
    connected(&mut office, &ana);
}

#[test]
fn nothing_that_was_spent_today_is_forgotten_by_a_crash() {
    let (mut office, ana, _) = house(|config| config.outside.minutes_per_day = 3);
    let (mut caller, callee) = connected(&mut office, &ana);
    office.pass(Duration::from_secs(60));
    office.within(&mut caller, "BYE", "", None);
    let bye = office.carried(1).pop().unwrap();
    office.respond(&callee, &bye, 200, "", None);
    connected(&mut office, &ana);
    office.pass(Duration::from_secs(100));
    office.crash(); // in the middle of a call: 160 seconds were spent
    office.add_trunk(&trunk("one", &[1]), &[1]);
    office.heard(&ana);
    office.carried(1);
    connected(&mut office, &ana);
    office.heard(&ana);
    office.pass(Duration::from_secs(15));
    assert_eq!(office.status().active_calls, 1);
    office.pass(Duration::from_secs(10));
    assert_eq!(office.status().active_calls, 0);
    office.crash();
    assert_eq!(office.ask(Command::Originate(wish(None))), Reply::Refused(Cause::OutsideMinutesUsed));
    assert_eq!(office.heard(&carrier(1)).iter().filter(|m| m.method().as_str() == "INVITE").count(), 0);
}

#[test]
fn a_house_may_set_no_limit() {
    let (mut office, ana, _) = house(|config| {
        (config.outside.calls_per_minute, config.outside.minutes_per_day) = (0, 0);
    });
    for _ in 0..40 {
        let line = office.call(&ana, MADRID, Some(&offer()));
        let callee = office.invited(1);
        office.answer(&callee, 486, None);
        assert_eq!(refusal(&mut office, &line).status(), Some(486));
        office.heard(&carrier(1));
    }
    connected(&mut office, &ana);
    office.pass(Duration::from_secs(600));
    assert_eq!((office.status().active_calls, alerts(&office).len()), (1, 0));
}
