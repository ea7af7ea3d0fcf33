//! Two real softphones register, call each other, and hear each other.

use std::time::Duration;

use e2e::{Account, Answering, Extension, Nat, Phone, Server, Transport, soon};
use serde_json::Value;

const ONE_SPEAKS: u32 = 440;
const TWO_SPEAKS: u32 = 1000;

/// The call has ended: one complete record with two legs in order.
fn check_record(server: &Server, from: &Extension) -> Value {
    let call = server.finished_call();
    assert_eq!(call["status"], "completed", "{call:#}");
    assert_eq!(call["toNumber"], "1002", "{call:#}");
    let caller = call["fromNumber"].as_str().unwrap_or_default();
    assert!(caller.contains(&from.number) || caller.contains(&from.username), "{call:#}");
    for instant in ["startedAt", "answeredAt", "endedAt"] {
        assert!(call[instant].as_str().is_some_and(|text| text.ends_with('Z')), "{instant}: {call:#}");
    }
    assert!(call["startedAt"].as_str() <= call["answeredAt"].as_str(), "{call:#}");
    assert!(call["answeredAt"].as_str() <= call["endedAt"].as_str(), "{call:#}");
    let legs = call["legs"].as_array().cloned().unwrap_or_default();
    assert_eq!(legs.len(), 2, "{call:#}");
    for leg in &legs {
        assert_eq!(leg["codec"], "PCMU", "{call:#}");
        assert!(leg["quality"]["packetsReceived"].as_u64() > Some(20), "{call:#}");
    }
    call
}

/// Every message of the call can be read back, as JSON and as text.
fn check_ladder(server: &Server, call: &Value) {
    let id = call["sessionId"].as_str().expect("an id");
    let path = format!("/api/v1/calls/{id}/ladder");
    let ladder = server.admin().get(&path).expect(200);
    let rungs =
        ladder["ladder"].as_array().or_else(|| ladder["messages"].as_array()).cloned().unwrap_or_default();
    let first_lines: Vec<String> = rungs
        .iter()
        .map(|rung| rung["text"].as_str().unwrap_or_default().lines().next().unwrap_or_default().to_owned())
        .collect();
    let count = |start: &str| first_lines.iter().filter(|line| line.starts_with(start)).count();
    assert!(count("INVITE ") >= 2, "both legs: {first_lines:#?}");
    assert!(count("ACK ") >= 2, "both legs: {first_lines:#?}");
    assert_eq!(count("BYE "), 2, "both legs: {first_lines:#?}");
    assert!(count("SIP/2.0 200") >= 4, "{first_lines:#?}");
    assert!(!ladder.to_string().contains("response=\\\""), "credentials are blotted out");
    let text = server.admin().send("GET", &path, "text/plain", None).expect("an answer");
    assert!(text.status == 200 && text.body.contains("INVITE") && text.body.contains("BYE"), "{text:?}");
}

/// The RTP ports and calls of the process are released.
fn check_nothing_left(server: &Server) {
    let health = || server.admin().get("/api/v1/opensips/health").expect(200);
    soon("no call is active", || (health()["activeCalls"] == 0).then_some(()));
}

fn talk(transport: Transport) {
    let server = Server::start();
    let (alice, bob) = (server.extension("1001"), server.extension("1002"));
    let mut one = Phone::registered("one", ONE_SPEAKS, &Account::of(&alice, server.sip()).over(transport));
    let two = Phone::registered("two", TWO_SPEAKS, &Account::of(&bob, server.sip()).over(transport));
    one.dial("1002");
    one.expect("CALL_ESTABLISHED");
    two.expect("CALL_ESTABLISHED");
    one.hears(TWO_SPEAKS);
    two.hears(ONE_SPEAKS);
    let active = server.admin().get("/api/v1/opensips/health").expect(200);
    assert_eq!(active["activeCalls"], 1, "calls are counted, not legs");
    one.hang_up();
    two.expect("CALL_CLOSED");
    let call = check_record(&server, &alice);
    check_ladder(&server, &call);
    check_nothing_left(&server);
}

#[test]
fn each_hears_the_others_tone_over_udp() {
    talk(Transport::Udp);
}

#[test]
fn each_hears_the_others_tone_over_tcp() {
    talk(Transport::Tcp);
}

#[test]
fn the_callee_may_hang_up_too() {
    let server = Server::start();
    let (alice, bob) = (server.extension("1001"), server.extension("1002"));
    let mut one = Phone::registered("one", ONE_SPEAKS, &Account::of(&alice, server.sip()));
    let mut two = Phone::registered("two", TWO_SPEAKS, &Account::of(&bob, server.sip()));
    one.dial("1002");
    two.expect("CALL_ESTABLISHED");
    two.hears(ONE_SPEAKS);
    one.hears(TWO_SPEAKS);
    two.hang_up();
    one.expect("CALL_CLOSED");
    check_record(&server, &alice);
    check_nothing_left(&server);
}

#[test]
fn a_ringing_phone_is_answered_manually() {
    let server = Server::start();
    let (alice, bob) = (server.extension("1001"), server.extension("1002"));
    let mut one = Phone::registered("one", ONE_SPEAKS, &Account::of(&alice, server.sip()));
    let by_hand = Account::of(&bob, server.sip()).answering(Answering::OnCommand);
    let mut two = Phone::registered("two", TWO_SPEAKS, &by_hand);
    one.dial("1002");
    two.expect("CALL_INCOMING");
    one.expect("CALL_RINGING");
    two.answer();
    one.expect("CALL_ESTABLISHED");
    one.hears(TWO_SPEAKS);
    two.hears(ONE_SPEAKS);
}

#[test]
fn phones_with_a_law_and_mu_law_hear_each_other() {
    let server = Server::start();
    let (alice, bob) = (server.extension("1001"), server.extension("1002"));
    let mut one = Phone::registered("one", ONE_SPEAKS, &Account::of(&alice, server.sip()).codec("PCMU"));
    let two = Phone::registered("two", TWO_SPEAKS, &Account::of(&bob, server.sip()).codec("PCMA"));
    one.dial("1002");
    two.expect("CALL_ESTABLISHED");
    one.hears(TWO_SPEAKS);
    two.hears(ONE_SPEAKS);
}

#[test]
fn behind_a_nat_the_call_uses_the_observed_addresses() {
    let server = Server::start();
    let (alice, bob) = (server.extension("1001"), server.extension("1002"));
    let nat = Nat::start(server.sip());
    let mut one = Phone::registered("one", ONE_SPEAKS, &Account::of(&alice, server.sip()));
    let mut two = Phone::registered("two", TWO_SPEAKS, &Account::of(&bob, nat.inner()));
    let before = nat.signalling_in();
    one.dial("1002");
    two.expect("CALL_ESTABLISHED");
    one.hears(TWO_SPEAKS);
    two.hears(ONE_SPEAKS);
    assert!(nat.signalling_in() > before, "the INVITE came back by the way of the registration");
    assert!(nat.media_in() > 20, "the media came back to where it came from");
    two.hang_up();
    one.expect("CALL_CLOSED");
    check_record(&server, &alice);
}

#[test]
fn hold_silences_the_other_party_and_resume_restores_audio() {
    let server = Server::start();
    let (alice, bob) = (server.extension("1001"), server.extension("1002"));
    let nat = Nat::start(server.sip());
    let mut one = Phone::registered("one", ONE_SPEAKS, &Account::of(&alice, server.sip()));
    let two = Phone::registered("two", TWO_SPEAKS, &Account::of(&bob, nat.inner()));
    one.dial("1002");
    two.expect("CALL_ESTABLISHED");
    one.hears(TWO_SPEAKS);
    nat.audio_probe().hears(ONE_SPEAKS);
    one.hold();
    one.hears_nothing();
    nat.audio_probe().hears_nothing();
    one.resume();
    nat.audio_probe().hears(ONE_SPEAKS);
    one.hang_up();
    two.expect("CALL_CLOSED");
}

#[test]
fn star_43_echoes() {
    let server = Server::start();
    let alice = server.extension("1001");
    let mut one = Phone::registered("one", ONE_SPEAKS, &Account::of(&alice, server.sip()));
    one.dial("*43");
    one.expect("CALL_ESTABLISHED");
    one.hears(ONE_SPEAKS);
    one.hang_up();
    let call = server.finished_call();
    assert_eq!(call["status"], "completed", "{call:#}");
}

#[test]
fn star_44_is_the_milliwatt_tone() {
    let server = Server::start();
    let alice = server.extension("1001");
    let mut one = Phone::registered("one", ONE_SPEAKS, &Account::of(&alice, server.sip()));
    one.dial("*44");
    one.expect("CALL_ESTABLISHED");
    // 1004 Hz instead of 1000: 1000 is a divisor of the sampling rate.
    one.hears(1000);
}

#[test]
fn a_restart_after_kill_9_loses_no_registration() {
    let mut server = Server::start();
    let (alice, bob) = (server.extension("1001"), server.extension("1002"));
    let mut one = Phone::registered("one", ONE_SPEAKS, &Account::of(&alice, server.sip()));
    let two = Phone::registered("two", TWO_SPEAKS, &Account::of(&bob, server.sip()));
    server.restart();
    one.dial("1002");
    two.expect("CALL_ESTABLISHED");
    two.hears(ONE_SPEAKS);
}

#[test]
fn a_call_interrupted_by_a_crash_is_ended_on_both_phones() {
    let mut server = Server::start();
    let (alice, bob) = (server.extension("1001"), server.extension("1002"));
    let mut one = Phone::registered("one", ONE_SPEAKS, &Account::of(&alice, server.sip()));
    let two = Phone::registered("two", TWO_SPEAKS, &Account::of(&bob, server.sip()));
    one.dial("1002");
    one.expect("CALL_ESTABLISHED");
    two.expect("CALL_ESTABLISHED");
    one.hears(TWO_SPEAKS);
    server.restart();
    one.expect_within(Duration::from_secs(30), "CALL_CLOSED");
    two.expect_within(Duration::from_secs(30), "CALL_CLOSED");
    let call = server.finished_call();
    assert_eq!(call["endReason"], "crash", "{call:#}");
}
