//! The journal (write-ahead log): records are written before the messages that depend on them are sent, and fed to the database afterwards.
//!
//! Segments `<data>/journal/NNNNNNNNNN.log` are appended to with one `write(2)` per batch. A [`Feeder`] writes the same records to the database,
//! coalesced by key, and deletes segments that the database has completely. While the database is down, segments are compacted (`….base.log`
//! replaces every segment up to its number), so that they do not grow without bound. A bounded part of the waiting records is held in memory;
//! the rest is read from the segments again after the database has taken that part.
//!
//! A full disk is prepared for: the next megabytes of the segment are allocated before they are needed ([`preallocation`]). While the disk is full,
//! records go there; SIP ladders are left out, and no new segment begins. When nearly all of it is used, the switch is told
//! ([`JournalRoom::Spent`]) and accepts nothing new: the rest is reserved for the ends of calls that are up.

mod feeder;
mod format;
mod pending;
mod preallocation;
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
use store::RuntimeState;
use switch::{Input, JournalRoom, OpenCall};
use tokio::sync::{mpsc, oneshot};

pub use feeder::{FeedIntervals, FeedResult, Feeder, RecordSink};
pub use pending::{Due, Pending};
use preallocation::{Preallocation, is_full};
use segment::Segments;
use sync::Syncer;

use crate::limits::{CALLS_WAITING, JOURNAL_BUFFER};

/// Records that were written, and their segment.
#[derive(Debug)]
struct Written {
    segment: u64,
    records: Vec<Record>,
    /// Whether they can be read from the segment again; after a write error they are in memory only.
    on_disk: bool,
}

/// The writing end, owned by the event loop.
#[derive(Debug)]
pub struct Journal {
    segments: Segments,
    number: u64,
    file: Arc<File>,
    bytes: u64,
    rotate_at: u64,
    /// Encoded records to be written: the current batch, after what an earlier write could not.
    buffer: Vec<u8>,
    preallocation: Preallocation,
    /// The free space last reported to the switch.
    reported_room: JournalRoom,
    feed: mpsc::UnboundedSender<Written>,
    /// Dropped with the journal, which tells the feeder that no record follows.
    _writer: oneshot::Sender<std::convert::Infallible>,
    syncer: Syncer,
    failing: bool,
}

/// Result of opening the journal.
#[derive(Debug)]
pub struct Opened {
    /// The writing end, for the event loop.
    pub journal: Journal,
    /// The feeder of the database, to be run as a task.
    pub feeder: Feeder,
    /// The records of the segments.
    pub pending: Pending,
    /// Damage that was skipped, for the log.
    pub faults: Vec<String>,
    /// For the task that executes voicemail facts.
    pub done: VoicemailDone,
}

/// Reports executed voicemail facts to the feeder, so that the journal can drop them. Keep it as long as facts may follow.
#[derive(Clone, Debug)]
pub struct VoicemailDone(mpsc::UnboundedSender<Fact>);

impl VoicemailDone {
    /// Report that `fact` is executed.
    pub fn mark(&self, fact: Fact) {
        // If the feeder has ended, the next start finds that the fact is executed.
        self.0.send(fact).ok();
    }
}

impl Journal {
    /// Read the existing segments and start a new one of at most `rotate_at` bytes.
    pub fn open(dir: &Path, rotate_at: u64) -> io::Result<Opened> {
        let segments = Segments::new(dir)?;
        let (mut pending, mut faults) = (Pending::default(), Vec::new());
        // If no record says when the previous run was alive, the modification time of its segment does.
        pending.alive_by_file(segments.last_written().map(timestamp));
        let found = segments.remove_replaced()?;
        let mut reread_from = None;
        for (number, path) in &found {
            segment::trim(path);
            let read = segment::read(path)?;
            segments.add_unknown(&read.unknown)?;
            faults.extend(read.faults.into_iter().map(|fault| format!("{}: {fault}", path.display())));
            for record in read.records {
                pending.apply(*number, record);
            }
            // Over the limit of memory: the switch only needs to know which calls have ended.
            if pending.len().0 > CALLS_WAITING {
                reread_from = found.first().map(|(first, _)| *first);
                pending.drop_details();
            }
        }
        let number = found.iter().map(|(number, _)| *number).max().unwrap_or(0) + 1;
        let file = Arc::new(segments.create(number)?);
        let recovered = recover_unknown_frames(&segments, &file, number, &mut pending)?;
        faults.extend(recovered);
        let (feed, written) = mpsc::unbounded_channel();
        let (until, writer) = oneshot::channel();
        let syncer = Syncer::start();
        let (done, done_facts) = mpsc::unbounded_channel();
        let known = if reread_from.is_some() { pending.only_facts() } else { pending.clone() };
        let feeder = Feeder::new(
            segments.clone(),
            written,
            writer,
            done_facts,
            known,
            reread_from,
            number,
            syncer.clone(),
        );
        let mut preallocation = Preallocation::default();
        preallocation.check(&file, 0);
        let journal = Journal {
            segments,
            number,
            file,
            bytes: 0,
            rotate_at,
            buffer: Vec::new(),
            preallocation,
            reported_room: JournalRoom::Ample,
            feed,
            _writer: until,
            syncer,
            failing: false,
        };
        Ok(Opened { journal, feeder, pending, faults, done: VoicemailDone(done) })
    }

    /// Append a batch with one system call. A write error is logged; the unwritten bytes wait for the next attempt, and the feeder gets the records
    /// in any case.
    pub fn append(&mut self, records: Vec<Record>) {
        let mut omitted = false;
        for record in &records {
            // A call's record is more important than its ladder.
            if self.buffer.len() >= JOURNAL_BUFFER
                || self.preallocation.is_low() && matches!(record, Record::Ladder { .. })
            {
                omitted = true;
                continue;
            }
            format::encode(record, &mut self.buffer);
        }
        self.write();
        let on_disk = self.buffer.is_empty() && !omitted;
        // The feeder outlives this sender.
        self.feed.send(Written { segment: self.number, records, on_disk }).ok();
    }

    /// The free space, if it has changed since the last call. A full disk is checked again here.
    pub fn room_changed(&mut self) -> Option<JournalRoom> {
        if self.preallocation.is_due() {
            self.write();
            self.preallocation.check(&self.file, self.bytes);
        }
        // While earlier records are unwritten, nothing new may be accepted.
        let room =
            if self.buffer.is_empty() { self.preallocation.state(self.bytes) } else { JournalRoom::Spent };
        (std::mem::replace(&mut self.reported_room, room) != room).then(|| {
            match room {
                JournalRoom::Ample => {
                    tracing::info!("the disk has free space again: the journal is written normally");
                }
                JournalRoom::Low => {
                    tracing::error!("the disk is full: the journal uses its preallocated space");
                }
                JournalRoom::Spent => {
                    tracing::error!(
                        "the journal has no space left: new calls and registrations are refused until it has"
                    );
                }
            }
            room
        })
    }

    /// Whether the disk was full when last checked: [`Journal::room_changed`] must be called again soon.
    pub fn is_low(&self) -> bool {
        self.preallocation.is_low() || !self.buffer.is_empty()
    }

    /// Flush everything to the disk (fdatasync).
    pub fn flush(&mut self) {
        if let Err(error) = self.file.sync_data() {
            tracing::error!(%error, "the journal cannot be flushed");
        }
    }

    fn write(&mut self) {
        if self.bytes >= self.rotate_at && !self.preallocation.is_low() {
            self.rotate();
        }
        match self.try_write() {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the journal can be written again");
                }
                self.preallocation.ensure(&self.file, self.bytes);
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(%error, "the journal cannot be written: a crash now would lose registrations and calls");
                }
                self.preallocation.mark_full();
            }
        }
    }

    fn try_write(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        if let Err(error) = (&*self.file).write_all(&self.buffer) {
            // A partial record must not precede the next one. If it cannot be truncated, the reader skips it.
            if self.file.set_len(self.bytes).is_ok() {
                self.preallocation.truncated(self.bytes);
            } else if let Ok(there) = self.file.metadata() {
                self.bytes = there.len();
            }
            return Err(error);
        }
        self.bytes += self.buffer.len() as u64;
        self.buffer.clear();
        self.syncer.dirty(&self.file);
        Ok(())
    }

    /// Start the next segment; if that fails, the current one continues.
    fn rotate(&mut self) {
        let next = match self.segments.create(self.number + 1) {
            Ok(next) => next,
            Err(error) => {
                if is_full(&error) {
                    self.preallocation.mark_full();
                }
                tracing::error!(%error, "a new journal segment cannot be created; the current one continues");
                return;
            }
        };
        // Release the preallocated space that was not needed.
        if let Err(error) = self.file.set_len(self.bytes) {
            tracing::warn!(%error, "the unused preallocated space of a journal segment cannot be released");
        }
        self.number += 1;
        self.bytes = 0;
        self.file = Arc::new(next);
        self.preallocation.begin_segment();
    }
}

/// Frames that an earlier start could not decode and this version can: facts that are still valid are copied to the new segment. Registrations
/// are outdated and skipped.
fn recover_unknown_frames(
    segments: &Segments,
    mut file: &File,
    number: u64,
    pending: &mut Pending,
) -> io::Result<Option<String>> {
    let frames = segments.read_unknown()?;
    if !frames.records.is_empty() {
        let mut buffer = Vec::new();
        for record in frames.records {
            if matches!(record, Record::Bound(_) | Record::Unbound { .. } | Record::Alive { .. }) {
                continue;
            }
            format::encode(&record, &mut buffer);
            pending.apply(number, record);
        }
        file.write_all(&buffer)?;
        file.sync_data()?;
        segments.write_unknown(&frames.unknown)?;
    }
    let left = frames.unknown.len();
    Ok((left > 0).then(|| format!("{left} records of a later version are kept for that version")))
}

fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::from_micros(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as i64)
}

/// The state to restore at start: the database's, corrected by the journal.
pub fn restore(stored: RuntimeState, pending: &Pending) -> Input {
    let (outside, alive) = (pending.outside(&stored), pending.alive());
    let (bindings, calls) = pending.merge(stored);
    Input::Restore {
        bindings,
        outside,
        alive,
        calls: calls.into_iter().map(|(record, legs)| OpenCall { record, legs }).collect(),
    }
}

/// The journal directory of a data directory.
pub fn dir(data: &Path) -> PathBuf {
    data.join("journal")
}
