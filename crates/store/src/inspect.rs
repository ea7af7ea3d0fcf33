//! Validation of a SQLite file before it becomes the database.

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};

use crate::migrate::{self, APPLIED};
use crate::sql::Row;
use crate::{Store, StoreError};

/// Row counts of a database file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Contents {
    /// Number of extensions.
    pub extensions: u64,
    /// Number of call records.
    pub calls: u64,
}

impl Store {
    /// Validate the SQLite database in `file` and count its rows. The whole file is read and not changed. Refused where it is damaged, not one of
    /// ours, or written by a newer version. A write-ahead log beside it is ignored.
    pub async fn inspect(file: &Path) -> Result<Contents, StoreError> {
        // Immutable: neither a lock nor a log file is created beside it.
        let options = SqliteConnectOptions::new().filename(file).read_only(true).immutable(true);
        let mut connection =
            options.connect().await.map_err(|error| unreadable(file, &StoreError::from(error)))?;
        let contents = validate(&mut connection, file).await;
        connection.close().await?;
        contents
    }
}

async fn validate(connection: &mut SqliteConnection, file: &Path) -> Result<Contents, StoreError> {
    let unfit = |fault: String| StoreError::NotADatabase { path: file.to_owned(), fault };
    let tables = "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name IN ('migrations', 'extensions', 'calls')";
    let tables = count(connection, tables).await.map_err(|error| unreadable(file, &error))?;
    if tables != 3 {
        return Err(unfit("a SQLite database, but not one of centralita".into()));
    }
    let found = rows(connection, "PRAGMA integrity_check(3)").await;
    let found = found.map_err(|error| unfit(format!("damaged ({error})")))?;
    let faults: Vec<String> = found.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    if faults != ["ok"] {
        return Err(unfit(format!("damaged ({})", faults.join("; "))));
    }
    migrate::check(&rows(connection, APPLIED).await?)?;
    Ok(Contents {
        extensions: count(connection, "SELECT COUNT(*) FROM extensions").await?,
        calls: count(connection, "SELECT COUNT(*) FROM calls").await?,
    })
}

fn unreadable(file: &Path, error: &StoreError) -> StoreError {
    StoreError::NotADatabase {
        path: file.to_owned(),
        fault: format!("damaged, or not a SQLite database ({error})"),
    }
}

async fn rows(connection: &mut SqliteConnection, sql: &'static str) -> Result<Vec<Row>, StoreError> {
    Ok(sqlx::query(sql).fetch_all(connection).await?.into_iter().map(Row::Sqlite).collect())
}

async fn count(connection: &mut SqliteConnection, sql: &'static str) -> Result<u64, StoreError> {
    let found = rows(connection, sql).await?;
    let number = found.first().map_or(Ok(0), |row| row.try_get::<i64>(0))?;
    Ok(number.unsigned_abs())
}
