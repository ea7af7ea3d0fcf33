//! Calls to the outside: which carrier hears what, and what happens where one does not.

use std::collections::BTreeMap;
use std::time::Duration;

use base::Secret;
use centralita_switch::{Command, HealthState, Input, Originate, Reply};
use model::{CallDirection, CallStatus, Cause, Change, LegRole, Trunk, TrunkHost};
use sip::digest::{Credentials, Ha1};
use sip::resolve::{Answer, Question, Record};
use sip::{Flow, HeaderName, Hop, Transport};

use crate::office::carrier::{carrier, host, trunk, with_account};
use crate::office::line::Line;
use crate::office::sdp::{formats, sdp};
use crate::office::{Office, Phone, SERVER, user};

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

/// An office with 1001 at its phone, and these trunks whose hosts all live.
fn outside(trunks: &[Trunk], alive: &[u8]) -> (Office, Phone) {
    let mut office = Office::open_with(|config| config.outside.calls_per_minute = 0);
    let ana = office.phone("1001");
    office.register(&ana);
    for trunk in trunks {
        office.add_trunk(trunk, alive);
    }
    (office, ana)
}

fn dial(office: &mut Office, phone: &Phone) -> Line {
    office.call(phone, MADRID, Some(&offer()))
}

/// The final answer that the caller heard, acknowledged.
fn refused(office: &mut Office, line: &Line) -> sip::Message {
    let answer = office.last(&line.phone);
    assert!(answer.status().is_some_and(|status| status >= 300), "{:?}", answer.status());
    office.ack_refusal(line, &answer);
    answer
}

// S107, S122, security.md row 30
#[test]
fn a_number_outside_reaches_the_trunk_in_e164_and_nothing_of_what_the_phone_claims_goes_with_it() {
    let (mut office, ana) = outside(&[trunk("one", &[1])], &[1]);
    let lines = "P-Asserted-Identity: <sip:+34666000111@localhost>\r\nRemote-Party-ID: <sip:+34666000111@x>;party=calling\r\n\
                 P-Preferred-Identity: <sip:+34666000111@x>\r\nDiversion: <sip:+34666000111@x>\r\nX-Secret: 666000111\r\n\
                 Privacy: none\r\nHistory-Info: <sip:+34666000111@x>;index=1\r\n";
    let mut caller = office.call_with(&ana, "0034912345678", Some(&offer()), lines);
    let callee = office.invited(1);
    let invite = callee.invite.clone();
    assert_eq!(invite.uri().unwrap().as_str(), "sip:+34912345678@10.9.0.1:5060;transport=udp");
    assert!(invite.header(HeaderName::From).unwrap().starts_with("<sip:+34910000000@10.9.0.1>;tag="));
    assert_eq!(invite.header_named("P-Asserted-Identity"), Some("<sip:+34910000000@10.9.0.1>"));
    let text = String::from_utf8_lossy(invite.bytes()).into_owned();
    assert!(!text.contains("666000111") && !text.contains("X-Secret"), "{text}");
    assert!(!text.contains("1001"), "the inner number stays inside: {text}");

    office.answer(&callee, 183, Some(&answer()));
    office.answer(&callee, 200, Some(&answer()));
    let ok = office.last(&ana);
    office.acknowledge(&mut caller, &ok, None);
    assert_eq!(office.carried_in_short(1), "ACK");
    office.pass_with(Duration::from_secs(7), &[1]);
    office.within(&mut caller, "BYE", "", None);
    let bye = office.carried(1).pop().unwrap();
    office.respond(&callee, &bye, 200, "", None);
    let record = office.record();
    assert_eq!((record.direction, record.status), (CallDirection::Outbound, CallStatus::Completed));
    assert_eq!(record.duration_seconds(office.now().wall), 7);
    assert_eq!((record.legs[1].role, record.legs[1].party.as_str()), (LegRole::Trunk, "one"));
    office.change(vec![Change::TrunkGone(trunk("one", &[1]).id)]);
    office.is_at_rest();
}

// S107, S121, security.md row 5
#[test]
fn a_challenge_is_answered_with_the_trunks_password_and_only_for_its_realm() {
    for (realm, asked, proves) in
        [(None, "carrier", true), (Some("carrier"), "carrier", true), (Some("other"), "carrier", false)]
    {
        let mut one = with_account(trunk("one", &[1]));
        one.settings.realm = realm.map(str::to_owned);
        let (mut office, ana) = outside(&[one], &[1]);
        let caller = dial(&mut office, &ana);
        let callee = office.invited(1);
        assert!(callee.invite.header(HeaderName::Authorization).is_none());
        let challenge = format!("WWW-Authenticate: Digest realm=\"{asked}\", nonce=\"n1\", qop=\"auth\"\r\n");
        office.respond(&callee, &callee.invite.clone(), 401, &challenge, None);
        let again = office.carried(1).into_iter().find(|m| m.method().as_str() == "INVITE");
        assert_eq!(again.is_some(), proves);
        if let Some(again) = again {
            let proof = Credentials::parse(again.header(HeaderName::Authorization).unwrap()).unwrap();
            assert!(proof.prove("INVITE", &Ha1::new("trunkuser", "carrier", "trunk-pass")));
            // A second challenge is a refusal: the password is wrong, and is not sent for ever.
            let line = office.line_of(&carrier(1), again);
            office.respond(&line, &line.invite.clone(), 401, &challenge, None);
            assert_eq!(office.carried_in_short(1), "ACK");
        }
        assert_eq!(refused(&mut office, &caller).status(), Some(503));
        assert_eq!(office.record().cause, Some(Cause::TrunkDown));
    }
}

// security.md §4, "trunk down"
#[test]
fn a_host_that_answers_503_is_followed_by_the_next_at_once_and_by_nobody_twice() {
    let (mut office, ana) = outside(&[trunk("one", &[1, 2])], &[1, 2]);
    let mut caller = dial(&mut office, &ana);
    let first = office.invited(1);
    assert_eq!(office.carried_in_short(2), "");
    office.answer(&first, 503, None); // no time passes
    let second = office.invited(2);
    office.answer(&second, 200, Some(&answer()));
    let ok = office.last(&ana);
    office.acknowledge(&mut caller, &ok, None);
    office.pass_with(Duration::from_secs(1), &[1, 2]);
    assert_eq!(office.carried_in_short(1), "ACK");
    office.within(&mut caller, "BYE", "", None);
    office.pass_with(Duration::from_secs(3), &[1, 2]);
    let record = office.record();
    assert_eq!(record.legs.len(), 3);
    assert_eq!(record.legs[1].sip_status, Some(503));
}

#[test]
fn a_host_that_says_nothing_is_left_within_four_seconds_and_gets_cancel_should_it_wake_up() {
    let (mut office, ana) = outside(&[trunk("one", &[1, 2])], &[1, 2]);
    let began = office.clock;
    let mut caller = dial(&mut office, &ana);
    let asleep = office.invited(1);
    while office.heard(&carrier(2)).iter().all(|m| m.method().as_str() != "INVITE") {
        office.pass(ms(20));
        assert!(office.clock.since(began) <= Duration::from_secs(4), "the second host is not called");
    }
    // It wakes up: what it rings is cancelled, and what it answers is hung up.
    office.heard(&carrier(1));
    office.answer(&asleep, 180, None);
    assert_eq!(office.carried_in_short(1), "CANCEL");
    office.answer(&asleep, 200, Some(&answer()));
    assert_eq!(office.carried_in_short(1), "ACK BYE");
    assert!(!office.summary(&ana).contains("200"), "the caller is not connected to the first");
    office.cancel(&caller);
    caller.cseq += 1;
    assert!(office.summary(&ana).ends_with("200 487"));
}

#[test]
fn a_host_that_trickles_is_not_given_up() {
    let (mut office, ana) = outside(&[trunk("one", &[1, 2])], &[1, 2]);
    let _caller = dial(&mut office, &ana);
    let slow = office.invited(1);
    office.answer(&slow, 100, None);
    office.pass_with(Duration::from_secs(9), &[1, 2]);
    assert_eq!(office.carried_in_short(2), "");
    office.answer(&slow, 180, None);
    assert!(office.summary(&ana).ends_with("180"));
}

fn unreachable(office: &mut Office, n: u8) {
    let local = SERVER.parse().unwrap();
    let remote = carrier(n).address;
    office.feed(Input::Unreachable(Hop {
        transport: Transport::Udp,
        listener: 0,
        local,
        remote,
        flow: Flow::default(),
    }));
}

fn life(office: &mut Office, host: usize) -> HealthState {
    match office.ask(Command::Trunks) {
        Reply::Trunks(all) => all[0].hosts[host].life,
        other => panic!("{other:?}"),
    }
}

// security.md §4, "trunk down"
#[test]
fn a_dead_host_is_left_at_once_then_skipped_and_taken_again_when_it_answers_options() {
    let (mut office, ana) = outside(&[trunk("one", &[1, 2])], &[1, 2]);
    let first = dial(&mut office, &ana);
    office.invited(1);
    unreachable(&mut office, 1);
    let second = office.invited(2);
    office.answer(&second, 486, None);
    assert_eq!(refused(&mut office, &first).status(), Some(486));
    assert_eq!(life(&mut office, 0), HealthState::Down);

    let skipping = dial(&mut office, &ana);
    assert_eq!(office.carried_in_short(1), "", "the dead host is skipped");
    let second = office.invited(2);
    office.answer(&second, 486, None);
    refused(&mut office, &skipping);
    office.pass_with(Duration::from_secs(60), &[2]);
    assert_eq!(life(&mut office, 0), HealthState::Down);

    let mut waited = Duration::ZERO;
    while life(&mut office, 0) != HealthState::Up {
        office.pass_with(ms(100), &[1, 2]);
        waited += ms(100);
        assert!(waited <= Duration::from_secs(15), "recovery takes too long");
    }
    dial(&mut office, &ana);
    office.invited(1);
}

#[test]
fn a_host_that_stops_to_answer_options_counts_as_down_and_is_still_tried_where_there_is_no_other() {
    let (mut office, ana) = outside(&[trunk("one", &[1])], &[1]);
    assert_eq!(life(&mut office, 0), HealthState::Up);
    office.pass_with(Duration::from_secs(35), &[]);
    assert_eq!(life(&mut office, 0), HealthState::Down);
    office.heard(&carrier(1));
    dial(&mut office, &ana);
    office.invited(1);
}

#[test]
fn who_said_no_is_believed_and_no_other_host_is_asked() {
    for (status, lines, heard, cause) in [
        (486, "", 486, Cause::Busy),
        (404, "", 404, Cause::NotFound),
        (603, "", 603, Cause::Declined),
        (403, "", 403, Cause::Forbidden),
        (480, "Reason: Q.850;cause=17;text=\"User busy\"\r\n", 486, Cause::Busy),
        (480, "Reason: SIP;cause=480, Q.850;cause=19\r\n", 480, Cause::Refused),
    ] {
        let (mut office, ana) = outside(&[trunk("one", &[1, 2]), trunk("two", &[3])], &[1, 2, 3]);
        let caller = dial(&mut office, &ana);
        let callee = office.invited(1);
        office.respond(&callee, &callee.invite.clone(), status, lines, None);
        let answer = refused(&mut office, &caller);
        assert_eq!(answer.status(), Some(heard), "{status} {lines}");
        assert!(answer.header(HeaderName::Reason).unwrap().contains(&format!("cause={}", cause.q850())));
        assert_eq!(office.carried_in_short(2) + &office.carried_in_short(3), "");
        assert_eq!(office.record().cause, Some(cause));
    }
}

#[test]
fn when_a_trunk_fails_the_next_one_carries_the_call_and_after_the_last_the_caller_is_told() {
    let mut second = trunk("two", &[2]);
    second.priority = 20;
    let (mut office, ana) = outside(&[second, trunk("one", &[1])], &[1, 2]);
    let caller = dial(&mut office, &ana);
    let callee = office.invited(1);
    office.answer(&callee, 500, None);
    let callee = office.invited(2);
    office.answer(&callee, 502, None);
    let answer = refused(&mut office, &caller);
    assert_eq!(answer.status(), Some(503));
    assert!(answer.header(HeaderName::RetryAfter).is_some());
    assert_eq!(office.record().cause, Some(Cause::TrunkDown));
}

// S123, security.md §4 "DNS SRV failover"
#[test]
fn a_thousand_calls_are_shared_by_weight_within_three_sigma() {
    let mut one = trunk("one", &[1, 2, 3]);
    for (host, weight) in one.settings.hosts.iter_mut().zip([60, 30, 10]) {
        (host.priority, host.weight) = (10, weight);
    }
    let (mut office, ana) = outside(&[one], &[1, 2, 3]);
    let mut share: BTreeMap<u8, f64> = BTreeMap::new();
    for _ in 0..1000 {
        let caller = dial(&mut office, &ana);
        for n in 1..=3 {
            for message in office.carried(n) {
                if message.method().as_str() == "INVITE" && message.status().is_none() {
                    *share.entry(n).or_default() += 1.0;
                    let line = office.line_of(&carrier(n), message);
                    office.answer(&line, 486, None);
                }
            }
        }
        refused(&mut office, &caller);
        office.pass(ms(1));
    }
    for (n, part) in [(1, 0.6), (2, 0.3), (3, 0.1)] {
        let sigma = (1000.0_f64 * part * (1.0 - part)).sqrt();
        let off = (share[&n] - 1000.0 * part).abs();
        assert!(off <= 3.0 * sigma, "host {n}: {share:?}");
    }
}

// security.md §4: the trunk is never asked faster than it was bought
#[test]
fn calls_wait_for_their_turn_and_are_refused_where_the_queue_is_too_long() {
    let mut one = trunk("one", &[1]);
    one.settings.calls_per_second = Some(2);
    let (mut office, ana) = outside(&[one], &[1]);
    let busy = (0..14).filter(|_| {
        dial(&mut office, &ana);
        office.heard(&ana).iter().any(|m| m.status() == Some(503))
    });
    assert_eq!(busy.count(), 3, "eleven fit into five seconds");
    let mut times = Vec::new();
    let began = office.clock;
    for _ in 0..600 {
        for message in office.carried(1) {
            if message.method().as_str() == "INVITE" && message.status().is_none() {
                times.push(office.clock.since(began).as_millis());
                let line = office.line_of(&carrier(1), message);
                office.answer(&line, 486, None);
            }
        }
        office.pass(ms(10));
        office.tend(&[1]);
    }
    assert_eq!(times.len(), 11, "{times:?}");
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 490), "{times:?}");
}

#[test]
fn a_trunk_carries_no_more_calls_than_it_has_channels() {
    let mut one = trunk("one", &[1]);
    one.settings.max_channels = Some(2);
    let (mut office, ana) = outside(&[one], &[1]);
    let first = dial(&mut office, &ana);
    dial(&mut office, &ana);
    office.heard(&ana);
    let third = dial(&mut office, &ana);
    let answer = refused(&mut office, &third);
    assert_eq!(answer.status(), Some(503));
    assert!(answer.header(HeaderName::Reason).unwrap().contains("All lines of the trunk"));
    office.cancel(&first);
    office.pass_with(ms(100), &[1]);
    office.heard(&carrier(1));
    dial(&mut office, &ana);
    office.invited(1);
}

// security.md row 31
#[test]
fn who_calls_for_help_waits_for_no_channel_and_no_turn_and_only_from_a_phone() {
    let mut one = trunk("one", &[1]);
    (one.settings.max_channels, one.settings.calls_per_second) = (Some(1), Some(1));
    let (mut office, ana) = outside(&[one], &[1]);
    dial(&mut office, &ana);
    office.invited(1);
    let help = office.call(&ana, "112", Some(&offer()));
    assert_eq!(help.phone.address, ana.address);
    let invite = office.invited(1).invite;
    assert_eq!(invite.uri().unwrap().user().as_deref(), Some("112"));
    let wish = Originate {
        user: user("ana"),
        from: Some("1001".into()),
        device: None,
        to: "112".into(),
        ring_timeout: Duration::from_secs(30),
        require_device: false,
        planned: None,
    };
    assert_eq!(office.ask(Command::Originate(wish)), Reply::Refused(Cause::EmergencyNotAllowed));
}

// S194
#[test]
fn without_a_trunk_that_can_carry_it_a_number_is_404() {
    let mut off = trunk("off", &[1]);
    off.enabled = false;
    let (mut office, ana) = outside(&[off], &[]);
    let caller = dial(&mut office, &ana);
    let answer = refused(&mut office, &caller);
    assert_eq!(answer.status(), Some(404));
    assert!(answer.header(HeaderName::Reason).unwrap().contains("No trunk carries this number"));
    // Without country code it cannot be written in E.164.
    office.add_trunk(&trunk("on", &[2]), &[2]);
    let caller = office.call(&ana, "912345678", Some(&offer()));
    assert_eq!(refused(&mut office, &caller).status(), Some(404));
    assert_eq!(office.carried_in_short(1) + &office.carried_in_short(2), "");
}

#[test]
fn a_click_to_call_goes_outside_after_its_device_has_answered() {
    let (mut office, ana) = outside(&[trunk("one", &[1])], &[1]);
    let wish = Originate {
        user: user("ana"),
        from: Some("1001".into()),
        device: None,
        to: MADRID.into(),
        ring_timeout: Duration::from_secs(30),
        require_device: true,
        planned: None,
    };
    let Reply::Call(record) = office.ask(Command::Originate(wish)) else { panic!("refused") };
    assert_eq!(office.carried_in_short(1), "", "the device comes first");
    let device = office.rung(&ana);
    office.answer(&device, 200, Some(&offer()));
    let callee = office.invited(1);
    office.answer(&callee, 200, Some(&answer()));
    assert_eq!(office.status().active_calls, 1);
    let Reply::Call(record) = office.ask(Command::Show { call: record.id }) else { panic!("gone") };
    assert_eq!((record.direction, record.status), (CallDirection::Outbound, CallStatus::InProgress));
}

#[test]
fn a_trunk_is_offered_its_codecs_only() {
    let mut one = trunk("one", &[1]);
    one.settings.codecs = vec!["pcma".into()];
    let (mut office, ana) = outside(&[one], &[1]);
    dial(&mut office, &ana);
    let invite = office.invited(1).invite;
    assert_eq!(formats(&invite.body()), "8 101");
}

fn named(name: &str) -> Trunk {
    let mut one = trunk("one", &[]);
    one.settings.hosts = vec![TrunkHost { port: None, ..host(name) }];
    one
}

fn tell(office: &mut Office, wanted: &Question, records: Vec<Record>, ttl: u64) {
    let at = office.questions.iter().position(|(_, question)| question == wanted);
    let (token, _) =
        office.questions.remove(at.unwrap_or_else(|| panic!("{wanted:?} in {:?}", office.questions)));
    let answer = Answer::Found { records, ttl: Duration::from_secs(ttl) };
    office.feed(Input::Resolved { token, answer });
}

// security.md §4 "DNS SRV failover"
#[test]
fn a_name_is_asked_for_once_while_its_answer_holds_and_its_hosts_are_tried_in_order() {
    let (mut office, ana) = outside(&[named("carrier.test")], &[]);
    let srv = |priority, n: u8| Record::Srv {
        priority,
        weight: 10,
        port: 5060,
        target: format!("h{n}.carrier.test."),
    };
    let at = |n: u8| vec![Record::Address([10, 9, 0, n].into())];
    let name = |n: u8| Question::Address(format!("h{n}.carrier.test"));
    let service = Question::Srv("_sip._udp.carrier.test".into());
    // The first question is that of the health check; a call meanwhile waits for the same answer.
    let caller = dial(&mut office, &ana);
    assert_eq!(office.questions.len(), 1, "{:?}", office.questions);
    tell(&mut office, &service, vec![srv(20, 2), srv(10, 1)], 60);
    tell(&mut office, &name(1), at(1), 60);
    tell(&mut office, &name(2), at(2), 60);
    assert!(office.questions.is_empty());
    let first = office.invited(1);
    assert_eq!(first.invite.uri().unwrap().as_str(), "sip:+34912345678@carrier.test;transport=udp");
    office.answer(&first, 503, None);
    let second = office.invited(2);
    office.answer(&second, 486, None);
    refused(&mut office, &caller);
    dial(&mut office, &ana);
    assert!(office.questions.is_empty(), "the answer holds");
    office.invited(1);
    office.pass_with(Duration::from_secs(75), &[1, 2]);
    assert_eq!(
        office.questions.first().map(|(_, question)| question),
        Some(&service),
        "its time to live is over"
    );
    // The DNS is away: the last good answer is used.
    let (token, _) = office.questions.remove(0);
    office.feed(Input::Resolved { token, answer: Answer::Failed });
    office.heard(&carrier(1));
    dial(&mut office, &ana);
    let mut rounds = 0;
    while let Some((token, _)) = office.questions.pop() {
        office.feed(Input::Resolved { token, answer: Answer::Failed });
        rounds += 1;
        assert!(rounds < 10);
    }
    office.invited(1);
}

#[test]
fn a_name_that_nobody_knows_is_a_trunk_that_is_down() {
    let (mut office, ana) = outside(&[named("nowhere.test")], &[]);
    let caller = dial(&mut office, &ana);
    for _ in 0..8 {
        for (token, _) in std::mem::take(&mut office.questions) {
            office.feed(Input::Resolved { token, answer: Answer::Nothing { ttl: Duration::from_secs(60) } });
        }
    }
    assert_eq!(refused(&mut office, &caller).status(), Some(503));
}

#[test]
fn a_dns_that_says_nothing_holds_a_call_up_for_seconds_only() {
    let mut spare = trunk("two", &[2]);
    spare.priority = 20;
    let (mut office, ana) = outside(&[named("slow.test"), spare], &[2]);
    dial(&mut office, &ana);
    office.pass_with(Duration::from_secs(4), &[2]);
    office.invited(2);
}

#[test]
fn a_password_is_sealed_with_the_key_of_the_house() {
    let one = with_account(trunk("one", &[1]));
    let shown = format!("{:?}", Change::Trunk(Box::new(one.clone())));
    assert!(!shown.contains("trunk-pass"));
    let opened = one.password.unwrap().open(&model::SealKey::default(), one.id.as_str());
    assert_eq!(opened, Some(Secret::new("trunk-pass".into())));
}
