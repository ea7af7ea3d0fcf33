//! Attacks on the API with a user's key or without any: access to other users' data, secrets, and invalid input.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use e2e::raw::{LIMIT, Raw};
use e2e::wire::Challenge;
use e2e::{Server, Settings, until};
use serde_json::{Value, json};

#[test]
fn resources_of_other_users_are_not_accessible() {
    // security.md row 21
    let server = Server::start();
    let (alice, bob) = (server.extension("1001"), server.extension("1002"));
    let mine = server.http(Some(&alice.key));
    let theirs = server.http(Some(&bob.key));
    let keys = theirs.get("/api/v1/keys").expect(200);
    let key = keys["keys"][0]["id"].as_str().expect("an id").to_owned();
    let started = theirs.post("/api/v1/opensips/call/initiate", &json!({ "toNumber": "*43" })).expect(200);
    let call = started["session"]["sessionId"].as_str().expect("an id").to_owned();
    let routes = [
        ("GET", format!("/api/v1/voip/extensions/{}", bob.id), None),
        ("PUT", format!("/api/v1/voip/extensions/{}", bob.id), Some(json!({ "displayName": "Mine" }))),
        ("DELETE", format!("/api/v1/voip/extensions/{}", bob.id), None),
        ("DELETE", format!("/api/v1/voip/extensions/{}?force=true", bob.id), None),
        ("POST", format!("/api/v1/voip/extensions/{}/call", bob.id), Some(json!({ "toNumber": "*43" }))),
        ("GET", format!("/api/v1/opensips/call/{call}"), None),
        ("POST", format!("/api/v1/opensips/call/{call}/end"), Some(json!({}))),
        ("GET", format!("/api/v1/calls/{call}/ladder"), None),
        ("POST", format!("/api/v1/keys/{key}/toggle"), Some(json!({}))),
        ("POST", format!("/api/v1/keys/{key}/toggle"), Some(json!({ "active": false }))),
        ("DELETE", format!("/api/v1/keys/{key}"), None),
    ];
    for (method, path, body) in &routes {
        let foreign = mine.send(method, path, "application/json", body.as_ref()).expect("an answer");
        let missing = path.replace(&bob.id, "ext_none").replace(&call, "call_none").replace(&key, "key_none");
        let missing = mine.send(method, &missing, "application/json", body.as_ref()).expect("an answer");
        assert_eq!(foreign.status, 404, "{method} {path}: {}", foreign.body);
        // The error names the requested id and nothing else.
        let plain = |body: &str| {
            let ids =
                [&bob.id, &call, &key].into_iter().fold(body.to_owned(), |body, id| body.replace(id, "ID"));
            let none =
                ["ext_none", "call_none", "key_none"].iter().fold(ids, |body, id| body.replace(id, "ID"));
            let mut body: Value = serde_json::from_str(&none).expect("JSON");
            body["requestId"] = Value::Null;
            body
        };
        assert_eq!(plain(&foreign.body), plain(&missing.body), "{method} {path}");
    }
    // By name it is 403.
    for (method, path, body) in [
        ("GET", format!("/api/v1/voip/extensions/user/user_of_{}", bob.number), None),
        ("GET", format!("/api/v1/keys?userId=user_of_{}", bob.number), None),
        ("POST", "/api/v1/keys/voip/generate".to_owned(), Some(json!({ "userId": "user_of_1002" }))),
        ("POST", "/api/v1/voip/extensions/create".to_owned(), Some(json!({ "userId": "user_of_1002" }))),
        (
            "POST",
            "/api/v1/opensips/call/initiate".to_owned(),
            Some(json!({ "userId": "user_of_1002", "toNumber": "*43" })),
        ),
        (
            "POST",
            "/api/v1/opensips/generate-credentials".to_owned(),
            Some(json!({ "userId": "user_of_1002" })),
        ),
        ("GET", "/metrics".to_owned(), None),
        ("POST", "/api/v1/opensips/stop".to_owned(), Some(json!({}))),
        ("POST", "/api/v1/keys/voip/generate".to_owned(), Some(json!({ "permissions": ["admin"] }))),
        ("POST", "/api/v1/keys/voip/generate".to_owned(), Some(json!({ "requestsPerMinute": 1_000_000 }))),
    ] {
        let answer = mine.send(method, &path, "application/json", body.as_ref()).expect("an answer");
        assert_eq!(answer.status, 403, "{method} {path}: {}", answer.body);
    }
    let seen = mine.get("/api/v1/calls").expect(200);
    assert_eq!(seen["calls"].as_array().map(Vec::len), Some(0), "{seen}");
    let seen = mine.get("/api/v1/keys").expect(200).to_string();
    assert!(!seen.contains(&key) && !seen.contains("user_of_1002"), "{seen}");
    // No change was made.
    let listed = theirs.get(&format!("/api/v1/voip/extensions/{}", bob.id)).expect(200);
    assert_eq!(listed["extension"]["displayName"], "Phone 1002");
}

#[test]
fn a_limited_key_cannot_gain_permissions_and_a_revoked_one_is_rejected_at_once() {
    // security.md rows 19 and 21
    let server = Server::start();
    let alice = server.key_for("alice");
    let make = |http: &e2e::Http, permissions: Value| {
        http.post("/api/v1/keys/voip/generate", &json!({ "permissions": permissions }))
    };
    let narrow = make(&server.http(Some(&alice)), json!(["sip"])).expect(200);
    let (id, secret) =
        (narrow["key"]["id"].as_str().unwrap().to_owned(), narrow["key"]["key"].as_str().unwrap().to_owned());
    let http = server.http(Some(&secret));
    for wider in [json!(["call"]), json!(["sip", "call"]), json!(["admin"]), json!(["recording"])] {
        assert_eq!(make(&http, wider).status, 403);
    }
    assert_eq!(http.post("/api/v1/opensips/call/initiate", &json!({ "toNumber": "*43" })).status, 403);
    assert_eq!(http.get("/api/v1/keys").status, 200);
    server
        .http(Some(&alice))
        .post(&format!("/api/v1/keys/{id}/toggle"), &json!({ "active": false }))
        .expect(200);
    assert_eq!(http.get("/api/v1/keys").status, 401);
    server
        .http(Some(&alice))
        .post(&format!("/api/v1/keys/{id}/toggle"), &json!({ "active": true }))
        .expect(200);
    assert_eq!(http.get("/api/v1/keys").status, 200);
    server.http(Some(&alice)).delete(&format!("/api/v1/keys/{id}")).expect(200);
    assert_eq!(http.get("/api/v1/keys").status, 401);
    for bent in [
        format!("{secret}x"),
        secret[..secret.len() - 1].to_owned(),
        secret.to_uppercase(),
        format!(" {alice} x"),
        format!("{alice}\0"),
    ] {
        assert_eq!(
            server.http(Some(&bent)).get("/api/v1/keys").status,
            if bent.contains('\0') { 400 } else { 401 },
            "{bent:?}"
        );
    }
}

/// Send an HTTP request as bytes. Returns the status.
fn raw_http(server: &Server, text: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(server.http_address()).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a time-out");
    let _ = stream.write_all(text);
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !answer.contains(&b'\n') {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
        }
    }
    String::from_utf8_lossy(&answer).split(' ').nth(1)?.parse().ok()
}

#[test]
fn no_request_body_gives_a_5xx() {
    // security.md row 23
    let server = Server::start();
    let alice = server.extension("1001");
    let post = |path: &str, kind: &str, body: &[u8]| {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\n{kind}Content-Length: {}\r\n\r\n",
            alice.key,
            body.len()
        );
        raw_http(&server, &[head.as_bytes(), body].concat())
    };
    const JSON: &str = "Content-Type: application/json\r\n";
    let deep = |n: usize| format!("{{\"toNumber\":{}{}}}", "[".repeat(n), "]".repeat(n));
    let large = format!("{{\"toNumber\":\"{}\"}}", "1".repeat(70_000));
    let call = "/api/v1/opensips/call/initiate";
    for (body, status) in [
        ("", 400),
        ("x", 400),
        ("null", 400),
        ("[]", 400),
        ("\"a\"", 400),
        ("1e999", 400),
        ("{", 400),
        ("{}}", 400),
        ("{\"toNumber\":}", 400),
        ("{\"toNumber\":1001}", 400),
        ("{\"toNumber\":null}", 400),
        ("{\"toNumber\":{\"$ne\":1}}", 400),
        ("{\"toNumber\":[\"1001\"]}", 400),
        ("{\"toNumber\":\"1001\",\"isAdmin\":true}", 400),
        ("{\"toNumber\":\"1001\",\"permissions\":[\"admin\"]}", 400),
        ("{\"toNumber\":\"1001\",\"__proto__\":{}}", 400),
        ("{\"toNumber\":\"1001\",\"ringTimeoutSeconds\":-1}", 400),
        ("{\"toNumber\":\"1001\",\"ringTimeoutSeconds\":1e300}", 400),
        ("{\"toNumber\":\"1001\",\"ringTimeoutSeconds\":\"30\"}", 400),
        ("{\"toNumber\":\"1001\",\"useTwilio\":\"yes\"}", 400),
        ("{\"toNumber\":\"1' OR '1'='1\"}", 400),
        ("{\"toNumber\":\"\\ud800\"}", 400),
        ("{\"toNumber\":\"1001\\u0000\"}", 400),
        (deep(31).as_str(), 400),
        (deep(33).as_str(), 400),
        (deep(30_000).as_str(), 400),
        (large.as_str(), 413),
    ] {
        assert_eq!(post(call, JSON, body.as_bytes()), Some(status), "{body:.80}");
    }
    assert_eq!(post(call, JSON, b"{\"toNumber\":\"\xff\"}"), Some(400));
    for kind in [
        "",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "Content-Type: \r\n",
    ] {
        assert_eq!(post(call, kind, b"{\"toNumber\":\"1001\"}"), Some(415), "{kind}");
    }
    assert_eq!(
        post(call, "Content-Type: application/json\r\nContent-Encoding: gzip\r\n", b"\x1f\x8b\x08"),
        Some(415)
    );
    // Invalid request heads.
    for text in [
        &b"GET / HTTP/9.9\r\n\r\n"[..],
        b"GET /api/v1/calls\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET /api/v1/calls HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST /api/v1/calls HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /",
        b"POST /api/v1/calls HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /api/v1/calls/%2e%2e%2f%2e%2e%2fadmin.key/ladder HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /api/v1/calls HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer \xff\xfe\r\n\r\n",
        b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let status = raw_http(&server, text);
        assert!(status.is_none_or(|status| (400..500).contains(&status)), "{status:?}: {}", String::from_utf8_lossy(text));
    }
    let ids = [
        "%00",
        "..%2f..%2fadmin.key",
        "'%20OR%201=1--",
        "%ff",
        "a%0d%0aX-Evil:%201",
        "\u{202e}",
        &"a".repeat(5000),
    ];
    for id in ids {
        for path in [
            format!("/api/v1/voip/extensions/{id}"),
            format!("/api/v1/calls/{id}/ladder"),
            format!("/api/v1/opensips/call/{id}"),
        ] {
            let head = format!(
                "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\r\n",
                alice.key
            );
            let status = raw_http(&server, head.as_bytes());
            assert!(status.is_none_or(|status| matches!(status, 400 | 404 | 414)), "{status:?} for {path}");
        }
    }
    for query in [
        "limit=0",
        "limit=-1",
        "limit=1e9",
        "limit=x",
        "limit=1&limit=2",
        "cursor=%00",
        "cursor=a",
        "x=1",
        "limit=%ff",
        "active=maybe",
    ] {
        let answer = server.http(Some(&alice.key)).get(&format!("/api/v1/calls?{query}"));
        assert_eq!(answer.status, 400, "{query}: {}", answer.body);
    }
    assert_eq!(server.http(None).get("/healthz").status, 200);
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[test]
fn emergency_numbers_cannot_be_called_by_the_api() {
    // security.md row 31: the dial policy comes before the limits.
    let more = "[limits]\ncalls_per_user = 1\nrequests_per_minute = 100000\n".to_owned();
    let server = Server::with(Settings { more, ..Settings::default() });
    let alice = server.extension("1001");
    let http = server.http(Some(&alice.key));
    http.post("/api/v1/opensips/call/initiate", &json!({ "toNumber": "*43" })).expect(200);
    let full = http.post("/api/v1/opensips/call/initiate", &json!({ "toNumber": "*44" }));
    assert_eq!(full.status, 429, "{}", full.body);
    for number in [
        "112",
        "911",
        "000",
        "999",
        "110",
        "133",
        "+112",
        "+911",
        "sip:112@localhost",
        "sip:+911@127.0.0.1",
        "SIP:911@localhost",
    ] {
        for (path, body) in [
            ("/api/v1/opensips/call/initiate".to_owned(), json!({ "toNumber": number })),
            (
                "/api/v1/opensips/call/initiate".to_owned(),
                json!({ "destinationNumber": number, "useTwilio": true }),
            ),
            (format!("/api/v1/voip/extensions/{}/call", alice.id), json!({ "toNumber": number })),
        ] {
            let answer = http.post(&path, &body);
            assert_eq!(
                (answer.status, answer.json()["code"].as_str()),
                (403, Some("emergency_not_allowed")),
                "{path} {body}"
            );
        }
    }
    for number in ["112", "911"] {
        let answer = http.post("/api/v1/voip/extensions/create", &json!({ "extensionNumber": number }));
        assert_eq!(answer.status, 409, "{}", answer.body);
    }
}

#[test]
fn a_click_to_call_cannot_show_another_users_number() {
    // security.md row 30
    let server = Server::start();
    let (alice, bob, carol) = (server.extension("1001"), server.extension("1002"), server.extension("1003"));
    let (mut a, mut c) = (Raw::new(&server, &alice), Raw::new(&server, &carol));
    a.register();
    c.register();
    for from in [bob.number.clone(), bob.username.clone(), format!("sip:{}@localhost", bob.number)] {
        let wish = json!({ "fromNumber": from, "toNumber": "1003" });
        let started = server.http(Some(&alice.key)).post("/api/v1/opensips/call/initiate", &wish).expect(200);
        let id = started["session"]["sessionId"].as_str().expect("an id").to_owned();
        let invite = a.expect_request("INVITE");
        a.answer(&invite, 200, "", &a.sdp());
        a.expect_request("ACK");
        let invite = c.expect_request("INVITE");
        let said = invite.header("From").expect("a From");
        assert!(
            !said.contains(&bob.number) && !said.contains(&bob.username) && said.contains("1001"),
            "{said}"
        );
        c.answer(&invite, 486, "", "");
        c.expect_request("ACK");
        let bye = a.expect_request("BYE");
        a.answer(&bye, 200, "", "");
        until(LIMIT, "the call is over", || {
            let shown = server.admin().get(&format!("/api/v1/opensips/call/{id}")).expect(200);
            shown["session"]["endedAt"].is_string().then_some(())
        });
    }
}

/// All files below a directory that contain one of the secrets.
fn search(folder: &Path, secrets: &[(String, Vec<u8>)], found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            search(&path, secrets, found);
        } else if path.file_name().is_some_and(|name| name != "admin.key" && name != "import.csv") {
            note(&path.display().to_string(), &std::fs::read(&path).unwrap_or_default(), secrets, found);
        }
    }
}

fn note(place: &str, bytes: &[u8], secrets: &[(String, Vec<u8>)], found: &mut Vec<String>) {
    for (name, secret) in secrets {
        if bytes.windows(secret.len()).any(|window| window == secret) {
            found.push(format!("{name} in {place}"));
        }
    }
}

#[test]
fn the_process_writes_no_core_dump() {
    // security.md row 20
    let server = Server::start();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).expect("the kernel tells");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit of cores");
    let words: Vec<&str> = core.split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "{core}");
}

#[test]
fn ten_planted_secrets_are_found_nowhere() {
    // security.md row 20
    // With the most verbose logging, including that of libraries.
    let more = "[log]\nlevel = \"trace,sqlx=trace,hyper=trace\"\n".to_owned();
    let mut server = Server::with(Settings { more, ..Settings::default() });
    let (alice, bob) = (server.extension("1001"), server.extension("1002"));
    let list = server.data().join("import.csv");
    std::fs::write(&list, "number,username,password,owner\n1003,carol,PlantedImportedPassword1,carol\n")
        .expect("written");
    let admin = server.admin_key();
    server.stop();
    let imported = server.command(&["extension", "import", list.to_str().expect("a path")]);
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    server.restart();
    let made = server
        .admin()
        .post("/api/v1/opensips/generate-credentials", &json!({ "userId": "dora" }))
        .expect(200);
    let generated = made.to_string();
    let generated = generated
        .split("\"password\":\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("a password")
        .to_owned();
    let revoked = server.key_for("erna");
    let keys = server.admin().get("/api/v1/keys?userId=erna").expect(200);
    server
        .admin()
        .delete(&format!("/api/v1/keys/{}", keys["keys"][0]["id"].as_str().expect("an id")))
        .expect(200);
    assert_eq!(server.http(Some(&revoked)).get("/api/v1/keys").status, 401);
    let typo = format!("{}TypedWrongly", &bob.key[..20]);
    assert_eq!(server.http(Some(&typo)).get("/api/v1/keys").status, 401);
    // A call whose credentials are in a folded header.
    let (mut a, mut b) = (Raw::new(&server, &alice), Raw::new(&server, &bob));
    b.register();
    let body = a.sdp();
    let mut dialling = a.invite("1002", "", &body);
    let response = dialling
        .text
        .split("response=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("a response")
        .to_owned();
    dialling.text = dialling.text.replacen(", response=", ",\r\n  response=", 1);
    a.send(dialling.text.as_bytes());
    let invite = b.expect_request("INVITE");
    b.answer(&invite, 200, "", &b.sdp());
    let ok = a.expect_final("INVITE");
    let mut side = a.send_ack(&dialling, &ok);
    b.expect_request("ACK");
    a.hang_up(&mut side);
    let bye = b.expect_request("BYE");
    b.answer(&bye, 200, "", "");
    // Wrong passwords and wrong digest responses.
    let challenge: Challenge = a.challenge();
    let wrong = challenge.answer(&alice.username, "PlantedWrongPassword", "REGISTER", "sip:localhost", 1);
    let wrong_response = wrong
        .split("response=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("a response")
        .to_owned();
    let (from, id) = (a.from_line(), a.fresh());
    let text = a.request(
        "REGISTER",
        "sip:localhost",
        &from,
        &format!("<sip:{}@localhost>", alice.username),
        &id,
        1,
        &format!("Authorization: {wrong}\r\n"),
        "",
    );
    a.exchange(&text).expect("an answer");
    let secrets: Vec<(String, Vec<u8>)> = [
        ("a generated SIP password", &alice.password),
        ("another SIP password", &bob.password),
        ("an imported password", &"PlantedImportedPassword1".to_owned()),
        ("the password of a credential", &generated),
        ("the admin key", &admin),
        ("a user's key", &alice.key),
        ("another user's key", &bob.key),
        ("a revoked key", &revoked),
        ("a mistyped key", &typo),
        ("a digest response", &response),
        ("a wrong digest response", &wrong_response),
    ]
    .into_iter()
    .map(|(name, secret)| (name.to_owned(), secret.clone().into_bytes()))
    .collect();
    let call = server.finished_call();
    let id = call["sessionId"].as_str().expect("an id");
    let http = server.admin();
    let mut found = Vec::new();
    for path in [
        "/metrics".to_owned(),
        "/api/v1/calls".to_owned(),
        format!("/api/v1/calls/{id}/ladder"),
        format!("/api/v1/opensips/call/{id}"),
        "/api/v1/keys".to_owned(),
        "/api/v1/opensips/status".to_owned(),
        "/api/v1/opensips/health".to_owned(),
        "/openapi.json".to_owned(),
        format!("/api/v1/voip/extensions/{}", alice.id),
        "/api/v1/voip/extensions/user/user_of_1001".to_owned(),
        "/readyz".to_owned(),
    ] {
        let answer = http.get(&path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        note(&path, format!("{}{}", answer.head, answer.body).as_bytes(), &secrets, &mut found);
    }
    let ladder =
        http.send("GET", &format!("/api/v1/calls/{id}/ladder"), "text/plain", None).expect("an answer");
    assert!(ladder.body.contains("Authorization: ***") || ladder.body.contains("INVITE"), "{}", ladder.body);
    note("the ladder as text", ladder.body.as_bytes(), &secrets, &mut found);
    for words in
        [&["config", "show"][..], &["config", "check"], &["status"], &["key", "list"], &["extension", "list"]]
    {
        let output = server.command(words);
        note(&words.join(" "), &[output.stdout, output.stderr].concat(), &secrets, &mut found);
    }
    server.stop();
    search(server.data().parent().expect("a folder"), &secrets, &mut found);
    assert!(found.is_empty(), "{found:#?}");
}
