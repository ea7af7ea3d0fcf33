//! Segment files: their names and order, and reading of damaged ones.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use model::journal::Record;

use super::format::{Frame, encode};

/// File with frames of later versions, kept until a version reads them.
const UNKNOWN_FRAMES: &str = "kept.frames";

/// Content of a segment.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) records: Vec<Record>,
    pub(super) faults: Vec<String>,
    /// Intact frames that this version cannot decode.
    pub(super) unknown: Vec<Vec<u8>>,
}

/// Read a segment. A torn tail (a crash) is dropped silently; damage before intact records is reported and skipped.
pub(super) fn read(path: &Path) -> io::Result<Read> {
    let bytes = fs::read(path)?;
    let mut read = Read::default();
    let (mut at, mut damaged) = (0, None);
    while at < bytes.len() {
        let Some(frame) = Frame::at_start(&bytes[at..]) else {
            damaged.get_or_insert(at);
            at += 1;
            continue;
        };
        if let Some(from) = damaged.take() {
            read.faults.push(format!("{} damaged bytes at offset {from} were skipped", at - from));
        }
        match frame.record() {
            Ok(record) => read.records.push(record),
            Err(error) => {
                read.faults.push(format!("the record at offset {at} cannot be decoded and is kept: {error}"));
                read.unknown.push(frame.bytes.to_vec());
            }
        }
        at += frame.bytes.len();
    }
    Ok(read)
}

/// Release the space preallocated behind a segment's end, after a crash.
pub(super) fn trim(path: &Path) {
    let trimmed =
        OpenOptions::new().write(true).open(path).and_then(|file| file.set_len(file.metadata()?.len()));
    if let Err(error) = trimmed {
        tracing::warn!(%error, path = %path.display(), "the preallocated space of a journal segment cannot be released");
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

    /// Create a segment.
    pub(super) fn create(&self, number: u64) -> io::Result<File> {
        OpenOptions::new().create(true).append(true).open(self.dir.join(format!("{number:010}.log")))
    }

    /// Delete the segments that a base has replaced, and return the others in reading order.
    pub(super) fn remove_replaced(&self) -> io::Result<Vec<(u64, PathBuf)>> {
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
        // Oldest first: a crash in between must not leave an older state without the newer one.
        found.sort_by_key(|segment| segment.number);
        for segment in found.iter().filter(|segment| segment.number < floor) {
            remove(&segment.path);
        }
        Ok(())
    }

    /// Replace all segments up to `number` by a base with `records`. Returns its size in bytes.
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
            // On a full disk a partial draft would use space that others need.
            fs::remove_file(&draft).ok();
            return Err(error);
        }
        File::open(&self.dir)?.sync_all()?;
        self.remove_replaced()?;
        Ok(buffer.len() as u64)
    }

    /// Add frames that cannot be decoded to the file: after a downgrade the user may upgrade again.
    pub(super) fn add_unknown(&self, frames: &[Vec<u8>]) -> io::Result<()> {
        if frames.is_empty() {
            return Ok(());
        }
        let mut kept = self.read_unknown()?.unknown;
        let before = kept.len();
        for frame in frames {
            if !kept.contains(frame) {
                kept.push(frame.clone());
            }
        }
        if kept.len() > before { self.write_unknown(&kept) } else { Ok(()) }
    }

    /// The frames that earlier starts kept. Records that can be decoded now are removed from the file after they are written to a segment:
    /// see [`Segments::write_unknown`].
    pub(super) fn read_unknown(&self) -> io::Result<Read> {
        match read(&self.dir.join(UNKNOWN_FRAMES)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Read::default()),
            read => read,
        }
    }

    /// Replace the file's content by these frames; deletes the file if empty.
    pub(super) fn write_unknown(&self, frames: &[Vec<u8>]) -> io::Result<()> {
        let path = self.dir.join(UNKNOWN_FRAMES);
        if frames.is_empty() {
            return match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                Ok(()) | Err(_) => Ok(()),
            };
        }
        let draft = self.dir.join("kept.draft");
        fs::write(&draft, frames.concat())?;
        File::open(&draft)?.sync_all()?;
        fs::rename(draft, path)
    }

    /// The records of a segment that can be decoded; faults were reported when it was opened.
    pub(super) fn read(&self, number: u64) -> io::Result<Vec<Record>> {
        let mut found = self.list()?;
        found.retain(|segment| segment.number == number);
        // A base has replaced the normal segment of its number.
        let base = found.iter().any(|segment| segment.base);
        let mut records = Vec::new();
        for segment in found.iter().filter(|segment| segment.base == base) {
            records.extend(read(&segment.path)?.records);
        }
        Ok(records)
    }

    /// Modification time of the newest non-empty segment.
    pub(super) fn last_written(&self) -> Option<SystemTime> {
        let found = self.list().ok()?;
        let full =
            found.iter().filter_map(|segment| fs::metadata(&segment.path).ok()).filter(|m| m.len() > 0);
        full.filter_map(|metadata| metadata.modified().ok()).max()
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
