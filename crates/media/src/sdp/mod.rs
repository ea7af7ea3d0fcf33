//! SDP (RFC 8866) and the offer/answer model (RFC 3264): one audio stream is negotiated, all other media are rejected with port 0.

mod inspect;
mod negotiate;
mod parse;
mod restrict;
mod write;

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

/// Direction of media, seen from the writer of the description.
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
    /// The same direction seen from the other end.
    pub fn reversed(self) -> Direction {
        match self {
            Direction::SendOnly => Direction::RecvOnly,
            Direction::RecvOnly => Direction::SendOnly,
            Direction::SendRecv | Direction::Inactive => self,
        }
    }

    /// Whether the writer sends media.
    pub fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    /// Whether the writer receives media.
    pub fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }
}

/// An audio codec by its encoding name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Codec {
    /// G.711 µ-law, 8 kHz.
    Pcmu,
    /// G.711 A-law, 8 kHz.
    Pcma,
    /// Any other codec, which is only relayed: its rtpmap, such as `opus/48000/2` or `G722/8000`.
    Other(String),
}

impl Codec {
    /// Encoding name without clock rate: `PCMU`, `PCMA`, `opus`.
    pub fn name(&self) -> &str {
        match self {
            Codec::Pcmu => "PCMU",
            Codec::Pcma => "PCMA",
            Codec::Other(map) => map.split('/').next().unwrap_or(map),
        }
    }

    /// RTP clock rate in Hz (RFC 3551); 8,000 where the rtpmap has none.
    pub fn clock(&self) -> u32 {
        match self {
            Codec::Pcmu | Codec::Pcma => 8_000,
            Codec::Other(map) => {
                map.split('/').nth(1).and_then(|c| c.parse().ok()).filter(|c| *c > 0).unwrap_or(8_000)
            }
        }
    }

    /// Whether both are the same codec: encoding names are case-insensitive (RFC 8866 §6.6).
    pub fn same_as(&self, other: &Codec) -> bool {
        match (self, other) {
            (Codec::Pcmu, Codec::Pcmu) | (Codec::Pcma, Codec::Pcma) => true,
            (Codec::Other(a), Codec::Other(b)) => a.eq_ignore_ascii_case(b),
            (Codec::Pcmu | Codec::Pcma | Codec::Other(_), _) => false,
        }
    }

    /// Whether it is G.711, which we can transcode.
    pub fn is_g711(&self) -> bool {
        matches!(self, Codec::Pcmu | Codec::Pcma)
    }

    /// Whether it is neither telephone-event nor comfort noise.
    fn is_audio(&self) -> bool {
        !self.is_event() && !self.name().eq_ignore_ascii_case("CN")
    }

    fn is_event(&self) -> bool {
        self.name().eq_ignore_ascii_case("telephone-event")
    }

    /// Whether it is `telephone-event/8000`, the form used with G.711.
    pub(crate) fn is_dtmf(&self) -> bool {
        self.is_event() && self.clock() == 8_000
    }
}

/// Why an offer/answer exchange failed. The switch rejects with 400 or 488 and this text.
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

/// A parsed session description; unknown lines are kept in their order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionDescription {
    /// The session-level lines, `v=` included.
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

/// An `m=` line and the lines of its section.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Media {
    kind: String,
    port: u16,
    /// The optional `/<number of ports>`.
    count: Option<u16>,
    proto: String,
    formats: Vec<String>,
    lines: Vec<Line>,
}

impl SessionDescription {
    /// Parse a description. Errors with [`SdpError::Malformed`]; never panics.
    pub fn parse(bytes: &[u8]) -> Result<SessionDescription, SdpError> {
        parse::description(bytes)
    }

    /// Serialise: the parsed lines, with CRLF and `m=` lines in canonical form.
    pub fn to_bytes(&self) -> Bytes {
        write::description(self)
    }

    /// Direction of the first audio stream; `c=0.0.0.0` is a hold (RFC 2543). Inactive without an audio stream.
    pub fn direction(&self) -> Direction {
        self.audio().map_or(Direction::Inactive, |(_, media)| self.direction_of(media))
    }

    /// Codecs of the audio stream in order of preference, without telephone-event and comfort noise.
    pub fn codecs(&self) -> Vec<Codec> {
        self.audio().map_or_else(Vec::new, |(_, media)| {
            media.payloads().into_iter().filter(|p| p.codec.is_audio()).map(|p| p.codec).collect()
        })
    }
}

/// Our side of a description: address, port and `o=` line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LocalMedia {
    /// Address at which we receive media.
    pub address: IpAddr,
    /// RTP port; RTCP uses the next port unless muxed.
    pub port: u16,
    /// `sess-id` of `o=`: constant for a leg.
    pub session: u64,
    /// `sess-version` of `o=`: incremented with each changed description.
    pub version: u64,
    /// Direction of our media.
    pub direction: Direction,
}

/// The result of an offer/answer exchange on one leg.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Negotiated {
    /// The peer's RTP address; port 0 or an unspecified address where it wants no media.
    pub remote: SocketAddr,
    /// The peer's RTCP address.
    pub remote_rtcp: SocketAddr,
    /// Whether RTCP shares the RTP port (RFC 5761).
    pub rtcp_mux: bool,
    /// The negotiated codec.
    pub codec: Codec,
    /// Its payload type, as the peer wants to receive it.
    pub payload_type: u8,
    /// All other audio payload types that both sides support; the peer may switch between them. Where the peer gave a codec another payload type
    /// than our offer, ours is included after the peer's: packets of the peer may have either (RFC 3264 §6.1).
    pub alternates: Vec<(u8, Codec)>,
    /// Payload type of telephone-event/8000 (RFC 4733), if negotiated.
    pub dtmf: Option<u8>,
    /// Direction of *our* media on this leg.
    pub direction: Direction,
    /// Milliseconds of audio per packet.
    pub ptime_ms: u16,
}

/// Our offer, as bytes to send and parsed for [`apply_answer`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offer {
    /// The serialised description.
    pub bytes: Bytes,
    /// The parsed description.
    pub description: SessionDescription,
}

pub use negotiate::{answer, apply_answer, offer};
