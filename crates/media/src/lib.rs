//! Everything a voice packet meets between two sockets, and the offer/answer that decides it. No socket and no clock.
//!
//! A *stream* is one leg's RTP and RTCP on one port of ours. The switch opens streams and says what feeds whom ([`MediaCommand`]); a worker
//! of the shell hands every packet to [`Engine::packet`], which says where it goes.
#![deny(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::wildcard_enum_match_arm)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod engine;
pub mod limits;
pub mod sdp;

pub use engine::{
    Component, DtmfMode, Ended, Engine, FileFormat, FileResult, Forward, MediaCommand, MediaEvent, MediaSink,
    PlayId, RecordingId, Report, Source, StartRecording, StreamId, Tone,
};
