//! Commands and ticks of recordings: start, pause, emit blocks, end.

use base::Now;

use super::Engine;
use super::api::{Ended, MediaEvent, MediaSink, RecordingId, StartRecording, StreamId};
use super::recording::{Paused, Recording, millis};
use crate::limits::{RECORD_BLOCK, RECORD_PATIENCE, RECORDINGS, TICK_STREAMS};

/// Blocks that one recording emits in one tick: more than its buffer holds.
const BLOCKS: usize = 32;

impl Engine {
    pub(super) fn record(
        &mut self,
        now: Now,
        record: &StartRecording,
        wire: &mut impl MediaSink,
        events: &mut Vec<MediaEvent>,
    ) {
        let id = record.recording;
        self.end_recording(now, id, Ended::Stopped, wire, events);
        let mut recording = Recording::new(now.instant, record);
        let full = self.recordings.len() >= RECORDINGS;
        for side in recording.sides() {
            let stream = side.stream.filter(|_| !full);
            side.stream = stream.filter(|stream| self.tap(*stream, |tap| tap.recordings.push(id)));
        }
        if recording.sides().all(|side| side.stream.is_none()) {
            let ended = if full { Ended::Refused } else { Ended::Left };
            events.push(MediaEvent::Recorded { recording: id, millis: 0, sound_millis: 0, ended });
            return;
        }
        recording.due = recording.next_due();
        self.blocks.insert((recording.due, id));
        self.recordings.insert(id, recording);
    }

    pub(super) fn pause(&mut self, id: RecordingId, paused: Paused) {
        let Some(recording) = self.recordings.get_mut(&id) else { return };
        recording.paused = paused;
        if paused == Paused::No {
            // Timestamps may have stood still during the pause: align the next packet by its arrival.
            recording.sides().for_each(|side| side.place = None);
        }
    }

    /// Emit the remaining blocks and remove the recording.
    pub(super) fn end_recording(
        &mut self,
        now: Now,
        id: RecordingId,
        ended: Ended,
        wire: &mut impl MediaSink,
        events: &mut Vec<MediaEvent>,
    ) {
        let Some(mut recording) = self.recordings.remove(&id) else { return };
        self.blocks.remove(&(recording.due, id));
        let end = recording.clock(now.instant).min(recording.longest);
        while recording.out < end {
            recording.block(id, end - recording.out, wire, events);
        }
        for stream in recording.sides().filter_map(|side| side.stream) {
            self.tap(stream, |tap| tap.recordings.retain(|r| *r != id));
        }
        let (millis, sound_millis) = (millis(recording.out), millis(recording.sound));
        events.push(MediaEvent::Recorded { recording: id, millis, sound_millis, ended });
    }

    /// A stream closes: a recording continues while one of its streams is open.
    pub(super) fn leave_recordings(
        &mut self,
        now: Now,
        stream: StreamId,
        wire: &mut impl MediaSink,
        events: &mut Vec<MediaEvent>,
    ) {
        let Some(tap) = self.find(stream).and_then(|(_, stream)| stream.tap.take()) else { return };
        for id in tap.recordings {
            let Some(recording) = self.recordings.get_mut(&id) else { continue };
            for side in recording.sides().filter(|side| side.stream == Some(stream)) {
                side.stream = None;
            }
            if recording.sides().all(|side| side.stream.is_none()) {
                self.end_recording(now, id, Ended::Left, wire, events);
            }
        }
    }

    /// Emit the blocks that are due: a bounded number.
    pub(super) fn emit_recordings(
        &mut self,
        now: Now,
        wire: &mut impl MediaSink,
        events: &mut Vec<MediaEvent>,
    ) {
        for _ in 0..TICK_STREAMS {
            let Some((due, id)) = self.blocks.first().copied().filter(|(due, _)| *due <= now.instant) else {
                return;
            };
            self.blocks.remove(&(due, id));
            let Some(recording) = self.recordings.get_mut(&id) else { continue };
            let ready = recording.clock(now.instant).saturating_sub(RECORD_PATIENCE);
            for _ in 0..BLOCKS {
                let most = ready.min(recording.longest).saturating_sub(recording.out);
                if most < RECORD_BLOCK as u64 && recording.out + most < recording.longest {
                    break;
                }
                recording.block(id, most, wire, events);
                if recording.out >= recording.longest {
                    break;
                }
            }
            recording.due = recording.next_due();
            self.blocks.insert((recording.due, id));
            if recording.out >= recording.longest {
                self.end_recording(now, id, Ended::Longest, wire, events);
            }
        }
    }
}
