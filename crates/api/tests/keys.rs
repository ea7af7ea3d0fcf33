//! API keys: creation, expiry, limits and use (S53–S61).

use crate::test_api;

use model::Permission;
use serde_json::json;
use test_api::TestApi;

const GENERATE: &str = "/api/v1/keys/voip/generate";

#[tokio::test]
async fn a_key_is_rejected_after_its_expiry() {
    let api = TestApi::new().await;
    let wanted = json!({"permissions": ["sip"], "expiresAt": "2025-01-15T10:31:00Z"});
    let made = api.post(&api.key, GENERATE, wanted).await.ok();
    let (id, key) = (made["key"]["id"].as_str().unwrap(), made["key"]["key"].as_str().unwrap());
    assert_eq!(made["key"]["expiresAt"], json!("2025-01-15T10:31:00.000Z"));
    api.get(key, "/api/v1/opensips/status").await.ok();
    // It can neither extend its own expiry nor create a key that lives longer.
    let path = format!("/api/v1/keys/{id}");
    let longer = json!({"expiresAt": "2030-01-01T00:00:00Z"});
    api.json("PATCH", key, &path, &longer).await.refused(403, "insufficient_permissions");
    api.json("PATCH", key, &path, &json!({"expiresAt": null})).await.refused(403, "insufficient_permissions");
    let child = json!({"permissions": ["sip"], "expiresAt": "2030-01-01T00:00:00Z"});
    api.post(key, GENERATE, child).await.refused(403, "wider_permissions");
    let child = api.post(key, GENERATE, json!({"permissions": ["sip"]})).await.ok();
    assert_eq!(child["key"]["expiresAt"], json!("2025-01-15T10:31:00.000Z")); // security.md row 21
    api.advance(60);
    api.get(key, "/api/v1/opensips/status").await.refused(401, "key_expired");
    api.json("PATCH", &api.admin, &path, &longer).await.ok();
    api.get(key, "/api/v1/opensips/status").await.ok();
    let past = json!({"expiresAt": "2020-01-01T00:00:00Z"});
    assert_eq!(
        api.post(&api.key, GENERATE, past).await.refused(400, "invalid_value")["field"],
        json!("expiresAt")
    );
}

#[tokio::test]
async fn limits_are_set_by_admins_and_inherited() {
    let api = TestApi::new().await;
    let made = api.post(&api.admin, GENERATE, json!({"permissions": ["sip"]})).await.ok();
    let (id, key) = (made["key"]["id"].as_str().unwrap(), made["key"]["key"].as_str().unwrap());
    let path = format!("/api/v1/keys/{id}");
    api.json("PATCH", key, &path, &json!({"requestsPerMinute": 9}))
        .await
        .refused(403, "insufficient_permissions");
    let changed =
        api.json("PATCH", &api.admin, &path, &json!({"requestsPerMinute": 3, "name": "Slow"})).await.ok();
    assert_eq!((&changed["key"]["requestsPerMinute"], &changed["key"]["name"]), (&json!(3), &json!("Slow"))); // S28
    api.advance(60);
    let child = api.post(key, GENERATE, json!({"permissions": ["sip"]})).await;
    assert_eq!(child.header("ratelimit-limit"), "3");
    assert_eq!(child.ok()["key"]["requestsPerMinute"], json!(3));
    let free = api.json("PATCH", &api.admin, &path, &json!({"requestsPerMinute": null})).await.ok();
    assert_eq!(free["key"]["requestsPerMinute"], json!(null));
}

#[tokio::test]
async fn a_key_manager_toggles_keys_of_others_with_no_more_permissions() {
    let api = TestApi::new().await;
    let manager = api.key_of("manager", &[Permission::Keys, Permission::Call]).await; // S56
    let made = api.post(&api.other_key, GENERATE, json!({"permissions": ["call"]})).await.ok();
    let narrow = format!("/api/v1/keys/{}", made["key"]["id"].as_str().unwrap());
    let listed = api.get(&manager, "/api/v1/keys?userId=stranger").await.ok();
    assert_eq!(listed["keys"].as_array().unwrap().len(), 2); // S57
    api.get(&api.key, "/api/v1/keys?userId=stranger").await.refused(403, "foreign_user");
    api.post(&manager, &format!("{narrow}/toggle"), json!({})).await.ok();
    api.get(made["key"]["key"].as_str().unwrap(), "/api/v1/calls").await.refused(401, "key_inactive"); // S24
    let wider = listed["keys"].as_array().unwrap().iter().find(|key| key["id"] != made["key"]["id"]).unwrap();
    let wider = format!("/api/v1/keys/{}", wider["id"].as_str().unwrap());
    api.delete(&manager, &wider).await.refused(403, "wider_permissions");
    api.delete(&manager, &narrow).await.ok(); // S59
    api.get(&api.key, &format!("{wider}/usage")).await.refused(404, "not_found");
}

#[tokio::test]
async fn each_use_is_counted_and_can_be_read() {
    let api = TestApi::new().await;
    let listed = api.get(&api.key, "/api/v1/keys").await.ok();
    let path = format!("/api/v1/keys/{}/usage", listed["keys"][0]["id"].as_str().unwrap());
    for _ in 0..3 {
        api.get(&api.key, "/api/v1/calls/session_1_x/ladder").await.refused(404, "not_found");
    }
    let usage = api.get(&api.key, &path).await.ok();
    let row = usage["usage"].as_array().unwrap().iter().find(|row| row["status"] == json!(404)).unwrap();
    assert_eq!(row["route"], json!("GET /api/v1/calls/{id}/ladder")); // S61: the route, not the ids in it
    assert_eq!(
        (&row["count"], &row["ip"], &row["day"]),
        (&json!(3), &json!("192.0.2.77"), &json!("2025-01-15T00:00:00.000Z"))
    );
    let first = api.get(&api.key, &format!("{path}?limit=1")).await.ok();
    assert_eq!(first["usage"].as_array().unwrap().len(), 1);
    let rest = format!("{path}?limit=1&cursor={}", first["nextCursor"].as_str().unwrap());
    assert_ne!(api.get(&api.key, &rest).await.ok()["usage"], first["usage"]);
}
