//! Webhook secrets: shown once, and rotated so that every message can be verified (S88).

use crate::test_api;

use axum::body::Body;
use serde_json::{Value, json};
use test_api::{TestApi, request};

async fn hook(api: &TestApi) -> (String, String) {
    let made = api.post(&api.key, "/api/v1/webhooks", json!({"url": "https://crm.example/hook"})).await.ok();
    assert_eq!(made["webhook"]["bothSecretsUntil"], Value::Null);
    (format!("/api/v1/webhooks/{}", made["webhook"]["id"].as_str().unwrap()), secret(&made))
}

#[track_caller]
fn secret(answer: &Value) -> String {
    let secret = answer["webhook"]["secret"].as_str().unwrap_or_else(|| panic!("no secret: {answer}"));
    assert!(secret.starts_with("whsec_") && secret.len() == 70, "{secret}");
    secret.to_owned()
}

#[tokio::test]
async fn a_rotated_secret_differs_and_is_shown_once() {
    let api = TestApi::new().await;
    let (path, first) = hook(&api).await;
    api.advance(3600);
    let rotate = format!("{path}/rotate-secret");
    let rotated = api.post(&api.key, &rotate, json!({})).await.ok();
    let second = secret(&rotated);
    assert_eq!(rotated["webhook"]["bothSecretsUntil"], "2025-01-16T11:30:00.000Z");
    let shown = api.get(&api.key, &path).await.ok();
    assert_eq!(
        (&shown["webhook"]["secret"], &shown["webhook"]["bothSecretsUntil"]),
        (&Value::Null, &json!("2025-01-16T11:30:00.000Z"))
    );
    // Other changes do not affect the secret.
    api.json("PATCH", &api.key, &path, &json!({"active": false})).await.ok();
    let third = secret(&api.post(&api.key, &rotate, json!({})).await.ok());
    assert!(first != second && second != third && first != third);
    for answer in [api.get(&api.key, "/api/v1/webhooks").await, api.get(&api.admin, "/api/v1/events").await] {
        assert!(!answer.text.contains("whsec_"), "{}", answer.text);
    }
    let told = api.events(4).await;
    let rotations = told.iter().filter(|event| event.kind == "webhook_secret_rotated").count();
    assert_eq!(rotations, 2, "{told:?}");
}

#[tokio::test]
async fn a_rotation_repeated_with_its_idempotency_key_happens_once() {
    let api = TestApi::new().await;
    let (path, _) = hook(&api).await;
    let ask = async || {
        let asked = request("POST", &format!("{path}/rotate-secret"), &api.key)
            .header("idempotency-key", "change-over")
            .body(Body::empty());
        api.send(asked.unwrap()).await.ok()
    };
    assert_eq!(secret(&ask().await), secret(&ask().await));
}

#[tokio::test]
async fn only_the_owner_and_an_administrator_rotate_the_secret_of_a_webhook() {
    let api = TestApi::new().await;
    let (path, first) = hook(&api).await;
    let rotate = format!("{path}/rotate-secret");
    api.post(&api.other_key, &rotate, json!({})).await.refused(404, "not_found");
    api.post(&api.key, &rotate, json!({"secret": "whsec_mine"})).await.refused(400, "unknown_field");
    assert_eq!(api.get(&api.key, &path).await.ok()["webhook"]["bothSecretsUntil"], Value::Null);
    assert_ne!(secret(&api.post(&api.admin, &rotate, json!({})).await.ok()), first);
    api.delete(&api.key, &path).await.ok();
    api.post(&api.key, &rotate, json!({})).await.refused(404, "not_found");
}

#[tokio::test]
async fn a_webhook_that_can_never_receive_events_is_rejected() {
    let api = TestApi::new().await;
    let ask = async |body: Value| api.post(&api.key, "/api/v1/webhooks", body).await;
    let refused = ask(json!({"url": "https://crm.example/h", "types": ["call_ended", "call_endd"]})).await;
    let refused = refused.refused(400, "invalid_value"); // F32
    assert_eq!(refused["field"], "types");
    let said = refused["error"].as_str().unwrap();
    assert!(said.contains("\"call_endd\"") && said.contains("call_started, call_ringing"), "{said}");
    for url in [
        "https://crm.example:0/h",
        "https://crm.example:99999/h",
        "https://127.0.0.1/h",
        "https://[::1]/h",
        "https://10.0.0.1/h",
        "https://0x7f000001/h",
        "https://256.1.1.1/h",
        "https://crm..example/h",
        "http://crm.example/h",
        "https://crm.example/h#x",
    ] {
        assert_eq!(ask(json!({"url": url})).await.refused(400, "invalid_value")["field"], "url", "{url}");
    }
    for url in ["HTTPS://crm.example/h", "https://CRM.example:65535/h", "https://1.1.1.1/h"] {
        ask(json!({"url": url, "types": ["call_ended"]})).await.ok();
    }
    let query = api.get(&api.key, "/api/v1/events?type=call_endd").await;
    assert_eq!(query.refused(400, "invalid_value")["field"], "type");
}
