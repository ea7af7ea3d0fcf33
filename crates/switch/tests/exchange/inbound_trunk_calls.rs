//! Inbound calls of carriers: recognition by source, routing by DID, and no relay to another trunk.

use std::time::Duration;

use model::{CallDirection, CallStatus, Cause, ExtensionNumber, LegRole, Trunk};
use sip::HeaderName;

use crate::test_switch::carrier::{carrier, did, source, trunk};
use crate::test_switch::sdp::{formats, sdp};
use crate::test_switch::{Phone, TestSwitch};

const DID: &str = "sip:+34911000001@10.0.0.1";

fn offer() -> String {
    sdp("10.9.0.1", 40_000, "0 8 101", "sendrecv")
}

/// A trunk with the source 10.9.0.0/24 and a DID for 1001.
fn inbound_trunk() -> Trunk {
    let mut one = trunk("one", &[1]);
    one.settings.sources = vec![source("10.9.0.0/24")];
    one.settings.dids = vec![did("+34911000001", Some("1001"))];
    one
}

fn setup(trunk: &Trunk) -> (TestSwitch, Phone) {
    let mut pbx = TestSwitch::open();
    let ana = pbx.phone("1001");
    pbx.register(&ana);
    pbx.add_trunk(trunk, &[1]);
    (pbx, ana)
}

// S106, S122
#[test]
fn a_did_rings_its_extension_and_shows_the_callers_number() {
    for target in [DID, "sip:0034911000001@somewhere.test;transport=udp", "sip:34911000001@10.0.0.1"] {
        let (mut pbx, ana) = setup(&inbound_trunk());
        let mut outside = pbx.inbound_call(&carrier(1), target, "+33142000000", &offer());
        let callee = pbx.expect_invite(&ana);
        assert!(
            callee.invite.header(HeaderName::From).unwrap().starts_with("<sip:+33142000000@localhost>;tag=")
        );
        pbx.answer(&callee, 200, Some(&sdp("10.0.0.11", 30_000, "0 8 101", "sendrecv")));
        let ok = pbx.last(&carrier(1));
        pbx.send_ack(&mut outside, &ok, None);
        pbx.received(&ana);
        pbx.advance_with_probes(Duration::from_secs(3), &[1]);
        pbx.in_dialog_request(&mut outside, "BYE", "", None);
        let bye = pbx.last(&ana);
        pbx.respond(&callee, &bye, 200, "", None);
        let record = pbx.record();
        assert_eq!((record.direction, record.status), (CallDirection::Inbound, CallStatus::Completed));
        assert_eq!((record.from_number.as_str(), record.user.as_str()), ("+33142000000", "ana"));
        assert_eq!((record.legs[0].role, record.legs[0].party.as_str()), (LegRole::Trunk, "one"));
    }
}

// security.md row 8
#[test]
fn a_header_does_not_make_a_source_a_carrier() {
    let (mut pbx, ana) = setup(&inbound_trunk());
    let unknown_peer = Phone { address: "10.8.0.1:5060".parse().unwrap(), ..carrier(1) };
    let lines = "Via: SIP/2.0/UDP 10.9.0.1:5060;branch=z9hG4bKfirst\r\nP-Asserted-Identity: <sip:+34911@10.9.0.1>\r\n\
                 X-Forwarded-For: 10.9.0.1\r\nRecord-Route: <sip:10.9.0.1;lr>\r\n";
    let mut dialog = pbx.inbound_call(&unknown_peer, DID, "+33142000000", &offer());
    let challenge = pbx.last(&unknown_peer);
    assert_eq!(challenge.status(), Some(401));
    pbx.ack_error(&dialog, &challenge);
    dialog.cseq += 1;
    pbx.invite(&mut dialog, lines, Some(&offer()));
    assert_eq!(pbx.last(&unknown_peer).status(), Some(401));
    assert_eq!(pbx.carrier_summary(1), "", "no answer goes where a header points");
    assert_eq!(pbx.summary(&ana), "");
    // The same address over another transport than the trunk's is not accepted.
    let mut tcp = inbound_trunk();
    tcp.settings.hosts[0].transport = model::TrunkTransport::Tls;
    pbx.add_trunk(&tcp, &[]);
    pbx.received(&carrier(1));
    pbx.inbound_call(&carrier(1), DID, "+33142000000", &offer());
    assert_eq!(pbx.last(&carrier(1)).status(), Some(401));
    // Neither is the source of a disabled trunk.
    let mut off = inbound_trunk();
    off.enabled = false;
    pbx.add_trunk(&off, &[]);
    pbx.inbound_call(&carrier(1), DID, "+33142000000", &offer());
    assert_eq!(pbx.last(&carrier(1)).status(), Some(401));
    assert_eq!(pbx.summary(&ana), "");
}

// security.md row 8: no relay from trunk to trunk
#[test]
fn a_call_from_a_trunk_never_goes_out_again() {
    let mut one = inbound_trunk();
    one.settings.hosts.push(trunk("x", &[2]).settings.hosts.remove(0));
    for default in [None, Some("1001")] {
        one.settings.default_extension = default.map(|number| ExtensionNumber::parse(number).unwrap());
        let (mut pbx, ana) = setup(&one);
        for target in [
            "sip:+34912345678@10.0.0.1",
            "sip:112@10.0.0.1",
            "sip:+34912345678@10.9.0.2",
            "sip:*43@10.0.0.1",
            "sip:1002@10.0.0.1",
        ] {
            let dialog = pbx.inbound_call(&carrier(1), target, "+33142000000", &offer());
            let received = pbx.received_by_carrier(1);
            let answer = received.last().unwrap();
            match default {
                None => {
                    assert_eq!(answer.status(), Some(404), "{target}");
                    pbx.ack_error(&dialog, &answer.clone());
                }
                Some(_) => {
                    let callee = pbx.expect_invite(&ana);
                    pbx.answer(&callee, 486, None);
                    let answer = pbx.received_by_carrier(1).pop().unwrap();
                    assert_eq!(answer.status(), Some(486), "{target}");
                    pbx.ack_error(&dialog, &answer);
                    pbx.received(&ana);
                }
            }
            assert_eq!(pbx.carrier_summary(2), "", "{target}");
        }
    }
}

// S106, S191
#[test]
fn a_did_without_extension_goes_to_the_default_one_and_dids_distinguish_two_trunks() {
    let mut one = inbound_trunk();
    one.settings.dids = vec![did("+34911000009", None)];
    let mut two = trunk("two", &[1]);
    two.settings.sources = one.settings.sources.clone();
    two.settings.dids = vec![did("+34922000001", Some("1002"))];
    let (mut pbx, ana) = setup(&one);
    pbx.add_trunk(&two, &[1]);
    let benito = pbx.phone("1002");
    pbx.register(&benito);
    pbx.inbound_call(&carrier(1), "sip:+34911000009@10.0.0.1", "+33142000000", &offer());
    pbx.expect_invite(&ana); // the first extension
    pbx.inbound_call(&carrier(1), "sip:+34922000001@10.0.0.1", "+33142000000", &offer());
    pbx.expect_invite(&benito);
    one.settings.default_extension = Some(ExtensionNumber::parse("1002").unwrap());
    pbx.add_trunk(&one, &[1]);
    pbx.inbound_call(&carrier(1), "sip:+34911000009@10.0.0.1", "+33142000000", &offer());
    pbx.expect_invite(&benito);
}

#[test]
fn a_rejected_inbound_call_gets_a_reason() {
    let mut one = inbound_trunk();
    one.settings.max_channels = Some(1);
    let (mut pbx, ana) = setup(&one);
    let first = pbx.inbound_call(&carrier(1), DID, "+33142000000", &offer());
    pbx.expect_invite(&ana);
    pbx.received(&carrier(1));
    let second = pbx.inbound_call(&carrier(1), DID, "anonymous", &offer());
    let answer = pbx.last(&carrier(1));
    assert_eq!(answer.status(), Some(503));
    pbx.ack_error(&second, &answer);
    pbx.cancel(&first);
    pbx.received(&carrier(1));
    pbx.change_extension("1001", |extension| extension.do_not_disturb = true);
    let third = pbx.inbound_call(&carrier(1), DID, "+33142000000", &offer());
    let answer = pbx.last(&carrier(1));
    assert!(
        answer.header(HeaderName::Reason).unwrap().contains(&format!("cause={}", Cause::DoNotDisturb.q850()))
    );
    pbx.ack_error(&third, &answer);
}

#[test]
fn an_anonymous_caller_and_one_with_an_invalid_number_are_shown_as_anonymous() {
    for name in ["anonymous", "1001%0d%0aX", "user_1700000001", "sales.team"] {
        let (mut pbx, ana) = setup(&inbound_trunk());
        pbx.inbound_call(&carrier(1), DID, name, &offer());
        let callee = pbx.expect_invite(&ana);
        assert!(
            callee.invite.header(HeaderName::From).unwrap().starts_with("<sip:anonymous@localhost>;tag="),
            "{name}"
        );
    }
}

#[test]
fn only_the_carrier_may_hang_up_from_another_of_its_addresses() {
    let (mut pbx, ana) = setup(&inbound_trunk());
    let mut outside = pbx.inbound_call(&carrier(1), DID, "+33142000000", &offer());
    let callee = pbx.expect_invite(&ana);
    pbx.answer(&callee, 200, Some(&sdp("10.0.0.11", 30_000, "0 8 101", "sendrecv")));
    let ok = pbx.last(&carrier(1));
    pbx.send_ack(&mut outside, &ok, None);
    pbx.received(&ana);
    for (address, status, expected) in [("10.8.0.7:5060", 403, ""), ("10.9.0.77:5060", 200, "BYE")] {
        outside.phone.address = address.parse().unwrap();
        let phone = outside.phone.clone();
        pbx.in_dialog_request(&mut outside, "BYE", "", None);
        assert_eq!(pbx.last(&phone).status(), Some(status), "{address}");
        assert_eq!(pbx.summary(&ana), expected);
    }
}

#[test]
fn a_trunks_codec_list_applies_to_inbound_calls() {
    let mut one = inbound_trunk();
    one.settings.codecs = vec!["PCMA".into()];
    let (mut pbx, ana) = setup(&one);
    let mut outside = pbx.inbound_call(&carrier(1), DID, "+33142000000", &offer());
    let callee = pbx.expect_invite(&ana);
    pbx.answer(&callee, 200, Some(&sdp("10.0.0.11", 30_000, "8 101", "sendrecv")));
    let ok = pbx.last(&carrier(1));
    assert_eq!(formats(&ok.body()), "8 101");
    pbx.send_ack(&mut outside, &ok, None);
}
