//! Attacks on dialogs of other users: by unauthenticated peers and by misbehaving phones.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use e2e::Server;
use e2e::raw::{DialogSide, LIMIT, Raw, body_of, rtp_address};
use e2e::wire::Message;

/// Two registered phones.
fn phones(server: &Server) -> (Raw, Raw) {
    let (alice, bob) = (server.extension("1001"), server.extension("1002"));
    let (mut a, mut b) = (Raw::new(server, &alice), Raw::new(server, &bob));
    a.register();
    b.register();
    (a, b)
}

fn unknown_peer(server: &Server, last: u8) -> Raw {
    Raw::at(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), server.sip(), "stranger", "")
}

/// The same header with another tag.
fn retagged(line: &str, tag: &str) -> String {
    format!("{};tag={tag}", line.split(";tag=").next().unwrap_or_default())
}

fn untagged(line: &str) -> String {
    line.split(";tag=").next().unwrap_or_default().to_owned()
}

fn status_of(raw: &mut Raw, method: &str, side: &DialogSide, more: &str, body: &str) -> Option<u16> {
    let mut side = DialogSide { cseq: side.cseq + 50, ..side.clone() };
    let text = raw.in_dialog_request(&mut side, method, more, body);
    raw.exchange(&text).and_then(|answer| answer.status())
}

#[test]
fn requests_with_partly_right_tags_neither_end_nor_change_a_call() {
    let server = Server::start();
    let (mut a, mut b) = phones(&server);
    let mut up = a.call(&b);
    let mut attacker = unknown_peer(&server, 1);
    let side = up.caller.clone();
    let wrong = [
        DialogSide { local: retagged(&side.local, "guess"), ..side.clone() },
        DialogSide { remote: retagged(&side.remote, "guess"), ..side.clone() },
        DialogSide { local: untagged(&side.local), ..side.clone() },
        DialogSide { call_id: "guess".to_owned(), ..side.clone() },
        DialogSide { local: side.remote.clone(), remote: side.local.clone(), ..side.clone() },
        DialogSide { remote: up.callee.remote.clone(), ..side.clone() },
        DialogSide { local: up.callee.local.clone(), ..side.clone() },
    ];
    let sdp = a.sdp();
    let kind = "Content-Type: application/sdp\r\n";
    for (n, wrong) in wrong.iter().enumerate() {
        for (method, body) in
            [("BYE", ""), ("INVITE", sdp.as_str()), ("UPDATE", sdp.as_str()), ("INFO", ""), ("PRACK", "")]
        {
            let more = if body.is_empty() { "" } else { kind };
            for source in [&mut attacker, &mut a] {
                let status = status_of(source, method, wrong, more, body);
                // A request without a From tag may be rejected as malformed.
                assert!(matches!(status, Some(400 | 401 | 481)), "{method} with wrong parts {n}: {status:?}");
            }
        }
    }
    // Without a To tag it is a new call, which is challenged.
    let fresh = DialogSide { remote: untagged(&side.remote), ..side.clone() };
    assert_eq!(status_of(&mut attacker, "INVITE", &fresh, kind, &sdp), Some(401));
    assert_eq!(status_of(&mut attacker, "BYE", &fresh, "", ""), Some(481));
    a.still_up(&mut up.caller);
    b.still_up(&mut up.callee);
    a.hang_up(&mut up.caller);
}

#[test]
fn requests_with_right_tags_from_another_host_are_challenged() {
    let server = Server::start();
    let (mut a, mut b) = phones(&server);
    let mut up = a.call(&b);
    let mut attacker = unknown_peer(&server, 11);
    let sdp = attacker.sdp();
    let kind = "Content-Type: application/sdp\r\n";
    for side in [&up.caller, &up.callee] {
        for (method, more, body) in [
            ("INVITE", kind, sdp.as_str()),
            ("UPDATE", kind, sdp.as_str()),
            ("INFO", "", ""),
            ("BYE", "", ""),
        ] {
            let status = status_of(&mut attacker, method, side, more, body);
            assert!(matches!(status, Some(401 | 403 | 481)), "{method} from another host: {status:?}");
        }
    }
    // The signalling does not move to its address either.
    a.drain();
    b.drain();
    a.still_up(&mut up.caller);
    b.still_up(&mut up.callee);
    // A phone that has really moved authenticates, and the call continues.
    let mut moved = Raw::at(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 12)), server.sip(), &a.user, &a.password);
    let body = moved.sdp();
    let first = moved.in_dialog_request(&mut up.caller, "INVITE", kind, &body);
    let refusal = moved.exchange(&first).expect("an answer");
    assert_eq!(refusal.status(), Some(401), "{}", refusal.text);
    moved.ack_error(&first, &refusal);
    let challenge =
        refusal.header("WWW-Authenticate").and_then(e2e::wire::Challenge::parse).expect("a challenge");
    let value = challenge.answer(&moved.user, &moved.password, "INVITE", &up.caller.target, 1);
    let more = format!("{kind}Authorization: {value}\r\n");
    let second = moved.in_dialog_request(&mut up.caller, "INVITE", &more, &body);
    let ok = moved.exchange(&second).expect("an answer");
    assert_eq!(ok.status(), Some(200), "{}", ok.text);
    let DialogSide { call_id, local, remote, target, cseq, .. } = up.caller.clone();
    let ack = moved.request("ACK", &target, &local, &remote, &call_id, cseq, "", "");
    moved.send(ack.as_bytes());
    b.hang_up(&mut up.callee);
    let bye = moved.expect_request("BYE");
    moved.answer(&bye, 200, "", "");
    // But it cannot authenticate for the other phone.
    let mut up = a.call(&b);
    let (user, password) = (b.user.clone(), b.password.clone());
    let mut other = Raw::at(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 13)), server.sip(), &user, &password);
    let first = other.in_dialog_request(&mut up.caller.clone(), "BYE", "", "");
    let refusal = other.exchange(&first).expect("an answer");
    let challenge =
        refusal.header("WWW-Authenticate").and_then(e2e::wire::Challenge::parse).expect("a challenge");
    let value = challenge.answer(&user, &password, "BYE", &up.caller.target, 1);
    let mut later = DialogSide { cseq: up.caller.cseq + 5, ..up.caller.clone() };
    let second = other.in_dialog_request(&mut later, "BYE", &format!("Authorization: {value}\r\n"), "");
    assert!(matches!(other.exchange(&second).and_then(|a| a.status()), Some(403 | 481)));
    a.still_up(&mut up.caller);
    a.hang_up(&mut up.caller);
}

#[test]
fn unknown_peers_cannot_cancel_or_acknowledge_other_calls() {
    let server = Server::start();
    let (mut a, b) = phones(&server);
    let body = a.sdp();
    let dialling = a.invite(&b.number.clone(), "", &body);
    a.send(dialling.text.as_bytes());
    let invite = b.expect_request("INVITE");
    b.answer(&invite, 180, "", "");
    let asked = Message { text: dialling.text.clone() };
    let via = asked.header("Via").expect("a Via").to_owned();
    let cancel = |via: &str, cseq: &str| {
        format!(
            "CANCEL {} SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: <{}>\r\nCall-ID: {}\r\nCSeq: {cseq} CANCEL\r\n\
             Content-Length: 0\r\n\r\n",
            dialling.uri, dialling.from, dialling.uri, dialling.call_id
        )
    };
    // A wrong branch, from the caller itself and from another host; then all parts right, but from another host.
    let wrong = via.replace("branch=z9hG4bK", "branch=z9hG4bKno");
    let no_branch = via.replace("branch=z9hG4bK", "x=");
    for (text, attacker) in [
        (cancel(&wrong, "2"), unknown_peer(&server, 1)),
        (cancel(&no_branch, "2"), unknown_peer(&server, 1)),
        (cancel(&wrong.replace(&a.local().port().to_string(), "1"), "2"), unknown_peer(&server, 1)),
        (cancel(&via, "2"), unknown_peer(&server, 14)),
    ] {
        attacker.send(text.as_bytes());
        let answer = attacker.receive(LIMIT).expect("an answer to CANCEL");
        assert!(matches!(answer.status(), Some(400 | 481)), "{text}\n{}", answer.text);
    }
    a.send(cancel(&wrong, "2").as_bytes());
    assert_eq!(a.expect_final("CANCEL").status(), Some(481));
    // The phone still rings, and the call is established.
    b.answer(&invite, 200, "", &b.sdp());
    let ok = a.expect_final("INVITE");
    assert_eq!(ok.status(), Some(200), "{}", ok.text);
    // Thousands of ACKs, from unknown peers and from other users, neither confirm the call nor disturb it.
    let attacker = unknown_peer(&server, 14);
    for n in 0..2_000 {
        let tag = if n % 2 == 0 { "guess".to_owned() } else { format!("{n}") };
        let text = format!(
            "ACK {} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.14:9;branch=z9hG4bKf{n};rport\r\nMax-Forwards: 70\r\nFrom: {}\r\n\
             To: <{}>;tag={tag}\r\nCall-ID: {}\r\nCSeq: {n} ACK\r\nContent-Length: 0\r\n\r\n",
            dialling.uri, dialling.from, dialling.uri, dialling.call_id
        );
        attacker.send(text.as_bytes());
    }
    let mut side = a.send_ack(&dialling, &ok);
    b.expect_request("ACK");
    assert!(attacker.drain().is_empty(), "an ACK is never answered");
    a.still_up(&mut side);
    a.hang_up(&mut side);
}

#[test]
fn an_invite_with_the_identifiers_of_another_call_is_a_call_of_its_own() {
    let server = Server::start();
    let (mut a, mut b) = phones(&server);
    let carol = server.extension("1003");
    let mut c = Raw::new(&server, &carol);
    let mut up = a.call(&b);
    // The same Call-ID and From tag with other credentials.
    let DialogSide { call_id, local, .. } = up.caller.clone();
    let (uri, number) = (format!("sip:{}@localhost", b.number), b.number.clone());
    let contact = format!("Contact: <sip:c@{}>\r\n", c.local());
    let first = c.request("INVITE", &uri, &local, &format!("<{uri}>"), &call_id, 7, &contact, "");
    let refusal = c.exchange(&first).expect("an answer");
    assert_eq!(refusal.status(), Some(401), "{}", refusal.text);
    c.ack_error(&first, &refusal);
    let challenge =
        refusal.header("WWW-Authenticate").and_then(e2e::wire::Challenge::parse).expect("a challenge");
    let value = challenge.answer(&c.user, &c.password, "INVITE", &uri, 1);
    let more = format!("{contact}Authorization: {value}\r\nContent-Type: application/sdp\r\n");
    let body = c.sdp();
    let text =
        c.request("INVITE", &uri, &local, &format!("<sip:{number}@localhost>"), &call_id, 8, &more, &body);
    c.send(text.as_bytes());
    let invite = b.expect_request("INVITE");
    // Whatever its From says, the callee sees the authenticated user.
    let from = invite.header("From").expect("a From");
    assert!(from.contains("1003") && !from.contains(&a.user), "{from}");
    assert_ne!(invite.header("Call-ID"), Some(up.callee.call_id.as_str()));
    b.answer(&invite, 486, "", "");
    let refused = c.expect_final("INVITE");
    assert_eq!(refused.status(), Some(486), "{}", refused.text);
    c.ack_error(&text, &refused);
    b.drain();
    a.still_up(&mut up.caller);
    b.still_up(&mut up.callee);
    a.hang_up(&mut up.caller);
}

#[test]
fn a_phone_that_challenges_us_gets_no_credentials() {
    // security.md row 5
    let server = Server::start();
    let (mut a, b) = phones(&server);
    for (status, asks) in [
        (401, "WWW-Authenticate: Digest realm=\"localhost\", nonce=\"abc\", qop=\"auth\", algorithm=MD5\r\n"),
        (407, "Proxy-Authenticate: Digest realm=\"localhost\", nonce=\"abc\"\r\n"),
        (401, "WWW-Authenticate: Basic realm=\"localhost\"\r\n"),
    ] {
        let body = a.sdp();
        let dialling = a.invite(&b.number.clone(), "", &body);
        a.send(dialling.text.as_bytes());
        let invite = b.expect_request("INVITE");
        assert!(invite.header("Authorization").is_none(), "{}", invite.text);
        b.answer(&invite, status, asks, "");
        b.expect_request("ACK");
        let refused = a.expect_final("INVITE");
        a.ack_error(&dialling.text, &refused);
        let after = b.drain();
        assert!(after.iter().all(|m| m.method() == Some("ACK")), "no second try: {after:#?}");
        // If we forwarded a challenge, the caller's phone would compute a response for the callee.
        assert!(
            !refused.text.contains("Authenticate") && !matches!(refused.status(), Some(401 | 407)),
            "{}",
            refused.text
        );
    }
    // The same for our BYE.
    let mut up = a.call(&b);
    a.hang_up(&mut up.caller);
    let bye = b.expect_request("BYE");
    b.answer(&bye, 407, "Proxy-Authenticate: Digest realm=\"localhost\", nonce=\"abc\"\r\n", "");
    let again = unknown_peer(&server, 1);
    assert!(e2e::wire::alive(again.server));
    let after = b.drain();
    assert!(!after.iter().any(|m| m.text.contains("uthorization:")), "{after:#?}");
}

#[test]
fn no_request_is_relayed() {
    // security.md row 8
    let server = Server::start();
    let (mut a, b) = phones(&server);
    let trap = unknown_peer(&server, 15);
    let there = trap.local();
    let mut attacker = unknown_peer(&server, 1);
    for method in ["INVITE", "OPTIONS", "MESSAGE", "BYE", "REGISTER", "SUBSCRIBE", "ACK", "CANCEL", "NOTIFY"]
    {
        for (uri, route) in [
            (format!("sip:x@{there}"), String::new()),
            ("sip:x@localhost".to_owned(), format!("Route: <sip:{there};lr>\r\n")),
            (format!("sip:x@{there}"), format!("Route: <sip:{};lr>, <sip:{there};lr>\r\n", server.sip())),
            (format!("sip:{}@localhost;maddr={}", b.number, there.ip()), String::new()),
        ] {
            let (from, id) = (attacker.from_line(), attacker.fresh());
            let text = attacker.request(method, &uri, &from, &format!("<{uri}>"), &id, 1, &route, "");
            attacker.send(text.as_bytes());
        }
    }
    // Nor for authenticated users: a preloaded Route is ignored, and a foreign domain is rejected.
    let sdp = a.sdp();
    let kind = "Content-Type: application/sdp\r\n";
    for uri in [
        format!("sip:{}@{there}", b.number),
        format!("sip:x@{there}"),
        "sip:1002@elsewhere.example".to_owned(),
    ] {
        let contact = format!("Contact: <sip:a@{}>\r\n{kind}", a.local());
        let answer = a.ask("INVITE", &uri, &format!("<{uri}>"), &contact, &sdp);
        assert!(matches!(answer.status(), Some(403 | 404)), "{uri}: {}", answer.text);
    }
    let route = format!("Route: <sip:{there};lr>\r\nRecord-Route: <sip:{there};lr>\r\n");
    let dialling = a.invite(&b.number.clone(), &route, &sdp);
    a.send(dialling.text.as_bytes());
    let invite = b.expect_request("INVITE");
    assert!(!invite.text.contains(&there.to_string()), "{}", invite.text);
    // The callee's Contact does the same: our ACK and BYE still go to its own address.
    b.answer(&invite, 200, &format!("Record-Route: <sip:{there};lr>\r\n"), &b.sdp());
    let ok = a.expect_final("INVITE");
    let side = a.send_ack(&dialling, &ok);
    b.expect_request("ACK");
    let calls = server.calls();
    let id = calls[0]["sessionId"].as_str().expect("an id");
    server.admin().post(&format!("/api/v1/opensips/call/{id}/end"), &serde_json::json!({})).expect(200);
    for phone in [&a, &b] {
        let bye = phone.expect_request("BYE");
        phone.answer(&bye, 200, "", "");
    }
    drop(side);
    assert!(trap.receive(Duration::from_millis(1)).is_none(), "the trap heard something");
}

#[test]
fn the_caller_id_is_the_authenticated_user() {
    // security.md row 30
    let server = Server::start();
    let (mut a, b) = phones(&server);
    let body = a.sdp();
    let spoofed = "P-Asserted-Identity: <sip:+15550100199@localhost>\r\nP-Preferred-Identity: <sip:mallory@localhost>\r\n\
                   Remote-Party-ID: <sip:mallory@localhost>;party=calling\r\nDiversion: <sip:mallory@localhost>\r\n\
                   History-Info: <sip:mallory@localhost>;index=1\r\nX-Evil: mallory\r\nPrivacy: none\r\nIdentity: mallory\r\n\
                   Call-Info: <http://mallory/>;purpose=icon\r\nAlert-Info: <http://mallory/>\r\nSubject: mallory\r\n\
                   Referred-By: <sip:mallory@localhost>\r\nReplaces: mallory;to-tag=1;from-tag=2\r\nOrganization: mallory\r\n\
                   User-Agent: mallory\r\nReply-To: <sip:mallory@localhost>\r\nGeolocation: <cid:mallory>\r\n";
    let mut dialling = a.invite(&b.number.clone(), spoofed, &body);
    dialling.text = dialling.text.replacen("From: <sip:", "From: \"mallory\" <sip:", 1);
    a.send(dialling.text.as_bytes());
    let invite = b.expect_request("INVITE");
    assert!(!invite.text.contains("mallory") && !invite.text.contains("15550100199"), "{}", invite.text);
    let from = invite.header("From").expect("a From");
    assert!(from.contains("sip:1001@"), "{from}");
    // The callee's header values in its rejection are not forwarded either.
    b.answer(
        &invite,
        486,
        "X-Evil: 1\r\nWarning: 399 evil \"x\"\r\nError-Info: <http://evil/>\r\nContact: <sip:evil@evil>\r\n",
        "",
    );
    let refused = a.expect_final("INVITE");
    assert!(!refused.text.contains("evil") && !refused.text.contains("X-Evil"), "{}", refused.text);
    a.ack_error(&dialling.text, &refused);
    // From of another account, with the own password.
    let uri = format!("sip:{}@localhost", b.number);
    let (from, id) = (format!("\"Bob\" <sip:{}@localhost>;tag=1", b.user), a.fresh());
    let contact = format!("Contact: <sip:x@{}>\r\n", a.local());
    let first = a.request("INVITE", &uri, &from, &format!("<{uri}>"), &id, 1, &contact, "");
    let refusal = a.exchange(&first).expect("a challenge");
    a.ack_error(&first, &refusal);
    let challenge =
        refusal.header("WWW-Authenticate").and_then(e2e::wire::Challenge::parse).expect("a challenge");
    let value = challenge.answer(&a.user, &a.password, "INVITE", &uri, 1);
    let more = format!("{contact}Authorization: {value}\r\nContent-Type: application/sdp\r\n");
    let text = a.request("INVITE", &uri, &from, &format!("<{uri}>"), &id, 2, &more, &body);
    a.send(text.as_bytes());
    let invite = b.expect_request("INVITE");
    let said = invite.header("From").expect("a From");
    assert!(said.contains("sip:1001@") && !said.contains(&b.user), "{said}");
    assert!(rtp_address(&body_of(&invite)).port() > 0);
    b.answer(&invite, 486, "", "");
    let refused = a.expect_final("INVITE");
    a.ack_error(&text, &refused);
}

#[test]
fn a_replayed_register_changes_nothing() {
    // security.md row 3: the phone has unregistered; a replayed REGISTER does not restore its binding.
    let server = Server::start();
    let alice = server.extension("1001");
    let mut phone = Raw::new(&server, &alice);
    let to = format!("<sip:{}@localhost>", phone.user);
    let (from, id) = (phone.from_line(), phone.fresh());
    let challenge = phone.challenge();
    let value = challenge.answer(&phone.user, &phone.password, "REGISTER", "sip:localhost", 1);
    let more = format!("Contact: <sip:x@{}>\r\nAuthorization: {value}\r\n", phone.local());
    let text = phone.request("REGISTER", "sip:localhost", &from, &to, &id, 2, &more, "");
    assert_eq!(phone.exchange(&text).and_then(|a| a.status()), Some(200));
    let wiped = phone.register_with(&to, "Contact: *\r\nExpires: 0\r\n");
    assert_eq!((wiped.status(), wiped.headers("Contact").count()), (Some(200), 0));
    let attacker = unknown_peer(&server, 16);
    for source in [&attacker, &phone] {
        source.send(text.as_bytes());
        source.receive(LIMIT).expect("an answer");
        let path = format!("/api/v1/voip/extensions/{}", alice.id);
        let listed = server.http(Some(&alice.key)).get(&path).expect(200);
        assert_eq!(listed["extension"]["registered"], false);
    }
}

#[test]
fn an_info_forwards_digits_to_the_other_phone_and_nothing_else() {
    // security.md row 26
    let server = Server::start();
    let (mut a, mut b) = phones(&server);
    let mut up = a.call(&b);
    for (kind, body) in [
        ("text/html", "<script>alert(1)</script>"),
        ("application/dtmf-relay", "Signal=5\0\r\nDuration=160\r\n"),
        ("application/dtmf-relay\u{1}", "Signal=5\r\n"),
        ("multipart/mixed;boundary=x", "--x--"),
        ("application/sdp", "v=0\r\n"),
        ("message/sipfrag", "SIP/2.0 200 OK\r\n"),
        ("application/dtmf", &"5".repeat(5_000)),
    ] {
        let text = a.in_dialog_request(&mut up.caller, "INFO", &format!("Content-Type: {kind}\r\n"), body);
        let answer = a.exchange(&text).expect("an answer");
        assert!(matches!(answer.status(), Some(200 | 400 | 415)), "{kind}: {}", answer.text);
    }
    let digit = "Signal=5\r\nDuration=160\r\n";
    let text = a.in_dialog_request(&mut up.caller, "INFO", "Content-Type: application/dtmf-relay\r\n", digit);
    assert_eq!(a.exchange(&text).and_then(|answer| answer.status()), Some(200));
    let info = b.expect_request("INFO");
    assert_eq!(
        (info.header("Content-Type"), body_of(&info).as_str()),
        (Some("application/dtmf-relay"), digit)
    );
    b.answer(&info, 200, "", "");
    assert!(b.drain().is_empty());
    b.hang_up(&mut up.callee);
}
