//! Guessed passwords, guessed user names and modified digests: an attacker always gets the same response, and soon none.

// A message is written with all its parts visible.
#![allow(clippy::format_push_string, clippy::too_many_arguments)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use e2e::raw::{LIMIT, Raw};
use e2e::wire::{Challenge, Message};
use e2e::{Extension, Server};
use md5::{Digest as _, Md5};
use serde_json::json;

fn hex(text: &str) -> String {
    Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn ip(third: u8, last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, third, last))
}

/// A phone at an address that claims to be this extension.
fn at(server: &Server, address: IpAddr, extension: &Extension, password: &str) -> Raw {
    Raw::at(address, server.sip(), &extension.username, password)
}

fn register_text(raw: &mut Raw, user: &str, authorization: &str, cseq: u32) -> String {
    let (from, id) = (format!("<sip:{user}@localhost>;tag=g"), raw.fresh());
    let contact = format!("Contact: <sip:{user}@{}>\r\n{authorization}", raw.local());
    raw.request(
        "REGISTER",
        "sip:localhost",
        &from,
        &format!("<sip:{user}@localhost>"),
        &id,
        cseq,
        &contact,
        "",
    )
}

/// Send guesses one after another, and count those that got a response: an OPTIONS behind each is answered after it.
fn count_answered(raw: &mut Raw, accounts: &[String], guesses: u32) -> usize {
    let challenge = raw.challenge();
    for n in 1..=guesses {
        let user = &accounts[n as usize % accounts.len()];
        let answer = challenge.answer(user, &format!("guess{n}"), "REGISTER", "sip:localhost", n);
        let text = register_text(raw, user, &format!("Authorization: {answer}\r\n"), n);
        raw.send(text.as_bytes());
    }
    let (from, id) = (raw.from_line(), raw.fresh());
    let marker = raw.request("OPTIONS", "sip:localhost", &from, "<sip:localhost>", &id, 1, "", "");
    raw.send(marker.as_bytes());
    let mut count = 0;
    loop {
        let answer = raw.receive(LIMIT).expect("the OPTIONS behind the guesses is answered");
        match answer.status() {
            Some(401) => count += 1,
            Some(200) if answer.header("Call-ID") == Some(id.as_str()) => return count,
            _ => panic!("a guess was right?\n{}", answer.text),
        }
    }
}

#[test]
fn password_guesses_at_one_account_are_soon_ignored_and_its_user_is_not() {
    // security.md row 1
    let server = Server::start();
    let alice = server.extension("1001");
    let mut owner = at(&server, ip(0, 2), &alice, &alice.password);
    owner.register();
    let mut attacker = at(&server, ip(0, 1), &alice, "");
    let count = count_answered(&mut attacker, std::slice::from_ref(&alice.username), 300);
    assert!((1..=10).contains(&count), "{count} of 300 guesses were judged");
    owner.register();
    let mut elsewhere = at(&server, ip(0, 3), &alice, &alice.password);
    elsewhere.register();
    // The attacker does not learn that it has guessed the password.
    let challenge = attacker.challenge();
    let right = challenge.answer(&alice.username, &alice.password, "REGISTER", "sip:localhost", 1);
    let text = register_text(&mut attacker, &alice.username, &format!("Authorization: {right}\r\n"), 7);
    attacker.send(text.as_bytes());
    assert_eq!(count_answered(&mut attacker, std::slice::from_ref(&alice.username), 1), 0);
}

#[test]
fn a_source_that_guesses_at_many_accounts_is_banned_but_not_its_registered_phones() {
    // security.md row 1
    let server = Server::start();
    let (alice, bob) = (server.extension("1001"), server.extension("1002"));
    let setup = ip(0, 4);
    let mut phone = at(&server, setup, &alice, &alice.password);
    phone.register();
    let mut attacker = at(&server, setup, &bob, "");
    let accounts: Vec<String> = (0..60).map(|n| format!("20{n:02}")).collect();
    let count = count_answered(&mut attacker, &accounts, 300);
    assert!((50..=100).contains(&count), "{count} of 300 guesses were judged");
    phone.register(); // one wrong device does not lock out the other phones behind its address
    let challenge = attacker.challenge();
    let right = challenge.answer(&bob.username, &bob.password, "REGISTER", "sip:localhost", 1);
    let text = register_text(&mut attacker, &bob.username, &format!("Authorization: {right}\r\n"), 7);
    attacker.send(text.as_bytes());
    assert_eq!(count_answered(&mut attacker, std::slice::from_ref(&bob.username), 1), 0);
    at(&server, ip(0, 5), &bob, &bob.password).register();
}

/// Replace the parts that vary between two responses to the same request.
fn shape(answer: &Message, user: &str, raw: &Raw) -> String {
    let local = raw.local();
    let mut text = answer.text.replace(user, "USER").replace(&local.ip().to_string(), "IP");
    text = text.replace(&local.port().to_string(), "PORT");
    for (before, after) in [("nonce=\"", '"'), ("tag=", '\r'), ("branch=", ';'), ("Call-ID: ", '\r')] {
        let mut rest = text.as_str();
        let mut clean = String::new();
        while let Some((head, tail)) = rest.split_once(before) {
            clean += head;
            clean += before;
            rest = &tail[tail.find(after).unwrap_or(tail.len())..];
        }
        text = clean + rest;
    }
    text
}

/// Known, known by number, inactive, and unknown user names.
fn names(server: &Server) -> Vec<(&'static str, String)> {
    let (alice, bob) = (server.extension("1001"), server.extension("1002"));
    let path = format!("/api/v1/voip/extensions/{}", bob.id);
    server.http(Some(&bob.key)).put(&path, &json!({ "status": "inactive" })).expect(200);
    let unknown = format!("{}x", &alice.username[..alice.username.len() - 1]);
    vec![
        ("known", alice.username),
        ("its number", alice.number),
        ("inactive", bob.username),
        ("inactive by number", bob.number),
        ("unknown", unknown),
        ("unknown number", "1999".to_owned()),
    ]
}

const METHODS: [&str; 9] =
    ["REGISTER", "INVITE", "OPTIONS", "SUBSCRIBE", "MESSAGE", "PUBLISH", "NOTIFY", "REFER", "INFO"];

#[test]
fn known_and_unknown_users_get_the_same_responses() {
    // security.md row 2
    let server = Server::start();
    let names = names(&server);
    for method in METHODS {
        let mut shapes: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        let mut refused: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (n, (kind, user)) in names.iter().enumerate() {
            let mut raw = Raw::at(ip(7, 1 + n as u8), server.sip(), user, "wrong");
            let uri = match method {
                "REGISTER" => "sip:localhost".to_owned(),
                _ => format!("sip:{user}@localhost"),
            };
            let to = format!("<sip:{user}@localhost>");
            let (from, id) = (format!("<sip:{user}@localhost>;tag=same"), raw.fresh());
            let more = "Contact: <sip:a@127.0.0.1>\r\n";
            let first = raw.request(method, &uri, &from, &to, &id, 1, more, "");
            let answer = raw.exchange(&first).unwrap_or_else(|| panic!("no answer to {method} for {kind}"));
            shapes.entry(shape(&answer, user, &raw)).or_default().push(kind);
            let challenge = answer.header("WWW-Authenticate").and_then(Challenge::parse);
            let Some(challenge) = challenge else { continue };
            let value = challenge.answer(user, "wrong", method, &uri, 1);
            let more = format!("{more}Authorization: {value}\r\n");
            let second = raw.request(method, &uri, &from, &to, &id, 2, &more, "");
            let answer = raw.exchange(&second).expect("an answer");
            refused.entry(shape(&answer, user, &raw)).or_default().push(kind);
        }
        assert_eq!(shapes.len(), 1, "{method} is answered differently: {shapes:#?}");
        assert!(refused.len() <= 1, "{method} with a wrong password is answered differently: {refused:#?}");
    }
}

/// Difference of two means in microseconds that is never a failure: scheduling noise of a machine that runs other tests too.
const LEAST_DIFFERENCE_US: f64 = 1_000.0;

/// Mean and half of the 95 % confidence interval in microseconds, of the lowest nine tenths of the times; the highest tenth is scheduling noise.
fn mean(mut times: Vec<f64>) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    times.truncate(times.len() * 9 / 10);
    let n = times.len() as f64;
    let mean = times.iter().sum::<f64>() / n;
    let variance = times.iter().map(|t| (t - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, 1.96 * (variance / n).sqrt())
}

#[test]
fn known_and_unknown_users_get_their_responses_in_the_same_time() {
    // security.md row 2: at least 300 answered guesses for each kind of name, ten from each source.
    let server = Server::start();
    let names = names(&server);
    let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for source in 1..=32_u8 {
        let mut raw = Raw::at(ip(8, source), server.sip(), "x", "");
        let challenge = raw.challenge();
        let mut count = 0;
        for _ in 0..10 {
            for (kind, user) in &names {
                count += 1;
                let value = challenge.answer(user, "wrong", "REGISTER", "sip:localhost", count);
                let text = register_text(&mut raw, user, &format!("Authorization: {value}\r\n"), 1);
                let start = Instant::now();
                raw.send(text.as_bytes());
                let answer = raw.receive_raw(LIMIT).expect("a judged guess is answered");
                times.entry(kind).or_default().push(start.elapsed().as_secs_f64() * 1e6);
                assert!(answer.starts_with(b"SIP/2.0 401"), "{}", String::from_utf8_lossy(&answer));
            }
        }
    }
    let (unknown, spread) = mean(times.remove("unknown").expect("measured"));
    for (kind, times) in times {
        let (known, other) = mean(times);
        let allowed = (2.0 * (spread.powi(2) + other.powi(2)).sqrt()).max(LEAST_DIFFERENCE_US);
        assert!(
            (known - unknown).abs() <= allowed,
            "{kind}: {known:.0} us, unknown: {unknown:.0} us, more than {allowed:.0} us apart"
        );
    }
}

/// The parameters of an Authorization header, which are then modified one at a time.
fn parts(challenge: &Challenge, extension: &Extension) -> BTreeMap<&'static str, String> {
    let (nc, cnonce) = ("00000001", "0a4f113b");
    let ha1 = hex(&format!("{}:{}:{}", extension.username, challenge.realm, extension.password));
    let ha2 = hex("REGISTER:sip:localhost");
    let response = hex(&format!("{ha1}:{}:{nc}:{cnonce}:auth:{ha2}", challenge.nonce));
    BTreeMap::from([
        ("username", format!("\"{}\"", extension.username)),
        ("realm", format!("\"{}\"", challenge.realm)),
        ("nonce", format!("\"{}\"", challenge.nonce)),
        ("uri", "\"sip:localhost\"".to_owned()),
        ("response", format!("\"{response}\"")),
        ("algorithm", "MD5".to_owned()),
        ("qop", "auth".to_owned()),
        ("nc", nc.to_owned()),
        ("cnonce", format!("\"{cnonce}\"")),
    ])
}

fn line(parts: &BTreeMap<&'static str, String>) -> String {
    let all: Vec<String> = parts.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("Digest {}", all.join(", "))
}

#[test]
fn no_modified_digest_is_accepted() {
    // security.md rows 3 and 4
    let server = Server::start();
    let (alice, bob) = (server.extension("1001"), server.extension("1002"));
    type Modification = Box<dyn Fn(&BTreeMap<&'static str, String>, &Challenge) -> String>;
    let set = |name: &'static str, value: &'static str| -> Modification {
        Box::new(move |parts, _| {
            let mut parts = parts.clone();
            parts.insert(name, value.to_owned());
            line(&parts)
        })
    };
    let without = |name: &'static str| -> Modification {
        Box::new(move |parts, _| {
            let mut parts = parts.clone();
            parts.remove(name);
            line(&parts)
        })
    };
    let doubled = |name: &'static str, value: &'static str, first: bool| -> Modification {
        Box::new(move |parts, _| match first {
            true => line(parts).replacen("Digest ", &format!("Digest {name}={value}, "), 1),
            false => format!("{}, {name}={value}", line(parts)),
        })
    };
    let (user, password) = (alice.username.clone(), alice.password.clone());
    // A response computed by this rule, over the parameters in the header.
    let computed = |rule: fn(&str, &str, &str) -> String,
                    more: &'static [(&'static str, &'static str)]|
     -> Modification {
        let (user, password) = (user.clone(), password.clone());
        Box::new(move |parts, challenge| {
            let mut parts = parts.clone();
            let ha1 = hex(&format!("{user}:{}:{password}", challenge.realm));
            parts.insert("response", format!("\"{}\"", rule(&ha1, &challenge.nonce, &challenge.realm)));
            for (name, value) in more {
                match *value {
                    "" => drop(parts.remove(name)),
                    value => drop(parts.insert(name, value.to_owned())),
                }
            }
            line(&parts)
        })
    };
    let other_user = bob.username.clone();
    let modifications: Vec<(&str, Modification)> = vec![
        ("qop=auth-int", set("qop", "auth-int")),
        (
            "qop=auth-int, rightly computed",
            computed(
                |ha1, nonce, _| {
                    let ha2 = hex(&format!("REGISTER:sip:localhost:{}", hex("")));
                    hex(&format!("{ha1}:{nonce}:00000001:0a4f113b:auth-int:{ha2}"))
                },
                &[("qop", "auth-int")],
            ),
        ),
        ("no qop", without("qop")),
        (
            "no qop, rightly computed after RFC 2069",
            computed(
                |ha1, nonce, _| hex(&format!("{ha1}:{nonce}:{}", hex("REGISTER:sip:localhost"))),
                &[("qop", ""), ("nc", ""), ("cnonce", "")],
            ),
        ),
        (
            "qop=foo, rightly computed",
            computed(
                |ha1, nonce, _| {
                    hex(&format!("{ha1}:{nonce}:00000001:0a4f113b:foo:{}", hex("REGISTER:sip:localhost")))
                },
                &[("qop", "foo")],
            ),
        ),
        ("another realm", set("realm", "\"elsewhere\"")),
        ("no realm", without("realm")),
        ("empty cnonce", set("cnonce", "\"\"")),
        (
            "empty cnonce, rightly computed",
            computed(
                |ha1, nonce, _| {
                    hex(&format!("{ha1}:{nonce}:00000001::auth:{}", hex("REGISTER:sip:localhost")))
                },
                &[("cnonce", "\"\"")],
            ),
        ),
        ("no cnonce", without("cnonce")),
        ("nc that is no hex", set("nc", "0000000g")),
        ("nc too short", set("nc", "1")),
        ("nc too long", set("nc", "000000001")),
        (
            "nc of zero, rightly computed",
            computed(
                |ha1, nonce, _| {
                    hex(&format!("{ha1}:{nonce}:00000000:0a4f113b:auth:{}", hex("REGISTER:sip:localhost")))
                },
                &[("nc", "00000000")],
            ),
        ),
        ("no nc", without("nc")),
        ("a second username behind", doubled("username", "\"bob\"", false)),
        ("a second username in front", doubled("username", "\"bob\"", true)),
        ("a second response", doubled("response", "\"00000000000000000000000000000000\"", false)),
        ("a second nonce", doubled("nonce", "\"x\"", true)),
        ("algorithm=SHA-256", set("algorithm", "SHA-256")),
        ("algorithm=MD5-sess", set("algorithm", "MD5-sess")),
        ("algorithm=none", set("algorithm", "none")),
        ("an empty algorithm", set("algorithm", "\"\"")),
        ("an empty response", set("response", "\"\"")),
        ("no response", without("response")),
        ("half a response", set("response", "\"00000000\"")),
        ("a response of NULs", set("response", "\"\\0\\0\"")),
        ("no nonce", without("nonce")),
        ("an empty nonce", set("nonce", "\"\"")),
        ("a nonce of others", set("nonce", "\"dcd98b7102dd2f0e8b11d0f600bfb0c093\"")),
        ("another URI", set("uri", "\"sip:elsewhere\"")),
        ("the URI of a user", set("uri", "\"sip:1002@localhost\"")),
        (
            "the URI of another domain, rightly computed",
            computed(
                |ha1, nonce, _| {
                    hex(&format!("{ha1}:{nonce}:00000001:0a4f113b:auth:{}", hex("REGISTER:sip:elsewhere")))
                },
                &[("uri", "\"sip:elsewhere\"")],
            ),
        ),
        (
            "another method, rightly computed",
            computed(
                |ha1, nonce, _| {
                    hex(&format!("{ha1}:{nonce}:00000001:0a4f113b:auth:{}", hex("INVITE:sip:localhost")))
                },
                &[],
            ),
        ),
        ("an empty username", set("username", "\"\"")),
        ("no username", without("username")),
        (
            "the name of another",
            Box::new(move |parts, _| {
                let mut parts = parts.clone();
                parts.insert("username", format!("\"{other_user}\""));
                line(&parts)
            }),
        ),
        ("Basic", Box::new(|_, _| "Basic YWxpY2U6YWxpY2U=".to_owned())),
        ("a bare scheme", Box::new(|_, _| "Digest".to_owned())),
        (
            "an open quote",
            Box::new(|parts, _| line(parts).replace("uri=\"sip:localhost\"", "uri=\"sip:localhost")),
        ),
        ("ten thousand commas", Box::new(|parts, _| format!("{}{}", line(parts), ",".repeat(10_000)))),
    ];
    for (n, (what, modify)) in modifications.iter().enumerate() {
        let mut raw = at(&server, ip(9, 1 + n as u8), &alice, "");
        let challenge = raw.challenge();
        let value = modify(&parts(&challenge, &alice), &challenge);
        let text = register_text(&mut raw, &alice.username, &format!("Authorization: {value}\r\n"), 2);
        let answer = raw.exchange(&text).unwrap_or_else(|| panic!("no answer to {what}"));
        assert!(matches!(answer.status(), Some(400 | 401 | 403)), "{what}:\n{text}\n{}", answer.text);
    }
    // The unmodified header is accepted, also with escapes in the user name.
    let mut raw = at(&server, ip(9, 200), &alice, "");
    let challenge = raw.challenge();
    let mut right = parts(&challenge, &alice);
    let escaped: String = alice.username.chars().flat_map(|c| ['\\', c]).collect();
    right.insert("username", format!("\"{escaped}\""));
    let value = line(&right);
    let text = register_text(&mut raw, &alice.username, &format!("Authorization: {value}\r\n"), 2);
    assert_eq!(raw.exchange(&text).and_then(|answer| answer.status()), Some(200), "{text}");
}

#[test]
fn a_digest_is_valid_once_for_one_method_and_one_uri() {
    // security.md row 3
    let server = Server::start();
    let (alice, bob) = (server.extension("1001"), server.extension("1002"));
    let mut phone = Raw::new(&server, &alice);
    let challenge = phone.challenge();
    let value = challenge.answer(&alice.username, &alice.password, "REGISTER", "sip:localhost", 1);
    let text = register_text(&mut phone, &alice.username, &format!("Authorization: {value}\r\n"), 2);
    assert_eq!(phone.exchange(&text).and_then(|answer| answer.status()), Some(200));
    // The same bytes from the same socket are a retransmission and get the same response; from another socket they are a replay.
    assert_eq!(phone.exchange(&text).and_then(|answer| answer.status()), Some(200));
    for attacker in [Raw::new(&server, &alice), at(&server, ip(0, 6), &alice, "")] {
        let answer = attacker
            .socket
            .send_to(text.as_bytes(), server.sip())
            .map(|_| attacker.receive(Duration::from_secs(1)));
        // Without rport the response goes to the port in Via, on the attacker's own host; with rport, to the attacker's port.
        if let Ok(Some(answer)) = answer {
            assert_eq!(answer.status(), Some(401), "{}", answer.text);
        }
    }
    let listed =
        server.http(Some(&alice.key)).get(&format!("/api/v1/voip/extensions/{}", alice.id)).expect(200);
    assert_eq!(listed["extension"]["registered"], true);
    // The next count of the same nonce, but for another method or another request URI.
    let mut next = 1;
    for (method, uri, digest_method, digest_uri) in [
        ("INVITE", format!("sip:{}@localhost", bob.number), "REGISTER", "sip:localhost".to_owned()),
        (
            "INVITE",
            format!("sip:{}@localhost", bob.number),
            "INVITE",
            format!("sip:{}@localhost", alice.number),
        ),
        (
            "INVITE",
            format!("sip:{}@localhost", bob.number),
            "INVITE",
            format!("sip:{}@elsewhere", bob.number),
        ),
        ("REGISTER", "sip:localhost".to_owned(), "INVITE", "sip:localhost".to_owned()),
    ] {
        next += 1;
        let value = challenge.answer(&alice.username, &alice.password, digest_method, &digest_uri, next);
        let (from, id) = (phone.from_line(), phone.fresh());
        let more = format!("Contact: <sip:a@{}>\r\nAuthorization: {value}\r\n", phone.local());
        let to = format!("<{uri}>");
        let text = phone.request(method, &uri, &from, &to, &id, 3, &more, "");
        let answer = phone.exchange(&text).expect("an answer");
        assert_eq!(answer.status(), Some(401), "{digest_method} {digest_uri} passed for {method} {uri}");
    }
    // A used count is a replay; a skipped one is accepted.
    for (count, status, stale) in
        [(9, 200, false), (9, 401, true), (8, 200, false), (8, 401, true), (1, 401, true)]
    {
        let value = challenge.answer(&alice.username, &alice.password, "REGISTER", "sip:localhost", count);
        let cseq = 10 + phone.local().port() as u32;
        let text = register_text(&mut phone, &alice.username, &format!("Authorization: {value}\r\n"), cseq);
        let answer = phone.exchange(&text).expect("an answer");
        assert_eq!(answer.status(), Some(status), "count {count}: {}", answer.text);
        let said = answer.header("WWW-Authenticate").and_then(Challenge::parse).is_some_and(|c| c.stale);
        assert_eq!(said, stale, "count {count}: {}", answer.text);
    }
}

#[test]
fn every_account_is_challenged_once_with_md5_and_qop_auth() {
    // security.md row 4, S136
    let server = Server::start();
    let alice = server.extension("1001");
    for user in [alice.username.as_str(), "1001", "nobody", "6170"] {
        let mut raw = Raw::at(ip(0, 1), server.sip(), user, "");
        let text = register_text(&mut raw, user, "", 1);
        let answer = raw.exchange(&text).expect("a challenge");
        let all: Vec<&str> = answer.headers("WWW-Authenticate").collect();
        assert_eq!(all.len(), 1, "{}", answer.text);
        assert!(all[0].contains("algorithm=MD5") && all[0].contains("qop=\"auth\""), "{}", all[0]);
        assert!(answer.header("Proxy-Authenticate").is_none());
    }
}

#[test]
fn default_accounts_of_other_pbxs_do_not_exist() {
    // security.md row 29
    let server = Server::start();
    let words =
        ["", "1234", "admin", "password", "mini-vapi", "SuperClaveSegura123", "SecurePass123!", "9c8c3568"];
    let users = ["6170", "6171", "6172", "6173", "admin", "1000", "1001", "anonymous", "asterisk"];
    for (n, user) in users.iter().enumerate() {
        let mut raw = Raw::at(ip(10, 1 + n as u8), server.sip(), user, "");
        let challenge = raw.challenge();
        for (count, word) in words.iter().chain([user]).enumerate() {
            let value = challenge.answer(user, word, "REGISTER", "sip:localhost", 1 + count as u32);
            let text = register_text(&mut raw, user, &format!("Authorization: {value}\r\n"), 2);
            let answer = raw.exchange(&text).expect("an answer");
            assert_eq!(answer.status(), Some(401), "{user}/{word}: {}", answer.text);
        }
    }
    for key in ["", "admin", "mini-vapi", "SuperClaveSegura123", "SecurePass123!", "voip_live_admin"] {
        let answer = server.http(Some(key)).get("/api/v1/calls");
        assert_eq!(answer.status, 401, "{key}: {}", answer.body);
    }
}
