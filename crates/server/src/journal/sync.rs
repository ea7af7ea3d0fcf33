//! Flushes the journal to the disk (fdatasync) at least once a second, in a thread of its own.

use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::Thread;
use std::time::Duration;

use crate::supervisor::catch;

/// Interval between flushes: a power failure loses less than a second.
const INTERVAL: Duration = Duration::from_millis(500);

/// Handle of the sync thread. The thread ends with the last clone.
#[derive(Clone, Debug)]
pub(super) struct Syncer {
    dirty: Arc<Mutex<Vec<Arc<File>>>>,
    thread: Arc<SyncThread>,
}

#[derive(Debug)]
struct SyncThread(Option<Thread>);

impl Drop for SyncThread {
    fn drop(&mut self) {
        if let Some(thread) = &self.0 {
            thread.unpark();
        }
    }
}

impl Syncer {
    pub(super) fn start() -> Syncer {
        let dirty: Arc<Mutex<Vec<Arc<File>>>> = Arc::default();
        let shared = Arc::downgrade(&dirty);
        let thread =
            std::thread::Builder::new().name("journal-sync".into()).stack_size(64 * 1024).spawn(move || {
                // The panic is in the log; the next iteration flushes what was written meanwhile.
                while catch(|| sync(&shared)).is_err() {
                    std::thread::sleep(INTERVAL);
                }
            });
        let thread = match thread {
            Ok(handle) => Some(handle.thread().clone()),
            Err(error) => {
                tracing::error!(%error, "the journal's sync thread cannot be started: a power failure may lose more than a second");
                None
            }
        };
        Syncer { dirty, thread: Arc::new(SyncThread(thread)) }
    }

    /// Mark a file as written.
    pub(super) fn dirty(&self, file: &Arc<File>) {
        let mut dirty = self.dirty.lock().unwrap_or_else(PoisonError::into_inner);
        if dirty.last().is_some_and(|last| Arc::ptr_eq(last, file)) {
            return;
        }
        dirty.push(Arc::clone(file));
        drop(dirty);
        if let Some(thread) = &self.thread.0 {
            thread.unpark();
        }
    }
}

/// Flush files until the last [`Syncer`] is dropped.
fn sync(shared: &Weak<Mutex<Vec<Arc<File>>>>) {
    while let Some(dirty) = shared.upgrade() {
        let files = std::mem::take(&mut *dirty.lock().unwrap_or_else(PoisonError::into_inner));
        drop(dirty);
        if files.is_empty() {
            std::thread::park();
            continue;
        }
        for file in files {
            if let Err(error) = file.sync_data() {
                tracing::error!(%error, "the journal cannot be flushed to the disk");
            }
        }
        std::thread::sleep(INTERVAL);
    }
}
