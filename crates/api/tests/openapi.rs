//! The document and the router have the same routes. (Every other test checks that the status of its responses is documented.)

use crate::test_api;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use test_api::TestApi;

const METHODS: [&str; 6] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

#[tokio::test]
async fn every_documented_route_answers_and_no_other_method_does() {
    let api = TestApi::new().await;
    let document = api.document().await;
    assert_eq!(document["openapi"], json!("3.1.0"));
    for (template, item) in document["paths"].as_object().unwrap() {
        let path = template.replace("{id}", "unknown");
        for method in METHODS {
            let documented = item.get(method.to_ascii_lowercase()).is_some();
            let answer = api.json(method, &api.admin, &path, &json!({})).await;
            assert_eq!(answer.status.as_u16() != 405, documented, "{method} {template}: {}", answer.text);
            if !documented {
                let allowed: BTreeSet<&str> = answer.header("allow").split(',').collect();
                for known in item.as_object().unwrap().keys() {
                    assert!(allowed.contains(known.to_ascii_uppercase().as_str()), "{template}: {allowed:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn the_documents_routes_are_all_there() {
    let api = TestApi::new().await;
    let document = api.document().await;
    for (method, path) in [
        ("post", "/api/v1/opensips/start"),
        ("get", "/api/v1/opensips/status"),
        ("post", "/api/v1/opensips/generate-credentials"),
        ("post", "/api/v1/opensips/call/initiate"),
        ("get", "/api/v1/opensips/call/{id}"),
        ("post", "/api/v1/opensips/call/{id}/end"),
        ("get", "/api/v1/opensips/health"),
        ("post", "/api/v1/opensips/stop"),
        ("post", "/api/v1/keys/voip/generate"),
        ("get", "/api/v1/keys"),
        ("post", "/api/v1/keys/{id}/toggle"),
        ("delete", "/api/v1/keys/{id}"),
        ("post", "/api/v1/voip/extensions/create"),
        ("get", "/api/v1/voip/extensions/user/{id}"),
        ("put", "/api/v1/voip/extensions/{id}"),
        ("post", "/api/v1/voip/extensions/{id}/call"),
        ("delete", "/api/v1/voip/extensions/{id}"),
        ("get", "/api/v1/voip/extensions"),
    ] {
        let operation = &document["paths"][path][method];
        assert!(operation["responses"]["200"].is_object(), "{method} {path}");
        assert!(operation["responses"]["401"].is_object(), "{method} {path}");
    }
}

#[tokio::test]
async fn every_reference_resolves_and_every_operation_id_is_unique() {
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(object) => {
                if let Some(target) = object.get("$ref").and_then(Value::as_str) {
                    found.insert(target.to_owned());
                }
                object.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let api = TestApi::new().await;
    let document = api.document().await;
    let mut found = BTreeSet::new();
    references(document, &mut found);
    assert!(found.len() > 15, "{found:?}");
    for target in found {
        let pointer = target.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{target}");
    }
    let mut names = BTreeSet::new();
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            assert!(
                names.insert(operation["operationId"].as_str().unwrap().to_owned()),
                "{}",
                operation["operationId"]
            );
        }
    }
}
