//! Forwarding with real phones: each party's received tone is measured.

use std::time::Duration;

use e2e::raw::Raw;
use e2e::{Account, Answering, Extension, Phone, Server, soon};
use serde_json::{Value, json};

const ONE_SPEAKS: u32 = 440;
const TWO_SPEAKS: u32 = 1000;
const THREE_SPEAKS: u32 = 620;

/// 1001 calls 1002, which forwards to 1003.
struct Setup {
    server: Server,
    bob: Extension,
    one: Phone,
    three: Phone,
}

impl Setup {
    fn open() -> Setup {
        let server = Server::start();
        let (alice, bob, carol) =
            (server.extension("1001"), server.extension("1002"), server.extension("1003"));
        let one = Phone::registered("one", ONE_SPEAKS, &Account::of(&alice, server.sip()));
        let three = Phone::registered("three", THREE_SPEAKS, &Account::of(&carol, server.sip()));
        Setup { server, bob, one, three }
    }

    fn change(&self, body: &Value) -> Value {
        let path = format!("/api/v1/voip/extensions/{}", self.bob.id);
        self.server.http(Some(&self.bob.key)).put(&path, body).expect(200)
    }

    fn forward(&self, mode: &str) {
        self.change(&json!({"forwardingEnabled": true, "forwardingNumber": "1003", "forwardingMode": mode}));
    }

    fn second(&self, answering: Answering) -> Phone {
        Phone::registered("two", TWO_SPEAKS, &Account::of(&self.bob, self.server.sip()).answering(answering))
    }

    /// 1001 and 1003 talk and hang up; the record has the reason of the forwarding.
    fn one_talks_with_three(&mut self, why: &str) -> Value {
        self.three.expect("CALL_ESTABLISHED");
        self.one.expect("CALL_ESTABLISHED");
        self.one.hears(THREE_SPEAKS);
        self.three.hears(ONE_SPEAKS);
        self.one.hang_up();
        self.three.expect("CALL_CLOSED");
        let call = self.server.finished_call();
        assert_eq!((&call["status"], &call["toNumber"]), (&json!("completed"), &json!("1002")), "{call:#}");
        assert!(call["trace"].to_string().contains(&format!("1002 forwards to 1003: {why}")), "{call:#}");
        let health = || self.server.admin().get("/api/v1/opensips/health").expect(200);
        soon("no call is active", || (health()["activeCalls"] == 0).then_some(()));
        call
    }
}

#[test]
fn an_unconditional_forward_goes_to_the_third_and_the_second_stays_silent() {
    let mut setup = Setup::open(); // S71, S73
    let two = setup.second(Answering::AtOnce);
    setup.forward("always");
    setup.one.dial("1002");
    let call = setup.one_talks_with_three("it always does");
    assert_eq!(call["legs"].as_array().map(Vec::len), Some(2), "the second did not ring: {call:#}");
    drop(two);
}

#[test]
fn a_busy_phone_forwards_to_the_third() {
    let mut setup = Setup::open();
    let mut two = setup.second(Answering::OnCommand);
    setup.forward("busy");
    setup.one.dial("1002");
    two.expect("CALL_INCOMING");
    two.hang_up(); // 486
    setup.one_talks_with_three("it is busy");
}

#[test]
fn an_unanswered_phone_forwards_to_the_third() {
    let mut setup = Setup::open();
    let two = setup.second(Answering::OnCommand);
    setup.forward("noAnswer");
    setup.change(&json!({"ringSeconds": 5}));
    setup.one.dial("1002");
    two.expect("CALL_INCOMING");
    setup.one.expect("CALL_RINGING");
    two.expect_within(Duration::from_secs(20), "CALL_CLOSED");
    let call = setup.one_talks_with_three("nobody answered");
    let legs = call["legs"].as_array().cloned().unwrap_or_default();
    assert_eq!((legs.len(), &legs[1]["endReason"]), (3, &json!("no_answer")), "{call:#}");
}

#[test]
fn an_unreachable_extension_forwards_to_the_third() {
    let mut setup = Setup::open();
    setup.forward("unreachable");
    setup.one.dial("1002");
    setup.one_talks_with_three("none of its phones can be reached");
}

#[test]
fn do_not_disturb_sends_no_call_to_the_phone() {
    let mut setup = Setup::open();
    let two = setup.second(Answering::AtOnce);
    setup.forward("busy");
    setup.change(&json!({"doNotDisturb": true}));
    setup.one.dial("1002");
    let call = setup.one_talks_with_three("it does not want to be disturbed");
    assert_eq!(call["legs"].as_array().map(Vec::len), Some(2), "{call:#}");
    drop(two);
}

#[test]
fn find_me_connects_the_phone_that_answers() {
    let mut setup = Setup::open();
    let two = setup.second(Answering::OnCommand);
    setup.change(&json!({"followMe": {"mode": "simultaneous", "numbers": [
        {"number": "1002", "ringSeconds": 30}, {"number": "1003", "ringSeconds": 30}
    ]}}));
    setup.one.dial("1002");
    two.expect("CALL_INCOMING");
    setup.three.expect("CALL_ESTABLISHED");
    two.expect("CALL_CLOSED");
    setup.one.hears(THREE_SPEAKS);
    setup.three.hears(ONE_SPEAKS);
}

#[test]
fn a_new_password_removes_the_bindings_of_the_old_one() {
    // S75
    let server = Server::start();
    let bob = server.extension("1002");
    let mut phone = Raw::new(&server, &bob);
    phone.register();
    let path = format!("/api/v1/voip/extensions/{}", bob.id);
    let http = server.http(Some(&bob.key));
    assert_eq!(http.get(&path).expect(200)["extension"]["registered"], true);
    let reset = http.post(&format!("{path}/credentials/reset"), &json!({})).expect(200);
    let password = reset["extension"]["sipCredentials"]["password"].as_str().expect("a password").to_owned();
    assert_eq!(http.get(&path).expect(200)["extension"]["registered"], false, "the binding is gone");
    let to = format!("<sip:{}@localhost>", bob.username);
    let lines = format!("Contact: <sip:{}@{}>\r\nExpires: 600\r\n", bob.username, phone.local());
    assert_eq!(phone.register_with(&to, &lines).status(), Some(401), "the old password is refused at once");
    let mut renewed = Raw::new(&server, &Extension { password, ..bob });
    renewed.register();
    assert_eq!(http.get(&path).expect(200)["extension"]["registered"], true);
}
