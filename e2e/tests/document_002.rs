//! The requests of the user's third document, unchanged except for host, key and ids.

use e2e::{Account, Document, Extension, Phone, Server, soon, text};
use serde_json::{Value, json};

/// Requests, followed by commands.
const DOCUMENT: Document =
    Document { text: include_str!("../documents/002.txt"), origin: "https://your-domain.com" };

/// A request written as head and body.
#[derive(Debug, Clone)]
struct Request {
    method: String,
    path: String,
    body: Option<Value>,
}

/// The requests of the document in order; `curl` commands are at its end.
fn requests() -> Vec<Request> {
    let bare = DOCUMENT.text.split("# 1. ").next().expect("what comes before the commands");
    let mut all: Vec<Request> = Vec::new();
    let mut body = String::new();
    for line in bare.lines().chain(["GET /end"]) {
        let verb = ["GET ", "POST ", "PUT ", "DELETE "].iter().find(|verb| line.starts_with(**verb));
        if verb.is_some() {
            if let (Some(last), false) = (all.last_mut(), body.trim().is_empty()) {
                last.body = Some(serde_json::from_str(&body).unwrap_or_else(|_| panic!("{body}")));
            }
            body.clear();
            let (method, path) = line.split_once(' ').expect("a method and a path");
            all.push(Request { method: method.to_owned(), path: path.to_owned(), body: None });
        } else if !line.starts_with("Authorization:") && !line.starts_with("Content-Type:") {
            body.push_str(line);
        }
    }
    all.pop();
    all
}

/// Send a request with a key, with its own ids instead of the documented ones.
#[track_caller]
fn send(
    server: &Server,
    key: Option<&str>,
    request: &Request,
    extension: &str,
    recurring: &str,
) -> (u16, Value) {
    let path =
        request.path.replace("ext_1234567890_abc123", extension).replace("rc_1234567890_abc123", recurring);
    let answer = server.http(key).send(&request.method, &path, "application/json", request.body.as_ref());
    let answer = answer.unwrap_or_else(|error| panic!("{request:?}: {error}"));
    (answer.status, answer.json())
}

#[test]
fn the_requests_of_the_document_work_one_after_the_other() {
    let requests = requests();
    assert_eq!(requests.len(), 12, "{requests:#?}");
    let server = Server::start();
    let key = server.key_for("user_123");
    let key = Some(key.as_str());

    // 1: S62, S63
    let (status, made) = send(&server, key, &requests[0], "", "");
    assert_eq!((status, &made["success"]), (200, &json!(true)), "{made}");
    let extension = &made["extension"];
    assert_eq!(
        (&extension["extensionNumber"], &extension["displayName"]),
        (&json!("1001"), &json!("Juan Pérez"))
    );
    assert_eq!((&extension["status"], &extension["voicemailEnabled"]), (&json!("active"), &json!(true)));
    let credentials = &extension["sipCredentials"];
    assert_eq!(text(&credentials["password"]).len(), 16, "S40");
    assert_eq!(
        text(&credentials["sipUri"]),
        format!("sip:{}@{}", text(&credentials["username"]), text(&credentials["domain"]))
    );
    let id = text(&extension["id"]);

    // 2: S64
    let (status, list) = send(&server, key, &requests[1], &id, "");
    assert_eq!((status, &list["extensions"][0]["id"]), (200, &json!(id)), "{list}");
    assert!(list["extensions"][0]["createdAt"].as_str().is_some_and(|at| at.ends_with('Z')), "{list}");

    // 3: S66
    let (status, updated) = send(&server, key, &requests[2], &id, "");
    assert_eq!(
        (status, &updated["extension"]["forwardingNumber"]),
        (200, &json!("+1234567890")),
        "{updated}"
    );

    // 4: S49; without Twilio see below.
    let (status, refused) = send(&server, key, &requests[3], &id, "");
    assert_eq!((status, &refused["code"]), (503, &json!("twilio_not_configured")), "{refused}");

    // 5 to 7: S76–S80
    let mut recurring = Vec::new();
    for (number, request) in requests[4..7].iter().enumerate() {
        let (status, made) = send(&server, key, request, &id, "");
        assert_eq!((status, &made["success"]), (200, &json!(true)), "{made}");
        let body = request.body.as_ref().expect("a body");
        let call = &made["recurringCall"];
        assert_eq!(call["schedule"], body["schedule"], "{made}");
        assert_eq!(call["destinationNumber"], body["destinationNumber"]);
        assert_eq!((&call["extensionId"], &call["enabled"]), (&json!(id), &json!(true)));
        assert!(
            call["nextExecution"].as_str().is_some_and(|at| at.len() == 24 && at.ends_with('Z')),
            "{made}"
        );
        recurring.push(text(&call["id"]));
        if number == 0 {
            // As documented, "6" and "7" have no key: 401 (S20).
            assert_eq!(send(&server, None, &requests[5], &id, "").0, 401);
        }
    }

    // 8: S82
    let (status, list) = send(&server, key, &requests[7], &id, "");
    assert_eq!((status, list["recurringCalls"].as_array().map(Vec::len)), (200, Some(3)), "{list}");

    // 9: S83
    let (status, changed) = send(&server, key, &requests[8], &id, &recurring[0]);
    let call = &changed["recurringCall"];
    assert_eq!(
        (status, &call["enabled"], &call["nextExecution"]),
        (200, &json!(false), &Value::Null),
        "{changed}"
    );
    assert_eq!(call["destinationNumber"], "+9876543210");

    // 10: S84
    let (status, gone) = send(&server, key, &requests[9], &id, &recurring[0]);
    assert_eq!((status, gone), (200, json!({"success": true})));

    // 12, before 11: S69
    let (status, all) = send(&server, key, &requests[11], &id, "");
    assert_eq!((status, all["extensions"].as_array().map(Vec::len)), (200, Some(1)), "{all}");

    // 11: S68
    let (status, gone) = send(&server, key, &requests[10], &id, "");
    assert_eq!((status, gone), (200, json!({"success": true})));
    let path = format!("/api/v1/voip/recurring-calls/{}", recurring[1]);
    assert_eq!(server.http(key).get(&path).status, 404, "its recurring calls are gone with it");
}

#[test]
fn the_flow_at_the_documents_end_works_and_its_call_has_audio() {
    // S87
    let server = Server::start();
    let key = server.key_for("user_123");
    let bob = server.extension("1002");
    let commands: Vec<String> =
        DOCUMENT.lines("curl").iter().map(|command| command.replace("sk_voip_abc123...", &key)).collect();
    assert_eq!(commands.len(), 3, "{commands:#?}");
    let (status, made) = DOCUMENT.run(&server, &commands[0]);
    assert_eq!((status, &made["extension"]["displayName"]), (200, &json!("Sales Department")), "{made}");
    let id = text(&made["extension"]["id"]);
    let (status, planned) = DOCUMENT.run(&server, &commands[1].replace("ext_xxx", &id));
    assert_eq!((status, &planned["recurringCall"]["schedule"]["time"]), (200, &json!("09:00")), "{planned}");
    let call = commands[2].replace("ext_xxx", &id);
    let (status, refused) = DOCUMENT.run(&server, &call);
    assert_eq!((status, &refused["code"]), (503, &json!("twilio_not_configured")), "{refused}");

    let credentials = &made["extension"]["sipCredentials"];
    let own = Extension::of(credentials, &key);
    let one = Phone::registered("one", 440, &Account::of(&own, server.sip()));
    let two = Phone::registered("two", 1000, &Account::of(&bob, server.sip()));
    let call = call.replace("\"useTwilio\": true", "\"useTwilio\": false").replace("+0987654321", "1002");
    let (status, answer) = DOCUMENT.run(&server, &call);
    assert_eq!((status, &answer["success"]), (200, &json!(true)), "{answer}");
    let session = text(&answer["call"]["sessionId"]);
    assert!(answer["call"]["twilioCallSid"].is_null(), "S47: {answer}");
    assert_eq!(answer["call"]["fromNumber"], credentials["sipUri"], "S67");
    two.expect("CALL_ESTABLISHED");
    one.hears(1000);
    two.hears(440);
    let path = format!("/api/v1/opensips/call/{session}");
    server.http(Some(&key)).post(&format!("{path}/end"), &json!({})).expect(200);
    one.expect("CALL_CLOSED");
    two.expect("CALL_CLOSED");
    soon("the call is over", || {
        let answer = server.http(Some(&key)).get(&path).expect(200);
        (answer["session"]["status"] == "completed").then_some(())
    });
}
