//! A recording in progress: the decoded audio of one or two peers on a common timeline.
//!
//! A packet is placed by its RTP timestamp, so loss and silence suppression leave silence, and reordering is undone; the first packet is placed
//! by its arrival. Blocks are emitted by the clock, after a wait for late packets.

use std::time::Duration;

use base::Instant;

use super::api::{MediaEvent, MediaSink, RecordingId, StartRecording, StreamId};
use super::rtp::Header;
use crate::limits::{RECORD_BLOCK, RECORD_DRIFT, RECORD_PATIENCE, RECORD_WINDOW};

/// Samples per second.
const RATE: u64 = 8_000;
/// A block whose mean absolute amplitude is below this is silence: about −42 dBFS, above line hiss and room noise.
const SILENCE: u64 = 256;
/// Packets that are too late for this long mean that the peer's timestamps have moved, and not a burst after a stall.
const TOO_LATE: Duration = Duration::from_millis(100);
/// Whether silence is written in place of the received audio.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Paused {
    Yes,
    No,
}

/// A recording in progress.
#[derive(Debug)]
pub(super) struct Recording {
    left: Side,
    right: Option<Side>,
    began: Instant,
    /// Samples emitted.
    pub(super) out: u64,
    pub(super) longest: u64,
    pub(super) paused: Paused,
    quiet: Option<u64>,
    /// Samples since the last sound, and whether the silence was reported.
    silent: (u64, bool),
    /// Samples of emitted blocks that were not silence.
    pub(super) sound: u64,
    pub(super) due: Instant,
}

/// One channel of a recording.
#[derive(Debug)]
pub(super) struct Side {
    /// `None` once the stream is closed.
    pub(super) stream: Option<StreamId>,
    /// Samples not yet emitted, by position modulo the window; silence everywhere else.
    ring: Box<[i16]>,
    pub(super) place: Option<Place>,
    /// Start of the current run of packets that are too late.
    late: Option<Instant>,
}

/// A pair of RTP timestamp and position on the timeline.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    ssrc: u32,
    timestamp: u32,
    at: u64,
}

fn samples(time: Duration) -> u64 {
    (time.as_micros() as u64).saturating_mul(RATE) / 1_000_000
}

pub(super) fn millis(samples: u64) -> u32 {
    u32::try_from(samples / (RATE / 1_000)).unwrap_or(u32::MAX)
}

impl Side {
    fn new(stream: StreamId) -> Side {
        let ring = vec![0; RECORD_WINDOW].into_boxed_slice();
        Side { stream: Some(stream), ring, place: None, late: None }
    }

    /// Position of a packet's audio. `clock` is the current position of the timeline, `emitted` that of the next block. `None`: too late.
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
            // Place it by its arrival; what is already in the buffer stays.
            (self.place, self.late) =
                (Some(Place { ssrc: header.ssrc, timestamp: header.timestamp, at: clock }), None);
            return Some(clock);
        }
        let at = at.filter(|at| *at >= out)?;
        self.late = None;
        if let Some(place) = &mut self.place
            && at > place.at
        {
            (place.timestamp, place.at) = (header.timestamp, at); // timestamps wrap: keep the anchor close
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

    /// Move the samples from position `at` into `into`, and leave silence.
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
    pub(super) fn new(now: Instant, record: &StartRecording) -> Recording {
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

    pub(super) fn sides(&mut self) -> impl Iterator<Item = &mut Side> {
        std::iter::once(&mut self.left).chain(self.right.as_mut())
    }

    pub(super) fn clock(&self, now: Instant) -> u64 {
        samples(now.since(self.began))
    }

    /// Handle the audio of a packet.
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

    /// Emit one block of at most `limit` samples.
    pub(super) fn block(&mut self, id: RecordingId, most: u64, wire: &mut impl MediaSink, events: &mut Vec<MediaEvent>) {
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

    /// When the next block is complete and the wait for late packets is over.
    pub(super) fn next_due(&self) -> Instant {
        let end = (self.out + RECORD_BLOCK as u64).min(self.longest) + RECORD_PATIENCE;
        self.began + Duration::from_micros((end * 1_000_000).div_ceil(RATE))
    }
}
