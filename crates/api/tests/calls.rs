//! The list of active and ended calls, and their ladders.

use crate::test_api;

use std::time::Duration;

use axum::body::Body;
use base::Timestamp;
use model::journal::Record;
use model::{CallRecord, CallStatus, Cause};
use serde_json::{Value, json};
use switch::ladder::Rung;
use test_api::{BEGIN, TestApi, call_record, request};

fn ended(id: &str, user: &str, started: i64) -> CallRecord {
    CallRecord {
        status: CallStatus::Completed,
        answered_at: Some(Timestamp::from_micros((started + 2) * 1_000_000)),
        ended_at: Some(Timestamp::from_micros((started + 9) * 1_000_000)),
        cause: Some(Cause::Completed),
        ..call_record(id, user, started)
    }
}

fn ids(answer: &Value) -> Vec<String> {
    let calls = answer["calls"].as_array().unwrap();
    calls.iter().map(|call| call["sessionId"].as_str().unwrap().to_owned()).collect()
}

/// Five ended calls and three active ones (one of which is also in the database), of alternating users.
async fn api_with_calls() -> TestApi {
    let api = TestApi::new().await;
    let mut records: Vec<Record> = (0..5)
        .map(|n| {
            let user = if n % 2 == 0 { "user_123" } else { "stranger" };
            Record::CallClosed(Box::new(ended(&format!("session_{n}_over"), user, BEGIN - 100 + n)))
        })
        .collect();
    records.push(Record::CallOpened(Box::new(call_record("session_5_up", "user_123", BEGIN - 50))));
    api.store.feed(&records).await.unwrap();
    api.switch.change(|e| {
        e.calls = vec![
            call_record("session_5_up", "user_123", BEGIN - 50),
            call_record("session_6_up", "stranger", BEGIN - 49),
            call_record("session_7_up", "user_123", BEGIN - 98), // started before some of the ended ones
        ];
    });
    api
}

const ALL: [&str; 8] = [
    "session_6_up",
    "session_5_up",
    "session_4_over",
    "session_3_over",
    "session_7_up",
    "session_2_over",
    "session_1_over",
    "session_0_over",
];

#[tokio::test]
async fn each_call_is_listed_once_newest_first_on_pages_of_any_size() {
    let api = api_with_calls().await;
    for limit in [1, 2, 3, 7, 8, 100] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = api.get(&api.admin, &format!("/api/v1/calls?limit={limit}{cursor}")).await.ok();
            assert_eq!(page["success"], json!(true));
            assert!(ids(&page).len() <= limit);
            seen.extend(ids(&page));
            let Some(next) = page["nextCursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(seen, ALL, "{limit} a page");
    }
}

#[tokio::test]
async fn users_see_their_own_calls_and_active_separates_active_from_ended_ones() {
    let api = api_with_calls().await;
    let own = api.get(&api.key, "/api/v1/calls").await.ok();
    assert_eq!(
        ids(&own),
        ["session_5_up", "session_4_over", "session_7_up", "session_2_over", "session_0_over"]
    );
    let up = api.get(&api.admin, "/api/v1/calls?active=true").await.ok();
    assert_eq!(ids(&up), ["session_6_up", "session_5_up", "session_7_up"]);
    let ended = api.get(&api.key, "/api/v1/calls?active=false").await.ok();
    assert_eq!(ids(&ended), ["session_4_over", "session_2_over", "session_0_over"]);
    let call = &ended["calls"][0];
    assert_eq!(
        (&call["durationSeconds"], &call["endReason"], &call["status"]),
        (&json!(7), &json!("completed"), &json!("completed"))
    );
    assert_eq!(call["trace"][0], json!({"rule": "extension", "outcome": "1002 is an extension"}));
    let foreign = api.get(&api.other_key, "/api/v1/calls").await.ok();
    assert_eq!(ids(&foreign), ["session_6_up", "session_3_over", "session_1_over"]);
}

#[tokio::test]
async fn a_call_that_just_ended_is_found_before_its_record_is_in_the_database() {
    let api = TestApi::new().await;
    let id = format!("session_{BEGIN}_a");
    let store = api.store.clone();
    let record = Record::CallClosed(Box::new(ended(&id, "user_123", BEGIN)));
    let feeding = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(150)).await;
        store.feed(&[record]).await.unwrap();
    });
    let shown = api.get(&api.key, &format!("/api/v1/opensips/call/{id}")).await.ok();
    assert_eq!(shown["session"]["status"], json!("completed"));
    feeding.await.unwrap();
}

fn rungs() -> Vec<Rung> {
    let rung = |sent, text: &str| Rung {
        at: Timestamp::from_micros(BEGIN * 1_000_000),
        sent,
        transport: "UDP".into(),
        local: "127.0.0.1:5060".parse().unwrap(),
        remote: "127.0.0.1:5062".parse().unwrap(),
        text: text.into(),
    };
    vec![rung(false, "INVITE sip:1002@localhost SIP/2.0\r\n\r\n"), rung(true, "SIP/2.0 100 Trying\r\n\r\n")]
}

#[tokio::test]
async fn a_ladder_is_returned_as_json_and_as_a_diagram() {
    let api = api_with_calls().await;
    let id = model::CallId::parse("session_5_up").unwrap();
    api.switch.change(|e| {
        e.ladders.insert(id, rungs());
    });
    let path = "/api/v1/calls/session_5_up/ladder";
    let data = api.get(&api.key, path).await.ok();
    assert_eq!(data["sessionId"], json!("session_5_up"));
    let second = json!({
        "at": "2025-01-15T10:30:00.000Z", "direction": "sent", "transport": "UDP", "local": "127.0.0.1:5060",
        "remote": "127.0.0.1:5062", "firstLine": "SIP/2.0 100 Trying", "text": "SIP/2.0 100 Trying\r\n\r\n"
    });
    assert_eq!(data["ladder"][1], second);
    let by_format = api.get(&api.key, &format!("{path}?format=text")).await;
    assert!(by_format.header("content-type").starts_with("text/plain"));
    assert!(
        by_format.text.contains("INVITE ----") && by_format.text.contains("centralita"),
        "{}",
        by_format.text
    );
    let by_accept =
        request("GET", path, &api.key).header("accept", "text/plain").body(Body::empty()).unwrap();
    assert_eq!(api.send(by_accept).await.text, by_format.text);
    api.get(&api.key, "/api/v1/calls/session_0_over/ladder").await.refused(404, "ladder_not_kept");
    api.get(&api.key, "/api/v1/calls/session_1_over/ladder").await.refused(404, "not_found");
}

#[tokio::test]
async fn registrations_are_shown_to_their_owners() {
    let api = TestApi::new().await;
    let mut names = Vec::new();
    for (key, number) in [(&api.key, "1001"), (&api.key, "1002"), (&api.other_key, "1003")] {
        let made =
            api.post(key, "/api/v1/voip/extensions/create", json!({"extensionNumber": number})).await.ok();
        names.push(made["extension"]["sipCredentials"]["username"].as_str().unwrap().to_owned());
    }
    let registration = |name: &String, port: u16| switch::Registration {
        username: name.as_str().into(),
        contact: format!("sip:{name}@192.0.2.1:{port}"),
        remote: format!("192.0.2.1:{port}").parse().unwrap(),
        expires_at: Timestamp::from_micros((BEGIN + 3600) * 1_000_000),
        user_agent: "baresip".into(),
    };
    api.switch.change(|e| {
        e.registrations = names.iter().map(|name| registration(name, 5062)).collect();
        e.registrations.push(registration(&names[0], 5064));
    });
    let own = api.get(&api.key, "/api/v1/registrations").await.ok();
    assert_eq!(own["registrations"].as_array().unwrap().len(), 3);
    let all = api.get(&api.admin, "/api/v1/registrations?limit=1000").await.ok();
    assert_eq!(all["registrations"].as_array().unwrap().len(), 4);
    let one = api.get(&api.admin, &format!("/api/v1/registrations?username={}", names[2])).await.ok();
    let expected = json!([{
        "username": names[2], "extensionNumber": "1003", "userId": "stranger", "contact": format!("sip:{}@192.0.2.1:5062", names[2]),
        "address": "192.0.2.1:5062", "expiresAt": "2025-01-15T11:30:00.000Z", "userAgent": "baresip"
    }]);
    assert_eq!(one["registrations"], expected);
    // A page never splits the bindings of one user name.
    let mut seen = 0;
    let mut cursor = String::new();
    loop {
        let page = api.get(&api.admin, &format!("/api/v1/registrations?limit=1{cursor}")).await.ok();
        seen += page["registrations"].as_array().unwrap().len();
        let Some(next) = page["nextCursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, 4);
    let shown = api.get(&api.key, "/api/v1/voip/extensions").await.ok();
    assert_eq!(shown["extensions"][0]["registered"], json!(true)); // S70
}

#[tokio::test]
async fn calls_are_found_by_user_number_and_time() {
    let api = api_with_calls().await;
    api.switch.change(|e| e.calls[0].to_number = "+34600112233".into());
    let list =
        async |key: &str, query: &str| ids(&api.get(key, &format!("/api/v1/calls?{query}")).await.ok());
    let (admin, owner) = (api.admin.clone(), api.key.clone());
    assert_eq!(list(&admin, "userId=stranger").await, ["session_6_up", "session_3_over", "session_1_over"]);
    assert_eq!(list(&admin, "number=%2B346").await, ["session_5_up"]);
    assert_eq!(list(&admin, "number=+346").await, ["session_5_up"]); // an unescaped plus, as typed into a browser
    assert_eq!(list(&admin, "number=1002&active=true").await, ["session_6_up", "session_7_up"]);
    let at = |second: i64| Timestamp::from_micros((BEGIN + second) * 1_000_000).to_string();
    let between = format!("since={}&until={}", at(-98), at(-96));
    assert_eq!(list(&admin, &between).await, ["session_3_over", "session_7_up", "session_2_over"]);
    assert_eq!(list(&owner, &format!("{between}&userId=user_123")).await, ["session_7_up", "session_2_over"]);

    api.get(&owner, "/api/v1/calls?userId=stranger").await.refused(403, "foreign_user");
    for bad in ["since=yesterday", "until=1700000000", "number=", "number=10%2025", "userId=%27"] {
        let refused = api.get(&admin, &format!("/api/v1/calls?{bad}")).await;
        assert_eq!(refused.status, 400, "{bad}");
    }
}
