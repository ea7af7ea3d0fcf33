//! Who may do what: permissions, tenancy, the trusted neighbour.

use crate::house;

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use centralita_api::Settings;
use house::{House, call_record, request, settings};
use model::Permission;
use serde_json::json;

/// Whether the answer is neither 401 nor 403.
async fn is_let_in(house: &House, key: &str, method: &str, path: &str) -> bool {
    let answer = house.json(method, key, path, &json!({})).await;
    !matches!(answer.status.as_u16(), 401 | 403)
}

/// What the document says that a request needs.
async fn documented(house: &House, method: &str, path: &str) -> Option<String> {
    let is = |template: &str| {
        let (a, b): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
        a.len() == b.len() && a.iter().zip(&b).all(|(t, p)| t == p || t.starts_with('{'))
    };
    let paths = house.document().await["paths"].as_object().unwrap();
    let item =
        paths.get(path).or_else(|| paths.iter().find(|(template, _)| is(template)).map(|(_, item)| item))?;
    item[method.to_ascii_lowercase()]["x-needs"].as_str().map(str::to_owned)
}

/// Every route that needs a key in the header: method, path, what it needs.
async fn every_route(house: &House) -> Vec<(String, String, String)> {
    let mut all = Vec::new();
    for (template, item) in house.document().await["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let needs = operation["x-needs"].as_str().unwrap().to_owned();
            if needs != "nothing" && needs != "hello" {
                // User 9 is the one whom the keys of this test belong to.
                let path = template.replace("user/{id}", "user/user_9").replace("{id}", "unknown_1");
                all.push((method.to_ascii_uppercase(), path.replace("{delivery}", "unknown_2"), needs));
            }
        }
    }
    all
}

#[tokio::test]
async fn each_route_asks_for_its_permission_and_admin_has_all() {
    let house = House::new().await;
    let (call, sip, any, admin) = (Some("call"), Some("sip"), None, Some("admin"));
    let table = [
        ("POST", "/api/v1/opensips/start", sip),
        ("POST", "/api/v1/opensips/stop", admin), // S35
        ("GET", "/api/v1/opensips/status", sip),
        ("GET", "/api/v1/opensips/health", sip),
        ("POST", "/api/v1/opensips/generate-credentials", sip),
        ("POST", "/api/v1/opensips/call/initiate", call),
        ("GET", "/api/v1/opensips/call/session_1_a", call),
        ("POST", "/api/v1/opensips/call/session_1_a/end", call),
        ("GET", "/api/v1/calls", call),
        ("GET", "/api/v1/calls/session_1_a/ladder", call),
        ("GET", "/api/v1/registrations", sip),
        ("GET", "/api/v1/guard/bans", admin),
        ("DELETE", "/api/v1/guard/bans", admin),
        ("GET", "/api/v1/keys", any),
        ("POST", "/api/v1/keys/key_1/toggle", any),
        ("DELETE", "/api/v1/keys/key_1", any),
        ("POST", "/api/v1/voip/extensions", sip),
        ("POST", "/api/v1/voip/extensions/create", sip),
        ("POST", "/api/v1/voip/extensions/import", admin),
        ("GET", "/api/v1/voip/extensions", sip),
        ("GET", "/api/v1/voip/extensions/user/user_9", sip),
        ("GET", "/api/v1/voip/extensions/ext_1", sip),
        ("PUT", "/api/v1/voip/extensions/ext_1", sip),
        ("PATCH", "/api/v1/voip/extensions/ext_1", sip),
        ("DELETE", "/api/v1/voip/extensions/ext_1", sip),
        ("POST", "/api/v1/voip/extensions/ext_1/credentials/reset", sip),
        ("POST", "/api/v1/voip/extensions/ext_1/call", call),
        ("POST", "/api/v1/trunks", admin),
        ("GET", "/api/v1/trunks", admin),
        ("GET", "/api/v1/trunks/trunk_1", admin),
        ("PUT", "/api/v1/trunks/trunk_1", admin),
        ("PATCH", "/api/v1/trunks/trunk_1", admin),
        ("DELETE", "/api/v1/trunks/trunk_1", admin),
        ("POST", "/api/v1/trunks/trunk_1/test", admin),
        ("GET", "/metrics", admin),
        ("GET", "/api/v1/voip/extensions/ext_1/voicemail", call),
        ("PUT", "/api/v1/voip/extensions/ext_1/voicemail", sip),
        ("PATCH", "/api/v1/voip/extensions/ext_1/voicemail", sip),
        ("GET", "/api/v1/voip/extensions/ext_1/voicemail/deliveries", sip),
        ("PUT", "/api/v1/voip/extensions/ext_1/voicemail/greeting", sip),
        ("DELETE", "/api/v1/voip/extensions/ext_1/voicemail/greeting", sip),
        ("GET", "/api/v1/voip/extensions/ext_1/voicemail/greeting/audio", Some("recording")),
        ("GET", "/api/v1/voip/extensions/ext_1/voicemail/vm_1", call),
        ("PUT", "/api/v1/voip/extensions/ext_1/voicemail/vm_1", call),
        ("PATCH", "/api/v1/voip/extensions/ext_1/voicemail/vm_1", call),
        ("DELETE", "/api/v1/voip/extensions/ext_1/voicemail/vm_1", call),
        ("GET", "/api/v1/voip/extensions/ext_1/voicemail/vm_1/audio", Some("recording")),
    ];
    for (method, path, needed) in table {
        let answer = documented(&house, method, path).await;
        assert_eq!(answer.as_deref(), Some(needed.unwrap_or("key")), "{method} {path}");
    }
    let table = every_route(&house).await;
    assert!(table.len() > 30, "{table:?}");
    for permission in Permission::ALL {
        let key = house.key_of("user_9", &[permission]).await;
        for (method, path, needed) in &table {
            if path.ends_with("/keys/voip/generate") {
                continue; // what a key may make is shown in keys.rs
            }
            let expected =
                permission == Permission::Admin || needed == "key" || needed == permission.as_str();
            assert_eq!(
                is_let_in(&house, &key, method, path).await,
                expected,
                "{permission:?} {method} {path}"
            ); // S56
        }
    }
    for (method, path, _) in &table {
        house.json(method, "", path, &json!({})).await.refused(401, "api_key_missing"); // S20
        house.json(method, "sk_voip_abc123...", path, &json!({})).await.refused(401, "api_key_invalid");
    }
}

#[tokio::test]
async fn the_scheme_is_bearer_in_any_case_and_nothing_else() {
    let house = House::new().await;
    let ask = |authorization: String| {
        let request = request("GET", "/api/v1/opensips/health", "").header("authorization", authorization);
        house.send(request.body(Body::empty()).unwrap())
    };
    for scheme in ["Bearer", "bearer", "BEARER"] {
        ask(format!("{scheme} {}", house.key)).await.ok(); // S19
    }
    for wrong in [
        format!("Basic {}", house.key),
        house.key.clone(),
        "Bearer".into(),
        format!("Bearer {} x", house.key),
    ] {
        ask(wrong).await.refused(401, "api_key_invalid");
    }
    let first = &house.key[..house.key.len() - 1];
    for wrong in [format!("{first}!"), first.to_owned(), house.key.to_lowercase()] {
        ask(format!("Bearer {wrong}")).await.refused(401, "api_key_invalid");
    }
}

#[tokio::test]
async fn other_peoples_things_do_not_exist() {
    let house = House::new().await;
    let made = house
        .post(&house.key, "/api/v1/voip/extensions/create", json!({"extensionNumber": "1001"}))
        .await
        .ok();
    let extension = format!("/api/v1/voip/extensions/{}", made["extension"]["id"].as_str().unwrap());
    let key = house.get(&house.key, "/api/v1/keys").await.ok()["keys"][0]["id"].as_str().unwrap().to_owned();
    house.exchange.change(|e| e.calls.push(call_record("session_1_a", "user_123", house::BEGIN)));
    let foreign = [
        ("GET", extension.clone()),
        ("PUT", extension.clone()),
        ("PATCH", extension.clone()),
        ("DELETE", extension.clone()),
        ("POST", format!("{extension}/call")),
        ("POST", format!("{extension}/credentials/reset")),
        ("GET", "/api/v1/opensips/call/session_1_a".into()),
        ("POST", "/api/v1/opensips/call/session_1_a/end".into()),
        ("GET", "/api/v1/calls/session_1_a/ladder".into()),
        ("POST", format!("/api/v1/keys/{key}/toggle")),
        ("DELETE", format!("/api/v1/keys/{key}")),
    ];
    for (method, path) in &foreign {
        // 404 before a bad body is looked at, and the same as for what never was (S25).
        let there = house
            .json(method, &house.stranger, path, &json!({"nonsense": 1}))
            .await
            .refused(404, "not_found");
        let absent = path.replace(|c: char| c.is_ascii_digit(), "7").replace("v7", "v1");
        let never = house.json(method, &house.stranger, &absent, &json!({})).await.refused(404, "not_found");
        assert_eq!(there["code"], never["code"]);
        for refused in [&there, &never] {
            // Nothing but what was asked for.
            let said = refused["error"].as_str().unwrap().strip_prefix("Resource not found: ").unwrap();
            assert!(path.contains(said) || absent.contains(said), "{said}");
        }
    }
    for (method, path, body) in [
        ("GET", "/api/v1/keys?userId=user_123", json!({})),
        ("GET", "/api/v1/voip/extensions/user/user_123", json!({})),
        ("POST", "/api/v1/opensips/generate-credentials", json!({"userId": "user_123"})),
        ("POST", "/api/v1/opensips/call/initiate", json!({"userId": "user_123", "toNumber": 5})),
        ("POST", "/api/v1/voip/extensions/create", json!({"userId": "user_123"})),
        ("POST", "/api/v1/keys/voip/generate", json!({"userId": "user_123", "permissions": ["call"]})),
    ] {
        house.json(method, &house.stranger, path, &body).await.refused(403, "foreign_user"); // S25, S57
    }
    assert!(house.get(&house.stranger, "/api/v1/calls").await.ok()["calls"].as_array().unwrap().is_empty());
    assert!(
        house.get(&house.stranger, "/api/v1/voip/extensions").await.ok()["extensions"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    house
        .get(&house.stranger, "/api/v1/voip/extensions?scope=all")
        .await
        .refused(403, "insufficient_permissions"); // S69
    // The admin sees and does all of it.
    assert_eq!(
        house.get(&house.admin, "/api/v1/voip/extensions?scope=all").await.ok()["extensions"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    house.get(&house.admin, "/api/v1/opensips/call/session_1_a").await.ok();
    house
        .post(&house.admin, "/api/v1/opensips/generate-credentials", json!({"userId": "somebody_new"}))
        .await
        .ok(); // S33
}

#[tokio::test]
async fn the_owner_of_the_other_end_may_read_the_call() {
    let house = House::new().await;
    let mut call = call_record("session_1_a", "user_123", house::BEGIN);
    call.other_user = Some(model::UserId::parse("stranger").unwrap());
    house.exchange.change(|e| e.calls.push(call));
    house.get(&house.stranger, "/api/v1/opensips/call/session_1_a").await.ok();
}

#[tokio::test]
async fn a_key_mints_no_wider_key_and_the_last_admin_stays() {
    let house = House::new().await;
    let caller = house.key_of("user_9", &[Permission::Call]).await;
    let generate = "/api/v1/keys/voip/generate";
    house
        .post(&caller, generate, json!({"permissions": ["call", "sip"]}))
        .await
        .refused(403, "wider_permissions");
    house.post(&caller, generate, json!({"permissions": ["admin"]})).await.refused(403, "wider_permissions");
    house.post(&caller, generate, json!({})).await.refused(403, "wider_permissions");
    house
        .post(&caller, generate, json!({"permissions": ["call"], "requestsPerMinute": 9}))
        .await
        .refused(403, "insufficient_permissions");
    house.post(&caller, generate, json!({"permissions": ["call"]})).await.ok(); // S53
    let keys = house.get(&house.admin, "/api/v1/keys?userId=admin").await.ok();
    let id = keys["keys"][0]["id"].as_str().unwrap();
    house
        .post(&house.admin, &format!("/api/v1/keys/{id}/toggle"), json!({}))
        .await
        .refused(409, "last_admin_key"); // S58
    house.delete(&house.admin, &format!("/api/v1/keys/{id}")).await.refused(409, "last_admin_key");
    house.post(&house.admin, generate, json!({"userId": "second", "permissions": ["admin"]})).await.ok();
    house.delete(&house.admin, &format!("/api/v1/keys/{id}")).await.ok();
    house.get(&house.admin, "/api/v1/keys").await.refused(401, "api_key_invalid");
}

fn from(peer: &str, host: &str, path: &str) -> axum::http::request::Builder {
    let peer: SocketAddr = peer.parse().unwrap();
    Request::post(path).extension(ConnectInfo(peer)).header("host", host)
}

#[tokio::test]
async fn without_the_option_nobody_is_trusted_and_with_it_only_programs_on_this_machine() {
    let (stop, start) = ("/api/v1/opensips/stop", "/api/v1/opensips/start");
    let strict = House::new().await;
    let plain = |path| from("127.0.0.1:40000", "localhost:5000", path).body(Body::empty()).unwrap();
    strict.send(plain(stop)).await.refused(401, "api_key_missing"); // S20

    let house = House::with(Settings { local_admin: true, ..settings() }).await;
    house.send(plain(stop)).await.ok(); // the lines of document 000 without a header
    house.send(plain(start)).await.ok();
    house.send(from("[::1]:4", "[::1]:5000", stop).body(Body::empty()).unwrap()).await.ok();
    let body = Body::from(json!({"userId": "user_123", "permissions": ["call"]}).to_string());
    let made = from("127.0.0.1:4", "localhost:5000", "/api/v1/keys/voip/generate");
    house.send(made.header("content-type", "application/json").body(body).unwrap()).await.ok();
    for (peer, host, header) in [
        ("192.0.2.1:4", "localhost:5000", None),
        ("127.0.0.1:4", "evil.example:5000", None), // a page whose name was pointed at us
        ("127.0.0.1:4", "localhost:5000", Some(("origin", "http://evil.example"))),
        ("127.0.0.1:4", "localhost:5000", Some(("x-forwarded-for", "192.0.2.1"))),
        ("127.0.0.1:4", "localhost:5000", Some(("forwarded", "for=192.0.2.1"))),
        ("127.0.0.1:4", "localhost:5000", Some(("sec-fetch-site", "cross-site"))),
    ] {
        let mut request = from(peer, host, stop);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        house.send(request.body(Body::empty()).unwrap()).await.refused(401, "api_key_missing");
    }
    let wrong = from("127.0.0.1:4", "localhost:5000", stop).header("authorization", "Bearer nonsense");
    house.send(wrong.body(Body::empty()).unwrap()).await.refused(401, "api_key_invalid");
}
