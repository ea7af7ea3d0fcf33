//! A database is made and brought up to date by whoever opens it, and never by an older program.

mod samples;

use centralita_store::{Store, StoreError};
use samples::{Folder, on_postgres};

#[tokio::test]
async fn opening_twice_migrates_once() {
    let folder = Folder::new();
    folder.open().await.close().await;
    let first = folder.ask("SELECT version || ':' || checksum FROM migrations").await;
    folder.open().await.close().await;
    assert_eq!(folder.ask("SELECT version || ':' || checksum FROM migrations").await, first);
    assert!(!first.is_empty());
}

#[tokio::test]
async fn a_migration_that_was_edited_or_is_unknown_is_refused() {
    for sql in [
        "UPDATE migrations SET checksum = checksum + 1 WHERE version = 1 RETURNING 'x'",
        "INSERT INTO migrations VALUES (9999, 1) RETURNING 'x'",
    ] {
        let folder = Folder::new();
        folder.open().await.close().await;
        folder.ask(sql).await;
        let refused = Store::open(&folder.1, &folder.0).await;
        assert!(matches!(refused, Err(StoreError::Migration { .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn an_address_that_is_no_database_is_the_operators_fault() {
    let folder = Folder::new();
    for url in [
        "",
        "centralita.db",
        "mysql://x:hush-2290@y/z",
        "sqlite:",
        "sqlite::memory:",
        "postgres://a:hush-2290@b:c/d",
    ] {
        let refused = Store::open(url, &folder.0).await.unwrap_err();
        assert!(matches!(refused, StoreError::Url { .. }), "{url}: {refused:?}");
        assert!(!format!("{refused} {refused:?}").contains("hush-2290"), "{refused:?}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_may_read_the_database_or_its_copy() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let store = Store::open("sqlite:test.db", &folder.0).await.unwrap();
    let copy = folder.0.join("copies").join("copy.db");
    store.backup(&copy).await.unwrap();
    for file in [folder.0.join("test.db"), copy.clone()] {
        assert_eq!(
            std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600,
            "{}",
            file.display()
        );
    }
    assert!(
        matches!(store.backup(&copy).await, Err(StoreError::Io { .. })),
        "an older copy is not overwritten"
    );
    let restored = Store::open("sqlite:copy.db", copy.parent().unwrap()).await.unwrap();
    assert_eq!(restored.load_directory().await.unwrap().census(), [0, 0, 0, 0]);
}

#[tokio::test]
async fn nodes_that_start_at_once_migrate_once() {
    let folder = Folder::new();
    let starts = (0..8).map(|_| folder.open());
    let nodes = futures_util::future::join_all(if on_postgres() {
        starts.collect()
    } else {
        starts.take(1).collect::<Vec<_>>()
    })
    .await;
    assert_eq!(folder.ask("SELECT CAST(version AS TEXT) FROM migrations WHERE version = 1").await, ["1"]);
    for node in nodes {
        assert_eq!(node.load_directory().await.unwrap().census(), [0, 0, 0, 0]);
    }
}
