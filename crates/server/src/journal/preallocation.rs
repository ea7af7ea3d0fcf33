//! Preallocation of disk space for the journal, so that no other program can use it on a disk that fills up.

use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use rustix::io::Errno;
use switch::JournalRoom;

use crate::limits::{JOURNAL_AHEAD, JOURNAL_RESERVED, JOURNAL_STEP};

/// Interval between allocation attempts on a full disk.
const RETRY: Duration = Duration::from_millis(500);

/// The preallocated space of the current segment.
#[derive(Debug, Default)]
pub(super) struct Preallocation {
    /// Offset up to which blocks are allocated.
    allocated: u64,
    /// Since when the disk is full.
    full_since: Option<Instant>,
    /// When the disk was last checked, and its free bytes at that time.
    checked_at: Option<Instant>,
    free: u64,
    /// The file system cannot preallocate: its free space is used as an estimate.
    estimated: bool,
}

impl Preallocation {
    /// A new segment: nothing of it is allocated.
    pub(super) fn begin_segment(&mut self) {
        self.allocated = 0;
    }

    /// The segment was truncated to `len`, which releases the blocks behind it.
    pub(super) fn truncated(&mut self, len: u64) {
        self.allocated = self.allocated.min(len);
    }

    /// A write found the disk full.
    pub(super) fn mark_full(&mut self) {
        self.full_since.get_or_insert_with(Instant::now);
        self.free = 0;
    }

    /// Whether the disk is full, as far as known.
    pub(super) fn is_low(&self) -> bool {
        self.full_since.is_some()
    }

    /// Whether the disk should be checked again.
    pub(super) fn is_due(&self) -> bool {
        self.checked_at.is_none_or(|checked_at| checked_at.elapsed() >= RETRY)
    }

    /// Allocate the next bytes and check the free space; some must be left for other programs too.
    pub(super) fn check(&mut self, file: &File, written: u64) {
        let enough = !self.estimated && self.allocated >= written + JOURNAL_AHEAD - JOURNAL_STEP;
        let from = if self.estimated { written } else { self.allocated.max(written) };
        let done = if enough { Ok(()) } else { self.allocate(file, from, written + JOURNAL_AHEAD) };
        self.checked_at = Some(Instant::now());
        self.free = free(file).unwrap_or(u64::MAX);
        let full = done.as_ref().is_err_and(is_full) || self.free < JOURNAL_STEP;
        if !full {
            self.full_since = None;
        } else if self.full_since.is_none() {
            self.full_since = self.checked_at;
        }
        if let Err(error) = done.as_ref()
            && !is_full(error)
        {
            // Errors other than a full disk show at the write itself, or do it no harm.
            tracing::debug!(%error, "preallocation for the journal failed");
        }
    }

    /// Check if too little is allocated ahead of `written`; on a full disk only every [`RETRY`].
    pub(super) fn ensure(&mut self, file: &File, written: u64) {
        if self.allocated < written + JOURNAL_AHEAD - JOURNAL_STEP
            && (self.full_since.is_none() || self.is_due())
        {
            self.check(file, written);
        }
    }

    fn allocate(&mut self, file: &File, from: u64, to: u64) -> io::Result<()> {
        if from >= to {
            return Ok(());
        }
        if self.estimated {
            return self.estimate(file, from, to);
        }
        match fallocate(file, FallocateFlags::KEEP_SIZE, from, to - from) {
            Ok(()) => {
                self.allocated = to;
                Ok(())
            }
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                self.estimated = true;
                self.estimate(file, from, to)
            }
            Err(Errno::INTR) => Ok(()), // tried again at the next record
            Err(error) => Err(error.into()),
        }
    }

    /// Without preallocation the free space counts as ours; it is checked again after each step.
    fn estimate(&mut self, file: &File, from: u64, to: u64) -> io::Result<()> {
        self.allocated = from + free(file)?.min(to.saturating_sub(from));
        if self.allocated < to { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    /// The space left after offset `written`.
    pub(super) fn state(&self, written: u64) -> JournalRoom {
        // An estimate already includes the free space.
        let extra = if self.estimated { 0 } else { self.free };
        match self.full_since {
            None => JournalRoom::Ample,
            Some(_) if self.allocated.saturating_add(extra) >= written + JOURNAL_RESERVED => JournalRoom::Low,
            Some(_) => JournalRoom::Spent,
        }
    }
}

fn free(file: &File) -> io::Result<u64> {
    let space = fstatvfs(file)?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

/// Whether a write failed because the disk or quota is full.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
