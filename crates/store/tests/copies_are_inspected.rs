//! A file is validated before it becomes the database: only a complete database of this or an older version is accepted.

use crate::samples;

use std::path::{Path, PathBuf};

use centralita_store::Store;
use samples::Folder;
use sqlx::{ConnectOptions as _, Connection as _};

/// A copy as `centralita backup` makes it.
async fn copy_in(folder: &Folder) -> PathBuf {
    let store = Store::open("sqlite:test.db", &folder.0).await.unwrap();
    let copy = folder.0.join("copy.db");
    store.backup(&copy).await.unwrap();
    store.close().await;
    copy
}

async fn refused(file: &Path) -> String {
    let before = std::fs::read(file).ok();
    let error = Store::inspect(file).await.unwrap_err();
    assert_eq!(std::fs::read(file).ok(), before, "the file is not changed");
    error.to_string()
}

#[tokio::test]
async fn a_complete_copy_reports_its_contents_and_no_file_appears() {
    let folder = Folder::new();
    let copy = copy_in(&folder).await;
    let contents = Store::inspect(&copy).await.unwrap();
    assert_eq!((contents.extensions, contents.calls), (0, 0));
    for suffix in ["-wal", "-shm", "-journal"] {
        assert!(!folder.0.join(format!("copy.db{suffix}")).exists(), "{suffix}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let folder = Folder::new();
    let file = folder.0.join("letter.db");
    assert!(refused(&file).await.contains("not a SQLite database"), "it is not there");
    std::fs::write(&file, "Dear Ana, ".repeat(500)).unwrap();
    assert!(refused(&file).await.contains("not a SQLite database"));
    std::fs::write(&file, "").unwrap();
    assert!(
        refused(&file).await.contains("not one of centralita"),
        "SQLite takes an empty file for a database"
    );
}

#[tokio::test]
async fn a_copy_that_lost_a_page_is_refused() {
    let folder = Folder::new();
    let copy = copy_in(&folder).await;
    let mut bytes = std::fs::read(&copy).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0xa5);
    std::fs::write(&copy, &bytes).unwrap();
    assert!(refused(&copy).await.contains("damaged"));
    bytes.truncate(middle);
    std::fs::write(&copy, &bytes).unwrap();
    assert!(refused(&copy).await.contains("damaged"), "cut off");
}

#[tokio::test]
async fn a_copy_of_an_older_version_may_be_put_back() {
    let folder = Folder::new();
    let copy = copy_in(&folder).await;
    behind_its_back(&copy, "DELETE FROM migrations WHERE version > 12").await;
    assert_eq!(Store::inspect(&copy).await.unwrap().extensions, 0);
}

async fn behind_its_back(file: &Path, sql: &'static str) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
    let mut connection = options.connect().await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_copy_of_a_newer_version_is_refused() {
    let folder = Folder::new();
    let store = Store::open("sqlite:test.db", &folder.0).await.unwrap();
    store.close().await;
    // The database file itself, which is a copy too once it is closed.
    let copy = folder.0.join("test.db");
    behind_its_back(&copy, "INSERT INTO migrations VALUES (9999, 1)").await;
    let refused = refused(&copy).await;
    assert!(refused.contains("9999") && refused.contains("version"), "{refused}");
}
