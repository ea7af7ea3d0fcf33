//! Where several nodes share a database, each follows what the others change: at the latest when it wants to change something itself.

use std::sync::Arc;
use std::time::Duration;

use store::{DirectoryLock, OutboxBatch, StoreError};
use tokio::sync::MutexGuard;

use super::{DirectoryService, Inner};

/// How often the outbox is read: others see a change within a second (DESIGN of the directory), a revoked key within less.
const BEAT: Duration = Duration::from_millis(250);
/// How long a request waits for those before it where the database may be away: it is told so within a second.
const TURN: Duration = Duration::from_millis(900);

impl DirectoryService {
    /// Say that the directory was loaded after row `seq` of the outbox was there. Without it, it is loaded once more where that matters.
    pub async fn loaded_at(&self, seq: i64) {
        *self.inner.turn.lock().await = seq;
    }

    /// Follow the other nodes for as long as this is polled. Without others it does nothing.
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
                (Ok(()), true) => tracing::info!("other nodes' changes are read again"),
                (Err(error), false) => tracing::error!(%error, "other nodes' changes cannot be read"),
                (Ok(()), false) | (Err(_), true) => continue,
            }
            failing = !failing;
        }
    }
}

impl Inner {
    /// The turn, and the pen with which it is written; the directory is up to date then.
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

    /// Read what others have committed. The turn is held only while there is something to learn: a database that is slow to say that there is
    /// nothing keeps nobody waiting.
    async fn read_news(&self) -> Result<(), StoreError> {
        loop {
            let seen = *self.turn.lock().await;
            let news = self.store.outbox_after(seen).await?;
            if matches!(&news, OutboxBatch::Changes { reached, .. } if *reached == seen) {
                return Ok(());
            }
            let mut turn = self.turn.lock().await;
            // Somebody of us may have written, and learned this, meanwhile.
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
