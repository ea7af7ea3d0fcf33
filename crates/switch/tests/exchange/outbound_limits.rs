//! Limits of a user's outbound calls, over all origins together (security.md row 7).

use std::time::Duration;

use centralita_switch::{Command, Config, Originate, Reply, ScheduledOrigin};
use model::journal::{CallEvent, Record};
use model::{CallId, CallStatus, Cause, DialledNumber, Forwarding, ForwardingMode, RecurringCallId};
use sip::{HeaderName, Message};

use crate::test_switch::carrier::{carrier, trunk};
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

/// 1001 (ana's) and 1002 (benito's) with registered phones, and a trunk.
fn setup(change: impl FnOnce(&mut Config)) -> (TestSwitch, Phone, Phone) {
    let mut pbx = TestSwitch::open_with(change);
    let phones = ["1001", "1002"].map(|number| pbx.phone(number));
    for phone in &phones {
        pbx.register(phone);
    }
    pbx.add_trunk(&trunk("one", &[1]), &[1]);
    let [ana, benito] = phones;
    (pbx, ana, benito)
}

fn originate_params(planned: Option<&str>) -> Originate {
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

fn rejection(pbx: &mut TestSwitch, dialog: &TestDialog) -> Message {
    let rejection = pbx.last(&dialog.phone);
    assert!(rejection.status().is_some_and(|status| status >= 300), "{rejection:?}");
    pbx.ack_error(dialog, &rejection);
    rejection
}

/// A confirmed outbound call: the caller's and the carrier's dialog.
fn connected(pbx: &mut TestSwitch, phone: &Phone) -> (TestDialog, TestDialog) {
    let mut caller = pbx.call(phone, MADRID, Some(&offer()));
    let callee = pbx.expect_trunk_invite(1);
    pbx.answer(&callee, 200, Some(&answer()));
    let ok = pbx.last(phone);
    pbx.send_ack(&mut caller, &ok, None);
    pbx.received_by_carrier(1);
    (caller, callee)
}

/// Both phones answer the BYE of a call that we ended.
fn answer_byes(pbx: &mut TestSwitch, (caller, callee): &(TestDialog, TestDialog)) {
    let bye = pbx.last(&caller.phone);
    assert!(bye.header(HeaderName::Reason).unwrap().contains("used up for today"), "{bye:?}");
    pbx.respond(caller, &bye, 200, "", None);
    let bye = pbx.received_by_carrier(1).pop().unwrap();
    assert_eq!(bye.method().as_str(), "BYE");
    pbx.respond(callee, &bye, 200, "", None);
}

/// The reported percentages of the daily minutes, by user.
fn alerts(pbx: &TestSwitch) -> Vec<(String, u8)> {
    let alert = |record: &Record| match record {
        Record::Noted(CallEvent::SpendAlert { user, percent, .. }) => Some((user.to_string(), *percent)),
        _ => None,
    };
    pbx.journal.iter().filter_map(alert).collect()
}

#[test]
fn outbound_calls_per_minute_are_limited_over_all_origins_together() {
    let (mut pbx, ana, benito) = setup(|config| config.outside.calls_per_minute = 3);
    let to_madrid = Forwarding {
        enabled: true,
        number: Some(DialledNumber::parse(MADRID).unwrap()),
        mode: ForwardingMode::Always,
    };
    pbx.change_extension("1003", |e| e.forwarding = to_madrid.clone()); // ana's too
    pbx.change_extension("1002", |e| e.forwarding = to_madrid);
    // From a phone, by forwarding (benito calls ana's extension), and by the API.
    for (phone, number) in [(&ana, MADRID), (&benito, "1003")] {
        let dialog = pbx.call(phone, number, Some(&offer()));
        let callee = pbx.expect_trunk_invite(1);
        pbx.answer(&callee, 486, None);
        assert_eq!(rejection(&mut pbx, &dialog).status(), Some(486));
    }
    let Reply::Call(record) = pbx.command(Command::Originate(originate_params(None))) else {
        panic!("refused")
    };
    pbx.command(Command::End { call: record.id });
    pbx.received(&ana);
    pbx.received_by_carrier(1);
    // The fourth exceeds the limit, from each origin.
    let dialog = pbx.call(&ana, MADRID, Some(&offer()));
    let answer = rejection(&mut pbx, &dialog);
    assert_eq!((answer.status(), answer.header(HeaderName::RetryAfter)), (Some(503), Some("10")));
    assert!(answer.header(HeaderName::Reason).unwrap().contains("Too many calls to the outside"));
    assert!(pbx.trace().contains("limit: who pays for it has begun 3 calls"), "{}", pbx.trace());
    let dialog = pbx.call(&benito, "1003", Some(&offer()));
    assert_eq!(rejection(&mut pbx, &dialog).status(), Some(503));
    for planned in [None, Some("session_1_planned")] {
        let asked = pbx.command(Command::Originate(originate_params(planned)));
        assert_eq!(asked, Reply::Refused(Cause::CallRateLimit));
    }
    assert_eq!(pbx.carrier_summary(1), "");
    // Internal calls are not counted, nor are those of other users.
    let dialog = pbx.call(&ana, "1009", Some(&offer()));
    assert_eq!(rejection(&mut pbx, &dialog).status(), Some(404));
    let dialog = pbx.call(&ana, "1002", Some(&offer())); // benito forwards it, and is charged
    let callee = pbx.expect_trunk_invite(1);
    pbx.answer(&callee, 486, None);
    assert_eq!(rejection(&mut pbx, &dialog).status(), Some(486));
    pbx.advance(Duration::from_secs(61));
    pbx.received(&ana);
    pbx.received_by_carrier(1);
    pbx.call(&ana, MADRID, Some(&offer()));
    pbx.expect_trunk_invite(1);
}

#[test]
fn a_click_to_call_is_counted_once() {
    let (mut pbx, ana, _) = setup(|config| config.outside.calls_per_minute = 1);
    let Reply::Call(_) = pbx.command(Command::Originate(originate_params(None))) else { panic!("refused") };
    let device = pbx.expect_invite(&ana);
    pbx.answer(&device, 200, Some(&offer()));
    let callee = pbx.expect_trunk_invite(1); // although nothing is left for a second call
    pbx.answer(&callee, 200, Some(&answer()));
    assert_eq!(pbx.command(Command::Originate(originate_params(None))), Reply::Refused(Cause::CallRateLimit));
}

#[test]
fn used_up_daily_minutes_end_active_calls_and_reject_others_until_midnight() {
    let (mut pbx, ana, benito) = setup(|config| config.outside.minutes_per_day = 2);
    let (one, two) = (connected(&mut pbx, &ana), connected(&mut pbx, &ana));
    let other = connected(&mut pbx, &benito);
    pbx.advance(Duration::from_secs(29));
    assert_eq!(alerts(&pbx), []);
    pbx.advance(Duration::from_secs(2));
    assert_eq!(alerts(&pbx), [("ana".to_owned(), 50)], "two calls: twice as fast");
    pbx.advance(Duration::from_secs(18));
    assert_eq!(alerts(&pbx).last(), Some(&("ana".to_owned(), 80)));
    assert_eq!(pbx.status().active_calls, 3);
    pbx.received(&ana);
    pbx.received_by_carrier(1);
    pbx.advance(Duration::from_secs(12));
    assert_eq!(pbx.status().active_calls, 1, "benito has minutes left");
    for record in pbx.records() {
        assert_eq!(record.cause, Some(Cause::OutsideMinutesUsed));
    }
    let percents: Vec<u8> = alerts(&pbx).iter().filter(|(who, _)| who == "ana").map(|(_, p)| *p).collect();
    assert_eq!(percents, [50, 80, 100], "each is reported once");
    let mut byes = pbx.received(&ana);
    byes.retain(|message| message.method().as_str() == "BYE");
    byes.sort_by_key(|bye| bye.call_id().to_owned());
    byes.dedup_by_key(|bye| bye.call_id().to_owned()); // retransmitted until answered
    assert_eq!(byes.len(), 2);
    for bye in &byes {
        assert!(bye.header(HeaderName::Reason).unwrap().contains("used up for today"), "{bye:?}");
        let dialog = if bye.call_id() == one.0.call_id { &one.0 } else { &two.0 };
        pbx.respond(dialog, bye, 200, "", None);
    }
    for bye in pbx.received_by_carrier(1) {
        let dialog = if bye.call_id() == one.1.call_id { &one.1 } else { &two.1 };
        pbx.respond(dialog, &bye, 200, "", None);
    }
    assert!(pbx.records().iter().all(|record| record.status == CallStatus::Completed));
    assert!(pbx.trace().contains("limit: the minutes of the day are used up"), "{}", pbx.trace());

    let dialog = pbx.call(&ana, MADRID, Some(&offer()));
    let answer = rejection(&mut pbx, &dialog);
    assert_eq!(answer.status(), Some(403));
    assert!(answer.header(HeaderName::Reason).unwrap().contains("used up for today"), "{answer:?}");
    assert!(pbx.trace().contains("limit: the 2 minutes a day of who pays for it are used up"));
    assert_eq!(
        pbx.command(Command::Originate(originate_params(None))),
        Reply::Refused(Cause::OutsideMinutesUsed)
    );
    assert_eq!(pbx.carrier_summary(1), "");

    pbx.advance(Duration::from_secs(70)); // now the other user's minutes are used up
    answer_byes(&mut pbx, &other);
    assert_eq!(alerts(&pbx).len(), 6);
    pbx.advance(Duration::from_secs(13 * 3600 + 1800)); // it was half past ten in the morning
    pbx.register(&ana);
    connected(&mut pbx, &ana);
}

#[test]
fn outbound_usage_of_the_day_survives_a_crash() {
    let (mut pbx, ana, _) = setup(|config| config.outside.minutes_per_day = 3);
    let (mut caller, callee) = connected(&mut pbx, &ana);
    pbx.advance(Duration::from_secs(60));
    pbx.in_dialog_request(&mut caller, "BYE", "", None);
    let bye = pbx.received_by_carrier(1).pop().unwrap();
    pbx.respond(&callee, &bye, 200, "", None);
    connected(&mut pbx, &ana);
    pbx.advance(Duration::from_secs(100));
    pbx.crash(); // during a call: 160 seconds were used
    pbx.add_trunk(&trunk("one", &[1]), &[1]);
    pbx.received(&ana);
    pbx.received_by_carrier(1);
    connected(&mut pbx, &ana);
    pbx.received(&ana);
    pbx.advance(Duration::from_secs(15));
    assert_eq!(pbx.status().active_calls, 1);
    pbx.advance(Duration::from_secs(10));
    assert_eq!(pbx.status().active_calls, 0);
    pbx.crash();
    assert_eq!(
        pbx.command(Command::Originate(originate_params(None))),
        Reply::Refused(Cause::OutsideMinutesUsed)
    );
    assert_eq!(pbx.received(&carrier(1)).iter().filter(|m| m.method().as_str() == "INVITE").count(), 0);
}

#[test]
fn zero_means_no_outbound_limit() {
    let (mut pbx, ana, _) = setup(|config| {
        (config.outside.calls_per_minute, config.outside.minutes_per_day) = (0, 0);
    });
    for _ in 0..40 {
        let dialog = pbx.call(&ana, MADRID, Some(&offer()));
        let callee = pbx.expect_trunk_invite(1);
        pbx.answer(&callee, 486, None);
        assert_eq!(rejection(&mut pbx, &dialog).status(), Some(486));
        pbx.received(&carrier(1));
    }
    connected(&mut pbx, &ana);
    pbx.advance(Duration::from_secs(600));
    assert_eq!((pbx.status().active_calls, alerts(&pbx).len()), (1, 0));
}
