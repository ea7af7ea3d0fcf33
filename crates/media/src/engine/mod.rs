//! The media engine: owns all streams of a worker, their sources and timers, and decides where each packet goes.

mod api;
mod dtmf;
mod g711;
mod latching;
mod play_queue;
mod playback;
mod quality;
mod recorder;
mod recording;
mod relay;
mod routing;
mod rtcp;
mod rtp;
mod sender;
mod stream;
mod tap;
mod tone_generator;
mod tones;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use base::{Instant, KeyedHash, KeyedMap, Now, Rng};
use slab::Slab;
use smallvec::SmallVec;

pub use api::{
    Component, DtmfMode, Ended, FileFormat, FileResult, Forward, MediaCommand, MediaEvent, MediaSink, PlayId,
    RecordingId, Report, Source, StartRecording, StreamId, Tone,
};
use recording::{Paused, Recording};
use stream::Stream;
use tone_generator::ToneCache;

/// The media engine of one worker. Sans-I/O: takes packets, commands and the time as arguments, and returns what is to be sent.
#[derive(Debug)]
pub struct Engine {
    streams: Slab<Stream>,
    slots: KeyedMap<StreamId, usize>,
    /// Slots of the streams whose source is this stream, in the order of the commands: the last one receives the packets.
    subscribers: BTreeMap<StreamId, SmallVec<[usize; 2]>>,
    /// The next tick of each slot that needs one.
    timers: BTreeSet<(Instant, usize)>,
    recordings: BTreeMap<RecordingId, Recording>,
    /// When the next block of each recording is due.
    block_timers: BTreeSet<(Instant, RecordingId)>,
    tones: ToneCache,
    /// Rejected packets of all streams, closed ones included.
    refused: u64,
    rng: Rng,
}

impl Engine {
    /// A peer that should send raises [`MediaEvent::RtpTimeout`] after this time without a packet (once per period of silence).
    pub const SILENCE: Duration = Duration::from_secs(30);

    /// An engine without streams. `rng` gives SSRCs, CNAMEs, initial sequence numbers and RTCP intervals.
    pub fn new(mut rng: Rng) -> Engine {
        Engine {
            streams: Slab::new(),
            slots: KeyedMap::with_hasher(KeyedHash::new(&mut rng)),
            subscribers: BTreeMap::new(),
            timers: BTreeSet::new(),
            recordings: BTreeMap::new(),
            block_timers: BTreeSet::new(),
            tones: ToneCache::default(),
            refused: 0,
            rng,
        }
    }

    /// Execute a command. A command for a stream that is not open does nothing.
    pub fn command(
        &mut self,
        now: Now,
        command: MediaCommand,
        out: &mut impl MediaSink,
        events: &mut Vec<MediaEvent>,
    ) {
        match command {
            MediaCommand::Open { stream, port: _ } => self.open(now, stream, out, events),
            MediaCommand::Negotiated { stream, signalling, negotiated } => {
                self.negotiated(now, stream, signalling, negotiated);
            }
            MediaCommand::SetSource { stream, source } => self.set_source(now, stream, source),
            MediaCommand::Play { stream, play, clip } => self.enqueue_clip(now, stream, play, clip, events),
            MediaCommand::StopPlay { stream } => self.stop_playback(now, stream),
            MediaCommand::SetDtmfMode { stream, digits } => self.set_dtmf_mode(stream, digits),
            MediaCommand::StartRecording(request) => self.start_recording(now, &request, out, events),
            MediaCommand::PauseRecording { recording } => self.set_paused(recording, Paused::Yes),
            MediaCommand::ResumeRecording { recording } => self.set_paused(recording, Paused::No),
            MediaCommand::StopRecording { recording } => {
                self.end_recording(now, recording, Ended::Stopped, out, events);
            }
            MediaCommand::Close { stream } => self.close(now, stream, out, events),
        }
    }

    /// Handle one packet from the network and rewrite it in place. `None`: it is not forwarded. Neither allocates nor locks.
    pub fn packet(
        &mut self,
        now: Now,
        stream: StreamId,
        channel: Component,
        from: SocketAddr,
        packet: &mut [u8],
        events: &mut Vec<MediaEvent>,
    ) -> Option<Forward> {
        let slot = *self.slots.get(&stream)?;
        let shared = || self.streams.get(slot).and_then(|s| s.negotiation.as_ref()).is_some_and(|a| a.mux);
        match channel {
            Component::Rtp if !(rtp::is_rtcp(packet) && shared()) => {
                self.relay_rtp(now, slot, from, packet, events)
            }
            Component::Rtp | Component::Rtcp => self.relay_rtcp(now, slot, from, packet),
        }
    }

    /// Do what is due: tones, clips, silence, RTCP, timeouts, recording blocks. The batch is bounded: [`Engine::deadline`] says whether more is due.
    pub fn tick(&mut self, now: Now, out: &mut impl MediaSink, events: &mut Vec<MediaEvent>) {
        for _ in 0..crate::limits::TICK_STREAMS {
            let Some((due, slot)) = self.timers.first().copied().filter(|(due, _)| *due <= now.instant)
            else {
                break;
            };
            self.timers.remove(&(due, slot));
            self.tick_stream(now, slot, out, events);
        }
        self.emit_recordings(now, out, events);
    }

    /// When [`Engine::tick`] has to be called next; `None` while no stream needs it.
    pub fn deadline(&self) -> Option<Instant> {
        let block = self.block_timers.first().map(|(due, _)| *due);
        self.timers.first().map(|(due, _)| *due).into_iter().chain(block).min()
    }

    /// Rejected packets since the start, those of closed streams included; see [`Report::refused`].
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Number of open streams.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }
}
