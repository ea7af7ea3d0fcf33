//! Secrets of webhooks: shown once, and changed without a message that nobody can verify (S88).

use crate::house;

use axum::body::Body;
use house::{House, request};
use serde_json::{Value, json};

async fn hook(house: &House) -> (String, String) {
    let made =
        house.post(&house.key, "/api/v1/webhooks", json!({"url": "https://crm.example/hook"})).await.ok();
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
async fn a_new_secret_is_another_one_and_is_shown_once() {
    let house = House::new().await;
    let (path, first) = hook(&house).await;
    house.pass(3600);
    let rotate = format!("{path}/rotate-secret");
    let rotated = house.post(&house.key, &rotate, json!({})).await.ok();
    let second = secret(&rotated);
    assert_eq!(rotated["webhook"]["bothSecretsUntil"], "2025-01-16T11:30:00.000Z");
    let shown = house.get(&house.key, &path).await.ok();
    assert_eq!(
        (&shown["webhook"]["secret"], &shown["webhook"]["bothSecretsUntil"]),
        (&Value::Null, &json!("2025-01-16T11:30:00.000Z"))
    );
    // A change of something else leaves the secret as it is.
    house.json("PATCH", &house.key, &path, &json!({"active": false})).await.ok();
    let third = secret(&house.post(&house.key, &rotate, json!({})).await.ok());
    assert!(first != second && second != third && first != third);
    for answer in
        [house.get(&house.key, "/api/v1/webhooks").await, house.get(&house.admin, "/api/v1/events").await]
    {
        assert!(!answer.text.contains("whsec_"), "{}", answer.text);
    }
    let told = house.events(4).await;
    let rotations = told.iter().filter(|event| event.kind == "webhook_secret_rotated").count();
    assert_eq!(rotations, 2, "{told:?}");
}

#[tokio::test]
async fn a_change_of_the_secret_that_is_asked_for_again_is_made_once() {
    let house = House::new().await;
    let (path, _) = hook(&house).await;
    let ask = async || {
        let asked = request("POST", &format!("{path}/rotate-secret"), &house.key)
            .header("idempotency-key", "change-over")
            .body(Body::empty());
        house.send(asked.unwrap()).await.ok()
    };
    assert_eq!(secret(&ask().await), secret(&ask().await));
}

#[tokio::test]
async fn only_its_owner_and_an_administrator_change_the_secret_of_a_webhook() {
    let house = House::new().await;
    let (path, first) = hook(&house).await;
    let rotate = format!("{path}/rotate-secret");
    house.post(&house.stranger, &rotate, json!({})).await.refused(404, "not_found");
    house.post(&house.key, &rotate, json!({"secret": "whsec_mine"})).await.refused(400, "unknown_field");
    assert_eq!(house.get(&house.key, &path).await.ok()["webhook"]["bothSecretsUntil"], Value::Null);
    assert_ne!(secret(&house.post(&house.admin, &rotate, json!({})).await.ok()), first);
    house.delete(&house.key, &path).await.ok();
    house.post(&house.key, &rotate, json!({})).await.refused(404, "not_found");
}

#[tokio::test]
async fn a_webhook_that_could_never_be_told_anything_is_refused() {
    let house = House::new().await;
    let ask = async |body: Value| house.post(&house.key, "/api/v1/webhooks", body).await;
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
    let query = house.get(&house.key, "/api/v1/events?type=call_endd").await;
    assert_eq!(query.refused(400, "invalid_value")["field"], "type");
}
