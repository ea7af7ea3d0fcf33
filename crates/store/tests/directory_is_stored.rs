//! What the directory service writes is loaded after the database is opened again.

use crate::samples;

use centralita_store::{EventFilter, KeyUse, StoreError};
use model::{Change, ExtensionNumber};
use samples::*;

#[tokio::test]
async fn every_kind_of_row_comes_back_as_it_was_written() {
    let folder = Folder::new();
    let store = folder.open().await;
    let changes = [
        Change::User(user("user_123")),
        Change::Key(key("key_1", 1)),
        Change::Extension(extension("ext_1", "1001")),
        Change::Credential(credential("1001", Some("ext_1"))),
        Change::Credential(credential("777", None)),
    ];
    store.write(&changes, audit("voip_extension_created")).await.unwrap();
    store.close().await;

    let directory = folder.open().await.load_directory().await.unwrap();
    assert_eq!(directory.counts(), [1, 1, 2, 1]);
    assert_eq!(**directory.user(&user("user_123").id).unwrap(), user("user_123"));
    assert_eq!(**directory.key_by_hash(&[1; 32]).unwrap(), key("key_1", 1)); // S54
    let number = ExtensionNumber::parse("1001").unwrap();
    assert_eq!(**directory.extension_by_number(&number).unwrap(), extension("ext_1", "1001")); // S62
    assert_eq!(**directory.credential("user_1001").unwrap(), credential("1001", Some("ext_1")));
    assert_eq!(**directory.credential("user_777").unwrap(), credential("777", None)); // S38
}

#[tokio::test]
async fn deleted_rows_stay_deleted() {
    let folder = Folder::new();
    let store = folder.open().await;
    let there = [
        Change::Key(key("key_1", 1)),
        Change::Extension(extension("ext_1", "1001")),
        Change::Credential(credential("1001", Some("ext_1"))),
    ];
    store.write(&there, audit("voip_extension_created")).await.unwrap();
    let gone = [
        Change::KeyGone(key("key_1", 1).id),
        Change::ExtensionGone(extension("ext_1", "1001").id),
        Change::CredentialGone("user_1001".into()),
    ];
    store.write(&gone, audit("voip_extension_deleted")).await.unwrap();
    assert_eq!(store.load_directory().await.unwrap().counts(), [0, 0, 0, 0]);
    // The number is free again.
    store
        .write(&[Change::Extension(extension("ext_2", "1001"))], audit("voip_extension_created"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_write_is_all_or_nothing() {
    let folder = Folder::new();
    let store = folder.open().await;
    let first = [Change::Extension(extension("ext_1", "1001"))];
    store.write(&first, audit("voip_extension_created")).await.unwrap();
    let second = [Change::User(user("user_9")), Change::Extension(extension("ext_2", "1001"))];
    let refused = store.write(&second, audit("voip_extension_created")).await;
    assert!(matches!(refused, Err(StoreError::Duplicate { .. })), "{refused:?}"); // S62
    assert_eq!(store.load_directory().await.unwrap().counts(), [0, 0, 0, 1]);
    assert_eq!(folder.ask("SELECT CAST(COUNT(*) AS TEXT) FROM outbox").await, ["1"]);
    assert_eq!(folder.ask("SELECT CAST(COUNT(*) AS TEXT) FROM events").await, ["1"]);
}

#[tokio::test]
async fn each_commit_has_its_event_and_its_outbox_row() {
    let folder = Folder::new();
    let store = folder.open().await;
    let change = Change::Extension(extension("ext_1", "1001"));
    store.write(std::slice::from_ref(&change), audit("voip_extension_created")).await.unwrap(); // S89
    store.audit(audit("api_key_used")).await.unwrap();
    let outbox = folder.ask("SELECT changes FROM outbox ORDER BY seq").await;
    assert_eq!(serde_json::from_str::<Vec<Change>>(&outbox[0]).unwrap(), [change]);

    let filter = EventFilter { kind: None, user: None, before: None, limit: 1 };
    let newest = store.events(&filter).await.unwrap();
    let newest_id = newest.events[0].seq;
    assert_eq!((newest.events[0].kind.as_str(), newest.next), ("api_key_used", Some(newest_id)));
    let older = store.events(&EventFilter { before: newest.next, ..filter }).await.unwrap();
    let event = &older.events[0]; // S74: actor key, ip, diff, request id
    assert_eq!(
        (event.kind.as_str(), event.subject.as_str(), older.next),
        ("voip_extension_created", "ext_1", None)
    );
    assert_eq!((event.ip.as_deref(), event.request.as_str()), (Some("127.0.0.1"), "req_1"));
    assert_eq!((event.key.as_ref().unwrap().as_str(), &event.detail), ("key_1", &audit("x").detail));
}

#[tokio::test]
async fn the_use_of_keys_adds_up_by_day_route_source_and_outcome() {
    let folder = Folder::new();
    let store = folder.open().await;
    let one = KeyUse {
        key: key("key_1", 1).id,
        route: "GET /api/v1/calls".into(),
        ip: [127, 0, 0, 1].into(),
        status: 200,
        count: 2,
        last_used: at(0),
    };
    let later = KeyUse { last_used: at(1), ..one.clone() };
    let refused = KeyUse { status: 403, ..one.clone() };
    store.key_used(&[one, refused]).await.unwrap(); // S61
    store.key_used(&[later]).await.unwrap();
    let rows = folder.ask("SELECT status || ':' || uses FROM key_uses ORDER BY status").await;
    assert_eq!(rows, ["200:4", "403:2"]);
    assert_eq!(store.keys_last_used().await.unwrap()[&key("key_1", 1).id], at(1));
}

#[tokio::test]
async fn thousands_of_rows_are_one_short_transaction() {
    let folder = Folder::new();
    let store = folder.open().await;
    let mut changes = Vec::new();
    for n in 0..20_000_u32 {
        changes.push(Change::Credential(credential(&n.to_string(), None)));
    }
    let begun = std::time::Instant::now();
    store.write(&changes, audit("voip_extensions_imported")).await.unwrap();
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    assert_eq!(store.load_directory().await.unwrap().counts(), [0, 0, 20_000, 0]);
}
