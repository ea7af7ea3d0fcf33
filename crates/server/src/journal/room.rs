//! Room for the journal on a disk that fills up: blocks are allocated ahead of what is written, so that nobody else can take them.

use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use rustix::io::Errno;
use switch::JournalRoom;

use crate::limits::{JOURNAL_AHEAD, JOURNAL_LAST, JOURNAL_STEP};

/// Between two attempts to allocate on a disk that was full.
const RETRY: Duration = Duration::from_millis(500);

/// What is allocated of the segment that is being written.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Blocks up to here are ours.
    allocated: u64,
    /// When the disk gave no more.
    full_since: Option<Instant>,
    /// When it was last looked at, and what was free then besides.
    looked: Option<Instant>,
    free: u64,
    /// A file system that cannot allocate ahead: its free space is looked at instead.
    estimated: bool,
}

impl Room {
    /// Another segment begins: nothing of it is allocated.
    pub(super) fn begin_segment(&mut self) {
        self.allocated = 0;
    }

    /// The segment was cut to `len`, which gives back what lay behind.
    pub(super) fn was_cut(&mut self, len: u64) {
        self.allocated = self.allocated.min(len);
    }

    /// The disk was full at a write.
    pub(super) fn is_full_now(&mut self) {
        self.full_since.get_or_insert_with(Instant::now);
        self.free = 0;
    }

    /// Whether the disk is full as far as is known.
    pub(super) fn is_low(&self) -> bool {
        self.full_since.is_some()
    }

    /// Whether it is time to look again.
    pub(super) fn is_due(&self) -> bool {
        self.looked.is_none_or(|looked| looked.elapsed() >= RETRY)
    }

    /// Look at the disk: what is set aside is to be there, and something is to be left for everybody else.
    pub(super) fn look(&mut self, file: &File, written: u64) {
        let enough = !self.estimated && self.allocated >= written + JOURNAL_AHEAD - JOURNAL_STEP;
        let from = if self.estimated { written } else { self.allocated.max(written) };
        let done = if enough { Ok(()) } else { self.allocate(file, from, written + JOURNAL_AHEAD) };
        self.looked = Some(Instant::now());
        self.free = free(file).unwrap_or(u64::MAX);
        let full = done.as_ref().is_err_and(is_full) || self.free < JOURNAL_STEP;
        if !full {
            self.full_since = None;
        } else if self.full_since.is_none() {
            self.full_since = self.looked;
        }
        if let Err(error) = done.as_ref()
            && !is_full(error)
        {
            // Anything else than a full disk is found by the write itself, or does it no harm.
            tracing::debug!(%error, "no room can be allocated for the journal");
        }
    }

    /// Look where less than is wanted is allocated ahead of `written`; on a full disk only now and then.
    pub(super) fn ensure(&mut self, file: &File, written: u64) {
        if self.allocated < written + JOURNAL_AHEAD - JOURNAL_STEP
            && (self.full_since.is_none() || self.is_due())
        {
            self.look(file, written);
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

    /// Where nothing can be allocated, what is free now counts as ours; it is looked at again after each step.
    fn estimate(&mut self, file: &File, from: u64, to: u64) -> io::Result<()> {
        self.allocated = from + free(file)?.min(to.saturating_sub(from));
        if self.allocated < to { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    /// How much is left after `written`.
    pub(super) fn left(&self, written: u64) -> JournalRoom {
        // Where nothing was allocated, what is free is counted already.
        let besides = if self.estimated { 0 } else { self.free };
        match self.full_since {
            None => JournalRoom::Ample,
            Some(_) if self.allocated.saturating_add(besides) >= written + JOURNAL_LAST => JournalRoom::Low,
            Some(_) => JournalRoom::Spent,
        }
    }
}

fn free(file: &File) -> io::Result<u64> {
    let space = fstatvfs(file)?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

/// Whether a write failed for want of room.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
