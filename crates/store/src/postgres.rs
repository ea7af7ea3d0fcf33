//! Opening a PostgreSQL database, which several nodes may share.

use std::io::ErrorKind;
use std::path::Path;
use std::str::FromStr as _;
use std::time::Instant;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::limits::{ACQUIRE_TIMEOUT, CONNECT_TIMEOUT, MAX_CONNECTIONS};
use crate::migrate::migrate;
use crate::parameters::{check, redacted};
use crate::pool::{Pool, PostgresServer};
use crate::{Store, StoreError, node_name};

/// Whether a URL has a PostgreSQL scheme.
pub(crate) fn is_postgres_url(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

pub(crate) async fn open(url: &str, data_dir: &Path) -> Result<Store, StoreError> {
    let options = options(url)?;
    let node = node_name(data_dir)?;
    // The first connection, and a migration, may take longer than a request may.
    let first = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(CONNECT_TIMEOUT)
        .connect_with(options.clone())
        .await
        .map_err(connect_error)?;
    let first = Pool::Postgres(PostgresServer::new(first));
    let mut tx = first.begin().await?;
    migrate(&mut tx).await?;
    tx.commit().await?;
    first.close().await;
    let pool = PgPoolOptions::new()
        .max_connections(MAX_CONNECTIONS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(true)
        .connect_lazy_with(options);
    // Wait for a first pooled connection, so that the reads of a start find one open.
    let begun = Instant::now();
    while pool.acquire().await.is_err() && begun.elapsed() < CONNECT_TIMEOUT {}
    let pool = Pool::Postgres(PostgresServer::new(pool));
    Ok(Store::new(pool.clone(), pool, node))
}

pub(crate) fn options(url: &str) -> Result<PgConnectOptions, StoreError> {
    check(url)?;
    let options = PgConnectOptions::from_str(url).map_err(|_| StoreError::Url { url: redacted(url) })?;
    Ok(options.application_name("centralita"))
}

/// The error of a failed first connection. A TLS fault keeps its sentence, so that the operator can correct the certificate.
pub(crate) fn connect_error(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Tls(fault) => StoreError::Tls { fault: fault.to_string() },
        // From rustls; network errors have other kinds.
        sqlx::Error::Io(fault) if fault.kind() == ErrorKind::InvalidData => {
            StoreError::Tls { fault: fault.to_string() }
        }
        _ => error.into(),
    }
}
