//! A SQLite database is copied to PostgreSQL completely or not at all.

use crate::samples;

use centralita_store::{CallFilter, EventFilter, KeyUse, Store, StoreError};
use model::Change;
use model::journal::Record;
use samples::*;

/// A database with rows in every table, and in one of them more than one statement copies.
async fn sample_database(folder: &Folder) -> Store {
    let store = Store::open("sqlite:old.db", &folder.0).await.unwrap();
    let mut changes = vec![
        Change::User(user("user_123")),
        Change::Key(key("key_1", 1)),
        Change::Extension(extension("ext_1", "1001")),
    ];
    changes.extend((0..2_500).map(|n| Change::Credential(credential(&n.to_string(), None))));
    store.write(&changes, audit("voip_extensions_imported")).await.unwrap();
    let records = [
        Record::Bound(binding(1)),
        Record::CallOpened(Box::new(call("session_1_a", 0))),
        Record::LegUp { call: call("session_1_a", 0).id, leg: open_leg(1) },
        Record::CallClosed(Box::new(closed("session_2_b", 1))),
        Record::Ladder { call: call("session_2_b", 1).id, blob: vec![0, 1, 255] },
    ];
    store.feed(&records).await.unwrap();
    let used = KeyUse {
        key: key("key_1", 1).id,
        route: "GET /api/v1/calls".into(),
        ip: [127, 0, 0, 1].into(),
        status: 200,
        count: 2,
        last_used: at(0),
    };
    store.key_used(&[used]).await.unwrap();
    store
}

#[tokio::test]
async fn a_copy_has_every_row_and_its_numbers_continue() {
    let (folder, url) = (Folder::new(), Postgres::shared().database());
    let old = sample_database(&folder).await;
    let mut tables = Vec::new();
    let total =
        old.move_to(&url, &folder.0, |table, rows| tables.push((table.to_owned(), rows))).await.unwrap();
    assert_eq!(total, tables.iter().map(|(_, rows)| rows).sum::<u64>());
    let filled: Vec<&str> =
        tables.iter().filter(|(_, rows)| *rows > 0).map(|(name, _)| name.as_str()).collect();
    for table in [
        "api_keys",
        "bindings",
        "calls",
        "credentials",
        "events",
        "extensions",
        "key_uses",
        "ladders",
        "legs",
        "open_legs",
        "outbox",
        "users",
    ] {
        assert!(filled.contains(&table), "{table} is not among {filled:?}");
    }

    let new = Store::open(&url, &folder.0).await.unwrap();
    let (was, is) = (old.load_directory().await.unwrap(), new.load_directory().await.unwrap());
    assert_eq!(was.counts(), is.counts());
    assert_eq!(is.credential("user_2499"), was.credential("user_2499"));
    assert_eq!(is.key_by_hash(&[1; 32]), was.key_by_hash(&[1; 32]));
    let (was, is) = (old.load_runtime_state().await.unwrap(), new.load_runtime_state().await.unwrap());
    assert_eq!((is.bindings, is.open_calls), (was.bindings, was.open_calls));
    let all = CallFilter { limit: 9, ..CallFilter::default() };
    assert_eq!(new.calls(&all).await.unwrap().calls, old.calls(&all).await.unwrap().calls);
    assert_eq!(new.ladder(&call("session_2_b", 1).id).await.unwrap(), Some(vec![0, 1, 255]));
    assert_eq!(new.keys_last_used().await.unwrap(), old.keys_last_used().await.unwrap());

    let seen = new.outbox_seq().await.unwrap();
    assert_eq!(seen, old.outbox_seq().await.unwrap());
    assert_eq!(new.write(&[Change::User(user("user_9"))], audit("user_created")).await.unwrap(), seen + 1);
    let newest = old.newest_event().await.unwrap();
    let next = new.newest_event().await.unwrap();
    assert!(next > newest, "{next} {newest}");
    let events = new.events(&EventFilter { kind: None, user: None, before: None, limit: 2 }).await.unwrap();
    assert_eq!(events.events.iter().map(|event| event.seq).collect::<Vec<_>>(), [next, newest]);
}

#[tokio::test]
async fn a_target_that_is_not_empty_is_not_changed() {
    let (folder, url) = (Folder::new(), Postgres::shared().database());
    let target = Store::open(&url, &folder.0).await.unwrap();
    target.write(&[Change::User(user("user_of_there"))], audit("user_created")).await.unwrap();
    let old = sample_database(&folder).await;
    let refused = old.move_to(&url, &folder.0, |_, _| {}).await;
    assert!(matches!(&refused, Err(StoreError::NotEmpty { .. })), "{refused:?}");
    assert_eq!(target.load_directory().await.unwrap().counts(), [1, 0, 0, 0]);
    for wrong in ["sqlite:other.db", "mysql://x"] {
        let refused = old.move_to(wrong, &folder.0, |_, _| {}).await;
        assert!(matches!(&refused, Err(StoreError::Unsupported(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn an_interrupted_copy_leaves_nothing_and_can_be_repeated() {
    let (folder, url) = (Folder::new(), Postgres::shared().database());
    let old = sample_database(&folder).await;
    let (table_done, mut tables) = tokio::sync::mpsc::unbounded_channel();
    let copying = old.move_to(&url, &folder.0, |table, _| drop(table_done.send(table.to_owned())));
    tokio::select! {
        biased;
        // Interrupt after some tables are copied.
        _ = async { tables.recv().await.unwrap(); tables.recv().await.unwrap() } => {}
        copied = copying => panic!("it was to be interrupted: {copied:?}"),
    }
    let target = Store::open(&url, &folder.0).await.unwrap();
    assert_eq!(target.load_directory().await.unwrap().counts(), [0, 0, 0, 0]);
    drop(target);
    old.move_to(&url, &folder.0, |_, _| {}).await.unwrap();
}
