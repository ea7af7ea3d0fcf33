//! Any bad input is answered with a status of S23 that names the field: never 422, never 500.

use crate::test_api;

use axum::body::Body;
use serde_json::{Value, json};
use test_api::{TestApi, request};

const CREATE: &str = "/api/v1/voip/extensions/create";
const INITIATE: &str = "/api/v1/opensips/call/initiate";
const GENERATE: &str = "/api/v1/keys/voip/generate";

#[tokio::test]
async fn wrong_values_are_refused_and_their_field_is_named() {
    let api = TestApi::new().await;
    let made =
        api.post(&api.admin, CREATE, json!({"userId": "user_123", "extensionNumber": "4711"})).await.ok();
    let extension = format!("/api/v1/voip/extensions/{}", made["extension"]["id"].as_str().unwrap());
    let long = "x".repeat(65);
    let cases: Vec<(&str, &str, Value, &str, &str)> = vec![
        ("POST", CREATE, json!({"extensionNumber": 1001}), "wrong_type", "extensionNumber"),
        ("POST", CREATE, json!({"extensionNumber": null}), "wrong_type", "extensionNumber"),
        ("POST", CREATE, json!({"extensionNumber": "1"}), "invalid_value", "extensionNumber"),
        ("POST", CREATE, json!({"extensionNumber": "1234567"}), "invalid_value", "extensionNumber"),
        ("POST", CREATE, json!({"extensionNumber": "10a1"}), "invalid_value", "extensionNumber"),
        ("POST", CREATE, json!({"displayName": long}), "invalid_value", "displayName"),
        ("POST", CREATE, json!({"displayName": ""}), "invalid_value", "displayName"),
        ("POST", CREATE, json!({"displayName": "a\r\nVia: x"}), "invalid_value", "displayName"),
        ("POST", CREATE, json!({"displayName": "a\u{0}b"}), "invalid_value", "displayName"),
        ("POST", CREATE, json!({"displayName": "a\u{85}b"}), "invalid_value", "displayName"),
        ("POST", CREATE, json!({"userId": ""}), "invalid_value", "userId"),
        ("POST", CREATE, json!({"userId": "a b"}), "invalid_value", "userId"),
        ("POST", CREATE, json!({"userId": "x".repeat(129)}), "invalid_value", "userId"),
        ("POST", CREATE, json!({"userId": ["user_123"]}), "wrong_type", "userId"),
        ("POST", CREATE, json!({"password": "x"}), "unknown_field", "password"),
        ("POST", CREATE, json!({"id": "ext_1"}), "unknown_field", "id"), // mass assignment: security.md row 23
        ("POST", CREATE, json!({"voicemailEnabled": true}), "unknown_field", "voicemailEnabled"),
        ("PUT", &extension, json!({"status": "busy"}), "invalid_value", "status"), // S70
        ("PUT", &extension, json!({"forwardingEnabled": "yes"}), "wrong_type", "forwardingEnabled"),
        ("PUT", &extension, json!({"forwardingEnabled": true}), "invalid_value", "forwardingNumber"), // S71
        ("PUT", &extension, json!({"forwardingNumber": "sip:x@y"}), "invalid_value", "forwardingNumber"),
        ("PUT", &extension, json!({"forwardingNumber": "4711"}), "invalid_value", "forwardingNumber"),
        ("PUT", &extension, json!({"forwardingMode": "never"}), "invalid_value", "forwardingMode"),
        ("PATCH", &extension, json!({"ringSeconds": 1}), "invalid_value", "ringSeconds"),
        ("PATCH", &extension, json!({"ringSeconds": 5.5}), "invalid_value", "ringSeconds"),
        ("PATCH", &extension, json!({"ringSeconds": -5}), "invalid_value", "ringSeconds"),
        ("PATCH", &extension, json!({"ringSeconds": "30"}), "wrong_type", "ringSeconds"),
        (
            "PATCH",
            &extension,
            json!({"dialPermissions": {"premium": null}}),
            "invalid_value",
            "dialPermissions",
        ),
        ("PATCH", &extension, json!({"userId": "admin"}), "unknown_field", "userId"),
        ("POST", INITIATE, json!({}), "missing_field", "toNumber"),
        ("POST", INITIATE, json!({"toNumber": ""}), "invalid_value", "toNumber"),
        ("POST", INITIATE, json!({"toNumber": "+1 234"}), "invalid_value", "toNumber"),
        ("POST", INITIATE, json!({"toNumber": "sip:a@evil.example"}), "invalid_value", "toNumber"), // S32
        ("POST", INITIATE, json!({"toNumber": "sip:a@localhost\r\nX: y"}), "invalid_value", "toNumber"),
        (
            "POST",
            INITIATE,
            json!({"toNumber": "1001", "destinationNumber": "1002"}),
            "invalid_value",
            "toNumber",
        ),
        ("POST", INITIATE, json!({"toNumber": "1001", "useTwilio": "true"}), "wrong_type", "useTwilio"),
        ("POST", INITIATE, json!({"toNumber": "1001", "fromNumber": "\u{7}"}), "invalid_value", "fromNumber"),
        (
            "POST",
            INITIATE,
            json!({"toNumber": "1001", "ringTimeoutSeconds": 0}),
            "invalid_value",
            "ringTimeoutSeconds",
        ),
        (
            "POST",
            INITIATE,
            json!({"toNumber": "1001", "ringTimeoutSeconds": 1e300}),
            "invalid_value",
            "ringTimeoutSeconds",
        ),
        ("POST", INITIATE, json!({"toNumber": "1001", "admin": true}), "unknown_field", "admin"),
        ("POST", GENERATE, json!({"permissions": []}), "invalid_value", "permissions"),
        ("POST", GENERATE, json!({"permissions": ["root"]}), "invalid_value", "permissions"),
        ("POST", GENERATE, json!({"permissions": "call"}), "wrong_type", "permissions"),
        ("POST", GENERATE, json!({"name": "x".repeat(101)}), "invalid_value", "name"),
        ("POST", "/api/v1/opensips/start", json!({"x": 1}), "unknown_field", "x"),
        ("POST", "/api/v1/opensips/generate-credentials", json!({"rotate": 1}), "wrong_type", "rotate"),
    ];
    for (method, path, body, code, field) in cases {
        let answer = api.json(method, &api.admin, path, &body).await;
        assert_eq!(answer.status.as_u16(), 400, "{method} {path} {body}: {}", answer.text);
        let refused = answer.refused(400, code);
        let named = refused["field"].as_str().unwrap();
        assert!(named == field || (field == "toNumber" && named == "destinationNumber"), "{body}: {named}");
    }
    assert_eq!(api.app.directory_service().directory().counts()[3], 1, "none of these was created");
}

#[tokio::test]
async fn bodies_that_are_not_json_objects_are_rejected() {
    let api = TestApi::new().await;
    let deep = format!("{{\"userId\":{}{}}}", "[".repeat(40), "]".repeat(40));
    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("application/json", b"{".to_vec(), 400, "invalid_json"),
        ("application/json", b"nonsense".to_vec(), 400, "invalid_json"),
        ("application/json", b"[]".to_vec(), 400, "invalid_json"),
        ("application/json", b"\"x\"".to_vec(), 400, "invalid_json"),
        ("application/json", b"null".to_vec(), 400, "invalid_json"),
        ("application/json", b"{\"userId\":\"\xff\xfe\"}".to_vec(), 400, "invalid_json"),
        ("application/json", br#"{"userId":"\ud800"}"#.to_vec(), 400, "invalid_json"),
        ("application/json", br#"{"userId":"a"} x"#.to_vec(), 400, "invalid_json"),
        ("application/json", deep.into_bytes(), 400, "json_too_deep"), // security.md row 23
        ("application/json", vec![b' '; 64 * 1024 + 1], 413, "body_too_large"),
        ("text/plain", b"{}".to_vec(), 415, "unsupported_media_type"),
        ("application/x-www-form-urlencoded", b"userId=a".to_vec(), 415, "unsupported_media_type"),
        ("multipart/form-data; boundary=x", b"--x--".to_vec(), 415, "unsupported_media_type"),
        ("", b"{}".to_vec(), 415, "unsupported_media_type"),
    ];
    for (kind, body, status, code) in cases {
        let mut request = request("POST", CREATE, &api.admin);
        if !kind.is_empty() {
            request = request.header("content-type", kind);
        }
        api.send(request.body(Body::from(body)).unwrap()).await.refused(status, code);
    }
    let good = request("POST", CREATE, &api.admin).header("content-type", "Application/JSON; charset=utf-8");
    api.send(good.body(Body::from("{}")).unwrap()).await.ok();
}

#[tokio::test]
async fn queries_are_validated_too() {
    let api = TestApi::new().await;
    for (path, code, field) in [
        ("/api/v1/calls?limit=0", "invalid_value", "limit"),
        ("/api/v1/calls?limit=1001", "invalid_value", "limit"),
        ("/api/v1/calls?limit=abc", "invalid_value", "limit"),
        ("/api/v1/calls?limit=1&limit=2", "invalid_value", "limit"),
        ("/api/v1/calls?cursor=nonsense", "invalid_value", "cursor"),
        ("/api/v1/calls?cursor=99999999999999999999.x", "invalid_value", "cursor"),
        ("/api/v1/calls?active=maybe", "invalid_value", "active"),
        ("/api/v1/calls?colour=red", "unknown_field", "colour"),
        ("/api/v1/keys?userId=a%20b", "invalid_value", "userId"),
        ("/api/v1/voip/extensions?scope=mine", "invalid_value", "scope"),
        ("/api/v1/registrations?username=%00", "invalid_value", "username"),
    ] {
        let refused = api.get(&api.admin, path).await.refused(400, code);
        assert_eq!(refused["field"], json!(field), "{path}");
    }
    api.get(&api.admin, "/api/v1/calls?").await.ok();
}

#[tokio::test]
async fn duplicates_and_reserved_numbers_are_refused() {
    let api = TestApi::new().await;
    api.post(&api.key, CREATE, json!({"extensionNumber": "1001"})).await.ok();
    let refused = api
        .post(&api.other_key, CREATE, json!({"extensionNumber": "1001"}))
        .await
        .refused(409, "extension_exists");
    assert_eq!(refused["field"], json!("extensionNumber")); // S62
    api.post(&api.key, CREATE, json!({"extensionNumber": "112"})).await.refused(409, "reserved_number");
    let other = api.post(&api.key, CREATE, json!({"extensionNumber": "1002"})).await.ok();
    let path = format!("/api/v1/voip/extensions/{}", other["extension"]["id"].as_str().unwrap());
    api.put(&api.key, &path, json!({"extensionNumber": "1001"})).await.refused(409, "extension_exists");
    api.put(&api.key, &path, json!({"forwardingNumber": "911", "forwardingEnabled": true}))
        .await
        .refused(403, "emergency_not_allowed");
    api.put(&api.key, &path, json!({"extensionNumber": "1003"})).await.ok();
    api.post(&api.key, CREATE, json!({"extensionNumber": "1002"})).await.ok();
}

#[tokio::test]
async fn unknown_paths_and_methods_are_answered_in_json() {
    let api = TestApi::new().await;
    api.get(&api.key, "/api/v1/nothing").await.refused(404, "not_found"); // S26
    api.get("", "/api/v1/nothing").await.refused(401, "api_key_missing");
    api.get("", "/nothing").await.refused(404, "not_found");
    api.get(&api.key, "/api/v1/opensips/call/no%20id").await.refused(404, "not_found");
    api.get(&api.key, "/api/v1/opensips/call/%ff").await.refused(404, "not_found");
    api.get(&api.key, &format!("/api/v1/opensips/call/{}", "x".repeat(200))).await.refused(404, "not_found");
    let wrong = api.delete(&api.key, "/api/v1/opensips/health").await;
    assert_eq!(wrong.header("allow"), "GET,HEAD");
    wrong.refused(405, "method_not_allowed");
    api.delete("", "/api/v1/opensips/health").await.refused(401, "api_key_missing");
}

#[tokio::test]
async fn refusals_of_the_switch_keep_their_code_and_status() {
    use model::Cause;
    let api = TestApi::new().await;
    for (cause, status) in [
        (Cause::ConcurrentCallLimit, 429), // S29
        (Cause::NoRoute, 404),             // S194
        (Cause::NotFound, 404),
        (Cause::Draining, 503),
        (Cause::Overload, 503),
        (Cause::Busy, 409),
        (Cause::EmergencyNotAllowed, 403),
        (Cause::Internal, 500),
    ] {
        api.switch.change(|e| e.refuse = Some(cause));
        let answer = api.post(&api.key, INITIATE, json!({"toNumber": "1002"})).await;
        assert_eq!(answer.header("retry-after").is_empty(), !matches!(status, 429 | 503), "{cause:?}");
        answer.refused(status, cause.code());
    }
    api.switch.change(|e| e.unresponsive = true);
    api.post(&api.key, INITIATE, json!({"toNumber": "1002"})).await.refused(503, "exchange_unavailable");
    api.get(&api.key, "/api/v1/opensips/health").await.refused(503, "exchange_unavailable");
    assert_eq!(api.get("", "/readyz").await.status.as_u16(), 503);
    // Requests that do not need the switch still work.
    api.post(&api.key, CREATE, json!({})).await.ok();
    api.get(&api.key, "/api/v1/voip/extensions").await.ok();
}

#[tokio::test]
async fn errors_have_a_sentence_in_the_clients_language_and_a_stable_code() {
    let api = TestApi::new().await;
    let ask = |language: &str| {
        let request = request("GET", "/api/v1/opensips/health", "").header("accept-language", language);
        api.send(request.header("x-request-id", "my-id.7").body(Body::empty()).unwrap())
    };
    let spanish = ask("es-CL,es;q=0.9").await;
    assert_eq!((spanish.header("content-language"), spanish.header("x-request-id")), ("es", "my-id.7"));
    assert_eq!(spanish.header("www-authenticate"), "Bearer"); // S24
    let spanish = spanish.refused(401, "api_key_missing");
    assert!(spanish["error"].as_str().unwrap().starts_with("Falta la API key")); // S17
    let english = ask("en").await.refused(401, "api_key_missing");
    assert!(english["error"].as_str().unwrap().starts_with("API key missing")); // S23
    let body = json!({"toNumber": "1001", "ringTimeoutSeconds": 0});
    let refused = api.post(&api.key, INITIATE, body).await.refused(400, "invalid_value");
    assert!(refused["error"].as_str().unwrap().starts_with("ringTimeoutSeconds: "));
    let harmful =
        request("GET", "/healthz", "").header("x-request-id", "a b\"c").body(Body::empty()).unwrap();
    assert!(api.send(harmful).await.header("x-request-id").starts_with("req_"));
}

#[tokio::test]
async fn a_bad_import_line_is_reported_with_its_place_and_without_its_password() {
    const IMPORT: &str = "/api/v1/voip/extensions/import";
    let api = TestApi::new().await;
    let good = || json!({"extensionNumber": "2001", "username": "anna", "password": "p-long-enough", "userId": "user_1"});
    let bad = |name: &str, value: Value| {
        let mut line = json!({"extensionNumber": "2002", "username": "berta", "password": "hush-hush", "userId": "user_1"});
        line[name] = value;
        json!({"extensions": [good(), line]})
    };
    let mut missing = bad("displayName", json!("Berta"));
    missing["extensions"][1].as_object_mut().unwrap().remove("userId");
    for (body, code, field) in [
        (json!({}), "missing_field", "extensions"),
        (json!({"extensions": []}), "invalid_value", "extensions"),
        (json!({"extensions": ["2001"]}), "invalid_value", "extensions"),
        (json!({"extensions": good()}), "wrong_type", "extensions"),
        (json!({"extensions": [good()], "dryRun": true}), "unknown_field", "dryRun"),
        (bad("extensionNumber", json!("x")), "invalid_value", "extensions[1].extensionNumber"),
        (bad("extensionNumber", json!(2002)), "wrong_type", "extensions[1].extensionNumber"),
        (bad("username", json!("a b")), "invalid_value", "extensions[1].username"),
        (bad("password", json!("hush\u{0}hush")), "invalid_value", "extensions[1].password"),
        (bad("password", json!("2002")), "invalid_value", "extensions[1].password"), // security.md row 29
        (bad("password", json!("Berta")), "invalid_value", "extensions[1].password"),
        (bad("password", json!("SecurePass123!")), "invalid_value", "extensions[1].password"),
        (bad("permissions", json!("admin")), "unknown_field", "extensions[1].permissions"),
        (missing, "missing_field", "extensions[1].userId"),
    ] {
        let answer = api.post(&api.admin, IMPORT, body.clone()).await;
        assert!(!answer.text.contains("hush"), "{}", answer.text);
        assert!(!answer.header("x-request-id").is_empty());
        assert_eq!(answer.refused(400, code)["field"], field, "{body}");
    }
    api.post(&api.admin, IMPORT, bad("extensionNumber", json!("2001")))
        .await
        .refused(409, "extension_exists");
    assert_eq!(api.app.directory_service().directory().counts()[3], 0, "all or nothing");
    let text = Body::from("x".repeat(33 * 1024 * 1024));
    let large =
        request("POST", IMPORT, &api.admin).header("content-type", "application/json").body(text).unwrap();
    api.send(large).await.refused(413, "import_too_large");
    let made = api.post(&api.admin, IMPORT, bad("displayName", json!("Berta"))).await.ok(); // S40
    assert_eq!(made, json!({"success": true, "imported": 2}));
    let event = api.events(1).await.pop().unwrap();
    assert_eq!(event.kind, "voip_extensions_imported");
}
