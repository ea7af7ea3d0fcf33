//! A turn to change the directory where several nodes may: what is decided while it is held is decided on what is true.

use model::Change;
use model::voicemail::Delivery;

use crate::pool::{AdvisoryLock, Tx};
use crate::{Audit, Store, StoreError, audit};

/// See the module. On SQLite nobody else writes, and it costs nothing.
#[derive(Debug)]
pub struct DirectoryLock {
    store: Store,
    tx: Option<Tx>,
    /// What other nodes have committed meanwhile.
    pub news: OutboxBatch,
}

/// What was committed to the outbox after a row of it.
#[derive(Clone, PartialEq, Debug)]
pub enum OutboxBatch {
    /// These changes, in the order of their commits.
    Changes {
        /// The row up to which they reach; the one that was asked for where there are none.
        reached: i64,
        /// The changes.
        changes: Vec<Change>,
    },
    /// Some of it is forgotten already: the directory must be loaded anew.
    Truncated,
}

impl Store {
    /// Take the pen, for who knows the directory as it was after row `seen` of the outbox.
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
            match audit::news(&mut *tx, reached).await? {
                OutboxBatch::Truncated => {
                    return Ok(DirectoryLock { store, tx: Some(tx), news: OutboxBatch::Truncated });
                }
                OutboxBatch::Changes { reached: same, .. } if same == reached => break,
                OutboxBatch::Changes { reached: further, changes: told } => {
                    reached = further;
                    changes.extend(told);
                }
            }
        }
        Ok(DirectoryLock { store, tx: Some(tx), news: OutboxBatch::Changes { reached, changes } })
    }
}

impl DirectoryLock {
    /// Commit changes, their outbox rows and their event in one transaction. The number of the outbox's last row.
    pub async fn write(self, changes: &[Change], audit: Audit) -> Result<i64, StoreError> {
        self.write_all(changes, &[], std::slice::from_ref(&audit)).await
    }

    /// The same, with the mails that are to be sent because of it, and with several events, all of one instant.
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
