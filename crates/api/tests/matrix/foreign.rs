//! Two users, and a third who has no key: every path with every method, and every id of the one in every place of the other's requests.

use std::collections::BTreeSet;

use axum::body::Body;
use serde_json::{Value, json};

use super::{Operation, Things, operations};
use crate::house::{Answer, House, request};

const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
/// Whoever asks for these needs no key; a WebSocket may bring it later.
const PUBLIC: [&str; 4] = ["/healthz", "/readyz", "/openapi.json", "/api/v1/events/ws"];

/// The methods of a path: those of the document, and HEAD where there is GET.
fn known(operations: &[Operation], template: &str) -> BTreeSet<String> {
    let documented = operations.iter().filter(|o| o.template == template).map(|o| o.method.clone());
    let mut known: BTreeSet<String> = documented.collect();
    if known.contains("GET") {
        known.insert("HEAD".into());
    }
    known
}

fn templates(operations: &[Operation]) -> BTreeSet<String> {
    operations.iter().map(|o| o.template.clone()).collect()
}

fn body_of<'o>(operations: &'o [Operation], method: &str, template: &str) -> Option<&'o Value> {
    operations.iter().find(|o| o.method == method && o.template == template).map(|o| &o.body)
}

/// 405 in the shape of every refusal, with the methods that the path does know.
#[track_caller]
fn refused_with_methods(answer: Answer, known: &BTreeSet<String>, method: &str, place: &str) {
    let allowed: BTreeSet<String> =
        answer.header("allow").split(',').map(|word| word.trim().to_owned()).collect();
    assert_eq!(&allowed, known, "{place}");
    if method == "HEAD" {
        assert_eq!(answer.status.as_u16(), 405, "{place}");
    } else {
        answer.refused(405, "method_not_allowed");
    }
}

#[tokio::test]
async fn a_method_that_a_path_does_not_know_is_refused_with_those_that_it_knows() {
    let house = House::new().await;
    let operations = operations(&house).await;
    let mut things = Things::new(&house).await;
    let mut tried = 0;
    for template in templates(&operations) {
        let path = if template.contains('{') {
            things.path(&house, &operations, &template).await
        } else {
            template.clone()
        };
        let known = known(&operations, &template);
        for method in METHODS.into_iter().filter(|method| !known.contains(*method)) {
            for key in [&house.admin, &house.key, &house.stranger] {
                let answer = house.json(method, key, &path, &json!({})).await;
                refused_with_methods(answer, &known, method, &format!("{method} {path}")); // S23
                tried += 1;
            }
        }
        for method in METHODS.into_iter().filter(|_| !PUBLIC.contains(&template.as_str())) {
            let answer = house.json(method, "", &path, &json!({})).await;
            assert_eq!(answer.status.as_u16(), 401, "{method} {path}: {}", answer.text); // S24
        }
    }
    assert!(tried > 500, "{tried}");
    for method in METHODS {
        for path in ["/api/v1/nothing", "/api/v2/calls", "/nothing"] {
            let answer = house.json(method, &house.admin, path, &json!({})).await;
            assert_eq!(answer.status.as_u16(), 404, "{method} {path}"); // S26
            if method != "HEAD" {
                answer.refused(404, "not_found");
            }
        }
    }
}

/// What the stranger has of what holds other things, by the beginning of their paths.
async fn own_things(house: &House) -> Vec<(&'static str, String)> {
    let post = async |path: &str, body: Value| house.post(&house.stranger, path, body).await.ok();
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

/// The ids of everything that is not the stranger's.
async fn foreign_ids(house: &House, things: &Things) -> Vec<String> {
    let mut ids: BTreeSet<String> = things.0.iter().map(|(_, id)| id.clone()).collect();
    let events = house.get(&house.key, "/api/v1/events").await.ok();
    ids.extend(events["events"].as_array().unwrap().iter().map(|event| event["id"].to_string()));
    let extensions = house.get(&house.key, "/api/v1/voip/extensions").await.ok();
    for extension in extensions["extensions"].as_array().unwrap() {
        ids.insert(extension["extensionNumber"].as_str().unwrap().to_owned());
    }
    let keys = house.get(&house.admin, "/api/v1/keys").await.ok();
    let keys = keys["keys"].as_array().unwrap().iter().filter(|key| key["userId"] != "stranger");
    ids.extend(keys.map(|key| key["id"].as_str().unwrap().to_owned()));
    ids.into_iter().collect()
}

/// Whether an answer names one of these things. Numbers stand anywhere by chance, and are not looked for.
fn names<'i>(answer: &Answer, ids: &'i [String], except: &str) -> Option<&'i String> {
    let telling = |id: &&String| id.contains('_') && *id != except;
    ids.iter().filter(telling).find(|id| answer.text.contains(&format!("\"{id}\"")))
}

/// Everything of the owner, as he sees it.
async fn seen_by_the_owner(house: &House, operations: &[Operation], things: &mut Things) -> Vec<Value> {
    let mut seen = Vec::new();
    for operation in operations.iter().filter(|o| o.method == "GET" && o.template.contains('{')) {
        if operation.template.ends_with("/audio") || operation.template.ends_with("/usage") {
            continue;
        }
        let path = things.path(house, operations, &operation.template).await;
        let answer =
            house.get(if operation.needs == "admin" { &house.admin } else { &house.key }, &path).await;
        // Every answer has a request id of its own.
        let said = answer.text.split("\"requestId\"").next().unwrap_or_default().to_owned();
        seen.push(json!([path, answer.status.as_u16(), said]));
    }
    seen
}

// security.md row 21
#[tokio::test]
async fn no_id_of_somebody_else_opens_a_path_with_any_method() {
    let house = House::new().await;
    let operations = operations(&house).await;
    let mut things = Things::new(&house).await;
    let own = own_things(&house).await;
    let before = seen_by_the_owner(&house, &operations, &mut things).await;
    let foreign = foreign_ids(&house, &things).await;
    let mut tried = 0;
    for template in templates(&operations).iter().filter(|template| template.contains('{')) {
        let known = known(&operations, template);
        let names_in: Vec<&str> = template.split('/').filter(|part| part.starts_with('{')).collect();
        let own_path = |id: &str| {
            let of = own.iter().find(|(prefix, _)| template.starts_with(prefix));
            of.map(|(_, own)| template.replace(names_in[0], own).replace(names_in[names_in.len() - 1], id))
        };
        for id in &foreign {
            let mut paths = vec![names_in.iter().fold(template.clone(), |path, name| path.replace(name, id))];
            if names_in.len() > 1 {
                // What is the caller's own holds nothing of others.
                paths.extend(own_path(id));
            }
            for path in paths {
                for method in METHODS {
                    let body = body_of(&operations, method, template).cloned().unwrap_or_else(|| json!({}));
                    let answer = house.json(method, &house.stranger, &path, &body).await;
                    let place = format!("{method} {path}");
                    if known.contains(method) {
                        let status = answer.status.as_u16();
                        assert!(matches!(status, 403 | 404), "{place}: {status} {}", answer.text); // S25
                        assert_eq!(names(&answer, &foreign, id), None, "{place}: {}", answer.text);
                    } else {
                        refused_with_methods(answer, &known, method, &place);
                    }
                    tried += 1;
                }
            }
        }
    }
    assert!(tried > 1000, "{tried}");
    assert_eq!(seen_by_the_owner(&house, &operations, &mut things).await, before);
}

// security.md row 21
#[tokio::test]
async fn no_id_of_somebody_else_in_a_query_shows_anything_of_his() {
    let house = House::new().await;
    let operations = operations(&house).await;
    let things = Things::new(&house).await;
    let own = own_things(&house).await;
    let foreign = foreign_ids(&house, &things).await;
    let document = house.document().await;
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
                let head = request(&operation.method, &asked, &house.stranger);
                let answer = house.send(head.body(Body::empty()).unwrap()).await;
                let place = format!("{} {asked}: {} {}", operation.method, answer.status, answer.text);
                assert!(matches!(answer.status.as_u16(), 200 | 400 | 403 | 404 | 415), "{place}");
                assert_eq!(names(&answer, &foreign, ""), None, "{place}");
                // Who does not ask for a WebSocket is told so before anything else.
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
async fn no_id_of_somebody_else_in_a_body_reaches_anything_of_his() {
    let house = House::new().await;
    let operations = operations(&house).await;
    let mut things = Things::new(&house).await;
    let own = own_things(&house).await;
    let before = seen_by_the_owner(&house, &operations, &mut things).await;
    let foreign = foreign_ids(&house, &things).await;
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
                let answer = house.json(&operation.method, &house.stranger, &path, &body).await;
                let place =
                    format!("{} {path} {name}={id}: {} {}", operation.method, answer.status, answer.text);
                assert!(answer.status.as_u16() < 500, "{place}"); // S27
                // A name that was sent may be shown again, as any text may.
                assert_eq!(names(&answer, &foreign, id), None, "{place}");
                if id == "user_123" && name == "userId" {
                    assert_eq!(answer.status.as_u16(), 403, "{place}"); // S25
                }
                tried += 1;
            }
        }
    }
    assert!(tried > 300, "{tried}");
    assert_eq!(seen_by_the_owner(&house, &operations, &mut things).await, before);
}
