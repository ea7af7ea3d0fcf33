//! Health of the database, derived from the results of writes. While it is unhealthy, a test write runs once a second.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::row::TENANT;
use crate::sql::query;
use crate::{Store, StoreError};

/// Interval of test writes while the database is unhealthy.
const RETRY: Duration = Duration::from_secs(1);

/// Result of the last write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Health {
    /// Writes succeed.
    #[default]
    Writable,
    /// The disk is full.
    DiskFull,
    /// Writes fail for another reason: an I/O error, a read-only file system, an unreachable server.
    Unavailable,
}

impl Health {
    /// The JSON name: `ok`, `disk_full`, `unavailable`.
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Writable => "ok",
            Health::DiskFull => "disk_full",
            Health::Unavailable => "unavailable",
        }
    }
}

/// Records the results of writes. Clones share the state.
#[derive(Clone, Debug)]
pub(crate) struct Monitor(Arc<watch::Sender<Health>>);

impl Default for Monitor {
    fn default() -> Self {
        Monitor(Arc::new(watch::Sender::new(Health::Writable)))
    }
}

impl Monitor {
    /// Record the result of a statement. Only a failure counts, because a read needs no room.
    pub(crate) fn record_result<T>(&self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &done {
            if error.is_full() {
                self.set(Health::DiskFull);
            } else if error.is_away() {
                self.set(Health::Unavailable);
            }
        }
        done
    }

    /// Record the result of a commit.
    pub(crate) fn record_commit<T>(&self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        if done.is_ok() {
            self.set(Health::Writable);
        }
        self.record_result(done)
    }

    fn set(&self, health: Health) {
        self.0.send_if_modified(|known| std::mem::replace(known, health) != health);
    }
}

impl Store {
    /// Whether the last write succeeded.
    pub fn health(&self) -> Health {
        *self.writer.monitor().0.borrow()
    }

    /// Run test writes while the database is unhealthy. Runs as long as it is polled; there must be one such task.
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
