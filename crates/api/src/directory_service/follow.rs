//! Replication of the directory between nodes that share a database: each node applies the changes of the others from the outbox, at the latest
//! before its own next change.

use std::sync::Arc;
use std::time::Duration;

use store::{DirectoryLock, OutboxBatch, StoreError};
use tokio::sync::MutexGuard;

use super::{DirectoryService, Inner};

/// Poll interval of the outbox: other nodes see a change within a second, a revoked key sooner.
const BEAT: Duration = Duration::from_millis(250);
/// How long a change waits for earlier ones when the database may be unavailable. The client gets its 503 within a second.
const TURN: Duration = Duration::from_millis(900);

impl DirectoryService {
    /// Set the outbox sequence number at which the directory was loaded. Without it, a shared directory is loaded once more.
    pub async fn loaded_at(&self, seq: i64) {
        *self.inner.turn.lock().await = seq;
    }

    /// Apply the changes of other nodes for as long as this is polled. Returns at once if the database is not shared.
    pub async fn follow(self) {
        if !self.inner.store.is_shared() {
            return;
        }
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            beat.tick().await;
            match (self.inner.read_news().await, failing) {
                (Ok(()), true) => tracing::info!("directory replication works again"),
                (Err(error), false) => tracing::error!(%error, "directory replication failed: changes of other nodes cannot be read; retrying"),
                (Ok(()), false) | (Err(_), true) => continue,
            }
            failing = !failing;
        }
    }
}

impl Inner {
    /// Lock out other writers, in this process and in the cluster, and bring the directory up to date.
    pub(super) async fn take_pen(&self) -> Result<(MutexGuard<'_, i64>, DirectoryLock), StoreError> {
        let mut turn = self.take_turn().await?;
        let pen = self.store.lock_directory(*turn).await?;
        self.learn(&mut turn, pen.news.clone()).await?;
        Ok((turn, pen))
    }

    async fn take_turn(&self) -> Result<MutexGuard<'_, i64>, StoreError> {
        if !self.store.is_shared() {
            return Ok(self.turn.lock().await);
        }
        tokio::time::timeout(TURN, self.turn.lock()).await.map_err(|_| StoreError::Away)
    }

    /// Apply what others have committed. The local lock is held only while changes are applied, so a slow database does not block writers when
    /// there is nothing to apply.
    async fn read_news(&self) -> Result<(), StoreError> {
        loop {
            let seen = *self.turn.lock().await;
            let news = self.store.outbox_after(seen).await?;
            if matches!(&news, OutboxBatch::Changes { reached, .. } if *reached == seen) {
                return Ok(());
            }
            let mut turn = self.turn.lock().await;
            // Another task of this process may have applied it meanwhile.
            if *turn == seen {
                self.learn(&mut turn, news).await?;
            }
        }
    }

    async fn learn(&self, turn: &mut i64, news: OutboxBatch) -> Result<(), StoreError> {
        match news {
            OutboxBatch::Changes { changes, .. } if changes.is_empty() => {}
            OutboxBatch::Changes { reached, changes } => {
                self.apply(changes);
                *turn = reached;
            }
            OutboxBatch::Truncated => {
                let seq = self.store.outbox_seq().await?;
                let mut fresh = self.store.load_directory().await?;
                let old = self.directory.load_full();
                fresh.set_rules(old.rules().clone());
                let changes = old.changes_to(&fresh);
                self.directory.store(Arc::new(fresh.clone()));
                self.port.publish(fresh, changes.into());
                *turn = seq;
            }
        }
        Ok(())
    }
}
