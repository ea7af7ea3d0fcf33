//! Read-only check whether a server could open the database.

use std::io::{ErrorKind, Read};
use std::path::Path;

use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use crate::limits::{CONNECT_TIMEOUT, SQLITE_BUSY_TIMEOUT};
use crate::monitor::Monitor;
use crate::pool::{Pool, PostgresServer, SqliteDatabase};
use crate::sql::query;
use crate::{StoreError, migrate, postgres, sqlite};

/// First bytes of every SQLite file.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// What the URL points to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// Nothing: the first start creates it.
    Missing,
    /// A database without our tables: the first start fills it.
    Empty,
    /// A database of this program.
    Ours {
        /// Number of its last migration.
        version: i64,
        /// Number of the last migration of this program: a start runs the missing ones.
        newest: i64,
    },
}

/// Check the database that `url` names without changing it. A database of a newer version is an error.
pub async fn probe(url: &str, data_dir: &Path) -> Result<Found, StoreError> {
    let pool = if postgres::is_postgres_url(url) {
        let options = PgPoolOptions::new().max_connections(1).acquire_timeout(CONNECT_TIMEOUT);
        let pool = options.connect_with(postgres::options(url)?).await.map_err(postgres::connect_error)?;
        Pool::Postgres(PostgresServer::new(pool))
    } else {
        let path = sqlite::path_of(url, data_dir)?;
        match has_sqlite_header(&path)? {
            None => return Ok(Found::Missing),
            Some(true) => {}
            Some(false) => return Ok(Found::Empty),
        }
        let options = SqliteConnectOptions::new().filename(&path).busy_timeout(SQLITE_BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new().max_connections(1).acquire_timeout(SQLITE_BUSY_TIMEOUT);
        let pool = pool.connect_with(options.create_if_missing(false)).await?;
        Pool::Sqlite(SqliteDatabase { pool, monitor: Monitor::default() })
    };
    let found = read_version(&pool).await;
    pool.close().await;
    found
}

/// Whether a file begins like a SQLite database; `None` where it does not exist, `false` where it is empty.
fn has_sqlite_header(path: &Path) -> Result<Option<bool>, StoreError> {
    let io = |source| StoreError::Io { path: path.to_owned(), source };
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    let mut head = Vec::new();
    Read::by_ref(&mut file).take(MAGIC.len() as u64).read_to_end(&mut head).map_err(io)?;
    if !head.is_empty() && head != MAGIC {
        return Err(StoreError::NoDatabase { path: path.to_owned() });
    }
    Ok(Some(!head.is_empty()))
}

async fn read_version(pool: &Pool) -> Result<Found, StoreError> {
    let table_exists = match pool {
        Pool::Sqlite(_) => "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'migrations'",
        Pool::Postgres(_) => {
            "SELECT 1 FROM information_schema.tables WHERE table_schema = current_schema() AND table_name = 'migrations'"
        }
    };
    if query(table_exists).fetch_all(pool).await?.is_empty() {
        return Ok(Found::Empty);
    }
    let rows = query("SELECT version FROM migrations ORDER BY version DESC LIMIT 1").fetch_all(pool).await?;
    let newest = migrate::newest();
    let version = rows.first().map_or(Ok(0), |row| row.try_get::<i64>(0))?;
    if version > newest {
        return Err(StoreError::Newer { found: version, known: newest });
    }
    Ok(if version == 0 { Found::Empty } else { Found::Ours { version, newest } })
}
