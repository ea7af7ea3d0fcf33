//! Looks into a SQLite file before it becomes the database.

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use crate::migrate::{self, DONE};
use crate::pool::Pool;
use crate::sql::query;
use crate::{Store, StoreError};

/// What a database holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Contents {
    /// Extensions.
    pub extensions: u64,
    /// Records of calls.
    pub calls: u64,
}

impl Store {
    /// What the SQLite database in `file` holds. The file is read as a whole and not changed; it is refused where it is damaged, is not one of
    /// ours, or was written by a newer version. A write-ahead log beside it is not looked at.
    pub async fn inspect(file: &Path) -> Result<Contents, StoreError> {
        // Immutable: neither a lock nor a log is made beside it.
        let options = SqliteConnectOptions::new().filename(file).read_only(true).immutable(true);
        let pool = Pool::Lite(SqlitePoolOptions::new().max_connections(1).connect_lazy_with(options));
        let contents = look(&pool, file).await;
        pool.close().await;
        contents
    }
}

async fn look(pool: &Pool, file: &Path) -> Result<Contents, StoreError> {
    let unfit = |fault: String| StoreError::NotADatabase { path: file.to_owned(), fault };
    let tables = "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name IN ('migrations', 'extensions', 'calls')";
    let tables = query(tables)
        .fetch_one(pool)
        .await
        .map_err(|error| unfit(format!("damaged, or not a SQLite database ({error})")))?;
    if tables.try_get::<i64>(0)? != 3 {
        return Err(unfit("a SQLite database, but not one of centralita".into()));
    }
    let found = query("PRAGMA integrity_check(3)").fetch_all(pool).await;
    let found = found.map_err(|error| unfit(format!("damaged ({error})")))?;
    let faults: Vec<String> = found.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    if faults != ["ok"] {
        return Err(unfit(format!("damaged ({})", faults.join("; "))));
    }
    migrate::check(&query(DONE).fetch_all(pool).await?)?;
    Ok(Contents {
        extensions: count(pool, "SELECT COUNT(*) FROM extensions").await?,
        calls: count(pool, "SELECT COUNT(*) FROM calls").await?,
    })
}

async fn count(pool: &Pool, sql: &'static str) -> Result<u64, StoreError> {
    let number: i64 = query(sql).fetch_one(pool).await?.try_get(0)?;
    Ok(number.unsigned_abs())
}
