//! Invalid text from a caller and what the callee's phone receives: broken bytes, header injection, and invalid SDP.

use std::time::Duration;

use e2e::raw::{LIMIT, Raw, body_of, rtp_address};
use e2e::wire::{Message, Wire, alive, options};
use e2e::{Server, Settings, until};
use serde_json::json;

fn phones(server: &Server) -> (Raw, Raw) {
    let (alice, bob) = (server.extension("1001"), server.extension("1002"));
    let (a, mut b) = (Raw::new(server, &alice), Raw::new(server, &bob));
    b.register();
    (a, b)
}

fn replaced(text: &str, what: &str, with: &[u8]) -> Vec<u8> {
    let (head, tail) = text.split_once(what).unwrap_or_else(|| panic!("{what} is not in\n{text}"));
    [head.as_bytes(), with, tail.as_bytes()].concat()
}

/// A message that we send contains no control character, no broken UTF-8, and no injected header line.
fn is_clean(raw: &[u8], what: &str) {
    let text = std::str::from_utf8(raw)
        .unwrap_or_else(|error| panic!("{what}: {error}\n{}", String::from_utf8_lossy(raw)));
    let (head, body) =
        text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{what}: no end of head\n{text}"));
    for line in head.split("\r\n").chain(body.split("\r\n")) {
        let dirty =
            line.chars().any(|c| c != '\t' && (c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')));
        assert!(!dirty, "{what}: {line:?} in\n{text}");
        assert!(
            !line.to_ascii_lowercase().starts_with("x-evil"),
            "{what}: a line of the caller's in\n{text}"
        );
    }
    let length: usize = Message { text: text.to_owned() }
        .header("Content-Length")
        .and_then(|l| l.parse().ok())
        .expect("a length");
    assert_eq!(length, body.len(), "{what}:\n{text}");
    let allowed = [
        "via",
        "max-forwards",
        "from",
        "to",
        "call-id",
        "cseq",
        "contact",
        "allow",
        "supported",
        "session-expires",
        "min-se",
        "user-agent",
        "content-type",
        "content-length",
        "reason",
        "rack",
        "route",
    ];
    for line in head.lines().skip(1) {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        assert!(allowed.contains(&name.as_str()), "{what}: {line} in\n{text}");
    }
}

/// Send an INVITE and return the INVITE that the callee's phone receives (which it rejects) and the caller's final response, if there is one.
fn try_invite(a: &mut Raw, b: &Raw, invite: &[u8], what: &str) -> Option<u16> {
    a.send(invite);
    // A request behind it that is always answered.
    let (from, id) = (a.from_line(), a.fresh());
    let marker = a.request("OPTIONS", "sip:localhost", &from, "<sip:localhost>", &id, 1, "", "");
    a.send(marker.as_bytes());
    let mut last = None;
    loop {
        let answer =
            a.receive(LIMIT).unwrap_or_else(|| panic!("{what}: the server does not respond any more"));
        if answer.header("Call-ID") == Some(id.as_str()) {
            break;
        }
        last = answer.status().filter(|status| *status >= 200).or(last);
    }
    while let Some(raw) = b.receive_raw(Duration::from_millis(2)) {
        is_clean(&raw, what);
        let message = Message { text: String::from_utf8_lossy(&raw).into_owned() };
        if message.method() == Some("INVITE") {
            b.answer(&message, 486, "", "");
            last = until(LIMIT, what, || a.receive(LIMIT)?.status().filter(|status| *status >= 200)).into();
            b.expect_request("ACK");
        }
    }
    a.drain();
    last
}

/// Bytes that are invalid in a header.
const BYTES: [(&str, &[u8]); 16] = [
    ("a NUL", b"a\0b"),
    ("broken UTF-8", b"a\xff\xfe\xc3(b"),
    ("an overlong NUL", b"a\xc0\x80b"),
    ("half of a surrogate", b"a\xed\xa0\x80b"),
    ("a bare CR", b"a\rX-Evil: 1"),
    ("a bare LF", b"a\nX-Evil: 1"),
    ("CRLF and a header", b"a\r\nX-Evil: 1"),
    ("CRLF and a folded line", b"a\r\n X-Evil: 1"),
    ("an escaped CRLF", b"a%0d%0aX-Evil:%201"),
    ("a doubly escaped CRLF", b"a%250d%250aX-Evil"),
    ("an escape sequence", b"a\x1b[2J\x07b"),
    ("DEL", b"a\x7fb"),
    ("a line separator", "a\u{2028}X-Evil: 1\u{85}b".as_bytes()),
    ("quotes and brackets", b"a\\\" <sip:evil@evil>;x=\""),
    ("a long one", &[b'a'; 4000]),
    ("an em dash and Chinese", "a — 你好".as_bytes()),
];

#[test]
fn no_invalid_header_of_an_invite_reaches_the_callee() {
    // security.md rows 25 and 26
    let more = "[log]\nlevel = \"trace\"\n".to_owned();
    let server = Server::with(Settings { more, ..Settings::default() });
    let (mut a, b) = phones(&server);
    let body = a.sdp();
    let mut through = 0;
    for (what, bytes) in BYTES {
        for place in [
            "display",
            "user",
            "from-tag",
            "from-param",
            "to-display",
            "to-user",
            "contact-user",
            "contact-param",
            "uri-param",
            "call-id",
            "branch",
            "via-param",
            "via-host",
            "cseq",
            "max-forwards",
            "subject",
            "user-agent",
            "supported",
            "allow",
            "require",
            "content-type",
            "content-length",
            "session-expires",
            "unknown",
            "method",
            "record-route",
            "date",
            "accept",
        ] {
            let invite = a.invite(&b.number.clone(), "", &body).text;
            let at = |from: &str, to: &str| invite.replacen(from, to, 1);
            let line = |name: &str| at("Content-Length:", &format!("{name}: @@@\r\nContent-Length:"));
            let bent = match place {
                "display" => at("From: <sip:", "From: \"@@@\" <sip:"),
                "user" => at(&format!("From: <sip:{}", a.user), "From: <sip:@@@"),
                "from-tag" => at(">;tag=", ">;tag=@@@"),
                "from-param" => at(">;tag=", ">;x=@@@;tag="),
                "to-display" => at("To: <sip:", "To: \"@@@\" <sip:"),
                "to-user" => at("To: <sip:", "To: <sip:@@@"),
                "contact-user" => at("Contact: <sip:", "Contact: <sip:@@@"),
                "contact-param" => at("Contact: <sip:", "Contact: \"@@@\" <sip:"),
                "uri-param" => at("@localhost SIP/2.0", "@localhost;x=@@@ SIP/2.0"),
                "call-id" => at("Call-ID: ", "Call-ID: @@@"),
                "branch" => at("branch=z9hG4bK", "branch=z9hG4bK@@@"),
                "via-param" => at(";rport", ";rport;x=@@@"),
                "via-host" => at("SIP/2.0/UDP ", "SIP/2.0/UDP @@@"),
                "cseq" => at("CSeq: ", "CSeq: @@@"),
                "max-forwards" => at("Max-Forwards: ", "Max-Forwards: @@@"),
                "content-type" => at("application/sdp", "application/sdp;x=@@@"),
                "content-length" => at("Content-Length: ", "Content-Length: @@@"),
                "method" => at("INVITE ", "INVITE@@@ "),
                "record-route" => {
                    at("Content-Length:", "Record-Route: <sip:127.0.0.1;lr;x=@@@>\r\nContent-Length:")
                }
                name => line(name),
            };
            let message = replaced(&bent, "@@@", bytes);
            let status = try_invite(&mut a, &b, &message, &format!("{what} in {place}"));
            through += usize::from(status == Some(486));
        }
    }
    assert!(through > 20, "the test itself is broken: {through} calls came through");
    assert!(alive(server.sip()));
    let log = server.log();
    assert!(!log.lines().any(|line| line.trim_start().starts_with("X-Evil")) && !log.contains('\0'), "{log}");
    // The call record is valid text.
    let calls = server.admin().get("/api/v1/calls?limit=100").expect(200);
    for call in calls["calls"].as_array().expect("calls") {
        let id = call["sessionId"].as_str().expect("an id");
        let ladder = server.admin().get(&format!("/api/v1/calls/{id}/ladder"));
        assert_eq!(ladder.status, 200, "{}", ladder.body);
    }
}

/// Invalid SDP, and SDP without usable media.
fn descriptions() -> Vec<String> {
    let ok = |more: &str| {
        format!("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n{more}")
    };
    let audio = "m=audio 4000 RTP/AVP 0\r\n";
    let mut all = vec![
        "x".to_owned(),
        "\r\n".to_owned(),
        "v=0".to_owned(),
        "v=1\r\n".to_owned(),
        "v=0\r\nv=0\r\n".to_owned(),
        "v=0\r\nm=audio\r\n".to_owned(),
        "v=0\r\nm=audio 4000\r\n".to_owned(),
        "v=0\r\nm=audio 4000 RTP/AVP\r\n".to_owned(),
        "v=0\r\nm=audio 4000 RTP/AVP 0\r\n".to_owned(),
        "m=audio 4000 RTP/AVP 0\r\nv=0\r\n".to_owned(),
        ok(""),
        ok("m=audio 0 RTP/AVP 0\r\n"),
        ok("m=audio 65536 RTP/AVP 0\r\n"),
        ok("m=audio -4000 RTP/AVP 0\r\n"),
        ok("m=audio 4000/65535 RTP/AVP 0\r\n"),
        ok("m=audio 99999999999999999999 RTP/AVP 0\r\n"),
        ok("m=audio 4000 RTP/AVP 128\r\n"),
        ok("m=audio 4000 RTP/AVP 255 256 999999\r\n"),
        ok("m=audio 4000 RTP/SAVP 0\r\n"),
        ok("m=audio 4000 UDP/TLS/RTP/SAVPF 0\r\n"),
        ok("m=audio 4000 TCP/X 0\r\n"),
        ok("m=video 4000 RTP/AVP 31\r\n"),
        ok("m=image 4000 udptl t38\r\n"),
        ok(&format!("m=audio 4000 RTP/AVP{}\r\n", " 0".repeat(5000))),
        ok(&audio.repeat(500)),
        ok(&format!("{audio}{}", "a=x:y\r\n".repeat(7000))),
        ok(&format!("{audio}a=rtpmap:0 PCMU/0\r\n")),
        ok(&format!("{audio}a=rtpmap:0 PCMU/99999999999999999999\r\n")),
        ok(&format!("{audio}a=rtpmap:0\r\n")),
        ok(&format!(
            "{audio}a=rtpmap:0 \r\na=fmtp:0 \r\na=ptime:\r\na=ptime:-1\r\na=ptime:0\r\na=ptime:4294967296\r\n"
        )),
        ok(&format!("{audio}a=rtcp:99999 IN IP4 999.1.1.1\r\n")),
        ok(&format!("{audio}c=IN IP4 999.999.999.999\r\n")),
        ok(&format!("{audio}c=IN IP4\r\n")),
        ok(&format!("{audio}c=IN IP4 224.2.1.1/127/3\r\n")),
        ok(&format!("{audio}c=IN IP4 255.255.255.255\r\n")),
        ok(&format!("{audio}c=IN IP6 ::\r\nc=IN IP6 ff02::1\r\n")),
        ok(&format!("{audio}c=IN IP4 evil.example.com\r\n")),
        ok(&format!("{audio}a=x:\0\r\n")),
        ok(&format!("{audio}a=x:\u{1b}[2J\r\n")),
        ok(&format!("{audio}a=x:1\rm=audio 9 RTP/AVP 0\r\n")),
        ok(&format!("{audio}a=sendrecv\r\na=inactive\r\na=sendonly\r\n")),
        ok(&format!(
            "{audio}a=candidate:1 1 UDP 1 127.0.0.9 9 typ host\r\na=ice-ufrag:x\r\na=ice-pwd:x\r\na=crypto:1 A inline:x\r\n"
        )),
        ok(&format!(
            "{audio}a=fingerprint:sha-256 AA\r\na=setup:actpass\r\na=source-filter: incl IN IP4 * 127.0.0.9\r\n"
        )),
        ok(&format!("{audio}a={}\r\n", "x".repeat(50_000))),
        ok(&format!("{}=x\r\n{audio}", 'z')),
        ok(&format!(" {audio}")),
        ok(&format!("{audio}\r\n\r\nINVITE sip:1002@localhost SIP/2.0\r\n\r\n")),
    ];
    all.push(ok(audio).replace("\r\n", "\n\r"));
    all.push(ok(audio).replace("\r\n", "\r"));
    all
}

#[test]
fn invalid_sdp_is_rejected_or_replaced() {
    // security.md row 9, and the malformed descriptions of row 26's inspection
    let server = Server::start();
    let (mut a, mut b) = phones(&server);
    let all = descriptions();
    assert!(all.len() >= 41);
    let our_ports = server.http_address().port() + 60..=server.http_address().port() + 399;
    for body in &all {
        let invite = a.invite(&b.number.clone(), "", body).text;
        a.send(invite.as_bytes());
        let (from, id) = (a.from_line(), a.fresh());
        let marker = a.request("OPTIONS", "sip:localhost", &from, "<sip:localhost>", &id, 1, "", "");
        a.send(marker.as_bytes());
        let mut status = None;
        let mut refusal = None;
        while refusal.is_none() {
            let answer = a
                .receive(LIMIT)
                .unwrap_or_else(|| panic!("the server does not respond any more after\n{body}"));
            if answer.header("Call-ID") == Some(id.as_str()) {
                break;
            }
            status = answer.status().filter(|status| *status >= 200).or(status);
            refusal = status.map(|_| answer);
        }
        if let Some(refusal) = refusal {
            assert!(matches!(status, Some(400 | 413 | 415 | 488 | 513)), "{body}\n{}", refusal.text);
            a.ack_error(&invite, &refusal);
            a.drain();
            continue;
        }
        let passed = b.expect_request("INVITE");
        is_clean(passed.text.as_bytes(), body);
        let sdp = body_of(&passed);
        assert!(our_ports.contains(&rtp_address(&sdp).port()), "{sdp}");
        assert_eq!((sdp.matches("m=").count(), sdp.matches("c=").count()), (1, 1), "{sdp}");
        for private in ["candidate", "ice-", "crypto", "fingerprint", "setup", "127.0.0.9", "INVITE"] {
            assert!(!sdp.contains(private), "{private} in {sdp}");
        }
        b.answer(&passed, 486, "", "");
        let refused = a.expect_final("INVITE");
        a.ack_error(&invite, &refused);
        b.expect_request("ACK");
    }
    // The callee's phone answers with equally invalid SDP; the caller gets a clean final response.
    let body = a.sdp();
    for answer in all.iter().take(12) {
        let dialling = a.invite(&b.number.clone(), "", &body);
        a.send(dialling.text.as_bytes());
        let invite = b.expect_request("INVITE");
        b.answer(&invite, 200, "", answer);
        let refused = a.expect_final("INVITE");
        assert!(matches!(refused.status(), Some(400..=699)), "{answer}\n{}", refused.text);
        a.ack_error(&dialling.text, &refused);
        let bye = b.expect_request("BYE");
        b.answer(&bye, 200, "", "");
    }
    until(Duration::from_secs(5), "the ports are given back", || {
        (server.admin().get("/api/v1/opensips/status").expect(200)["portsInUse"] == 0).then_some(())
    });
    b.register();
}

#[test]
fn oversized_messages_are_rejected_and_the_server_keeps_running() {
    let server = Server::start();
    let (mut a, b) = phones(&server);
    let body = a.sdp();
    let number = b.number.clone();
    let nested = (0..200).fold("v=0\r\n".to_owned(), |inner, n| {
        format!(
            "--b{n}\r\nContent-Type: multipart/mixed;boundary=b{}\r\n\r\n{inner}\r\n--b{n}--\r\n",
            n.max(1) - 1
        )
    });
    for (what, lines, body, kind) in [
        ("a header of 60 KB", format!("X-Long: {}\r\n", "a".repeat(60_000)), body.clone(), "application/sdp"),
        (
            "a thousand Vias",
            "Via: SIP/2.0/UDP a;branch=z9hG4bKx\r\n".repeat(1000),
            body.clone(),
            "application/sdp",
        ),
        ("a thousand Routes", "Route: <sip:127.0.0.1;lr>\r\n".repeat(1000), body.clone(), "application/sdp"),
        (
            "a thousand Record-Routes",
            "Record-Route: <sip:127.0.0.1;lr>\r\n".repeat(1000),
            body.clone(),
            "application/sdp",
        ),
        (
            "a thousand Contacts",
            "Contact: <sip:a@127.0.0.1>\r\n".repeat(1000),
            body.clone(),
            "application/sdp",
        ),
        (
            "three hundred headers",
            (0..300).map(|n| format!("X-{n}: 1\r\n")).collect::<Vec<_>>().concat(),
            body.clone(),
            "application/sdp",
        ),
        (
            "ten thousand tags",
            format!("Supported: {}\r\n", "a,".repeat(10_000)),
            body.clone(),
            "application/sdp",
        ),
        ("nested multipart", String::new(), nested, "multipart/mixed;boundary=b199"),
        ("an unknown type", String::new(), "x".repeat(30_000), "application/octet-stream"),
        ("an encoding", "Content-Encoding: gzip\r\n".to_owned(), body.clone(), "application/sdp"),
    ] {
        let invite = a.invite(&number, &lines, &body).text.replacen("application/sdp", kind, 1);
        let status = try_invite(&mut a, &b, invite.as_bytes(), what);
        println!("{what}: {status:?}");
    }
    for text in [
        format!("INVITE sip:{}@localhost SIP/2.0\r\n\r\n", "a".repeat(60_000)),
        format!("{} sip:localhost SIP/2.0\r\n\r\n", "A".repeat(60_000)),
        "\r\n".repeat(30_000),
        ":\r\n".repeat(20_000),
        format!("OPTIONS sip:localhost SIP/2.0\r\nVia: {}\r\n\r\n", "(".repeat(50_000)),
        format!("OPTIONS sip:localhost SIP/2.0\r\nFrom: {}\r\n\r\n", "<".repeat(50_000)),
        format!("OPTIONS sip:localhost SIP/2.0\r\nFrom: {}\r\n\r\n", "\"\\".repeat(25_000)),
        format!("OPTIONS sip:localhost SIP/2.0\r\nAuthorization: Digest {}\r\n\r\n", "a=b,".repeat(15_000)),
    ] {
        a.send(text.as_bytes());
        let start = std::time::Instant::now();
        assert!(alive(server.sip()), "{}", &text[..60]);
        assert!(start.elapsed() < Duration::from_secs(2), "{}", &text[..60]);
    }
    // The same over one TCP connection.
    let mut wire = Wire::tcp(server.sip());
    let text = options(&wire, 1).replace("Contact:", &format!("X: {}\r\nContact:", "a".repeat(70_000)));
    wire.send(text.as_bytes());
    assert!(wire.closes(Duration::from_secs(5)));
    assert!(alive(server.sip()));
}

#[test]
fn display_names_from_the_api_are_quoted_for_the_phone_or_rejected() {
    // security.md row 26: each payload in each field.
    let server = Server::start();
    let (alice, bob) = (server.extension("1001"), server.extension("1002"));
    let (mut a, mut b) = (Raw::new(&server, &alice), Raw::new(&server, &bob));
    b.register();
    let http = server.http(Some(&alice.key));
    let path = format!("/api/v1/voip/extensions/{}", alice.id);
    let body = a.sdp();
    for payload in [
        "A\r\nX-Evil: 1",
        "A\nX-Evil: 1",
        "A\rX-Evil: 1",
        "A\0B",
        "A\u{1b}[2J",
        "A\u{7f}",
        "A\u{85}X-Evil: 1",
        "A\tB",
        "A\" <sip:evil@evil>;x=\"",
        "A\\",
        "\\\" <sip:evil@evil>",
        "<sip:evil@evil>",
        "A%0d%0aX-Evil: 1",
        "A\u{2028}X-Evil: 1",
        "José \u{202e}1001",
        "';DROP TABLE users;--",
        "<script>alert(1)</script>",
        "{{7*7}}",
        "=1+1",
        "../../etc/passwd",
    ] {
        let answer = http.put(&path, &json!({ "displayName": payload }));
        if answer.status != 200 {
            assert_eq!(answer.status, 400, "{payload:?}: {}", answer.body);
            continue;
        }
        let bad = |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}');
        assert!(!payload.chars().any(bad), "{payload:?} was taken");
        let dialling = a.invite("1002", "", &body);
        a.send(dialling.text.as_bytes());
        let raw = until(LIMIT, "an INVITE", || b.receive_raw(LIMIT).filter(|raw| raw.starts_with(b"INVITE")));
        is_clean(&raw, payload);
        let invite = Message { text: String::from_utf8_lossy(&raw).into_owned() };
        let from = invite.header("From").expect("a From").to_owned();
        let quoted = payload.replace('\\', "\\\\").replace('"', "\\\"");
        assert!(from.starts_with(&format!("\"{quoted}\" <sip:1001@localhost>;tag=")), "{from}");
        b.answer(&invite, 486, "", "");
        let refused = a.expect_final("INVITE");
        a.ack_error(&dialling.text, &refused);
        b.expect_request("ACK");
    }
    for payload in [
        "1\r\nX-Evil: 1",
        "1\nX",
        "1;x=y",
        "1>",
        "1 2",
        "1@evil\r\n",
        "sip:1@localhost\r\nX-Evil: 1",
        "1\0",
        "%0d%0a1",
        "",
        "+",
        "<1>",
    ] {
        let tries = [
            ("/api/v1/opensips/call/initiate".to_owned(), json!({ "toNumber": payload })),
            (
                "/api/v1/opensips/call/initiate".to_owned(),
                json!({ "toNumber": "1002", "fromNumber": payload }),
            ),
            (format!("{path}/call"), json!({ "toNumber": payload })),
            ("/api/v1/voip/extensions/create".to_owned(), json!({ "extensionNumber": payload })),
            ("/api/v1/voip/extensions/create".to_owned(), json!({ "userId": payload })),
        ];
        for (path, body) in tries {
            let answer = http.post(&path, &body);
            assert!(matches!(answer.status, 400 | 403), "{path} {body}: {} {}", answer.status, answer.body);
        }
        let answer = http.put(&path, &json!({ "callForwardingNumber": payload }));
        assert_eq!(answer.status, 400, "{payload:?}: {}", answer.body);
    }
}
