//! Calls that are up and calls that are over, in one list, once each; their ladders.

use crate::house;

use std::time::Duration;

use axum::body::Body;
use base::Timestamp;
use house::{BEGIN, House, call_record, request};
use model::journal::Record;
use model::{CallRecord, CallStatus, Cause};
use serde_json::{Value, json};
use switch::ladder::Rung;

fn over(id: &str, user: &str, started: i64) -> CallRecord {
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

/// Five over, three up (one of which the database has as opened), of alternating owners.
async fn busy_house() -> House {
    let house = House::new().await;
    let mut records: Vec<Record> = (0..5)
        .map(|n| {
            let user = if n % 2 == 0 { "user_123" } else { "stranger" };
            Record::CallClosed(Box::new(over(&format!("session_{n}_over"), user, BEGIN - 100 + n)))
        })
        .collect();
    records.push(Record::CallOpened(Box::new(call_record("session_5_up", "user_123", BEGIN - 50))));
    house.store.feed(&records).await.unwrap();
    house.exchange.change(|e| {
        e.calls = vec![
            call_record("session_5_up", "user_123", BEGIN - 50),
            call_record("session_6_up", "stranger", BEGIN - 49),
            call_record("session_7_up", "user_123", BEGIN - 98), // began before some that are over
        ];
    });
    house
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
    let house = busy_house().await;
    for limit in [1, 2, 3, 7, 8, 100] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = house.get(&house.admin, &format!("/api/v1/calls?limit={limit}{cursor}")).await.ok();
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
async fn owners_see_their_own_and_active_parts_the_living_from_the_dead() {
    let house = busy_house().await;
    let own = house.get(&house.key, "/api/v1/calls").await.ok();
    assert_eq!(
        ids(&own),
        ["session_5_up", "session_4_over", "session_7_up", "session_2_over", "session_0_over"]
    );
    let up = house.get(&house.admin, "/api/v1/calls?active=true").await.ok();
    assert_eq!(ids(&up), ["session_6_up", "session_5_up", "session_7_up"]);
    let ended = house.get(&house.key, "/api/v1/calls?active=false").await.ok();
    assert_eq!(ids(&ended), ["session_4_over", "session_2_over", "session_0_over"]);
    let call = &ended["calls"][0];
    assert_eq!(
        (&call["durationSeconds"], &call["endReason"], &call["status"]),
        (&json!(7), &json!("completed"), &json!("completed"))
    );
    assert_eq!(call["trace"][0], json!({"rule": "extension", "outcome": "1002 is an extension"}));
    let foreign = house.get(&house.stranger, "/api/v1/calls").await.ok();
    assert_eq!(ids(&foreign), ["session_6_up", "session_3_over", "session_1_over"]);
}

#[tokio::test]
async fn a_call_that_has_just_ended_is_found_though_its_record_is_still_on_the_way() {
    let house = House::new().await;
    let id = format!("session_{BEGIN}_a");
    let store = house.store.clone();
    let record = Record::CallClosed(Box::new(over(&id, "user_123", BEGIN)));
    let feeding = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(150)).await;
        store.feed(&[record]).await.unwrap();
    });
    let shown = house.get(&house.key, &format!("/api/v1/opensips/call/{id}")).await.ok();
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
async fn a_ladder_is_read_as_data_and_as_a_drawing() {
    let house = busy_house().await;
    let id = model::CallId::parse("session_5_up").unwrap();
    house.exchange.change(|e| {
        e.ladders.insert(id, rungs());
    });
    let path = "/api/v1/calls/session_5_up/ladder";
    let data = house.get(&house.key, path).await.ok();
    assert_eq!(data["sessionId"], json!("session_5_up"));
    let second = json!({
        "at": "2025-01-15T10:30:00.000Z", "direction": "sent", "transport": "UDP", "local": "127.0.0.1:5060",
        "remote": "127.0.0.1:5062", "firstLine": "SIP/2.0 100 Trying", "text": "SIP/2.0 100 Trying\r\n\r\n"
    });
    assert_eq!(data["ladder"][1], second);
    let by_format = house.get(&house.key, &format!("{path}?format=text")).await;
    assert!(by_format.header("content-type").starts_with("text/plain"));
    assert!(
        by_format.text.contains("INVITE ----") && by_format.text.contains("centralita"),
        "{}",
        by_format.text
    );
    let by_accept =
        request("GET", path, &house.key).header("accept", "text/plain").body(Body::empty()).unwrap();
    assert_eq!(house.send(by_accept).await.text, by_format.text);
    house.get(&house.key, "/api/v1/calls/session_0_over/ladder").await.refused(404, "ladder_not_kept");
    house.get(&house.key, "/api/v1/calls/session_1_over/ladder").await.refused(404, "not_found");
}

#[tokio::test]
async fn registrations_are_shown_to_their_owners() {
    let house = House::new().await;
    let mut names = Vec::new();
    for (key, number) in [(&house.key, "1001"), (&house.key, "1002"), (&house.stranger, "1003")] {
        let made =
            house.post(key, "/api/v1/voip/extensions/create", json!({"extensionNumber": number})).await.ok();
        names.push(made["extension"]["sipCredentials"]["username"].as_str().unwrap().to_owned());
    }
    let registration = |name: &String, port: u16| switch::Registration {
        username: name.as_str().into(),
        contact: format!("sip:{name}@192.0.2.1:{port}"),
        remote: format!("192.0.2.1:{port}").parse().unwrap(),
        expires_at: Timestamp::from_micros((BEGIN + 3600) * 1_000_000),
        user_agent: "baresip".into(),
    };
    house.exchange.change(|e| {
        e.registrations = names.iter().map(|name| registration(name, 5062)).collect();
        e.registrations.push(registration(&names[0], 5064));
    });
    let own = house.get(&house.key, "/api/v1/registrations").await.ok();
    assert_eq!(own["registrations"].as_array().unwrap().len(), 3);
    let all = house.get(&house.admin, "/api/v1/registrations?limit=1000").await.ok();
    assert_eq!(all["registrations"].as_array().unwrap().len(), 4);
    let one = house.get(&house.admin, &format!("/api/v1/registrations?username={}", names[2])).await.ok();
    let expected = json!([{
        "username": names[2], "extensionNumber": "1003", "userId": "stranger", "contact": format!("sip:{}@192.0.2.1:5062", names[2]),
        "address": "192.0.2.1:5062", "expiresAt": "2025-01-15T11:30:00.000Z", "userAgent": "baresip"
    }]);
    assert_eq!(one["registrations"], expected);
    // A page never parts the phones of one name.
    let mut seen = 0;
    let mut cursor = String::new();
    loop {
        let page = house.get(&house.admin, &format!("/api/v1/registrations?limit=1{cursor}")).await.ok();
        seen += page["registrations"].as_array().unwrap().len();
        let Some(next) = page["nextCursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, 4);
    let shown = house.get(&house.key, "/api/v1/voip/extensions").await.ok();
    assert_eq!(shown["extensions"][0]["registered"], json!(true)); // S70
}

#[tokio::test]
async fn calls_are_found_by_user_number_and_time() {
    let house = busy_house().await;
    house.exchange.change(|e| e.calls[0].to_number = "+34600112233".into());
    let list =
        async |key: &str, query: &str| ids(&house.get(key, &format!("/api/v1/calls?{query}")).await.ok());
    let (admin, owner) = (house.admin.clone(), house.key.clone());
    assert_eq!(list(&admin, "userId=stranger").await, ["session_6_up", "session_3_over", "session_1_over"]);
    assert_eq!(list(&admin, "number=%2B346").await, ["session_5_up"]);
    assert_eq!(list(&admin, "number=+346").await, ["session_5_up"]); // typed into a browser
    assert_eq!(list(&admin, "number=1002&active=true").await, ["session_6_up", "session_7_up"]);
    let at = |second: i64| Timestamp::from_micros((BEGIN + second) * 1_000_000).to_string();
    let between = format!("since={}&until={}", at(-98), at(-96));
    assert_eq!(list(&admin, &between).await, ["session_3_over", "session_7_up", "session_2_over"]);
    assert_eq!(list(&owner, &format!("{between}&userId=user_123")).await, ["session_7_up", "session_2_over"]);

    house.get(&owner, "/api/v1/calls?userId=stranger").await.refused(403, "foreign_user");
    for bad in ["since=yesterday", "until=1700000000", "number=", "number=10%2025", "userId=%27"] {
        let refused = house.get(&admin, &format!("/api/v1/calls?{bad}")).await;
        assert_eq!(refused.status, 400, "{bad}");
    }
}
