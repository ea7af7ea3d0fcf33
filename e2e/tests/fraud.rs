//! Toll fraud: forbidden numbers by every origin and in every spelling, and the outbound limits of users (security.md rows 7 and 31).

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use e2e::raw::{LIMIT, Raw};
use e2e::wire::Message;
use e2e::{Extension, Server, Settings, soon};
use serde_json::{Value, json};

const MADRID: &str = "+34912345678";
const INITIATE: &str = "/api/v1/opensips/call/initiate";

/// Spellings of a number from a person or a program.
const TEXTS: [&str; 42] = [
    "+19005551234",
    "19005551234",
    "9005551234",
    "0019005551234",
    "01119005551234",
    "001119005551234",
    "901119005551234",
    "900881612345678",
    "+0019005551234",
    "+01119005551234",
    "+1 900 555 1234",
    "+1-900-555-1234",
    "1-900-555-1234",
    "+1.900.555.1234",
    "+1 (900) 555-1234",
    "+1 1 900 555 1234",
    " +19005551234",
    "+19005551234 ",
    "+19005551234#",
    "+19005551234*",
    "19005551234##",
    "tel:+19005551234",
    "TEL:+1-900-555-1234",
    "tel:9005551234;phone-context=+1",
    "sip:+19005551234@localhost",
    "SIP:0019005551234@127.0.0.1",
    "sips:+19005551234@localhost",
    "sip:+19005551234@localhost;user=phone",
    "sip:+19005551234;phone-context=+1@localhost;user=phone",
    "sip:%2B19005551234@localhost",
    "sip:+19005551234:secret@localhost",
    "sip:+19005551234@localhost?Route=%3Csip%3A127.0.0.1%3A9%3Blr%3E",
    "<sip:+19005551234@localhost>",
    "+１９００５５５１２３４",
    "+١٩٠٠٥٥٥١٢٣٤",
    "+19005551234\r\nRoute: <sip:127.0.0.1:9;lr>",
    "+19005551234\0",
    "+881612345678",
    "00881612345678",
    "+870773123456",
    "+34803123456",
    "+2471234",
];

/// Spellings that only a Request-URI can have.
const URIS: [&str; 25] = [
    "sip:+19005551234@localhost",
    "sip:0019005551234@localhost",
    "sip:01119005551234@localhost",
    "sip:901119005551234@localhost",
    "sip:900881612345678@localhost",
    "sip:9005551234;phone-context=+1@localhost;user=phone",
    "sip:+19005551234;phone-context=localhost@localhost;user=phone",
    "sip:+19005551234;npdi;rn=+34912345678@localhost",
    "sip:+19005551234;isub=7@127.0.0.1",
    "sip:+19005551234@localhost;user=phone;transport=udp",
    "sip:+19005551234@localhost;maddr=127.0.0.1",
    "sip:+19005551234@localhost?Route=%3Csip%3A127.0.0.1%3A9%3Blr%3E",
    "sip:%2B19005551234@localhost",
    "sip:+1%3900555%31234@localhost",
    "sip:%2B1%20900%20555%201234@localhost",
    "sip:+1-(900)-555.1234@localhost",
    "sip:+19005551234%23@localhost",
    "sip:+19005551234%00@localhost",
    "sip:+%EF%BC%91%EF%BC%99%EF%BC%90%EF%BC%905551234@localhost",
    "sip:+19005551234:secret@localhost",
    "sip:tel%3A+19005551234@localhost",
    "sips:+19005551234@localhost",
    "tel:+19005551234",
    "tel:9005551234;phone-context=+1",
    "sip:+881612345678@localhost",
];

/// A carrier's socket that sends to the server.
fn carrier(server: &Server) -> Raw {
    let carrier = Raw::at(IpAddr::V4(Ipv4Addr::LOCALHOST), server.sip(), "carrier", "");
    let hosts = [json!({"host": "127.0.0.1", "port": carrier.local().port()})];
    let trunk = json!({"name": "Carrier", "hosts": hosts, "callerNumber": "+34910000000", "probe": false});
    server.admin().post("/api/v1/trunks", &trunk).expect(200);
    carrier
}

fn phone(server: &Server, extension: &Extension) -> Raw {
    let mut phone = Raw::new(server, extension);
    phone.register();
    phone
}

fn generous(more: &str) -> Server {
    let more = format!("{more}\nrequests_per_minute = 100000\n");
    Server::with(Settings { more, ..Settings::default() })
}

/// Dial, and acknowledge the rejection.
fn refused(phone: &mut Raw, number: &str) -> Message {
    let body = phone.sdp();
    let dialling = phone.invite(number, "", &body);
    phone.send(dialling.text.as_bytes());
    let refusal = phone.expect_final("INVITE");
    phone.ack_error(&dialling.text, &refusal);
    refusal
}

/// A permitted call arrives, and is the first message that the carrier has received.
fn the_carrier_heard_nothing_before(carrier: &Raw, phone: &mut Raw) {
    let body = phone.sdp();
    let dialling = phone.invite(MADRID, "", &body);
    phone.send(dialling.text.as_bytes());
    let first = carrier.receive(LIMIT).expect("the permitted call");
    assert!(first.text.starts_with(&format!("INVITE sip:{MADRID}@")), "{}", first.text);
    carrier.answer(&first, 486, "", "");
    let refusal = phone.expect_final("INVITE");
    phone.ack_error(&dialling.text, &refusal);
}

#[test]
fn no_spelling_of_a_forbidden_number_reaches_the_carrier_from_any_origin() {
    // security.md row 7, and figure 4
    let server = generous("[limits]");
    let carrier = carrier(&server);
    let (one, two) = (server.extension("1001"), server.extension("1002"));
    let (mut caller, mut callee) = (phone(&server, &one), phone(&server, &two));
    let http = server.http(Some(&one.key));
    // By a phone.
    for uri in URIS {
        let contact = format!("Contact: <sip:a@{}>\r\nContent-Type: application/sdp\r\n", caller.local());
        let body = caller.sdp();
        let answer = caller.ask("INVITE", uri, "<sip:x@localhost>", &contact, &body);
        assert!(matches!(answer.status(), Some(400..=499)), "{uri}: {}", answer.text);
        assert_ne!(answer.status(), Some(401), "{uri}: no challenge");
    }
    let path = format!("/api/v1/voip/extensions/{}", one.id);
    for text in TEXTS {
        let doors = [
            ("a call", http.post(INITIATE, &json!({"fromNumber": "1001", "toNumber": text}))),
            ("an extension's call", http.post(&format!("{path}/call"), &json!({ "toNumber": text }))),
            ("forwarding", http.put(&path, &json!({"forwardingEnabled": true, "forwardingNumber": text}))),
            ("follow-me", http.put(&path, &json!({"followMe": {"numbers": [{"number": text}]}}))),
            (
                "a recurring call",
                http.post(
                    &format!("{path}/recurring-calls"),
                    &json!({"destinationNumber": text, "schedule": {"frequency": "daily", "time": "09:00"}}),
                ),
            ),
        ];
        for (origin, answer) in doors {
            assert!(matches!(answer.status, 400 | 403 | 404), "{origin}: {text:?}: {}", answer.body);
            assert!(answer.json()["code"].is_string(), "{origin}: {text:?}: {}", answer.body);
        }
    }
    // By a phone that redirects its callers (302).
    for target in
        ["<sip:+19005551234@localhost>", "<tel:+19005551234>", "<sip:0019005551234@127.0.0.1;user=phone>"]
    {
        let body = caller.sdp();
        let dialling = caller.invite("1002", "", &body);
        caller.send(dialling.text.as_bytes());
        let invite = callee.expect_request("INVITE");
        callee.answer(&invite, 302, &format!("Contact: {target}\r\n"), "");
        callee.expect_request("ACK");
        let refusal = caller.expect_final("INVITE");
        caller.ack_error(&dialling.text, &refusal);
        assert!(matches!(refusal.status(), Some(400..=499)), "{target}: {}", refusal.text);
    }
    // By a phone that transfers (REFER).
    let mut up = caller.call(&callee);
    let text =
        callee.in_dialog_request(&mut up.callee, "REFER", "Refer-To: <sip:+19005551234@localhost>\r\n", "");
    let answer = callee.exchange(&text).and_then(|answer| answer.status());
    assert!(matches!(answer, Some(400..=499 | 501)), "{answer:?}");
    caller.hang_up(&mut up.caller);
    the_carrier_heard_nothing_before(&carrier, &mut caller);
}

#[test]
fn a_number_rewritten_by_a_trunk_prefix_is_checked_too() {
    // security.md row 7
    let server = generous("[limits]");
    let carrier = carrier(&server);
    let trunks = server.admin().get("/api/v1/trunks").expect(200);
    let id = trunks["trunks"][0]["id"].as_str().expect("an id").to_owned();
    let path = format!("/api/v1/trunks/{id}");
    let one = server.extension("1001");
    let mut caller = phone(&server, &one);
    let http = server.http(Some(&one.key));
    for (settings, number) in [
        (json!({"stripPrefix": "9"}), "919005551234"),
        (json!({"stripPrefix": "9"}), "900881612345678"),
        (json!({"stripPrefix": "0", "numberFormat": "digits"}), "019005551234"),
        (json!({"stripPrefix": "77", "numberFormat": "dialled"}), "770019005551234"),
        (json!({"stripPrefix": null, "addPrefix": "+44", "numberFormat": "e164"}), "9012345678"),
    ] {
        server.admin().put(&path, &settings).expect(200);
        let refusal = refused(&mut caller, number);
        assert_eq!(refusal.status(), Some(403), "{settings} {number}: {}", refusal.text);
        let answer = http.post(INITIATE, &json!({"fromNumber": "1001", "toNumber": number}));
        assert_eq!(
            (answer.status, answer.json()["code"].as_str()),
            (403, Some("number_blocked")),
            "{settings} {number}: {}",
            answer.body
        );
    }
    server.admin().put(&path, &json!({"addPrefix": null})).expect(200);
    the_carrier_heard_nothing_before(&carrier, &mut caller);
}

#[test]
fn outbound_calls_per_minute_are_limited_with_a_localised_message() {
    // security.md row 7
    let server = generous("[limits]\noutside_calls_per_minute = 2");
    let carrier = carrier(&server);
    let one = server.extension("1001");
    let mut caller = phone(&server, &one);
    for _ in 0..2 {
        the_carrier_heard_nothing_before(&carrier, &mut caller);
        while carrier.receive(Duration::from_millis(100)).is_some() {}
    }
    let refusal = refused(&mut caller, MADRID);
    assert_eq!(refusal.status(), Some(503), "{}", refusal.text);
    assert!(refusal.header("Reason").is_some_and(|r| r.contains("Too many calls to the outside")));
    assert!(refusal.header("Retry-After").is_some());
    let http = server.http(Some(&one.key));
    let answer = http.post(INITIATE, &json!({"fromNumber": "1001", "toNumber": MADRID}));
    assert_eq!((answer.status, answer.json()["code"].as_str()), (429, Some("call_rate_limit")));
    assert!(answer.header("retry-after").is_some());
    soon("the refused call is recorded", || {
        server.calls().iter().any(|call| call["endReason"] == "call_rate_limit").then_some(())
    });
    // Emergency calls are not limited.
    let body = caller.sdp();
    let dialling = caller.invite("112", "", &body);
    caller.send(dialling.text.as_bytes());
    let invite = carrier.expect_request("INVITE");
    assert!(invite.text.starts_with("INVITE sip:112@"), "{}", invite.text);
    carrier.answer(&invite, 486, "", "");
    caller.ack_error(&dialling.text, &caller.expect_final("INVITE"));
}

fn events(server: &Server, kind: &str) -> Vec<Value> {
    let listed = server.admin().get(&format!("/api/v1/events?type={kind}")).expect(200);
    listed["events"].as_array().cloned().unwrap_or_default()
}

#[test]
fn emergency_calls_are_placed_while_draining_and_reported() {
    // security.md row 31
    let server = generous("[limits]\ncalls_per_user = 1\noutside_calls_per_minute = 1");
    let (one, two) = (server.extension("1001"), server.extension("1002"));
    let (mut a, mut b) = (phone(&server, &one), phone(&server, &two));
    // Without a trunk the rejection is clear, and an event reports it.
    let refusal = refused(&mut a, "112");
    assert_eq!(refusal.status(), Some(503), "{}", refusal.text);
    assert!(refusal.header("Reason").is_some_and(|reason| reason.contains("use another telephone")));
    let carrier = carrier(&server);
    let mut up = a.call(&b); // the only call that the user may have
    server.admin().post("/api/v1/opensips/stop", &json!({})).expect(200);
    let draining = refused(&mut a, MADRID);
    assert_eq!(draining.status(), Some(503), "{}", draining.text);
    let body = a.sdp();
    let dialling = a.invite("911", "", &body);
    a.send(dialling.text.as_bytes());
    let invite = carrier.expect_request("INVITE");
    assert!(invite.text.starts_with("INVITE sip:911@"), "{}", invite.text);
    carrier.answer(&invite, 200, "", &carrier.sdp());
    let ok = a.expect_final("INVITE");
    assert_eq!(ok.status(), Some(200), "{}", ok.text);
    let mut help = a.send_ack(&dialling, &ok);
    b.hang_up(&mut up.callee);
    let emergencies = soon("events of both emergency calls", || {
        let emergencies = events(&server, "emergency_call");
        (emergencies.len() == 2).then_some(emergencies)
    });
    for event in &emergencies {
        assert_eq!(event["data"]["fromNumber"], "1001", "{event:#}");
    }
    a.hang_up(&mut help);
}
