//! Puts what was written on the disk, at least once a second, off everybody's path.

use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::Thread;
use std::time::Duration;

use crate::supervisor::catch;

/// Half a second between two flushes: a power cut costs less than one second.
const REST: Duration = Duration::from_millis(500);

/// See the module. Clones share the thread, which ends with the last of them.
#[derive(Clone, Debug)]
pub(super) struct Syncer {
    dirty: Arc<Mutex<Vec<Arc<File>>>>,
    thread: Arc<Waker>,
}

#[derive(Debug)]
struct Waker(Option<Thread>);

impl Drop for Waker {
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
                // A panic is in the log; what was written meanwhile is put on the disk by the next round.
                while catch(|| sync(&shared)).is_err() {
                    std::thread::sleep(REST);
                }
            });
        let thread = match thread {
            Ok(handle) => Some(handle.thread().clone()),
            Err(error) => {
                tracing::error!(%error, "the journal is written, but not put on the disk");
                None
            }
        };
        Syncer { dirty, thread: Arc::new(Waker(thread)) }
    }

    /// This file was written to.
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

/// Until the last who writes is gone.
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
                tracing::error!(%error, "the journal cannot be put on the disk");
            }
        }
        std::thread::sleep(REST);
    }
}
