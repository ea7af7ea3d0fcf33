//! Outbound calls: the messages to each carrier, and failover.

use std::collections::BTreeMap;
use std::time::Duration;

use base::Secret;
use centralita_switch::{Command, HealthState, Input, Originate, Reply};
use model::{CallDirection, CallStatus, Cause, Change, LegRole, Trunk, TrunkHost};
use sip::digest::{Credentials, Ha1};
use sip::resolve::{Answer, Question, Record};
use sip::{Flow, HeaderName, Hop, Transport};

use crate::test_switch::carrier::{carrier, host, trunk, with_account};
use crate::test_switch::dialog::TestDialog;
use crate::test_switch::sdp::{formats, sdp};
use crate::test_switch::{Phone, SERVER, TestSwitch, user};

const MADRID: &str = "+34912345678";

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn offer() -> String {
    sdp("10.0.0.11", 30_000, "0 8 101", "sendrecv")
}

fn answer() -> String {
    sdp("10.9.0.1", 40_000, "0 8 101", "sendrecv")
}

/// A switch with 1001 registered and these trunks, whose hosts answer OPTIONS.
fn setup(trunks: &[Trunk], alive: &[u8]) -> (TestSwitch, Phone) {
    let mut pbx = TestSwitch::open_with(|config| config.outside.calls_per_minute = 0);
    let ana = pbx.phone("1001");
    pbx.register(&ana);
    for trunk in trunks {
        pbx.add_trunk(trunk, alive);
    }
    (pbx, ana)
}

fn dial(pbx: &mut TestSwitch, phone: &Phone) -> TestDialog {
    pbx.call(phone, MADRID, Some(&offer()))
}

/// The final error response to the caller, after its ACK.
fn expect_rejection(pbx: &mut TestSwitch, dialog: &TestDialog) -> sip::Message {
    let answer = pbx.last(&dialog.phone);
    assert!(answer.status().is_some_and(|status| status >= 300), "{:?}", answer.status());
    pbx.ack_error(dialog, &answer);
    answer
}

// S107, S122, security.md row 30
#[test]
fn an_outside_number_reaches_the_trunk_in_e164_without_the_phones_own_headers() {
    let (mut pbx, ana) = setup(&[trunk("one", &[1])], &[1]);
    let lines = "P-Asserted-Identity: <sip:+34666000111@localhost>\r\nRemote-Party-ID: <sip:+34666000111@x>;party=calling\r\n\
                 P-Preferred-Identity: <sip:+34666000111@x>\r\nDiversion: <sip:+34666000111@x>\r\nX-Secret: 666000111\r\n\
                 Privacy: none\r\nHistory-Info: <sip:+34666000111@x>;index=1\r\n";
    let mut caller = pbx.call_with(&ana, "0034912345678", Some(&offer()), lines);
    let callee = pbx.expect_trunk_invite(1);
    let invite = callee.invite.clone();
    assert_eq!(invite.uri().unwrap().as_str(), "sip:+34912345678@10.9.0.1:5060;transport=udp");
    assert!(invite.header(HeaderName::From).unwrap().starts_with("<sip:+34910000000@10.9.0.1>;tag="));
    assert_eq!(invite.header_named("P-Asserted-Identity"), Some("<sip:+34910000000@10.9.0.1>"));
    let text = String::from_utf8_lossy(invite.bytes()).into_owned();
    assert!(!text.contains("666000111") && !text.contains("X-Secret"), "{text}");
    assert!(!text.contains("1001"), "the inner number stays inside: {text}");

    pbx.answer(&callee, 183, Some(&answer()));
    pbx.answer(&callee, 200, Some(&answer()));
    let ok = pbx.last(&ana);
    pbx.send_ack(&mut caller, &ok, None);
    assert_eq!(pbx.carrier_summary(1), "ACK");
    pbx.advance_with_probes(Duration::from_secs(7), &[1]);
    pbx.in_dialog_request(&mut caller, "BYE", "", None);
    let bye = pbx.received_by_carrier(1).pop().unwrap();
    pbx.respond(&callee, &bye, 200, "", None);
    let record = pbx.record();
    assert_eq!((record.direction, record.status), (CallDirection::Outbound, CallStatus::Completed));
    assert_eq!(record.duration_seconds(pbx.now().wall), 7);
    assert_eq!((record.legs[1].role, record.legs[1].party.as_str()), (LegRole::Trunk, "one"));
    pbx.change(vec![Change::TrunkGone(trunk("one", &[1]).id)]);
    pbx.assert_idle();
}

// S107, S121, security.md row 5
#[test]
fn a_challenge_is_answered_with_the_trunks_password_and_only_for_its_realm() {
    for (realm, asked, proves) in
        [(None, "carrier", true), (Some("carrier"), "carrier", true), (Some("other"), "carrier", false)]
    {
        let mut one = with_account(trunk("one", &[1]));
        one.settings.realm = realm.map(str::to_owned);
        let (mut pbx, ana) = setup(&[one], &[1]);
        let caller = dial(&mut pbx, &ana);
        let callee = pbx.expect_trunk_invite(1);
        assert!(callee.invite.header(HeaderName::Authorization).is_none());
        let challenge = format!("WWW-Authenticate: Digest realm=\"{asked}\", nonce=\"n1\", qop=\"auth\"\r\n");
        pbx.respond(&callee, &callee.invite.clone(), 401, &challenge, None);
        let again = pbx.received_by_carrier(1).into_iter().find(|m| m.method().as_str() == "INVITE");
        assert_eq!(again.is_some(), proves);
        if let Some(again) = again {
            let authorization = Credentials::parse(again.header(HeaderName::Authorization).unwrap()).unwrap();
            assert!(authorization.prove("INVITE", &Ha1::new("trunkuser", "carrier", "trunk-pass")));
            // A second challenge is a rejection: the password is wrong, and is not sent again.
            let dialog = pbx.dialog_of(&carrier(1), again);
            pbx.respond(&dialog, &dialog.invite.clone(), 401, &challenge, None);
            assert_eq!(pbx.carrier_summary(1), "ACK");
        }
        assert_eq!(expect_rejection(&mut pbx, &caller).status(), Some(503));
        assert_eq!(pbx.record().cause, Some(Cause::TrunkDown));
    }
}

// security.md §4, "trunk down"
#[test]
fn a_503_leads_to_the_next_host_at_once_and_no_host_is_tried_twice() {
    let (mut pbx, ana) = setup(&[trunk("one", &[1, 2])], &[1, 2]);
    let mut caller = dial(&mut pbx, &ana);
    let first = pbx.expect_trunk_invite(1);
    assert_eq!(pbx.carrier_summary(2), "");
    pbx.answer(&first, 503, None); // no time passes
    let second = pbx.expect_trunk_invite(2);
    pbx.answer(&second, 200, Some(&answer()));
    let ok = pbx.last(&ana);
    pbx.send_ack(&mut caller, &ok, None);
    pbx.advance_with_probes(Duration::from_secs(1), &[1, 2]);
    assert_eq!(pbx.carrier_summary(1), "ACK");
    pbx.in_dialog_request(&mut caller, "BYE", "", None);
    pbx.advance_with_probes(Duration::from_secs(3), &[1, 2]);
    let record = pbx.record();
    assert_eq!(record.legs.len(), 3);
    assert_eq!(record.legs[1].sip_status, Some(503));
}

#[test]
fn a_silent_host_is_left_within_four_seconds_and_gets_cancel_if_it_responds_later() {
    let (mut pbx, ana) = setup(&[trunk("one", &[1, 2])], &[1, 2]);
    let began = pbx.clock;
    let mut caller = dial(&mut pbx, &ana);
    let asleep = pbx.expect_trunk_invite(1);
    while pbx.received(&carrier(2)).iter().all(|m| m.method().as_str() != "INVITE") {
        pbx.advance(ms(20));
        assert!(pbx.clock.since(began) <= Duration::from_secs(4), "the second host is not called");
    }
    // It responds late: a provisional response gets CANCEL, a 200 gets BYE.
    pbx.received(&carrier(1));
    pbx.answer(&asleep, 180, None);
    assert_eq!(pbx.carrier_summary(1), "CANCEL");
    pbx.answer(&asleep, 200, Some(&answer()));
    assert_eq!(pbx.carrier_summary(1), "ACK BYE");
    assert!(!pbx.summary(&ana).contains("200"), "the caller is not connected to the first");
    pbx.cancel(&caller);
    caller.cseq += 1;
    assert!(pbx.summary(&ana).ends_with("200 487"));
}

#[test]
fn a_host_that_sends_provisional_responses_is_not_left() {
    let (mut pbx, ana) = setup(&[trunk("one", &[1, 2])], &[1, 2]);
    let _caller = dial(&mut pbx, &ana);
    let slow = pbx.expect_trunk_invite(1);
    pbx.answer(&slow, 100, None);
    pbx.advance_with_probes(Duration::from_secs(9), &[1, 2]);
    assert_eq!(pbx.carrier_summary(2), "");
    pbx.answer(&slow, 180, None);
    assert!(pbx.summary(&ana).ends_with("180"));
}

fn unreachable(pbx: &mut TestSwitch, n: u8) {
    let local = SERVER.parse().unwrap();
    let remote = carrier(n).address;
    pbx.feed(Input::Unreachable(Hop {
        transport: Transport::Udp,
        listener: 0,
        local,
        remote,
        flow: Flow::default(),
    }));
}

fn host_health(pbx: &mut TestSwitch, host: usize) -> HealthState {
    match pbx.command(Command::Trunks) {
        Reply::Trunks(all) => all[0].hosts[host].health,
        other => panic!("{other:?}"),
    }
}

// security.md §4, "trunk down"
#[test]
fn a_down_host_is_left_at_once_then_skipped_and_used_again_when_it_answers_options() {
    let (mut pbx, ana) = setup(&[trunk("one", &[1, 2])], &[1, 2]);
    let first = dial(&mut pbx, &ana);
    pbx.expect_trunk_invite(1);
    unreachable(&mut pbx, 1);
    let second = pbx.expect_trunk_invite(2);
    pbx.answer(&second, 486, None);
    assert_eq!(expect_rejection(&mut pbx, &first).status(), Some(486));
    assert_eq!(host_health(&mut pbx, 0), HealthState::Down);

    let skipping = dial(&mut pbx, &ana);
    assert_eq!(pbx.carrier_summary(1), "", "the dead host is skipped");
    let second = pbx.expect_trunk_invite(2);
    pbx.answer(&second, 486, None);
    expect_rejection(&mut pbx, &skipping);
    pbx.advance_with_probes(Duration::from_secs(60), &[2]);
    assert_eq!(host_health(&mut pbx, 0), HealthState::Down);

    let mut waited = Duration::ZERO;
    while host_health(&mut pbx, 0) != HealthState::Up {
        pbx.advance_with_probes(ms(100), &[1, 2]);
        waited += ms(100);
        assert!(waited <= Duration::from_secs(15), "recovery takes too long");
    }
    dial(&mut pbx, &ana);
    pbx.expect_trunk_invite(1);
}

#[test]
fn a_host_without_options_responses_is_down_and_is_still_tried_if_it_is_the_last() {
    let (mut pbx, ana) = setup(&[trunk("one", &[1])], &[1]);
    assert_eq!(host_health(&mut pbx, 0), HealthState::Up);
    pbx.advance_with_probes(Duration::from_secs(35), &[]);
    assert_eq!(host_health(&mut pbx, 0), HealthState::Down);
    pbx.received(&carrier(1));
    dial(&mut pbx, &ana);
    pbx.expect_trunk_invite(1);
}

#[test]
fn a_final_rejection_stops_the_failover() {
    for (status, lines, expected, cause) in [
        (486, "", 486, Cause::Busy),
        (404, "", 404, Cause::NotFound),
        (603, "", 603, Cause::Declined),
        (403, "", 403, Cause::Forbidden),
        (480, "Reason: Q.850;cause=17;text=\"User busy\"\r\n", 486, Cause::Busy),
        (480, "Reason: SIP;cause=480, Q.850;cause=19\r\n", 480, Cause::Refused),
    ] {
        let (mut pbx, ana) = setup(&[trunk("one", &[1, 2]), trunk("two", &[3])], &[1, 2, 3]);
        let caller = dial(&mut pbx, &ana);
        let callee = pbx.expect_trunk_invite(1);
        pbx.respond(&callee, &callee.invite.clone(), status, lines, None);
        let answer = expect_rejection(&mut pbx, &caller);
        assert_eq!(answer.status(), Some(expected), "{status} {lines}");
        assert!(answer.header(HeaderName::Reason).unwrap().contains(&format!("cause={}", cause.q850())));
        assert_eq!(pbx.carrier_summary(2) + &pbx.carrier_summary(3), "");
        assert_eq!(pbx.record().cause, Some(cause));
    }
}

#[test]
fn when_a_trunk_fails_the_next_one_carries_the_call_and_the_caller_gets_the_last_error() {
    let mut second = trunk("two", &[2]);
    second.priority = 20;
    let (mut pbx, ana) = setup(&[second, trunk("one", &[1])], &[1, 2]);
    let caller = dial(&mut pbx, &ana);
    let callee = pbx.expect_trunk_invite(1);
    pbx.answer(&callee, 500, None);
    let callee = pbx.expect_trunk_invite(2);
    pbx.answer(&callee, 502, None);
    let answer = expect_rejection(&mut pbx, &caller);
    assert_eq!(answer.status(), Some(503));
    assert!(answer.header(HeaderName::RetryAfter).is_some());
    assert_eq!(pbx.record().cause, Some(Cause::TrunkDown));
}

// S123, security.md §4 "DNS SRV failover"
#[test]
fn a_thousand_calls_are_shared_by_weight_within_three_sigma() {
    let mut one = trunk("one", &[1, 2, 3]);
    for (host, weight) in one.settings.hosts.iter_mut().zip([60, 30, 10]) {
        (host.priority, host.weight) = (10, weight);
    }
    let (mut pbx, ana) = setup(&[one], &[1, 2, 3]);
    let mut share: BTreeMap<u8, f64> = BTreeMap::new();
    for _ in 0..1000 {
        let caller = dial(&mut pbx, &ana);
        for n in 1..=3 {
            for message in pbx.received_by_carrier(n) {
                if message.method().as_str() == "INVITE" && message.status().is_none() {
                    *share.entry(n).or_default() += 1.0;
                    let dialog = pbx.dialog_of(&carrier(n), message);
                    pbx.answer(&dialog, 486, None);
                }
            }
        }
        expect_rejection(&mut pbx, &caller);
        pbx.advance(ms(1));
    }
    for (n, part) in [(1, 0.6), (2, 0.3), (3, 0.1)] {
        let sigma = (1000.0_f64 * part * (1.0 - part)).sqrt();
        let off = (share[&n] - 1000.0 * part).abs();
        assert!(off <= 3.0 * sigma, "host {n}: {share:?}");
    }
}

// security.md §4: the trunk's calls per second are never exceeded
#[test]
fn calls_are_paced_by_cps_and_rejected_if_the_queue_is_too_long() {
    let mut one = trunk("one", &[1]);
    one.settings.calls_per_second = Some(2);
    let (mut pbx, ana) = setup(&[one], &[1]);
    let busy = (0..14).filter(|_| {
        dial(&mut pbx, &ana);
        pbx.received(&ana).iter().any(|m| m.status() == Some(503))
    });
    assert_eq!(busy.count(), 3, "eleven fit into five seconds");
    let mut times = Vec::new();
    let began = pbx.clock;
    for _ in 0..600 {
        for message in pbx.received_by_carrier(1) {
            if message.method().as_str() == "INVITE" && message.status().is_none() {
                times.push(pbx.clock.since(began).as_millis());
                let dialog = pbx.dialog_of(&carrier(1), message);
                pbx.answer(&dialog, 486, None);
            }
        }
        pbx.advance(ms(10));
        pbx.answer_options(&[1]);
    }
    assert_eq!(times.len(), 11, "{times:?}");
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 490), "{times:?}");
}

#[test]
fn a_trunk_carries_no_more_calls_than_it_has_channels() {
    let mut one = trunk("one", &[1]);
    one.settings.max_channels = Some(2);
    let (mut pbx, ana) = setup(&[one], &[1]);
    let first = dial(&mut pbx, &ana);
    dial(&mut pbx, &ana);
    pbx.received(&ana);
    let third = dial(&mut pbx, &ana);
    let answer = expect_rejection(&mut pbx, &third);
    assert_eq!(answer.status(), Some(503));
    assert!(answer.header(HeaderName::Reason).unwrap().contains("All lines of the trunk"));
    pbx.cancel(&first);
    pbx.advance_with_probes(ms(100), &[1]);
    pbx.received(&carrier(1));
    dial(&mut pbx, &ana);
    pbx.expect_trunk_invite(1);
}

// security.md row 31
#[test]
fn an_emergency_call_from_a_phone_ignores_channel_and_cps_limits() {
    let mut one = trunk("one", &[1]);
    (one.settings.max_channels, one.settings.calls_per_second) = (Some(1), Some(1));
    let (mut pbx, ana) = setup(&[one], &[1]);
    dial(&mut pbx, &ana);
    pbx.expect_trunk_invite(1);
    let help = pbx.call(&ana, "112", Some(&offer()));
    assert_eq!(help.phone.address, ana.address);
    let invite = pbx.expect_trunk_invite(1).invite;
    assert_eq!(invite.uri().unwrap().user().as_deref(), Some("112"));
    let originate_params = Originate {
        user: user("ana"),
        from: Some("1001".into()),
        device: None,
        to: "112".into(),
        ring_timeout: Duration::from_secs(30),
        require_device: false,
        planned: None,
    };
    assert_eq!(pbx.command(Command::Originate(originate_params)), Reply::Refused(Cause::EmergencyNotAllowed));
}

// S194
#[test]
fn without_a_trunk_that_can_carry_it_a_number_is_404() {
    let mut off = trunk("off", &[1]);
    off.enabled = false;
    let (mut pbx, ana) = setup(&[off], &[]);
    let caller = dial(&mut pbx, &ana);
    let answer = expect_rejection(&mut pbx, &caller);
    assert_eq!(answer.status(), Some(404));
    assert!(answer.header(HeaderName::Reason).unwrap().contains("No trunk carries this number"));
    // Without country code it has no E.164 form.
    pbx.add_trunk(&trunk("on", &[2]), &[2]);
    let caller = pbx.call(&ana, "912345678", Some(&offer()));
    assert_eq!(expect_rejection(&mut pbx, &caller).status(), Some(404));
    assert_eq!(pbx.carrier_summary(1) + &pbx.carrier_summary(2), "");
}

#[test]
fn a_click_to_call_dials_the_trunk_after_its_device_has_answered() {
    let (mut pbx, ana) = setup(&[trunk("one", &[1])], &[1]);
    let originate_params = Originate {
        user: user("ana"),
        from: Some("1001".into()),
        device: None,
        to: MADRID.into(),
        ring_timeout: Duration::from_secs(30),
        require_device: true,
        planned: None,
    };
    let Reply::Call(record) = pbx.command(Command::Originate(originate_params)) else { panic!("refused") };
    assert_eq!(pbx.carrier_summary(1), "", "the device comes first");
    let device = pbx.expect_invite(&ana);
    pbx.answer(&device, 200, Some(&offer()));
    let callee = pbx.expect_trunk_invite(1);
    pbx.answer(&callee, 200, Some(&answer()));
    assert_eq!(pbx.status().active_calls, 1);
    let Reply::Call(record) = pbx.command(Command::Show { call: record.id }) else { panic!("gone") };
    assert_eq!((record.direction, record.status), (CallDirection::Outbound, CallStatus::InProgress));
}

#[test]
fn a_trunk_is_offered_its_codecs_only() {
    let mut one = trunk("one", &[1]);
    one.settings.codecs = vec!["pcma".into()];
    let (mut pbx, ana) = setup(&[one], &[1]);
    dial(&mut pbx, &ana);
    let invite = pbx.expect_trunk_invite(1).invite;
    assert_eq!(formats(&invite.body()), "8 101");
}

fn trunk_to_name(name: &str) -> Trunk {
    let mut one = trunk("one", &[]);
    one.settings.hosts = vec![TrunkHost { port: None, ..host(name) }];
    one
}

fn answer_dns(pbx: &mut TestSwitch, wanted: &Question, records: Vec<Record>, ttl: u64) {
    let at = pbx.dns_queries.iter().position(|(_, question)| question == wanted);
    let (token, _) =
        pbx.dns_queries.remove(at.unwrap_or_else(|| panic!("{wanted:?} in {:?}", pbx.dns_queries)));
    let answer = Answer::Found { records, ttl: Duration::from_secs(ttl) };
    pbx.feed(Input::Resolved { token, answer });
}

// security.md §4 "DNS SRV failover"
#[test]
fn a_name_is_resolved_once_per_ttl_and_its_hosts_are_tried_in_order() {
    let (mut pbx, ana) = setup(&[trunk_to_name("carrier.test")], &[]);
    let srv = |priority, n: u8| Record::Srv {
        priority,
        weight: 10,
        port: 5060,
        target: format!("h{n}.carrier.test."),
    };
    let at = |n: u8| vec![Record::Address([10, 9, 0, n].into())];
    let name = |n: u8| Question::Address(format!("h{n}.carrier.test"));
    let service = Question::Srv("_sip._udp.carrier.test".into());
    // The first query is the probe's; a call waits for the same response.
    let caller = dial(&mut pbx, &ana);
    assert_eq!(pbx.dns_queries.len(), 1, "{:?}", pbx.dns_queries);
    answer_dns(&mut pbx, &service, vec![srv(20, 2), srv(10, 1)], 60);
    answer_dns(&mut pbx, &name(1), at(1), 60);
    answer_dns(&mut pbx, &name(2), at(2), 60);
    assert!(pbx.dns_queries.is_empty());
    let first = pbx.expect_trunk_invite(1);
    assert_eq!(first.invite.uri().unwrap().as_str(), "sip:+34912345678@carrier.test;transport=udp");
    pbx.answer(&first, 503, None);
    let second = pbx.expect_trunk_invite(2);
    pbx.answer(&second, 486, None);
    expect_rejection(&mut pbx, &caller);
    dial(&mut pbx, &ana);
    assert!(pbx.dns_queries.is_empty(), "the answer holds");
    pbx.expect_trunk_invite(1);
    pbx.advance_with_probes(Duration::from_secs(75), &[1, 2]);
    assert_eq!(
        pbx.dns_queries.first().map(|(_, question)| question),
        Some(&service),
        "its time to live is over"
    );
    // The DNS does not respond: the last valid records are used.
    let (token, _) = pbx.dns_queries.remove(0);
    pbx.feed(Input::Resolved { token, answer: Answer::Failed });
    pbx.received(&carrier(1));
    dial(&mut pbx, &ana);
    let mut rounds = 0;
    while let Some((token, _)) = pbx.dns_queries.pop() {
        pbx.feed(Input::Resolved { token, answer: Answer::Failed });
        rounds += 1;
        assert!(rounds < 10);
    }
    pbx.expect_trunk_invite(1);
}

#[test]
fn an_unknown_dns_name_makes_the_trunk_down() {
    let (mut pbx, ana) = setup(&[trunk_to_name("nowhere.test")], &[]);
    let caller = dial(&mut pbx, &ana);
    for _ in 0..8 {
        for (token, _) in std::mem::take(&mut pbx.dns_queries) {
            pbx.feed(Input::Resolved { token, answer: Answer::Nothing { ttl: Duration::from_secs(60) } });
        }
    }
    assert_eq!(expect_rejection(&mut pbx, &caller).status(), Some(503));
}

#[test]
fn a_silent_dns_delays_a_call_for_seconds_only() {
    let mut spare = trunk("two", &[2]);
    spare.priority = 20;
    let (mut pbx, ana) = setup(&[trunk_to_name("slow.test"), spare], &[2]);
    dial(&mut pbx, &ana);
    pbx.advance_with_probes(Duration::from_secs(4), &[2]);
    pbx.expect_trunk_invite(2);
}

#[test]
fn a_password_is_sealed_with_the_servers_key() {
    let one = with_account(trunk("one", &[1]));
    let shown = format!("{:?}", Change::Trunk(Box::new(one.clone())));
    assert!(!shown.contains("trunk-pass"));
    let opened = one.password.unwrap().open(&model::SealKey::default(), one.id.as_str());
    assert_eq!(opened, Some(Secret::new("trunk-pass".into())));
}
