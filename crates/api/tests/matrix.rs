//! Every route of the document with requests that it must reject. A new route is covered automatically.

mod foreign;
use crate::test_api;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use test_api::fixtures::{message, recording, sound};
use test_api::{TestApi, call_record};

struct Operation {
    method: String,
    template: String,
    body: Value,
    schema: Value,
    needs: String,
}

async fn operations(api: &TestApi) -> Vec<Operation> {
    let mut all = Vec::new();
    for (template, item) in api.document().await["paths"].as_object().unwrap() {
        for (method, described) in item.as_object().unwrap() {
            let content = &described["requestBody"]["content"]["application/json"];
            let body = if content["example"].is_object() { content["example"].clone() } else { json!({}) };
            let (method, template) = (method.to_ascii_uppercase(), template.clone());
            let needs = described["x-needs"].as_str().unwrap().to_owned();
            all.push(Operation { method, template, body, schema: content["schema"].clone(), needs });
        }
    }
    all
}

/// Ids of objects of `user_123`, by the path prefix that names them.
struct Fixtures(Vec<(String, String)>);

impl Fixtures {
    async fn new(api: &TestApi) -> Fixtures {
        let id = |made: &Value, noun: &str| made[noun]["id"].as_str().unwrap().to_owned();
        let post = async |path: &str, body: Value| api.post(&api.key, path, body).await.ok();
        let key = post("/api/v1/keys/voip/generate", json!({})).await;
        let extension = post("/api/v1/voip/extensions/create", json!({"extensionNumber": "4711"})).await;
        let hook = post("/api/v1/webhooks", json!({"url": "https://crm.example/hook"})).await;
        post("/api/v1/voip/extensions/create", json!({"extensionNumber": "4712"})).await;
        api.store.fan_out(api.now()).await.unwrap();
        let trunk = json!({"name": "Carrier", "hosts": [{"host": "sip.carrier.example"}]});
        let trunk = api.post(&api.admin, "/api/v1/trunks", trunk).await.ok();
        let calls = format!("/api/v1/voip/extensions/{}/recurring-calls", id(&extension, "extension"));
        let daily = json!({"frequency": "daily", "time": "09:00", "timezone": "America/New_York"});
        let recurring = post(&calls, json!({"destinationNumber": "4712", "schedule": daily})).await;
        let recorded = recording(api).await;
        let sound = sound(api, &id(&extension, "extension")).await;
        let message = message(api, &id(&extension, "extension")).await;
        let deliveries = format!("/api/v1/webhooks/{}/deliveries", id(&hook, "webhook"));
        let delivery =
            api.get(&api.key, &deliveries).await.ok()["deliveries"][0]["id"].as_str().unwrap().to_owned();
        api.switch.change(|e| e.calls.push(call_record("session_1736936999_a", "user_123", test_api::BEGIN)));
        let call = String::from("session_1736936999_a");
        let thing = |prefix: &str, id: String| (prefix.to_owned(), id);
        Fixtures(vec![
            thing("/api/v1/keys/{id}", id(&key, "key")),
            thing("/api/v1/voip/extensions/user/{id}", "user_123".into()),
            thing("/api/v1/voip/extensions/{id}", id(&extension, "extension")),
            thing("/api/v1/opensips/call/{id}", call.clone()),
            thing("/api/v1/calls/{id}", call),
            thing("/api/v1/recordings/{id}", recorded),
            thing("/api/v1/trunks/{id}", id(&trunk, "trunk")),
            thing("/api/v1/voip/recurring-calls/{id}", id(&recurring, "recurringCall")),
            thing("/api/v1/voip/extensions/{id}/voicemail/{messageId}", message),
            thing("/api/v1/voip/sounds/{id}", sound),
            thing("/api/v1/webhooks/{id}/deliveries/{delivery}", delivery),
            thing("/api/v1/webhooks/{id}", id(&hook, "webhook")),
        ])
    }

    /// The path of an object of `user_123`. A missing object is created with the example of the route that creates it.
    async fn path(&mut self, api: &TestApi, operations: &[Operation], template: &str) -> String {
        let begins = |template: &str, prefix: &str| {
            template == prefix || template.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'))
        };
        if !self.0.iter().any(|(prefix, _)| begins(template, prefix)) {
            let noun = template.split("/{id}").next().unwrap();
            let makes = |o: &&Operation| {
                o.method == "POST" && (o.template == noun || o.template == format!("{noun}/create"))
            };
            let maker =
                operations.iter().find(makes).unwrap_or_else(|| panic!("{template}: add one to Fixtures"));
            let made = api.post(&api.key, &maker.template, maker.body.clone()).await.ok();
            let id = made
                .as_object()
                .unwrap()
                .values()
                .find_map(|value| value["id"].as_str())
                .expect("an id")
                .to_owned();
            self.0.push((format!("{noun}/{{id}}"), id));
        }
        let mut path = template.to_owned();
        for (prefix, id) in &self.0 {
            if begins(template, prefix) {
                let name = prefix.rsplit('/').next().unwrap();
                path = path.replace(name, id);
            }
        }
        assert!(!path.contains('{'), "{path}");
        path
    }
}

/// Whether an error names this field, or one within it.
fn is_at(refused: &Value, name: &str) -> bool {
    let rest = refused.as_str().and_then(|field| field.strip_prefix(name));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

#[tokio::test]
async fn objects_of_another_user_are_not_found_on_any_route() {
    let api = TestApi::new().await;
    let operations = operations(&api).await;
    let mut fixtures = Fixtures::new(&api).await;
    let mut before = BTreeMap::new();
    let mut tried = 0;
    for operation in operations.iter().filter(|o| o.template.contains('{')) {
        let path = fixtures.path(&api, &operations, &operation.template).await;
        if operation.method == "GET" {
            before.insert(path.clone(), api.get(&api.key, &path).await);
        }
        let missing = operation
            .template
            .replace("user/{id}", "user/nobody")
            .replace("{messageId}", "nothing_3")
            .replace("{id}", "nothing_1")
            .replace("{delivery}", "nothing_2");
        let foreign = api.json(&operation.method, &api.other_key, &path, &operation.body).await;
        let missing = api.json(&operation.method, &api.other_key, &missing, &operation.body).await;
        // S25, security.md row 21: the same error, so that the existence of an id is not revealed.
        let what = |answer: &test_api::Answer| (answer.status.as_u16(), answer.json()["code"].clone());
        let place = format!("{} {}", operation.method, operation.template);
        assert_eq!(what(&foreign), what(&missing), "{place}");
        assert!(matches!(foreign.status.as_u16(), 403 | 404), "{place}: {}", foreign.text);
        // The two errors that reveal nothing about the object: no admin key, or another user in the path.
        let told_by_path = operation.needs == "admin" || operation.template.contains("user/{id}");
        assert!(foreign.status == 404 || told_by_path, "{place}: {}", foreign.text);
        tried += 1;
    }
    assert!(tried > 15, "{tried}");
    for (path, answer) in before {
        let now = api.get(&api.key, &path).await;
        assert_eq!(now.status, answer.status, "{path}");
        if !path.ends_with("/usage") && answer.text.starts_with('{') {
            assert_eq!(
                now.json().as_object().map(Map::len),
                answer.json().as_object().map(Map::len),
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn any_field_value_is_accepted_or_rejected_by_name_and_never_causes_a_500() {
    let api = TestApi::new().await;
    let operations = operations(&api).await;
    let mut fixtures = Fixtures::new(&api).await;
    let long = "x".repeat(10_000);
    // Values that are wrong for every field of the type, and values that some fields accept.
    let never = |kind: &str| -> Vec<Value> {
        let mut values = vec![json!({"a": 1}), json!([[1]]), json!([{}])];
        if kind != "string" {
            values.extend([json!("x"), json!("")]);
        }
        if kind != "boolean" {
            values.push(json!(true));
        }
        if kind == "string" {
            values.extend([
                json!(7),
                json!(""),
                json!(long),
                json!("a\u{0}b"),
                json!("a\r\nX-Evil: 1"),
                json!("\u{1b}[31m"),
                json!("\u{7f}"),
            ]);
        }
        values
    };
    let perhaps = [
        json!("'; DROP TABLE users;--"),
        json!("<script>alert(1)</script>"),
        json!("../../etc/passwd"),
        json!("%00"),
        json!("Ж🙂"),
    ];
    let mut tried = 0;
    for operation in operations.iter().filter(|o| o.schema["properties"].is_object()) {
        let path = if operation.template.contains('{') {
            fixtures.path(&api, &operations, &operation.template).await
        } else {
            operation.template.clone()
        };
        let send = async |body: Value| {
            let stored = async || {
                let hooks = api.store.webhooks(None).await.unwrap();
                (api.app.directory_service().directory().counts(), hooks)
            };
            let before = stored().await;
            let answer = api.json(&operation.method, &api.admin, &path, &body).await;
            let place = format!("{} {path} {body:.200}", operation.method);
            assert!(answer.status.as_u16() < 500, "{place}: {}", answer.text); // S27
            if !answer.status.is_success() {
                assert!(answer.json()["code"].is_string(), "{place}");
                assert_eq!(stored().await, before, "{place}: something was stored");
            }
            answer
        };
        for (name, schema) in operation.schema["properties"].as_object().unwrap() {
            let schema = schema["oneOf"].get(0).unwrap_or(schema);
            let with = |value: &Value| {
                let mut body = operation.body.clone();
                if let (Some(body), "destinationNumber") = (body.as_object_mut(), name.as_str()) {
                    body.remove("toNumber");
                }
                body[name] = value.clone();
                body
            };
            for value in never(schema["type"].as_str().unwrap()) {
                let answer = send(with(&value)).await;
                let place = format!("{} {path} {name}: {value:.100}", operation.method);
                assert_eq!(answer.status.as_u16(), 400, "{place}: {}", answer.text);
                assert!(is_at(&answer.json()["field"], name), "{place}: {}", answer.text); // S23
                tried += 1;
            }
            for value in &perhaps {
                let answer = send(with(value)).await;
                if answer.status == 400 {
                    assert!(is_at(&answer.json()["field"], name), "{name} {value}: {}", answer.text);
                }
                tried += 1;
            }
        }
        let mut body = operation.body.clone();
        body["isAdmin"] = json!(true);
        let answer = send(body).await; // security.md row 23
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["code"]),
            (400, &json!("unknown_field")),
            "{path}: {}",
            answer.text
        );
    }
    assert!(tried > 300, "{tried}");
}

#[tokio::test]
async fn every_request_example_is_accepted() {
    let api = TestApi::new().await;
    let operations = operations(&api).await;
    let mut fixtures = Fixtures::new(&api).await;
    for operation in operations.iter().filter(|o| o.schema.is_object()) {
        let path = if operation.template.contains('{') {
            fixtures.path(&api, &operations, &operation.template).await
        } else {
            operation.template.clone()
        };
        let answer = api.json(&operation.method, &api.admin, &path, &operation.body).await;
        assert!(
            answer.status.as_u16() != 400,
            "{} {path} {}: {}",
            operation.method,
            operation.body,
            answer.text
        );
    }
}
