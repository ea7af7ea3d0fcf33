//! The public types of the engine: commands, events, reports and the sink of generated packets.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::sdp::Negotiated;

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
    /// Nothing was received on a stream that should be sending for [`Engine::SILENCE`](crate::Engine::SILENCE).
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

/// A clip that is played; chosen by whoever plays it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PlayId(pub u32);

/// Which presses of keys are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DtmfMode {
    /// Those that come as events (RFC 4733).
    Events,
    /// Those, and tones in the audio of a peer that has not sent an event yet: it costs a little, and voices may be taken for keys, so only
    /// while somebody waits for keys.
    Tones,
}

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
