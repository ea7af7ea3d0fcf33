//! Watches the health of the database: while it is unhealthy, a test write runs once a second.

use std::time::Duration;

use crate::monitor::Health;
use crate::row::TENANT;
use crate::sql::query;
use crate::{Store, StoreError};

/// Interval of test writes while the database is unhealthy.
const RETRY: Duration = Duration::from_secs(1);

impl Store {
    /// Whether the last write succeeded.
    pub fn health(&self) -> Health {
        self.writer.monitor().health()
    }

    /// Run test writes while the database is unhealthy. Runs as long as it is polled; there must be one such task.
    pub async fn watch_health(&self) {
        let mut health = self.writer.monitor().subscribe();
        loop {
            if health.wait_for(|health| *health != Health::Writable).await.is_err() {
                return;
            }
            tracing::error!(health = self.health().as_str(), "the database refuses writes");
            while self.health() != Health::Writable {
                tokio::time::sleep(RETRY).await;
                if let Err(error) = self.try_write().await {
                    tracing::debug!(%error, "the database still refuses writes");
                }
            }
            tracing::info!("the database accepts writes again");
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
