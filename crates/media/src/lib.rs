//! Media: the RTP engine between the sockets, and the SDP offer/answer that configures it. Without sockets and clocks (sans-I/O).
//!
//! A *stream* is one leg's RTP and RTCP on one local port pair. The switch opens streams and sets their sources ([`MediaCommand`]); a media
//! worker of the server hands every packet to [`Engine::packet`], which says where it is to be sent.
//!
//! An offer is answered, and a packet of the caller is relayed to the callee:
//!
//! ```
//! use base::{Now, Rng};
//! use centralita_media::sdp::{self, Direction, LocalMedia, SessionDescription};
//! use centralita_media::{Component, Engine, MediaCommand, MediaSink, Source, StreamId};
//!
//! /// Receives what the engine generates; here only relayed packets matter.
//! struct Discard;
//! impl MediaSink for Discard {
//!     fn send(&mut self, _: StreamId, _: Component, _: std::net::SocketAddr, _: &[u8]) {}
//! }
//!
//! # fn main() -> Result<(), sdp::SdpError> {
//! // The caller's offer is passed on to the callee with our address; the callee answers.
//! let local = |port| LocalMedia {
//!     address: [192, 0, 2, 1].into(),
//!     port,
//!     session: 1,
//!     version: 1,
//!     direction: Direction::SendRecv,
//! };
//! let caller = SessionDescription::parse(
//!     b"v=0\r\no=- 1 1 IN IP4 198.51.100.7\r\ns=-\r\nc=IN IP4 198.51.100.7\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 8\r\n",
//! )?;
//! let offer = sdp::offer(&local(10_002), Some(&caller));
//! let callee = SessionDescription::parse(
//!     b"v=0\r\no=- 1 1 IN IP4 198.51.100.8\r\ns=-\r\nc=IN IP4 198.51.100.8\r\nt=0 0\r\nm=audio 5000 RTP/AVP 0\r\n",
//! )?;
//! let to_callee = sdp::apply_answer(&offer.description, &callee)?;
//! let (answer, to_caller) = sdp::answer(&caller, &local(10_000), Some(&to_callee))?;
//! assert!(answer.starts_with(b"v=0\r\n"));
//!
//! // Two streams, each the source of the other.
//! let (now, mut events) = (Now::default(), Vec::new());
//! let mut engine = Engine::new(Rng::from_number(1));
//! for (id, other, port, negotiated) in [(1, 2, 10_000, to_caller), (2, 1, 10_002, to_callee)] {
//!     let (stream, signalling) = (StreamId(id), negotiated.remote.ip());
//!     for command in [
//!         MediaCommand::Open { stream, port },
//!         MediaCommand::Negotiated { stream, signalling, negotiated: Box::new(negotiated) },
//!         MediaCommand::SetSource { stream, source: Source::Stream(StreamId(other)) },
//!     ] {
//!         engine.command(now, command, &mut Discard, &mut events);
//!     }
//! }
//!
//! // A packet of the caller: version 2, PCMU, 160 samples. It is rewritten in place.
//! let mut packet = [0xff; 172];
//! packet[..12].copy_from_slice(&[0x80, 0, 0, 1, 0, 0, 0, 160, 0, 0, 0, 7]);
//! let from = ([198, 51, 100, 7], 4000).into();
//! let forward = engine.packet(now, StreamId(1), Component::Rtp, from, &mut packet, &mut events);
//! let forward = forward.expect("the packet comes from the address in SDP");
//! assert_eq!((forward.stream, forward.to), (StreamId(2), ([198, 51, 100, 8], 5000).into()));
//! # Ok(())
//! # }
//! ```
#![deny(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::wildcard_enum_match_arm)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod engine;
pub mod limits;
pub mod sdp;

pub use engine::{
    Component, DtmfMode, Ended, Engine, FileFormat, FileResult, Forward, MediaCommand, MediaEvent, MediaSink,
    PlayId, RecordingId, Report, Source, StartRecording, StreamId, Tone,
};
