//! What can go wrong with what is kept.

use std::path::PathBuf;

/// A fault of the store, and what it means for the one who asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The configured address names no database that we speak.
    #[error(
        "store.url {url:?} is not understood: write sqlite:FILE, as in sqlite:centralita.db, or postgres://USER:PASSWORD@HOST/DATABASE"
    )]
    Url {
        /// As configured, without its password.
        url: String,
    },
    /// The address of a PostgreSQL says what is not understood.
    #[error("the parameter {name:?} of store.url is not understood; there are {known}")]
    Parameter {
        /// Which; `?` where it may hold a part of a password.
        name: String,
        /// What may stand there.
        known: String,
    },
    /// The connection cannot be encrypted as it is wanted.
    #[error(
        "PostgreSQL cannot be spoken with over TLS: {fault}. (sslmode=verify-ca and verify-full want a certificate that an authority of \
         sslrootcert=FILE has signed, or a public one; verify-full wants the host's name in it too)"
    )]
    Tls {
        /// What is wrong.
        fault: String,
    },
    /// The directory or file could not be made or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is there, and is something else.
    #[error("{} is not a SQLite database: store.url names another file, or this one is damaged; nothing was changed", path.display())]
    NoDatabase {
        /// Which.
        path: PathBuf,
    },
    /// The database was written by another version of this program.
    #[error("migration {version} of the database is not ours ({fault}): it was written by another version")]
    Migration {
        /// Number of the migration.
        version: i64,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// A file that was to become the database cannot be one.
    #[error("{}: {fault}", path.display())]
    NotADatabase {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        fault: String,
    },
    /// The database was written by a later version of this program.
    #[error(
        "the database was written by a later version of Centralita (its schema is {found}, this version knows {known}): start that \
         version, or put back a backup made by this one; nothing was changed"
    )]
    Newer {
        /// The schema found.
        found: i64,
        /// The last one known.
        known: i64,
    },
    /// The database holds what another program has put there.
    #[error(
        "the database that store.url names belongs to another program (it has a table {table:?}): name an empty database or one of \
         Centralita; nothing was changed"
    )]
    Foreign {
        /// The first such table.
        table: String,
    },
    /// Something of that name is there already.
    #[error("already there: {what}")]
    Duplicate {
        /// The column that must be unique.
        what: String,
    },
    /// A row cannot be read.
    #[error("a row of table {table} is damaged: {fault}")]
    Damaged {
        /// The table.
        table: &'static str,
        /// What is wrong with it.
        fault: String,
    },
    /// The database did not answer, or refused.
    #[error("database: {0}")]
    Database(sqlx::Error),
    /// The database has not answered in time, or did not a moment ago.
    #[error("the database does not answer")]
    Away,
    /// A database that was to be filled holds something already.
    #[error("table {table} is not empty there: name an empty database")]
    NotEmpty {
        /// The first such table.
        table: String,
    },
    /// What was asked for cannot be done with this database.
    #[error("{0}")]
    Unsupported(&'static str),
}

impl StoreError {
    /// Whether the database is not there, as opposed to one that says no: the same may succeed later.
    pub fn is_away(&self) -> bool {
        match self {
            StoreError::Away => true,
            StoreError::Database(error) => match error {
                sqlx::Error::Database(fault) => match lite_code(&**fault) {
                    Some(code) => SQLITE_AWAY.contains(&code),
                    // Class 08: the connection; 53: too many of something; 57: shutting down, starting up (PostgreSQL, appendix A).
                    None => fault
                        .code()
                        .is_some_and(|code| ["08", "53", "57"].iter().any(|class| code.starts_with(class))),
                },
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed => true,
                _ => false,
            },
            StoreError::Url { .. }
            | StoreError::Parameter { .. }
            | StoreError::Tls { .. }
            | StoreError::Io { .. }
            | StoreError::NoDatabase { .. }
            | StoreError::Migration { .. }
            | StoreError::NotADatabase { .. }
            | StoreError::Newer { .. }
            | StoreError::Foreign { .. }
            | StoreError::Duplicate { .. }
            | StoreError::Damaged { .. }
            | StoreError::NotEmpty { .. }
            | StoreError::Unsupported(_) => false,
        }
    }

    /// Whether there is no room for a write: it succeeds once there is.
    pub fn is_full(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        match self {
            StoreError::Io { source, .. } => matches!(source.kind(), StorageFull | QuotaExceeded),
            StoreError::Database(sqlx::Error::Database(fault)) => match lite_code(&**fault) {
                Some(code) => code == SQLITE_FULL,
                // disk_full
                None => fault.code().is_some_and(|code| code == "53100"),
            },
            _ => false,
        }
    }
}

/// Primary result codes of SQLite (<https://sqlite.org/rescode.html>).
const SQLITE_FULL: u8 = 13;
pub(crate) const SQLITE_NOTADB: u8 = 26;
/// Busy, locked, read-only, I/O error, full, cannot open: what another attempt may find gone.
const SQLITE_AWAY: [u8; 6] = [5, 6, 8, 10, SQLITE_FULL, 14];

/// The primary result code of a fault that SQLite told.
pub(crate) fn lite_code(fault: &dyn sqlx::error::DatabaseError) -> Option<u8> {
    let fault = fault.try_downcast_ref::<sqlx::sqlite::SqliteError>()?;
    // An extended code has the primary one in its lowest byte.
    let code: i32 = sqlx::error::DatabaseError::code(fault)?.parse().ok()?;
    u8::try_from(code & 0xff).ok()
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(fault) if fault.is_unique_violation() => {
                StoreError::Duplicate { what: fault.message().to_owned() }
            }
            _ => StoreError::Database(error),
        }
    }
}
