//! Hold, resume and other changes of a call that is up, from end to end.

use media::{MediaCommand, Source};
use sip::HeaderName;

use super::a_call_is_made::connected;
use crate::office::Office;
use crate::office::sdp::{direction, sdp, wants};

fn sources(office: &mut Office) -> Vec<Source> {
    let feed = |command: &MediaCommand| match command {
        MediaCommand::SetSource { source, .. } => Some(*source),
        _ => None,
    };
    std::mem::take(&mut office.media).iter().filter_map(feed).collect()
}

#[test]
fn hold_is_passed_on_and_the_held_one_hears_silence() {
    let mut office = Office::open();
    let (mut caller, callee) = connected(&mut office);
    sources(&mut office);
    office.within(&mut caller, "INVITE", "", Some(&sdp("10.0.0.11", 30_000, "0", "sendonly")));
    let reinvite = office.last(&callee.phone);
    assert_eq!((reinvite.method().as_str(), direction(&reinvite.body()).as_str()), ("INVITE", "sendonly"));
    assert_eq!(wants(&reinvite.body()).0, "10.0.0.1");
    office.respond(&callee, &reinvite, 200, "", Some(&sdp("10.0.0.12", 31_000, "0", "recvonly")));
    let ok = office.last(&caller.phone);
    assert_eq!((ok.status(), direction(&ok.body()).as_str()), (Some(200), "recvonly"));
    office.ack_within(&caller, &ok, None);
    assert!(sources(&mut office).contains(&Source::Silence));

    office.within(&mut caller, "INVITE", "", Some(&sdp("10.0.0.11", 30_000, "0", "sendrecv")));
    let reinvite = office.heard(&callee.phone).into_iter().find(|m| m.method().as_str() == "INVITE").unwrap();
    assert_eq!(direction(&reinvite.body()), "sendrecv");
    office.respond(&callee, &reinvite, 200, "", Some(&sdp("10.0.0.12", 31_000, "0", "sendrecv")));
    let ok = office.last(&caller.phone);
    assert_eq!((ok.status(), direction(&ok.body()).as_str()), (Some(200), "sendrecv"));
    office.ack_within(&caller, &ok, None);
    let heard = sources(&mut office);
    assert!(!heard.is_empty() && heard.iter().all(|source| matches!(source, Source::Stream(_))));
    assert_eq!(office.status().active_calls, 1);
}

#[test]
fn hold_by_update_is_passed_on_too() {
    let mut office = Office::open();
    let (mut caller, callee) = connected(&mut office);
    office.within(&mut caller, "UPDATE", "", Some(&sdp("10.0.0.11", 30_000, "0", "inactive")));
    let asked = office.last(&callee.phone);
    assert_eq!(direction(&asked.body()), "inactive");
    office.respond(&callee, &asked, 200, "", Some(&sdp("10.0.0.12", 31_000, "0", "inactive")));
    let ok = office.heard(&caller.phone).into_iter().find(|m| m.status() == Some(200)).unwrap();
    assert_eq!((ok.cseq().method.as_str(), direction(&ok.body()).as_str()), ("UPDATE", "inactive")); // RFC 3311
}

#[test]
fn an_offer_that_the_other_refuses_leaves_the_call_as_it_was() {
    let mut office = Office::open();
    let (mut caller, callee) = connected(&mut office);
    sources(&mut office);
    office.within(&mut caller, "INVITE", "", Some(&sdp("10.0.0.11", 30_000, "0", "sendonly")));
    let reinvite = office.last(&callee.phone);
    office.respond(&callee, &reinvite, 488, "", None);
    let refusal = office.last(&caller.phone);
    assert_eq!(refusal.status(), Some(488));
    office.ack_refusal(&caller, &refusal);
    assert!(!sources(&mut office).contains(&Source::Silence));
    assert_eq!(office.status().active_calls, 1);
}

#[test]
fn both_change_the_call_at_once_and_one_has_to_wait() {
    let mut office = Office::open();
    let (mut caller, mut callee) = connected(&mut office);
    office.within(&mut caller, "INVITE", "", Some(&sdp("10.0.0.11", 30_000, "0", "sendonly")));
    office.heard(&callee.phone);
    office.within(&mut callee, "INVITE", "", Some(&sdp("10.0.0.12", 31_000, "0", "sendonly")));
    let answers = office.heard(&callee.phone);
    assert!(answers.iter().any(|m| m.status() == Some(491)), "RFC 3261 §14.2");
}

#[test]
fn a_session_refresh_does_not_trouble_the_other_party() {
    let mut office = Office::open();
    let (mut caller, callee) = connected(&mut office);
    office.within(&mut caller, "INVITE", "", Some(&sdp("10.0.0.11", 30_000, "0 8 101", "sendrecv")));
    let ok = office.last(&caller.phone);
    assert_eq!(ok.status(), Some(200));
    office.ack_within(&caller, &ok, None);
    assert!(office.heard(&callee.phone).is_empty());
}

#[test]
fn a_digit_in_an_info_is_passed_on() {
    let mut office = Office::open();
    let (mut caller, callee) = connected(&mut office);
    caller.cseq += 1;
    let body = "Signal=5\r\nDuration=160\r\n";
    let branch = office.branch();
    let text = format!(
        "INFO {} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch={branch}\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\n\
         Call-ID: {}\r\nCSeq: {} INFO\r\nContent-Type: application/dtmf-relay\r\nContent-Length: {}\r\n\r\n{body}",
        caller.target,
        caller.phone.address,
        caller.local,
        caller.remote,
        caller.call_id,
        caller.cseq,
        body.len(),
    );
    office.send_from(caller.phone.address, text);
    assert_eq!(office.last(&caller.phone).status(), Some(200));
    let info = office.last(&callee.phone);
    assert_eq!((info.method().as_str(), info.body().as_ref()), ("INFO", body.as_bytes()));
    assert_eq!(info.header(HeaderName::ContentType), Some("application/dtmf-relay"));
}

#[test]
fn nothing_is_agreed_on_between_our_hanging_up_and_the_ack() {
    let mut office = Office::open();
    let (ana, benito) = (office.phone("1001"), office.phone("1002"));
    office.register(&benito);
    let mut caller = office.call(&ana, "1002", Some(&sdp("10.0.0.11", 30_000, "0", "sendrecv")));
    let mut callee = office.rung(&benito);
    office.answer(&callee, 200, Some(&sdp("10.0.0.12", 31_000, "0", "sendrecv")));
    let ok = office.last(&ana);
    office.learn(&mut caller, &ok);
    office.within(&mut callee, "BYE", "", None);
    office.heard(&ana);
    office.media.clear();
    office.within(&mut caller, "UPDATE", "", Some(&sdp("10.0.0.11", 30_000, "0", "sendonly")));
    assert_eq!(office.last(&ana).status(), Some(481));
    assert!(office.media.is_empty(), "its stream is closed");
    office.acknowledge(&mut caller, &ok, None);
    let bye = office.last(&ana);
    assert_eq!(bye.method().as_str(), "BYE"); // RFC 3261 §15: not before the ACK
    office.respond(&caller, &bye, 200, "", None);
    office.is_at_rest();
}
