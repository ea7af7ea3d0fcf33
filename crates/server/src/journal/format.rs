//! Encoding of journal records, and compatibility with other versions.
//!
//! A frame is a marker byte, the version, the payload's length and a CRC-32, then the payload. Version 2 is MessagePack with the names of fields
//! and variants: new fields are missing in older records, and unknown fields are ignored. Version 1 was positional and is only read (`v1`).
//! An intact frame of an unknown version, or with an unknown record, was written by a later version of this program, and is kept.

use model::journal::Record;
use serde::Serialize as _;

use super::v1;
use crate::limits::RECORD_BYTES;

/// First byte of every frame.
const MARKER: u8 = 0xCE;
/// The version that is written.
const VERSION: u8 = 2;
/// Bytes of the header: marker, version, length, CRC-32.
pub(super) const HEAD: usize = 10;

/// Append `record` to `buffer`. A record over [`RECORD_BYTES`] (an extremely long ladder) is omitted.
pub(super) fn encode(record: &Record, buffer: &mut Vec<u8>) {
    let start = buffer.len();
    buffer.extend_from_slice(&[MARKER, VERSION]);
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
    /// The whole frame with its header.
    pub(super) bytes: &'b [u8],
}

impl<'b> Frame<'b> {
    /// The frame at the start of `bytes`, if it is intact.
    pub(super) fn at_start(bytes: &'b [u8]) -> Option<Frame<'b>> {
        let [MARKER, version, ..] = *bytes else { return None };
        let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let (len, crc) = (word(2)? as usize, word(6)?);
        if version == 0 || len == 0 || len > RECORD_BYTES {
            return None;
        }
        let payload = bytes.get(HEAD..HEAD + len)?;
        let frame = Frame { version, payload, bytes: &bytes[..HEAD + len] };
        (checksum(version, payload) == crc).then_some(frame)
    }

    /// Decode the record; the error says why it cannot be decoded.
    pub(super) fn record(&self) -> Result<Record, String> {
        match self.version {
            1 => v1::read(self.payload).map_err(|error| error.to_string()),
            VERSION => rmp_serde::from_slice(self.payload).map_err(|error| error.to_string()),
            later => Err(format!("it has journal format version {later}")),
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
