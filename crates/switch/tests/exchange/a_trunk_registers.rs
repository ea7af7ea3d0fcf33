//! Registering at a carrier (S119): what it hears, when, and what follows where it says no.

use std::time::Duration;

use centralita_switch::{Command, Reply, TrunkRegistration};
use model::{Change, Trunk};
use sip::digest::{Credentials, Ha1};
use sip::{HeaderName, Message};

use crate::office::Office;
use crate::office::carrier::{carrier, did, trunk, with_account};
use crate::office::sdp::sdp;

const CHALLENGE: &str = "WWW-Authenticate: Digest realm=\"carrier\", nonce=\"n1\", qop=\"auth\"\r\n";

fn registering() -> Trunk {
    let mut one = with_account(trunk("one", &[1]));
    one.settings.register = Some(600);
    one
}

fn open(trunk: &Trunk) -> Office {
    let mut office = Office::open();
    office.add_trunk(trunk, &[1]);
    office
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// The REGISTERs that the carrier has heard.
fn registers(office: &mut Office) -> Vec<Message> {
    let mut heard = office.carried(1);
    heard.retain(|message| message.method().as_str() == "REGISTER");
    heard.dedup_by_key(|message| message.via().branch.to_vec()); // repetitions over UDP
    heard
}

fn one(office: &mut Office) -> Message {
    let mut all = registers(office);
    assert_eq!(all.len(), 1, "one REGISTER");
    all.remove(0)
}

fn accept(office: &mut Office, seconds: u32) -> Message {
    let first = one(office);
    office.reply(&carrier(1), &first, 401, CHALLENGE, None);
    let proven = one(office);
    let contact = proven.header(HeaderName::Contact).unwrap().to_string();
    let lines = format!("X-Granted: {contact};expires={seconds}\r\nExpires: {seconds}\r\n");
    office.reply(&carrier(1), &proven, 200, &lines, None);
    proven
}

fn state(office: &mut Office) -> TrunkRegistration {
    match office.ask(Command::Trunks) {
        Reply::Trunks(all) => all[0].registration,
        other => panic!("{other:?}"),
    }
}

#[test]
fn it_registers_with_its_password_and_refreshes_before_it_lapses() {
    let mut office = open(&registering());
    assert_eq!(state(&mut office), TrunkRegistration::Trying);
    let proven = accept(&mut office, 300);
    assert_eq!(proven.uri().unwrap().as_str(), "sip:10.9.0.1:5060;transport=udp");
    assert_eq!(proven.header(HeaderName::Contact), Some("<sip:trunkuser@10.0.0.1:5060>"));
    assert_eq!(proven.header(HeaderName::Expires), Some("600"));
    let proof = Credentials::parse(proven.header(HeaderName::Authorization).unwrap()).unwrap();
    assert!(proof.prove("REGISTER", &Ha1::new("trunkuser", "carrier", "trunk-pass")));
    assert_eq!(state(&mut office), TrunkRegistration::Registered);

    office.pass_with(secs(239), &[1]);
    assert!(registers(&mut office).is_empty());
    office.pass_with(secs(2), &[1]); // 80 % of what was granted
    let refresh = accept(&mut office, 300);
    assert_eq!(refresh.call_id(), proven.call_id());
    assert!(refresh.cseq().number > proven.cseq().number);
}

#[test]
fn a_time_that_is_too_short_is_made_longer() {
    let mut office = open(&registering());
    let first = one(&mut office);
    office.reply(&carrier(1), &first, 423, "Min-Expires: 1800\r\n", None);
    assert_eq!(one(&mut office).header(HeaderName::Expires), Some("1800"));
}

#[test]
fn a_carrier_that_fails_is_asked_again_after_longer_and_longer_pauses() {
    let mut office = open(&registering());
    let mut pauses = Vec::new();
    for _ in 0..5 {
        let first = one(&mut office);
        office.reply(&carrier(1), &first, 503, "", None);
        assert_eq!(state(&mut office), TrunkRegistration::Failed { status: Some(503) });
        let began = office.clock;
        loop {
            office.pass_with(Duration::from_millis(100), &[1]);
            let again = registers(&mut office);
            if let Some(again) = again.into_iter().next() {
                pauses.push(office.clock.since(began).as_secs_f64());
                office.put_back(&carrier(1), again);
                break;
            }
            assert!(office.clock.since(began) < secs(400));
        }
    }
    assert!(pauses[0] >= 4.0 && pauses[0] <= 6.0, "{pauses:?}");
    assert!(pauses.windows(2).all(|pair| pair[1] > 1.5 * pair[0]), "{pauses:?}");
}

#[test]
fn a_carrier_that_does_not_know_us_is_left_in_peace_for_a_minute_and_retry_after_is_obeyed() {
    for (status, lines, pause) in [(403, "", 53), (503, "Retry-After: 120\r\n", 107)] {
        let mut office = open(&registering());
        let first = one(&mut office);
        office.reply(&carrier(1), &first, status, lines, None);
        office.pass_with(secs(pause), &[1]);
        assert!(registers(&mut office).is_empty(), "{status}");
        let began = office.clock;
        while registers(&mut office).is_empty() {
            office.pass_with(secs(1), &[1]);
            assert!(office.clock.since(began) <= secs(pause / 3), "{status}");
        }
    }
}

#[test]
fn a_silent_host_is_followed_by_the_next() {
    let mut two = registering();
    two.settings.hosts.push(trunk("x", &[1, 2]).settings.hosts.remove(1));
    let mut office = open(&two);
    one(&mut office);
    office.pass_with(secs(9), &[1, 2]);
    let heard = office.carried(2);
    assert_eq!(heard[0].method().as_str(), "REGISTER");
}

#[test]
fn a_registered_carrier_may_call_what_was_registered() {
    let mut trunk = registering();
    trunk.settings.dids = vec![did("+34911000001", Some("1001"))];
    let mut office = open(&trunk);
    let ana = office.phone("1001");
    office.register(&ana);
    let offer = sdp("10.9.0.1", 40_000, "0 8 101", "sendrecv");
    office.deliver(&carrier(1), "sip:+34911000001@10.0.0.1", "+33142000000", &offer);
    assert_eq!(office.last(&carrier(1)).status(), Some(401), "before it is registered it is a stranger");
    office.pass_with(secs(9), &[1]);
    office.pass_with(secs(9), &[1]);
    let heard = registers(&mut office);
    let last = heard.last().unwrap().clone();
    office.reply(&carrier(1), &last, 200, "Expires: 300\r\n", None);
    office.deliver(&carrier(1), "sip:+34911000001@10.0.0.1", "+33142000000", &offer);
    office.rung(&ana);
    let mut line = office.deliver(&carrier(1), "sip:trunkuser@10.0.0.1", "+33142000000", &offer);
    line.cseq += 1;
    assert_eq!(office.carried(1).last().unwrap().status(), Some(404), "To names no DID");
}

#[test]
fn a_trunk_that_is_removed_or_a_house_that_closes_says_goodbye() {
    for close in [false, true] {
        let mut office = open(&registering());
        accept(&mut office, 300);
        if close {
            office.ask(Command::Stop { force: false });
            assert!(office.listens.is_empty(), "the listeners stay open for the goodbye");
        } else {
            office.change(vec![Change::TrunkGone(registering().id)]);
        }
        let first = one(&mut office);
        assert_eq!(first.header(HeaderName::Expires), Some("0"));
        office.reply(&carrier(1), &first, 401, CHALLENGE, None);
        let proven = one(&mut office);
        office.reply(&carrier(1), &proven, 200, "", None);
        assert_eq!(office.listens, if close { vec![false] } else { Vec::new() });
    }
}

#[test]
fn a_carrier_that_does_not_hear_our_goodbye_holds_nothing_up() {
    let mut office = open(&registering());
    accept(&mut office, 300);
    office.ask(Command::Stop { force: false });
    office.pass_with(secs(5), &[]);
    assert_eq!(office.listens, [false]);
}

#[test]
fn of_several_nodes_only_the_one_on_duty_registers_and_says_goodbye_when_another_takes_over() {
    let mut office = Office::open_with(|config| config.register_trunks = false);
    office.add_trunk(&registering(), &[1]);
    office.pass_with(secs(30), &[1]);
    assert!(registers(&mut office).is_empty());
    assert_eq!(state(&mut office), TrunkRegistration::Elsewhere);

    office.ask(Command::SetTrunkRegistration { on_duty: true });
    accept(&mut office, 300);
    assert_eq!(state(&mut office), TrunkRegistration::Registered);
    office.ask(Command::SetTrunkRegistration { on_duty: true });
    assert!(registers(&mut office).is_empty(), "nothing has changed");

    office.ask(Command::SetTrunkRegistration { on_duty: false });
    let goodbye = one(&mut office);
    assert_eq!(goodbye.header(HeaderName::Expires), Some("0"));
    office.reply(&carrier(1), &goodbye, 200, "", None);
    office.pass_with(secs(400), &[1]);
    assert!(registers(&mut office).is_empty());
    assert_eq!(state(&mut office), TrunkRegistration::Elsewhere);
}

#[test]
fn a_node_that_may_have_lost_its_turn_refreshes_nothing_and_takes_nothing_back() {
    let mut office = Office::open(); // D7
    office.add_trunk(&registering(), &[1]);
    accept(&mut office, 300);
    office.ask(Command::SuspendRegistrar);
    office.pass_with(secs(900), &[1]);
    assert!(registers(&mut office).is_empty(), "neither a refresh nor a goodbye");
    office.ask(Command::SetTrunkRegistration { on_duty: false });
    assert!(registers(&mut office).is_empty(), "another one has it: what was ours has lapsed");
    office.ask(Command::SetTrunkRegistration { on_duty: true });
    accept(&mut office, 300);
    assert_eq!(state(&mut office), TrunkRegistration::Registered);
}

#[test]
fn a_node_that_is_suspended_while_a_host_is_silent_asks_no_other_one() {
    let mut office = Office::open(); // D7
    let mut both = with_account(trunk("one", &[1, 2]));
    both.settings.register = Some(600);
    office.add_trunk(&both, &[1, 2]);
    let asked = |message: &Message| message.method().as_str() == "REGISTER";
    assert!(office.heard(&carrier(1)).iter().any(asked));
    office.ask(Command::SuspendRegistrar);
    office.pass_with(secs(100), &[]);
    assert!(!office.heard(&carrier(2)).iter().any(asked));
}

#[test]
fn the_time_is_that_of_our_own_contact_and_not_of_another_device_of_the_account() {
    let mut office = open(&registering());
    let first = one(&mut office);
    office.reply(&carrier(1), &first, 401, CHALLENGE, None);
    let proven = one(&mut office);
    let others = "<sip:trunkuser@192.0.2.9:5060>;expires=3600, <sip:trunkuser@10.0.0.1:5062>;expires=3600";
    let ours = "<sip:trunkuser@10.0.0.1>;expires=60"; // without its port, which is the default one (RFC 3261 §19.1.4)
    // The helper writes a Contact of its own: this one takes its place.
    office.reply_with_contact(&carrier(1), &proven, 200, &format!("{others}, {ours}"));
    assert_eq!(state(&mut office), TrunkRegistration::Registered);
    office.pass_with(secs(47), &[1]);
    assert!(registers(&mut office).is_empty());
    office.pass_with(secs(2), &[1]); // 80 % of a minute
    assert_eq!(registers(&mut office).len(), 1);
}
