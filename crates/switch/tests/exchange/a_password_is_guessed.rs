//! Wrong passwords, used nonces and strangers: what they get, and what they cost others.

use std::time::Duration;

use crate::office::{Office, Phone};
use centralita_switch::{Command, Reply};
use sip::{HeaderName, Message};

/// One REGISTER with the phone's password, whatever it is; the answer, where there is one.
fn attempt(office: &mut Office, phone: &Phone) -> Option<Message> {
    let (to, lines) =
        (format!("<sip:{}@localhost>", phone.user), format!("Contact: {}\r\n", phone.contact()));
    let text = office.request(phone, "REGISTER", "sip:localhost", &to, &lines);
    office.send_from(phone.address, text);
    let challenge = office.heard(phone).pop()?;
    let proof = office.authorization(phone, &challenge, "REGISTER", "sip:localhost");
    let text = office.request(phone, "REGISTER", "sip:localhost", &to, &format!("{proof}{lines}"));
    office.send_from(phone.address, text);
    office.heard(phone).pop()
}

#[test]
fn ten_wrong_passwords_a_minute_are_answered_and_then_no_more() {
    let mut office = Office::open();
    let thief = Phone { password: "guess".into(), ..office.phone("1001").at("10.0.0.66:5060") };
    let answered = (0..20).filter(|_| attempt(&mut office, &thief).is_some()).count();
    assert_eq!(answered, 10); // security.md row 1
    let owner = office.phone("1001");
    office.register(&owner);
    office.pass(Duration::from_secs(61));
    assert!(attempt(&mut office, &thief).is_some(), "a minute later it may try again");
}

#[test]
fn a_corrected_password_ends_the_ban_that_the_wrong_one_has_earned() {
    let mut office = Office::open();
    let right = office.phone("1001").at("10.0.0.66:5060");
    let wrong = Phone { password: "mistyped".into(), ..right.clone() };
    // A phone that tries again and again: its third ban lasts four minutes.
    for _ in 0..130 {
        attempt(&mut office, &wrong);
        office.pass(Duration::from_secs(2));
    }
    let Reply::Bans(bans) = office.ask(Command::Bans) else { panic!("no list") };
    assert_eq!((bans.len(), bans[0].account.as_deref()), (1, Some(wrong.login.as_str())));
    assert_eq!(bans[0].source.to_string(), "10.0.0.66");
    assert!(bans[0].until > office.now().wall + Duration::from_secs(60));
    office.pass(Duration::from_secs(15));
    assert_eq!(attempt(&mut office, &right).and_then(|answer| answer.status()), Some(200));
    assert_eq!(office.ask(Command::Bans), Reply::Bans(Vec::new()));
    assert_eq!(attempt(&mut office, &right).and_then(|answer| answer.status()), Some(200), "at once");
}

#[test]
fn an_administrator_lifts_a_ban() {
    let mut office = Office::open();
    let right = office.phone("1001").at("10.0.0.66:5060");
    let wrong = Phone { password: "mistyped".into(), ..right.clone() };
    (0..11).for_each(|_| drop(attempt(&mut office, &wrong)));
    assert!(attempt(&mut office, &right).is_none(), "it is banned");
    let lift = |source: &str, account: Option<&str>| Command::LiftBans {
        source: source.parse().unwrap(),
        account: account.map(str::to_owned),
    };
    assert_eq!(office.ask(lift("10.0.0.67", None)), Reply::Bans(Vec::new()));
    assert_eq!(office.ask(lift("10.0.0.66", Some("else"))), Reply::Bans(Vec::new()));
    let Reply::Bans(lifted) = office.ask(lift("10.0.0.66", None)) else { panic!("no list") };
    assert_eq!(lifted.len(), 1);
    assert_eq!(attempt(&mut office, &right).and_then(|answer| answer.status()), Some(200));
}

#[test]
fn unknown_users_are_answered_as_known_ones_are() {
    let mut office = Office::open();
    let shape = |message: &Message| {
        let names = message.all_headers().map(|(name, _)| String::from_utf8_lossy(name).into_owned());
        (message.status(), names.collect::<Vec<_>>())
    };
    let known = Phone { password: "guess".into(), ..office.phone("1001") };
    let unknown = Phone { user: "ghost".into(), login: "ghost".into(), ..known.at("10.0.0.67:5060") };
    let (a, b) = (attempt(&mut office, &known).unwrap(), attempt(&mut office, &unknown).unwrap());
    assert_eq!(shape(&a), shape(&b)); // security.md row 2
    assert_eq!(a.status(), Some(401));
}

#[test]
fn a_nonce_is_good_once_and_for_a_minute() {
    let mut office = Office::open();
    let phone = office.phone("1001");
    let (to, lines) = ("<sip:phone1001@localhost>", format!("Contact: {}\r\n", phone.contact()));
    let text = office.request(&phone, "REGISTER", "sip:localhost", to, &lines);
    office.send_from(phone.address, text);
    let challenge = office.last(&phone);
    let proof = office.authorization(&phone, &challenge, "REGISTER", "sip:localhost");
    for (wait, status) in [(0, 200), (0, 401)] {
        office.pass(Duration::from_secs(wait));
        let text = office.request(&phone, "REGISTER", "sip:localhost", to, &format!("{proof}{lines}"));
        office.send_from(phone.address, text);
        assert_eq!(office.last(&phone).status(), Some(status));
    }
    let text = office.request(&phone, "REGISTER", "sip:localhost", to, &lines);
    office.send_from(phone.address, text);
    let challenge = office.last(&phone);
    let proof = office.authorization(&phone, &challenge, "REGISTER", "sip:localhost");
    office.pass(Duration::from_secs(120));
    let text = office.request(&phone, "REGISTER", "sip:localhost", to, &format!("{proof}{lines}"));
    office.send_from(phone.address, text);
    let stale = office.last(&phone);
    assert!(stale.header(HeaderName::WwwAuthenticate).unwrap().contains("stale=true")); // RFC 7616 §3.3
    assert_eq!(office.status().counters.wrong_passwords, 0, "the password was right");
}

#[test]
fn strangers_leave_nothing_behind() {
    let mut office = Office::open();
    let stranger = office.phone("1001").at("10.0.0.66:5060");
    for method in ["REGISTER", "INVITE", "OPTIONS", "SUBSCRIBE", "MESSAGE", "BYE", "ACK", "CANCEL"] {
        let text = office.request(&stranger, method, "sip:1002@localhost", "<sip:1002@localhost>", "");
        office.send_from(stranger.address, text);
    }
    assert_eq!(office.summary(&stranger), "401 401 200 401 401 481 481");
    assert_eq!((office.switch.counts(), office.switch.deadline()), ([0; 4], None));
}

#[test]
fn who_asks_for_what_is_not_done_here_is_asked_first_and_told_afterwards() {
    let mut office = Office::open();
    let phone = office.phone("1001");
    for (method, status) in [
        ("MESSAGE", 405),
        ("REFER", 405),
        ("SUBSCRIBE", 489),
        ("PUBLISH", 489),
        ("NOTIFY", 481),
        ("JUGGLE", 501),
    ] {
        for stranger in [true, false] {
            let (uri, to) = ("sip:1002@localhost", "<sip:1002@localhost>");
            let text = office.request(&phone, method, uri, to, "Event: presence\r\n");
            office.send_from(phone.address, text);
            let challenge = office.last(&phone);
            assert_eq!(challenge.status(), Some(401), "{method}"); // security.md row 14
            assert!(challenge.header(HeaderName::Allow).is_none(), "a stranger learns nothing");
            if !stranger {
                let proof = office.authorization(&phone, &challenge, method, uri);
                let text = office.request(&phone, method, uri, to, &format!("{proof}Event: presence\r\n"));
                office.send_from(phone.address, text.clone());
                let refusal = office.last(&phone);
                assert_eq!(refusal.status(), Some(status), "{method}");
                assert_eq!(
                    refusal.header(HeaderName::Allow).is_some(),
                    matches!(status, 405 | 501),
                    "{method}"
                );
                let reason = refusal.header(HeaderName::Reason).unwrap_or_default();
                assert!(
                    reason.starts_with(&format!("SIP;cause={status};text=\"")),
                    "{method} is told why: {reason}"
                );
                office.send_from(phone.address, text);
                assert_eq!(office.last(&phone).bytes(), refusal.bytes(), "a repetition is told the same");
            }
        }
    }
    assert_eq!(office.switch.counts(), [0; 4]);
}

#[test]
fn options_names_what_is_there_and_nothing_else() {
    let mut office = Office::open();
    let phone = office.phone("1001");
    let text = office.request(&phone, "OPTIONS", "sip:localhost", "<sip:localhost>", "");
    office.send_from(phone.address, text);
    // Of RFC 5626 only the rule of the instance is there: a flow's keep-alive and its failover are not, so `outbound` is not claimed.
    assert_eq!(office.last(&phone).header(HeaderName::Supported), Some("100rel, timer, path"));
}
