//! The journal: what was promised is written down before the promise leaves the house, and fed to the database afterwards.
//!
//! Segments `<data>/journal/NNNNNNNNNN.log` are appended to with one `write(2)` per batch. A [`Feeder`] hands the same records to the
//! database, coalesced by key, and deletes segments of which nothing is missing there. While the database fails, segments are rewritten
//! without what is outdated (`….base.log` takes the place of everything numbered up to its own), so that they do not grow without end.

mod feeder;
mod pending;
mod segment;
mod sync;

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::journal::Record;
use store::Remembered;
use switch::{Input, OpenCall};
use tokio::sync::{mpsc, oneshot};

pub use feeder::{Fed, Feeder, Ledger, Rhythm};
pub use pending::{Due, Pending};
use segment::Segments;
use sync::Syncer;

/// Records that were written, and the segment that they are in.
#[derive(Debug)]
struct Written {
    segment: u64,
    records: Vec<Record>,
}

/// The writer's end, owned by the exchange's loop.
#[derive(Debug)]
pub struct Journal {
    segments: Segments,
    number: u64,
    file: Arc<File>,
    bytes: u64,
    rotate_at: u64,
    buffer: Vec<u8>,
    feed: mpsc::UnboundedSender<Written>,
    /// Tells the feeder by its end that nothing follows.
    _writer: oneshot::Sender<std::convert::Infallible>,
    syncer: Syncer,
    failing: bool,
}

/// What was found when the journal was opened.
#[derive(Debug)]
pub struct Opened {
    /// For the exchange.
    pub journal: Journal,
    /// For the database; run it as a task.
    pub feeder: Feeder,
    /// What the segments say.
    pub pending: Pending,
    /// Faults that were skipped, for the log.
    pub faults: Vec<String>,
}

impl Journal {
    /// Read what is there and begin a new segment of at most `rotate_at` bytes.
    pub fn open(dir: &Path, rotate_at: u64) -> io::Result<Opened> {
        let segments = Segments::new(dir)?;
        let (mut pending, mut faults) = (Pending::default(), Vec::new());
        let found = segments.settle()?;
        for (number, path) in &found {
            let read = segment::read(path)?;
            faults.extend(read.faults.into_iter().map(|fault| format!("{}: {fault}", path.display())));
            for record in read.records {
                pending.apply(*number, record);
            }
        }
        let number = found.iter().map(|(number, _)| *number).max().unwrap_or(0) + 1;
        let file = Arc::new(segments.create(number)?);
        let (feed, written) = mpsc::unbounded_channel();
        let (until, writer) = oneshot::channel();
        let syncer = Syncer::start();
        let feeder = Feeder::new(segments.clone(), written, writer, pending.clone(), number, syncer.clone());
        let journal = Journal {
            segments,
            number,
            file,
            bytes: 0,
            rotate_at,
            buffer: Vec::new(),
            feed,
            _writer: until,
            syncer,
            failing: false,
        };
        Ok(Opened { journal, feeder, pending, faults })
    }

    /// Write down a batch with one system call. A disk that fails is reported, and the database still gets the records.
    pub fn append(&mut self, records: Vec<Record>) {
        self.buffer.clear();
        for record in &records {
            segment::encode(record, &mut self.buffer);
        }
        match self.write() {
            Ok(()) => self.failing = false,
            Err(error) if self.failing => tracing::debug!(%error, "the journal cannot be written"),
            Err(error) => {
                self.failing = true;
                tracing::error!(%error, "the journal cannot be written: a crash now would forget what is answered");
            }
        }
        // The feeder ends only after this end is gone.
        self.feed.send(Written { segment: self.number, records }).ok();
    }

    /// Put everything on the disk, now.
    pub fn flush(&mut self) {
        if let Err(error) = self.file.sync_data() {
            tracing::error!(%error, "the journal cannot be flushed");
        }
    }

    fn write(&mut self) -> io::Result<()> {
        if self.bytes >= self.rotate_at {
            let next = self.segments.create(self.number + 1)?;
            self.number += 1;
            self.bytes = 0;
            self.file = Arc::new(next);
        }
        (&*self.file).write_all(&self.buffer)?;
        self.bytes += self.buffer.len() as u64;
        self.syncer.dirty(&self.file);
        Ok(())
    }
}

/// What the exchange is told at start: the database's memory, corrected by the journal's.
pub fn restore(remembered: Remembered, pending: &Pending) -> Input {
    let outside = pending.outside(&remembered);
    let (bindings, calls) = pending.correct(remembered);
    Input::Restore {
        bindings,
        outside,
        calls: calls.into_iter().map(|(record, legs)| OpenCall { record, legs }).collect(),
    }
}

/// Where the journal of a data directory lies.
pub fn dir(data: &Path) -> PathBuf {
    data.join("journal")
}
