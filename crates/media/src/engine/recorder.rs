//! Commands and ticks of recordings: start, pause, emit blocks, end.

use base::Now;

use super::Engine;
use super::api::{Ended, MediaEvent, MediaSink, RecordingId, StartRecording, StreamId};
use super::recording::{Paused, Recording, millis};
use crate::limits::{RECORD_BLOCK, RECORD_LATENESS, RECORDINGS, TICK_STREAMS};

/// Blocks that one recording emits in one tick: more than its buffer holds.
const BLOCKS_PER_TICK: usize = 32;

impl Engine {
    pub(super) fn start_recording(
        &mut self,
        now: Now,
        request: &StartRecording,
        out: &mut impl MediaSink,
        events: &mut Vec<MediaEvent>,
    ) {
        let id = request.recording;
        self.end_recording(now, id, Ended::Stopped, out, events);
        let mut recording = Recording::new(now.instant, request);
        let at_limit = self.recordings.len() >= RECORDINGS;
        for channel in recording.channels() {
            let stream = channel.stream.filter(|_| !at_limit);
            channel.stream = stream.filter(|stream| self.update_tap(*stream, |tap| tap.recordings.push(id)));
        }
        if recording.channels().all(|channel| channel.stream.is_none()) {
            let ended = if at_limit { Ended::Refused } else { Ended::Left };
            events.push(MediaEvent::Recorded { recording: id, millis: 0, sound_millis: 0, ended });
            return;
        }
        recording.due = recording.next_due();
        self.block_timers.insert((recording.due, id));
        self.recordings.insert(id, recording);
    }

    pub(super) fn set_paused(&mut self, id: RecordingId, paused: Paused) {
        let Some(recording) = self.recordings.get_mut(&id) else { return };
        recording.paused = paused;
        if paused == Paused::No {
            // Timestamps may have stood still during the pause: align the next packet by its arrival.
            recording.channels().for_each(|channel| channel.anchor = None);
        }
    }

    /// Emit the remaining blocks and remove the recording.
    pub(super) fn end_recording(
        &mut self,
        now: Now,
        id: RecordingId,
        ended: Ended,
        out: &mut impl MediaSink,
        events: &mut Vec<MediaEvent>,
    ) {
        let Some(mut recording) = self.recordings.remove(&id) else { return };
        self.block_timers.remove(&(recording.due, id));
        let end = recording.clock(now.instant).min(recording.max_length);
        while recording.emitted < end {
            recording.emit_block(id, end - recording.emitted, out, events);
        }
        for stream in recording.channels().filter_map(|channel| channel.stream) {
            self.update_tap(stream, |tap| tap.recordings.retain(|r| *r != id));
        }
        let (millis, sound_millis) = (millis(recording.emitted), millis(recording.sound));
        events.push(MediaEvent::Recorded { recording: id, millis, sound_millis, ended });
    }

    /// A stream closes: a recording continues while one of its streams is open.
    pub(super) fn detach_from_recordings(
        &mut self,
        now: Now,
        stream: StreamId,
        out: &mut impl MediaSink,
        events: &mut Vec<MediaEvent>,
    ) {
        let Some(tap) = self.find(stream).and_then(|(_, stream)| stream.tap.take()) else { return };
        for id in tap.recordings {
            let Some(recording) = self.recordings.get_mut(&id) else { continue };
            for channel in recording.channels().filter(|channel| channel.stream == Some(stream)) {
                channel.stream = None;
            }
            if recording.channels().all(|channel| channel.stream.is_none()) {
                self.end_recording(now, id, Ended::Left, out, events);
            }
        }
    }

    /// Emit the blocks that are due: a bounded number.
    pub(super) fn emit_recordings(
        &mut self,
        now: Now,
        out: &mut impl MediaSink,
        events: &mut Vec<MediaEvent>,
    ) {
        for _ in 0..TICK_STREAMS {
            let Some((due, id)) = self.block_timers.first().copied().filter(|(due, _)| *due <= now.instant)
            else {
                return;
            };
            self.block_timers.remove(&(due, id));
            let Some(recording) = self.recordings.get_mut(&id) else { continue };
            let ready = recording.clock(now.instant).saturating_sub(RECORD_LATENESS);
            for _ in 0..BLOCKS_PER_TICK {
                let limit = ready.min(recording.max_length).saturating_sub(recording.emitted);
                if limit < RECORD_BLOCK as u64 && recording.emitted + limit < recording.max_length {
                    break;
                }
                recording.emit_block(id, limit, out, events);
                if recording.emitted >= recording.max_length {
                    break;
                }
            }
            recording.due = recording.next_due();
            self.block_timers.insert((recording.due, id));
            if recording.emitted >= recording.max_length {
                self.end_recording(now, id, Ended::Longest, out, events);
            }
        }
    }
}
