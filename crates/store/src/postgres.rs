//! Opening a PostgreSQL database, which several nodes may share.

use std::io::ErrorKind;
use std::path::Path;
use std::str::FromStr as _;
use std::time::Instant;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::limits::{CONNECT, CONNECTIONS, PATIENCE};
use crate::migrate::migrate;
use crate::parameters::{check, shown};
use crate::pool::{Pool, Server};
use crate::{Store, StoreError, node_name};

/// Whether a URL has a PostgreSQL scheme.
pub(crate) fn speaks(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

pub(crate) async fn open(url: &str, data_dir: &Path) -> Result<Store, StoreError> {
    let options = options(url)?;
    let node = node_name(data_dir)?;
    // The first connection, and a migration, may take longer than a request may.
    let first = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(CONNECT)
        .connect_with(options.clone())
        .await
        .map_err(unreached)?;
    let first = Pool::Postgres(Server::new(first));
    let mut tx = first.begin().await?;
    migrate(&mut tx).await?;
    tx.commit().await?;
    first.close().await;
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(PATIENCE)
        .test_before_acquire(true)
        .connect_lazy_with(options);
    // Wait for a first pooled connection, so that the reads of a start find one open.
    let begun = Instant::now();
    while pool.acquire().await.is_err() && begun.elapsed() < CONNECT {}
    let pool = Pool::Postgres(Server::new(pool));
    Ok(Store::new(pool.clone(), pool, node))
}

pub(crate) fn options(url: &str) -> Result<PgConnectOptions, StoreError> {
    check(url)?;
    let options = PgConnectOptions::from_str(url).map_err(|_| StoreError::Url { url: shown(url) })?;
    Ok(options.application_name("centralita"))
}

/// The error of a failed first connection. A TLS fault keeps its sentence, so that the operator can correct the certificate.
pub(crate) fn unreached(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Tls(fault) => StoreError::Tls { fault: fault.to_string() },
        // From rustls; network errors have other kinds.
        sqlx::Error::Io(fault) if fault.kind() == ErrorKind::InvalidData => {
            StoreError::Tls { fault: fault.to_string() }
        }
        _ => error.into(),
    }
}
