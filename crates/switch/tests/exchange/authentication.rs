//! Wrong passwords, used nonces and unauthenticated peers: the responses they get, and their effect on other clients.

use std::time::Duration;

use crate::test_switch::{Phone, TestSwitch};
use centralita_switch::{Command, Reply};
use sip::{HeaderName, Message};

/// One REGISTER with the phone's password. Returns the response, if there is one.
fn try_register(pbx: &mut TestSwitch, phone: &Phone) -> Option<Message> {
    let (to, lines) =
        (format!("<sip:{}@localhost>", phone.user), format!("Contact: {}\r\n", phone.contact()));
    let text = pbx.request(phone, "REGISTER", "sip:localhost", &to, &lines);
    pbx.send_from(phone.address, text);
    let challenge = pbx.received(phone).pop()?;
    let authorization = pbx.authorization(phone, &challenge, "REGISTER", "sip:localhost");
    let text = pbx.request(phone, "REGISTER", "sip:localhost", &to, &format!("{authorization}{lines}"));
    pbx.send_from(phone.address, text);
    pbx.received(phone).pop()
}

#[test]
fn ten_wrong_passwords_a_minute_are_answered_and_then_no_more() {
    let mut pbx = TestSwitch::open();
    let thief = Phone { password: "guess".into(), ..pbx.phone("1001").at("10.0.0.66:5060") };
    let answered = (0..20).filter(|_| try_register(&mut pbx, &thief).is_some()).count();
    assert_eq!(answered, 10); // security.md row 1
    let owner = pbx.phone("1001");
    pbx.register(&owner);
    pbx.advance(Duration::from_secs(61));
    assert!(try_register(&mut pbx, &thief).is_some(), "a minute later it may try again");
}

#[test]
fn a_corrected_password_ends_the_ban_that_the_wrong_one_has_earned() {
    let mut pbx = TestSwitch::open();
    let right = pbx.phone("1001").at("10.0.0.66:5060");
    let wrong = Phone { password: "mistyped".into(), ..right.clone() };
    // A phone that keeps trying: its third ban lasts four minutes.
    for _ in 0..130 {
        try_register(&mut pbx, &wrong);
        pbx.advance(Duration::from_secs(2));
    }
    let Reply::Bans(bans) = pbx.command(Command::Bans) else { panic!("no list") };
    assert_eq!((bans.len(), bans[0].account.as_deref()), (1, Some(wrong.login.as_str())));
    assert_eq!(bans[0].source.to_string(), "10.0.0.66");
    assert!(bans[0].until > pbx.now().wall + Duration::from_secs(60));
    pbx.advance(Duration::from_secs(15));
    assert_eq!(try_register(&mut pbx, &right).and_then(|answer| answer.status()), Some(200));
    assert_eq!(pbx.command(Command::Bans), Reply::Bans(Vec::new()));
    assert_eq!(try_register(&mut pbx, &right).and_then(|answer| answer.status()), Some(200), "at once");
}

#[test]
fn an_administrator_lifts_a_ban() {
    let mut pbx = TestSwitch::open();
    let right = pbx.phone("1001").at("10.0.0.66:5060");
    let wrong = Phone { password: "mistyped".into(), ..right.clone() };
    (0..11).for_each(|_| drop(try_register(&mut pbx, &wrong)));
    assert!(try_register(&mut pbx, &right).is_none(), "it is banned");
    let lift = |source: &str, account: Option<&str>| Command::LiftBans {
        source: source.parse().unwrap(),
        account: account.map(str::to_owned),
    };
    assert_eq!(pbx.command(lift("10.0.0.67", None)), Reply::Bans(Vec::new()));
    assert_eq!(pbx.command(lift("10.0.0.66", Some("else"))), Reply::Bans(Vec::new()));
    let Reply::Bans(lifted) = pbx.command(lift("10.0.0.66", None)) else { panic!("no list") };
    assert_eq!(lifted.len(), 1);
    assert_eq!(try_register(&mut pbx, &right).and_then(|answer| answer.status()), Some(200));
}

#[test]
fn unknown_users_get_the_same_responses_as_known_ones() {
    let mut pbx = TestSwitch::open();
    let shape = |message: &Message| {
        let names = message.all_headers().map(|(name, _)| String::from_utf8_lossy(name).into_owned());
        (message.status(), names.collect::<Vec<_>>())
    };
    let known = Phone { password: "guess".into(), ..pbx.phone("1001") };
    let unknown = Phone { user: "ghost".into(), login: "ghost".into(), ..known.at("10.0.0.67:5060") };
    let (a, b) = (try_register(&mut pbx, &known).unwrap(), try_register(&mut pbx, &unknown).unwrap());
    assert_eq!(shape(&a), shape(&b)); // security.md row 2
    assert_eq!(a.status(), Some(401));
}

#[test]
fn a_nonce_is_valid_once_and_for_a_minute() {
    let mut pbx = TestSwitch::open();
    let phone = pbx.phone("1001");
    let (to, lines) = ("<sip:phone1001@localhost>", format!("Contact: {}\r\n", phone.contact()));
    let text = pbx.request(&phone, "REGISTER", "sip:localhost", to, &lines);
    pbx.send_from(phone.address, text);
    let challenge = pbx.last(&phone);
    let authorization = pbx.authorization(&phone, &challenge, "REGISTER", "sip:localhost");
    for (wait, status) in [(0, 200), (0, 401)] {
        pbx.advance(Duration::from_secs(wait));
        let text = pbx.request(&phone, "REGISTER", "sip:localhost", to, &format!("{authorization}{lines}"));
        pbx.send_from(phone.address, text);
        assert_eq!(pbx.last(&phone).status(), Some(status));
    }
    let text = pbx.request(&phone, "REGISTER", "sip:localhost", to, &lines);
    pbx.send_from(phone.address, text);
    let challenge = pbx.last(&phone);
    let authorization = pbx.authorization(&phone, &challenge, "REGISTER", "sip:localhost");
    pbx.advance(Duration::from_secs(120));
    let text = pbx.request(&phone, "REGISTER", "sip:localhost", to, &format!("{authorization}{lines}"));
    pbx.send_from(phone.address, text);
    let stale = pbx.last(&phone);
    assert!(stale.header(HeaderName::WwwAuthenticate).unwrap().contains("stale=true")); // RFC 7616 §3.3
    assert_eq!(pbx.status().counters.wrong_passwords, 0, "the password was right");
}

#[test]
fn unauthenticated_requests_leave_no_state() {
    let mut pbx = TestSwitch::open();
    let unknown_peer = pbx.phone("1001").at("10.0.0.66:5060");
    for method in ["REGISTER", "INVITE", "OPTIONS", "SUBSCRIBE", "MESSAGE", "BYE", "ACK", "CANCEL"] {
        let text = pbx.request(&unknown_peer, method, "sip:1002@localhost", "<sip:1002@localhost>", "");
        pbx.send_from(unknown_peer.address, text);
    }
    assert_eq!(pbx.summary(&unknown_peer), "401 401 200 401 401 481 481");
    assert_eq!((pbx.switch.counts(), pbx.switch.deadline()), ([0; 4], None));
}

#[test]
fn unsupported_methods_are_challenged_first_and_then_rejected() {
    let mut pbx = TestSwitch::open();
    let phone = pbx.phone("1001");
    for (method, status) in [
        ("MESSAGE", 405),
        ("REFER", 405),
        ("SUBSCRIBE", 489),
        ("PUBLISH", 489),
        ("NOTIFY", 481),
        ("JUGGLE", 501),
    ] {
        for unknown_peer in [true, false] {
            let (uri, to) = ("sip:1002@localhost", "<sip:1002@localhost>");
            let text = pbx.request(&phone, method, uri, to, "Event: presence\r\n");
            pbx.send_from(phone.address, text);
            let challenge = pbx.last(&phone);
            assert_eq!(challenge.status(), Some(401), "{method}"); // security.md row 14
            assert!(challenge.header(HeaderName::Allow).is_none(), "a stranger learns nothing");
            if !unknown_peer {
                let authorization = pbx.authorization(&phone, &challenge, method, uri);
                let text =
                    pbx.request(&phone, method, uri, to, &format!("{authorization}Event: presence\r\n"));
                pbx.send_from(phone.address, text.clone());
                let rejection = pbx.last(&phone);
                assert_eq!(rejection.status(), Some(status), "{method}");
                assert_eq!(
                    rejection.header(HeaderName::Allow).is_some(),
                    matches!(status, 405 | 501),
                    "{method}"
                );
                let reason = rejection.header(HeaderName::Reason).unwrap_or_default();
                assert!(reason.starts_with(&format!("SIP;cause={status};text=\"")), "{method}: {reason}");
                pbx.send_from(phone.address, text);
                assert_eq!(
                    pbx.last(&phone).bytes(),
                    rejection.bytes(),
                    "a retransmission gets the same response"
                );
            }
        }
    }
    assert_eq!(pbx.switch.counts(), [0; 4]);
}

#[test]
fn options_lists_only_what_is_supported() {
    let mut pbx = TestSwitch::open();
    let phone = pbx.phone("1001");
    let text = pbx.request(&phone, "OPTIONS", "sip:localhost", "<sip:localhost>", "");
    pbx.send_from(phone.address, text);
    // Only the instance rule of RFC 5626 is implemented, not flow keep-alive and failover, so `outbound` is not advertised.
    assert_eq!(pbx.last(&phone).header(HeaderName::Supported), Some("100rel, timer, path"));
}
