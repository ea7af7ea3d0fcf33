//! Table `leases`: what one of several nodes does for all of them, for as long as it says so again in time.

use std::time::Duration;

use sqlx::AssertSqlSafe;

use crate::row::TENANT;
use crate::sql::query;
use crate::{Store, StoreError};

impl Store {
    /// Take or renew the lease of that name for so long: whether it is ours. Where nobody shares the database it always is.
    ///
    /// The time is the database's: nodes whose clocks differ, or are set, agree on who holds it.
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

    /// Give back the lease of that name, where it is ours: the next node that asks has it.
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
