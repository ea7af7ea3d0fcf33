//! Answered and unanswered calls: the messages to both phones, and the records.

use std::time::Duration;

use media::{MediaCommand, Source};
use model::journal::Record;
use model::{CallStatus, Cause};
use sip::HeaderName;

use crate::test_switch::TestSwitch;
use crate::test_switch::dialog::TestDialog;
use crate::test_switch::sdp::{formats, sdp, wants};

/// A confirmed call of 1001 to 1002, with the dialogs of both.
pub fn connected(pbx: &mut TestSwitch) -> (TestDialog, TestDialog) {
    let (ana, benito) = (pbx.phone("1001"), pbx.phone("1002"));
    pbx.register(&ana);
    pbx.register(&benito);
    let mut caller = pbx.call(&ana, "1002", Some(&sdp("10.0.0.11", 30_000, "0 8 101", "sendrecv")));
    let callee = pbx.expect_invite(&benito);
    pbx.answer(&callee, 180, None);
    pbx.answer(&callee, 200, Some(&sdp("10.0.0.12", 31_000, "0 8 101", "sendrecv")));
    let ok = pbx.last(&ana);
    pbx.send_ack(&mut caller, &ok, None);
    pbx.received(&benito);
    (caller, callee)
}

#[test]
fn two_phones_talk_and_each_gets_our_address_and_one_of_our_ports() {
    let mut pbx = TestSwitch::open();
    let (ana, benito) = (pbx.phone("1001"), pbx.phone("1002"));
    pbx.register(&ana);
    pbx.register(&benito);
    let mut caller = pbx.call(&ana, "1002", Some(&sdp("10.0.0.11", 30_000, "0 8 101", "sendrecv")));
    let callee = pbx.expect_invite(&benito);
    let (address, to_callee) = wants(&callee.invite.body());
    assert_eq!(address, "10.0.0.1");
    let from = callee.invite.header(HeaderName::From).unwrap();
    assert!(from.starts_with("\"Phone 1001\" <sip:1001@localhost>;tag="), "{from}");
    assert_ne!(callee.call_id, caller.call_id, "the topology is hidden");
    pbx.answer(&callee, 180, None);
    assert_eq!(pbx.summary(&ana), "100 180");
    pbx.answer(&callee, 200, Some(&sdp("10.0.0.12", 31_000, "0 8 101", "sendrecv")));
    let ok = pbx.last(&ana);
    let (address, to_caller) = wants(&ok.body());
    assert_eq!(address, "10.0.0.1");
    assert_ne!(to_caller, to_callee, "each leg has its port");
    assert_eq!(formats(&ok.body()), "0 8 101");
    pbx.send_ack(&mut caller, &ok, None);
    assert_eq!(pbx.summary(&benito), "ACK");
    let feeds = |command: &&MediaCommand| {
        matches!(command, MediaCommand::SetSource { source: Source::Stream(_), .. })
    };
    assert_eq!(pbx.media.iter().filter(feeds).count(), 2, "each hears the other");
    assert_eq!(pbx.status().active_calls, 1);

    pbx.advance(Duration::from_secs(10));
    pbx.in_dialog_request(&mut caller, "BYE", "", None);
    assert_eq!(pbx.summary(&ana), "200");
    let bye = pbx.last(&benito);
    assert_eq!(bye.method().as_str(), "BYE");
    pbx.respond(&callee, &bye, 200, "", None);
    let record = pbx.record();
    assert_eq!((record.status, record.cause), (CallStatus::Completed, Some(Cause::Completed)));
    assert_eq!((record.from_number.as_str(), record.to_number.as_str()), ("1001", "1002"));
    assert_eq!(record.duration_seconds(pbx.now().wall), 10);
    assert_eq!(record.legs.len(), 2);
    assert!(record.legs.iter().all(|leg| leg.codec.as_deref() == Some("PCMU") && leg.quality.is_some()));
    assert!(record.trace.iter().any(|step| step.rule == "extension"), "why it was routed so");
    pbx.assert_idle();
}

#[test]
fn the_callee_hangs_up_and_the_caller_gets_bye() {
    let mut pbx = TestSwitch::open();
    let (caller, mut callee) = connected(&mut pbx);
    pbx.in_dialog_request(&mut callee, "BYE", "", None);
    assert_eq!(pbx.summary(&callee.phone), "200");
    let bye = pbx.last(&caller.phone);
    assert!(bye.header(HeaderName::Reason).unwrap().starts_with("Q.850;cause=16"));
    pbx.respond(&caller, &bye, 200, "", None);
    assert_eq!(pbx.record().cause, Some(Cause::Completed));
    pbx.assert_idle();
}

#[test]
fn a_call_to_the_echo_test_is_answered_at_once() {
    let mut pbx = TestSwitch::open();
    let ana = pbx.phone("1001");
    let mut dialog = pbx.call(&ana, "*43", Some(&sdp("10.0.0.11", 30_000, "8", "sendrecv")));
    let ok = pbx.last(&ana);
    assert_eq!(formats(&ok.body()), "8");
    pbx.send_ack(&mut dialog, &ok, None);
    assert!(pbx.media.iter().any(|m| matches!(m, MediaCommand::SetSource { source: Source::Echo, .. })));
    pbx.in_dialog_request(&mut dialog, "BYE", "", None);
    assert_eq!((pbx.summary(&ana).as_str(), pbx.record().status), ("200", CallStatus::Completed));
    pbx.assert_idle();
}

#[test]
fn a_delayed_offer_is_made_in_our_200_and_answered_in_the_ack() {
    let mut pbx = TestSwitch::open();
    let (ana, benito) = (pbx.phone("1001"), pbx.phone("1002"));
    pbx.register(&benito);
    let mut caller = pbx.call(&ana, "1002", None);
    let callee = pbx.expect_invite(&benito);
    assert_eq!(wants(&callee.invite.body()).0, "10.0.0.1", "the callee gets an offer all the same");
    pbx.answer(&callee, 200, Some(&sdp("10.0.0.12", 31_000, "0", "sendrecv")));
    let ok = pbx.last(&ana);
    assert_eq!(wants(&ok.body()).0, "10.0.0.1");
    pbx.send_ack(&mut caller, &ok, Some(&sdp("10.0.0.11", 30_000, "0", "sendrecv")));
    let negotiated = pbx.media.iter().filter(|m| matches!(m, MediaCommand::Negotiated { .. })).count();
    assert_eq!(negotiated, 2);
    pbx.in_dialog_request(&mut caller, "BYE", "", None);
    let bye = pbx.last(&benito);
    pbx.respond(&callee, &bye, 200, "", None);
    pbx.assert_idle();
}

#[test]
fn two_contacts_ring_and_the_first_answer_wins() {
    let mut pbx = TestSwitch::open();
    let (ana, desk) = (pbx.phone("1001"), pbx.phone("1002"));
    let mobile = desk.at("10.0.0.99:5060");
    pbx.register(&desk);
    pbx.register(&mobile);
    let offer = sdp("10.0.0.11", 30_000, "0", "sendrecv");
    let mut caller = pbx.call(&ana, "1002", Some(&offer));
    let (on_desk, on_mobile) = (pbx.expect_invite(&desk), pbx.expect_invite(&mobile));
    pbx.answer(&on_desk, 180, None);
    pbx.answer(&on_mobile, 180, None);
    assert_eq!(pbx.summary(&ana), "100 180", "the caller sees one call");
    pbx.answer(&on_mobile, 200, Some(&sdp("10.0.0.99", 31_000, "0", "sendrecv")));
    assert_eq!(pbx.last(&desk).method().as_str(), "CANCEL");
    // The desk phone answers before it receives the CANCEL: it gets ACK and BYE, and the call is not affected.
    pbx.answer(&on_desk, 200, Some(&sdp("10.0.0.12", 31_000, "0", "sendrecv")));
    assert_eq!(pbx.summary(&desk), "ACK BYE"); // RFC 3261 §9.1
    let ok = pbx.last(&ana);
    pbx.send_ack(&mut caller, &ok, None);
    assert_eq!(pbx.status().active_calls, 1);
    pbx.in_dialog_request(&mut caller, "BYE", "", None);
    let bye = pbx.last(&mobile);
    pbx.respond(&on_mobile, &bye, 200, "", None);
    let record = pbx.record();
    assert_eq!((record.legs.len(), record.cause), (3, Some(Cause::Completed)));
    pbx.assert_idle();
}

#[test]
fn a_call_that_is_cancelled_stops_ringing() {
    let mut pbx = TestSwitch::open();
    let (ana, benito) = (pbx.phone("1001"), pbx.phone("1002"));
    pbx.register(&benito);
    let caller = pbx.call(&ana, "1002", Some(&sdp("10.0.0.11", 30_000, "0", "sendrecv")));
    let callee = pbx.expect_invite(&benito);
    pbx.answer(&callee, 180, None);
    pbx.received(&ana);
    pbx.cancel(&caller);
    let received = pbx.received(&ana);
    let statuses: Vec<_> =
        received.iter().map(|m| (m.status().unwrap(), m.cseq().method.to_string())).collect();
    assert!(statuses.contains(&(200, "CANCEL".into())) && statuses.contains(&(487, "INVITE".into())));
    let rejection = received.iter().find(|m| m.status() == Some(487)).unwrap().clone();
    pbx.ack_error(&caller, &rejection);
    assert_eq!(pbx.last(&benito).method().as_str(), "CANCEL");
    pbx.answer(&callee, 487, None);
    let ok = received.iter().find(|m| m.status() == Some(200)).unwrap();
    pbx.cancel(&caller);
    assert_eq!(pbx.last(&ana).bytes(), ok.bytes(), "a retransmitted CANCEL gets the same response");
    let record = pbx.record();
    assert_eq!((record.status, record.cause), (CallStatus::Canceled, Some(Cause::Cancelled)));
    pbx.assert_idle();
}

#[test]
fn early_media_is_forwarded_and_the_200_repeats_its_answer() {
    let mut pbx = TestSwitch::open();
    let (ana, benito) = (pbx.phone("1001"), pbx.phone("1002"));
    pbx.register(&benito);
    let mut caller = pbx.call(&ana, "1002", Some(&sdp("10.0.0.11", 30_000, "0", "sendrecv")));
    let callee = pbx.expect_invite(&benito);
    pbx.answer(&callee, 183, Some(&sdp("10.0.0.12", 31_000, "0", "sendrecv")));
    let early = pbx.last(&ana);
    assert_eq!(early.status(), Some(183));
    pbx.answer(&callee, 200, Some(&sdp("10.0.0.12", 31_000, "0", "sendrecv")));
    let ok = pbx.last(&ana);
    assert_eq!(ok.body(), early.body()); // RFC 3261 §13.3.1: one answer to one offer
    assert_eq!(ok.to_tag(), early.to_tag());
    pbx.send_ack(&mut caller, &ok, None);
    pbx.in_dialog_request(&mut caller, "BYE", "", None);
    let bye = pbx.last(&benito);
    pbx.respond(&callee, &bye, 200, "", None);
    pbx.assert_idle();
}

#[test]
fn a_call_at_the_maximum_duration_is_ended_with_a_reason() {
    let mut pbx = TestSwitch::open_with(|config| config.call_duration = Duration::from_secs(120)); // S30
    let (caller, callee) = connected(&mut pbx);
    pbx.advance(Duration::from_secs(121));
    for dialog in [caller, callee] {
        let bye = pbx.received(&dialog.phone).into_iter().find(|m| m.method().as_str() == "BYE").unwrap();
        assert!(bye.header(HeaderName::Reason).unwrap().contains("longest permitted time"));
        pbx.respond(&dialog, &bye, 200, "", None);
    }
    assert_eq!(pbx.record().cause, Some(Cause::MaxDuration));
    pbx.assert_idle();
}

#[test]
fn by_default_a_call_lasts_four_hours_from_its_answer_and_no_longer() {
    let mut pbx = TestSwitch::open();
    let (caller, callee) = connected(&mut pbx);
    let begin = pbx.clock;
    let lasts = |pbx: &TestSwitch| pbx.clock.since(begin);
    // The phones answer the session refreshes (RFC 4028).
    let mut final_byes = Vec::new();
    while final_byes.is_empty() && lasts(&pbx) < Duration::from_secs(5 * 3600) {
        pbx.advance(Duration::from_secs(1));
        for dialog in [&caller, &callee] {
            for message in pbx.received(&dialog.phone) {
                match message.method().as_str() {
                    _ if message.status().is_some() => {}
                    "BYE" => {
                        final_byes.push(message.header(HeaderName::Reason).unwrap().to_owned());
                        pbx.respond(dialog, &message, 200, "", None);
                    }
                    _ => pbx.respond(dialog, &message, 200, "", None),
                }
            }
        }
    }
    assert_eq!(final_byes.len(), 2, "both get BYE at the same time"); // S30
    assert!(final_byes.iter().all(|reason| reason.contains("longest permitted time")), "{final_byes:?}");
    assert_eq!(lasts(&pbx).as_secs(), 4 * 3600);
    let record = pbx.record();
    assert_eq!((record.cause, record.duration_seconds(pbx.now().wall)), (Some(Cause::MaxDuration), 4 * 3600));
    pbx.assert_idle();
}

#[test]
fn a_200_without_ack_ends_the_call() {
    let mut pbx = TestSwitch::open();
    let (ana, benito) = (pbx.phone("1001"), pbx.phone("1002"));
    pbx.register(&benito);
    pbx.call(&ana, "1002", Some(&sdp("10.0.0.11", 30_000, "0", "sendrecv")));
    let callee = pbx.expect_invite(&benito);
    pbx.answer(&callee, 200, Some(&sdp("10.0.0.12", 31_000, "0", "sendrecv")));
    pbx.advance(Duration::from_secs(33));
    let repeats = pbx.received(&ana).iter().filter(|m| m.status() == Some(200)).count();
    assert!(repeats >= 10, "the 200 was repeated {repeats} times"); // RFC 3261 §13.3.1.4
    let bye = pbx.received(&benito).into_iter().find(|m| m.method().as_str() == "BYE").unwrap();
    pbx.respond(&callee, &bye, 200, "", None);
    assert_eq!(pbx.record().cause, Some(Cause::NoAck));
    pbx.assert_idle();
}

#[test]
fn a_late_media_report_is_not_attributed_to_the_next_call() {
    let mut pbx = TestSwitch::open();
    pbx.auto_report = false;
    let (mut caller, callee) = connected(&mut pbx);
    pbx.in_dialog_request(&mut caller, "BYE", "", None);
    let bye = pbx.last(&callee.phone);
    pbx.respond(&callee, &bye, 200, "", None);
    pbx.advance(Duration::from_secs(3));
    assert_eq!(pbx.records().len(), 1, "the record does not wait for a worker that is silent");
    let (mut caller, callee) = connected(&mut pbx);
    for stream in std::mem::take(&mut pbx.unreported_streams) {
        pbx.report_closed(stream);
    }
    pbx.auto_report = true;
    assert_eq!(pbx.status().active_calls, 1);
    assert_eq!(pbx.records().len(), 1, "the call that is up goes on");
    pbx.in_dialog_request(&mut caller, "BYE", "", None);
    let bye = pbx.last(&callee.phone);
    pbx.respond(&callee, &bye, 200, "", None);
    assert_eq!(pbx.records().len(), 2);
    pbx.assert_idle();
}

#[test]
fn the_ladder_shows_every_message_and_no_credentials() {
    let mut pbx = TestSwitch::open();
    let (mut caller, callee) = connected(&mut pbx);
    pbx.in_dialog_request(&mut caller, "BYE", "", None);
    let bye = pbx.last(&callee.phone);
    pbx.respond(&callee, &bye, 200, "", None);
    pbx.advance(Duration::from_secs(60));
    let blob = pbx.journal.iter().find_map(|record| match record {
        Record::Ladder { blob, .. } => Some(blob.clone()),
        _ => None,
    });
    let rungs = centralita_switch::ladder::decode(&blob.expect("a ladder")).unwrap();
    let steps: Vec<String> = rungs
        .iter()
        .map(|leg| {
            let mut words = leg.text.split(' ');
            let first = words.next().unwrap();
            let what = if first == "SIP/2.0" { words.next().unwrap() } else { first };
            format!("{}{what}", if leg.sent { ">" } else { "<" })
        })
        .collect();
    assert_eq!(steps.join(" "), "<INVITE >100 >INVITE <180 >180 <200 >ACK >200 <ACK <BYE >200 >BYE <200");
    assert!(rungs[0].text.contains("Authorization: ***") && !rungs[0].text.contains("response="));
}
