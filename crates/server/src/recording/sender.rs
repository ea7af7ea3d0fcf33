//! What a media worker holds of the writer: a queue that is put into without waiting. When it is full, audio is lost and counted, never an
//! ending.

use std::collections::VecDeque;
use std::thread::Thread;

use ::media::limits::RECORD_BLOCK;
use ::media::{RecordingId, StartRecording};
use rtrb::{Producer, PushError};

/// One message to the writer. Blocks are by far the most: the queue holds them without an allocation each.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)]
pub(super) enum WriterMsg {
    Begin(Box<StartRecording>),
    Audio(Block),
    End(RecordingId),
}

/// A block of audio.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) recording: RecordingId,
    pub(super) at: u64,
    pub(super) length: u16,
    pub(super) channels: u8,
    /// Interleaved.
    pub(super) audio: [i16; 2 * RECORD_BLOCK],
}

/// See the module.
#[derive(Debug)]
pub struct RecordingSender {
    queue: Producer<WriterMsg>,
    /// Beginnings and endings that did not fit.
    owed: VecDeque<WriterMsg>,
    writer: Thread,
    lost: u64,
}

impl RecordingSender {
    pub(super) fn new(queue: Producer<WriterMsg>, writer: Thread) -> RecordingSender {
        RecordingSender { queue, owed: VecDeque::new(), writer, lost: 0 }
    }

    /// A recording begins: its file is opened.
    pub fn begin(&mut self, record: Box<StartRecording>) {
        self.owed.push_back(WriterMsg::Begin(record));
        self.pay();
    }

    /// A recording has ended: its file is closed.
    pub fn end(&mut self, recording: RecordingId) {
        self.owed.push_back(WriterMsg::End(recording));
        self.pay();
    }

    /// Blocks that did not fit; they are silence in their files.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Hand over what did not fit before.
    pub fn pay(&mut self) {
        if self.owed.is_empty() {
            return;
        }
        while let Some(slip) = self.owed.pop_front() {
            if let Err(PushError::Full(slip)) = self.queue.push(slip) {
                self.owed.push_front(slip);
                break;
            }
        }
        self.writer.unpark();
    }

    /// A block of a recording.
    pub fn audio(&mut self, recording: RecordingId, at: u64, left: &[i16], right: Option<&[i16]>) {
        let mut block =
            Block { recording, at, length: left.len() as u16, channels: 1, audio: [0; 2 * RECORD_BLOCK] };
        match right {
            None => block.audio.iter_mut().zip(left).for_each(|(slot, sample)| *slot = *sample),
            Some(right) => {
                block.channels = 2;
                for (slot, (left, right)) in block.audio.chunks_exact_mut(2).zip(left.iter().zip(right)) {
                    slot.copy_from_slice(&[*left, *right]);
                }
            }
        }
        // An ending that waits comes before: what is said after it would be another recording's.
        if !self.owed.is_empty() || self.queue.push(WriterMsg::Audio(block)).is_err() {
            if self.lost == 0 {
                tracing::error!("the disk is too slow: audio of recordings is lost");
            }
            self.lost += 1;
        }
    }
}
