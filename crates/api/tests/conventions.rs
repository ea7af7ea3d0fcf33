//! Conventions of all routes: parameters, cursors, aliases and error sentences.

use crate::test_api;

use axum::body::Body;
use model::journal::Record;
use model::{CallDirection, CallStatus, Cause, Permission};
use serde_json::{Value, json};
use test_api::{BEGIN, TestApi, call_record, request};

/// Every operation of the document: method, path with unused ids, the operation.
async fn operations(api: &TestApi) -> Vec<(String, String, Value)> {
    let mut all = Vec::new();
    for (template, item) in api.document().await["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let path = template
                .replace("{id}", "unknown_1")
                .replace("{messageId}", "vm_1")
                .replace("{delivery}", "dlv_1");
            all.push((method.to_ascii_uppercase(), path, operation.clone()));
        }
    }
    all
}

#[tokio::test]
async fn an_unknown_parameter_is_rejected_with_the_known_ones() {
    let api = TestApi::new().await;
    let mut tried = 0;
    for (method, path, operation) in operations(&api).await {
        if operation["x-needs"] == "nothing" {
            continue;
        }
        let answer = api.json(&method, &api.admin, &format!("{path}?colour=red"), &json!({})).await;
        let refused = answer.refused(400, "unknown_field"); // N8
        assert_eq!(refused["field"], "colour", "{method} {path}");
        for parameter in operation["parameters"].as_array().unwrap().iter().filter(|p| p["in"] == "query") {
            let name = parameter["name"].as_str().unwrap();
            assert!(
                refused["error"].as_str().unwrap().contains(name),
                "{method} {path}: {name} in {refused}"
            );
        }
        tried += 1;
    }
    assert!(tried > 80, "{tried}");
    assert_eq!(
        api.get("", "/healthz?t=1").await.status,
        200,
        "load balancers may append any query to a probe"
    );
}

#[tokio::test]
async fn every_cursor_is_an_opaque_text_or_null() {
    let api = TestApi::new().await;
    for n in 0..2 {
        api.post(&api.admin, "/api/v1/voip/extensions", json!({})).await.ok();
        api.post(&api.admin, "/api/v1/webhooks", json!({"url": "https://crm.example/h"})).await.ok();
        let call = call_record(&format!("session_1736936{n:03}_a"), "user_123", BEGIN - 60);
        api.switch.change(|e| e.calls.push(call));
    }
    let (mut strings, mut lists) = (0, 0);
    for (method, path, operation) in operations(&api).await {
        let cursor = operation["parameters"].as_array().unwrap().iter().find(|p| p["name"] == "cursor");
        let Some(cursor) = cursor.filter(|_| method == "GET" && !path.contains("/events/")) else { continue };
        assert_eq!(cursor["schema"]["type"], "string", "{path}");
        lists += 1;
        if path.contains("_1") {
            continue;
        }
        let page = api.get(&api.admin, &format!("{path}?limit=1")).await.ok();
        match &page["nextCursor"] {
            Value::String(next) => {
                strings += 1;
                assert!(!next.contains(['_', '.']), "{path}: {next}");
                let rest = api.get(&api.admin, &format!("{path}?limit=1&cursor={next}")).await.ok();
                assert_ne!(rest, page, "{path}");
            }
            other => assert!(other.is_null() && page.get("nextCursor").is_some(), "{path}: {page}"),
        }
        if path != "/api/v1/events" {
            let refused =
                api.get(&api.admin, &format!("{path}?cursor=1001")).await.refused(400, "invalid_value");
            assert_eq!(refused["field"], "cursor", "{path}");
        }
    }
    assert!(strings >= 5 && lists >= 11, "{strings} of {lists}");
}

#[tokio::test]
async fn opensips_paths_have_neutral_aliases() {
    let api = TestApi::new().await;
    let document = api.document().await;
    let mut aliases = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let Some(rest) = path.strip_prefix("/api/v1/opensips/") else { continue };
        let neutral = match rest.strip_prefix("call/") {
            Some("initiate") => "/api/v1/calls".to_owned(),
            Some(call) => format!("/api/v1/calls/{call}"),
            None => format!("/api/v1/server/{rest}"),
        };
        for (method, operation) in item.as_object().unwrap() {
            let alias = &document["paths"][&neutral][method];
            for part in ["parameters", "requestBody", "responses", "x-needs", "summary"] {
                assert_eq!(alias[part], operation[part], "{method} {neutral}");
            }
            aliases += 1;
        }
    }
    assert_eq!(aliases, 12);
    let made = api.post(&api.key, "/api/v1/calls", json!({"toNumber": "1002"})).await.ok();
    let id = made["session"]["id"].as_str().unwrap();
    assert_eq!(made["session"]["sessionId"], id, "the documents' name stays beside it");
    let shown = api.get(&api.key, &format!("/api/v1/calls/{id}")).await.ok();
    assert_eq!(shown, api.get(&api.key, &format!("/api/v1/opensips/call/{id}")).await.ok());
    let ended = api.post(&api.key, &format!("/api/v1/calls/{id}/end"), json!({})).await.ok();
    assert_eq!(ended["session"]["status"], "canceled");
    let told = api.events(5).await;
    let kinds: Vec<&str> = told.iter().map(|event| event.kind.as_str()).collect();
    assert!(kinds.contains(&"call_end_requested") && !kinds.contains(&"call_ended"), "{kinds:?}"); // N1
}

#[tokio::test]
async fn calls_are_found_by_status_and_direction() {
    let api = TestApi::new().await;
    let kept = |n: i64, status: CallStatus, direction: CallDirection| {
        let (cause, ended) =
            (Some(Cause::Cancelled), Some(base::Timestamp::from_micros((BEGIN - n) * 1_000_000)));
        let call = call_record(&format!("session_{n}_over"), "user_123", BEGIN - 100 - n);
        Record::CallClosed(Box::new(model::CallRecord { status, direction, cause, ended_at: ended, ..call }))
    };
    let mut records: Vec<Record> =
        (10..40).map(|n| kept(n, CallStatus::Completed, CallDirection::Internal)).collect();
    records.push(kept(50, CallStatus::Canceled, CallDirection::Inbound));
    records.push(kept(51, CallStatus::Canceled, CallDirection::Outbound));
    api.store.feed(&records).await.unwrap();
    api.switch.change(|e| e.calls.push(call_record("session_1_up", "user_123", BEGIN)));
    let found = async |query: &str| -> Vec<String> {
        let page = api.get(&api.key, &format!("/api/v1/calls?{query}")).await.ok();
        let calls = page["calls"].as_array().unwrap().iter();
        calls.map(|call| call["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(found("status=canceled").await, ["session_50_over", "session_51_over"]);
    assert_eq!(found("status=ringing").await, ["session_1_up"]);
    assert_eq!(found("direction=outbound&limit=1").await, ["session_51_over"]);
    assert_eq!(found("status=canceled&direction=inbound").await, ["session_50_over"]);
    assert_eq!(found("direction=internal&limit=1000").await.len(), 31);
    let page = api.get(&api.key, "/api/v1/calls?status=canceled&limit=1").await.ok();
    assert_eq!(
        (&page["calls"][0]["status"], &page["calls"][0]["endReason"]),
        (&json!("canceled"), &json!("canceled"))
    );
    let rest = format!("status=canceled&limit=1&cursor={}", page["nextCursor"].as_str().unwrap());
    assert_eq!(found(&rest).await, ["session_51_over"]);
    api.get(&api.key, "/api/v1/calls?status=cancelled").await.refused(400, "invalid_value");
}

#[tokio::test]
async fn an_error_states_what_is_accepted_in_both_languages() {
    let api = TestApi::new().await;
    let made = api.post(&api.admin, "/api/v1/voip/extensions", json!({})).await.ok();
    let one = format!("/api/v1/voip/extensions/{}", made["extension"]["id"].as_str().unwrap());
    let calls = api.key_of("user_123", &[Permission::Call]).await;
    let cases = [
        (
            "PUT",
            one.as_str(),
            &api.admin,
            json!({"forwardingMode": "never"}),
            "forwardingMode: must be one of always, busy, noAnswer, unreachable",
            "estas palabras: always, busy",
        ),
        (
            "PUT",
            &one,
            &api.admin,
            json!({"ringSeconds": 1}),
            "ringSeconds: must be a whole number from 5 to 300",
            "entero de 5 a 300",
        ),
        (
            "PUT",
            &one,
            &api.admin,
            json!({"displayName": ""}),
            "displayName: must have 1 to 64 characters",
            "de 1 a 64 caracteres",
        ),
        (
            "PUT",
            &one,
            &api.admin,
            json!({"colour": "red"}),
            "colour: unknown field; allowed fields: displayName, extensionNumber,",
            "campos admitidos: displayName",
        ),
        (
            "POST",
            "/api/v1/server/start",
            &api.admin,
            json!({"x": 1}),
            "x: unknown field; no fields are allowed here",
            "no se admite ninguno",
        ),
        (
            "GET",
            "/api/v1/calls?limit=5000",
            &api.admin,
            json!({}),
            "limit: must be a whole number from 1 to 1000",
            "de 1 a 1000",
        ),
        (
            "GET",
            "/api/v1/keys/key_nope/usage",
            &api.admin,
            json!({}),
            "Resource not found: key_nope",
            "no encontrado: key_nope",
        ),
        (
            "POST",
            "/api/v1/calls/nope/end",
            &api.admin,
            json!({}),
            "Resource not found: nope",
            "no encontrado: nope",
        ),
        (
            "GET",
            "/api/v1/nothing",
            &api.admin,
            json!({}),
            "Resource not found: /api/v1/nothing",
            "no encontrado: /api/v1/nothing",
        ),
        (
            "DELETE",
            "/api/v1/calls",
            &api.admin,
            json!({}),
            "This resource does not support DELETE; it supports GET, HEAD, POST",
            "no admite DELETE; admite GET",
        ),
        (
            "GET",
            "/api/v1/registrations",
            &calls,
            json!({}),
            "The API key lacks the permission sip",
            "no tiene el permiso sip",
        ),
        (
            "GET",
            "/api/v1/trunks",
            &api.key,
            json!({}),
            "The API key lacks the permission admin",
            "no tiene el permiso admin",
        ),
    ];
    for (method, path, key, body, en, es) in cases {
        for (language, said) in [("en", en), ("es", es)] {
            let request = request(method, path, key)
                .header("accept-language", language)
                .header("content-type", "application/json");
            let answer = api.send(request.body(Body::from(body.to_string())).unwrap()).await;
            let error = answer.json()["error"].as_str().unwrap().to_owned();
            assert!(error.contains(said), "{method} {path}: {error}"); // N6
        }
    }
    let broken = request("PUT", &one, &api.admin).header("content-type", "application/json");
    let refused = api.send(broken.body(Body::from("{\n \"ringSeconds\": }")).unwrap()).await;
    assert!(refused.refused(400, "invalid_json")["error"].as_str().unwrap().contains("line 2, column 17"));
}

#[tokio::test]
async fn the_document_suits_client_generators() {
    let api = TestApi::new().await;
    let document = api.document().await;
    for (_, path, operation) in operations(&api).await {
        let name = operation["operationId"].as_str().unwrap();
        assert!(name.len() <= 32 && name.bytes().all(|b| b.is_ascii_alphanumeric()), "{path}: {name}"); // N9
    }
    assert_eq!(document["paths"]["/api/v1/voip/extensions"]["get"]["operationId"], "listExtensions");
    assert_eq!(document["paths"]["/api/v1/voip/extensions"]["post"]["operationId"], "createExtension");
    let schema =
        |name: &str, property: &str| document["components"]["schemas"][name]["properties"][property].clone();
    assert_eq!(schema("Extension", "status")["enum"], json!(["active", "inactive", "busy"]));
    assert_eq!(schema("Session", "status")["enum"].as_array().unwrap().len(), 8);
    assert!(schema("Session", "endReason")["enum"].as_array().unwrap().contains(&json!("no_answer")));
    assert_eq!(schema("Event", "type")["enum"].as_array().unwrap().len(), model::EVENT_TYPES.len());
    let audio = &document["paths"]["/api/v1/recordings/{id}/audio"]["get"]["responses"]["200"]["content"]["audio/ogg"];
    assert_eq!(
        audio["schema"],
        json!({"type": "string", "format": "binary", "contentMediaType": "audio/ogg"})
    );
    for list in ["x-event-types", "x-error-codes", "x-end-reasons"] {
        assert!(document[list].as_array().unwrap().len() > 35, "{list}");
    }
}

#[tokio::test]
async fn events_written_together_are_numbered_in_chronological_order() {
    let api = TestApi::new().await;
    // The ids sort in reverse order of the start times.
    let calls: Vec<Record> = (0..9)
        .map(|n| {
            let ended = base::Timestamp::from_micros((BEGIN + 10 + n) * 1_000_000);
            let call = call_record(&format!("session_{}_a", 9 - n), "user_123", BEGIN + n);
            let over = model::CallRecord { status: CallStatus::Completed, ended_at: Some(ended), ..call };
            Record::CallClosed(Box::new(over))
        })
        .collect();
    api.store.feed(&calls).await.unwrap();
    let page = api.get(&api.key, "/api/v1/events?order=asc&type=call_started,call_ended").await.ok();
    let at: Vec<&str> =
        page["events"].as_array().unwrap().iter().map(|event| event["at"].as_str().unwrap()).collect();
    assert_eq!(at.len(), 18);
    assert!(at.is_sorted(), "{at:?}"); // N8
}
