//! Replication of the directory between nodes that share a database: each node applies the changes of the others from the outbox, at the latest
//! before its own next change.

use std::sync::Arc;
use std::time::Duration;

use store::{DirectoryLock, OutboxBatch, StoreError};
use tokio::sync::MutexGuard;

use super::{DirectoryService, Inner};

/// Poll interval of the outbox: other nodes see a change within a second, a revoked key sooner.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// How long a change waits for earlier ones when the database may be unavailable. The client gets its 503 within a second.
const LOCK_TIMEOUT: Duration = Duration::from_millis(900);

impl DirectoryService {
    /// Set the outbox sequence number at which the directory was loaded. Without it, a shared directory is loaded once more.
    pub async fn loaded_at(&self, seq: i64) {
        *self.inner.applied_seq.lock().await = seq;
    }

    /// Apply the changes of other nodes for as long as this is polled. Returns at once if the database is not shared.
    pub async fn follow(self) {
        if !self.inner.store.is_shared() {
            return;
        }
        let mut interval = tokio::time::interval(POLL_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            interval.tick().await;
            match (self.inner.apply_outbox().await, failing) {
                (Ok(()), true) => tracing::info!("directory replication works again"),
                (Err(error), false) => {
                    tracing::error!(%error, "directory replication failed, retrying: the outbox cannot be read");
                }
                (Ok(()), false) | (Err(_), true) => continue,
            }
            failing = !failing;
        }
    }
}

impl Inner {
    /// Lock out other writers, in this process and in the cluster, and bring the directory up to date.
    pub(super) async fn lock_for_write(&self) -> Result<(MutexGuard<'_, i64>, DirectoryLock), StoreError> {
        let mut applied_seq = self.lock_local().await?;
        let lock = self.store.lock_directory(*applied_seq).await?;
        self.apply_batch(&mut applied_seq, lock.news.clone()).await?;
        Ok((applied_seq, lock))
    }

    async fn lock_local(&self) -> Result<MutexGuard<'_, i64>, StoreError> {
        if !self.store.is_shared() {
            return Ok(self.applied_seq.lock().await);
        }
        tokio::time::timeout(LOCK_TIMEOUT, self.applied_seq.lock()).await.map_err(|_| StoreError::Unavailable)
    }

    /// Apply what others have committed. The local lock is held only while changes are applied, so a slow database does not block writers when
    /// there is nothing to apply.
    async fn apply_outbox(&self) -> Result<(), StoreError> {
        loop {
            let seen = *self.applied_seq.lock().await;
            let batch = self.store.outbox_after(seen).await?;
            if matches!(&batch, OutboxBatch::Changes { reached, .. } if *reached == seen) {
                return Ok(());
            }
            let mut applied_seq = self.applied_seq.lock().await;
            // Another task of this process may have applied it meanwhile.
            if *applied_seq == seen {
                self.apply_batch(&mut applied_seq, batch).await?;
            }
        }
    }

    async fn apply_batch(&self, applied_seq: &mut i64, batch: OutboxBatch) -> Result<(), StoreError> {
        match batch {
            OutboxBatch::Changes { changes, .. } if changes.is_empty() => {}
            OutboxBatch::Changes { reached, changes } => {
                self.apply(changes);
                *applied_seq = reached;
            }
            OutboxBatch::Truncated => {
                let seq = self.store.outbox_seq().await?;
                let mut fresh = self.store.load_directory().await?;
                let old = self.directory.load_full();
                fresh.set_rules(old.rules().clone());
                let changes = old.changes_to(&fresh);
                self.directory.store(Arc::new(fresh.clone()));
                self.port.publish(fresh, changes.into());
                *applied_seq = seq;
            }
        }
        Ok(())
    }
}
