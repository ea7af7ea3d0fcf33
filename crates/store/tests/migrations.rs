//! A database is created and migrated when it is opened, and refused by an older program.

use crate::samples;

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
    let refused_after = async |sql| {
        let folder = Folder::new();
        folder.open().await.close().await;
        folder.ask(sql).await;
        Store::open(&folder.1, &folder.0).await.unwrap_err()
    };
    for sql in [
        "UPDATE migrations SET checksum = checksum + 1 WHERE version = 1 RETURNING 'x'",
        "UPDATE migrations SET version = 100 WHERE version = 2 RETURNING 'x'",
    ] {
        let refused = refused_after(sql).await;
        assert!(matches!(refused, StoreError::Migration { .. }), "{refused:?}");
    }
    let refused = refused_after("INSERT INTO migrations VALUES (9999, 1) RETURNING 'x'").await;
    assert!(matches!(refused, StoreError::Newer { found: 9999, .. }), "{refused:?}");
    assert!(refused.to_string().contains("later version of Centralita"), "{refused}");
}

#[tokio::test]
async fn a_database_of_another_program_is_left_as_it_is() {
    for sql in ["CREATE TABLE albums (id BIGINT)", "CREATE TABLE migrations (id BIGINT, name TEXT)"] {
        let folder = Folder::new();
        folder.ask(sql).await;
        let refused = Store::open(&folder.1, &folder.0).await.unwrap_err();
        assert!(matches!(refused, StoreError::Foreign { .. }), "{refused:?}");
        let table = if sql.contains("albums") { "albums" } else { "migrations" };
        assert!(refused.to_string().contains(table), "{refused}");
        assert_eq!(folder.ask(&format!("SELECT CAST(COUNT(*) AS TEXT) FROM {table}")).await, ["0"]);
        assert!(folder.try_ask("SELECT id FROM users").await.is_err(), "a table of ours was made");
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named_and_left_as_it_is() {
    let folder = Folder::new();
    let photo = folder.0.join("holiday.db");
    std::fs::write(&photo, vec![0xd8; 8192]).unwrap();
    let refused = Store::open("sqlite:holiday.db", &folder.0).await.unwrap_err();
    assert!(matches!(refused, StoreError::NoDatabase { .. }), "{refused:?}");
    assert!(refused.to_string().contains("holiday.db is not a SQLite database"), "{refused}");
    assert_eq!(std::fs::read(&photo).unwrap(), vec![0xd8; 8192]);
    std::fs::create_dir(folder.0.join("folder.db")).unwrap();
    let refused = Store::open("sqlite:folder.db", &folder.0).await.unwrap_err().to_string();
    assert!(refused.contains("folder.db: Is a directory"), "{refused}");
    std::fs::write(folder.0.join("empty.db"), "").unwrap();
    Store::open("sqlite:empty.db", &folder.0).await.unwrap();
}

#[tokio::test]
async fn a_url_of_no_database_is_a_configuration_error() {
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
async fn only_the_owner_may_read_the_database_and_its_copy() {
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
    assert_eq!(restored.load_directory().await.unwrap().counts(), [0, 0, 0, 0]);
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
        assert_eq!(node.load_directory().await.unwrap().counts(), [0, 0, 0, 0]);
    }
}
