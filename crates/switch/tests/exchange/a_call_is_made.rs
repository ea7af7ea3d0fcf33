//! Calls that are answered, and those that are not: what both phones hear, and what is written down.

use std::time::Duration;

use media::{MediaCommand, Source};
use model::journal::Record;
use model::{CallStatus, Cause};
use sip::HeaderName;

use crate::office::Office;
use crate::office::line::Line;
use crate::office::sdp::{formats, sdp, wants};

/// A call of 1001 to 1002 that is up, with both lines.
pub fn connected(office: &mut Office) -> (Line, Line) {
    let (ana, benito) = (office.phone("1001"), office.phone("1002"));
    office.register(&ana);
    office.register(&benito);
    let mut caller = office.call(&ana, "1002", Some(&sdp("10.0.0.11", 30_000, "0 8 101", "sendrecv")));
    let callee = office.rung(&benito);
    office.answer(&callee, 180, None);
    office.answer(&callee, 200, Some(&sdp("10.0.0.12", 31_000, "0 8 101", "sendrecv")));
    let ok = office.last(&ana);
    office.acknowledge(&mut caller, &ok, None);
    office.heard(&benito);
    (caller, callee)
}

#[test]
fn two_phones_talk_and_each_is_told_our_address_and_a_port_of_ours() {
    let mut office = Office::open();
    let (ana, benito) = (office.phone("1001"), office.phone("1002"));
    office.register(&ana);
    office.register(&benito);
    let mut caller = office.call(&ana, "1002", Some(&sdp("10.0.0.11", 30_000, "0 8 101", "sendrecv")));
    let callee = office.rung(&benito);
    let (address, to_callee) = wants(&callee.invite.body());
    assert_eq!(address, "10.0.0.1");
    let from = callee.invite.header(HeaderName::From).unwrap();
    assert!(from.starts_with("\"Phone 1001\" <sip:1001@localhost>;tag="), "{from}");
    assert_ne!(callee.call_id, caller.call_id, "the topology is hidden");
    office.answer(&callee, 180, None);
    assert_eq!(office.summary(&ana), "100 180");
    office.answer(&callee, 200, Some(&sdp("10.0.0.12", 31_000, "0 8 101", "sendrecv")));
    let ok = office.last(&ana);
    let (address, to_caller) = wants(&ok.body());
    assert_eq!(address, "10.0.0.1");
    assert_ne!(to_caller, to_callee, "each leg has its port");
    assert_eq!(formats(&ok.body()), "0 8 101");
    office.acknowledge(&mut caller, &ok, None);
    assert_eq!(office.summary(&benito), "ACK");
    let feeds = |command: &&MediaCommand| {
        matches!(command, MediaCommand::SetSource { source: Source::Stream(_), .. })
    };
    assert_eq!(office.media.iter().filter(feeds).count(), 2, "each hears the other");
    assert_eq!(office.status().active_calls, 1);

    office.pass(Duration::from_secs(10));
    office.within(&mut caller, "BYE", "", None);
    assert_eq!(office.summary(&ana), "200");
    let bye = office.last(&benito);
    assert_eq!(bye.method().as_str(), "BYE");
    office.respond(&callee, &bye, 200, "", None);
    let record = office.record();
    assert_eq!((record.status, record.cause), (CallStatus::Completed, Some(Cause::Completed)));
    assert_eq!((record.from_number.as_str(), record.to_number.as_str()), ("1001", "1002"));
    assert_eq!(record.duration_seconds(office.now().wall), 10);
    assert_eq!(record.legs.len(), 2);
    assert!(record.legs.iter().all(|leg| leg.codec.as_deref() == Some("PCMU") && leg.quality.is_some()));
    assert!(record.trace.iter().any(|step| step.rule == "extension"), "why it was routed so");
    office.is_at_rest();
}

#[test]
fn the_callee_hangs_up_and_the_caller_is_told() {
    let mut office = Office::open();
    let (caller, mut callee) = connected(&mut office);
    office.within(&mut callee, "BYE", "", None);
    assert_eq!(office.summary(&callee.phone), "200");
    let bye = office.last(&caller.phone);
    assert!(bye.header(HeaderName::Reason).unwrap().starts_with("Q.850;cause=16"));
    office.respond(&caller, &bye, 200, "", None);
    assert_eq!(office.record().cause, Some(Cause::Completed));
    office.is_at_rest();
}

#[test]
fn a_call_to_the_echo_test_is_answered_at_once() {
    let mut office = Office::open();
    let ana = office.phone("1001");
    let mut line = office.call(&ana, "*43", Some(&sdp("10.0.0.11", 30_000, "8", "sendrecv")));
    let ok = office.last(&ana);
    assert_eq!(formats(&ok.body()), "8");
    office.acknowledge(&mut line, &ok, None);
    assert!(office.media.iter().any(|m| matches!(m, MediaCommand::SetSource { source: Source::Echo, .. })));
    office.within(&mut line, "BYE", "", None);
    assert_eq!((office.summary(&ana).as_str(), office.record().status), ("200", CallStatus::Completed));
    office.is_at_rest();
}

#[test]
fn a_late_offer_is_made_by_us_and_answered_with_the_ack() {
    let mut office = Office::open();
    let (ana, benito) = (office.phone("1001"), office.phone("1002"));
    office.register(&benito);
    let mut caller = office.call(&ana, "1002", None);
    let callee = office.rung(&benito);
    assert_eq!(wants(&callee.invite.body()).0, "10.0.0.1", "the callee gets an offer all the same");
    office.answer(&callee, 200, Some(&sdp("10.0.0.12", 31_000, "0", "sendrecv")));
    let ok = office.last(&ana);
    assert_eq!(wants(&ok.body()).0, "10.0.0.1");
    office.acknowledge(&mut caller, &ok, Some(&sdp("10.0.0.11", 30_000, "0", "sendrecv")));
    let negotiated = office.media.iter().filter(|m| matches!(m, MediaCommand::Negotiated { .. })).count();
    assert_eq!(negotiated, 2);
    office.within(&mut caller, "BYE", "", None);
    let bye = office.last(&benito);
    office.respond(&callee, &bye, 200, "", None);
    office.is_at_rest();
}

#[test]
fn two_contacts_ring_and_the_first_answer_wins() {
    let mut office = Office::open();
    let (ana, desk) = (office.phone("1001"), office.phone("1002"));
    let mobile = desk.at("10.0.0.99:5060");
    office.register(&desk);
    office.register(&mobile);
    let offer = sdp("10.0.0.11", 30_000, "0", "sendrecv");
    let mut caller = office.call(&ana, "1002", Some(&offer));
    let (on_desk, on_mobile) = (office.rung(&desk), office.rung(&mobile));
    office.answer(&on_desk, 180, None);
    office.answer(&on_mobile, 180, None);
    assert_eq!(office.summary(&ana), "100 180", "the caller sees one call");
    office.answer(&on_mobile, 200, Some(&sdp("10.0.0.99", 31_000, "0", "sendrecv")));
    assert_eq!(office.last(&desk).method().as_str(), "CANCEL");
    // The desk answers before it hears of the CANCEL: it gets ACK and BYE, and the call is none the worse.
    office.answer(&on_desk, 200, Some(&sdp("10.0.0.12", 31_000, "0", "sendrecv")));
    assert_eq!(office.summary(&desk), "ACK BYE"); // RFC 3261 §9.1
    let ok = office.last(&ana);
    office.acknowledge(&mut caller, &ok, None);
    assert_eq!(office.status().active_calls, 1);
    office.within(&mut caller, "BYE", "", None);
    let bye = office.last(&mobile);
    office.respond(&on_mobile, &bye, 200, "", None);
    let record = office.record();
    assert_eq!((record.legs.len(), record.cause), (3, Some(Cause::Completed)));
    office.is_at_rest();
}

#[test]
fn a_call_that_is_cancelled_stops_ringing() {
    let mut office = Office::open();
    let (ana, benito) = (office.phone("1001"), office.phone("1002"));
    office.register(&benito);
    let caller = office.call(&ana, "1002", Some(&sdp("10.0.0.11", 30_000, "0", "sendrecv")));
    let callee = office.rung(&benito);
    office.answer(&callee, 180, None);
    office.heard(&ana);
    office.cancel(&caller);
    let heard = office.heard(&ana);
    let statuses: Vec<_> = heard.iter().map(|m| (m.status().unwrap(), m.cseq().method.to_string())).collect();
    assert!(statuses.contains(&(200, "CANCEL".into())) && statuses.contains(&(487, "INVITE".into())));
    let refusal = heard.iter().find(|m| m.status() == Some(487)).unwrap().clone();
    office.ack_refusal(&caller, &refusal);
    assert_eq!(office.last(&benito).method().as_str(), "CANCEL");
    office.answer(&callee, 487, None);
    let ok = heard.iter().find(|m| m.status() == Some(200)).unwrap();
    office.cancel(&caller);
    assert_eq!(office.last(&ana).bytes(), ok.bytes(), "a repeated CANCEL is told the same");
    let record = office.record();
    assert_eq!((record.status, record.cause), (CallStatus::Canceled, Some(Cause::Cancelled)));
    office.is_at_rest();
}

#[test]
fn early_media_is_passed_on_and_the_200_says_the_same() {
    let mut office = Office::open();
    let (ana, benito) = (office.phone("1001"), office.phone("1002"));
    office.register(&benito);
    let mut caller = office.call(&ana, "1002", Some(&sdp("10.0.0.11", 30_000, "0", "sendrecv")));
    let callee = office.rung(&benito);
    office.answer(&callee, 183, Some(&sdp("10.0.0.12", 31_000, "0", "sendrecv")));
    let early = office.last(&ana);
    assert_eq!(early.status(), Some(183));
    office.answer(&callee, 200, Some(&sdp("10.0.0.12", 31_000, "0", "sendrecv")));
    let ok = office.last(&ana);
    assert_eq!(ok.body(), early.body()); // RFC 3261 §13.3.1: one answer to one offer
    assert_eq!(ok.to_tag(), early.to_tag());
    office.acknowledge(&mut caller, &ok, None);
    office.within(&mut caller, "BYE", "", None);
    let bye = office.last(&benito);
    office.respond(&callee, &bye, 200, "", None);
    office.is_at_rest();
}

#[test]
fn the_longest_call_is_ended_and_says_why() {
    let mut office = Office::open_with(|config| config.call_duration = Duration::from_secs(120)); // S30
    let (caller, callee) = connected(&mut office);
    office.pass(Duration::from_secs(121));
    for line in [caller, callee] {
        let bye = office.heard(&line.phone).into_iter().find(|m| m.method().as_str() == "BYE").unwrap();
        assert!(bye.header(HeaderName::Reason).unwrap().contains("longest permitted time"));
        office.respond(&line, &bye, 200, "", None);
    }
    assert_eq!(office.record().cause, Some(Cause::MaxDuration));
    office.is_at_rest();
}

#[test]
fn by_default_a_call_lasts_four_hours_from_its_answer_and_no_longer() {
    let mut office = Office::open();
    let (caller, callee) = connected(&mut office);
    let begin = office.clock;
    let lasts = |office: &Office| office.clock.since(begin);
    // Phones that answer what keeps the session alive (RFC 4028).
    let mut last_words = Vec::new();
    while last_words.is_empty() && lasts(&office) < Duration::from_secs(5 * 3600) {
        office.pass(Duration::from_secs(1));
        for line in [&caller, &callee] {
            for message in office.heard(&line.phone) {
                match message.method().as_str() {
                    _ if message.status().is_some() => {}
                    "BYE" => {
                        last_words.push(message.header(HeaderName::Reason).unwrap().to_owned());
                        office.respond(line, &message, 200, "", None);
                    }
                    _ => office.respond(line, &message, 200, "", None),
                }
            }
        }
    }
    assert_eq!(last_words.len(), 2, "both are told in the same moment"); // S30
    assert!(last_words.iter().all(|reason| reason.contains("longest permitted time")), "{last_words:?}");
    assert_eq!(lasts(&office).as_secs(), 4 * 3600);
    let record = office.record();
    assert_eq!(
        (record.cause, record.duration_seconds(office.now().wall)),
        (Some(Cause::MaxDuration), 4 * 3600)
    );
    office.is_at_rest();
}

#[test]
fn a_200_that_nobody_acknowledges_ends_the_call() {
    let mut office = Office::open();
    let (ana, benito) = (office.phone("1001"), office.phone("1002"));
    office.register(&benito);
    office.call(&ana, "1002", Some(&sdp("10.0.0.11", 30_000, "0", "sendrecv")));
    let callee = office.rung(&benito);
    office.answer(&callee, 200, Some(&sdp("10.0.0.12", 31_000, "0", "sendrecv")));
    office.pass(Duration::from_secs(33));
    let repeats = office.heard(&ana).iter().filter(|m| m.status() == Some(200)).count();
    assert!(repeats >= 10, "the 200 was repeated {repeats} times"); // RFC 3261 §13.3.1.4
    let bye = office.heard(&benito).into_iter().find(|m| m.method().as_str() == "BYE").unwrap();
    office.respond(&callee, &bye, 200, "", None);
    assert_eq!(office.record().cause, Some(Cause::NoAck));
    office.is_at_rest();
}

#[test]
fn a_report_that_comes_late_is_not_booked_to_the_next_call() {
    let mut office = Office::open();
    office.reports = false;
    let (mut caller, callee) = connected(&mut office);
    office.within(&mut caller, "BYE", "", None);
    let bye = office.last(&callee.phone);
    office.respond(&callee, &bye, 200, "", None);
    office.pass(Duration::from_secs(3));
    assert_eq!(office.records().len(), 1, "the record does not wait for a worker that is silent");
    let (mut caller, callee) = connected(&mut office);
    for stream in std::mem::take(&mut office.unreported) {
        office.report(stream);
    }
    office.reports = true;
    assert_eq!(office.status().active_calls, 1);
    assert_eq!(office.records().len(), 1, "the call that is up goes on");
    office.within(&mut caller, "BYE", "", None);
    let bye = office.last(&callee.phone);
    office.respond(&callee, &bye, 200, "", None);
    assert_eq!(office.records().len(), 2);
    office.is_at_rest();
}

#[test]
fn the_ladder_shows_every_message_and_no_credentials() {
    let mut office = Office::open();
    let (mut caller, callee) = connected(&mut office);
    office.within(&mut caller, "BYE", "", None);
    let bye = office.last(&callee.phone);
    office.respond(&callee, &bye, 200, "", None);
    office.pass(Duration::from_secs(60));
    let blob = office.journal.iter().find_map(|record| match record {
        Record::Ladder { blob, .. } => Some(blob.clone()),
        _ => None,
    });
    let rungs = centralita_switch::ladder::decode(&blob.expect("a ladder")).unwrap();
    let steps: Vec<String> = rungs
        .iter()
        .map(|rung| {
            let mut words = rung.text.split(' ');
            let first = words.next().unwrap();
            let what = if first == "SIP/2.0" { words.next().unwrap() } else { first };
            format!("{}{what}", if rung.sent { ">" } else { "<" })
        })
        .collect();
    assert_eq!(steps.join(" "), "<INVITE >100 >INVITE <180 >180 <200 >ACK >200 <ACK <BYE >200 >BYE <200");
    assert!(rungs[0].text.contains("Authorization: ***") && !rungs[0].text.contains("response="));
}
