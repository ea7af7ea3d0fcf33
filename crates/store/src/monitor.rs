//! Health of the database, derived from the results of writes.

use std::sync::Arc;

use tokio::sync::watch;

use crate::StoreError;

/// Result of the last write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Health {
    /// Writes succeed.
    #[default]
    Writable,
    /// The disk is full.
    DiskFull,
    /// Writes fail for another reason: an I/O error, a read-only file system, an unreachable server.
    Unavailable,
}

impl Health {
    /// The JSON name: `ok`, `disk_full`, `unavailable`.
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Writable => "ok",
            Health::DiskFull => "disk_full",
            Health::Unavailable => "unavailable",
        }
    }
}

/// Records the results of writes. Clones share the state.
#[derive(Clone, Debug)]
pub(crate) struct Monitor(Arc<watch::Sender<Health>>);

impl Default for Monitor {
    fn default() -> Self {
        Monitor(Arc::new(watch::Sender::new(Health::Writable)))
    }
}

impl Monitor {
    /// Record the result of a statement. Only a failure counts, because a read needs no room.
    pub(crate) fn record_result<T>(&self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &done {
            if error.is_full() {
                self.set(Health::DiskFull);
            } else if error.is_unavailable() {
                self.set(Health::Unavailable);
            }
        }
        done
    }

    /// Record the result of a commit.
    pub(crate) fn record_commit<T>(&self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        if done.is_ok() {
            self.set(Health::Writable);
        }
        self.record_result(done)
    }

    /// Result of the last write.
    pub(crate) fn health(&self) -> Health {
        *self.0.borrow()
    }

    /// Follow the changes of the health.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Health> {
        self.0.subscribe()
    }

    fn set(&self, health: Health) {
        self.0.send_if_modified(|known| std::mem::replace(known, health) != health);
    }
}
