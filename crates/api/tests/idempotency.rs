//! A request that is repeated is done once.

use crate::house;

use axum::body::Body;
use house::{Answer, House, request};
use serde_json::{Value, json};

const CREATE: &str = "/api/v1/voip/extensions/create";

async fn named(house: &House, key: &str, name: &str, path: &str, body: &Value) -> Answer {
    let request =
        request("POST", path, key).header("content-type", "application/json").header("idempotency-key", name);
    house.send(request.body(Body::from(body.to_string())).unwrap()).await
}

#[tokio::test]
async fn the_same_request_is_answered_again_and_done_once() {
    let house = House::new().await;
    let body = json!({"extensionNumber": "1001"});
    let first = named(&house, &house.key, "order-7", CREATE, &body).await;
    assert_eq!(first.header("idempotency-replayed"), "");
    let first = first.ok();
    let again = named(&house, &house.key, "order-7", CREATE, &body).await;
    assert_eq!(
        (again.header("idempotency-replayed"), again.header("content-type")),
        ("true", "application/json")
    );
    assert_eq!(again.ok(), first, "with the password that is shown once");
    assert_eq!(house.app.directory_service().directory().census()[3], 1);
    named(&house, &house.key, "order-7", CREATE, &json!({"extensionNumber": "1002"}))
        .await
        .refused(409, "idempotency_mismatch");
    named(&house, &house.key, "order-7", "/api/v1/opensips/generate-credentials", &body)
        .await
        .refused(409, "idempotency_mismatch");
    // Another key's names are its own.
    named(&house, &house.stranger, "order-7", CREATE, &json!({"extensionNumber": "1002"})).await.ok();
    house.pass(24 * 3600);
    named(&house, &house.key, "order-7", CREATE, &body).await.refused(409, "extension_exists");
}

#[tokio::test]
async fn what_was_refused_may_be_made_good_under_the_same_name() {
    let house = House::new().await;
    named(&house, &house.key, "a", CREATE, &json!({"extensionNumber": "x"}))
        .await
        .refused(400, "invalid_value");
    named(&house, &house.key, "a", CREATE, &json!({"extensionNumber": "1001"})).await.ok();
    for bad in ["", "a b", &"x".repeat(129)] {
        let answer = named(&house, &house.key, bad, CREATE, &json!({})).await;
        assert_eq!(
            answer.refused(400, "invalid_idempotency_key")["field"],
            json!("Idempotency-Key"),
            "{bad:?}"
        );
    }
    named(&house, "sk_voip_wrong", "a", CREATE, &json!({})).await.refused(401, "api_key_invalid");
}

#[tokio::test]
async fn at_the_same_moment_only_one_is_done() {
    let house = House::new().await;
    let body = json!({});
    let all =
        futures_util::future::join_all((0..8).map(|_| named(&house, &house.key, "once", CREATE, &body)))
            .await;
    let good = all.iter().filter(|answer| answer.status == 200).count();
    assert!(good >= 1, "{}", all[0].text);
    for answer in all.into_iter().filter(|answer| answer.status != 200) {
        answer.refused(409, "idempotency_in_progress");
    }
    assert_eq!(house.app.directory_service().directory().census()[3], 1);
}

#[tokio::test]
async fn an_answer_that_a_crash_has_swallowed_is_not_guessed() {
    let house = House::new().await;
    let body = json!({"extensionNumber": "1001"});
    named(&house, &house.key, "b", CREATE, &body).await.ok();
    let kept = house.database("SELECT hex(answer) FROM idempotency").await;
    assert_eq!(kept.len(), 1);
    let plain: String = "password".bytes().map(|byte| format!("{byte:02X}")).collect();
    assert!(!kept[0].contains(&plain), "an answer holds secrets: it is sealed"); // security.md row 20
    house.database("UPDATE idempotency SET answer = NULL, status = NULL RETURNING name").await;
    named(&house, &house.key, "b", CREATE, &body).await.refused(409, "idempotency_in_doubt");
}
