//! Floods from unauthenticated sources: their cost, their effect on other users, and amplification towards a victim.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use e2e::raw::{LIMIT, Raw};
use e2e::wire::{Message, alive};
use e2e::{Server, until};
use serde_json::json;

fn unknown_peer(server: &Server, last: u8) -> Raw {
    Raw::at(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), server.sip(), "x", "")
}

/// Resident memory of the process in kilobytes.
fn resident(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("a status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).expect("a number")
}

#[test]
fn responses_to_unauthenticated_requests_amplify_at_most_threefold() {
    // security.md row 12: the shortest possible requests, in long and compact form.
    let server = Server::start();
    let raw = unknown_peer(&server, 31);
    let port = raw.local().port();
    let mut requests: Vec<Vec<u8>> = Vec::new();
    for method in [
        "OPTIONS",
        "REGISTER",
        "INVITE",
        "SUBSCRIBE",
        "PUBLISH",
        "MESSAGE",
        "NOTIFY",
        "REFER",
        "BYE",
        "CANCEL",
        "PRACK",
        "UPDATE",
        "INFO",
        "PHONY",
    ] {
        let mut forms = vec![
            format!(
                "{method} sip:a SIP/2.0\r\nv:SIP/2.0/UDP a:{port};branch=z9hG4bK{method}\r\nf:<sip:a>;tag=1\r\nt:<sip:a>\r\ni:{method}\r\nCSeq:1 {method}\r\n\r\n"
            ),
            format!(
                "{method} sip:a SIP/2.0\r\nv:SIP/2.0/UDP a:{port};rport\r\nf:sip:a\r\nt:sip:a\r\ni:2{method}\r\nCSeq:1 {method}\r\n\r\n"
            ),
            format!(
                "{method} sip:a SIP/2.0\r\nv:SIP/2.0/UDP a:{port};rport\r\nf:sip:a\r\nt:sip:a;tag=1\r\ni:3{method}\r\nCSeq:1 {method}\r\n\r\n"
            ),
            format!(
                "{method} sip:a SIP/2.0\r\nv:SIP/2.0/UDP a:{port};rport\r\nf:sip:a\r\nt:sip:a\r\ni:4{method}\r\nCSeq:1 {method}\r\nRequire:x\r\n\r\n"
            ),
            format!(
                "{method} a:a SIP/2.0\r\nv:SIP/2.0/UDP a:{port};rport\r\nf:a:a\r\nt:a:a\r\ni:5{method}\r\nCSeq:1 {method}\r\n\r\n"
            ),
            format!(
                "{method} sip:a SIP/2.0\r\nv:SIP/2.0/UDP a:{port};rport\r\nf:sip:a\r\nt:sip:a\r\ni:6{method}\r\nCSeq:1 X\r\n\r\n"
            ),
            format!(
                "{method} sip:a SIP/7.0\r\nv:SIP/2.0/UDP a:{port};rport\r\nf:sip:a\r\nt:sip:a\r\ni:7{method}\r\nCSeq:1 {method}\r\n\r\n"
            ),
            format!("{method} sip:a SIP/2.0\r\nv:SIP/2.0/UDP a:{port};rport\r\ni:8\r\n\r\n"),
            format!("{method} sip:a SIP/2.0\r\nv:SIP/2.0/UDP a:{port};rport\r\n\r\n"),
            format!("{method} sip:a SIP/2.0\r\n\r\n"),
        ];
        let record = "Record-Route:<sip:a>\r\n".repeat(20);
        forms.push(forms[0].replace("i:", &format!("{record}i:9")));
        requests.extend(forms.into_iter().map(String::into_bytes));
    }
    let mut stun = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    stun.extend([7; 12]);
    requests.push(stun);
    requests.extend([
        b"\r\n\r\n".to_vec(),
        b"\0".to_vec(),
        vec![0; 20],
        b"SIP/2.0 200 OK\r\n\r\n".to_vec(),
        vec![0xff; 100],
    ]);
    let mut worst = (0.0, String::new(), String::new());
    for request in &requests {
        raw.send(request);
        // A request behind them is answered after them.
        let marker = e2e::wire::options(&e2e::wire::Wire::udp(server.sip()), port.into());
        let marker = marker.replacen("SIP/2.0/UDP 127.0.0.1", "SIP/2.0/UDP 127.0.0.31", 1);
        raw.send(marker.as_bytes());
        let (mut size, mut said) = (0, String::new());
        loop {
            let answer = raw.receive_raw(LIMIT).expect("the marker is answered");
            let text = String::from_utf8_lossy(&answer).into_owned();
            if text.contains("alive") {
                break;
            }
            size += answer.len();
            said += &text;
        }
        let factor = size as f64 / request.len() as f64;
        if factor > worst.0 {
            worst = (factor, String::from_utf8_lossy(request).into_owned(), said);
        }
    }
    println!("the worst factor is {:.2}", worst.0);
    assert!(worst.0 <= 3.0, "{:.2} times:\n{}\n{}", worst.0, worst.1, worst.2);
}

#[test]
fn a_challenge_without_ack_is_not_retransmitted() {
    // security.md row 12: at most six times the bytes of the request, including retransmissions.
    let server = Server::start();
    let mut raw = unknown_peer(&server, 32);
    let mut sent_bytes = 0;
    for n in 0..20 {
        let (from, id) = (raw.from_line(), raw.fresh());
        let uri = format!("sip:{}@localhost", 1001 + n);
        let text =
            raw.request("INVITE", &uri, &from, &format!("<{uri}>"), &id, 1, "Contact: <sip:a@b>\r\n", "");
        sent_bytes += text.len();
        raw.send(text.as_bytes());
    }
    let (mut count, mut received_bytes) = (0, 0);
    // Timer G would retransmit after 500 ms, and again after that.
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        if let Some(answer) = raw.receive_raw(Duration::from_millis(100)) {
            (count, received_bytes) = (count + 1, received_bytes + answer.len());
        }
    }
    assert_eq!(count, 20, "once each");
    assert!(received_bytes <= 3 * sent_bytes, "{received_bytes} bytes for {sent_bytes}");
}

#[test]
fn five_hundred_invites_leave_no_state() {
    // security.md row 15
    let server = Server::start();
    let (alice, bob) = (server.extension("1001"), server.extension("1002"));
    let mut phone = Raw::new(&server, &bob);
    phone.register();
    let before = resident(&server);
    let mut attacker = unknown_peer(&server, 33);
    for n in 0..500 {
        let (from, id) = (attacker.from_line(), attacker.fresh());
        let text = attacker.request(
            "INVITE",
            "sip:1002@localhost",
            &from,
            "<sip:1002@localhost>",
            &id,
            n,
            "Contact: <sip:a@b>\r\n",
            "",
        );
        attacker.send(text.as_bytes());
        if n % 50 == 49 {
            until(LIMIT, "they are answered", || (attacker.drain().len() >= 10).then_some(()));
        }
    }
    let status = server.admin().get("/api/v1/opensips/status").expect(200);
    assert_eq!(
        (status["activeCalls"].as_u64(), status["portsInUse"].as_u64()),
        (Some(0), Some(0)),
        "{status}"
    );
    // An authenticated caller may have fifty calls; further ones are rejected with a reason (S29).
    let mut caller = Raw::new(&server, &alice);
    let body = caller.sdp();
    let mut statuses = Vec::new();
    for _ in 0..55 {
        let dialling = caller.invite("1002", "", &body);
        caller.send(dialling.text.as_bytes());
        let status = until(LIMIT, "an answer", || {
            let answer = caller.receive(Duration::from_secs(1))?;
            (answer.header("Call-ID") == Some(dialling.call_id.as_str())).then(|| answer.status()).flatten()
        });
        statuses.push(status);
    }
    assert_eq!(statuses.iter().filter(|status| **status < 200).count(), 50, "{statuses:?}");
    let status = server.admin().get("/api/v1/opensips/status").expect(200);
    assert_eq!(status["activeCalls"], 50);
    // Another user is not affected.
    let dialling = phone.invite("*43", "", &body);
    phone.send(dialling.text.as_bytes());
    let ok = phone.expect_final("INVITE");
    assert_eq!(ok.status(), Some(200), "{}", ok.text);
    let mut side = phone.send_ack(&dialling, &ok);
    phone.hang_up(&mut side);
    let grown = resident(&server).saturating_sub(before);
    assert!(grown < 64 * 1024, "{grown} KB more");
}

/// Send `count` datagrams, and let the uninvolved phone make a request after each thousand. Returns its longest waiting time.
fn flood(server: &Server, count: u32, mut next: impl FnMut(u32) -> Vec<u8>) -> Duration {
    let sources: Vec<Raw> = (40..44).map(|last| unknown_peer(server, last)).collect();
    let mut worst = Duration::ZERO;
    for n in 0..count {
        sources[n as usize % sources.len()].send(&next(n));
        if n % 1000 == 999 {
            let start = Instant::now();
            assert!(alive(server.sip()), "no response after {n} datagrams");
            worst = worst.max(start.elapsed());
            sources.iter().for_each(|source| drop(source.drain()));
        }
    }
    worst
}

#[test]
fn floods_of_junk_and_registrations_neither_block_other_users_nor_grow_memory() {
    // security.md row 15
    let server = Server::start();
    let alice = server.extension("1001");
    let mut phone = Raw::new(&server, &alice);
    phone.register();
    assert!(alive(server.sip()));
    let before = resident(&server);
    let mut noise = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = move || {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        noise
    };
    flood(&server, 10_000, |n| {
        let length = random() as usize % 1400;
        let mut bytes: Vec<u8> = (0..length).map(|_| random() as u8).collect();
        if n % 3 == 0 {
            bytes.splice(
                0..0,
                b"INVITE sip:1001@localhost SIP/2.0\r\nVia: SIP/2.0/UDP a;rport\r\n".iter().copied(),
            );
        }
        bytes
    });
    let nonce = unknown_peer(&server, 45).challenge().nonce;
    flood(&server, 10_000, |n| {
        // User names of the maximum length, each used once, with a valid nonce: the memory of failed names must stay bounded.
        let (name, more) = (format!("{n}{}", "x".repeat(900)), "y".repeat(400));
        let credentials = match n % 2 {
            0 => String::new(),
            _ => format!(
                "Authorization: Digest username=\"{name}\", realm=\"localhost\", nonce=\"{nonce}\", uri=\"sip:localhost\", \
                 response=\"00000000000000000000000000000000\", algorithm=MD5, cnonce=\"a\", qop=auth, nc={n:08x}\r\n"
            ),
        };
        format!(
            "REGISTER sip:localhost SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.40;branch=z9hG4bK{n};rport\r\nFrom: <sip:{n}@localhost>;tag={n}\r\n\
             To: <sip:{n}@localhost>\r\nCall-ID: {n}{more}\r\nCSeq: 1 REGISTER\r\nContact: <sip:{n}@127.0.0.40>\r\n{credentials}\
             Content-Length: 0\r\n\r\n"
        )
        .into_bytes()
    });
    let grown = resident(&server).saturating_sub(before);
    assert!(grown < 64 * 1024, "{grown} KB more");
    // A phone that was registered before is still registered and can call.
    phone.register();
    let listed =
        server.http(Some(&alice.key)).get(&format!("/api/v1/voip/extensions/{}", alice.id)).expect(200);
    assert_eq!(listed["extension"]["registered"], true);
}

#[test]
fn unsupported_methods_are_rejected_for_unauthenticated_peers_too() {
    // security.md rows 13 and 14
    let server = Server::start();
    let alice = server.extension("1001");
    let mut phone = Raw::new(&server, &alice);
    phone.register();
    let mut attacker = unknown_peer(&server, 34);
    for method in
        ["SUBSCRIBE", "PUBLISH", "MESSAGE", "NOTIFY", "REFER", "INFO", "UPDATE", "PRACK", "BYE", "PHONY"]
    {
        for user in ["1001", "nobody"] {
            let (from, id, uri) = (attacker.from_line(), attacker.fresh(), format!("sip:{user}@localhost"));
            let more = "Event: presence\r\nExpires: 4294967295\r\nRefer-To: <sip:*43@localhost>\r\nContact: <sip:a@b>\r\n";
            let text = attacker.request(method, &uri, &from, &format!("<{uri}>"), &id, 1, more, "");
            let answer = attacker.exchange(&text).expect("an answer");
            // Methods that need a dialog have none here; all others are challenged first.
            let within = matches!(method, "INFO" | "UPDATE" | "PRACK" | "BYE");
            assert_eq!(answer.status(), Some(if within { 481 } else { 401 }), "{method}: {}", answer.text);
            // Nor for authenticated users.
            let answer = phone.ask(method, &uri, &format!("<{uri}>"), more, "");
            assert!(matches!(answer.status(), Some(400..=599)), "{method}: {}", answer.text);
        }
    }
    let heard: Vec<Message> = phone.drain();
    assert!(heard.iter().all(|m| m.method().is_none()), "something was passed on: {heard:#?}");
    assert_eq!(server.calls().len(), 0);
}

#[test]
fn an_in_dialog_refer_transfers_no_call() {
    // security.md row 13
    let server = Server::start();
    let (alice, bob) = (server.extension("1001"), server.extension("1002"));
    let (mut a, mut b) = (Raw::new(&server, &alice), Raw::new(&server, &bob));
    a.register();
    b.register();
    let mut up = a.call(&b);
    for target in [
        "sip:*43@localhost",
        "sip:900123456@localhost",
        "sip:x@127.0.0.9",
        "tel:+882161234",
        "http://127.0.0.1/",
        "sip:1001@localhost?Replaces=x",
        "sip:1001@localhost?Authorization=x&Route=%3Csip:127.0.0.9%3E",
    ] {
        let text = a.in_dialog_request(&mut up.caller, "REFER", &format!("Refer-To: <{target}>\r\n"), "");
        let answer = a.exchange(&text).expect("an answer");
        assert!(matches!(answer.status(), Some(403 | 405)), "{target}: {}", answer.text);
    }
    assert!(b.drain().is_empty());
    assert_eq!(server.calls().len(), 1);
    b.hang_up(&mut up.callee);
}

#[test]
fn api_rate_limits_count_by_key_and_address_and_ignore_untrusted_proxy_headers() {
    // security.md row 22, S28
    let server = Server::with(e2e::Settings {
        more: "[limits]\nrequests_per_minute = 100\n".into(),
        ..Default::default()
    });
    let key = server.key_for("alice");
    let statuses: Vec<u16> = (0..130).map(|_| server.http(Some(&key)).get("/api/v1/keys").status).collect();
    let granted = statuses.iter().filter(|status| **status == 200).count();
    assert!((100..=115).contains(&granted) && statuses[129] == 429, "{granted} granted");
    let refused = server.http(Some(&key)).get("/api/v1/keys");
    assert!(
        refused.header("Retry-After").is_some_and(|s| s.parse::<u32>().is_ok_and(|s| s > 0)),
        "{}",
        refused.head
    );
    let statuses_without_key: Vec<u16> =
        (0..60).map(|_| server.http(Some("sk_voip_guess")).get("/api/v1/keys").status).collect();
    assert!(
        statuses_without_key.contains(&429) && !statuses_without_key.contains(&200),
        "{statuses_without_key:?}"
    );
    for n in 0..5 {
        let mut stream = std::net::TcpStream::connect(server.http_address()).expect("a connection");
        let head = format!(
            "GET /api/v1/keys HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Forwarded-For: 10.0.0.{n}\r\nForwarded: for=10.0.0.{n}\r\n\
             X-Real-IP: 10.0.0.{n}\r\nAuthorization: Bearer sk_voip_guess\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
    }
    // The administrator's key has its own count, although it comes from the same address.
    assert_eq!(server.admin().get("/api/v1/keys").status, 200);
    assert_eq!(server.admin().post("/api/v1/keys/voip/generate", &json!({ "userId": "bob" })).status, 200);
}
