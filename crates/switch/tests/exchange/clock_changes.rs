//! The wall clock is set during a call (F23), by NTP after a start without a battery-backed clock or by hand. Call durations do not change.

use std::time::Duration;

use centralita_switch::{CallsOf, Command, Reply};
use model::CallStatus;
use model::journal::{CallEvent, Record};

use crate::test_switch::TestSwitch;
use crate::test_switch::carrier::trunk;
use crate::test_switch::sdp::sdp;

const HOUR: i64 = 3_600_000_000;

#[test]
fn a_clock_change_does_not_alter_the_duration_of_a_call() {
    for step in [HOUR, -HOUR] {
        let mut pbx = TestSwitch::open();
        let (ana, benito) = (pbx.phone("1001"), pbx.phone("1002"));
        pbx.register(&benito);
        let began = pbx.now().wall;
        let mut caller = pbx.call(&ana, "1002", Some(&sdp("10.0.0.11", 30_000, "0", "sendrecv")));
        let callee = pbx.expect_invite(&benito);
        pbx.answer(&callee, 180, None);
        pbx.advance(Duration::from_secs(2));
        pbx.wall_offset += step;
        pbx.advance(Duration::from_secs(2));
        pbx.answer(&callee, 200, Some(&sdp("10.0.0.12", 31_000, "0", "sendrecv")));
        let ok = pbx.last(&ana);
        pbx.send_ack(&mut caller, &ok, None);
        pbx.advance(Duration::from_secs(1));
        pbx.wall_offset -= 2 * step;
        pbx.advance(Duration::from_secs(2));
        pbx.received(&benito);
        let all = Command::Calls { of: CallsOf::Everybody, after: None, limit: 1 };
        let Reply::Calls(calls) = pbx.command(all) else { panic!() };
        assert_eq!(calls[0].duration_seconds(pbx.now().wall), 3, "while it is up");
        pbx.in_dialog_request(&mut caller, "BYE", "", None);
        let bye = pbx.last(&benito);
        pbx.respond(&callee, &bye, 200, "", None);
        let record = pbx.record();
        let (answered, ended) = (record.answered_at.unwrap(), record.ended_at.unwrap());
        assert_eq!((record.status, record.started_at), (CallStatus::Completed, began));
        assert_eq!(answered.since(record.started_at), Duration::from_secs(4), "{step}");
        assert_eq!(ended.since(answered), Duration::from_secs(3), "{step}");
        assert_eq!(record.duration_seconds(ended), 3);
        for leg in &record.legs {
            assert_eq!((leg.answered_at, leg.ended_at), (Some(answered), Some(ended)), "{step}");
        }
        let noted = pbx.journal.iter().filter_map(|record| match record {
            Record::Noted(CallEvent::Ringing { at, .. } | CallEvent::Answered { at, .. }) => Some(*at),
            _ => None,
        });
        assert_eq!(noted.collect::<Vec<_>>(), [began, answered], "events keep their order");
    }
}

#[test]
fn outbound_minutes_are_counted_by_elapsed_time() {
    for step in [HOUR, -HOUR] {
        let mut pbx = TestSwitch::open();
        pbx.add_trunk(&trunk("one", &[1]), &[1]);
        let ana = pbx.phone("1001");
        let mut caller = pbx.call(&ana, "+34911234567", Some(&sdp("10.0.0.11", 30_000, "0", "sendrecv")));
        let callee = pbx.expect_trunk_invite(1);
        pbx.answer(&callee, 200, Some(&sdp("10.0.1.1", 31_000, "0", "sendrecv")));
        let ok = pbx.last(&ana);
        pbx.send_ack(&mut caller, &ok, None);
        pbx.advance(Duration::from_secs(1));
        pbx.wall_offset += step;
        pbx.advance(Duration::from_secs(2));
        pbx.in_dialog_request(&mut caller, "BYE", "", None);
        let times: Vec<_> = pbx
            .journal
            .iter()
            .filter_map(|record| match record {
                Record::Noted(CallEvent::Outside(time)) => time.until.map(|until| until.since(time.since)),
                _ => None,
            })
            .collect();
        assert_eq!(times, [Duration::from_secs(3)], "{step}");
    }
}
