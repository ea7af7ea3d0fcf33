//! The public types of the engine: commands, events, reports and the sink of generated packets.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::sdp::Negotiated;

/// Id of a stream: one leg's RTP and RTCP on one local port pair. Chosen by the switch, unique among open streams.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StreamId(pub u32);

/// RTP or RTCP. With rtcp-mux both arrive on the RTP port and are told apart by the second byte of the packet (RFC 5761 §4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Component {
    Rtp,
    Rtcp,
}

/// A signal that the engine generates, at 8 kHz.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tone {
    /// Ringback tone: 425 Hz, 1 s on, 4 s off.
    Ringback,
    /// Busy tone: 425 Hz, 0.5 s on, 0.5 s off.
    Busy,
    /// Milliwatt: 1004 Hz at 0 dBm0, continuous.
    Milliwatt,
    /// Music on hold: a quiet synthesised tune.
    Music,
}

/// The source of the audio that is sent to a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// No source: nothing is sent.
    Nothing,
    /// The peer of another stream: relayed where the codecs match, transcoded between µ-law and A-law where they differ.
    /// A stream has one listener: of several streams with the same source, the one whose source was set last.
    Stream(StreamId),
    /// The stream's own peer: echo.
    Echo,
    /// A generated tone.
    Tone(Tone),
    /// Packets of silence, which keep NAT bindings open and prevent the phone's RTP timeout.
    Silence,
}

/// Commands of the switch to a media worker.
#[derive(Clone, PartialEq, Debug)]
pub enum MediaCommand {
    /// Open a stream on this local (even) RTP port, which the worker has bound. Nothing is sent before `Negotiated`.
    Open {
        /// Id of the new stream; an open stream with this id is closed first.
        stream: StreamId,
        /// Local RTP port; RTCP is the next port unless muxed.
        port: u16,
    },
    /// The result of an offer/answer exchange, the first or a later one. A changed remote address starts latching again.
    Negotiated {
        /// Id of the stream.
        stream: StreamId,
        /// Source address of the leg's signalling: RTP from this host may latch although SDP names another address (NAT).
        signalling: IpAddr,
        /// What was negotiated.
        negotiated: Box<Negotiated>,
    },
    /// Set the source of the audio that is sent to the stream's peer.
    SetSource {
        /// Id of the stream whose peer listens.
        stream: StreamId,
        /// The new source.
        source: Source,
    },
    /// Queue a clip for a peer. The clips of a stream are played in order, without a gap and each in full, in place of the stream's source,
    /// which returns after the last clip. Playback starts once the stream is negotiated.
    Play {
        /// Id of the stream whose peer listens.
        stream: StreamId,
        /// Id of the clip, returned in [`MediaEvent::PlaybackFinished`].
        play: PlayId,
        /// PCM samples, 8 kHz, mono.
        clip: Arc<[i16]>,
    },
    /// Discard the queued clips of a stream, including the current one. No [`MediaEvent::PlaybackFinished`] is raised for them.
    StopPlay {
        /// Id of the stream.
        stream: StreamId,
    },
    /// Set how DTMF of a peer is detected; [`DtmfMode::Events`] until set.
    SetDtmfMode {
        /// Id of the stream.
        stream: StreamId,
        /// The detection mode.
        digits: DtmfMode,
    },
    /// Record the audio received from one or two peers. The recording ends with [`MediaEvent::Recorded`], whatever the reason.
    StartRecording(Box<StartRecording>),
    /// Write silence until [`MediaCommand::ResumeRecording`].
    PauseRecording {
        /// Id of the recording.
        recording: RecordingId,
    },
    /// Write the received audio again.
    ResumeRecording {
        /// Id of the recording.
        recording: RecordingId,
    },
    /// End a recording.
    StopRecording {
        /// Id of the recording.
        recording: RecordingId,
    },
    /// Close a stream: [`MediaEvent::Closed`] follows, then the port may be used again.
    Close {
        /// Id of the stream.
        stream: StreamId,
    },
}

/// Events of a media worker for the switch.
#[derive(Clone, PartialEq, Debug)]
pub enum MediaEvent {
    /// Even local ports that a worker has bound (each with the odd port above it) and that are free.
    Ports {
        /// Index of the worker; all streams of a call are on one worker.
        worker: u8,
        /// Index of the listener on whose address the ports are bound.
        listener: u16,
        /// The RTP ports.
        ports: Vec<u16>,
    },
    /// A complete DTMF digit was received, once per key press: as telephone-events (RFC 4733), or as in-band tones where
    /// [`MediaCommand::SetDtmfMode`] enabled them.
    Digit {
        /// Id of the stream that received it.
        stream: StreamId,
        /// One of `0-9*#A-D`.
        digit: char,
        /// Duration of the key press in milliseconds.
        millis: u16,
    },
    /// No RTP was received for [`Engine::SILENCE`](crate::Engine::SILENCE) on a stream whose peer should send.
    RtpTimeout {
        /// Id of the stream.
        stream: StreamId,
    },
    /// A clip was played to its end, or was rejected because the queue was full.
    PlaybackFinished {
        /// Id of the stream whose peer listened.
        stream: StreamId,
        /// Id of the clip.
        play: PlayId,
    },
    /// All channels of a recording have been silent for [`StartRecording::quiet`]. Raised once per period of silence.
    SilenceDetected {
        /// Id of the recording.
        recording: RecordingId,
    },
    /// A recording has ended; its last block was handed to the sink before this event.
    Recorded {
        /// Id of the recording.
        recording: RecordingId,
        /// Length in milliseconds, pauses included.
        millis: u32,
        /// Milliseconds of that which are not silence.
        sound_millis: u32,
        /// Why the recording ended.
        ended: Ended,
    },
    /// Raised by the server: a recording's file was closed, or writing it failed.
    FileClosed {
        /// Id of the recording.
        recording: RecordingId,
        /// Result of writing the file.
        file: FileResult,
    },
    /// Raised by the server: a worker thread has failed, and all its streams and ports are gone. The worker is restarted and announces its
    /// ports with [`MediaEvent::Ports`] as at start-up.
    WorkerGone {
        /// Index of the worker.
        worker: u8,
    },
    /// A stream is closed.
    Closed {
        /// Id of the stream.
        stream: StreamId,
        /// Final statistics of the stream.
        report: Report,
    },
}

/// Result of writing a recording's file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileResult {
    /// The file is complete.
    Complete {
        /// File size in bytes.
        bytes: u64,
        /// Playing time in milliseconds.
        millis: u64,
        /// SHA-256 of the file.
        sha256: [u8; 32],
    },
    /// The disk is full; what was written before is kept.
    DiskFull,
    /// The file could not be opened or written.
    Failed,
}

/// Statistics of one stream, measured at the local socket.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Report {
    /// Accepted RTP packets from the peer.
    pub received: u64,
    /// RTP packets sent to the peer.
    pub sent: u64,
    /// Packets of the peer that were lost (RFC 3550 §A.3).
    pub lost: u64,
    /// Rejected packets: not from the latched source, not RTP, over the rate limit, not allowed by the negotiated direction, or a single one
    /// far out of sequence (RFC 3550 §A.1).
    pub refused: u64,
    /// Interarrival jitter of the received packets (RFC 3550 §A.8), in microseconds.
    pub jitter_us: u32,
    /// Round-trip time to the peer from RTCP (LSR and DLSR), in microseconds; 0 without a report.
    pub rtt_us: u32,
    /// Loss that the peer reports of the packets sent to it, in 1/256.
    pub remote_loss: u8,
    /// Jitter that the peer reports of the packets sent to it, in microseconds.
    pub remote_jitter_us: u32,
    /// Listening quality of the received audio, MOS 1.0 to 4.5 by the E-model (ITU-T G.107, default values with loss and delay); 0 without a packet.
    pub mos: f32,
    /// Listening quality at the peer, by its RTCP reports, in the same range.
    pub remote_mos: f32,
}

/// Destination of a packet that was rewritten in place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Forward {
    /// Id of the stream whose socket sends the packet.
    pub stream: StreamId,
    /// The socket to send from: RTP or RTCP.
    pub channel: Component,
    /// Destination address.
    pub to: SocketAddr,
    /// Length of the packet in the buffer, in bytes.
    pub len: usize,
}

/// Receives what the engine generates: packets of tones, clips, silence and RTCP reports, and the audio of recordings.
pub trait MediaSink {
    /// Send `packet` from a stream's RTP or RTCP socket to `to`.
    fn send(&mut self, stream: StreamId, channel: Component, to: SocketAddr, packet: &[u8]);

    /// The next block of a recording: at most [`limits::RECORD_BLOCK`](crate::limits::RECORD_BLOCK) samples of 8 kHz. `at` is the block's
    /// offset in samples from the start of the recording, which is the end of the block before. `right` is present where the recording has two
    /// channels, and as long as `left`.
    fn audio(&mut self, recording: RecordingId, at: u64, left: &[i16], right: Option<&[i16]>) {
        let _ = (recording, at, left, right);
    }
}

/// Id of a clip in a stream's play queue; chosen by the switch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PlayId(pub u32);

/// Which forms of DTMF are detected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DtmfMode {
    /// Telephone-events (RFC 4733) only.
    Events,
    /// Telephone-events, and in-band tones of a peer that has not sent an event yet. Tone detection costs CPU time and may take a voice for a
    /// key, so it is enabled only while an application waits for digits.
    Tones,
}

/// Id of a recording; chosen by the switch, unique among running recordings.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RecordingId(pub u32);

/// File format of a recording.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileFormat {
    /// WAV: PCM, 16 bits, 8 kHz.
    Wav,
    /// Opus in an Ogg container.
    Opus,
}

/// Parameters of a new recording.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StartRecording {
    /// Id of the recording, used in later commands and events.
    pub recording: RecordingId,
    /// Stream whose received audio is the left channel, or the only channel.
    pub left: StreamId,
    /// Stream whose received audio is the right channel; it has to be on the same worker.
    pub right: Option<StreamId>,
    /// File path below the data directory, without extension: `recordings/2026/01/15/rec_…`.
    pub name: Arc<str>,
    /// Format of the file.
    pub format: FileFormat,
    /// Maximum duration, pauses included; unlimited if `None`.
    pub longest: Option<Duration>,
    /// [`MediaEvent::SilenceDetected`] is raised after this duration of silence; never if `None`.
    pub quiet: Option<Duration>,
}

/// Why a recording has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// By [`MediaCommand::StopRecording`], or replaced by a recording with the same id.
    Stopped,
    /// It reached [`StartRecording::longest`].
    Longest,
    /// All recorded streams are closed, or were not open.
    Left,
    /// The limit of recordings per worker ([`limits::RECORDINGS`](crate::limits::RECORDINGS)) is reached.
    Refused,
}
