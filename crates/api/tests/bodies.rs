//! Request bodies and headers: size limits, encodings, Host, integers as in JSON Schema.

use crate::test_api;

use axum::body::Body;
use axum::http::{Request, Version};
use serde_json::{Value, json};
use test_api::{Answer, TestApi, request};

const IMPORT: &str = "/api/v1/voip/extensions/import";

async fn sent(api: &TestApi, path: &str, kind: &str, name: Option<&str>, body: impl Into<Body>) -> Answer {
    let mut request = request("POST", path, &api.admin).header("content-type", kind);
    if let Some(name) = name {
        request = request.header("idempotency-key", name);
    }
    api.send(request.body(body.into()).unwrap()).await
}

fn import_body(lines: u32) -> Value {
    let line = |n: u32| {
        json!({
            "extensionNumber": (30_000 + n).to_string(), "username": format!("user-with-a-long-name-{n}"),
            "password": format!("a-password-of-some-length-{n}"), "userId": "user_1",
        })
    };
    json!({"extensions": (0..lines).map(line).collect::<Vec<_>>()})
}

#[tokio::test]
async fn a_body_may_be_as_large_with_an_idempotency_key_as_without() {
    let api = TestApi::new().await;
    let body = import_body(800).to_string();
    assert!(body.len() > 64 * 1024);
    let first = sent(&api, IMPORT, "application/json", Some("office"), body.clone()).await;
    assert_eq!(first.ok()["imported"], 800); // F25
    let again = sent(&api, IMPORT, "application/json", Some("office"), body).await;
    assert_eq!(
        (again.header("idempotency-replayed"), again.json()["imported"].as_u64()),
        ("true", Some(800))
    );
    // The same size limit with an idempotency key: the upload gets as far as the audio store, which is not set here.
    let extension = api.post(&api.admin, "/api/v1/voip/extensions", json!({})).await.ok();
    let sounds =
        format!("/api/v1/voip/extensions/{}/sounds?name=x", extension["extension"]["id"].as_str().unwrap());
    for name in [None, Some("sound")] {
        sent(&api, &sounds, "audio/wav", name, vec![7; 160 * 1024]).await.refused(503, "store_unavailable");
        sent(&api, &sounds, "audio/wav", name, vec![7; 13 * 1024 * 1024])
            .await
            .refused(413, "audio_too_large");
    }
    let large = vec![b' '; 64 * 1024 + 1];
    for name in [None, Some("large")] {
        let path = "/api/v1/voip/extensions";
        sent(&api, path, "application/json", name, large.clone()).await.refused(413, "body_too_large");
    }
}

#[tokio::test]
async fn a_long_response_is_replayed_for_an_idempotency_key() {
    let api = TestApi::new().await;
    let dids: Vec<Value> =
        (0..1000).map(|n| json!({"number": format!("+3491100000000000000000000000{n:04}")})).collect();
    let host = |n: u32| json!({"host": format!("h{n}.{}.{}.{}.example", "a".repeat(60), "b".repeat(60), "c".repeat(60))});
    let hosts: Vec<Value> = (0..8).map(host).collect();
    let trunk = json!({"name": "Long", "hosts": hosts, "dids": dids}).to_string();
    assert!(trunk.len() < 64 * 1024);
    let made = sent(&api, "/api/v1/trunks", "application/json", Some("long"), trunk).await;
    assert!(made.text.len() > 64 * 1024, "{}", made.text.len());
    assert_eq!(made.ok()["trunk"]["dids"].as_array().unwrap().len(), 1000);
}

#[tokio::test]
async fn a_body_with_an_unsupported_encoding_is_rejected() {
    let api = TestApi::new().await;
    let path = "/api/v1/voip/extensions";
    for coding in ["gzip", "br", "deflate, gzip"] {
        let request = request("POST", path, &api.admin)
            .header("content-type", "application/json")
            .header("content-encoding", coding);
        let answer = api.send(request.body(Body::from("\x1f\x08")).unwrap()).await;
        assert_eq!(answer.header("accept-encoding"), "identity");
        assert_eq!(answer.refused(415, "unsupported_content_encoding")["field"], "Content-Encoding");
    }
    let plain = request("POST", path, &api.admin)
        .header("content-type", "application/json")
        .header("content-encoding", "Identity");
    api.send(plain.body(Body::from("{}")).unwrap()).await.ok();
}

#[tokio::test]
async fn http_1_1_has_one_host() {
    let api = TestApi::new().await;
    let ask = async |hosts: &[&str], version: Version| {
        let request = Request::get("/api/v1/keys")
            .version(version)
            .header("authorization", format!("Bearer {}", api.admin));
        let request = hosts.iter().fold(request, |request, host| request.header("host", *host));
        api.send(request.body(Body::empty()).unwrap()).await
    };
    for hosts in [&[][..], &["a", "b"], &["a", "a"], &["user@host"], &["a b"], &["a/b"]] {
        let refused = ask(hosts, Version::HTTP_11).await.refused(400, "invalid_host"); // RFC 9112 §3.2
        assert_eq!(refused["field"], "Host", "{hosts:?}");
    }
    for host in ["localhost", "localhost:5000", "[::1]:5000", "192.0.2.1", ""] {
        ask(&[host], Version::HTTP_11).await.ok();
    }
    ask(&[], Version::HTTP_10).await.ok();
}

#[tokio::test]
async fn a_number_without_a_fraction_is_an_integer_however_it_is_written() {
    let api = TestApi::new().await;
    let made = api.post(&api.admin, "/api/v1/voip/extensions", json!({})).await.ok();
    let path = format!("/api/v1/voip/extensions/{}", made["extension"]["id"].as_str().unwrap());
    let patch = async |body: &'static str| {
        let request = request("PATCH", &path, &api.admin).header("content-type", "application/json");
        api.send(request.body(Body::from(body)).unwrap()).await
    };
    assert_eq!(patch(r#"{"ringSeconds": 30.0}"#).await.ok()["extension"]["ringSeconds"], 30);
    assert_eq!(patch(r#"{"ringSeconds": 4.5e1}"#).await.ok()["extension"]["ringSeconds"], 45);
    let follow = r#"{"followMe": {"numbers": [{"number": "+34911000001", "ringSeconds": 20.0}]}}"#;
    assert_eq!(patch(follow).await.ok()["extension"]["followMe"]["numbers"][0]["ringSeconds"], 20);
    patch(r#"{"ringSeconds": 30.5}"#).await.refused(400, "invalid_value");
    patch(r#"{"ringSeconds": 1e300}"#).await.refused(400, "invalid_value");
}

#[tokio::test]
async fn a_csv_file_is_imported_and_faults_name_line_and_column() {
    let api = TestApi::new().await;
    let table = "\u{feff}number;name;password;PIN\r\n3006;Ana Pérez; a pass word ;4711\r\n3007;Eva;;\r\n";
    let done = sent(&api, IMPORT, "text/csv; charset=utf-8", None, table).await.ok(); // N7
    assert_eq!(done["imported"], 2);
    let made = &done["passwords"][0];
    assert_eq!((&made["extensionNumber"], made["password"].as_str().unwrap().len()), (&json!("3007"), 16));
    let directory = api.app.directory_service().directory();
    let credential = directory.credential("3006").unwrap();
    assert_eq!(credential.ha1, model::Ha1::new("3006", "sip.nexus-core.com", " a pass word "));
    assert!(directory.mailbox(credential.extension.as_ref().unwrap()).pin.is_some());

    let mut twice = String::from("number,username,password\n");
    for n in 0..40 {
        twice.push_str(&format!("{},user{n},hush-hush-{n}\n", if n == 39 { 4007 } else { 4000 + n }));
    }
    for (table, code, line, field, why) in [
        (
            twice.as_str(),
            "extension_exists",
            41,
            "extensionNumber",
            "line 41: number: \"4007\" is the same as in line 9",
        ),
        (
            "3006,x,hush-hush-x\n",
            "extension_exists",
            1,
            "extensionNumber",
            "line 1: number: \"3006\" already exists",
        ),
        ("4000,a b,hush-hush-x\n", "invalid_value", 1, "username", "line 1: username: \"a b\" must have"),
        (
            "4000,x,\"hush\n4001,y,hush-hush\n",
            "invalid_value",
            1,
            "password",
            "line 1: password: a field contains a line break",
        ),
        (
            "4000,x,123456\n",
            "invalid_value",
            1,
            "password",
            "line 1: password: must not be a well-known password",
        ),
        ("number\n\n# none\n", "invalid_value", 1, "", "line 1: the file contains no extension"),
    ] {
        let answer = sent(&api, IMPORT, "text/csv", None, table.to_owned()).await;
        assert!(!answer.text.contains("hush"), "{}", answer.text);
        let status = if code == "extension_exists" { 409 } else { 400 };
        let refused = answer.refused(status, code); // F27
        assert_eq!((&refused["line"], refused["field"].as_str().unwrap_or_default()), (&json!(line), field));
        assert!(refused["error"].as_str().unwrap().starts_with(why), "{refused}");
    }
    assert_eq!(api.app.directory_service().directory().counts()[3], 2, "all or nothing");
    // In a JSON list, the error also contains the rejected value.
    let mut list = import_body(41);
    list["extensions"][40]["extensionNumber"] = json!("30007");
    let refused = api.post(&api.admin, IMPORT, list.clone()).await.refused(409, "extension_exists");
    assert_eq!(refused["field"], "extensions[40].extensionNumber");
    assert!(refused["error"].as_str().unwrap().contains("\"30007\""), "{refused}");
    list["extensions"][40]["extensionNumber"] = json!("3");
    let refused = api.post(&api.admin, IMPORT, list).await.refused(400, "invalid_value");
    assert_eq!(refused["error"], "extensions[40].extensionNumber: must have 2 to 6 digits, not \"3\"");
}
