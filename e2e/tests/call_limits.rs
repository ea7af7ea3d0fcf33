//! Limits of simultaneous calls per user and of call duration, and call waiting.

use std::time::Duration;

use e2e::raw::{DialogSide, Raw};
use e2e::wire::Message;
use e2e::{Server, Settings, until};
use serde_json::json;

const ECHO: &str = "*43";

/// Call the echo test. Returns the confirmed call or the rejection.
fn call(phone: &mut Raw, number: &str) -> Result<DialogSide, Message> {
    let body = phone.sdp();
    let dialling = phone.invite(number, "", &body);
    phone.send(dialling.text.as_bytes());
    let answer = phone.expect_final("INVITE");
    if answer.status() == Some(200) {
        return Ok(phone.send_ack(&dialling, &answer));
    }
    phone.ack_error(&dialling.text, &answer);
    Err(answer)
}

fn active(server: &Server) -> u64 {
    server.admin().get("/api/v1/opensips/status").expect(200)["activeCalls"].as_u64().expect("a number")
}

#[test]
fn a_user_has_fifty_calls_and_the_next_is_refused_over_sip_and_over_the_api() {
    let server = Server::start();
    let (alice, bob) = (server.extension("1001"), server.extension("1002"));
    let (mut a, mut b) = (Raw::new(&server, &alice), Raw::new(&server, &bob));
    a.register();
    let mut up: Vec<DialogSide> = (0..50).map(|_| call(&mut a, ECHO).expect("one of fifty")).collect(); // S29
    assert_eq!(active(&server), 50);
    let refusal = call(&mut a, ECHO).expect_err("the fifty-first");
    assert_eq!(refusal.status(), Some(503), "{}", refusal.text);
    assert!(refusal.header("Reason").is_some_and(|reason| reason.contains("text=")), "{}", refusal.text);
    let initiate = || {
        let body = json!({ "toNumber": ECHO });
        server.http(Some(&alice.key)).post("/api/v1/opensips/call/initiate", &body)
    };
    assert_eq!(initiate().expect(429)["code"], "concurrent_call_limit");
    let mut other = call(&mut b, ECHO).expect("another user is not concerned");
    assert_eq!(active(&server), 51, "and the fifty live on");
    a.hang_up(&mut up.pop().expect("a call"));
    up.push(call(&mut a, ECHO).expect("the place that became free"));
    b.hang_up(&mut other);
    for mut side in up {
        a.hang_up(&mut side);
    }
    until(Duration::from_secs(10), "no call is left", || (active(&server) == 0).then_some(()));
}

#[test]
fn the_limit_can_be_lower_and_calls_of_the_api_count_as_well() {
    let limits = "[limits]\nrequests_per_minute = 100000\ncalls_per_user = 2\n";
    let server = Server::with(Settings { more: limits.into(), ..Settings::default() });
    let alice = server.extension("1001");
    let mut phone = Raw::new(&server, &alice);
    phone.register();
    let initiate = || {
        let body = json!({ "toNumber": ECHO });
        server.http(Some(&alice.key)).post("/api/v1/opensips/call/initiate", &body)
    };
    initiate().expect(200);
    let device = phone.expect_request("INVITE");
    let mut by_hand = call(&mut phone, ECHO).expect("the second call");
    let refusal = call(&mut phone, ECHO).expect_err("the third"); // S29
    assert_eq!(refusal.status(), Some(503), "{}", refusal.text);
    assert_eq!(initiate().expect(429)["code"], "concurrent_call_limit");
    phone.answer(&device, 486, "", "");
    until(Duration::from_secs(10), "the device's refusal ends its call", || {
        (active(&server) == 1).then_some(())
    });
    phone.hang_up(&mut by_hand);
}

/// That a call ends after four hours is tested in simulated time in `crates/switch/tests`. Here: the limit can be configured, and invalid values
/// give an error.
#[test]
fn the_maximum_call_duration_is_configurable_and_validated() {
    let server = Server::start();
    let shown = server.command(&["config", "check"]);
    let print = |output: &std::process::Output| {
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    assert!(print(&shown).contains("call_hours = 4"), "{}", print(&shown)); // S30
    let config = std::fs::read_to_string(server.config()).expect("the configuration");
    std::fs::write(server.config(), format!("{config}call_hours = 0\n")).expect("written");
    let refused = server.command(&["config", "check"]);
    assert!(!refused.status.success());
    assert!(print(&refused).contains("limits.call_hours"), "{}", print(&refused));
}

#[test]
fn a_second_call_rings_unless_call_waiting_is_off() {
    let server = Server::start();
    let (alice, bob, carla) = (server.extension("1001"), server.extension("1002"), server.extension("1003"));
    let mut phones = [&alice, &bob, &carla].map(|extension| Raw::new(&server, extension));
    for phone in &mut phones {
        phone.register();
    }
    let [a, b, c] = &mut phones;
    let mut first = a.call(b);
    let body = c.sdp();
    let dialling = c.invite("1002", "", &body);
    c.send(dialling.text.as_bytes());
    let second = b.expect_request("INVITE"); // S193
    b.answer(&second, 180, "", "");
    let rings = until(Duration::from_secs(5), "the caller hears it ring", || {
        c.receive(Duration::from_secs(1)).filter(|message| message.status() == Some(180))
    });
    assert_eq!(rings.header("Call-ID"), Some(dialling.call_id.as_str()));
    b.answer(&second, 486, "", "");
    let busy = c.expect_final("INVITE");
    assert_eq!(busy.status(), Some(486), "{}", busy.text);
    c.ack_error(&dialling.text, &busy);
    b.expect_request("ACK");

    let path = format!("/api/v1/voip/extensions/{}", bob.id);
    server.http(Some(&bob.key)).put(&path, &json!({ "callWaiting": false })).expect(200);
    let busy = call(c, "1002").expect_err("the extension wants no second call");
    assert_eq!(busy.status(), Some(486), "{}", busy.text);
    assert!(busy.header("Reason").is_some_and(|reason| reason.contains("cause=17")), "{}", busy.text);
    assert!(b.drain().iter().all(|message| message.method().is_none()), "it does not even ring");
    a.still_up(&mut first.caller);
    a.hang_up(&mut first.caller);
}
