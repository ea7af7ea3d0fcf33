//! What the journal brings back after `kill -9`: phones that are where they were, and records that say how long calls were.

use std::time::Duration;

use base::Timestamp;
use centralita_switch::{Input, Listener};
use media::MediaEvent;
use model::journal::Record;
use model::{CallStatus, Cause};
use sip::Transport;

use crate::office::line::Line;
use crate::office::sdp::sdp;
use crate::office::{Office, Phone, SERVER};

fn offer() -> String {
    sdp("10.0.0.11", 30_000, "0", "sendrecv")
}

/// 1001 calls 1002, which rings.
fn ringing() -> (Office, Phone, Line, Line) {
    let mut office = Office::open();
    let (ana, benito) = (office.phone("1001"), office.phone("1002"));
    office.register(&benito);
    let caller = office.call(&ana, "1002", Some(&offer()));
    let callee = office.rung(&benito);
    office.answer(&callee, 180, None);
    (office, ana, caller, callee)
}

fn between(from: Timestamp, to: Timestamp) -> Duration {
    assert!(to >= from, "{from} is after {to}");
    to.since(from)
}

#[test]
fn a_night_down_is_not_a_call_of_a_night() {
    let (mut office, ana, mut caller, callee) = ringing(); // F22
    office.pass(Duration::from_secs(4));
    office.answer(&callee, 200, Some(&sdp("10.0.0.12", 31_000, "0", "sendrecv")));
    let ok = office.last(&ana);
    office.acknowledge(&mut caller, &ok, None);
    office.pass(Duration::from_millis(2_200));
    office.clock += Duration::from_secs(8 * 3600);
    office.crash();
    let record = office.record();
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
fn a_call_that_only_rang_has_no_talk_and_rang_until_the_last_sign_of_life() {
    let (mut office, ..) = ringing(); // F22
    office.pass(Duration::from_secs(4));
    office.clock += Duration::from_secs(600);
    office.crash();
    let record = office.record();
    assert_eq!((record.status, record.answered_at), (CallStatus::Failed, None));
    let rang = between(record.started_at, record.ended_at.unwrap());
    assert!(rang <= Duration::from_secs(4) && rang > Duration::from_millis(3_400), "{rang:?}");
}

#[test]
fn without_a_sign_of_life_a_call_ends_at_the_last_that_is_known_of_it() {
    let (mut office, ..) = ringing(); // F22
    office.pass(Duration::from_secs(4));
    office.alive = None;
    office.crash();
    let record = office.record();
    assert_eq!(record.ended_at, Some(record.started_at));
}

#[test]
fn while_nobody_calls_the_journal_is_left_alone() {
    let mut office = Office::open(); // F22
    office.pass(Duration::from_secs(60));
    assert_eq!(office.alive, None);
}

fn register(office: &mut Office, phone: &Phone, reg_id: u32) {
    let instance = "+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000a95a0e128>\"";
    let contact = phone.contact();
    let lines = format!("Contact: {contact};{instance};reg-id={reg_id}\r\nExpires: 600\r\n");
    assert_eq!(office.register_with(phone, &lines).status(), Some(200));
}

#[test]
fn a_phone_that_moved_while_we_were_away_is_bound_once() {
    let mut office = Office::open(); // RFC 5626 §6, D9
    let phone = office.phone("1001");
    register(&mut office, &phone, 1);
    register(&mut office, &phone.at("10.0.0.98:5062"), 2);
    office.crash();
    assert_eq!(office.registrations().len(), 2, "two flows of one phone");
    let moved = phone.at("10.0.0.99:5062");
    register(&mut office, &moved, 1);
    assert_eq!(office.registrations().len(), 2);
    office.crash();
    let gone = phone.contact().trim_matches(['<', '>']).to_owned();
    let unbound = |record: &Record| matches!(record, Record::Unbound { contact, .. } if *contact == gone);
    assert!(office.journal.iter().any(unbound), "its old contact is gone");
    assert_eq!(office.registrations().len(), 2);
}

/// Where 1002 is called after a restart with these listeners: the listener that the INVITE leaves by.
fn called_by(listeners: &[&str]) -> (Office, Option<u16>) {
    let mut office = Office::open();
    let (ana, benito) = (office.phone("1001"), office.phone("1002"));
    office.register(&benito);
    let listener = |address: &&str| Listener { transport: Transport::Udp, address: address.parse().unwrap() };
    office.config.listeners = listeners.iter().map(listener).collect();
    office.crash();
    for listener in 1..listeners.len() as u16 {
        let ports = (0..10).map(|n| 20_000 + 2 * n).collect();
        office.feed(Input::Media(MediaEvent::Ports { worker: 0, listener, ports }));
    }
    office.left_by.clear();
    office.call(&ana, "1002", Some(&offer()));
    let listener = office.left_by.get(&benito.address).copied();
    (office, listener)
}

#[test]
fn a_listener_that_is_configured_before_ours_takes_no_phone_with_it() {
    assert_eq!(called_by(&[SERVER]).1, Some(0)); // D9
    assert_eq!(called_by(&["10.0.0.2:5060", SERVER]).1, Some(1));
    assert_eq!(called_by(&["10.0.0.2:5060", "0.0.0.0:5060"]).1, Some(1), "it takes what ours took");
}

#[test]
fn a_binding_whose_listener_is_gone_is_dropped() {
    let (mut office, listener) = called_by(&["10.0.0.2:5060"]); // D9
    assert_eq!(listener, None);
    assert!(office.registrations().is_empty());
    assert!(office.journal.iter().any(|record| matches!(record, Record::Unbound { .. })));
}
