//! The packet engine: streams, what feeds whom, and where each packet goes.

mod dtmf;
mod g711;
mod latching;
mod playback;
mod quality;
mod recorder;
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
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base::{Instant, KeyedHash, KeyedMap, Now, Rng};
use slab::Slab;
use smallvec::SmallVec;

use crate::sdp::Negotiated;
pub use recorder::{Ended, FileFormat, RecordingId, StartRecording};
use recorder::{Paused, Recording};
use stream::Stream;
pub use tap::{DtmfMode, PlayId};
use tone_generator::ToneCache;

/// One leg's RTP and RTCP on one port of ours; chosen by the switch, unique among open streams.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StreamId(pub u32);

/// RTP or RTCP. With rtcp-mux both arrive on the RTP port and are told apart by their second byte (RFC 5761 §4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Component {
    Rtp,
    Rtcp,
}

/// What we can play by ourselves (8 kHz).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tone {
    /// Ringing at the far end: 425 Hz, 1 s on, 4 s off.
    Ringback,
    /// Busy: 425 Hz, 0.5 s on, 0.5 s off.
    Busy,
    /// Milliwatt: 1004 Hz at 0 dBm0, without end.
    Milliwatt,
    /// Music on hold: a quiet tune that we synthesise ourselves.
    Music,
}

/// What a peer hears.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// Nothing is sent.
    Nothing,
    /// The peer of another stream: relayed where the codecs agree, transcoded between µ-law and A-law where not.
    /// A stream that several want to hear is passed on to the one that was told last.
    Stream(StreamId),
    /// Itself.
    Echo,
    /// A tone.
    Tone(Tone),
    /// Packets of silence, so that NAT bindings and phones stay content.
    Silence,
}

/// What the switch tells a worker.
#[derive(Clone, PartialEq, Debug)]
pub enum MediaCommand {
    /// A leg begins on this local (even) RTP port, which the worker has bound. Nothing is sent before `Negotiated`.
    Open {
        /// The stream.
        stream: StreamId,
        /// Its local RTP port.
        port: u16,
    },
    /// What SDP said, first or anew. A changed remote address unlocks the source (DESIGN §4).
    Negotiated {
        /// The stream.
        stream: StreamId,
        /// Where the leg's signalling comes from: a source there may lock within the first packets (NAT).
        signalling: IpAddr,
        /// The result of offer and answer.
        negotiated: Box<Negotiated>,
    },
    /// What this stream's peer hears from now on.
    SetSource {
        /// The stream whose peer listens.
        stream: StreamId,
        /// What it hears.
        source: Source,
    },
    /// Let a peer hear a clip. Clips of a stream are played one after the other without a gap, each in full, instead of what feeds the
    /// stream; that returns after the last one. They begin once SDP has spoken.
    Play {
        /// The stream whose peer listens.
        stream: StreamId,
        /// Comes back in [`MediaEvent::PlaybackFinished`].
        play: PlayId,
        /// 8 kHz, mono.
        clip: Arc<[i16]>,
    },
    /// Forget the clips of a stream, the one that plays too. They are not told as played.
    StopPlay {
        /// The stream.
        stream: StreamId,
    },
    /// Which digits of a peer are told; where nothing is said, [`DtmfMode::Events`].
    SetDtmfMode {
        /// The stream.
        stream: StreamId,
        /// What to listen for.
        digits: DtmfMode,
    },
    /// Record what one or two peers send us. [`MediaEvent::Recorded`] is its end, whatever ends it.
    StartRecording(Box<StartRecording>),
    /// From now on silence is written, until [`MediaCommand::ResumeRecording`].
    PauseRecording {
        /// Which.
        recording: RecordingId,
    },
    /// Write again what is heard.
    ResumeRecording {
        /// Which.
        recording: RecordingId,
    },
    /// End a recording.
    StopRecording {
        /// Which.
        recording: RecordingId,
    },
    /// The leg is over: [`MediaEvent::Closed`] follows, then the port may be used again.
    Close {
        /// The stream.
        stream: StreamId,
    },
}

/// What a worker tells the switch.
#[derive(Clone, PartialEq, Debug)]
pub enum MediaEvent {
    /// Even local ports that a worker has bound (each with the odd one above it) and that nobody uses.
    Ports {
        /// Which worker: a call's streams all live on one.
        worker: u8,
        /// Which listener's address they are bound on.
        listener: u16,
        /// The RTP ports.
        ports: Vec<u16>,
    },
    /// A whole DTMF digit was received, once per press: as events (RFC 4733), or as tones where [`MediaCommand::SetDtmfMode`] asked for it.
    Digit {
        /// Whose.
        stream: StreamId,
        /// `0-9*#A-D`.
        digit: char,
        /// How long it was held.
        millis: u16,
    },
    /// Nothing was received on a stream that should be sending for [`Engine::SILENCE`].
    RtpTimeout {
        /// Which.
        stream: StreamId,
    },
    /// A clip was played to its end.
    PlaybackFinished {
        /// To whose peer.
        stream: StreamId,
        /// Which clip.
        play: PlayId,
    },
    /// Nobody in a recording has made a sound for as long as it asked. Once per silence.
    SilenceDetected {
        /// Which.
        recording: RecordingId,
    },
    /// A recording has ended; its last audio went out before.
    Recorded {
        /// Which.
        recording: RecordingId,
        /// How long it is, pauses included.
        millis: u32,
        /// How much of that was no silence.
        sound_millis: u32,
        /// Why.
        ended: Ended,
    },
    /// From the shell: a recording's file is closed, or could not be written any further.
    FileClosed {
        /// Which.
        recording: RecordingId,
        /// What came of it.
        file: FileResult,
    },
    /// From the shell: a worker has ended by an error, and with it all its streams and ports. It begins anew, and tells of its ports as at
    /// its start.
    WorkerGone {
        /// Which.
        worker: u8,
    },
    /// A stream is closed.
    Closed {
        /// Which.
        stream: StreamId,
        /// What it carried.
        report: Report,
    },
}

/// What became of a recording's file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileResult {
    /// It is complete.
    Complete {
        /// How long the file is.
        bytes: u64,
        /// How long it plays.
        millis: u64,
        /// Its SHA-256.
        sha256: [u8; 32],
    },
    /// The disk is full; what was written before is kept.
    DiskFull,
    /// It could not be opened or written.
    Failed,
}

/// What one stream carried, measured at our socket.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Report {
    /// RTP packets from the peer that were accepted.
    pub received: u64,
    /// RTP packets sent to the peer.
    pub sent: u64,
    /// Packets of the peer that never arrived (RFC 3550 §A.3).
    pub lost: u64,
    /// Packets that were refused: not from the locked source, no RTP, not allowed by the direction.
    pub refused: u64,
    /// Interarrival jitter of what the peer sends (RFC 3550 §A.8), in microseconds.
    pub jitter_us: u32,
    /// Round trip to the peer from RTCP (LSR/DLSR), in microseconds; 0 where no report came.
    pub rtt_us: u32,
    /// Loss that the peer reports of what we send, in 1/256.
    pub remote_loss: u8,
    /// Jitter that the peer reports of what we send, in microseconds.
    pub remote_jitter_us: u32,
    /// Listening quality of what the peer sends, 1.0 to 4.5 by the E-model (ITU-T G.107, default values with loss and delay); 0 where nothing came.
    pub mos: f32,
    /// The same for what the peer hears, from its reports.
    pub remote_mos: f32,
}

/// Where a packet goes that was rewritten in place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Forward {
    /// The stream whose socket sends it.
    pub stream: StreamId,
    /// Which socket of it.
    pub channel: Component,
    /// To whom.
    pub to: SocketAddr,
    /// How many bytes of the buffer.
    pub len: usize,
}

/// Takes what the engine makes by itself: packets of tones, silence and reports, and the audio of recordings.
pub trait MediaSink {
    /// Send `packet` from a stream's socket.
    fn send(&mut self, stream: StreamId, channel: Component, to: SocketAddr, packet: &[u8]);

    /// The next block of a recording, at most [`limits::RECORD_BLOCK`](crate::limits::RECORD_BLOCK) samples of 8 kHz: `at` samples after
    /// its beginning, where the block before it ended. `right` is as long as `left`, and there where the recording has two sides.
    fn audio(&mut self, recording: RecordingId, at: u64, left: &[i16], right: Option<&[i16]>) {
        let _ = (recording, at, left, right);
    }
}

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
