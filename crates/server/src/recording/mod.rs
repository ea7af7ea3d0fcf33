//! Recordings: from the media workers' audio to files that outlive a crash, and on to where they are kept.
//!
//! A worker hands its blocks over without waiting ([`Tape`]); one thread writes all files ([`Writer`]).

pub mod ogg_opus;
mod opus;
mod tape;
pub mod wav;
mod writer;

pub use ogg_opus::Audio;
pub use tape::Tape;
pub(crate) use writer::path_of;
pub use writer::{Writer, WriterConfig};
