//! Attacks on the registrar: foreign bindings, targets of contacts, and the space that bindings take.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use e2e::raw::{LIMIT, Raw};
use e2e::{Extension, Server};

/// Number of contacts that the server reports for an extension.
fn bindings(raw: &mut Raw) -> usize {
    let to = format!("<sip:{}@localhost>", raw.user);
    let answer = raw.register_with(&to, "");
    assert_eq!(answer.status(), Some(200), "{}", answer.text);
    answer.headers("Contact").count()
}

fn registered(server: &Server, extension: &Extension) -> bool {
    let path = format!("/api/v1/voip/extensions/{}", extension.id);
    server.http(Some(&extension.key)).get(&path).expect(200)["extension"]["registered"] == true
}

/// Every character as `%xx`.
fn escaped(user: &str) -> String {
    user.bytes().map(|byte| format!("%{byte:02x}")).collect::<Vec<_>>().concat()
}

#[test]
fn no_user_can_change_bindings_of_another_in_any_spelling_of_the_address() {
    // security.md row 6
    let server = Server::start();
    let (alice, bob) = (server.extension("1001"), server.extension("1002"));
    let mut attacker = Raw::new(&server, &alice);
    let (a, b) = (&alice.username, &bob.username);
    for to in [
        format!("<sip:{b}@localhost>"),
        format!("<sip:{}@localhost>", escaped(b)),
        format!("<sip:{}@LOCALHOST>", bob.number),
        format!("\"sip:{a}@localhost\" <sip:{b}@localhost>"),
        format!("sip:{b}@localhost;tag=x"),
        format!("<sips:{b}@localhost>"),
        format!("<tel:{}>", bob.number),
        "<sip:localhost>".to_owned(),
        format!("<sip:{a}@elsewhere.example>"),
        format!("<sip:{a}%00@localhost>"),
        format!("<sip:{a}:{b}@elsewhere.example>"),
        format!("<sip:{}@localhost>", a.to_uppercase()),
    ] {
        let contact = format!("Contact: <sip:thief@{}>\r\n", attacker.local());
        let answer = attacker.register_with(&to, &contact);
        let status = answer.status().unwrap_or_default();
        assert!((400..500).contains(&status), "{to}: {}", answer.text);
        assert!(!registered(&server, &bob), "{to}");
    }
    assert_eq!(bindings(&mut attacker), 0);
    let mut phone = Raw::new(&server, &bob);
    phone.register();
    let answer = attacker.register_with(&format!("<sip:{b}@localhost>"), "Contact: *\r\nExpires: 0\r\n");
    assert_eq!(answer.status(), Some(403), "{}", answer.text);
    let contact = format!("Contact: <sip:{b}@{}>;expires=0\r\n", phone.local());
    let answer = attacker.register_with(&format!("<sip:{b}@localhost>"), &contact);
    assert_eq!(answer.status(), Some(403), "{}", answer.text);
    assert!(registered(&server, &bob));
    // The wildcard of the own account does not touch other accounts.
    let answer = attacker.register_with(&format!("<sip:{a}@localhost>"), "Contact: *\r\nExpires: 0\r\n");
    assert_eq!(answer.status(), Some(200), "{}", answer.text);
    assert!(registered(&server, &bob));
}

#[test]
fn the_own_address_may_be_escaped_or_a_number_and_is_the_same() {
    // security.md row 6, S39
    let server = Server::start();
    let alice = server.extension("1001");
    let mut phone = Raw::new(&server, &alice);
    let contact = format!("Contact: <sip:{}@{}>\r\n", alice.username, phone.local());
    for to in [
        format!("<sip:{}@localhost>", escaped(&alice.username)),
        format!("<sip:{}@localhost>", alice.number),
        format!("<sip:{}@127.0.0.1>", escaped(&alice.number)),
    ] {
        let answer = phone.register_with(&to, &contact);
        assert_eq!(answer.status(), Some(200), "{to}: {}", answer.text);
        assert_eq!(answer.headers("Contact").count(), 1, "{}", answer.text);
    }
}

#[test]
fn an_address_has_ten_contacts_at_most() {
    // security.md row 6
    let server = Server::start();
    let alice = server.extension("1001");
    let mut phone = Raw::new(&server, &alice);
    let to = format!("<sip:{}@localhost>", alice.username);
    let many: String = (0..60).map(|n| format!("Contact: <sip:a@127.0.0.1:{}>\r\n", 20_000 + n)).collect();
    let answer = phone.register_with(&to, &many);
    assert!(matches!(answer.status(), Some(400..=499)), "{}", answer.text);
    assert_eq!(bindings(&mut phone), 0, "all or nothing");
    let list: Vec<String> = (0..60).map(|n| format!("<sip:a@127.0.0.1:{}>", 20_000 + n)).collect();
    let answer = phone.register_with(&to, &format!("Contact: {}\r\n", list.join(", ")));
    assert!(matches!(answer.status(), Some(400..=499)), "{}", answer.text);
    for n in 0..60 {
        let contact = format!("Contact: <sip:a@127.0.0.1:{}>\r\n", 20_000 + n);
        let status = phone.register_with(&to, &contact).status();
        assert_eq!(status, Some(if n < 10 { 200 } else { 403 }), "contact {n}");
    }
    assert_eq!(bindings(&mut phone), 10);
}

#[test]
fn a_contact_must_be_a_unicast_host_other_than_the_server() {
    // security.md row 6
    let server = Server::start();
    let alice = server.extension("1001");
    let mut phone = Raw::new(&server, &alice);
    let to = format!("<sip:{}@localhost>", alice.username);
    let ours = server.sip();
    for contact in [
        "sip:a@224.0.0.1".to_owned(),
        "sip:a@239.255.255.250:1900".to_owned(),
        "sip:a@255.255.255.255".to_owned(),
        "sip:a@0.0.0.0".to_owned(),
        "sip:a@0.1.2.3".to_owned(),
        "sip:a@240.0.0.1".to_owned(),
        "sip:a@[ff02::1]".to_owned(),
        "sip:a@[::]".to_owned(),
        "sip:a@[::ffff:224.0.0.1]".to_owned(),
        "sip:a@[::ffff:0.0.0.0]".to_owned(),
        "sip:a@127.0.0.1;maddr=224.0.0.1".to_owned(),
        "http://127.0.0.1/".to_owned(),
        "https://example.com/".to_owned(),
        "tel:+15551234".to_owned(),
        "mailto:a@example.com".to_owned(),
        "file:///etc/passwd".to_owned(),
        "sip:".to_owned(),
        "sip:@".to_owned(),
        format!("sip:a@{ours}"),
        format!("sip:a@{ours};transport=tcp"),
        format!("sip:a@localhost:{}", ours.port()),
        "sip:a@127.0.0.1:5\r\n0".to_owned(),
    ] {
        let answer = phone.register_with(&to, &format!("Contact: <{contact}>\r\n"));
        assert!(matches!(answer.status(), Some(400..=499)), "{contact}: {}", answer.text);
    }
    assert_eq!(bindings(&mut phone), 0);
}

#[test]
fn a_contact_cannot_inject_headers_into_calls_to_it() {
    // security.md rows 6 and 26
    let server = Server::start();
    let (alice, bob) = (server.extension("1001"), server.extension("1002"));
    let (mut caller, mut phone) = (Raw::new(&server, &alice), Raw::new(&server, &bob));
    caller.register();
    let to = format!("<sip:{}@localhost>", bob.username);
    let local = phone.local();
    for tail in [
        "?Route=%3Csip:127.0.0.1:9%3E&X-Evil=1",
        "?body=v%3D0",
        ";method=BYE",
        ";x=%0d%0aX-Evil:%201",
        ";maddr=127.0.0.1?X-Evil=1",
    ] {
        let wipe = phone.register_with(&to, "Contact: *\r\nExpires: 0\r\n");
        assert_eq!(wipe.status(), Some(200), "{}", wipe.text);
        let answer = phone.register_with(&to, &format!("Contact: <sip:{}@{local}{tail}>\r\n", bob.username));
        if answer.status() != Some(200) {
            assert!(matches!(answer.status(), Some(400..=499)), "{tail}: {}", answer.text);
            continue;
        }
        let body = caller.sdp();
        let dialling = caller.invite(&bob.number, "", &body);
        caller.send(dialling.text.as_bytes());
        let invite = phone.expect_request("INVITE");
        assert!(!invite.text.contains('?') && invite.headers("X-Evil").next().is_none(), "{}", invite.text);
        assert!(invite.header("Route").is_none(), "{}", invite.text);
        phone.answer(&invite, 486, "", "");
        phone.expect_request("ACK");
        let refused = caller.expect_final("INVITE");
        caller.ack_error(&dialling.text, &refused);
    }
}

#[test]
fn a_contact_with_a_foreign_address_gets_no_traffic_there() {
    // security.md row 12: calls go to the address from which a phone registered, so a Contact cannot aim them at others.
    let server = Server::start();
    let (alice, bob) = (server.extension("1001"), server.extension("1002"));
    let (mut caller, mut phone) = (Raw::new(&server, &alice), Raw::new(&server, &bob));
    let trap = Raw::at(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 7)), server.sip(), "trap", "");
    let to = format!("<sip:{}@localhost>", bob.username);
    let answer = phone.register_with(&to, &format!("Contact: <sip:x@{}>\r\n", trap.local()));
    assert_eq!(answer.status(), Some(200), "{}", answer.text);
    let body = caller.sdp();
    let dialling = caller.invite(&bob.number, "", &body);
    caller.send(dialling.text.as_bytes());
    let invite = phone.expect_request("INVITE");
    phone.answer(&invite, 180, &format!("Contact: <sip:x@{}>\r\n", trap.local()), "");
    let local = phone.local();
    // The 200 has the foreign address too; ACK and BYE still go to the phone.
    let text = format!("Contact: <sip:x@{}>\r\n", trap.local());
    phone.answer(&invite, 200, &text, &phone.sdp());
    let ok = caller.expect_final("INVITE");
    let mut side = caller.send_ack(&dialling, &ok);
    phone.expect_request("ACK");
    caller.hang_up(&mut side);
    let bye = phone.expect_request("BYE");
    phone.answer(&bye, 200, "", "");
    assert_eq!(phone.local(), local);
    assert!(trap.receive(Duration::from_millis(1)).is_none(), "the trap heard something");
}

#[test]
fn responses_go_to_the_source_and_never_to_the_address_in_a_header() {
    // security.md row 12
    let server = Server::start();
    let mut raw = Raw::at(IpAddr::V4(Ipv4Addr::LOCALHOST), server.sip(), "x", "");
    let trap = Raw::at(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 8)), server.sip(), "trap", "");
    let there = trap.local();
    for via in [
        format!("SIP/2.0/UDP {there};branch=z9hG4bKa;rport"),
        format!("SIP/2.0/UDP {there};branch=z9hG4bKb;received={};rport={}", there.ip(), there.port()),
        format!("SIP/2.0/UDP {there};maddr={};branch=z9hG4bKc;rport", there.ip()),
        format!("SIP/2.0/UDP 127.0.0.1:{};maddr={};branch=z9hG4bKd", raw.local().port(), there.ip()),
        format!("SIP/2.0/UDP 127.0.0.1:{};received={};branch=z9hG4bKe", raw.local().port(), there.ip()),
        format!("SIP/2.0/TCP {there};branch=z9hG4bKf;rport"),
    ] {
        for (n, method) in
            ["OPTIONS", "REGISTER", "INVITE", "MESSAGE", "BYE", "PHONY"].into_iter().enumerate()
        {
            let id = raw.fresh();
            let text = format!(
                "{method} sip:localhost SIP/2.0\r\nVia: {}\r\nMax-Forwards: 70\r\nFrom: <sip:x@{there}>;tag=1\r\n\
                 To: <sip:x@{there}>\r\nCall-ID: {id}\r\nCSeq: 1 {method}\r\nContact: <sip:x@{there}>\r\n\
                 Route: <sip:{there};lr>\r\nRecord-Route: <sip:{there};lr>\r\nContent-Length: 0\r\n\r\n",
                via.replace("bK", &format!("bK{n}"))
            );
            raw.send(text.as_bytes());
            let answer = raw.receive(LIMIT).unwrap_or_else(|| panic!("no answer to\n{text}"));
            assert_eq!(answer.header("Call-ID"), Some(id.as_str()), "{}", answer.text);
        }
    }
    assert!(trap.receive(Duration::from_millis(1)).is_none(), "the trap heard something");
}
