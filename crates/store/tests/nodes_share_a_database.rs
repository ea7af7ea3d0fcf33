//! Several nodes write to one PostgreSQL database concurrently, and a reader of the outbox misses no row.

use crate::samples;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use centralita_store::{OutboxBatch, Store};
use model::Change;
use samples::*;

const NODES: usize = 4;
const WRITES: usize = 40;

async fn outbox_batch(store: &Store, seen: i64) -> (i64, Vec<Change>) {
    match store.outbox_after(seen).await.unwrap() {
        OutboxBatch::Changes { reached, changes } => (reached, changes),
        OutboxBatch::Truncated => panic!("nothing was pruned"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_with_a_cursor_sees_every_row_of_writers_that_overtake_each_other() {
    let url = Postgres::shared().database();
    let folder = Folder::new();
    let reader = Store::open(&url, &folder.0).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for node in 0..NODES {
        let (url, path) = (url.clone(), folder.0.clone());
        writers.spawn(async move {
            let store = Store::open(&url, &path).await.unwrap();
            for n in 0..WRITES {
                // Transactions of different length: the one that began first is seldom the first to commit.
                let rows = 1 + (n * 7 + node * 13) % 12;
                let change = |row| Change::User(user(&format!("user_{node}_{n}_{row}")));
                let changes: Vec<Change> = (0..rows).map(change).collect();
                store.write(&changes, audit("user_created")).await.unwrap();
            }
        });
    }
    let (mut seen, mut users, mut ended) = (0, BTreeSet::new(), false);
    loop {
        let (reached, changes) = outbox_batch(&reader, seen).await;
        for change in changes {
            let Change::User(user) = change else { panic!("only users were written") };
            assert!(users.insert(user.id.to_string()), "{} came twice", user.id);
        }
        if reached == seen {
            if ended {
                break;
            }
            // Once more after the last writer has ended.
            while let Some(writer) = writers.try_join_next() {
                writer.unwrap();
            }
            ended = writers.is_empty();
        }
        seen = reached;
    }
    assert_eq!(seen, (NODES * WRITES) as i64);
    let written = reader.load_directory().await.unwrap().counts()[0];
    assert_eq!(users.len(), written);
}

#[tokio::test]
async fn a_directory_lock_comes_with_the_changes_of_other_nodes() {
    let (url, folder, other_folder) = (Postgres::shared().database(), Folder::new(), Folder::new());
    let (a, b) =
        (Store::open(&url, &folder.0).await.unwrap(), Store::open(&url, &other_folder.0).await.unwrap());
    let (first, second) = (Change::User(user("user_1")), Change::User(user("user_2")));
    a.write(std::slice::from_ref(&first), audit("user_created")).await.unwrap();
    let lock = b.lock_directory(0).await.unwrap();
    assert_eq!(lock.news, OutboxBatch::Changes { reached: 1, changes: vec![first] });
    // Another node waits for the lock.
    let other = tokio::spawn(async move { a.lock_directory(1).await.unwrap().news });
    assert_eq!(lock.write(std::slice::from_ref(&second), audit("user_created")).await.unwrap(), 2);
    assert_eq!(other.await.unwrap(), OutboxBatch::Changes { reached: 2, changes: vec![second] });
}

#[tokio::test]
async fn a_pruned_outbox_requires_a_reload() {
    let folder = Folder::new();
    let store = folder.open().await;
    for n in 0..3 {
        store.write(&[Change::User(user(&format!("user_{n}")))], audit("user_created")).await.unwrap();
    }
    store.prune(at(3 * 86_400), &centralita_store::Retention::default()).await.unwrap();
    assert_eq!(store.outbox_after(0).await.unwrap(), OutboxBatch::Truncated);
    assert_eq!(
        store.outbox_after(3).await.unwrap(),
        OutboxBatch::Changes { reached: 3, changes: Vec::new() }
    );
}

#[tokio::test]
async fn of_two_changes_of_one_entity_in_one_write_the_last_one_is_kept() {
    let folder = Folder::new();
    let store = folder.open().await;
    let named = |name: &str| {
        Change::Extension(model::Extension { display_name: name.into(), ..extension("ext_1", "1001") })
    };
    store.write(&[named("first"), named("last")], audit("voip_extension_updated")).await.unwrap();
    let directory = store.load_directory().await.unwrap();
    assert_eq!(directory.extension(&extension("ext_1", "1001").id).unwrap().display_name, "last");
}

#[tokio::test]
async fn each_node_loads_its_own_bindings_and_calls() {
    use model::journal::Record;
    let (url, folder, other_folder) = (Postgres::shared().database(), Folder::new(), Folder::new());
    let a = Store::open(&url, &folder.0).await.unwrap();
    let b = Store::open(&url, &other_folder.0).await.unwrap();
    a.feed(&[Record::Bound(binding(1)), Record::CallOpened(Box::new(call("session_1_a", 0)))]).await.unwrap();
    b.feed(&[Record::Bound(binding(2))]).await.unwrap();
    // A phone that moved to the other node stays registered when its old node reports the removal.
    b.feed(&[Record::Bound(binding(3))]).await.unwrap();
    let unbound = Record::Unbound { username: binding(3).username, contact: binding(3).contact, at: at(9) };
    a.feed(&[unbound]).await.unwrap();
    let told = centralita_store::EventQuery { ascending: true, limit: 100, ..Default::default() };
    let kinds: Vec<String> = a.list_events(&told).await.unwrap().into_iter().map(|e| e.kind).collect();
    let added = "registration_added";
    assert_eq!(kinds, [added, "call_started", added, added], "who moved has not gone");
    let (of_a, of_b) = (a.load_runtime_state().await.unwrap(), b.load_runtime_state().await.unwrap());
    assert_eq!((of_a.bindings, of_a.open_calls.len()), (vec![binding(1)], 1));
    assert_eq!((of_b.bindings, of_b.open_calls.len()), (vec![binding(2), binding(3)], 0));
}

#[tokio::test]
async fn files_of_a_node_are_processed_by_that_node() {
    use model::journal::Record;
    use model::voicemail::{Delivery, DeliveryId};
    let (url, folder, other_folder) = (Postgres::shared().database(), Folder::new(), Folder::new());
    let a = Store::open(&url, &folder.0).await.unwrap();
    let b = Store::open(&url, &other_folder.0).await.unwrap();
    let recording = model::Recording {
        id: model::RecordingId::parse("rec_1").unwrap(),
        call: call("session_1_a", 0).id,
        user: user("user_123").id,
        other_user: None,
        extension: None,
        state: model::RecordingState::Recording,
        started_at: at(1),
        ended_at: None,
        format: model::RecordingFormat::Opus,
        bytes: 0,
        millis: 0,
        sha256: None,
        fault: None,
    };
    a.feed(&[Record::Recording(Box::new(recording))]).await.unwrap();
    // A starting node must not end the recording of another node.
    assert_eq!(b.interrupted_recordings(at(50)).await.unwrap().len(), 0);
    assert_eq!(a.interrupted_recordings(at(50)).await.unwrap().len(), 1);

    let about = message("vm_1_a", "ext_1", model::MessageState::New);
    let id = DeliveryId::parse("mail_1_a").unwrap();
    let mail = Delivery { next_at: at(1), ..Delivery::new(id, &about, "ana@example.com".into(), at(0)) };
    b.write_all(&[Change::Message(about)], &[mail], &[audit("voicemail_left")]).await.unwrap();
    assert_eq!(
        (a.due_mails(at(9), 9).await.unwrap().len(), b.due_mails(at(9), 9).await.unwrap().len()),
        (0, 1)
    );
}

#[tokio::test]
async fn a_lease_is_held_by_one_node_until_it_runs_out_or_is_given_back() {
    let (url, folder, other_folder) = (Postgres::shared().database(), Folder::new(), Folder::new());
    let a = Store::open(&url, &folder.0).await.unwrap();
    let b = Store::open(&url, &other_folder.0).await.unwrap();
    let long = Duration::from_secs(3600);
    assert!(a.acquire_lease("registrar", long).await.unwrap());
    assert!(!b.acquire_lease("registrar", long).await.unwrap());
    assert!(b.acquire_lease("another", long).await.unwrap(), "each has its own name");
    assert!(a.acquire_lease("registrar", Duration::from_millis(200)).await.unwrap(), "renewed");
    let asked = Instant::now();
    while !b.acquire_lease("registrar", long).await.unwrap() {
        assert!(asked.elapsed() < Duration::from_secs(20), "it never runs out");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(asked.elapsed() > Duration::from_millis(150), "it has run out before its time");
    assert!(!a.acquire_lease("registrar", long).await.unwrap());
    a.release_lease("registrar").await.unwrap();
    assert!(!a.acquire_lease("registrar", long).await.unwrap(), "what is another's cannot be given back");
    b.release_lease("registrar").await.unwrap();
    assert!(a.acquire_lease("registrar", long).await.unwrap());
}
