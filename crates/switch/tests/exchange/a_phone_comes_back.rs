//! Calls for phones whose connection broke a moment ago (RFC 5626 §5.3 answers 430 at once; a person would rather wait).

use std::time::Duration;

use centralita_switch::{Input, Listener};
use media::MediaEvent;
use model::Cause;
use sip::Transport;

use crate::office::sdp::sdp;
use crate::office::{Office, Phone, SERVER};

const OFFER: fn() -> String = || sdp("10.0.0.11", 30_000, "0", "sendrecv");

/// 1002 has registered over a connection, which breaks.
fn broken() -> (Office, Phone, Phone) {
    let mut office = Office::open();
    let (ana, benito) = (office.phone("1001"), office.phone("1002"));
    office.connects(&benito, 1);
    office.register(&benito);
    office.breaks(&benito);
    (office, ana, benito)
}

#[test]
fn a_call_waits_for_the_phone_and_rings_it_when_it_is_back() {
    let (mut office, ana, benito) = broken();
    let mut caller = office.call(&ana, "1002", Some(&OFFER()));
    assert_eq!(office.summary(&ana), "100");
    office.pass(Duration::from_secs(4));
    let back = benito.at("10.0.0.12:5099");
    office.connects(&back, 2);
    office.register(&back);
    let callee = office.rung(&back);
    office.pass(Duration::from_secs(20));
    office.answer(&callee, 180, None);
    office.answer(&callee, 200, Some(&sdp("10.0.0.12", 31_000, "0", "sendrecv")));
    let ok = office.last(&ana);
    office.acknowledge(&mut caller, &ok, None);
    assert!(office.heard(&benito).is_empty(), "nothing goes to the connection that is gone");
    office.within(&mut caller, "BYE", "", None);
    let bye = office.heard(&back).into_iter().find(|m| m.method().as_str() == "BYE").unwrap();
    office.respond(&callee, &bye, 200, "", None);
    assert_eq!(office.record().cause, Some(Cause::Completed));
    office.is_at_rest();
}

#[test]
fn after_five_seconds_the_phone_is_unreachable() {
    let (mut office, ana, benito) = broken();
    let line = office.call(&ana, "1002", Some(&OFFER()));
    office.heard(&ana);
    office.pass(Duration::from_millis(4_900));
    assert!(office.heard(&ana).is_empty());
    office.pass(Duration::from_millis(200));
    let refusal = office.last(&ana);
    assert_eq!(refusal.status(), Some(480));
    office.ack_refusal(&line, &refusal);
    assert_eq!(office.record().cause, Some(Cause::Unreachable));
    office.connects(&benito, 2);
    office.register(&benito);
    assert!(office.heard(&benito).is_empty(), "too late: it is not rung for a call that is over");
    office.is_at_rest();
}

#[test]
fn the_phone_that_comes_back_joins_those_that_ring() {
    let (mut office, ana, benito) = broken();
    let desk = benito.at("10.0.0.99:5060");
    office.register(&desk);
    office.call(&ana, "1002", Some(&OFFER()));
    let on_desk = office.rung(&desk);
    office.answer(&on_desk, 180, None);
    assert_eq!(office.summary(&ana), "100 180", "nobody waits while one rings");
    // Another registration of the phone that rings already does not ring it twice.
    office.register(&desk);
    assert!(office.heard(&desk).is_empty());
    office.connects(&benito, 2);
    office.register(&benito);
    let on_mobile = office.rung(&benito);
    office.answer(&on_desk, 486, None);
    office.answer(&on_mobile, 200, Some(&sdp("10.0.0.12", 31_000, "0", "sendrecv")));
    assert_eq!(office.last(&ana).status(), Some(200));
    assert_eq!(office.status().active_calls, 1);
}

#[test]
fn a_phone_that_comes_back_later_than_that_does_not_join() {
    let (mut office, ana, benito) = broken();
    let desk = benito.at("10.0.0.99:5060");
    office.register(&desk);
    let line = office.call(&ana, "1002", Some(&OFFER()));
    let on_desk = office.rung(&desk);
    office.answer(&on_desk, 180, None);
    office.pass(Duration::from_secs(6));
    office.connects(&benito, 2);
    office.register(&benito);
    assert!(office.heard(&benito).is_empty());
    office.pass(Duration::from_secs(20));
    let refusal = office.last(&ana);
    office.ack_refusal(&line, &refusal);
    assert_eq!(office.record().cause, Some(Cause::NoAnswer), "the extension rang as long as it should");
    office.answer(&on_desk, 487, None);
    office.is_at_rest();
}

#[test]
fn a_caller_who_hangs_up_while_waiting_leaves_nothing_behind() {
    let (mut office, ana, benito) = broken();
    let line = office.call(&ana, "1002", Some(&OFFER()));
    office.cancel(&line);
    let refusal = office.heard(&ana).into_iter().find(|m| m.status() == Some(487)).unwrap();
    office.ack_refusal(&line, &refusal);
    office.connects(&benito, 2);
    office.register(&benito);
    assert!(office.heard(&benito).is_empty());
    assert_eq!(office.record().cause, Some(Cause::Cancelled));
    office.is_at_rest();
}

#[test]
fn connections_die_with_the_process_and_calls_wait_for_their_phones_as_well() {
    let listener = Listener { transport: Transport::Tcp, address: SERVER.parse().unwrap() };
    let mut office = Office::open_with(|config| config.listeners.push(listener));
    let (ana, benito) = (office.phone("1001"), office.phone("1002"));
    office.connects(&benito, 1);
    office.register(&benito);
    office.crash();
    let ports = (0..10).map(|n| 20_000 + 2 * n).collect();
    office.feed(Input::Media(MediaEvent::Ports { worker: 0, listener: 1, ports }));
    office.call(&ana, "1002", Some(&OFFER()));
    assert!(office.heard(&benito).is_empty());
    office.connects(&benito, 2);
    office.register(&benito);
    let callee = office.rung(&benito);
    office.answer(&callee, 486, None);
    assert_eq!(office.last(&ana).status(), Some(486));
}
