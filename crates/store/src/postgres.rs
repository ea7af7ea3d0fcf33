//! Opening a PostgreSQL database, which several nodes may share.

use std::io::{ErrorKind, Read as _, Write as _};
use std::path::Path;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Instant;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::limits::{CONNECT, CONNECTIONS, PATIENCE};
use crate::migrate::migrate;
use crate::parameters::{check, shown};
use crate::pool::{Pool, Server};
use crate::{Store, StoreError};

/// Whether an address is one of PostgreSQL.
pub(crate) fn speaks(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

pub(crate) async fn open(url: &str, data_dir: &Path) -> Result<Store, StoreError> {
    let options = options(url)?;
    let node = node(data_dir)?;
    // The first connection may take its time, and a migration too.
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
    // A start may wait where a request may not: what it reads finds a connection open.
    let begun = Instant::now();
    while pool.acquire().await.is_err() && begun.elapsed() < CONNECT {}
    let pool = Pool::Postgres(Server::new(pool));
    Ok(Store::new(pool.clone(), pool, node))
}

fn options(url: &str) -> Result<PgConnectOptions, StoreError> {
    check(url)?;
    let options = PgConnectOptions::from_str(url).map_err(|_| StoreError::Url { url: shown(url) })?;
    Ok(options.application_name("centralita"))
}

/// Why there is no first connection. What is wrong with a certificate is said so that somebody can mend it.
fn unreached(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Tls(fault) => StoreError::Tls { fault: fault.to_string() },
        // The words of rustls; from the network itself come other kinds.
        sqlx::Error::Io(fault) if fault.kind() == ErrorKind::InvalidData => {
            StoreError::Tls { fault: fault.to_string() }
        }
        _ => error.into(),
    }
}

/// The name of the node that lives in a data directory: made once, and never the same for two.
fn node(data_dir: &Path) -> Result<Arc<str>, StoreError> {
    let path = data_dir.join("node");
    let io = |source| StoreError::Io { path: path.clone(), source };
    match std::fs::read_to_string(&path) {
        Ok(name) if !name.trim().is_empty() => return Ok(name.trim().into()),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(io(error)),
    }
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).map_err(io)?;
    let name = format!("node_{:016x}", u64::from_be_bytes(bytes));
    std::fs::create_dir_all(data_dir).map_err(io)?;
    let mut file = std::fs::File::create(&path).map_err(io)?;
    writeln!(file, "{name}").and_then(|()| file.sync_all()).map_err(io)?;
    Ok(name.into())
}
