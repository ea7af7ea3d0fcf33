//! Events: list, stream and WebSocket; visibility and order (S88–S95).

use crate::test_api;

use std::time::Duration;

use axum::body::Body;
use centralita_api::Settings;
use futures_util::StreamExt as _;
use model::journal::Record;
use model::{CallStatus, Cause, Permission};
use serde_json::{Value, json};
use test_api::{TestApi, call_record, request};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

const CREATE: &str = "/api/v1/voip/extensions/create";

fn kinds(answer: &Value) -> Vec<&str> {
    answer["events"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn users_read_their_own_events_and_some_keys_read_all() {
    let api = TestApi::new().await;
    api.post(&api.key, CREATE, json!({"extensionNumber": "1001"})).await.ok();
    api.post(&api.other_key, CREATE, json!({"extensionNumber": "1002"})).await.ok();
    let own = api.get(&api.key, "/api/v1/events").await.ok();
    assert_eq!(kinds(&own), ["voip_extension_created", "api_key_created"]); // S89, newest first
    let event = &own["events"][0];
    assert_eq!((&event["userId"], &event["at"]), (&json!("user_123"), &json!("2025-01-15T10:30:00.000Z")));
    assert!(
        event["keyId"].is_string() && event["requestId"].is_string() && !own.to_string().contains("password")
    );
    api.get(&api.key, "/api/v1/events?user=stranger").await.refused(403, "foreign_user"); // S25
    let reader = api.key_of("auditor", &[Permission::Events]).await; // S56
    for key in [&api.admin, &reader] {
        let all = api.get(key, "/api/v1/events?type=voip_extension_created").await.ok();
        assert_eq!(kinds(&all).len(), 2);
        api.get(key, "/api/v1/events?user=stranger").await.ok();
    }
    let none = api.get(&api.key, "/api/v1/events?since=2025-01-15T10:30:01Z").await.ok();
    assert_eq!(kinds(&none).len(), 0);
}

#[tokio::test]
async fn polling_by_cursor_neither_misses_nor_repeats_an_event() {
    let api = TestApi::new().await;
    let mut seen = Vec::new();
    let mut cursor = String::from("0");
    for n in 0..7 {
        api.post(&api.key, CREATE, json!({"extensionNumber": format!("10{n:02}")})).await.ok();
        if n % 3 == 2 {
            let page =
                api.get(&api.key, &format!("/api/v1/events?order=asc&limit=2&cursor={cursor}")).await.ok();
            cursor = page["nextCursor"].as_str().unwrap().to_owned();
            seen.extend(page["events"].as_array().unwrap().iter().map(|event| event["id"].as_i64().unwrap()));
        }
    }
    while let page =
        api.get(&api.key, &format!("/api/v1/events?order=asc&limit=3&cursor={cursor}")).await.ok()
        && !page["events"].as_array().unwrap().is_empty()
    {
        cursor = page["nextCursor"].as_str().unwrap().to_owned();
        seen.extend(page["events"].as_array().unwrap().iter().map(|event| event["id"].as_i64().unwrap()));
    }
    assert_eq!(seen.len(), 8);
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
    // The descending list is paginated too.
    let page = api.get(&api.key, "/api/v1/events?limit=5").await.ok();
    let rest = api
        .get(&api.key, &format!("/api/v1/events?limit=5&cursor={}", page["nextCursor"].as_str().unwrap()))
        .await
        .ok();
    assert_eq!((kinds(&rest).len(), &rest["nextCursor"]), (3, &json!(null)));
}

/// Read a stream until it holds `text`.
async fn read_until(stream: &mut axum::body::BodyDataStream, text: &str) -> String {
    let mut read = String::new();
    let reading = async {
        while !read.contains(text) {
            let chunk = stream.next().await.expect("the stream ended").unwrap();
            read.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(10), reading).await.is_ok(),
        "{text} did not come: {read}"
    );
    read
}

#[tokio::test]
async fn a_stream_sends_events_and_resumes_after_the_last_id() {
    use tower::ServiceExt as _;
    let api = TestApi::new().await;
    let open = async |last: Option<&str>| {
        let mut request = request("GET", "/api/v1/events/stream?type=call_started,call_ended", &api.key);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = api.router().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        response.into_body().into_data_stream()
    };
    let mut stream = open(None).await;
    let call = call_record("session_1_a", "user_123", test_api::BEGIN);
    api.store.feed(&[Record::CallOpened(Box::new(call.clone()))]).await.unwrap();
    let read = read_until(&mut stream, "call_started").await;
    let last = read.split("id: ").nth(1).unwrap().split('\n').next().unwrap().to_owned();
    drop(stream);
    let mut over = call;
    (over.ended_at, over.cause, over.status) =
        (Some(over.started_at), Some(Cause::NoAnswer), CallStatus::NoAnswer);
    api.store.feed(&[Record::CallClosed(Box::new(over))]).await.unwrap();
    let mut stream = open(Some(&last)).await;
    let read = read_until(&mut stream, "\n\n").await;
    assert!(
        read.contains("event: call_ended") && read.contains("no_answer") && !read.contains("call_started"),
        "{read}"
    );
    // After its key is deleted, the stream ends with the reason.
    let keys = api.get(&api.key, "/api/v1/keys").await.ok();
    api.delete(&api.admin, &format!("/api/v1/keys/{}", keys["keys"][0]["id"].as_str().unwrap())).await.ok();
    read_until(&mut stream, "event: cut\ndata: {\"code\":\"key_inactive\"}").await;
    assert!(stream.next().await.is_none());
    let bad = request("GET", "/api/v1/events/stream", &api.admin).header("last-event-id", "x");
    api.send(bad.body(Body::empty()).unwrap()).await.refused(400, "invalid_value");
}

#[tokio::test]
async fn a_stream_that_is_not_read_is_disconnected_with_a_reason() {
    use tower::ServiceExt as _;
    let patience = Duration::from_millis(200);
    let api = TestApi::with(Settings { follower_patience: patience, ..test_api::settings() }).await;
    let open = async |query: &str| {
        let path = format!("/api/v1/events/stream?{query}");
        let get = request("GET", &path, &api.key).body(Body::empty()).unwrap();
        api.router().oneshot(get).await.unwrap()
    };
    let mut stream = open("cursor=0").await.into_body().into_data_stream();
    // All other places are taken by idle streams, which stay connected.
    let mut others = Vec::new();
    for _ in 0..31 {
        others.push(open("type=spend_alert").await);
    }
    assert_eq!(open("cursor=0").await.status(), 503);
    let calls: Vec<Record> = (0..200)
        .map(|n| {
            Record::CallOpened(Box::new(call_record(&format!("session_1_{n}"), "user_123", test_api::BEGIN)))
        })
        .collect();
    api.store.feed(&calls).await.unwrap();
    // Its queue stays full until it is disconnected and its place is free.
    let freed = async {
        while open("type=spend_alert").await.status() != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), freed).await.unwrap();
    drop(others);
    let read = read_until(&mut stream, "event: cut").await;
    assert!(read.contains("too_slow"), "{read}");
    let told = read.matches("event: call_started").count();
    assert!((1..200).contains(&told), "{told}");
}

#[tokio::test]
async fn the_number_of_subscribers_is_limited() {
    use tower::ServiceExt as _;
    let api = TestApi::new().await;
    let open = async || {
        let get = request("GET", "/api/v1/events/stream", &api.key).body(Body::empty()).unwrap();
        api.router().oneshot(get).await.unwrap()
    };
    let mut streams = Vec::new();
    for _ in 0..32 {
        streams.push(open().await);
    }
    assert!(streams.iter().all(|stream| stream.status() == 200));
    api.get(&api.key, "/api/v1/events/stream").await.refused(503, "too_many_followers");
    assert_eq!(api.get(&api.other_key, "/api/v1/events/stream").await.status, 200);
    drop(streams);
    let freed = async {
        while open().await.status() != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), freed).await.unwrap();
}

#[tokio::test]
async fn a_web_socket_takes_the_key_in_the_header_or_in_the_first_message() {
    let api = TestApi::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = api.router().into_make_service_with_connect_info::<std::net::SocketAddr>();
    let serving = tokio::spawn(async move { axum::serve(listener, service).await });
    let open = async |key: Option<&str>| {
        let mut request = format!("ws://{address}/api/v1/events/ws").into_client_request().unwrap();
        if let Some(key) = key {
            request.headers_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
        }
        tokio_tungstenite::connect_async(request).await.map(|(socket, _)| socket)
    };
    let say = |key: &str| Message::text(json!({"authorization": format!("Bearer {key}")}).to_string());
    macro_rules! hear {
        ($socket:expr) => {
            loop {
                match tokio::time::timeout(Duration::from_secs(10), $socket.next())
                    .await
                    .unwrap()
                    .unwrap()
                    .unwrap()
                {
                    Message::Text(text) => break serde_json::from_str::<Value>(&text).unwrap(),
                    Message::Close(frame) => break json!(frame.unwrap().reason.as_str()),
                    _ => {}
                }
            }
        };
    }
    let mut by_header = open(Some(&api.key)).await.unwrap();
    let mut by_message = open(None).await.unwrap();
    futures_util::SinkExt::send(&mut by_message, say(&api.key)).await.unwrap();
    assert_eq!(
        (hear!(by_header)["type"].clone(), hear!(by_message)["type"].clone()),
        (json!("hello"), json!("hello"))
    );
    api.post(&api.key, CREATE, json!({"extensionNumber": "1001"})).await.ok();
    assert_eq!(hear!(by_header)["type"], json!("voip_extension_created"));
    assert_eq!(hear!(by_message)["type"], json!("voip_extension_created"));
    let mut rejected = open(None).await.unwrap();
    futures_util::SinkExt::send(&mut rejected, say("sk_voip_nobody")).await.unwrap();
    assert_eq!(hear!(rejected), json!("api_key_invalid"));
    assert!(
        matches!(open(Some("sk_voip_nobody")).await, Err(WsError::Http(refused)) if refused.status() == 401)
    );
    // URLs are logged in many places, so a key in the query is rejected.
    api.get("", "/api/v1/events/ws?token=sk_voip_x").await.refused(400, "unknown_field");
    api.get(&api.key, "/api/v1/events/ws").await.refused(400, "websocket_required");
    api.app.begin_shutdown();
    assert_eq!(hear!(by_header), json!("draining"));
    serving.abort();
}

#[tokio::test]
async fn an_unknown_event_id_is_rejected() {
    let api = TestApi::new().await;
    api.post(&api.key, CREATE, json!({"extensionNumber": "1001"})).await.ok();
    let newest =
        api.get(&api.admin, "/api/v1/events?limit=1").await.ok()["events"][0]["id"].as_i64().unwrap();
    let list = |cursor: i64| format!("/api/v1/events?order=asc&cursor={cursor}");
    api.get(&api.admin, &list(newest)).await.ok();
    api.get(&api.admin, &list(newest + 1)).await.refused(409, "event_id_unknown");
    let stream = |cursor: i64| format!("/api/v1/events/stream?cursor={cursor}");
    api.get(&api.admin, &stream(newest + 1)).await.refused(409, "event_id_unknown");
}

#[tokio::test]
async fn a_web_socket_that_is_closed_is_answered_with_a_close_frame() {
    use tokio_tungstenite::tungstenite::protocol::CloseFrame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
    let api = TestApi::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = api.router().into_make_service_with_connect_info::<std::net::SocketAddr>();
    let serving = tokio::spawn(async move { axum::serve(listener, service).await });
    for (key, code) in [
        (Some(&api.key), CloseCode::Normal),
        (None, CloseCode::Away),
        (Some(&api.key), CloseCode::Library(4000)),
    ] {
        let mut request = format!("ws://{address}/api/v1/events/ws").into_client_request().unwrap();
        if let Some(key) = key {
            request.headers_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
        }
        let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        if key.is_some() {
            assert!(matches!(socket.next().await, Some(Ok(Message::Text(_)))), "hello");
        } else {
            // Control frames before the key are accepted.
            futures_util::SinkExt::send(&mut socket, Message::Ping("x".into())).await.unwrap();
            assert!(matches!(socket.next().await, Some(Ok(Message::Pong(_)))));
        }
        socket.close(Some(CloseFrame { code, reason: "enough".into() })).await.unwrap();
        let heard = tokio::time::timeout(Duration::from_secs(10), socket.next()).await.unwrap();
        let Some(Ok(Message::Close(Some(frame)))) = heard else { panic!("RFC 6455 §5.5.1: {heard:?}") };
        assert_eq!(frame.code, code);
        // The server closes the TCP connection first (§7.1.1).
        let end = tokio::time::timeout(Duration::from_secs(10), socket.next()).await.unwrap();
        assert!(matches!(end, None | Some(Err(WsError::ConnectionClosed))), "{end:?}");
    }
    serving.abort();
}
