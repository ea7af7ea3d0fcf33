//! Segments on the disk: how a record is framed, and how what is damaged is read.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use model::journal::Record;

use crate::limits::RECORD_BYTES;

/// Begins every record; the second byte is the version of the format.
const MAGIC: [u8; 2] = [0xCE, 1];
/// Magic, length, CRC-32.
const HEAD: usize = 10;

/// Append `record` to `buffer`. One that is too large (a ladder beyond all measure) is left out.
pub(super) fn encode(record: &Record, buffer: &mut Vec<u8>) {
    let start = buffer.len();
    buffer.extend_from_slice(&MAGIC);
    buffer.extend_from_slice(&[0; HEAD - 2]);
    let full = postcard::to_extend(record, std::mem::take(buffer));
    match full {
        Ok(full) => *buffer = full,
        Err(error) => {
            // Our own types always encode; without the buffer this batch is lost to the journal only.
            tracing::error!(%error, "a record cannot be encoded");
            return;
        }
    }
    let payload = &buffer[start + HEAD..];
    if payload.len() > RECORD_BYTES {
        tracing::error!(bytes = payload.len(), "a record is too large for the journal");
        buffer.truncate(start);
        return;
    }
    let (len, crc) = (payload.len() as u32, crc32fast::hash(payload));
    buffer[start + 2..start + 6].copy_from_slice(&len.to_le_bytes());
    buffer[start + 6..start + HEAD].copy_from_slice(&crc.to_le_bytes());
}

/// What a segment holds.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) records: Vec<Record>,
    pub(super) faults: Vec<String>,
}

/// Read a segment. A torn tail is what a crash leaves and is cut silently; damage before intact records is reported and skipped.
pub(super) fn read(path: &Path) -> io::Result<Read> {
    let bytes = fs::read(path)?;
    let mut read = Read::default();
    let (mut at, mut damaged) = (0, None);
    while at < bytes.len() {
        let Some(payload) = payload(&bytes[at..]) else {
            damaged.get_or_insert(at);
            at += 1;
            continue;
        };
        if let Some(from) = damaged.take() {
            read.faults.push(format!("{} damaged bytes at offset {from} are skipped", at - from));
        }
        match postcard::from_bytes(payload) {
            Ok(record) => read.records.push(record),
            Err(error) => read.faults.push(format!("the record at offset {at} is not understood: {error}")),
        }
        at += HEAD + payload.len();
    }
    Ok(read)
}

/// The payload of the record that begins here, where an intact one does.
fn payload(bytes: &[u8]) -> Option<&[u8]> {
    if bytes.get(..2)? != MAGIC {
        return None;
    }
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (len, crc) = (word(2)? as usize, word(6)?);
    if len == 0 || len > RECORD_BYTES {
        return None;
    }
    let payload = bytes.get(HEAD..HEAD + len)?;
    (crc32fast::hash(payload) == crc).then_some(payload)
}

/// Give back what was allocated behind a segment's end; a crash has left it.
pub(super) fn trim(path: &Path) {
    let trimmed =
        OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(file.metadata()?.len()));
    if let Err(error) = trimmed {
        tracing::warn!(%error, path = %path.display(), "room behind a journal segment stays allocated");
    }
}

/// The directory of segments.
#[derive(Clone, Debug)]
pub(super) struct Segments {
    dir: PathBuf,
}

impl Segments {
    pub(super) fn new(dir: &Path) -> io::Result<Segments> {
        fs::create_dir_all(dir)?;
        Ok(Segments { dir: dir.to_path_buf() })
    }

    /// Begin a segment.
    pub(super) fn create(&self, number: u64) -> io::Result<File> {
        OpenOptions::new().create(true).append(true).open(self.dir.join(format!("{number:010}.log")))
    }

    /// Take away what a base has replaced, and name the rest in the order in which it must be read.
    pub(super) fn settle(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        let mut found = self.list()?;
        let base = found.iter().filter(|segment| segment.base).map(|segment| segment.number).max();
        found.retain(|segment| {
            let outdated =
                base.is_some_and(|base| segment.number < base || segment.number == base && !segment.base);
            if outdated {
                remove(&segment.path);
            }
            !outdated
        });
        found.sort_by_key(|segment| segment.number);
        Ok(found.into_iter().map(|segment| (segment.number, segment.path)).collect())
    }

    /// Delete every segment below `floor`.
    pub(super) fn delete_below(&self, floor: u64) -> io::Result<()> {
        let mut found = self.list()?;
        // Oldest first: a crash in between must not leave an older word than the last one.
        found.sort_by_key(|segment| segment.number);
        for segment in found.iter().filter(|segment| segment.number < floor) {
            remove(&segment.path);
        }
        Ok(())
    }

    /// Put `records` in the place of all segments up to `number`.
    pub(super) fn replace(&self, number: u64, records: &[Record]) -> io::Result<u64> {
        let (draft, path) =
            (self.dir.join(format!("{number:010}.draft")), self.dir.join(format!("{number:010}.base.log")));
        let mut buffer = Vec::new();
        for record in records {
            encode(record, &mut buffer);
        }
        let written = fs::write(&draft, &buffer)
            .and_then(|()| File::open(&draft)?.sync_all())
            .and_then(|()| fs::rename(&draft, &path));
        if let Err(error) = written {
            // On a full disk half a draft would take the room that others need.
            fs::remove_file(&draft).ok();
            return Err(error);
        }
        File::open(&self.dir)?.sync_all()?;
        self.settle()?;
        Ok(buffer.len() as u64)
    }

    /// Bytes of the segments below `current`.
    pub(super) fn bytes_below(&self, current: u64) -> u64 {
        let found = self.list().unwrap_or_default();
        let closed = found.iter().filter(|segment| segment.number < current);
        closed.filter_map(|segment| Some(fs::metadata(&segment.path).ok()?.len())).sum()
    }

    fn list(&self) -> io::Result<Vec<Segment>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some(stem) = name.strip_suffix(".log") else { continue };
            let (base, stem) = match stem.strip_suffix(".base") {
                Some(stem) => (true, stem),
                None => (false, stem),
            };
            if let Ok(number) = stem.parse() {
                found.push(Segment { number, base, path });
            }
        }
        Ok(found)
    }
}

#[derive(Debug)]
struct Segment {
    number: u64,
    base: bool,
    path: PathBuf,
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(%error, path = %path.display(), "a journal segment cannot be deleted");
    }
}
