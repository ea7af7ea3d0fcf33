//! Separation of users: every path with every method, and every id of one user in every place of another user's requests.

use std::collections::BTreeSet;

use axum::body::Body;
use serde_json::{Value, json};

use super::{Fixtures, Operation, operations};
use crate::test_api::{Answer, TestApi, request};

const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
/// Routes without a key in the header. The WebSocket takes it in its first message.
const PUBLIC: [&str; 4] = ["/healthz", "/readyz", "/openapi.json", "/api/v1/events/ws"];

/// The methods of a path: those in the document, and HEAD for GET.
fn supported(operations: &[Operation], template: &str) -> BTreeSet<String> {
    let documented = operations.iter().filter(|o| o.template == template).map(|o| o.method.clone());
    let mut supported: BTreeSet<String> = documented.collect();
    if supported.contains("GET") {
        supported.insert("HEAD".into());
    }
    supported
}

fn templates(operations: &[Operation]) -> BTreeSet<String> {
    operations.iter().map(|o| o.template.clone()).collect()
}

fn body_of<'o>(operations: &'o [Operation], method: &str, template: &str) -> Option<&'o Value> {
    operations.iter().find(|o| o.method == method && o.template == template).map(|o| &o.body)
}

/// Check for a 405 error that lists the supported methods.
#[track_caller]
fn refused_with_methods(answer: Answer, supported: &BTreeSet<String>, method: &str, place: &str) {
    let allowed: BTreeSet<String> =
        answer.header("allow").split(',').map(|word| word.trim().to_owned()).collect();
    assert_eq!(&allowed, supported, "{place}");
    if method == "HEAD" {
        assert_eq!(answer.status.as_u16(), 405, "{place}");
    } else {
        answer.refused(405, "method_not_allowed");
    }
}

#[tokio::test]
async fn an_unsupported_method_is_answered_405_with_the_supported_ones() {
    let api = TestApi::new().await;
    let operations = operations(&api).await;
    let mut fixtures = Fixtures::new(&api).await;
    let mut tried = 0;
    for template in templates(&operations) {
        let path = if template.contains('{') {
            fixtures.path(&api, &operations, &template).await
        } else {
            template.clone()
        };
        let supported = supported(&operations, &template);
        for method in METHODS.into_iter().filter(|method| !supported.contains(*method)) {
            for key in [&api.admin, &api.key, &api.other_key] {
                let answer = api.json(method, key, &path, &json!({})).await;
                refused_with_methods(answer, &supported, method, &format!("{method} {path}")); // S23
                tried += 1;
            }
        }
        for method in METHODS.into_iter().filter(|_| !PUBLIC.contains(&template.as_str())) {
            let answer = api.json(method, "", &path, &json!({})).await;
            assert_eq!(answer.status.as_u16(), 401, "{method} {path}: {}", answer.text); // S24
        }
    }
    assert!(tried > 500, "{tried}");
    for method in METHODS {
        for path in ["/api/v1/nothing", "/api/v2/calls", "/nothing"] {
            let answer = api.json(method, &api.admin, path, &json!({})).await;
            assert_eq!(answer.status.as_u16(), 404, "{method} {path}"); // S26
            if method != "HEAD" {
                answer.refused(404, "not_found");
            }
        }
    }
}

/// Container objects of the other user, by path prefix.
async fn own_fixtures(api: &TestApi) -> Vec<(&'static str, String)> {
    let post = async |path: &str, body: Value| api.post(&api.other_key, path, body).await.ok();
    let extension = post("/api/v1/voip/extensions/create", json!({"extensionNumber": "4721"})).await;
    let hook = post("/api/v1/webhooks", json!({"url": "https://pbx.example/hook"})).await;
    let key = post("/api/v1/keys/voip/generate", json!({})).await;
    let id = |made: &Value, noun: &str| made[noun]["id"].as_str().unwrap().to_owned();
    let extension = id(&extension, "extension");
    let calls = format!("/api/v1/voip/extensions/{extension}/recurring-calls");
    let daily = json!({"frequency": "daily", "time": "09:00", "timezone": "America/New_York"});
    let recurring = post(&calls, json!({"destinationNumber": "4712", "schedule": daily})).await;
    vec![
        ("/api/v1/voip/extensions/user/{id}", "stranger".into()),
        ("/api/v1/voip/extensions/{id}", extension),
        ("/api/v1/webhooks/{id}", id(&hook, "webhook")),
        ("/api/v1/keys/{id}", id(&key, "key")),
        ("/api/v1/voip/recurring-calls/{id}", id(&recurring, "recurringCall")),
    ]
}

/// The ids of all objects that do not belong to the other user.
async fn foreign_ids(api: &TestApi, fixtures: &Fixtures) -> Vec<String> {
    let mut ids: BTreeSet<String> = fixtures.0.iter().map(|(_, id)| id.clone()).collect();
    let events = api.get(&api.key, "/api/v1/events").await.ok();
    ids.extend(events["events"].as_array().unwrap().iter().map(|event| event["id"].to_string()));
    let extensions = api.get(&api.key, "/api/v1/voip/extensions").await.ok();
    for extension in extensions["extensions"].as_array().unwrap() {
        ids.insert(extension["extensionNumber"].as_str().unwrap().to_owned());
    }
    let keys = api.get(&api.admin, "/api/v1/keys").await.ok();
    let keys = keys["keys"].as_array().unwrap().iter().filter(|key| key["userId"] != "stranger");
    ids.extend(keys.map(|key| key["id"].as_str().unwrap().to_owned()));
    ids.into_iter().collect()
}

/// An id of the list that occurs in a response. Numeric ids are ignored, because numbers occur by chance.
fn names<'i>(answer: &Answer, ids: &'i [String], except: &str) -> Option<&'i String> {
    let telling = |id: &&String| id.contains('_') && *id != except;
    ids.iter().filter(telling).find(|id| answer.text.contains(&format!("\"{id}\"")))
}

/// All objects of the owner, as the owner reads them.
async fn seen_by_the_owner(api: &TestApi, operations: &[Operation], fixtures: &mut Fixtures) -> Vec<Value> {
    let mut seen = Vec::new();
    for operation in operations.iter().filter(|o| o.method == "GET" && o.template.contains('{')) {
        if operation.template.ends_with("/audio") || operation.template.ends_with("/usage") {
            continue;
        }
        let path = fixtures.path(api, operations, &operation.template).await;
        let answer = api.get(if operation.needs == "admin" { &api.admin } else { &api.key }, &path).await;
        // Each error has a different request id, so it is cut off.
        let said = answer.text.split("\"requestId\"").next().unwrap_or_default().to_owned();
        seen.push(json!([path, answer.status.as_u16(), said]));
    }
    seen
}

// security.md row 21
#[tokio::test]
async fn an_id_of_another_user_is_rejected_in_every_path_and_method() {
    let api = TestApi::new().await;
    let operations = operations(&api).await;
    let mut fixtures = Fixtures::new(&api).await;
    let own = own_fixtures(&api).await;
    let before = seen_by_the_owner(&api, &operations, &mut fixtures).await;
    let foreign = foreign_ids(&api, &fixtures).await;
    let mut tried = 0;
    for template in templates(&operations).iter().filter(|template| template.contains('{')) {
        let supported = supported(&operations, template);
        let names_in: Vec<&str> = template.split('/').filter(|part| part.starts_with('{')).collect();
        let own_path = |id: &str| {
            let of = own.iter().find(|(prefix, _)| template.starts_with(prefix));
            of.map(|(_, own)| template.replace(names_in[0], own).replace(names_in[names_in.len() - 1], id))
        };
        for id in &foreign {
            let mut paths = vec![names_in.iter().fold(template.clone(), |path, name| path.replace(name, id))];
            if names_in.len() > 1 {
                // An own container must not give access to objects of others.
                paths.extend(own_path(id));
            }
            for path in paths {
                for method in METHODS {
                    let body = body_of(&operations, method, template).cloned().unwrap_or_else(|| json!({}));
                    let answer = api.json(method, &api.other_key, &path, &body).await;
                    let place = format!("{method} {path}");
                    if supported.contains(method) {
                        let status = answer.status.as_u16();
                        assert!(matches!(status, 403 | 404), "{place}: {status} {}", answer.text); // S25
                        assert_eq!(names(&answer, &foreign, id), None, "{place}: {}", answer.text);
                    } else {
                        refused_with_methods(answer, &supported, method, &place);
                    }
                    tried += 1;
                }
            }
        }
    }
    assert!(tried > 1000, "{tried}");
    assert_eq!(seen_by_the_owner(&api, &operations, &mut fixtures).await, before);
}

// security.md row 21
#[tokio::test]
async fn an_id_of_another_user_in_a_query_reveals_nothing() {
    let api = TestApi::new().await;
    let operations = operations(&api).await;
    let fixtures = Fixtures::new(&api).await;
    let own = own_fixtures(&api).await;
    let foreign = foreign_ids(&api, &fixtures).await;
    let document = api.document().await;
    let mut tried = 0;
    for operation in &operations {
        let described = &document["paths"][&operation.template][operation.method.to_ascii_lowercase()];
        let parameters = described["parameters"].as_array().unwrap();
        let in_query = parameters.iter().filter(|parameter| parameter["in"] == "query");
        let path = own.iter().fold(operation.template.clone(), |path, (prefix, id)| {
            if path.starts_with(prefix) { path.replacen("{id}", id, 1) } else { path }
        });
        for name in in_query.map(|parameter| parameter["name"].as_str().unwrap()) {
            for id in &foreign {
                let asked = format!("{path}?{name}={id}");
                let head = request(&operation.method, &asked, &api.other_key);
                let answer = api.send(head.body(Body::empty()).unwrap()).await;
                let place = format!("{} {asked}: {} {}", operation.method, answer.status, answer.text);
                assert!(matches!(answer.status.as_u16(), 200 | 400 | 403 | 404 | 415), "{place}");
                assert_eq!(names(&answer, &foreign, ""), None, "{place}");
                // A request without a WebSocket upgrade is rejected first.
                let no_socket = operation.template.ends_with("/ws") && answer.status.as_u16() == 400;
                if id == "user_123" && matches!(name, "userId" | "user") && !no_socket {
                    assert_eq!(answer.status.as_u16(), 403, "{place}"); // S25
                }
                tried += 1;
            }
        }
    }
    assert!(tried > 300, "{tried}");
}

// security.md row 21
#[tokio::test]
async fn an_id_of_another_user_in_a_body_reaches_nothing() {
    let api = TestApi::new().await;
    let operations = operations(&api).await;
    let mut fixtures = Fixtures::new(&api).await;
    let own = own_fixtures(&api).await;
    let before = seen_by_the_owner(&api, &operations, &mut fixtures).await;
    let foreign = foreign_ids(&api, &fixtures).await;
    let mut tried = 0;
    for operation in operations.iter().filter(|o| o.schema["properties"].is_object()) {
        let path = own.iter().fold(operation.template.clone(), |path, (prefix, id)| {
            if path.starts_with(prefix) { path.replacen("{id}", id, 1) } else { path }
        });
        for (name, schema) in operation.schema["properties"].as_object().unwrap() {
            let kind = &schema["oneOf"].get(0).unwrap_or(schema)["type"];
            for id in &foreign {
                let value = match kind.as_str() {
                    Some("array") => json!([id]),
                    Some("object") => json!({"id": id, "userId": id}),
                    _ => json!(id),
                };
                let mut body = operation.body.clone();
                body[name] = value;
                let answer = api.json(&operation.method, &api.other_key, &path, &body).await;
                let place =
                    format!("{} {path} {name}={id}: {} {}", operation.method, answer.status, answer.text);
                assert!(answer.status.as_u16() < 500, "{place}"); // S27
                // The id that was sent may be echoed, like any text.
                assert_eq!(names(&answer, &foreign, id), None, "{place}");
                if id == "user_123" && name == "userId" {
                    assert_eq!(answer.status.as_u16(), 403, "{place}"); // S25
                }
                tried += 1;
            }
        }
    }
    assert!(tried > 300, "{tried}");
    assert_eq!(seen_by_the_owner(&api, &operations, &mut fixtures).await, before);
}
