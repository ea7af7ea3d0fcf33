//! Recovery from the journal after `kill -9`: bindings, and the duration of calls in their records.

use std::time::Duration;

use base::Timestamp;
use centralita_switch::{Input, Listener};
use media::MediaEvent;
use model::journal::Record;
use model::{CallStatus, Cause};
use sip::Transport;

use crate::test_switch::dialog::TestDialog;
use crate::test_switch::sdp::sdp;
use crate::test_switch::{Phone, SERVER, TestSwitch};

fn offer() -> String {
    sdp("10.0.0.11", 30_000, "0", "sendrecv")
}

/// 1001 calls 1002, which rings.
fn ringing() -> (TestSwitch, Phone, TestDialog, TestDialog) {
    let mut pbx = TestSwitch::open();
    let (ana, benito) = (pbx.phone("1001"), pbx.phone("1002"));
    pbx.register(&benito);
    let caller = pbx.call(&ana, "1002", Some(&offer()));
    let callee = pbx.expect_invite(&benito);
    pbx.answer(&callee, 180, None);
    (pbx, ana, caller, callee)
}

fn between(from: Timestamp, to: Timestamp) -> Duration {
    assert!(to >= from, "{from} is after {to}");
    to.since(from)
}

#[test]
fn an_outage_of_a_night_is_not_billed_as_call_time() {
    let (mut pbx, ana, mut caller, callee) = ringing(); // F22
    pbx.advance(Duration::from_secs(4));
    pbx.answer(&callee, 200, Some(&sdp("10.0.0.12", 31_000, "0", "sendrecv")));
    let ok = pbx.last(&ana);
    pbx.send_ack(&mut caller, &ok, None);
    pbx.advance(Duration::from_millis(2_200));
    pbx.clock += Duration::from_secs(8 * 3600);
    pbx.crash();
    let record = pbx.record();
    assert_eq!((record.status, record.cause), (CallStatus::Completed, Some(Cause::Crash)));
    let (answered, ended) = (record.answered_at.unwrap(), record.ended_at.unwrap());
    assert_eq!(between(record.started_at, answered), Duration::from_secs(4));
    let talked = between(answered, ended);
    assert!(talked <= Duration::from_millis(2_200) && talked > Duration::from_millis(1_600), "{talked:?}");
    let legs: Vec<_> = record.legs.iter().map(|leg| (&*leg.party, leg.answered_at, leg.ended_at)).collect();
    let both = (Some(answered), Some(ended));
    assert_eq!(legs, [("phone1001", both.0, both.1), ("phone1002", both.0, both.1)]);
    assert!(record.legs.iter().all(|leg| leg.cause == Some(Cause::Crash)));
}

#[test]
fn an_unanswered_call_ends_at_the_last_alive_record_without_talk_time() {
    let (mut pbx, ..) = ringing(); // F22
    pbx.advance(Duration::from_secs(4));
    pbx.clock += Duration::from_secs(600);
    pbx.crash();
    let record = pbx.record();
    assert_eq!((record.status, record.answered_at), (CallStatus::Failed, None));
    let rang = between(record.started_at, record.ended_at.unwrap());
    assert!(rang <= Duration::from_secs(4) && rang > Duration::from_millis(3_400), "{rang:?}");
}

#[test]
fn without_an_alive_record_a_call_ends_at_its_last_known_time() {
    let (mut pbx, ..) = ringing(); // F22
    pbx.advance(Duration::from_secs(4));
    pbx.alive = None;
    pbx.crash();
    let record = pbx.record();
    assert_eq!(record.ended_at, Some(record.started_at));
}

#[test]
fn without_calls_no_alive_records_are_written() {
    let mut pbx = TestSwitch::open(); // F22
    pbx.advance(Duration::from_secs(60));
    assert_eq!(pbx.alive, None);
}

fn register(pbx: &mut TestSwitch, phone: &Phone, reg_id: u32) {
    let instance = "+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000a95a0e128>\"";
    let contact = phone.contact();
    let lines = format!("Contact: {contact};{instance};reg-id={reg_id}\r\nExpires: 600\r\n");
    assert_eq!(pbx.register_with(phone, &lines).status(), Some(200));
}

#[test]
fn a_phone_that_moved_during_an_outage_is_bound_once() {
    let mut pbx = TestSwitch::open(); // RFC 5626 §6, D9
    let phone = pbx.phone("1001");
    register(&mut pbx, &phone, 1);
    register(&mut pbx, &phone.at("10.0.0.98:5062"), 2);
    pbx.crash();
    assert_eq!(pbx.registrations().len(), 2, "two flows of one phone");
    let moved = phone.at("10.0.0.99:5062");
    register(&mut pbx, &moved, 1);
    assert_eq!(pbx.registrations().len(), 2);
    pbx.crash();
    let gone = phone.contact().trim_matches(['<', '>']).to_owned();
    let unbound = |record: &Record| matches!(record, Record::Unbound { contact, .. } if *contact == gone);
    assert!(pbx.journal.iter().any(unbound), "its old contact is gone");
    assert_eq!(pbx.registrations().len(), 2);
}

/// The listener from which the INVITE to 1002 is sent, after a restart with these listeners.
fn listener_of_call(listeners: &[&str]) -> (TestSwitch, Option<u16>) {
    let mut pbx = TestSwitch::open();
    let (ana, benito) = (pbx.phone("1001"), pbx.phone("1002"));
    pbx.register(&benito);
    let listener = |address: &&str| Listener { transport: Transport::Udp, address: address.parse().unwrap() };
    pbx.config.listeners = listeners.iter().map(listener).collect();
    pbx.crash();
    for listener in 1..listeners.len() as u16 {
        let ports = (0..10).map(|n| 20_000 + 2 * n).collect();
        pbx.feed(Input::Media(MediaEvent::Ports { worker: 0, listener, ports }));
    }
    pbx.sent_by_listener.clear();
    pbx.call(&ana, "1002", Some(&offer()));
    let listener = pbx.sent_by_listener.get(&benito.address).copied();
    (pbx, listener)
}

#[test]
fn a_listener_inserted_before_ours_does_not_take_over_bindings() {
    assert_eq!(listener_of_call(&[SERVER]).1, Some(0)); // D9
    assert_eq!(listener_of_call(&["10.0.0.2:5060", SERVER]).1, Some(1));
    assert_eq!(listener_of_call(&["10.0.0.2:5060", "0.0.0.0:5060"]).1, Some(1), "it takes what ours took");
}

#[test]
fn a_binding_whose_listener_is_gone_is_dropped() {
    let (mut pbx, listener) = listener_of_call(&["10.0.0.2:5060"]); // D9
    assert_eq!(listener, None);
    assert!(pbx.registrations().is_empty());
    assert!(pbx.journal.iter().any(|record| matches!(record, Record::Unbound { .. })));
}
