//! The journal: what was promised is written down before the promise leaves the house, and fed to the database afterwards.
//!
//! Segments `<data>/journal/NNNNNNNNNN.log` are appended to with one `write(2)` per batch. A [`Feeder`] hands the same records to the
//! database, coalesced by key, and deletes segments of which nothing is missing there. While the database fails, segments are rewritten
//! without what is outdated (`….base.log` takes the place of everything numbered up to its own), so that they do not grow without end. Of what
//! waits memory holds a bounded part; the rest is read from the segments again once the database has taken that.

mod feeder;
mod format;
mod pending;
mod segment;
mod sync;
mod v1;

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base::Timestamp;
use model::journal::Record;
use model::voicemail::Fact;
use store::Remembered;
use switch::{Input, OpenCall};
use tokio::sync::{mpsc, oneshot};

pub use feeder::{Fed, Feeder, Ledger, Rhythm};
pub use pending::{Due, Pending};
use segment::Segments;
use sync::Syncer;

use crate::limits::CALLS_WAITING;

/// Records that were written, and the segment that they are in.
#[derive(Debug)]
struct Written {
    segment: u64,
    records: Vec<Record>,
    /// They can be read there again. A disk that fails leaves them in memory only.
    on_disk: bool,
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
    /// For who does what the journal says of voicemail.
    pub done: VoicemailDone,
}

/// Tells the feeder that a fact of voicemail is done, so that the journal may forget it. Keep it as long as there may be facts.
#[derive(Clone, Debug)]
pub struct VoicemailDone(mpsc::UnboundedSender<Fact>);

impl VoicemailDone {
    /// This one is.
    pub fn tell(&self, fact: Fact) {
        // Where the feeder is gone, the next start finds that it is done.
        self.0.send(fact).ok();
    }
}

impl Journal {
    /// Read what is there and begin a new segment of at most `rotate_at` bytes.
    pub fn open(dir: &Path, rotate_at: u64) -> io::Result<Opened> {
        let segments = Segments::new(dir)?;
        let (mut pending, mut faults) = (Pending::default(), Vec::new());
        // Written last before this start: where no record says when the process lived, its file does.
        pending.alive_by_file(segments.last_written().map(timestamp));
        let found = segments.settle()?;
        let mut behind = None;
        for (number, path) in &found {
            let read = segment::read(path)?;
            segments.keep(&read.unknown)?;
            faults.extend(read.faults.into_iter().map(|fault| format!("{}: {fault}", path.display())));
            for record in read.records {
                pending.apply(*number, record);
            }
            // More than memory shall hold: for the exchange it is enough to know which calls are over.
            if pending.len().0 > CALLS_WAITING {
                behind = found.first().map(|(first, _)| *first);
                pending.forget_details();
            }
        }
        let number = found.iter().map(|(number, _)| *number).max().unwrap_or(0) + 1;
        let file = Arc::new(segments.create(number)?);
        let kept = take_back_kept(&segments, &file, number, &mut pending)?;
        faults.extend(kept);
        let (feed, written) = mpsc::unbounded_channel();
        let (until, writer) = oneshot::channel();
        let syncer = Syncer::start();
        let (done, told) = mpsc::unbounded_channel();
        let known = if behind.is_some() { pending.only_facts() } else { pending.clone() };
        let feeder =
            Feeder::new(segments.clone(), written, writer, told, known, behind, number, syncer.clone());
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
        Ok(Opened { journal, feeder, pending, faults, done: VoicemailDone(done) })
    }

    /// Write down a batch with one system call. A disk that fails is reported, and the database still gets the records.
    pub fn append(&mut self, records: Vec<Record>) {
        self.buffer.clear();
        for record in &records {
            format::encode(record, &mut self.buffer);
        }
        let written = self.write();
        let on_disk = written.is_ok();
        match written {
            Ok(()) => self.failing = false,
            Err(error) if self.failing => tracing::debug!(%error, "the journal cannot be written"),
            Err(error) => {
                self.failing = true;
                tracing::error!(%error, "the journal cannot be written: a crash now would forget what is answered");
            }
        }
        // The feeder ends only after this end is gone.
        self.feed.send(Written { segment: self.number, records, on_disk }).ok();
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

/// Frames that an earlier start could not read and that this one can: facts that are still true are put into the new segment. Where a phone
/// was then is not.
fn take_back_kept(
    segments: &Segments,
    mut file: &File,
    number: u64,
    pending: &mut Pending,
) -> io::Result<Option<String>> {
    let kept = segments.kept()?;
    if !kept.records.is_empty() {
        let mut buffer = Vec::new();
        for record in kept.records {
            if matches!(record, Record::Bound(_) | Record::Unbound { .. } | Record::Alive { .. }) {
                continue;
            }
            format::encode(&record, &mut buffer);
            pending.apply(number, record);
        }
        file.write_all(&buffer)?;
        file.sync_data()?;
        segments.write_kept(&kept.unknown)?;
    }
    let left = kept.unknown.len();
    Ok((left > 0).then(|| format!("{left} records of a later version are kept for it")))
}

fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::from_micros(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as i64)
}

/// What the exchange is told at start: the database's memory, corrected by the journal's.
pub fn restore(remembered: Remembered, pending: &Pending) -> Input {
    let (outside, alive) = (pending.outside(&remembered), pending.alive());
    let (bindings, calls) = pending.correct(remembered);
    Input::Restore {
        bindings,
        outside,
        alive,
        calls: calls.into_iter().map(|(record, legs)| OpenCall { record, legs }).collect(),
    }
}

/// Where the journal of a data directory lies.
pub fn dir(data: &Path) -> PathBuf {
    data.join("journal")
}
