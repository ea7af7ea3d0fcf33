//! Table `leases`: what one of several nodes does for all of them, for as long as it says so again in time.

use base::Timestamp;

use crate::row::TENANT;
use crate::sql::query;
use crate::{Store, StoreError};

impl Store {
    /// Take or renew the lease of that name until then, as of `now`: whether it is ours. Where nobody shares the database it always is.
    ///
    /// The nodes' clocks are trusted as far as a lease is longer than they are apart.
    pub async fn hold(&self, name: &str, now: Timestamp, until: Timestamp) -> Result<bool, StoreError> {
        let held = query(
            "INSERT INTO leases (tenant, name, node, until) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (tenant, name) DO UPDATE SET node = excluded.node, until = excluded.until \
             WHERE leases.node = excluded.node OR leases.until <= $5",
        )
        .bind(TENANT)
        .bind(name)
        .bind(&*self.node)
        .bind(until.as_micros())
        .bind(now.as_micros())
        .execute(&self.writer)
        .await?;
        Ok(held.rows_affected() == 1)
    }

    /// Give back the lease of that name, where it is ours: the next node that asks has it.
    pub async fn let_go(&self, name: &str) -> Result<(), StoreError> {
        query("DELETE FROM leases WHERE tenant = $1 AND name = $2 AND node = $3")
            .bind(TENANT)
            .bind(name)
            .bind(&*self.node)
            .execute(&self.writer)
            .await?;
        Ok(())
    }
}
