//! Idempotency keys: a repeated request is executed once.

use crate::test_api;

use axum::body::Body;
use serde_json::{Value, json};
use test_api::{Answer, TestApi, request};

const CREATE: &str = "/api/v1/voip/extensions/create";

async fn named(api: &TestApi, key: &str, name: &str, path: &str, body: &Value) -> Answer {
    let request =
        request("POST", path, key).header("content-type", "application/json").header("idempotency-key", name);
    api.send(request.body(Body::from(body.to_string())).unwrap()).await
}

#[tokio::test]
async fn a_repeated_request_is_executed_once_and_answered_again() {
    let api = TestApi::new().await;
    let body = json!({"extensionNumber": "1001"});
    let first = named(&api, &api.key, "order-7", CREATE, &body).await;
    assert_eq!(first.header("idempotency-replayed"), "");
    let first = first.ok();
    let again = named(&api, &api.key, "order-7", CREATE, &body).await;
    assert_eq!(
        (again.header("idempotency-replayed"), again.header("content-type")),
        ("true", "application/json")
    );
    assert_eq!(again.ok(), first, "with the password that is shown once");
    assert_eq!(api.app.directory_service().directory().counts()[3], 1);
    named(&api, &api.key, "order-7", CREATE, &json!({"extensionNumber": "1002"}))
        .await
        .refused(409, "idempotency_mismatch");
    named(&api, &api.key, "order-7", "/api/v1/opensips/generate-credentials", &body)
        .await
        .refused(409, "idempotency_mismatch");
    // Idempotency keys are separate per API key.
    named(&api, &api.other_key, "order-7", CREATE, &json!({"extensionNumber": "1002"})).await.ok();
    api.advance(24 * 3600);
    named(&api, &api.key, "order-7", CREATE, &body).await.refused(409, "extension_exists");
}

#[tokio::test]
async fn a_rejected_request_may_be_corrected_under_the_same_key() {
    let api = TestApi::new().await;
    named(&api, &api.key, "a", CREATE, &json!({"extensionNumber": "x"})).await.refused(400, "invalid_value");
    named(&api, &api.key, "a", CREATE, &json!({"extensionNumber": "1001"})).await.ok();
    for bad in ["", "a b", &"x".repeat(129)] {
        let answer = named(&api, &api.key, bad, CREATE, &json!({})).await;
        assert_eq!(
            answer.refused(400, "invalid_idempotency_key")["field"],
            json!("Idempotency-Key"),
            "{bad:?}"
        );
    }
    named(&api, "sk_voip_wrong", "a", CREATE, &json!({})).await.refused(401, "api_key_invalid");
}

#[tokio::test]
async fn of_concurrent_identical_requests_one_is_executed() {
    let api = TestApi::new().await;
    let body = json!({});
    let all =
        futures_util::future::join_all((0..8).map(|_| named(&api, &api.key, "once", CREATE, &body))).await;
    let good = all.iter().filter(|answer| answer.status == 200).count();
    assert!(good >= 1, "{}", all[0].text);
    for answer in all.into_iter().filter(|answer| answer.status != 200) {
        answer.refused(409, "idempotency_in_progress");
    }
    assert_eq!(api.app.directory_service().directory().counts()[3], 1);
}

#[tokio::test]
async fn a_request_interrupted_by_a_crash_is_reported_in_doubt() {
    let api = TestApi::new().await;
    let body = json!({"extensionNumber": "1001"});
    named(&api, &api.key, "b", CREATE, &body).await.ok();
    let kept = api.query("SELECT hex(answer) FROM idempotency").await;
    assert_eq!(kept.len(), 1);
    let plain: String = "password".bytes().map(|byte| format!("{byte:02X}")).collect();
    assert!(!kept[0].contains(&plain), "a stored response may contain secrets, so it is encrypted"); // security.md row 20
    api.query("UPDATE idempotency SET answer = NULL, status = NULL RETURNING name").await;
    named(&api, &api.key, "b", CREATE, &body).await.refused(409, "idempotency_in_doubt");
}
