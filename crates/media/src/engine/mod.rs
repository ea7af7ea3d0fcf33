//! The packet engine: streams, what feeds whom, and where each packet goes.

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

/// See the module.
#[derive(Debug)]
pub struct Engine {
    streams: Slab<Stream>,
    slots: KeyedMap<StreamId, usize>,
    /// Who wants to hear whom, the newest wish last: a stream that feeds several is passed on to that one.
    subscribers: BTreeMap<StreamId, SmallVec<[usize; 2]>>,
    /// When which slot wants a tick: one entry per slot.
    timers: BTreeSet<(Instant, usize)>,
    recordings: BTreeMap<RecordingId, Recording>,
    /// When which recording has a block to hand out.
    blocks: BTreeSet<(Instant, RecordingId)>,
    sounds: ToneCache,
    /// Packets that were refused, of all streams that ever were.
    refused: u64,
    rng: Rng,
}

impl Engine {
    /// After so much silence of a peer that should send, [`MediaEvent::RtpTimeout`] is raised (once per silence).
    pub const SILENCE: Duration = Duration::from_secs(30);

    /// An engine without streams.
    pub fn new(mut rng: Rng) -> Engine {
        Engine {
            streams: Slab::new(),
            slots: KeyedMap::with_hasher(KeyedHash::new(&mut rng)),
            subscribers: BTreeMap::new(),
            timers: BTreeSet::new(),
            recordings: BTreeMap::new(),
            blocks: BTreeSet::new(),
            sounds: ToneCache::default(),
            refused: 0,
            rng,
        }
    }

    /// Carry out a command. One for a stream that is not open does nothing.
    pub fn command(
        &mut self,
        now: Now,
        command: MediaCommand,
        wire: &mut impl MediaSink,
        events: &mut Vec<MediaEvent>,
    ) {
        match command {
            MediaCommand::Open { stream, port: _ } => self.open(now, stream, wire, events),
            MediaCommand::Negotiated { stream, signalling, negotiated } => {
                self.negotiated(now, stream, signalling, negotiated);
            }
            MediaCommand::SetSource { stream, source } => self.set_source(now, stream, source),
            MediaCommand::Play { stream, play, clip } => self.begin_clip(now, stream, play, clip, events),
            MediaCommand::StopPlay { stream } => self.stop_clips(now, stream),
            MediaCommand::SetDtmfMode { stream, digits } => self.listen(stream, digits),
            MediaCommand::StartRecording(record) => self.record(now, &record, wire, events),
            MediaCommand::PauseRecording { recording } => self.pause(recording, Paused::Yes),
            MediaCommand::ResumeRecording { recording } => self.pause(recording, Paused::No),
            MediaCommand::StopRecording { recording } => {
                self.end_recording(now, recording, Ended::Stopped, wire, events);
            }
            MediaCommand::Close { stream } => self.close(now, stream, wire, events),
        }
    }

    /// One packet from the network, rewritten in place. `None`: it goes nowhere. No allocation, no lock.
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
        let shared = || self.streams.get(slot).and_then(|s| s.agreed.as_ref()).is_some_and(|a| a.mux);
        match channel {
            Component::Rtp if !(rtp::is_rtcp(packet) && shared()) => {
                self.rtp(now, slot, from, packet, events)
            }
            Component::Rtp | Component::Rtcp => self.rtcp(now, slot, from, packet),
        }
    }

    /// Play what is due: tones, silence, RTCP, time-outs. A bounded batch: [`Engine::deadline`] says whether more is due.
    pub fn tick(&mut self, now: Now, wire: &mut impl MediaSink, events: &mut Vec<MediaEvent>) {
        for _ in 0..crate::limits::TICK_STREAMS {
            let Some((due, slot)) = self.timers.first().copied().filter(|(due, _)| *due <= now.instant)
            else {
                break;
            };
            self.timers.remove(&(due, slot));
            self.tick_stream(now, slot, wire, events);
        }
        self.emit_recordings(now, wire, events);
    }

    /// When [`Engine::tick`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let block = self.blocks.first().map(|(due, _)| *due);
        self.timers.first().map(|(due, _)| *due).into_iter().chain(block).min()
    }

    /// Packets refused since the beginning, of closed streams too: [`Report::refused`] says why they are.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Streams open now.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }
}
