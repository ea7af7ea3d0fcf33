//! The wall clock is set while a call is up (F23): by NTP after a start without a battery, or by hand. A call lasts as long as it lasts.

use std::time::Duration;

use model::CallStatus;
use model::journal::{CallEvent, Record};

use crate::office::Office;
use crate::office::carrier::trunk;
use crate::office::sdp::sdp;

const HOUR: i64 = 3_600_000_000;

#[test]
fn a_call_of_three_seconds_is_one_of_three_seconds_whatever_the_clock_shows() {
    for step in [HOUR, -HOUR] {
        let mut office = Office::open();
        let (ana, benito) = (office.phone("1001"), office.phone("1002"));
        office.register(&benito);
        let began = office.now().wall;
        let mut caller = office.call(&ana, "1002", Some(&sdp("10.0.0.11", 30_000, "0", "sendrecv")));
        let callee = office.rung(&benito);
        office.answer(&callee, 180, None);
        office.pass(Duration::from_secs(2));
        office.clock_set += step;
        office.pass(Duration::from_secs(2));
        office.answer(&callee, 200, Some(&sdp("10.0.0.12", 31_000, "0", "sendrecv")));
        let ok = office.last(&ana);
        office.acknowledge(&mut caller, &ok, None);
        office.pass(Duration::from_secs(1));
        office.clock_set -= 2 * step;
        office.pass(Duration::from_secs(2));
        office.heard(&benito);
        office.within(&mut caller, "BYE", "", None);
        let bye = office.last(&benito);
        office.respond(&callee, &bye, 200, "", None);
        let record = office.record();
        let (answered, ended) = (record.answered_at.unwrap(), record.ended_at.unwrap());
        assert_eq!((record.status, record.started_at), (CallStatus::Completed, began));
        assert_eq!(answered.since(record.started_at), Duration::from_secs(4), "{step}");
        assert_eq!(ended.since(answered), Duration::from_secs(3), "{step}");
        assert_eq!(record.duration_seconds(ended), 3);
        for leg in &record.legs {
            assert_eq!((leg.answered_at, leg.ended_at), (Some(answered), Some(ended)), "{step}");
        }
        let noted = office.journal.iter().filter_map(|record| match record {
            Record::Noted(CallEvent::Ringing { at, .. } | CallEvent::Answered { at, .. }) => Some(*at),
            _ => None,
        });
        assert_eq!(noted.collect::<Vec<_>>(), [began, answered], "events are told in their order");
    }
}

#[test]
fn minutes_outside_are_counted_as_they_pass() {
    for step in [HOUR, -HOUR] {
        let mut office = Office::open();
        office.add_trunk(&trunk("one", &[1]), &[1]);
        let ana = office.phone("1001");
        let mut caller = office.call(&ana, "+34911234567", Some(&sdp("10.0.0.11", 30_000, "0", "sendrecv")));
        let callee = office.invited(1);
        office.answer(&callee, 200, Some(&sdp("10.0.1.1", 31_000, "0", "sendrecv")));
        let ok = office.last(&ana);
        office.acknowledge(&mut caller, &ok, None);
        office.pass(Duration::from_secs(1));
        office.clock_set += step;
        office.pass(Duration::from_secs(2));
        office.within(&mut caller, "BYE", "", None);
        let times: Vec<_> = office
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
