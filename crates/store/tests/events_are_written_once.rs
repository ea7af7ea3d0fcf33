//! Journal records become events: each once and in order, whatever is fed again after a crash (S88).

use crate::samples;

use centralita_store::{EventQuery, Store};
use model::journal::{Binding, CallEvent, Record};
use model::{CallRecord, CallStatus, Cause, Change, UserId};
use samples::*;

async fn written_events(store: &Store) -> Vec<(String, String, Option<String>)> {
    let query = EventQuery { ascending: true, limit: 100, ..EventQuery::default() };
    let events = store.list_events(&query).await.unwrap();
    let row = |e: centralita_store::Event| (e.kind, e.subject, e.user.map(|user| user.to_string()));
    events.into_iter().map(row).collect()
}

async fn kinds(store: &Store) -> Vec<String> {
    written_events(store).await.into_iter().map(|(kind, ..)| kind).collect()
}

fn opened(call: CallRecord) -> Record {
    Record::CallOpened(Box::new(call))
}

fn ended(call: CallRecord) -> Record {
    Record::CallClosed(Box::new(call))
}

fn ringing(name: &str, seconds: i64) -> Record {
    Record::Noted(CallEvent::Ringing { call: call(name, 0).id, at: at(seconds) })
}

fn answered(name: &str, seconds: i64) -> Record {
    Record::Noted(CallEvent::Answered { call: call(name, 0).id, at: at(seconds) })
}

fn unbound(binding: &Binding, seconds: i64) -> Record {
    let (username, contact) = (binding.username.clone(), binding.contact.clone());
    Record::Unbound { username, contact, at: at(seconds) }
}

const CALL: [&str; 4] = ["call_started", "call_ringing", "call_answered", "call_ended"];

#[tokio::test]
async fn events_of_a_call_are_in_order_however_its_records_are_batched() {
    let records = [
        opened(call("session_1_a", 0)),
        ringing("session_1_a", 1),
        answered("session_1_a", 2),
        ended(closed("session_1_a", 0)),
    ];
    for cut in 0..=records.len() {
        let folder = Folder::new();
        let store = folder.open().await;
        let (first, second) = records.split_at(cut);
        store.feed(first).await.unwrap();
        store.feed(second).await.unwrap();
        assert_eq!(kinds(&store).await, CALL, "cut at {cut}"); // S95
        // kill -9 between the commit and the end of the segment: all records, or a part of them, are fed again.
        store.feed(&records).await.unwrap();
        store.feed(second).await.unwrap();
        assert_eq!(kinds(&store).await, CALL, "cut at {cut}");
    }
}

#[tokio::test]
async fn a_call_of_which_only_the_end_is_journalled_gets_its_events() {
    let folder = Folder::new();
    let store = folder.open().await;
    // The journal is coalesced by key: of a short call only the end may be left.
    let busy = CallRecord {
        status: CallStatus::Busy,
        answered_at: None,
        cause: Some(Cause::Busy),
        ..closed("session_2_b", 20)
    };
    store.feed(&[ended(closed("session_1_a", 0)), ended(busy)]).await.unwrap();
    let query = EventQuery { ascending: true, limit: 100, ..EventQuery::default() };
    let events = store.list_events(&query).await.unwrap();
    let seen: Vec<_> = events.iter().map(|e| (e.kind.as_str(), e.subject.as_str(), e.at)).collect();
    let expected = [
        ("call_started", "session_1_a", at(0)),
        ("call_answered", "session_1_a", at(3)),
        ("call_ended", "session_1_a", at(10)),
        ("call_started", "session_2_b", at(20)),
        ("call_ended", "session_2_b", at(30)),
    ];
    assert_eq!(seen, expected);
    for (event, id, status, reason, seconds) in [
        (&events[2], "session_1_a", "completed", "completed", 7),
        (&events[4], "session_2_b", "busy", "busy", 0),
    ] {
        let detail = serde_json::json!({
            "sessionId": id, "status": status, "direction": "internal", "fromNumber": "1001", "toNumber": "1002",
            "endReason": reason, "durationSeconds": seconds,
        });
        assert_eq!(event.detail, detail);
    }
}

#[tokio::test]
async fn both_users_of_a_call_may_read_its_events_and_no_other_user() {
    let folder = Folder::new();
    let store = folder.open().await;
    let eva = UserId::parse("eva").unwrap();
    store.feed(&[opened(CallRecord { other_user: Some(eva), ..call("session_1_a", 0) })]).await.unwrap();
    store.feed(&[opened(call("session_2_b", 0))]).await.unwrap();
    for (user, count) in [(call("session_1_a", 0).user.as_str(), 2), ("eva", 1), ("stranger", 0)] {
        let user = UserId::parse(user).ok();
        let query = EventQuery { user, limit: 10, ascending: true, ..EventQuery::default() };
        assert_eq!(store.list_events(&query).await.unwrap().len(), count); // S25
    }
}

#[tokio::test]
async fn registrations_and_removals_are_events_and_refreshes_are_not() {
    let folder = Folder::new();
    let store = folder.open().await;
    let phone = Binding { username: "user_1001".into(), ..binding(1) };
    store
        .write(&[Change::Credential(credential("1001", None))], audit("sip_credentials_created"))
        .await
        .unwrap();
    let back = Binding { created_at: at(50), ..phone.clone() };
    let records = [
        Record::Bound(phone.clone()),
        Record::Bound(Binding { cseq: 9, ..phone.clone() }),
        unbound(&phone, 40),
        Record::Bound(back.clone()),
    ];
    for record in &records {
        store.feed(std::slice::from_ref(record)).await.unwrap();
    }
    let expected =
        ["sip_credentials_created", "registration_added", "registration_removed", "registration_added"];
    assert_eq!(kinds(&store).await, expected); // S95
    store.feed(&records).await.unwrap();
    store.feed(&records[2..]).await.unwrap();
    assert_eq!(kinds(&store).await, expected, "the same again is no news");
    assert!(written_events(&store).await.iter().all(|(.., user)| user.as_deref() == Some("user_123")));
    // The credential is deleted before its phone is unregistered: the event still names the owner.
    store
        .write(&[Change::CredentialGone("user_1001".into())], audit("sip_credentials_deleted"))
        .await
        .unwrap();
    store.feed(&[unbound(&back, 60)]).await.unwrap();
    let last = written_events(&store).await.pop().unwrap();
    assert_eq!(last, ("registration_removed".into(), "user_1001".into(), Some("user_123".into())));
}

#[tokio::test]
async fn failed_authentications_and_bans_are_events_once() {
    let folder = Folder::new();
    let store = folder.open().await;
    let note = |seconds, banned_seconds| {
        let source = "203.0.113.9".parse().unwrap();
        Record::Noted(CallEvent::WrongAnswer {
            source,
            account: "1001".into(),
            at: at(seconds),
            banned_seconds,
        })
    };
    let records = [note(1, 0), note(2, 60)];
    store.feed(&records).await.unwrap();
    store.feed(&records).await.unwrap();
    assert_eq!(kinds(&store).await, ["auth_failed", "auth_banned"]); // security.md row 1
}
