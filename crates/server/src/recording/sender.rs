//! The media worker's end of the recording queue: sends without waiting. If the queue is full, audio is dropped and counted; control messages
//! are kept and sent later.

use std::collections::VecDeque;
use std::thread::Thread;

use ::media::limits::RECORD_BLOCK;
use ::media::{RecordingId, StartRecording};
use rtrb::{Producer, PushError};

/// A message to the writer thread. Most are blocks of audio: the queue stores them without an allocation each.
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
    /// Interleaved samples.
    pub(super) audio: [i16; 2 * RECORD_BLOCK],
}

/// The sender of one worker.
#[derive(Debug)]
pub struct RecordingSender {
    queue: Producer<WriterMsg>,
    /// Start and end messages that did not fit into the queue.
    pending_control: VecDeque<WriterMsg>,
    writer: Thread,
    dropped: u64,
}

impl RecordingSender {
    pub(super) fn new(queue: Producer<WriterMsg>, writer: Thread) -> RecordingSender {
        RecordingSender { queue, pending_control: VecDeque::new(), writer, dropped: 0 }
    }

    /// Start a recording: opens its file.
    pub fn begin(&mut self, record: Box<StartRecording>) {
        self.pending_control.push_back(WriterMsg::Begin(record));
        self.flush_control();
    }

    /// End a recording: closes its file.
    pub fn end(&mut self, recording: RecordingId) {
        self.pending_control.push_back(WriterMsg::End(recording));
        self.flush_control();
    }

    /// Number of dropped blocks; they are silence in the file.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Send the pending control messages.
    pub fn flush_control(&mut self) {
        if self.pending_control.is_empty() {
            return;
        }
        while let Some(message) = self.pending_control.pop_front() {
            if let Err(PushError::Full(message)) = self.queue.push(message) {
                self.pending_control.push_front(message);
                break;
            }
        }
        self.writer.unpark();
    }

    /// Send a block of a recording.
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
        // Pending control messages must come first, or audio could be attributed to another recording.
        if !self.pending_control.is_empty() || self.queue.push(WriterMsg::Audio(block)).is_err() {
            if self.dropped == 0 {
                tracing::error!("the disk is too slow: audio of recordings is dropped");
            }
            self.dropped += 1;
        }
    }
}
