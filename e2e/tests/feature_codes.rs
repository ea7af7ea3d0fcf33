//! Feature codes with real phones: a dialled setting appears in the API, in the audit log and in the next call, and is confirmed by tones.

use std::time::Duration;

use e2e::{Account, Extension, Phone, Server, soon};
use serde_json::{Value, json};

/// The first of the two tones is 440 Hz for on and 660 Hz for off.
const OWN: u32 = 1000;

struct Office {
    server: Server,
    alice: Extension,
    bob: Extension,
    one: Phone,
    two: Phone,
}

impl Office {
    fn open() -> Office {
        let server = Server::start();
        let (alice, bob) = (server.extension("1001"), server.extension("1002"));
        let one = Phone::registered("one", OWN, &Account::of(&alice, server.sip()));
        let two = Phone::registered("two", OWN, &Account::of(&bob, server.sip()));
        Office { server, alice, bob, one, two }
    }

    fn setting(&self, extension: &Extension) -> Value {
        let path = format!("/api/v1/voip/extensions/{}", extension.id);
        self.server.admin().get(&path).expect(200)["extension"].clone()
    }

    /// A phone dials a code, is answered, and gets BYE after the confirmation.
    fn dial(phone: &mut Phone, code: &str) {
        phone.dial(code);
        phone.expect("CALL_ESTABLISHED");
        phone.expect_within(Duration::from_secs(10), "CALL_CLOSED");
    }
}

#[test]
fn a_phone_asks_not_to_be_disturbed_and_takes_calls_again() {
    let mut office = Office::open(); // N13
    Office::dial(&mut office.two, "*78");
    assert_eq!(office.setting(&office.bob)["doNotDisturb"], json!(true));
    let path = "/api/v1/events?type=voip_extension_updated";
    let audit = soon("the change is in the audit", || {
        let events = office.server.admin().get(path).expect(200);
        events["events"].as_array().and_then(|all| all.first().cloned())
    });
    assert_eq!(audit["subject"], json!(office.bob.id), "{audit:#}");

    office.one.dial("1002");
    let refused = office.one.expect_within(Duration::from_secs(10), "CALL_CLOSED");
    assert!(!refused.to_string().contains("486"), "RFC 3261 §21.4.18 has 480 for it: {refused}");
    Office::dial(&mut office.two, "*79");
    assert_eq!(office.setting(&office.bob)["doNotDisturb"], json!(false));
    office.one.dial("1002");
    office.two.expect("CALL_ESTABLISHED");
    office.one.hang_up();
}

#[test]
fn all_calls_are_forwarded_until_they_are_not_any_more() {
    let mut office = Office::open();
    Office::dial(&mut office.one, "*721002");
    let set = office.setting(&office.alice);
    assert_eq!(
        (&set["forwardingEnabled"], &set["forwardingNumber"], &set["forwardingMode"]),
        (&json!(true), &json!("1002"), &json!("always"))
    );
    Office::dial(&mut office.one, "*73");
    let set = office.setting(&office.alice);
    assert_eq!((&set["forwardingEnabled"], &set["forwardingNumber"]), (&json!(false), &json!("1002")));
    Office::dial(&mut office.one, "*72");
    assert_eq!(office.setting(&office.alice)["forwardingEnabled"], json!(true), "to where it went before");
}

#[test]
fn a_caller_is_called_back_unless_the_number_was_hidden() {
    let mut office = Office::open();
    office.one.dial("1002");
    office.two.expect("CALL_ESTABLISHED");
    office.one.hang_up();
    office.two.expect("CALL_CLOSED");
    office.two.dial("*69");
    office.one.expect("CALL_ESTABLISHED");
    office.two.expect("CALL_ESTABLISHED");
    office.two.hang_up();
    office.one.expect("CALL_CLOSED");

    office.one.dial("*671002");
    let incoming = office.two.expect("CALL_ESTABLISHED");
    assert!(incoming.to_string().contains("anonymous"), "{incoming}");
    assert!(!incoming.to_string().contains("1001"), "{incoming}");
    office.one.hang_up();
}
