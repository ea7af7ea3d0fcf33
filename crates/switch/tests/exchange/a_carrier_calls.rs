//! Calls that a carrier delivers: who is believed to be one, whom its calls reach, and that they never leave again.

use std::time::Duration;

use model::{CallDirection, CallStatus, Cause, ExtensionNumber, LegRole, Trunk};
use sip::HeaderName;

use crate::office::carrier::{carrier, did, source, trunk};
use crate::office::sdp::{formats, sdp};
use crate::office::{Office, Phone};

const DID: &str = "sip:+34911000001@10.0.0.1";

fn offer() -> String {
    sdp("10.9.0.1", 40_000, "0 8 101", "sendrecv")
}

/// A trunk whose calls come from 10.9.0.0/24, with a DID for 1001.
fn inward() -> Trunk {
    let mut one = trunk("one", &[1]);
    one.settings.sources = vec![source("10.9.0.0/24")];
    one.settings.dids = vec![did("+34911000001", Some("1001"))];
    one
}

fn office(trunk: &Trunk) -> (Office, Phone) {
    let mut office = Office::open();
    let ana = office.phone("1001");
    office.register(&ana);
    office.add_trunk(trunk, &[1]);
    (office, ana)
}

// S106, S122
#[test]
fn a_did_rings_its_extension_and_shows_the_callers_number() {
    for target in [DID, "sip:0034911000001@somewhere.test;transport=udp", "sip:34911000001@10.0.0.1"] {
        let (mut office, ana) = office(&inward());
        let mut outside = office.deliver(&carrier(1), target, "+33142000000", &offer());
        let callee = office.rung(&ana);
        assert!(
            callee.invite.header(HeaderName::From).unwrap().starts_with("<sip:+33142000000@localhost>;tag=")
        );
        office.answer(&callee, 200, Some(&sdp("10.0.0.11", 30_000, "0 8 101", "sendrecv")));
        let ok = office.last(&carrier(1));
        office.acknowledge(&mut outside, &ok, None);
        office.heard(&ana);
        office.pass_with(Duration::from_secs(3), &[1]);
        office.within(&mut outside, "BYE", "", None);
        let bye = office.last(&ana);
        office.respond(&callee, &bye, 200, "", None);
        let record = office.record();
        assert_eq!((record.direction, record.status), (CallDirection::Inbound, CallStatus::Completed));
        assert_eq!((record.from_number.as_str(), record.user.as_str()), ("+33142000000", "ana"));
        assert_eq!((record.legs[0].role, record.legs[0].party.as_str()), (LegRole::Trunk, "one"));
    }
}

// security.md row 8
#[test]
fn nobody_is_a_carrier_by_what_a_header_says() {
    let (mut office, ana) = office(&inward());
    let stranger = Phone { address: "10.8.0.1:5060".parse().unwrap(), ..carrier(1) };
    let lines = "Via: SIP/2.0/UDP 10.9.0.1:5060;branch=z9hG4bKfirst\r\nP-Asserted-Identity: <sip:+34911@10.9.0.1>\r\n\
                 X-Forwarded-For: 10.9.0.1\r\nRecord-Route: <sip:10.9.0.1;lr>\r\n";
    let mut line = office.deliver(&stranger, DID, "+33142000000", &offer());
    let challenge = office.last(&stranger);
    assert_eq!(challenge.status(), Some(401));
    office.ack_refusal(&line, &challenge);
    line.cseq += 1;
    office.invite(&mut line, lines, Some(&offer()));
    assert_eq!(office.last(&stranger).status(), Some(401));
    assert_eq!(office.carried_in_short(1), "", "no answer goes where a header points");
    assert_eq!(office.summary(&ana), "");
    // The same address by another transport than the trunk speaks is nobody either.
    let mut tcp = inward();
    tcp.settings.hosts[0].transport = model::TrunkTransport::Tls;
    office.add_trunk(&tcp, &[]);
    office.heard(&carrier(1));
    office.deliver(&carrier(1), DID, "+33142000000", &offer());
    assert_eq!(office.last(&carrier(1)).status(), Some(401));
    // And so is one whose trunk is switched off.
    let mut off = inward();
    off.enabled = false;
    office.add_trunk(&off, &[]);
    office.deliver(&carrier(1), DID, "+33142000000", &offer());
    assert_eq!(office.last(&carrier(1)).status(), Some(401));
    assert_eq!(office.summary(&ana), "");
}

// security.md row 8: no relay from trunk to trunk
#[test]
fn a_call_from_a_trunk_never_goes_out_again() {
    let mut one = inward();
    one.settings.hosts.push(trunk("x", &[2]).settings.hosts.remove(0));
    for default in [None, Some("1001")] {
        one.settings.default_extension = default.map(|number| ExtensionNumber::parse(number).unwrap());
        let (mut office, ana) = office(&one);
        for target in [
            "sip:+34912345678@10.0.0.1",
            "sip:112@10.0.0.1",
            "sip:+34912345678@10.9.0.2",
            "sip:*43@10.0.0.1",
            "sip:1002@10.0.0.1",
        ] {
            let line = office.deliver(&carrier(1), target, "+33142000000", &offer());
            let heard = office.carried(1);
            let answer = heard.last().unwrap();
            match default {
                None => {
                    assert_eq!(answer.status(), Some(404), "{target}");
                    office.ack_refusal(&line, &answer.clone());
                }
                Some(_) => {
                    let callee = office.rung(&ana);
                    office.answer(&callee, 486, None);
                    let answer = office.carried(1).pop().unwrap();
                    assert_eq!(answer.status(), Some(486), "{target}");
                    office.ack_refusal(&line, &answer);
                    office.heard(&ana);
                }
            }
            assert_eq!(office.carried_in_short(2), "", "{target}");
        }
    }
}

// S106, S191
#[test]
fn a_did_without_extension_goes_to_the_default_one_and_two_trunks_are_told_apart_by_their_dids() {
    let mut one = inward();
    one.settings.dids = vec![did("+34911000009", None)];
    let mut two = trunk("two", &[1]);
    two.settings.sources = one.settings.sources.clone();
    two.settings.dids = vec![did("+34922000001", Some("1002"))];
    let (mut office, ana) = office(&one);
    office.add_trunk(&two, &[1]);
    let benito = office.phone("1002");
    office.register(&benito);
    office.deliver(&carrier(1), "sip:+34911000009@10.0.0.1", "+33142000000", &offer());
    office.rung(&ana); // the first extension
    office.deliver(&carrier(1), "sip:+34922000001@10.0.0.1", "+33142000000", &offer());
    office.rung(&benito);
    one.settings.default_extension = Some(ExtensionNumber::parse("1002").unwrap());
    office.add_trunk(&one, &[1]);
    office.deliver(&carrier(1), "sip:+34911000009@10.0.0.1", "+33142000000", &offer());
    office.rung(&benito);
}

#[test]
fn what_the_trunk_may_not_do_is_refused_with_a_reason() {
    let mut one = inward();
    one.settings.max_channels = Some(1);
    let (mut office, ana) = office(&one);
    let first = office.deliver(&carrier(1), DID, "+33142000000", &offer());
    office.rung(&ana);
    office.heard(&carrier(1));
    let second = office.deliver(&carrier(1), DID, "anonymous", &offer());
    let answer = office.last(&carrier(1));
    assert_eq!(answer.status(), Some(503));
    office.ack_refusal(&second, &answer);
    office.cancel(&first);
    office.heard(&carrier(1));
    office.change_extension("1001", |extension| extension.do_not_disturb = true);
    let third = office.deliver(&carrier(1), DID, "+33142000000", &offer());
    let answer = office.last(&carrier(1));
    assert!(
        answer.header(HeaderName::Reason).unwrap().contains(&format!("cause={}", Cause::DoNotDisturb.q850()))
    );
    office.ack_refusal(&third, &answer);
}

#[test]
fn an_anonymous_caller_and_one_with_a_strange_name_are_shown_as_anonymous() {
    for name in ["anonymous", "1001%0d%0aX", "user_1700000001", "sales.team"] {
        let (mut office, ana) = office(&inward());
        office.deliver(&carrier(1), DID, name, &offer());
        let callee = office.rung(&ana);
        assert!(
            callee.invite.header(HeaderName::From).unwrap().starts_with("<sip:anonymous@localhost>;tag="),
            "{name}"
        );
    }
}

#[test]
fn the_carrier_may_hang_up_from_another_of_its_addresses_and_nobody_else_may() {
    let (mut office, ana) = office(&inward());
    let mut outside = office.deliver(&carrier(1), DID, "+33142000000", &offer());
    let callee = office.rung(&ana);
    office.answer(&callee, 200, Some(&sdp("10.0.0.11", 30_000, "0 8 101", "sendrecv")));
    let ok = office.last(&carrier(1));
    office.acknowledge(&mut outside, &ok, None);
    office.heard(&ana);
    for (address, status, told) in [("10.8.0.7:5060", 403, ""), ("10.9.0.77:5060", 200, "BYE")] {
        outside.phone.address = address.parse().unwrap();
        let phone = outside.phone.clone();
        office.within(&mut outside, "BYE", "", None);
        assert_eq!(office.last(&phone).status(), Some(status), "{address}");
        assert_eq!(office.summary(&ana), told);
    }
}

#[test]
fn a_trunks_codecs_hold_for_its_calls_too() {
    let mut one = inward();
    one.settings.codecs = vec!["PCMA".into()];
    let (mut office, ana) = office(&one);
    let mut outside = office.deliver(&carrier(1), DID, "+33142000000", &offer());
    let callee = office.rung(&ana);
    office.answer(&callee, 200, Some(&sdp("10.0.0.11", 30_000, "8 101", "sendrecv")));
    let ok = office.last(&carrier(1));
    assert_eq!(formats(&ok.body()), "8 101");
    office.acknowledge(&mut outside, &ok, None);
}
