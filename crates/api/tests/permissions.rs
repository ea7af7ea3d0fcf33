//! Permissions, separation of users, and the trusted loopback client.

use crate::test_api;

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use centralita_api::Settings;
use model::Permission;
use serde_json::json;
use test_api::{TestApi, call_record, request, settings};

/// Whether the response is neither 401 nor 403.
async fn is_admitted(api: &TestApi, key: &str, method: &str, path: &str) -> bool {
    let answer = api.json(method, key, path, &json!({})).await;
    !matches!(answer.status.as_u16(), 401 | 403)
}

/// The access (`x-needs`) that the document states for a request.
async fn documented(api: &TestApi, method: &str, path: &str) -> Option<String> {
    let is = |template: &str| {
        let (a, b): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
        a.len() == b.len() && a.iter().zip(&b).all(|(t, p)| t == p || t.starts_with('{'))
    };
    let paths = api.document().await["paths"].as_object().unwrap();
    let item =
        paths.get(path).or_else(|| paths.iter().find(|(template, _)| is(template)).map(|(_, item)| item))?;
    item[method.to_ascii_lowercase()]["x-needs"].as_str().map(str::to_owned)
}

/// Every route that needs a key in the header: method, path, access.
async fn every_route(api: &TestApi) -> Vec<(String, String, String)> {
    let mut all = Vec::new();
    for (template, item) in api.document().await["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let needs = operation["x-needs"].as_str().unwrap().to_owned();
            if needs != "nothing" && needs != "hello" {
                // The keys of this test belong to user 9.
                let path = template.replace("user/{id}", "user/user_9").replace("{id}", "unknown_1");
                all.push((method.to_ascii_uppercase(), path.replace("{delivery}", "unknown_2"), needs));
            }
        }
    }
    all
}

#[tokio::test]
async fn each_route_requires_its_permission_and_admin_has_all() {
    let api = TestApi::new().await;
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
        let answer = documented(&api, method, path).await;
        assert_eq!(answer.as_deref(), Some(needed.unwrap_or("key")), "{method} {path}");
    }
    let table = every_route(&api).await;
    assert!(table.len() > 30, "{table:?}");
    for permission in Permission::ALL {
        let key = api.key_of("user_9", &[permission]).await;
        for (method, path, needed) in &table {
            if path.ends_with("/keys/voip/generate") {
                continue; // tested in keys.rs
            }
            let expected =
                permission == Permission::Admin || needed == "key" || needed == permission.as_str();
            assert_eq!(
                is_admitted(&api, &key, method, path).await,
                expected,
                "{permission:?} {method} {path}"
            ); // S56
        }
    }
    for (method, path, _) in &table {
        api.json(method, "", path, &json!({})).await.refused(401, "api_key_missing"); // S20
        api.json(method, "sk_voip_abc123...", path, &json!({})).await.refused(401, "api_key_invalid");
    }
}

#[tokio::test]
async fn the_scheme_is_bearer_in_any_case_and_nothing_else() {
    let api = TestApi::new().await;
    let ask = |authorization: String| {
        let request = request("GET", "/api/v1/opensips/health", "").header("authorization", authorization);
        api.send(request.body(Body::empty()).unwrap())
    };
    for scheme in ["Bearer", "bearer", "BEARER"] {
        ask(format!("{scheme} {}", api.key)).await.ok(); // S19
    }
    for wrong in
        [format!("Basic {}", api.key), api.key.clone(), "Bearer".into(), format!("Bearer {} x", api.key)]
    {
        ask(wrong).await.refused(401, "api_key_invalid");
    }
    let first = &api.key[..api.key.len() - 1];
    for wrong in [format!("{first}!"), first.to_owned(), api.key.to_lowercase()] {
        ask(format!("Bearer {wrong}")).await.refused(401, "api_key_invalid");
    }
}

#[tokio::test]
async fn objects_of_other_users_are_not_found() {
    let api = TestApi::new().await;
    let made =
        api.post(&api.key, "/api/v1/voip/extensions/create", json!({"extensionNumber": "1001"})).await.ok();
    let extension = format!("/api/v1/voip/extensions/{}", made["extension"]["id"].as_str().unwrap());
    let key = api.get(&api.key, "/api/v1/keys").await.ok()["keys"][0]["id"].as_str().unwrap().to_owned();
    api.switch.change(|e| e.calls.push(call_record("session_1_a", "user_123", test_api::BEGIN)));
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
        // 404 takes precedence over a bad body, and is the same as for an id that never existed (S25).
        let there =
            api.json(method, &api.other_key, path, &json!({"nonsense": 1})).await.refused(404, "not_found");
        let absent = path.replace(|c: char| c.is_ascii_digit(), "7").replace("v7", "v1");
        let never = api.json(method, &api.other_key, &absent, &json!({})).await.refused(404, "not_found");
        assert_eq!(there["code"], never["code"]);
        for refused in [&there, &never] {
            // The response contains no other object.
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
        api.json(method, &api.other_key, path, &body).await.refused(403, "foreign_user"); // S25, S57
    }
    assert!(api.get(&api.other_key, "/api/v1/calls").await.ok()["calls"].as_array().unwrap().is_empty());
    assert!(
        api.get(&api.other_key, "/api/v1/voip/extensions").await.ok()["extensions"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    api.get(&api.other_key, "/api/v1/voip/extensions?scope=all")
        .await
        .refused(403, "insufficient_permissions"); // S69
    // An admin key sees and changes everything.
    assert_eq!(
        api.get(&api.admin, "/api/v1/voip/extensions?scope=all").await.ok()["extensions"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    api.get(&api.admin, "/api/v1/opensips/call/session_1_a").await.ok();
    api.post(&api.admin, "/api/v1/opensips/generate-credentials", json!({"userId": "somebody_new"}))
        .await
        .ok(); // S33
}

#[tokio::test]
async fn the_user_of_the_other_leg_may_read_the_call() {
    let api = TestApi::new().await;
    let mut call = call_record("session_1_a", "user_123", test_api::BEGIN);
    call.other_user = Some(model::UserId::parse("stranger").unwrap());
    api.switch.change(|e| e.calls.push(call));
    api.get(&api.other_key, "/api/v1/opensips/call/session_1_a").await.ok();
}

#[tokio::test]
async fn a_key_creates_none_with_more_permissions_and_the_last_admin_key_stays() {
    let api = TestApi::new().await;
    let caller = api.key_of("user_9", &[Permission::Call]).await;
    let generate = "/api/v1/keys/voip/generate";
    api.post(&caller, generate, json!({"permissions": ["call", "sip"]}))
        .await
        .refused(403, "wider_permissions");
    api.post(&caller, generate, json!({"permissions": ["admin"]})).await.refused(403, "wider_permissions");
    api.post(&caller, generate, json!({})).await.refused(403, "wider_permissions");
    api.post(&caller, generate, json!({"permissions": ["call"], "requestsPerMinute": 9}))
        .await
        .refused(403, "insufficient_permissions");
    api.post(&caller, generate, json!({"permissions": ["call"]})).await.ok(); // S53
    let keys = api.get(&api.admin, "/api/v1/keys?userId=admin").await.ok();
    let id = keys["keys"][0]["id"].as_str().unwrap();
    api.post(&api.admin, &format!("/api/v1/keys/{id}/toggle"), json!({}))
        .await
        .refused(409, "last_admin_key"); // S58
    api.delete(&api.admin, &format!("/api/v1/keys/{id}")).await.refused(409, "last_admin_key");
    api.post(&api.admin, generate, json!({"userId": "second", "permissions": ["admin"]})).await.ok();
    api.delete(&api.admin, &format!("/api/v1/keys/{id}")).await.ok();
    api.get(&api.admin, "/api/v1/keys").await.refused(401, "api_key_invalid");
}

fn from(peer: &str, host: &str, path: &str) -> axum::http::request::Builder {
    let peer: SocketAddr = peer.parse().unwrap();
    Request::post(path).extension(ConnectInfo(peer)).header("host", host)
}

#[tokio::test]
async fn loopback_is_trusted_only_with_the_option_and_only_for_local_programs() {
    let (stop, start) = ("/api/v1/opensips/stop", "/api/v1/opensips/start");
    let strict = TestApi::new().await;
    let plain = |path| from("127.0.0.1:40000", "localhost:5000", path).body(Body::empty()).unwrap();
    strict.send(plain(stop)).await.refused(401, "api_key_missing"); // S20

    let api = TestApi::with(Settings { local_admin: true, ..settings() }).await;
    api.send(plain(stop)).await.ok(); // the examples of document 000 without a header
    api.send(plain(start)).await.ok();
    api.send(from("[::1]:4", "[::1]:5000", stop).body(Body::empty()).unwrap()).await.ok();
    let body = Body::from(json!({"userId": "user_123", "permissions": ["call"]}).to_string());
    let made = from("127.0.0.1:4", "localhost:5000", "/api/v1/keys/voip/generate");
    api.send(made.header("content-type", "application/json").body(body).unwrap()).await.ok();
    for (peer, host, header) in [
        ("192.0.2.1:4", "localhost:5000", None),
        ("127.0.0.1:4", "evil.example:5000", None), // DNS rebinding
        ("127.0.0.1:4", "localhost:5000", Some(("origin", "http://evil.example"))),
        ("127.0.0.1:4", "localhost:5000", Some(("x-forwarded-for", "192.0.2.1"))),
        ("127.0.0.1:4", "localhost:5000", Some(("forwarded", "for=192.0.2.1"))),
        ("127.0.0.1:4", "localhost:5000", Some(("sec-fetch-site", "cross-site"))),
    ] {
        let mut request = from(peer, host, stop);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        api.send(request.body(Body::empty()).unwrap()).await.refused(401, "api_key_missing");
    }
    let wrong = from("127.0.0.1:4", "localhost:5000", stop).header("authorization", "Bearer nonsense");
    api.send(wrong.body(Body::empty()).unwrap()).await.refused(401, "api_key_invalid");
}
