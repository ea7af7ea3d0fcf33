//! Feature codes with real phones: a dialled setting appears in the API, in the audit log and in the next call, and is confirmed by tones.

use std::time::Duration;

use e2e::{Account, Extension, Phone, Server, soon};
use serde_json::{Value, json};

/// The first of the two tones is 440 Hz for on and 660 Hz for off.
const OWN: u32 = 1000;

struct Setup {
    server: Server,
    alice: Extension,
    bob: Extension,
    one: Phone,
    two: Phone,
}

impl Setup {
    fn open() -> Setup {
        let server = Server::start();
        let (alice, bob) = (server.extension("1001"), server.extension("1002"));
        let one = Phone::registered("one", OWN, &Account::of(&alice, server.sip()));
        let two = Phone::registered("two", OWN, &Account::of(&bob, server.sip()));
        Setup { server, alice, bob, one, two }
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
fn a_phone_sets_do_not_disturb_and_clears_it() {
    let mut setup = Setup::open(); // N13
    Setup::dial(&mut setup.two, "*78");
    assert_eq!(setup.setting(&setup.bob)["doNotDisturb"], json!(true));
    let path = "/api/v1/events?type=voip_extension_updated";
    let audit = soon("the change is in the audit", || {
        let events = setup.server.admin().get(path).expect(200);
        events["events"].as_array().and_then(|all| all.first().cloned())
    });
    assert_eq!(audit["subject"], json!(setup.bob.id), "{audit:#}");

    setup.one.dial("1002");
    let refused = setup.one.expect_within(Duration::from_secs(10), "CALL_CLOSED");
    assert!(!refused.to_string().contains("486"), "RFC 3261 §21.4.18 has 480 for it: {refused}");
    Setup::dial(&mut setup.two, "*79");
    assert_eq!(setup.setting(&setup.bob)["doNotDisturb"], json!(false));
    setup.one.dial("1002");
    setup.two.expect("CALL_ESTABLISHED");
    setup.one.hang_up();
}

#[test]
fn all_calls_are_forwarded_until_forwarding_is_disabled() {
    let mut setup = Setup::open();
    Setup::dial(&mut setup.one, "*721002");
    let set = setup.setting(&setup.alice);
    assert_eq!(
        (&set["forwardingEnabled"], &set["forwardingNumber"], &set["forwardingMode"]),
        (&json!(true), &json!("1002"), &json!("always"))
    );
    Setup::dial(&mut setup.one, "*73");
    let set = setup.setting(&setup.alice);
    assert_eq!((&set["forwardingEnabled"], &set["forwardingNumber"]), (&json!(false), &json!("1002")));
    Setup::dial(&mut setup.one, "*72");
    assert_eq!(setup.setting(&setup.alice)["forwardingEnabled"], json!(true), "to where it went before");
}

#[test]
fn the_last_caller_is_called_back_unless_the_number_was_withheld() {
    let mut setup = Setup::open();
    setup.one.dial("1002");
    setup.two.expect("CALL_ESTABLISHED");
    setup.one.hang_up();
    setup.two.expect("CALL_CLOSED");
    setup.two.dial("*69");
    setup.one.expect("CALL_ESTABLISHED");
    setup.two.expect("CALL_ESTABLISHED");
    setup.two.hang_up();
    setup.one.expect("CALL_CLOSED");

    setup.one.dial("*671002");
    let incoming = setup.two.expect("CALL_ESTABLISHED");
    assert!(incoming.to_string().contains("anonymous"), "{incoming}");
    assert!(!incoming.to_string().contains("1001"), "{incoming}");
    setup.one.hang_up();
}
