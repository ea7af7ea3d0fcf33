//! Connection pools of either database, and transactions.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::pool::PoolConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection as _, PgPool, Postgres, Sqlite, SqlitePool, Transaction};

use crate::StoreError;
use crate::limits::{ACQUIRE_TIMEOUT, CIRCUIT_OPEN, STATEMENT_TIMEOUT};
use crate::monitor::Monitor;

/// A connection pool. Clones share it.
#[derive(Clone, Debug)]
pub(crate) enum Pool {
    Sqlite(SqliteDatabase),
    Postgres(PostgresServer),
}

impl Pool {
    /// Begin a write transaction.
    pub(crate) async fn begin(&self) -> Result<Tx, StoreError> {
        Ok(Tx(match self {
            Pool::Sqlite(file) => {
                let begin = file.pool.begin_with("BEGIN IMMEDIATE").await;
                Conn::Sqlite(
                    file.monitor.record_result(begin.map_err(StoreError::from))?,
                    file.monitor.clone(),
                )
            }
            Pool::Postgres(server) => {
                let begin = server.acquire_guarded(server.pool.begin()).await;
                Conn::Postgres(server.monitor.record_result(begin)?, server.monitor.clone())
            }
        }))
    }

    /// The health monitor of the database.
    pub(crate) fn monitor(&self) -> &Monitor {
        match self {
            Pool::Sqlite(file) => &file.monitor,
            Pool::Postgres(server) => &server.monitor,
        }
    }

    pub(crate) async fn close(&self) {
        match self {
            Pool::Sqlite(file) => file.pool.close().await,
            // Do not wait for a server that hangs.
            Pool::Postgres(server) => {
                drop(tokio::time::timeout(STATEMENT_TIMEOUT, server.pool.close()).await);
            }
        }
    }
}

/// Pool of a SQLite database, with the health of its disk.
#[derive(Clone, Debug)]
pub(crate) struct SqliteDatabase {
    pub(crate) pool: SqlitePool,
    pub(crate) monitor: Monitor,
}

/// Whether a connection that returns to its pool can be used again.
///
/// SQLite rolls a transaction back by itself when a write fails (`SQLITE_FULL`, `SQLITE_IOERR`; "Automatic rollback" in its documentation
/// of transactions). The `ROLLBACK` that follows then fails, and sqlx still counts an open transaction: no transaction could begin on that
/// connection again. Such a connection is closed, and the pool opens another.
pub(crate) async fn is_reusable(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    if !connection.is_in_transaction() {
        return Ok(true);
    }
    // The rollback was queued when the transaction was dropped; it has run once the ping is answered.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

/// Pool of a PostgreSQL server, with a circuit breaker for when it is unreachable.
///
/// A request fails after [`ACQUIRE_TIMEOUT`] while the server is unreachable. Requests within the next [`CIRCUIT_OPEN`] fail at once, so that waiting
/// requests do not add up their timeouts.
#[derive(Clone, Debug)]
pub(crate) struct PostgresServer {
    pool: PgPool,
    unreachable_since: Arc<Mutex<Option<Instant>>>,
    pub(crate) monitor: Monitor,
}

impl PostgresServer {
    pub(crate) fn new(pool: PgPool) -> PostgresServer {
        PostgresServer { pool, unreachable_since: Arc::default(), monitor: Monitor::default() }
    }

    /// Acquire a connection that has just answered.
    pub(crate) async fn connection(&self) -> Result<PoolConnection<Postgres>, StoreError> {
        self.acquire_guarded(self.pool.acquire()).await
    }

    async fn acquire_guarded<T>(
        &self,
        request: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, StoreError> {
        if self
            .unreachable_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some_and(|at| at.elapsed() < CIRCUIT_OPEN)
        {
            return Err(StoreError::Unavailable);
        }
        let answer = timeout(ACQUIRE_TIMEOUT, request).await;
        let away = answer.as_ref().is_err_and(StoreError::is_unavailable);
        *self.unreachable_since.lock().unwrap_or_else(PoisonError::into_inner) = away.then(Instant::now);
        answer
    }
}

/// Await one reply of PostgreSQL with the statement timeout.
pub(crate) async fn with_timeout<T>(
    request: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreError> {
    timeout(STATEMENT_TIMEOUT, request).await
}

async fn timeout<T>(
    limit: Duration,
    request: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(limit, request).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(StoreError::Unavailable),
    }
}

/// A connection within a transaction.
#[derive(Debug)]
pub(crate) enum Conn {
    Sqlite(Transaction<'static, Sqlite>, Monitor),
    Postgres(Transaction<'static, Postgres>, Monitor),
}

impl Conn {
    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self, Conn::Postgres(..))
    }

    /// Run a script of several statements without parameters.
    pub(crate) async fn run_script(&mut self, script: sqlx::SqlStr) -> Result<(), StoreError> {
        match self {
            Conn::Sqlite(tx, _) => sqlx::raw_sql(script).execute(&mut **tx).await.map(drop)?,
            Conn::Postgres(tx, _) => sqlx::raw_sql(script).execute(&mut **tx).await.map(drop)?,
        }
        Ok(())
    }
}

/// A write transaction; rolled back unless it is committed.
#[derive(Debug)]
pub(crate) struct Tx(Conn);

impl Tx {
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        match self.0 {
            Conn::Sqlite(tx, monitor) => monitor.record_commit(tx.commit().await.map_err(StoreError::from)),
            Conn::Postgres(tx, monitor) => monitor.record_commit(with_timeout(tx.commit()).await),
        }
    }
}

impl Deref for Tx {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        &self.0
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.0
    }
}
