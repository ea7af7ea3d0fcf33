//! What can go wrong with what is kept.

use std::path::PathBuf;

/// A fault of the store, and what it means for the one who asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The configured address names no database that we speak.
    #[error("store.url {url:?} is not understood: write sqlite:FILE, as in sqlite:centralita.db")]
    Url {
        /// As configured.
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
