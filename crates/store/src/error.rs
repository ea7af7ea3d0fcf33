//! Errors of the store.

use std::path::PathBuf;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// `store.url` names no supported database.
    #[error(
        "store.url {url:?} is not understood: write sqlite:FILE, as in sqlite:centralita.db, or postgres://USER:PASSWORD@HOST/DATABASE"
    )]
    Url {
        /// The URL as configured, without its password.
        url: String,
    },
    /// Unknown parameter of a PostgreSQL URL.
    #[error("the parameter {name:?} of store.url is not understood; there are {known}")]
    Parameter {
        /// Its name; `?` where it could be part of a password.
        name: String,
        /// The accepted parameters or values.
        known: String,
    },
    /// The TLS connection cannot be established as configured.
    #[error(
        "the TLS connection to PostgreSQL failed: {fault}. (sslmode=verify-ca and verify-full need a certificate signed by an authority \
         of sslrootcert=FILE, or by a public one; with verify-full it must contain the host's name)"
    )]
    Tls {
        /// The fault, as the TLS library reports it.
        fault: String,
    },
    /// A directory or file could not be created or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The database file exists and is not a SQLite database.
    #[error("{} is not a SQLite database: store.url names another file, or this one is damaged; nothing was changed", path.display())]
    NoDatabase {
        /// The path.
        path: PathBuf,
    },
    /// The database was migrated by another version of this program.
    #[error("migration {version} of the database was written by another version of Centralita ({fault})")]
    Migration {
        /// Number of the migration.
        version: i64,
        /// The fault.
        fault: &'static str,
    },
    /// A file that should be restored is not a usable database.
    #[error("{}: {fault}", path.display())]
    NotADatabase {
        /// The path.
        path: PathBuf,
        /// The fault.
        fault: String,
    },
    /// The database was migrated by a later version of this program.
    #[error(
        "the database was written by a later version of Centralita (its schema is {found}, this version knows {known}): start that \
         version, or put back a backup made by this one; nothing was changed"
    )]
    Newer {
        /// Number of its last migration.
        found: i64,
        /// Number of the last migration of this program.
        known: i64,
    },
    /// The database contains tables of another program.
    #[error(
        "the database that store.url names belongs to another program (it has a table {table:?}): name an empty database or one of \
         Centralita; nothing was changed"
    )]
    Foreign {
        /// The first such table.
        table: String,
    },
    /// A unique key exists already.
    #[error("already exists: {what}")]
    Duplicate {
        /// The driver's message, which names the unique column.
        what: String,
    },
    /// A row cannot be decoded.
    #[error("a row of table {table} is damaged: {fault}")]
    Damaged {
        /// The table.
        table: &'static str,
        /// The fault.
        fault: String,
    },
    /// The database reported an error, or the connection failed.
    #[error("database: {0}")]
    Database(sqlx::Error),
    /// The database did not answer in time, or the circuit breaker is open.
    #[error("the database does not answer")]
    Unavailable,
    /// The target database of a copy is not empty.
    #[error("table {table} of the target database is not empty: name an empty database")]
    NotEmpty {
        /// The first table with rows.
        table: String,
    },
    /// Not possible with this kind of database.
    #[error("{0}")]
    Unsupported(&'static str),
}

impl StoreError {
    /// Whether the database is unavailable, as opposed to refusing the statement: a retry may succeed.
    pub fn is_unavailable(&self) -> bool {
        match self {
            StoreError::Unavailable => true,
            StoreError::Database(error) => match error {
                sqlx::Error::Database(fault) => match sqlite_code(&**fault) {
                    Some(code) => SQLITE_UNAVAILABLE.contains(&code),
                    // Class 08: connection; 53: insufficient resources; 57: shutting down or starting up (PostgreSQL, appendix A).
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

    /// Whether the disk is full: a retry succeeds once there is room.
    pub fn is_full(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        match self {
            StoreError::Io { source, .. } => matches!(source.kind(), StorageFull | QuotaExceeded),
            StoreError::Database(sqlx::Error::Database(fault)) => match sqlite_code(&**fault) {
                Some(code) => code == SQLITE_FULL,
                // SQLSTATE disk_full
                None => fault.code().is_some_and(|code| code == "53100"),
            },
            _ => false,
        }
    }
}

/// Primary result codes of SQLite (<https://sqlite.org/rescode.html>).
const SQLITE_FULL: u8 = 13;
pub(crate) const SQLITE_NOTADB: u8 = 26;
/// Busy, locked, read-only, I/O error, full, cannot open: conditions that may pass.
const SQLITE_UNAVAILABLE: [u8; 6] = [5, 6, 8, 10, SQLITE_FULL, 14];

/// The primary result code of a SQLite error.
pub(crate) fn sqlite_code(fault: &dyn sqlx::error::DatabaseError) -> Option<u8> {
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
