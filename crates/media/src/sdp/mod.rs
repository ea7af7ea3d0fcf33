//! SDP (RFC 8866) and its offer/answer model (RFC 3264): one audio stream is ours to carry, others are refused with port 0.

mod inspect;
mod negotiate;
mod parse;
mod restrict;
mod write;

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

/// Which way media flows, seen from the one who writes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)]
pub enum Direction {
    #[default]
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    /// The same flow seen from the other end.
    pub fn reversed(self) -> Direction {
        match self {
            Direction::SendOnly => Direction::RecvOnly,
            Direction::RecvOnly => Direction::SendOnly,
            Direction::SendRecv | Direction::Inactive => self,
        }
    }

    /// Whether the writer sends.
    pub fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    /// Whether the writer listens.
    pub fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }
}

/// An audio codec by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Codec {
    /// G.711 µ-law, 8 kHz.
    Pcmu,
    /// G.711 A-law, 8 kHz.
    Pcma,
    /// One that is only relayed: `opus/48000/2`, `G722/8000`, as its rtpmap says.
    Other(String),
}

impl Codec {
    /// As in an rtpmap without clock: `PCMU`, `PCMA`, `opus`.
    pub fn name(&self) -> &str {
        match self {
            Codec::Pcmu => "PCMU",
            Codec::Pcma => "PCMA",
            Codec::Other(map) => map.split('/').next().unwrap_or(map),
        }
    }

    /// The RTP clock (RFC 3551): 8 kHz where the map does not say.
    pub fn clock(&self) -> u32 {
        match self {
            Codec::Pcmu | Codec::Pcma => 8_000,
            Codec::Other(map) => {
                map.split('/').nth(1).and_then(|c| c.parse().ok()).filter(|c| *c > 0).unwrap_or(8_000)
            }
        }
    }

    /// Whether two names mean the same codec: encoding names know no case (RFC 8866 §6.6).
    pub fn same_as(&self, other: &Codec) -> bool {
        match (self, other) {
            (Codec::Pcmu, Codec::Pcmu) | (Codec::Pcma, Codec::Pcma) => true,
            (Codec::Other(a), Codec::Other(b)) => a.eq_ignore_ascii_case(b),
            (Codec::Pcmu | Codec::Pcma | Codec::Other(_), _) => false,
        }
    }

    /// Whether it is one of the two that we can transcode.
    pub fn is_g711(&self) -> bool {
        matches!(self, Codec::Pcmu | Codec::Pcma)
    }

    /// Neither events nor comfort noise.
    fn is_audio(&self) -> bool {
        !self.is_event() && !self.name().eq_ignore_ascii_case("CN")
    }

    fn is_event(&self) -> bool {
        self.name().eq_ignore_ascii_case("telephone-event")
    }

    /// `telephone-event/8000`, the one that G.711 legs use.
    pub(crate) fn is_dtmf(&self) -> bool {
        self.is_event() && self.clock() == 8_000
    }
}

/// Why descriptions do not lead to media. The switch answers 400 or 488 with this text.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum SdpError {
    #[error("malformed SDP at line {line}: {what}")]
    Malformed { line: usize, what: &'static str },
    #[error("no audio stream in the offer")]
    NoAudio,
    #[error("no common codec; offered: {offered}")]
    NoCommonCodec { offered: String },
    #[error("media transport {0} is not supported")]
    Transport(String),
}

/// A parsed description; lines that we do not understand are kept in their places.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionDescription {
    /// What stands above the first `m=`, the `v=` line included.
    session: Vec<Line>,
    /// One entry per `m=`.
    media: Vec<Media>,
}

/// `<kind>=<value>`, byte for byte.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Line {
    kind: u8,
    value: Bytes,
}

/// An `m=` line and what belongs to it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Media {
    kind: String,
    port: u16,
    /// The rare `/<number of ports>`.
    count: Option<u16>,
    proto: String,
    formats: Vec<String>,
    lines: Vec<Line>,
}

impl SessionDescription {
    /// Read one. Never panics.
    pub fn parse(bytes: &[u8]) -> Result<SessionDescription, SdpError> {
        parse::description(bytes)
    }

    /// As bytes for the wire: what was parsed, with CRLF and the `m=` lines in their canonical form.
    pub fn to_bytes(&self) -> Bytes {
        write::description(self)
    }

    /// The direction of the (first) audio stream; `c=0.0.0.0` counts as the old way to hold (RFC 2543).
    pub fn direction(&self) -> Direction {
        self.audio().map_or(Direction::Inactive, |(_, media)| self.direction_of(media))
    }

    /// The codecs of the audio stream, in the order of preference, without telephone-event and comfort noise.
    pub fn codecs(&self) -> Vec<Codec> {
        self.audio().map_or_else(Vec::new, |(_, media)| {
            media.payloads().into_iter().filter(|p| p.codec.is_audio()).map(|p| p.codec).collect()
        })
    }
}

/// What our own lines say: where we listen, and who we are in `o=`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LocalMedia {
    /// The address that the peer shall send to.
    pub address: IpAddr,
    /// The RTP port; RTCP is the next one unless muxed.
    pub port: u16,
    /// `sess-id` of `o=`: fixed for a leg.
    pub session: u64,
    /// `sess-version` of `o=`: one more for each changed description.
    pub version: u64,
    /// Which way our media flows.
    pub direction: Direction,
}

/// What a leg has agreed on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Negotiated {
    /// Where the peer wants RTP; port 0 or an unspecified address where it wants none.
    pub remote: SocketAddr,
    /// Where the peer wants RTCP.
    pub remote_rtcp: SocketAddr,
    /// Whether RTCP shares the RTP port (RFC 5761).
    pub rtcp_mux: bool,
    /// The codec that is spoken.
    pub codec: Codec,
    /// Its payload type, as the peer wants to receive it.
    pub payload_type: u8,
    /// Every other audio payload type that both sides know, by codec: a peer may switch between them. Where a peer gave a codec another
    /// number than we offered, our number is here too, after the peer's: what it sends may bear either (RFC 3264 §6.1).
    pub alternates: Vec<(u8, Codec)>,
    /// The payload type of telephone-event/8000 (RFC 4733), where agreed.
    pub dtmf: Option<u8>,
    /// Which way *our* media flows on this leg.
    pub direction: Direction,
    /// Milliseconds of audio per packet.
    pub ptime_ms: u16,
}

/// A description of ours, as bytes for the wire and parsed for [`apply_answer`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offer {
    /// What is sent.
    pub bytes: Bytes,
    /// What it says.
    pub description: SessionDescription,
}

pub use negotiate::{answer, apply_answer, offer};
