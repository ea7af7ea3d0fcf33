//! How a record is written, and what of earlier and later versions is read.
//!
//! A frame is the mark, the version, the payload's length and a CRC-32, then the payload. Version 2 is MessagePack with the names of fields and
//! variants: a field that is new is missing in older records, and one that is unknown is passed over. Version 1 was positional and is only read
//! (`v1`). A frame of a version, or with a record, that is not known here was written by a later version of us: it is intact, and kept.

use model::journal::Record;
use serde::Serialize as _;

use super::v1;
use crate::limits::RECORD_BYTES;

/// Begins every frame.
const MARK: u8 = 0xCE;
/// What is written.
const VERSION: u8 = 2;
/// Mark, version, length, CRC-32.
pub(super) const HEAD: usize = 10;

/// Append `record` to `buffer`. One that is too large (a ladder beyond all measure) is left out.
pub(super) fn encode(record: &Record, buffer: &mut Vec<u8>) {
    let start = buffer.len();
    buffer.extend_from_slice(&[MARK, VERSION]);
    buffer.extend_from_slice(&[0; HEAD - 2]);
    let written = record.serialize(&mut rmp_serde::Serializer::new(&mut *buffer).with_struct_map());
    if let Err(error) = written {
        // Our own types always encode.
        tracing::error!(%error, "a record cannot be encoded");
        return buffer.truncate(start);
    }
    let payload = &buffer[start + HEAD..];
    if payload.len() > RECORD_BYTES {
        tracing::error!(bytes = payload.len(), "a record is too large for the journal");
        return buffer.truncate(start);
    }
    let (len, crc) = (payload.len() as u32, checksum(VERSION, payload));
    buffer[start + 2..start + 6].copy_from_slice(&len.to_le_bytes());
    buffer[start + 6..start + HEAD].copy_from_slice(&crc.to_le_bytes());
}

/// An intact frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'b> {
    version: u8,
    payload: &'b [u8],
    /// All of it.
    pub(super) bytes: &'b [u8],
}

impl<'b> Frame<'b> {
    /// The frame that begins here, where an intact one does.
    pub(super) fn at_start(bytes: &'b [u8]) -> Option<Frame<'b>> {
        let [MARK, version, ..] = *bytes else { return None };
        let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let (len, crc) = (word(2)? as usize, word(6)?);
        if version == 0 || len == 0 || len > RECORD_BYTES {
            return None;
        }
        let payload = bytes.get(HEAD..HEAD + len)?;
        let frame = Frame { version, payload, bytes: &bytes[..HEAD + len] };
        (checksum(version, payload) == crc).then_some(frame)
    }

    /// Its record; why it is not understood where it is not.
    pub(super) fn record(&self) -> Result<Record, String> {
        match self.version {
            1 => v1::read(self.payload).map_err(|error| error.to_string()),
            VERSION => rmp_serde::from_slice(self.payload).map_err(|error| error.to_string()),
            later => Err(format!("it is of version {later} of the journal")),
        }
    }
}

fn checksum(version: u8, payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    if version > 1 {
        crc.update(&[version]);
    }
    crc.update(payload);
    crc.finalize()
}
