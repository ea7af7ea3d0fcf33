//! Calls to a binding whose connection has just closed. RFC 5626 §5.3 answers 430 at once; we wait for the flow to be re-established.

use std::time::Duration;

use centralita_switch::{Input, Listener};
use media::MediaEvent;
use model::Cause;
use sip::Transport;

use crate::test_switch::sdp::sdp;
use crate::test_switch::{Phone, SERVER, TestSwitch};

const OFFER: fn() -> String = || sdp("10.0.0.11", 30_000, "0", "sendrecv");

/// 1002 has registered over a connection, which is then closed.
fn closed_flow() -> (TestSwitch, Phone, Phone) {
    let mut pbx = TestSwitch::open();
    let (ana, benito) = (pbx.phone("1001"), pbx.phone("1002"));
    pbx.open_flow(&benito, 1);
    pbx.register(&benito);
    pbx.close_flow(&benito);
    (pbx, ana, benito)
}

#[test]
fn a_call_waits_for_the_flow_and_rings_the_phone_when_it_registers_again() {
    let (mut pbx, ana, benito) = closed_flow();
    let mut caller = pbx.call(&ana, "1002", Some(&OFFER()));
    assert_eq!(pbx.summary(&ana), "100");
    pbx.advance(Duration::from_secs(4));
    let back = benito.at("10.0.0.12:5099");
    pbx.open_flow(&back, 2);
    pbx.register(&back);
    let callee = pbx.expect_invite(&back);
    pbx.advance(Duration::from_secs(20));
    pbx.answer(&callee, 180, None);
    pbx.answer(&callee, 200, Some(&sdp("10.0.0.12", 31_000, "0", "sendrecv")));
    let ok = pbx.last(&ana);
    pbx.send_ack(&mut caller, &ok, None);
    assert!(pbx.received(&benito).is_empty(), "nothing goes to the connection that is gone");
    pbx.in_dialog_request(&mut caller, "BYE", "", None);
    let bye = pbx.received(&back).into_iter().find(|m| m.method().as_str() == "BYE").unwrap();
    pbx.respond(&callee, &bye, 200, "", None);
    assert_eq!(pbx.record().cause, Some(Cause::Completed));
    pbx.assert_idle();
}

#[test]
fn after_five_seconds_the_phone_is_unreachable() {
    let (mut pbx, ana, benito) = closed_flow();
    let dialog = pbx.call(&ana, "1002", Some(&OFFER()));
    pbx.received(&ana);
    pbx.advance(Duration::from_millis(4_900));
    assert!(pbx.received(&ana).is_empty());
    pbx.advance(Duration::from_millis(200));
    let rejection = pbx.last(&ana);
    assert_eq!(rejection.status(), Some(480));
    pbx.ack_error(&dialog, &rejection);
    assert_eq!(pbx.record().cause, Some(Cause::Unreachable));
    pbx.open_flow(&benito, 2);
    pbx.register(&benito);
    assert!(pbx.received(&benito).is_empty(), "too late: it is not rung for a call that is over");
    pbx.assert_idle();
}

#[test]
fn a_recovered_flow_joins_the_ringing_branches() {
    let (mut pbx, ana, benito) = closed_flow();
    let desk = benito.at("10.0.0.99:5060");
    pbx.register(&desk);
    pbx.call(&ana, "1002", Some(&OFFER()));
    let on_desk = pbx.expect_invite(&desk);
    pbx.answer(&on_desk, 180, None);
    assert_eq!(pbx.summary(&ana), "100 180", "no wait while a branch rings");
    // A further registration of the ringing phone does not ring it twice.
    pbx.register(&desk);
    assert!(pbx.received(&desk).is_empty());
    pbx.open_flow(&benito, 2);
    pbx.register(&benito);
    let on_mobile = pbx.expect_invite(&benito);
    pbx.answer(&on_desk, 486, None);
    pbx.answer(&on_mobile, 200, Some(&sdp("10.0.0.12", 31_000, "0", "sendrecv")));
    assert_eq!(pbx.last(&ana).status(), Some(200));
    assert_eq!(pbx.status().active_calls, 1);
}

#[test]
fn a_flow_recovered_too_late_does_not_join() {
    let (mut pbx, ana, benito) = closed_flow();
    let desk = benito.at("10.0.0.99:5060");
    pbx.register(&desk);
    let dialog = pbx.call(&ana, "1002", Some(&OFFER()));
    let on_desk = pbx.expect_invite(&desk);
    pbx.answer(&on_desk, 180, None);
    pbx.advance(Duration::from_secs(6));
    pbx.open_flow(&benito, 2);
    pbx.register(&benito);
    assert!(pbx.received(&benito).is_empty());
    pbx.advance(Duration::from_secs(20));
    let rejection = pbx.last(&ana);
    pbx.ack_error(&dialog, &rejection);
    assert_eq!(pbx.record().cause, Some(Cause::NoAnswer), "the extension rang as long as it should");
    pbx.answer(&on_desk, 487, None);
    pbx.assert_idle();
}

#[test]
fn a_caller_who_cancels_while_waiting_leaves_no_state() {
    let (mut pbx, ana, benito) = closed_flow();
    let dialog = pbx.call(&ana, "1002", Some(&OFFER()));
    pbx.cancel(&dialog);
    let rejection = pbx.received(&ana).into_iter().find(|m| m.status() == Some(487)).unwrap();
    pbx.ack_error(&dialog, &rejection);
    pbx.open_flow(&benito, 2);
    pbx.register(&benito);
    assert!(pbx.received(&benito).is_empty());
    assert_eq!(pbx.record().cause, Some(Cause::Cancelled));
    pbx.assert_idle();
}

#[test]
fn flows_closed_by_a_restart_are_awaited_too() {
    let listener = Listener { transport: Transport::Tcp, address: SERVER.parse().unwrap() };
    let mut pbx = TestSwitch::open_with(|config| config.listeners.push(listener));
    let (ana, benito) = (pbx.phone("1001"), pbx.phone("1002"));
    pbx.open_flow(&benito, 1);
    pbx.register(&benito);
    pbx.crash();
    let ports = (0..10).map(|n| 20_000 + 2 * n).collect();
    pbx.feed(Input::Media(MediaEvent::Ports { worker: 0, listener: 1, ports }));
    pbx.call(&ana, "1002", Some(&OFFER()));
    assert!(pbx.received(&benito).is_empty());
    pbx.open_flow(&benito, 2);
    pbx.register(&benito);
    let callee = pbx.expect_invite(&benito);
    pbx.answer(&callee, 486, None);
    assert_eq!(pbx.last(&ana).status(), Some(486));
}
