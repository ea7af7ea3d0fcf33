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
    /// The directory or file could not be made.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database was written by another version of this program.
    #[error("migration {version} of the database is not ours ({fault}): it was written by another version")]
    Migration {
        /// Number of the migration.
        version: i64,
        /// What is wrong with it.
        fault: &'static str,
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
                // Class 08: the connection; 53: too many of something; 57: shutting down, starting up (PostgreSQL, appendix A).
                sqlx::Error::Database(fault) => fault
                    .code()
                    .is_some_and(|code| ["08", "53", "57"].iter().any(|class| code.starts_with(class))),
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed => true,
                _ => false,
            },
            StoreError::Url { .. }
            | StoreError::Io { .. }
            | StoreError::Migration { .. }
            | StoreError::Duplicate { .. }
            | StoreError::Damaged { .. }
            | StoreError::NotEmpty { .. }
            | StoreError::Unsupported(_) => false,
        }
    }
}

/// An address of a database as it may be shown: without the password.
pub(crate) fn shown(url: &str) -> String {
    let hidden = url.split_once("://").and_then(|(scheme, rest)| {
        let (login, host) = rest.rsplit_once('@')?;
        let user = login.split_once(':').map_or(login, |(user, _)| user);
        Some(format!("{scheme}://{user}:***@{host}"))
    });
    hidden.unwrap_or_else(|| url.to_owned())
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
