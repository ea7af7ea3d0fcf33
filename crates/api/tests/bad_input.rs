//! Whatever is sent, the answer is one of S23: never 422, never 500, and it names the field.

use crate::house;

use axum::body::Body;
use house::{House, request};
use serde_json::{Value, json};

const CREATE: &str = "/api/v1/voip/extensions/create";
const INITIATE: &str = "/api/v1/opensips/call/initiate";
const GENERATE: &str = "/api/v1/keys/voip/generate";

#[tokio::test]
async fn wrong_values_are_refused_and_their_field_is_named() {
    let house = House::new().await;
    let made =
        house.post(&house.admin, CREATE, json!({"userId": "user_123", "extensionNumber": "4711"})).await.ok();
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
        let answer = house.json(method, &house.admin, path, &body).await;
        assert_eq!(answer.status.as_u16(), 400, "{method} {path} {body}: {}", answer.text);
        let refused = answer.refused(400, code);
        let named = refused["field"].as_str().unwrap();
        assert!(named == field || (field == "toNumber" && named == "destinationNumber"), "{body}: {named}");
    }
    assert_eq!(house.app.directory_service().directory().census()[3], 1, "nothing was made of all that");
}

#[tokio::test]
async fn bodies_that_are_no_json_objects_are_refused() {
    let house = House::new().await;
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
        let mut request = request("POST", CREATE, &house.admin);
        if !kind.is_empty() {
            request = request.header("content-type", kind);
        }
        house.send(request.body(Body::from(body)).unwrap()).await.refused(status, code);
    }
    let good =
        request("POST", CREATE, &house.admin).header("content-type", "Application/JSON; charset=utf-8");
    house.send(good.body(Body::from("{}")).unwrap()).await.ok();
}

#[tokio::test]
async fn queries_are_held_to_their_tables_too() {
    let house = House::new().await;
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
        let refused = house.get(&house.admin, path).await.refused(400, code);
        assert_eq!(refused["field"], json!(field), "{path}");
    }
    house.get(&house.admin, "/api/v1/calls?").await.ok();
}

#[tokio::test]
async fn duplicates_and_reserved_numbers_are_refused() {
    let house = House::new().await;
    house.post(&house.key, CREATE, json!({"extensionNumber": "1001"})).await.ok();
    let refused = house
        .post(&house.stranger, CREATE, json!({"extensionNumber": "1001"}))
        .await
        .refused(409, "extension_exists");
    assert_eq!(refused["field"], json!("extensionNumber")); // S62
    house.post(&house.key, CREATE, json!({"extensionNumber": "112"})).await.refused(409, "reserved_number");
    let other = house.post(&house.key, CREATE, json!({"extensionNumber": "1002"})).await.ok();
    let path = format!("/api/v1/voip/extensions/{}", other["extension"]["id"].as_str().unwrap());
    house.put(&house.key, &path, json!({"extensionNumber": "1001"})).await.refused(409, "extension_exists");
    house
        .put(&house.key, &path, json!({"forwardingNumber": "911", "forwardingEnabled": true}))
        .await
        .refused(403, "emergency_not_allowed");
    house.put(&house.key, &path, json!({"extensionNumber": "1003"})).await.ok();
    house.post(&house.key, CREATE, json!({"extensionNumber": "1002"})).await.ok();
}

#[tokio::test]
async fn unknown_places_and_methods_are_told_in_json() {
    let house = House::new().await;
    house.get(&house.key, "/api/v1/nothing").await.refused(404, "not_found"); // S26
    house.get("", "/api/v1/nothing").await.refused(401, "api_key_missing");
    house.get("", "/nothing").await.refused(404, "not_found");
    house.get(&house.key, "/api/v1/opensips/call/no%20id").await.refused(404, "not_found");
    house.get(&house.key, "/api/v1/opensips/call/%ff").await.refused(404, "not_found");
    house
        .get(&house.key, &format!("/api/v1/opensips/call/{}", "x".repeat(200)))
        .await
        .refused(404, "not_found");
    let wrong = house.delete(&house.key, "/api/v1/opensips/health").await;
    assert_eq!(wrong.header("allow"), "GET,HEAD");
    wrong.refused(405, "method_not_allowed");
    house.delete("", "/api/v1/opensips/health").await.refused(401, "api_key_missing");
}

#[tokio::test]
async fn refusals_of_the_exchange_keep_their_code_and_their_status() {
    use model::Cause;
    let house = House::new().await;
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
        house.exchange.change(|e| e.refuse = Some(cause));
        let answer = house.post(&house.key, INITIATE, json!({"toNumber": "1002"})).await;
        assert_eq!(answer.header("retry-after").is_empty(), !matches!(status, 429 | 503), "{cause:?}");
        answer.refused(status, cause.code());
    }
    house.exchange.change(|e| e.dead = true);
    house.post(&house.key, INITIATE, json!({"toNumber": "1002"})).await.refused(503, "exchange_unavailable");
    house.get(&house.key, "/api/v1/opensips/health").await.refused(503, "exchange_unavailable");
    assert_eq!(house.get("", "/readyz").await.status.as_u16(), 503);
    // What the exchange is not needed for goes on.
    house.post(&house.key, CREATE, json!({})).await.ok();
    house.get(&house.key, "/api/v1/voip/extensions").await.ok();
}

#[tokio::test]
async fn people_are_answered_in_their_language_and_programs_by_code() {
    let house = House::new().await;
    let ask = |language: &str| {
        let request = request("GET", "/api/v1/opensips/health", "").header("accept-language", language);
        house.send(request.header("x-request-id", "my-id.7").body(Body::empty()).unwrap())
    };
    let spanish = ask("es-CL,es;q=0.9").await;
    assert_eq!((spanish.header("content-language"), spanish.header("x-request-id")), ("es", "my-id.7"));
    assert_eq!(spanish.header("www-authenticate"), "Bearer"); // S24
    let spanish = spanish.refused(401, "api_key_missing");
    assert!(spanish["error"].as_str().unwrap().starts_with("Falta la API key")); // S17
    let english = ask("en").await.refused(401, "api_key_missing");
    assert!(english["error"].as_str().unwrap().starts_with("API key missing")); // S23
    let body = json!({"toNumber": "1001", "ringTimeoutSeconds": 0});
    let refused = house.post(&house.key, INITIATE, body).await.refused(400, "invalid_value");
    assert!(refused["error"].as_str().unwrap().starts_with("ringTimeoutSeconds: "));
    let harmful =
        request("GET", "/healthz", "").header("x-request-id", "a b\"c").body(Body::empty()).unwrap();
    assert!(house.send(harmful).await.header("x-request-id").starts_with("req_"));
}

#[tokio::test]
async fn a_bad_line_of_an_import_is_named_with_its_place_and_its_password_is_not_told() {
    const IMPORT: &str = "/api/v1/voip/extensions/import";
    let house = House::new().await;
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
        let answer = house.post(&house.admin, IMPORT, body.clone()).await;
        assert!(!answer.text.contains("hush"), "{}", answer.text);
        assert!(!answer.header("x-request-id").is_empty());
        assert_eq!(answer.refused(400, code)["field"], field, "{body}");
    }
    house
        .post(&house.admin, IMPORT, bad("extensionNumber", json!("2001")))
        .await
        .refused(409, "extension_exists");
    assert_eq!(house.app.directory_service().directory().census()[3], 0, "all or nothing");
    let text = Body::from("x".repeat(33 * 1024 * 1024));
    let large =
        request("POST", IMPORT, &house.admin).header("content-type", "application/json").body(text).unwrap();
    house.send(large).await.refused(413, "import_too_large");
    let made = house.post(&house.admin, IMPORT, bad("displayName", json!("Berta"))).await.ok(); // S40
    assert_eq!(made, json!({"success": true, "imported": 2}));
    let event = house.events(1).await.pop().unwrap();
    assert_eq!(event.kind, "voip_extensions_imported");
}
