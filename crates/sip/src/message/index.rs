//! Index of a message: the spans of its parts in its buffer.

use bytes::Bytes;
use smallvec::SmallVec;

use super::Start;
use crate::headers::{AddrSpans, ViaSpans};
use crate::lexer::{self, Span};
use crate::{CSeq, HeaderName};

/// Number of header lines that an index stores without an extra allocation: what phones send.
const INLINE: usize = 20;

/// Marks a missing field (only in messages that failed to parse and serve for an error response).
pub(super) const NONE: usize = usize::MAX;

/// One header line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) name: HeaderName,
    /// The value contains line folding: read it from [`Index::unfolded`].
    pub(super) folded: bool,
    pub(super) name_len: u16,
    pub(super) at: u32,
    /// Value as written, trimmed.
    pub(super) value: Span,
}

/// A field that was parsed with the message: its line, and the spans of its parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<T> {
    pub(super) line: usize,
    pub(super) spans: T,
}

impl<T: Default> Default for Part<T> {
    fn default() -> Self {
        Part { line: NONE, spans: T::default() }
    }
}

#[derive(Debug)]
pub(super) struct Index {
    pub(super) bytes: Bytes,
    pub(super) start: Start,
    pub(super) lines: SmallVec<[Entry; INLINE]>,
    /// Values of folded lines without their folding, by line index.
    pub(super) unfolded: Vec<(usize, Bytes)>,
    pub(super) via: Part<ViaSpans>,
    pub(super) from: Part<AddrSpans>,
    pub(super) to: Part<AddrSpans>,
    pub(super) call_id: usize,
    pub(super) cseq: CSeq,
    pub(super) body: Span,
}

impl Index {
    /// The indices of all lines of a header.
    pub(super) fn all(&self, name: HeaderName) -> impl Iterator<Item = usize> + '_ {
        self.lines.iter().enumerate().filter(move |(_, entry)| entry.name == name).map(|(at, _)| at)
    }

    pub(super) fn first(&self, name: HeaderName) -> Option<usize> {
        self.lines.iter().position(|entry| entry.name == name)
    }

    /// The name as written.
    pub(super) fn name(&self, at: usize) -> &[u8] {
        self.lines
            .get(at)
            .map(|e| Span::new(e.at as usize, e.at as usize + e.name_len as usize).of(&self.bytes))
            .unwrap_or_default()
    }

    /// The value as written.
    pub(super) fn raw(&self, at: usize) -> &[u8] {
        self.lines.get(at).map(|entry| entry.value.of(&self.bytes)).unwrap_or_default()
    }

    /// The value without folding.
    pub(super) fn value(&self, at: usize) -> &[u8] {
        match self.lines.get(at) {
            None => &[],
            Some(entry) if entry.folded => self.unfolded_value(at).map(|text| &**text).unwrap_or_default(),
            Some(entry) => entry.value.of(&self.bytes),
        }
    }

    /// The value without folding, sharing the buffer.
    pub(super) fn value_bytes(&self, at: usize) -> Bytes {
        match self.lines.get(at) {
            None => Bytes::new(),
            Some(entry) if entry.folded => self.unfolded_value(at).cloned().unwrap_or_default(),
            Some(entry) => entry.value.cut(&self.bytes),
        }
    }

    fn unfolded_value(&self, at: usize) -> Option<&Bytes> {
        self.unfolded.iter().find(|(line, _)| *line == at).map(|(_, text)| text)
    }

    /// The comma-separated values of all lines of a header.
    pub(super) fn values(&self, name: HeaderName) -> impl Iterator<Item = Bytes> + '_ {
        self.all(name).flat_map(move |at| {
            let base = self.value_bytes(at);
            let spans: SmallVec<[Span; 4]> = lexer::values(&base).collect();
            spans.into_iter().map(move |span| span.cut(&base))
        })
    }
}
