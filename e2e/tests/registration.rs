//! Registration, refresh, expiry and removal of bindings, with SIPp (RFC 3261 §10).

use std::time::Duration;

use e2e::raw::Raw;
use e2e::sipp::scenario;
use e2e::wire::{Challenge, Register, Wire};
use e2e::{Server, Settings, until};

#[test]
fn a_binding_is_created_refreshed_and_removed() {
    let server = Server::start();
    let alice = server.extension("1001");
    scenario("register_refresh", server.sip(), server.spare_port(0)).from(&alice).passes();
}

#[test]
fn the_same_over_tcp() {
    let server = Server::start();
    let alice = server.extension("1001");
    scenario("register_refresh", server.sip(), server.spare_port(0)).from(&alice).over_tcp().passes();
}

#[test]
fn an_expiry_below_the_minimum_is_rejected_with_423() {
    let server = Server::start();
    let alice = server.extension("1001");
    scenario("register_too_short", server.sip(), server.spare_port(0)).from(&alice).passes();
}

#[test]
fn the_wildcard_removes_every_binding_and_only_with_expires_0() {
    let server = Server::start();
    let alice = server.extension("1001");
    scenario("register_wildcard", server.sip(), server.spare_port(0)).from(&alice).passes();
}

#[test]
fn several_contacts_are_bound_at_once() {
    let server = Server::start();
    let alice = server.extension("1001");
    scenario("register_several", server.sip(), server.spare_port(0)).from(&alice).passes();
}

#[test]
fn a_wrong_password_creates_no_binding() {
    let server = Server::start();
    let alice = server.extension("1001");
    let wrong = scenario("register_wrong_password", server.sip(), server.spare_port(0))
        .from(&alice)
        .password("guess");
    wrong.passes();
    let listed =
        server.http(Some(&alice.key)).get(&format!("/api/v1/voip/extensions/{}", alice.id)).expect(200);
    assert_eq!(listed["extension"]["registered"], false);
}

#[test]
fn reused_credentials_are_stale_and_the_next_challenge_can_be_answered() {
    // RFC 7616 §3.4: a used nonce count is a replay, whatever else the message says.
    let server = Server::start();
    let alice = server.extension("1001");
    let limit = Duration::from_secs(5);
    let mut wire = Wire::udp(server.sip());
    let register = Register::of(&alice, &wire);
    wire.send(register.text(&wire, None).as_bytes());
    let first = wire.final_response(limit).expect("a challenge");
    let challenge =
        Challenge::parse(first.header("WWW-Authenticate").expect("a challenge")).expect("a digest challenge");
    let answer = challenge.answer(&alice.username, &alice.password, "REGISTER", "sip:localhost", 1);
    let mut status = |cseq, answer: &str| {
        wire.send(Register { cseq, ..register.clone() }.text(&wire, Some(answer)).as_bytes());
        wire.final_response(limit).expect("an answer")
    };
    assert_eq!(status(2, &answer).status(), Some(200));
    let replayed = status(3, &answer);
    assert_eq!(replayed.status(), Some(401), "{}", replayed.text);
    let next = Challenge::parse(replayed.header("WWW-Authenticate").expect("a challenge"))
        .expect("a digest challenge");
    assert!(next.stale, "{}", replayed.text);
    let answer = next.answer(&alice.username, &alice.password, "REGISTER", "sip:localhost", 1);
    assert_eq!(status(4, &answer).status(), Some(200));
}

#[test]
fn no_user_registers_the_address_of_another() {
    let server = Server::start();
    let (alice, bob) = (server.extension("1001"), server.extension("1002"));
    let forged =
        scenario("register_forged_to", server.sip(), server.spare_port(0)).from(&alice).owner(&bob.username);
    forged.passes();
}

#[test]
fn a_binding_without_refresh_expires_and_the_api_shows_it() {
    // The test polls the API here.
    let often = "[limits]\nrequests_per_minute = 100000".to_owned();
    let server = Server::with(Settings { more: often, ..Settings::default() });
    let alice = server.extension("1001");
    let lapse = scenario("register_lapse", server.sip(), server.spare_port(0)).from(&alice);
    let running = lapse.time_limit(Duration::from_secs(90)).start();
    let path = format!("/api/v1/voip/extensions/{}", alice.id);
    let registered =
        || server.http(Some(&alice.key)).get(&path).expect(200)["extension"]["registered"].as_bool();
    // S70
    until(Duration::from_secs(10), "the extension is registered", || {
        (registered() == Some(true)).then_some(())
    });
    until(Duration::from_secs(75), "the binding lapses", || (registered() == Some(false)).then_some(()));
    running.passes();
}

#[test]
fn the_extension_number_serves_as_user_name() {
    // S39
    let server = Server::start();
    let mut alice = server.extension("1001");
    alice.username = alice.number.clone();
    let mut wire = Wire::udp(server.sip());
    let answer = Register::of(&alice, &wire).send(&mut wire);
    assert_eq!(answer.status(), Some(200), "{}", answer.text);
}

#[test]
fn a_retransmitted_register_gets_the_same_response() {
    let server = Server::start();
    let alice = server.extension("1001");
    let mut wire = Wire::udp(server.sip());
    let register = Register::of(&alice, &wire);
    wire.send(register.text(&wire, None).as_bytes());
    let challenge = wire.final_response(Duration::from_secs(5)).expect("a challenge");
    let challenge = Challenge::parse(challenge.header("WWW-Authenticate").unwrap()).unwrap();
    let register = Register { cseq: 2, ..register };
    let answer = challenge.answer(&alice.username, &alice.password, "REGISTER", "sip:localhost", 1);
    let text = register.text(&wire, Some(&answer));
    for _ in 0..3 {
        // The phone has not received the 200 and retransmits the same bytes, which is not a replay.
        wire.send(text.as_bytes());
        assert_eq!(wire.final_response(Duration::from_secs(5)).and_then(|answer| answer.status()), Some(200));
    }
}

/// Bob's phone over TCP, whose connection is closed; the server has noticed.
fn broken(server: &Server, bob: &e2e::Extension) {
    let mut wire = Wire::tcp(server.sip());
    let answer = Register::of(bob, &wire).send(&mut wire);
    assert_eq!(answer.status(), Some(200), "{}", answer.text);
    drop(wire);
    until(Duration::from_secs(5), "the server notices", || {
        let shown =
            server.http(Some(&bob.key)).get(&format!("/api/v1/voip/extensions/{}", bob.id)).expect(200);
        (shown["extension"]["registered"] == false).then_some(())
    });
}

#[test]
fn a_call_waits_for_a_phone_whose_connection_was_closed() {
    let server = Server::start();
    let (alice, bob) = (server.extension("1001"), server.extension("1002"));
    broken(&server, &bob);
    let mut caller = Raw::new(&server, &alice);
    let body = caller.sdp();
    let dialling = caller.invite("1002", "", &body);
    caller.send(dialling.text.as_bytes());
    let trying = until(Duration::from_secs(5), "the INVITE is taken up", || {
        caller.receive(Duration::from_secs(1)).filter(|message| message.status() == Some(100))
    });
    assert_eq!(trying.header("Call-ID"), Some(dialling.call_id.as_str()));
    let mut wire = Wire::tcp(server.sip());
    let answer = Register::of(&bob, &wire).send(&mut wire);
    assert_eq!(answer.status(), Some(200), "{}", answer.text);
    let invite = wire.receive(Duration::from_secs(5)).expect("the call comes by the new connection");
    assert_eq!(invite.method(), Some("INVITE"), "{}", invite.text);
    let get = |name: &str| invite.header(name).unwrap_or_default();
    let busy = format!(
        "SIP/2.0 486 Busy Here\r\nVia: {}\r\nFrom: {}\r\nTo: {};tag=b\r\nCall-ID: {}\r\nCSeq: {}\r\nContent-Length: 0\r\n\r\n",
        get("Via"),
        get("From"),
        get("To"),
        get("Call-ID"),
        get("CSeq")
    );
    wire.send(busy.as_bytes());
    let refusal = caller.expect_final("INVITE");
    assert_eq!(refusal.status(), Some(486), "{}", refusal.text);
    caller.ack_error(&dialling.text, &refusal);
}

#[test]
fn a_call_to_a_phone_that_does_not_return_ends_after_five_seconds() {
    let server = Server::start();
    let (alice, bob) = (server.extension("1001"), server.extension("1002"));
    broken(&server, &bob);
    let mut caller = Raw::new(&server, &alice);
    let body = caller.sdp();
    let dialling = caller.invite("1002", "", &body);
    let begin = std::time::Instant::now();
    caller.send(dialling.text.as_bytes());
    let refusal = until(Duration::from_secs(20), "the call is refused", || {
        caller.receive(Duration::from_secs(1)).filter(|message| message.status().is_some_and(|s| s >= 200))
    });
    assert_eq!(refusal.status(), Some(480), "{}", refusal.text);
    assert!(refusal.header("Reason").is_some(), "{}", refusal.text);
    assert!(begin.elapsed() >= Duration::from_secs(5), "after {:?}", begin.elapsed());
    caller.ack_error(&dialling.text, &refusal);
}
