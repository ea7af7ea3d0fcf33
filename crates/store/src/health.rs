//! Whether the database takes writes, as its last writes have shown. One that does not is tried once a second until it does.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::row::TENANT;
use crate::sql::query;
use crate::{Store, StoreError};

/// Between two attempts at a database that takes no writes.
const RETRY: Duration = Duration::from_secs(1);

/// What became of the last write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Health {
    /// Writes are taken.
    #[default]
    Writable,
    /// Its disk is full.
    DiskFull,
    /// It takes no writes for another reason: an error of its disk, a file system that is read-only, a server that is away.
    Unavailable,
}

impl Health {
    /// As in JSON: `ok`, `disk_full`, `unavailable`.
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Writable => "ok",
            Health::DiskFull => "disk_full",
            Health::Unavailable => "unavailable",
        }
    }
}

/// Hears what becomes of writes. Clones share what they know.
#[derive(Clone, Debug)]
pub(crate) struct Monitor(Arc<watch::Sender<Health>>);

impl Default for Monitor {
    fn default() -> Self {
        Monitor(Arc::new(watch::Sender::new(Health::Writable)))
    }
}

impl Monitor {
    /// A statement was tried: only a failure tells something, for what is read needs no room.
    pub(crate) fn failed<T>(&self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &done {
            if error.is_full() {
                self.set(Health::DiskFull);
            } else if error.is_away() {
                self.set(Health::Unavailable);
            }
        }
        done
    }

    /// A transaction was to be committed.
    pub(crate) fn wrote<T>(&self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        if done.is_ok() {
            self.set(Health::Writable);
        }
        self.failed(done)
    }

    fn set(&self, health: Health) {
        self.0.send_if_modified(|known| std::mem::replace(known, health) != health);
    }
}

impl Store {
    /// Whether writes were taken lately.
    pub fn health(&self) -> Health {
        *self.writer.monitor().0.borrow()
    }

    /// While the database takes no writes, try one now and then, for as long as this is polled: nobody else may.
    pub async fn watch_health(&self) {
        let mut health = self.writer.monitor().0.subscribe();
        loop {
            if health.wait_for(|health| *health != Health::Writable).await.is_err() {
                return;
            }
            tracing::error!(health = self.health().as_str(), "the database takes no writes");
            while self.health() != Health::Writable {
                tokio::time::sleep(RETRY).await;
                if let Err(error) = self.try_write().await {
                    tracing::debug!(%error, "the database takes no writes yet");
                }
            }
            tracing::info!("the database takes writes again");
        }
    }

    async fn try_write(&self) -> Result<(), StoreError> {
        let mut tx = self.writer.begin().await?;
        query(
            "INSERT INTO marks (tenant, name, seq) VALUES ($1, 'health', 1) \
             ON CONFLICT (tenant, name) DO UPDATE SET seq = marks.seq + 1",
        )
        .bind(TENANT)
        .execute(&mut tx)
        .await?;
        tx.commit().await
    }
}
