//! A recording in progress: the decoded audio of one or two peers on a common timeline.
//!
//! A packet is placed by its RTP timestamp, so loss and silence suppression leave silence, and reordering is undone; the first packet is placed
//! by its arrival. Blocks are emitted by the clock, after a wait for late packets.

use std::time::Duration;

use base::Instant;

use super::api::{MediaEvent, MediaSink, RecordingId, StartRecording, StreamId};
use super::rtp::Header;
use crate::limits::{RECORD_BLOCK, RECORD_DRIFT, RECORD_LATENESS, RECORD_WINDOW};

/// Samples per second.
const RATE: u64 = 8_000;
/// A block whose mean absolute amplitude is below this is silence: about −42 dBFS, above line hiss and room noise.
const SILENCE_LEVEL: u64 = 256;
/// Packets that are too late for this long mean that the peer's timestamps have moved, and not a burst after a stall.
const RESYNC_AFTER: Duration = Duration::from_millis(100);
/// Whether silence is written in place of the received audio.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Paused {
    Yes,
    No,
}

/// A recording in progress.
#[derive(Debug)]
pub(super) struct Recording {
    left: Channel,
    right: Option<Channel>,
    started: Instant,
    /// Samples emitted.
    pub(super) emitted: u64,
    pub(super) max_length: u64,
    pub(super) paused: Paused,
    silence_timeout: Option<u64>,
    /// Samples since the last sound, and whether the silence was reported.
    silence: (u64, bool),
    /// Samples of emitted blocks that were not silence.
    pub(super) sound: u64,
    pub(super) due: Instant,
}

/// One channel of a recording.
#[derive(Debug)]
pub(super) struct Channel {
    /// `None` once the stream is closed.
    pub(super) stream: Option<StreamId>,
    /// Samples not yet emitted, by position modulo the window; silence everywhere else.
    buffer: Box<[i16]>,
    pub(super) anchor: Option<Anchor>,
    /// Start of the current run of packets that are too late.
    late_since: Option<Instant>,
}

/// A pair of RTP timestamp and position on the timeline.
#[derive(Clone, Copy, Debug)]
pub(super) struct Anchor {
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

impl Channel {
    fn new(stream: StreamId) -> Channel {
        let buffer = vec![0; RECORD_WINDOW].into_boxed_slice();
        Channel { stream: Some(stream), buffer, anchor: None, late_since: None }
    }

    /// Position of a packet's audio. `clock` is the current position of the timeline, `emitted` that of the next block. `None`: too late.
    fn locate(&mut self, now: Instant, clock: u64, emitted: u64, header: &Header) -> Option<u64> {
        let anchored = self.anchor.filter(|anchor| anchor.ssrc == header.ssrc);
        let at = anchored.map(|anchor| {
            anchor.at.saturating_add_signed(i64::from(header.timestamp.wrapping_sub(anchor.timestamp) as i32))
        });
        let realign = match at {
            None => true,
            Some(at) if at < emitted => now.since(*self.late_since.get_or_insert(now)) >= RESYNC_AFTER,
            Some(at) => at > clock + RECORD_DRIFT,
        };
        if realign {
            // Place it by its arrival; what is already in the buffer stays.
            (self.anchor, self.late_since) =
                (Some(Anchor { ssrc: header.ssrc, timestamp: header.timestamp, at: clock }), None);
            return Some(clock);
        }
        let at = at.filter(|at| *at >= emitted)?;
        self.late_since = None;
        if let Some(anchor) = &mut self.anchor
            && at > anchor.at
        {
            (anchor.timestamp, anchor.at) = (header.timestamp, at); // timestamps wrap: keep the anchor close
        }
        Some(at)
    }

    fn write(&mut self, at: u64, emitted: u64, audio: &[i16]) {
        for (sample, at) in audio.iter().zip(at..emitted + RECORD_WINDOW as u64) {
            if let Some(slot) = self.buffer.get_mut(at as usize % RECORD_WINDOW) {
                *slot = *sample;
            }
        }
    }

    /// Move the samples from position `at` into `into`, and leave silence.
    fn drain(&mut self, at: u64, into: &mut [i16]) {
        for (sample, at) in into.iter_mut().zip(at..) {
            if let Some(slot) = self.buffer.get_mut(at as usize % RECORD_WINDOW) {
                *sample = std::mem::take(slot);
            }
        }
    }
}

fn is_silent(block: &[i16]) -> bool {
    let sum: u64 = block.iter().map(|s| u64::from(s.unsigned_abs())).sum();
    sum < SILENCE_LEVEL * block.len() as u64
}

impl Recording {
    pub(super) fn new(now: Instant, record: &StartRecording) -> Recording {
        Recording {
            left: Channel::new(record.left),
            right: record.right.map(Channel::new),
            started: now,
            emitted: 0,
            max_length: record.longest.map_or(u64::MAX, samples),
            paused: Paused::No,
            silence_timeout: record.quiet.map(samples),
            silence: (0, false),
            sound: 0,
            due: now,
        }
    }

    pub(super) fn channels(&mut self) -> impl Iterator<Item = &mut Channel> {
        std::iter::once(&mut self.left).chain(self.right.as_mut())
    }

    pub(super) fn clock(&self, now: Instant) -> u64 {
        samples(now.since(self.started))
    }

    /// Handle the audio of a packet.
    pub(super) fn on_audio(&mut self, now: Instant, stream: StreamId, header: &Header, audio: &[i16]) {
        if self.paused == Paused::Yes {
            return;
        }
        let (clock, emitted) = (self.clock(now), self.emitted);
        for channel in self.channels().filter(|channel| channel.stream == Some(stream)) {
            if let Some(at) = channel.locate(now, clock, emitted, header) {
                channel.write(at, emitted, audio);
            }
        }
    }

    /// Emit one block of at most `limit` samples.
    pub(super) fn emit_block(
        &mut self,
        id: RecordingId,
        limit: u64,
        out: &mut impl MediaSink,
        events: &mut Vec<MediaEvent>,
    ) {
        let (mut left, mut right) = ([0; RECORD_BLOCK], [0; RECORD_BLOCK]);
        let length = (limit as usize).min(RECORD_BLOCK);
        let (left, right) = (left.get_mut(..length), right.get_mut(..length));
        let (Some(left), Some(right)) = (left, right) else { return };
        self.left.drain(self.emitted, left);
        let right = self.right.as_mut().map(|channel| {
            channel.drain(self.emitted, right);
            &*right
        });
        out.audio(id, self.emitted, left, right);
        self.emitted += length as u64;
        let silent = is_silent(left) && right.is_none_or(is_silent);
        match (silent, self.paused) {
            (false, _) => {
                self.sound += length as u64;
                self.silence = (0, false);
            }
            (true, Paused::Yes) => self.silence = (0, false),
            (true, Paused::No) => self.silence.0 += length as u64,
        }
        if self.silence_timeout.is_some_and(|limit| self.silence.0 >= limit) && !self.silence.1 {
            self.silence.1 = true;
            events.push(MediaEvent::SilenceDetected { recording: id });
        }
    }

    /// When the next block is complete and the wait for late packets is over.
    pub(super) fn next_due(&self) -> Instant {
        let end = (self.emitted + RECORD_BLOCK as u64).min(self.max_length) + RECORD_LATENESS;
        self.started + Duration::from_micros((end * 1_000_000).div_ceil(RATE))
    }
}
