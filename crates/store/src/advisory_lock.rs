//! Cluster-wide locks (PostgreSQL advisory locks), held for a transaction.

use crate::StoreError;
use crate::pool::Conn;
use crate::sql::query;

/// Cluster-wide locks. The numbers are unique to this program among the advisory locks of a database.
#[derive(Clone, Copy, Debug)]
#[repr(i64)]
pub(crate) enum AdvisoryLock {
    /// Migrating the schema.
    Migrate = 0x6365_6e74_0001,
    /// Numbering of outbox rows: their order is the order in which they become visible.
    Outbox = 0x6365_6e74_0002,
    /// Numbering of events, likewise.
    Events = 0x6365_6e74_0003,
    /// Recording of idempotent requests, so that each is executed once.
    Requests = 0x6365_6e74_0004,
    /// Creating and taking webhook deliveries, so that each is sent once.
    Deliveries = 0x6365_6e74_0005,
}

impl Conn {
    /// Take an advisory lock, held until the transaction ends. A no-op with SQLite, which has one writer at a time.
    pub(crate) async fn lock(&mut self, lock: AdvisoryLock) -> Result<(), StoreError> {
        if self.is_postgres() {
            query("SELECT 1 FROM pg_advisory_xact_lock($1)").bind(lock as i64).execute(self).await?;
        }
        Ok(())
    }
}
