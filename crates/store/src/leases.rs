//! Table `leases`: time-limited, renewable ownership of a task that only one node of a cluster performs.

use std::time::Duration;

use sqlx::AssertSqlSafe;

use crate::row::TENANT;
use crate::sql::query;
use crate::{Store, StoreError};

impl Store {
    /// Acquire or renew the lease `name` for the duration `lease`. Returns whether this node holds it; always with SQLite.
    ///
    /// Uses the database's clock, so that nodes with different clocks agree on the holder.
    pub async fn acquire_lease(&self, name: &str, lease: Duration) -> Result<bool, StoreError> {
        if !self.is_shared() {
            return Ok(true);
        }
        let now = "(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::BIGINT";
        let sql = format!(
            "INSERT INTO leases (tenant, name, node, until) VALUES ($1, $2, $3, {now} + $4::BIGINT) \
             ON CONFLICT (tenant, name) DO UPDATE SET node = excluded.node, until = excluded.until \
             WHERE leases.node = excluded.node OR leases.until <= {now}"
        );
        let held = query(AssertSqlSafe(sql))
            .bind(TENANT)
            .bind(name)
            .bind(&*self.node)
            .bind(lease.as_micros() as i64)
            .execute(&self.writer)
            .await?;
        Ok(held.rows_affected() == 1)
    }

    /// Release the lease if this node holds it: the next node that asks gets it.
    pub async fn release_lease(&self, name: &str) -> Result<(), StoreError> {
        query("DELETE FROM leases WHERE tenant = $1 AND name = $2 AND node = $3")
            .bind(TENANT)
            .bind(name)
            .bind(&*self.node)
            .execute(&self.writer)
            .await?;
        Ok(())
    }
}
