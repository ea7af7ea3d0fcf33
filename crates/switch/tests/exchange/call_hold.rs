//! Hold, resume and other offers in a confirmed call, end to end.

use media::{MediaCommand, Source};
use sip::HeaderName;

use super::basic_calls::connected;
use crate::test_switch::TestSwitch;
use crate::test_switch::sdp::{direction, sdp, wants};

fn sources(pbx: &mut TestSwitch) -> Vec<Source> {
    let feed = |command: &MediaCommand| match command {
        MediaCommand::SetSource { source, .. } => Some(*source),
        _ => None,
    };
    std::mem::take(&mut pbx.media).iter().filter_map(feed).collect()
}

#[test]
fn hold_is_forwarded_and_the_held_party_gets_silence() {
    let mut pbx = TestSwitch::open();
    let (mut caller, callee) = connected(&mut pbx);
    sources(&mut pbx);
    pbx.in_dialog_request(&mut caller, "INVITE", "", Some(&sdp("10.0.0.11", 30_000, "0", "sendonly")));
    let reinvite = pbx.last(&callee.phone);
    assert_eq!((reinvite.method().as_str(), direction(&reinvite.body()).as_str()), ("INVITE", "sendonly"));
    assert_eq!(wants(&reinvite.body()).0, "10.0.0.1");
    pbx.respond(&callee, &reinvite, 200, "", Some(&sdp("10.0.0.12", 31_000, "0", "recvonly")));
    let ok = pbx.last(&caller.phone);
    assert_eq!((ok.status(), direction(&ok.body()).as_str()), (Some(200), "recvonly"));
    pbx.ack_reinvite(&caller, &ok, None);
    assert!(sources(&mut pbx).contains(&Source::Silence));

    pbx.in_dialog_request(&mut caller, "INVITE", "", Some(&sdp("10.0.0.11", 30_000, "0", "sendrecv")));
    let reinvite = pbx.received(&callee.phone).into_iter().find(|m| m.method().as_str() == "INVITE").unwrap();
    assert_eq!(direction(&reinvite.body()), "sendrecv");
    pbx.respond(&callee, &reinvite, 200, "", Some(&sdp("10.0.0.12", 31_000, "0", "sendrecv")));
    let ok = pbx.last(&caller.phone);
    assert_eq!((ok.status(), direction(&ok.body()).as_str()), (Some(200), "sendrecv"));
    pbx.ack_reinvite(&caller, &ok, None);
    let received = sources(&mut pbx);
    assert!(!received.is_empty() && received.iter().all(|source| matches!(source, Source::Stream(_))));
    assert_eq!(pbx.status().active_calls, 1);
}

#[test]
fn hold_by_update_is_forwarded() {
    let mut pbx = TestSwitch::open();
    let (mut caller, callee) = connected(&mut pbx);
    pbx.in_dialog_request(&mut caller, "UPDATE", "", Some(&sdp("10.0.0.11", 30_000, "0", "inactive")));
    let asked = pbx.last(&callee.phone);
    assert_eq!(direction(&asked.body()), "inactive");
    pbx.respond(&callee, &asked, 200, "", Some(&sdp("10.0.0.12", 31_000, "0", "inactive")));
    let ok = pbx.received(&caller.phone).into_iter().find(|m| m.status() == Some(200)).unwrap();
    assert_eq!((ok.cseq().method.as_str(), direction(&ok.body()).as_str()), ("UPDATE", "inactive")); // RFC 3311
}

#[test]
fn an_offer_that_the_other_party_rejects_leaves_the_call_unchanged() {
    let mut pbx = TestSwitch::open();
    let (mut caller, callee) = connected(&mut pbx);
    sources(&mut pbx);
    pbx.in_dialog_request(&mut caller, "INVITE", "", Some(&sdp("10.0.0.11", 30_000, "0", "sendonly")));
    let reinvite = pbx.last(&callee.phone);
    pbx.respond(&callee, &reinvite, 488, "", None);
    let rejection = pbx.last(&caller.phone);
    assert_eq!(rejection.status(), Some(488));
    pbx.ack_error(&caller, &rejection);
    assert!(!sources(&mut pbx).contains(&Source::Silence));
    assert_eq!(pbx.status().active_calls, 1);
}

#[test]
fn offers_from_both_parties_at_once_give_491() {
    let mut pbx = TestSwitch::open();
    let (mut caller, mut callee) = connected(&mut pbx);
    pbx.in_dialog_request(&mut caller, "INVITE", "", Some(&sdp("10.0.0.11", 30_000, "0", "sendonly")));
    pbx.received(&callee.phone);
    pbx.in_dialog_request(&mut callee, "INVITE", "", Some(&sdp("10.0.0.12", 31_000, "0", "sendonly")));
    let answers = pbx.received(&callee.phone);
    assert!(answers.iter().any(|m| m.status() == Some(491)), "RFC 3261 §14.2");
}

#[test]
fn a_session_refresh_is_not_forwarded() {
    let mut pbx = TestSwitch::open();
    let (mut caller, callee) = connected(&mut pbx);
    pbx.in_dialog_request(&mut caller, "INVITE", "", Some(&sdp("10.0.0.11", 30_000, "0 8 101", "sendrecv")));
    let ok = pbx.last(&caller.phone);
    assert_eq!(ok.status(), Some(200));
    pbx.ack_reinvite(&caller, &ok, None);
    assert!(pbx.received(&callee.phone).is_empty());
}

#[test]
fn a_digit_in_an_info_is_forwarded() {
    let mut pbx = TestSwitch::open();
    let (mut caller, callee) = connected(&mut pbx);
    caller.cseq += 1;
    let body = "Signal=5\r\nDuration=160\r\n";
    let branch = pbx.branch();
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
    pbx.send_from(caller.phone.address, text);
    assert_eq!(pbx.last(&caller.phone).status(), Some(200));
    let info = pbx.last(&callee.phone);
    assert_eq!((info.method().as_str(), info.body().as_ref()), ("INFO", body.as_bytes()));
    assert_eq!(info.header(HeaderName::ContentType), Some("application/dtmf-relay"));
}

#[test]
fn no_offer_is_answered_between_our_hangup_and_the_ack() {
    let mut pbx = TestSwitch::open();
    let (ana, benito) = (pbx.phone("1001"), pbx.phone("1002"));
    pbx.register(&benito);
    let mut caller = pbx.call(&ana, "1002", Some(&sdp("10.0.0.11", 30_000, "0", "sendrecv")));
    let mut callee = pbx.expect_invite(&benito);
    pbx.answer(&callee, 200, Some(&sdp("10.0.0.12", 31_000, "0", "sendrecv")));
    let ok = pbx.last(&ana);
    pbx.update_dialog(&mut caller, &ok);
    pbx.in_dialog_request(&mut callee, "BYE", "", None);
    pbx.received(&ana);
    pbx.media.clear();
    pbx.in_dialog_request(&mut caller, "UPDATE", "", Some(&sdp("10.0.0.11", 30_000, "0", "sendonly")));
    assert_eq!(pbx.last(&ana).status(), Some(481));
    assert!(pbx.media.is_empty(), "its stream is closed");
    pbx.send_ack(&mut caller, &ok, None);
    let bye = pbx.last(&ana);
    assert_eq!(bye.method().as_str(), "BYE"); // RFC 3261 §15: not before the ACK
    pbx.respond(&caller, &bye, 200, "", None);
    pbx.assert_idle();
}
