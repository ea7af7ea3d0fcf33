//! Recordings: what peers send us, decoded, side by side on one time line.
//!
//! A packet's place comes from its RTP timestamp, so loss and silence suppression leave silence and disorder is put right; the first packet's
//! comes from its arrival. Blocks are handed out by the clock, after late packets had their chance.

use std::sync::Arc;
use std::time::Duration;

use base::{Instant, Now};

use super::rtp::Header;
use super::{Engine, MediaEvent, MediaSink, StreamId};
use crate::limits::{RECORD_BLOCK, RECORD_DRIFT, RECORD_PATIENCE, RECORD_WINDOW, RECORDINGS, TICK_STREAMS};

/// Samples per second.
const RATE: u64 = 8_000;
/// A block whose samples are below this in the mean is silence: about −42 dBFS, above a line's hiss and a room's hum.
const SILENCE: u64 = 256;
/// Packets that came too late for so long are the peer's new time, not a burst after a stall.
const TOO_LATE: Duration = Duration::from_millis(100);
/// Blocks that one recording hands out in one go: more than a window holds.
const BLOCKS: usize = 32;

/// A recording; chosen by the switch, unique among those that run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RecordingId(pub u32);

/// What a recording's file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileFormat {
    /// PCM, 16 bits, 8 kHz.
    Wav,
    /// Opus in Ogg.
    Opus,
}

/// What to record, and until when.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StartRecording {
    /// Its number, for later commands and events.
    pub recording: RecordingId,
    /// Whose audio is the left channel, or the only one.
    pub left: StreamId,
    /// Whose audio is the right channel; on the same worker.
    pub right: Option<StreamId>,
    /// Where the shell keeps it: a path below the data directory without its ending, `recordings/2026/01/15/rec_…`.
    pub name: Arc<str>,
    /// The file.
    pub format: FileFormat,
    /// It ends by itself after so long.
    pub longest: Option<Duration>,
    /// [`MediaEvent::SilenceDetected`] is raised after so long without a sound.
    pub quiet: Option<Duration>,
}

/// Why a recording has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// It was told to.
    Stopped,
    /// It is as long as it may be.
    Longest,
    /// All whom it recorded are gone, or were not there.
    Left,
    /// Too many recordings run.
    Refused,
}

/// Whether silence is written instead of what is heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Paused {
    Yes,
    No,
}

/// A recording that runs.
#[derive(Debug)]
pub(super) struct Recording {
    left: Side,
    right: Option<Side>,
    began: Instant,
    /// Samples handed out.
    out: u64,
    longest: u64,
    paused: Paused,
    quiet: Option<u64>,
    /// Samples since the last sound, and whether that was told.
    silent: (u64, bool),
    /// Samples of blocks that were no silence.
    sound: u64,
    due: Instant,
}

/// One channel.
#[derive(Debug)]
struct Side {
    /// `None` once it is closed.
    stream: Option<StreamId>,
    /// What is not handed out yet, by place modulo the window; silence everywhere else.
    ring: Box<[i16]>,
    place: Option<Place>,
    /// Since when packets come too late.
    late: Option<Instant>,
}

/// Where a timestamp lies on the time line.
#[derive(Clone, Copy, Debug)]
struct Place {
    ssrc: u32,
    timestamp: u32,
    at: u64,
}

fn samples(time: Duration) -> u64 {
    (time.as_micros() as u64).saturating_mul(RATE) / 1_000_000
}

fn millis(samples: u64) -> u32 {
    u32::try_from(samples / (RATE / 1_000)).unwrap_or(u32::MAX)
}

impl Side {
    fn new(stream: StreamId) -> Side {
        let ring = vec![0; RECORD_WINDOW].into_boxed_slice();
        Side { stream: Some(stream), ring, place: None, late: None }
    }

    /// Where this packet's audio begins; `clock` is where the time line is now, `out` what is gone. `None`: it comes too late.
    fn place(&mut self, now: Instant, clock: u64, out: u64, header: &Header) -> Option<u64> {
        let known = self.place.filter(|place| place.ssrc == header.ssrc);
        let at = known.map(|place| {
            place.at.saturating_add_signed(i64::from(header.timestamp.wrapping_sub(place.timestamp) as i32))
        });
        let anew = match at {
            None => true,
            Some(at) if at < out => now.since(*self.late.get_or_insert(now)) >= TOO_LATE,
            Some(at) => at > clock + RECORD_DRIFT,
        };
        if anew {
            // As if it had come at its time; what is behind it stays as it is.
            (self.place, self.late) =
                (Some(Place { ssrc: header.ssrc, timestamp: header.timestamp, at: clock }), None);
            return Some(clock);
        }
        let at = at.filter(|at| *at >= out)?;
        self.late = None;
        if let Some(place) = &mut self.place
            && at > place.at
        {
            (place.timestamp, place.at) = (header.timestamp, at); // timestamps wrap: keep near
        }
        Some(at)
    }

    fn put(&mut self, at: u64, out: u64, audio: &[i16]) {
        for (sample, at) in audio.iter().zip(at..out + RECORD_WINDOW as u64) {
            if let Some(slot) = self.ring.get_mut(at as usize % RECORD_WINDOW) {
                *slot = *sample;
            }
        }
    }

    /// Take what begins at `at`, and leave silence.
    fn take(&mut self, at: u64, into: &mut [i16]) {
        for (sample, at) in into.iter_mut().zip(at..) {
            if let Some(slot) = self.ring.get_mut(at as usize % RECORD_WINDOW) {
                *sample = std::mem::take(slot);
            }
        }
    }
}

fn is_silent(block: &[i16]) -> bool {
    let sum: u64 = block.iter().map(|s| u64::from(s.unsigned_abs())).sum();
    sum < SILENCE * block.len() as u64
}

impl Recording {
    fn new(now: Instant, record: &StartRecording) -> Recording {
        Recording {
            left: Side::new(record.left),
            right: record.right.map(Side::new),
            began: now,
            out: 0,
            longest: record.longest.map_or(u64::MAX, samples),
            paused: Paused::No,
            quiet: record.quiet.map(samples),
            silent: (0, false),
            sound: 0,
            due: now,
        }
    }

    fn sides(&mut self) -> impl Iterator<Item = &mut Side> {
        std::iter::once(&mut self.left).chain(self.right.as_mut())
    }

    fn clock(&self, now: Instant) -> u64 {
        samples(now.since(self.began))
    }

    /// Audio of a packet arrived.
    pub(super) fn hear(&mut self, now: Instant, stream: StreamId, header: &Header, audio: &[i16]) {
        if self.paused == Paused::Yes {
            return;
        }
        let (clock, out) = (self.clock(now), self.out);
        for side in self.sides().filter(|side| side.stream == Some(stream)) {
            if let Some(at) = side.place(now, clock, out, header) {
                side.put(at, out, audio);
            }
        }
    }

    /// Hand out one block of at most so many samples.
    fn block(&mut self, id: RecordingId, most: u64, wire: &mut impl MediaSink, events: &mut Vec<MediaEvent>) {
        let (mut left, mut right) = ([0; RECORD_BLOCK], [0; RECORD_BLOCK]);
        let length = (most as usize).min(RECORD_BLOCK);
        let (left, right) = (left.get_mut(..length), right.get_mut(..length));
        let (Some(left), Some(right)) = (left, right) else { return };
        self.left.take(self.out, left);
        let right = self.right.as_mut().map(|side| {
            side.take(self.out, right);
            &*right
        });
        wire.audio(id, self.out, left, right);
        self.out += length as u64;
        let silent = is_silent(left) && right.is_none_or(is_silent);
        match (silent, self.paused) {
            (false, _) => {
                self.sound += length as u64;
                self.silent = (0, false);
            }
            (true, Paused::Yes) => self.silent = (0, false),
            (true, Paused::No) => self.silent.0 += length as u64,
        }
        if self.quiet.is_some_and(|quiet| self.silent.0 >= quiet) && !self.silent.1 {
            self.silent.1 = true;
            events.push(MediaEvent::SilenceDetected { recording: id });
        }
    }

    /// When the next block is complete and late packets had their chance.
    fn next_due(&self) -> Instant {
        let end = (self.out + RECORD_BLOCK as u64).min(self.longest) + RECORD_PATIENCE;
        self.began + Duration::from_micros((end * 1_000_000).div_ceil(RATE))
    }
}

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
            // Timestamps may have stood still meanwhile: the next packet is placed by its arrival.
            recording.sides().for_each(|side| side.place = None);
        }
    }

    /// Hand out what is left and forget the recording.
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

    /// A stream closes: a recording goes on for as long as somebody is left in it.
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

    /// Hand out the blocks that are due: a bounded number.
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
