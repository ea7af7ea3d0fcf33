//! Opening a SQLite database. One connection writes: writers queue in the pool instead of getting `SQLITE_BUSY`.

use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use crate::error::{SQLITE_NOTADB, sqlite_code};
use crate::limits::{SQLITE_BUSY_TIMEOUT, SQLITE_READER_CACHE, SQLITE_READERS};
use crate::migrate::migrate;
use crate::monitor::Monitor;
use crate::parameters::redacted;
use crate::pool::{Pool, SqliteDatabase, is_reusable};
use crate::sql::query;
use crate::{Store, StoreError};

pub(crate) async fn open(url: &str, data_dir: &Path) -> Result<Store, StoreError> {
    let path = path_of(url, data_dir)?;
    create_private(&path)?;
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(SQLITE_BUSY_TIMEOUT)
        .row_buffer_size(1024) // a start reads whole tables: fewer thread switches
        .foreign_keys(false);
    let pool = |connections| {
        SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(SQLITE_BUSY_TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .after_release(|connection, _| Box::pin(is_reusable(connection)))
    };
    // No fsync for the migrations, so that a start does not wait for the disk; the first later commit syncs them too.
    let monitor = Monitor::default();
    let file = SqliteDatabase {
        pool: pool(1).connect_with(options.clone()).await.map_err(|fault| open_error(fault, &path))?,
        monitor: monitor.clone(),
    };
    // A connection that later replaces the first one syncs every commit.
    file.pool.set_connect_options(options.clone().synchronous(SqliteSynchronous::Full));
    let writer = Pool::Sqlite(file);
    let mut tx = writer.begin().await?;
    migrate(&mut tx).await?;
    tx.commit().await?;
    query("PRAGMA synchronous = FULL").execute(&writer).await?;
    // A reader that pages through the newest rows of growing tables meets new pages each time: bound its page cache, the system caches the
    // file anyway.
    let reader_options = options.read_only(true).pragma("cache_size", SQLITE_READER_CACHE);
    let readers = Pool::Sqlite(SqliteDatabase {
        pool: pool(SQLITE_READERS).connect_lazy_with(reader_options),
        monitor,
    });
    Ok(Store::new(writer, readers, "".into()))
}

/// The error of a failed open. A file that is not a database is named, so that the operator can check it.
fn open_error(fault: sqlx::Error, path: &Path) -> StoreError {
    match StoreError::from(fault) {
        StoreError::Database(sqlx::Error::Database(fault)) if sqlite_code(&*fault) == Some(SQLITE_NOTADB) => {
            StoreError::NoDatabase { path: path.to_owned() }
        }
        error => error,
    }
}

pub(crate) fn path_of(url: &str, data_dir: &Path) -> Result<PathBuf, StoreError> {
    let bad = || StoreError::Url { url: redacted(url) };
    let path = url.strip_prefix("sqlite:").ok_or_else(bad)?;
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path.starts_with(":memory:") || path.contains('?') {
        return Err(bad());
    }
    Ok(data_dir.join(path))
}

/// Create the file and its folder, readable by the owner only: it holds digest secrets.
pub(crate) fn create_private(path: &Path) -> Result<(), StoreError> {
    let io = |source| StoreError::Io { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(io)?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(io)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_that_replaces_a_broken_one_syncs_every_commit() {
        let folder = std::env::temp_dir().join(format!("centralita-lite-{}", std::process::id()));
        let store = open("sqlite:test.db", &folder).await.unwrap();
        let mut tx = store.writer.begin().await.unwrap();
        // As on a full disk: SQLite has ended the transaction, and sqlx does not know.
        query("ROLLBACK").execute(&mut tx).await.unwrap();
        drop(tx);
        let mut tx = store.writer.begin().await.expect("another connection");
        let row = query("PRAGMA synchronous").fetch_one(&mut tx).await.unwrap();
        assert_eq!(row.try_get::<i64>(0).unwrap(), 2, "FULL");
        drop(tx);
        store.close().await;
        std::fs::remove_dir_all(folder).unwrap();
    }
}
