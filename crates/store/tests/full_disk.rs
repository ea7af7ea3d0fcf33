//! A write that fails half-way does not prevent later writes from succeeding.

use crate::samples;

use std::time::Duration;

use centralita_store::Health;
use model::Change;
use samples::{Folder, audit, on_postgres, user};

/// Make the database fail as on a full disk: SQLite rolls the transaction back by itself, PostgreSQL refuses all statements until the rollback.
async fn fill(folder: &Folder, table: &str) {
    if on_postgres() {
        folder
            .ask(
                "CREATE OR REPLACE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS \
                 $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$",
            )
            .await;
        let sql = format!(
            "CREATE TRIGGER full_{table} BEFORE INSERT OR UPDATE OR DELETE ON {table} EXECUTE FUNCTION no_room()"
        );
        folder.ask(&sql).await;
    } else {
        for verb in ["INSERT", "UPDATE", "DELETE"] {
            let sql = format!(
                "CREATE TRIGGER full_{table}_{verb} BEFORE {verb} ON {table} BEGIN SELECT RAISE(ROLLBACK, 'no room'); END"
            );
            folder.ask(&sql).await;
        }
    }
}

async fn free(folder: &Folder, table: &str) {
    if on_postgres() {
        folder.ask(&format!("DROP TRIGGER full_{table} ON {table}")).await;
    } else {
        for verb in ["INSERT", "UPDATE", "DELETE"] {
            folder.ask(&format!("DROP TRIGGER full_{table}_{verb}")).await;
        }
    }
}

#[tokio::test]
async fn a_transaction_that_the_database_undid_is_followed_by_one_that_succeeds() {
    let folder = Folder::new();
    let store = folder.open().await;
    store.write(&[Change::User(user("before"))], audit("user")).await.unwrap();
    // At the first statement of a write, in its middle, and at the last.
    for table in ["users", "outbox", "events"] {
        fill(&folder, table).await;
        for n in 0..3 {
            let name = format!("meanwhile_{table}_{n}");
            let refused = store.write(&[Change::User(user(&name))], audit("user")).await;
            assert!(refused.is_err(), "{table} takes nothing");
        }
        free(&folder, table).await;
        let name = format!("after_{table}");
        store.write(&[Change::User(user(&name))], audit("user")).await.unwrap();
    }
    let users = folder.ask("SELECT id FROM users ORDER BY created_at, id").await;
    assert_eq!(users, ["after_events", "after_outbox", "after_users", "before"]);
    if !on_postgres() {
        assert_eq!(folder.ask("PRAGMA integrity_check").await, ["ok"]);
    }
}

#[tokio::test]
async fn health_reports_a_full_disk_and_its_recovery() {
    if !on_postgres() {
        return; // RAISE has no code of its own; a disk that is really full is tested end to end
    }
    let folder = Folder::new();
    let store = folder.open().await;
    let watched = store.clone();
    let watching = tokio::spawn(async move { watched.watch_health().await });
    assert_eq!(store.health(), Health::Writable);
    for table in ["users", "marks"] {
        fill(&folder, table).await;
    }
    let refused = store.write(&[Change::User(user("meanwhile"))], audit("user")).await.unwrap_err();
    assert!(refused.is_full() && refused.is_unavailable(), "{refused:?}");
    assert_eq!(store.health(), Health::DiskFull);
    for table in ["users", "marks"] {
        free(&folder, table).await;
    }
    let back = async {
        while store.health() != Health::Writable {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), back).await.expect("it is tried until it succeeds");
    watching.abort();
}
