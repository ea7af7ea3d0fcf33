//! Cluster-wide write lock on the directory (PostgreSQL advisory lock). The holder has applied all committed changes, so its validation runs on
//! current data.

use model::Change;
use model::voicemail::Delivery;

use crate::advisory_lock::AdvisoryLock;
use crate::outbox::{self, OutboxBatch};
use crate::pool::Tx;
use crate::{Audit, Store, StoreError};

/// The held lock. With SQLite there is only one writer, and it costs nothing.
#[derive(Debug)]
pub struct DirectoryLock {
    store: Store,
    tx: Option<Tx>,
    /// Changes that other nodes have committed since `seen`.
    pub news: OutboxBatch,
}

impl Store {
    /// Take the lock. `seen`: the outbox row up to which the caller has applied all changes.
    pub async fn lock_directory(&self, seen: i64) -> Result<DirectoryLock, StoreError> {
        let store = self.clone();
        if !self.is_shared() {
            return Ok(DirectoryLock {
                store,
                tx: None,
                news: OutboxBatch::Changes { reached: seen, changes: Vec::new() },
            });
        }
        let mut tx = self.writer.begin().await?;
        tx.lock(AdvisoryLock::Outbox).await?;
        let (mut reached, mut changes) = (seen, Vec::new());
        loop {
            match outbox::batch_after(&mut *tx, reached).await? {
                OutboxBatch::Truncated => {
                    return Ok(DirectoryLock { store, tx: Some(tx), news: OutboxBatch::Truncated });
                }
                OutboxBatch::Changes { reached: same, .. } if same == reached => break,
                OutboxBatch::Changes { reached: further, changes: batch } => {
                    reached = further;
                    changes.extend(batch);
                }
            }
        }
        Ok(DirectoryLock { store, tx: Some(tx), news: OutboxBatch::Changes { reached, changes } })
    }
}

impl DirectoryLock {
    /// Commit changes with their outbox rows and an event in one transaction. Returns the number of the last outbox row.
    pub async fn write(self, changes: &[Change], audit: Audit) -> Result<i64, StoreError> {
        self.write_all(changes, &[], std::slice::from_ref(&audit)).await
    }

    /// As [`DirectoryLock::write`], with notification mails to send and several events of the same time.
    pub async fn write_all(
        self,
        changes: &[Change],
        mails: &[Delivery],
        audits: &[Audit],
    ) -> Result<i64, StoreError> {
        match self.tx {
            Some(tx) => self.store.write_in(tx, changes, mails, audits).await,
            None => self.store.write_all(changes, mails, audits).await,
        }
    }
}
