//! The journal: what was promised is written down before the promise leaves the house, and fed to the database afterwards.
//!
//! Segments `<data>/journal/NNNNNNNNNN.log` are appended to with one `write(2)` per batch. A [`Feeder`] hands the same records to the
//! database, coalesced by key, and deletes segments of which nothing is missing there. While the database fails, segments are rewritten
//! without what is outdated (`….base.log` takes the place of everything numbered up to its own), so that they do not grow without end. Of what
//! waits memory holds a bounded part; the rest is read from the segments again once the database has taken that.
//!
//! A full disk is prepared for: the next megabytes of the segment are allocated before they are needed ([`room`]).
//! While the disk is full, records go there; SIP ladders stay out, and no new segment begins. When nearly all of it is used, the exchange is
//! told ([`JournalRoom::Spent`]) and takes on nothing new: what is left is for the ends of calls that are up.

mod feeder;
mod format;
mod pending;
mod room;
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
use room::{Room, is_full};
use segment::Segments;
use sync::Syncer;

use crate::limits::{CALLS_WAITING, JOURNAL_OWED};

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
    /// What is to be written: a batch, and before it what an earlier write could not.
    buffer: Vec<u8>,
    room: Room,
    /// What the exchange knows of the room.
    told: JournalRoom,
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
            segment::trim(path);
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
        let mut room = Room::default();
        room.look(&file, 0);
        let journal = Journal {
            segments,
            number,
            file,
            bytes: 0,
            rotate_at,
            buffer: Vec::new(),
            room,
            told: JournalRoom::Ample,
            feed,
            _writer: until,
            syncer,
            failing: false,
        };
        Ok(Opened { journal, feeder, pending, faults, done: VoicemailDone(done) })
    }

    /// Write down a batch with one system call. A disk that fails is reported; what could not be written waits for the next attempt, and the
    /// database gets the records in any case.
    pub fn append(&mut self, records: Vec<Record>) {
        let mut left_out = false;
        for record in &records {
            // Who wants to see the messages of a call does not want them more than the call's record.
            if self.buffer.len() >= JOURNAL_OWED
                || self.room.is_low() && matches!(record, Record::Ladder { .. })
            {
                left_out = true;
                continue;
            }
            format::encode(record, &mut self.buffer);
        }
        self.write();
        let on_disk = self.buffer.is_empty() && !left_out;
        // The feeder ends only after this end is gone.
        self.feed.send(Written { segment: self.number, records, on_disk }).ok();
    }

    /// How much room there is, where that has changed since it was last asked. A disk that was full is looked at again here.
    pub fn room_changed(&mut self) -> Option<JournalRoom> {
        if self.room.is_due() {
            self.write();
            self.room.look(&self.file, self.bytes);
        }
        // Nothing is promised that a write before it could not keep.
        let room = if self.buffer.is_empty() { self.room.left(self.bytes) } else { JournalRoom::Spent };
        (std::mem::replace(&mut self.told, room) != room).then(|| {
            match room {
                JournalRoom::Ample => tracing::info!("the journal has room again"),
                JournalRoom::Low => {
                    tracing::error!("the disk is full: the journal lives on what was set aside for it");
                }
                JournalRoom::Spent => {
                    tracing::error!(
                        "the journal takes nothing more: no new calls and registrations until it does"
                    );
                }
            }
            room
        })
    }

    /// Whether the disk was full when it was last looked at: [`Journal::room_changed`] is to be asked again soon.
    pub fn is_low(&self) -> bool {
        self.room.is_low() || !self.buffer.is_empty()
    }

    /// Put everything on the disk, now.
    pub fn flush(&mut self) {
        if let Err(error) = self.file.sync_data() {
            tracing::error!(%error, "the journal cannot be flushed");
        }
    }

    fn write(&mut self) {
        if self.bytes >= self.rotate_at && !self.room.is_low() {
            self.rotate();
        }
        match self.try_write() {
            Ok(()) => {
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the journal is written again");
                }
                self.room.ensure(&self.file, self.bytes);
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(%error, "the journal cannot be written: a crash now would forget what is answered");
                }
                self.room.is_full_now();
            }
        }
    }

    fn try_write(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        if let Err(error) = (&*self.file).write_all(&self.buffer) {
            // Half a record must not stand before the next one. Where it cannot be cut off, the reader skips it.
            if self.file.set_len(self.bytes).is_ok() {
                self.room.was_cut(self.bytes);
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

    /// Begin the next segment. Where that fails, this one goes on.
    fn rotate(&mut self) {
        let next = match self.segments.create(self.number + 1) {
            Ok(next) => next,
            Err(error) => {
                if is_full(&error) {
                    self.room.is_full_now();
                }
                tracing::error!(%error, "no new journal segment can be made; the one before grows");
                return;
            }
        };
        // What was allocated ahead and not needed.
        if let Err(error) = self.file.set_len(self.bytes) {
            tracing::warn!(%error, "room that a journal segment does not need stays allocated");
        }
        self.number += 1;
        self.bytes = 0;
        self.file = Arc::new(next);
        self.room.begin_segment();
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
pub fn restore(remembered: RuntimeState, pending: &Pending) -> Input {
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
