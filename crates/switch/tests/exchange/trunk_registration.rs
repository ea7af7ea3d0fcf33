//! Registration of trunks at carriers (S119): requests, timing, and reaction to rejections.

use std::time::Duration;

use centralita_switch::{Command, Reply, TrunkRegistration};
use model::{Change, Trunk};
use sip::digest::{Credentials, Ha1};
use sip::{HeaderName, Message};

use crate::test_switch::TestSwitch;
use crate::test_switch::carrier::{carrier, did, trunk, with_account};
use crate::test_switch::sdp::sdp;

const CHALLENGE: &str = "WWW-Authenticate: Digest realm=\"carrier\", nonce=\"n1\", qop=\"auth\"\r\n";

fn registering() -> Trunk {
    let mut one = with_account(trunk("one", &[1]));
    one.settings.register = Some(600);
    one
}

fn open(trunk: &Trunk) -> TestSwitch {
    let mut pbx = TestSwitch::open();
    pbx.add_trunk(trunk, &[1]);
    pbx
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// The REGISTERs that the carrier has received.
fn registers(pbx: &mut TestSwitch) -> Vec<Message> {
    let mut received = pbx.received_by_carrier(1);
    received.retain(|message| message.method().as_str() == "REGISTER");
    received.dedup_by_key(|message| message.via().branch.to_vec()); // retransmissions over UDP
    received
}

fn one(pbx: &mut TestSwitch) -> Message {
    let mut all = registers(pbx);
    assert_eq!(all.len(), 1, "one REGISTER");
    all.remove(0)
}

fn accept(pbx: &mut TestSwitch, seconds: u32) -> Message {
    let first = one(pbx);
    pbx.reply(&carrier(1), &first, 401, CHALLENGE, None);
    let authenticated = one(pbx);
    let contact = authenticated.header(HeaderName::Contact).unwrap().to_string();
    let lines = format!("X-Granted: {contact};expires={seconds}\r\nExpires: {seconds}\r\n");
    pbx.reply(&carrier(1), &authenticated, 200, &lines, None);
    authenticated
}

fn state(pbx: &mut TestSwitch) -> TrunkRegistration {
    match pbx.command(Command::Trunks) {
        Reply::Trunks(all) => all[0].registration,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_trunk_registers_with_its_password_and_refreshes_before_expiry() {
    let mut pbx = open(&registering());
    assert_eq!(state(&mut pbx), TrunkRegistration::Trying);
    let authenticated = accept(&mut pbx, 300);
    assert_eq!(authenticated.uri().unwrap().as_str(), "sip:10.9.0.1:5060;transport=udp");
    assert_eq!(authenticated.header(HeaderName::Contact), Some("<sip:trunkuser@10.0.0.1:5060>"));
    assert_eq!(authenticated.header(HeaderName::Expires), Some("600"));
    let authorization = Credentials::parse(authenticated.header(HeaderName::Authorization).unwrap()).unwrap();
    assert!(authorization.prove("REGISTER", &Ha1::new("trunkuser", "carrier", "trunk-pass")));
    assert_eq!(state(&mut pbx), TrunkRegistration::Registered);

    pbx.advance_with_probes(secs(239), &[1]);
    assert!(registers(&mut pbx).is_empty());
    pbx.advance_with_probes(secs(2), &[1]); // 80 % of the granted expiry
    let refresh = accept(&mut pbx, 300);
    assert_eq!(refresh.call_id(), authenticated.call_id());
    assert!(refresh.cseq().number > authenticated.cseq().number);
}

#[test]
fn a_423_raises_the_requested_expiry() {
    let mut pbx = open(&registering());
    let first = one(&mut pbx);
    pbx.reply(&carrier(1), &first, 423, "Min-Expires: 1800\r\n", None);
    assert_eq!(one(&mut pbx).header(HeaderName::Expires), Some("1800"));
}

#[test]
fn a_failing_registration_is_retried_with_exponential_backoff() {
    let mut pbx = open(&registering());
    let mut pauses = Vec::new();
    for _ in 0..5 {
        let first = one(&mut pbx);
        pbx.reply(&carrier(1), &first, 503, "", None);
        assert_eq!(state(&mut pbx), TrunkRegistration::Failed { status: Some(503) });
        let began = pbx.clock;
        loop {
            pbx.advance_with_probes(Duration::from_millis(100), &[1]);
            let again = registers(&mut pbx);
            if let Some(again) = again.into_iter().next() {
                pauses.push(pbx.clock.since(began).as_secs_f64());
                pbx.put_back(&carrier(1), again);
                break;
            }
            assert!(pbx.clock.since(began) < secs(400));
        }
    }
    assert!(pauses[0] >= 4.0 && pauses[0] <= 6.0, "{pauses:?}");
    assert!(pauses.windows(2).all(|pair| pair[1] > 1.5 * pair[0]), "{pauses:?}");
}

#[test]
fn a_rejected_registration_waits_a_minute_and_obeys_retry_after() {
    for (status, lines, pause) in [(403, "", 53), (503, "Retry-After: 120\r\n", 107)] {
        let mut pbx = open(&registering());
        let first = one(&mut pbx);
        pbx.reply(&carrier(1), &first, status, lines, None);
        pbx.advance_with_probes(secs(pause), &[1]);
        assert!(registers(&mut pbx).is_empty(), "{status}");
        let began = pbx.clock;
        while registers(&mut pbx).is_empty() {
            pbx.advance_with_probes(secs(1), &[1]);
            assert!(pbx.clock.since(began) <= secs(pause / 3), "{status}");
        }
    }
}

#[test]
fn a_silent_registrar_host_is_followed_by_the_next() {
    let mut two = registering();
    two.settings.hosts.push(trunk("x", &[1, 2]).settings.hosts.remove(1));
    let mut pbx = open(&two);
    one(&mut pbx);
    pbx.advance_with_probes(secs(9), &[1, 2]);
    let received = pbx.received_by_carrier(2);
    assert_eq!(received[0].method().as_str(), "REGISTER");
}

#[test]
fn a_registered_carrier_may_call_the_registered_contact() {
    let mut trunk = registering();
    trunk.settings.dids = vec![did("+34911000001", Some("1001"))];
    let mut pbx = open(&trunk);
    let ana = pbx.phone("1001");
    pbx.register(&ana);
    let offer = sdp("10.9.0.1", 40_000, "0 8 101", "sendrecv");
    pbx.inbound_call(&carrier(1), "sip:+34911000001@10.0.0.1", "+33142000000", &offer);
    assert_eq!(pbx.last(&carrier(1)).status(), Some(401), "before it is registered it is a stranger");
    pbx.advance_with_probes(secs(9), &[1]);
    pbx.advance_with_probes(secs(9), &[1]);
    let received = registers(&mut pbx);
    let last = received.last().unwrap().clone();
    pbx.reply(&carrier(1), &last, 200, "Expires: 300\r\n", None);
    pbx.inbound_call(&carrier(1), "sip:+34911000001@10.0.0.1", "+33142000000", &offer);
    pbx.expect_invite(&ana);
    let mut dialog = pbx.inbound_call(&carrier(1), "sip:trunkuser@10.0.0.1", "+33142000000", &offer);
    dialog.cseq += 1;
    assert_eq!(pbx.received_by_carrier(1).last().unwrap().status(), Some(404), "To names no DID");
}

#[test]
fn a_removed_trunk_or_a_shutdown_unregisters() {
    for close in [false, true] {
        let mut pbx = open(&registering());
        accept(&mut pbx, 300);
        if close {
            pbx.command(Command::Stop { force: false });
            assert!(pbx.listen_outputs.is_empty(), "the listeners stay open for the unregister");
        } else {
            pbx.change(vec![Change::TrunkGone(registering().id)]);
        }
        let first = one(&mut pbx);
        assert_eq!(first.header(HeaderName::Expires), Some("0"));
        pbx.reply(&carrier(1), &first, 401, CHALLENGE, None);
        let authenticated = one(&mut pbx);
        pbx.reply(&carrier(1), &authenticated, 200, "", None);
        assert_eq!(pbx.listen_outputs, if close { vec![false] } else { Vec::new() });
    }
}

#[test]
fn a_carrier_that_ignores_the_unregister_delays_nothing() {
    let mut pbx = open(&registering());
    accept(&mut pbx, 300);
    pbx.command(Command::Stop { force: false });
    pbx.advance_with_probes(secs(5), &[]);
    assert_eq!(pbx.listen_outputs, [false]);
}

#[test]
fn only_the_elected_node_registers_and_it_unregisters_when_another_takes_over() {
    let mut pbx = TestSwitch::open_with(|config| config.register_trunks = false);
    pbx.add_trunk(&registering(), &[1]);
    pbx.advance_with_probes(secs(30), &[1]);
    assert!(registers(&mut pbx).is_empty());
    assert_eq!(state(&mut pbx), TrunkRegistration::Elsewhere);

    pbx.command(Command::SetTrunkRegistration { on_duty: true });
    accept(&mut pbx, 300);
    assert_eq!(state(&mut pbx), TrunkRegistration::Registered);
    pbx.command(Command::SetTrunkRegistration { on_duty: true });
    assert!(registers(&mut pbx).is_empty(), "nothing has changed");

    pbx.command(Command::SetTrunkRegistration { on_duty: false });
    let unregister = one(&mut pbx);
    assert_eq!(unregister.header(HeaderName::Expires), Some("0"));
    pbx.reply(&carrier(1), &unregister, 200, "", None);
    pbx.advance_with_probes(secs(400), &[1]);
    assert!(registers(&mut pbx).is_empty());
    assert_eq!(state(&mut pbx), TrunkRegistration::Elsewhere);
}

#[test]
fn a_node_with_an_uncertain_lease_neither_refreshes_nor_unregisters() {
    let mut pbx = TestSwitch::open(); // D7
    pbx.add_trunk(&registering(), &[1]);
    accept(&mut pbx, 300);
    pbx.command(Command::SuspendRegistrar);
    pbx.advance_with_probes(secs(900), &[1]);
    assert!(registers(&mut pbx).is_empty(), "neither a refresh nor an unregister");
    pbx.command(Command::SetTrunkRegistration { on_duty: false });
    assert!(registers(&mut pbx).is_empty(), "another one has it: what was ours has lapsed");
    pbx.command(Command::SetTrunkRegistration { on_duty: true });
    accept(&mut pbx, 300);
    assert_eq!(state(&mut pbx), TrunkRegistration::Registered);
}

#[test]
fn a_suspended_node_does_not_fail_over_to_another_host() {
    let mut pbx = TestSwitch::open(); // D7
    let mut both = with_account(trunk("one", &[1, 2]));
    both.settings.register = Some(600);
    pbx.add_trunk(&both, &[1, 2]);
    let asked = |message: &Message| message.method().as_str() == "REGISTER";
    assert!(pbx.received(&carrier(1)).iter().any(asked));
    pbx.command(Command::SuspendRegistrar);
    pbx.advance_with_probes(secs(100), &[]);
    assert!(!pbx.received(&carrier(2)).iter().any(asked));
}

#[test]
fn the_time_is_that_of_our_own_contact_and_not_of_another_device_of_the_account() {
    let mut pbx = open(&registering());
    let first = one(&mut pbx);
    pbx.reply(&carrier(1), &first, 401, CHALLENGE, None);
    let proven = one(&mut pbx);
    let others = "<sip:trunkuser@192.0.2.9:5060>;expires=3600, <sip:trunkuser@10.0.0.1:5062>;expires=3600";
    let ours = "<sip:trunkuser@10.0.0.1>;expires=60"; // without its port, which is the default one (RFC 3261 §19.1.4)
    pbx.reply_with_contact(&carrier(1), &proven, 200, &format!("{others}, {ours}"));
    assert_eq!(state(&mut pbx), TrunkRegistration::Registered);
    pbx.advance_with_probes(secs(47), &[1]);
    assert!(registers(&mut pbx).is_empty());
    pbx.advance_with_probes(secs(2), &[1]); // 80 % of a minute
    assert_eq!(registers(&mut pbx).len(), 1);
}
