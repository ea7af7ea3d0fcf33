//! Opening a PostgreSQL database, which several nodes may share.

use std::str::FromStr as _;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::error::shown;
use crate::limits::{CONNECT, CONNECTIONS, PATIENCE};
use crate::migrate::migrate;
use crate::pool::{Pool, Server};
use crate::{Store, StoreError};

/// Whether an address is one of PostgreSQL.
pub(crate) fn speaks(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

pub(crate) async fn open(url: &str) -> Result<Store, StoreError> {
    let options = options(url)?;
    // The first connection may take its time, and a migration too.
    let first = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(CONNECT)
        .connect_with(options.clone())
        .await?;
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
    let pool = Pool::Postgres(Server::new(pool));
    Ok(Store { writer: pool.clone(), readers: pool })
}

fn options(url: &str) -> Result<PgConnectOptions, StoreError> {
    let options = PgConnectOptions::from_str(url).map_err(|_| StoreError::Url { url: shown(url) })?;
    Ok(options.application_name("centralita"))
}
