//! Keys: what they may make, how they end, what they were used for (S53–S61).

use crate::house;

use house::House;
use model::Permission;
use serde_json::json;

const GENERATE: &str = "/api/v1/keys/voip/generate";

#[tokio::test]
async fn a_key_ends_when_its_time_is_over() {
    let house = House::new().await;
    let wanted = json!({"permissions": ["sip"], "expiresAt": "2025-01-15T10:31:00Z"});
    let made = house.post(&house.key, GENERATE, wanted).await.ok();
    let (id, key) = (made["key"]["id"].as_str().unwrap(), made["key"]["key"].as_str().unwrap());
    assert_eq!(made["key"]["expiresAt"], json!("2025-01-15T10:31:00.000Z"));
    house.get(key, "/api/v1/opensips/status").await.ok();
    // It neither lives longer by its own hand, nor makes one that does.
    let path = format!("/api/v1/keys/{id}");
    let longer = json!({"expiresAt": "2030-01-01T00:00:00Z"});
    house.json("PATCH", key, &path, &longer).await.refused(403, "insufficient_permissions");
    house
        .json("PATCH", key, &path, &json!({"expiresAt": null}))
        .await
        .refused(403, "insufficient_permissions");
    let child = json!({"permissions": ["sip"], "expiresAt": "2030-01-01T00:00:00Z"});
    house.post(key, GENERATE, child).await.refused(403, "wider_permissions");
    let child = house.post(key, GENERATE, json!({"permissions": ["sip"]})).await.ok();
    assert_eq!(child["key"]["expiresAt"], json!("2025-01-15T10:31:00.000Z")); // security.md row 21
    house.pass(60);
    house.get(key, "/api/v1/opensips/status").await.refused(401, "key_expired");
    house.json("PATCH", &house.admin, &path, &longer).await.ok();
    house.get(key, "/api/v1/opensips/status").await.ok();
    let past = json!({"expiresAt": "2020-01-01T00:00:00Z"});
    assert_eq!(
        house.post(&house.key, GENERATE, past).await.refused(400, "invalid_value")["field"],
        json!("expiresAt")
    );
}

#[tokio::test]
async fn limits_are_set_by_admins_and_inherited() {
    let house = House::new().await;
    let made = house.post(&house.admin, GENERATE, json!({"permissions": ["sip"]})).await.ok();
    let (id, key) = (made["key"]["id"].as_str().unwrap(), made["key"]["key"].as_str().unwrap());
    let path = format!("/api/v1/keys/{id}");
    house
        .json("PATCH", key, &path, &json!({"requestsPerMinute": 9}))
        .await
        .refused(403, "insufficient_permissions");
    let changed =
        house.json("PATCH", &house.admin, &path, &json!({"requestsPerMinute": 3, "name": "Slow"})).await.ok();
    assert_eq!((&changed["key"]["requestsPerMinute"], &changed["key"]["name"]), (&json!(3), &json!("Slow"))); // S28
    house.pass(60);
    let child = house.post(key, GENERATE, json!({"permissions": ["sip"]})).await;
    assert_eq!(child.header("ratelimit-limit"), "3");
    assert_eq!(child.ok()["key"]["requestsPerMinute"], json!(3));
    let free = house.json("PATCH", &house.admin, &path, &json!({"requestsPerMinute": null})).await.ok();
    assert_eq!(free["key"]["requestsPerMinute"], json!(null));
}

#[tokio::test]
async fn the_manager_of_keys_switches_those_of_others_that_are_no_wider() {
    let house = House::new().await;
    let manager = house.key_of("manager", &[Permission::Keys, Permission::Call]).await; // S56
    let made = house.post(&house.stranger, GENERATE, json!({"permissions": ["call"]})).await.ok();
    let narrow = format!("/api/v1/keys/{}", made["key"]["id"].as_str().unwrap());
    let listed = house.get(&manager, "/api/v1/keys?userId=stranger").await.ok();
    assert_eq!(listed["keys"].as_array().unwrap().len(), 2); // S57
    house.get(&house.key, "/api/v1/keys?userId=stranger").await.refused(403, "foreign_user");
    house.post(&manager, &format!("{narrow}/toggle"), json!({})).await.ok();
    house.get(made["key"]["key"].as_str().unwrap(), "/api/v1/calls").await.refused(401, "key_inactive"); // S24
    let wider = listed["keys"].as_array().unwrap().iter().find(|key| key["id"] != made["key"]["id"]).unwrap();
    let wider = format!("/api/v1/keys/{}", wider["id"].as_str().unwrap());
    house.delete(&manager, &wider).await.refused(403, "wider_permissions");
    house.delete(&manager, &narrow).await.ok(); // S59
    house.get(&house.key, &format!("{wider}/usage")).await.refused(404, "not_found");
}

#[tokio::test]
async fn each_use_is_counted_and_can_be_read() {
    let house = House::new().await;
    let listed = house.get(&house.key, "/api/v1/keys").await.ok();
    let path = format!("/api/v1/keys/{}/usage", listed["keys"][0]["id"].as_str().unwrap());
    for _ in 0..3 {
        house.get(&house.key, "/api/v1/calls/session_1_x/ladder").await.refused(404, "not_found");
    }
    let usage = house.get(&house.key, &path).await.ok();
    let row = usage["usage"].as_array().unwrap().iter().find(|row| row["status"] == json!(404)).unwrap();
    assert_eq!(row["route"], json!("GET /api/v1/calls/{id}/ladder")); // S61: the route, not the ids in it
    assert_eq!(
        (&row["count"], &row["ip"], &row["day"]),
        (&json!(3), &json!("192.0.2.77"), &json!("2025-01-15T00:00:00.000Z"))
    );
    let first = house.get(&house.key, &format!("{path}?limit=1")).await.ok();
    assert_eq!(first["usage"].as_array().unwrap().len(), 1);
    let rest = format!("{path}?limit=1&cursor={}", first["nextCursor"].as_str().unwrap());
    assert_ne!(house.get(&house.key, &rest).await.ok()["usage"], first["usage"]);
}
