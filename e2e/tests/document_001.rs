//! The commands of the user's second document, unchanged except for host, key and ids.

use e2e::{Account, Document, Extension, Phone, Server, soon, text};
use serde_json::json;

const DOCUMENT: Document =
    Document { text: include_str!("../documents/001.txt"), origin: "https://your-domain.com" };

#[test]
fn the_commands_of_the_document_work_one_after_the_other() {
    let server = Server::start();
    for path in [
        "POST /api/v1/keys/voip/generate",
        "GET /api/v1/keys?userId=user_123",
        "POST /api/v1/keys/:id/toggle",
    ] {
        assert!(DOCUMENT.text.contains(path), "{path}");
    }
    // S53–S55: the body as documented.
    let body = json!({"userId": "user_123", "name": "Production VoIP Key", "permissions": ["call", "sip", "recording"]});
    let path = "/api/v1/keys/voip/generate";
    assert_eq!(server.http(None).post(path, &body).status, 401, "S20");
    let made = server.admin().post(path, &body).expect(200);
    let (key, id) = (text(&made["key"]["key"]), text(&made["key"]["id"]));
    assert!(key.starts_with("sk_voip_") && id.starts_with("key_"), "{made}");
    assert_eq!(made["key"]["service"], "voip");
    assert_eq!(made["key"]["metadata"]["permissions"], json!(["call", "sip", "recording"]));
    let with_key = |part: &str| DOCUMENT.line(part).replace("sk_voip_abc123...", &key);

    // S34: an empty body with a content type.
    let (status, answer) = DOCUMENT.run(&server, &with_key("/opensips/start"));
    assert_eq!((status, &answer["status"]), (200, &json!("running")), "{answer}");

    // S38
    let (status, answer) = DOCUMENT.run(&server, &with_key("/generate-credentials"));
    assert_eq!((status, &answer["success"]), (200, &json!(true)), "{answer}");
    let credentials = answer["credentials"].clone();
    assert_eq!(text(&credentials["proxyServer"]), server.sip().to_string(), "S43");

    // S46, S49: no userId; without Twilio the response says so.
    let initiate = with_key("/call/initiate");
    let (status, answer) = DOCUMENT.run(&server, &initiate);
    assert_eq!((status, &answer["code"]), (503, &json!("twilio_not_configured")), "{answer}");
    let bob = server.extension("1002");
    let own = Extension::of(&credentials, &key);
    let one = Phone::registered("one", 440, &Account::of(&own, server.sip()));
    let two = Phone::registered("two", 1000, &Account::of(&bob, server.sip()));
    let initiate =
        initiate.replace("\"useTwilio\": true", "\"useTwilio\": false").replace("+0987654321", "1002");
    let (status, answer) = DOCUMENT.run(&server, &initiate);
    assert_eq!((status, &answer["success"]), (200, &json!(true)), "{answer}");
    assert_eq!(answer["session"]["sipCredentials"]["username"], credentials["username"], "{answer}");
    let session = text(&answer["session"]["sessionId"]);
    two.expect("CALL_ESTABLISHED");
    one.hears(1000);
    two.hears(440);

    // S50, S51
    let named = |command: String| command.replace("session_1234567890_abc123", &session);
    let (status, answer) = DOCUMENT.run(&server, &named(with_key("/call/session_1234567890_abc123 \\")));
    assert_eq!((status, &answer["session"]["status"]), (200, &json!("in-progress")), "{answer}");
    let (status, answer) = DOCUMENT.run(&server, &named(with_key("/end ")));
    assert_eq!((status, &answer["success"]), (200, &json!(true)), "{answer}");
    one.expect("CALL_CLOSED");
    two.expect("CALL_CLOSED");

    // S37
    let (status, answer) = DOCUMENT.run(&server, &with_key("/opensips/health"));
    assert_eq!((status, &answer["serverUptime"]), (200, &json!(true)), "{answer}");
    assert!(answer["success"].is_null(), "flat: {answer}");

    // S57–S60
    let own = server.http(Some(&key));
    let list = own.get("/api/v1/keys?userId=user_123").expect(200);
    assert_eq!(list["keys"][0]["id"], id, "{list}");
    assert!(!list.to_string().contains(&key), "the secret is shown once");
    server.admin().post(&format!("/api/v1/keys/{id}/toggle"), &json!({})).expect(200);
    let refused = own.get("/api/v1/opensips/health");
    assert_eq!((refused.status, &refused.json()["code"]), (401, &json!("key_inactive")), "S24");
    server.admin().post(&format!("/api/v1/keys/{id}/toggle"), &json!({})).expect(200);
    soon("the key is valid again", || (own.get("/api/v1/opensips/health").status == 200).then_some(()));
    server.admin().delete(&format!("/api/v1/keys/{id}")).expect(200);
    assert_eq!(own.get("/api/v1/opensips/health").status, 401, "S59");
}
