//! Media: the RTP engine between the sockets, and the SDP offer/answer that configures it. Without sockets and clocks (sans-I/O).
//!
//! A *stream* is one leg's RTP and RTCP on one local port pair. The switch opens streams and sets their sources ([`MediaCommand`]); a media
//! worker of the server hands every packet to [`Engine::packet`], which says where it is to be sent.
#![deny(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::wildcard_enum_match_arm)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod engine;
pub mod limits;
pub mod sdp;

pub use engine::{
    Component, DtmfMode, Ended, Engine, FileFormat, FileResult, Forward, MediaCommand, MediaEvent, MediaSink,
    PlayId, RecordingId, Report, Source, StartRecording, StreamId, Tone,
};
