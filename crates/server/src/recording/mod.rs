//! Recordings: from the media workers' audio to files that outlive a crash, and on to where they are kept.
//!
//! A worker hands its blocks over without waiting ([`Tape`]); one thread writes all files ([`Writer`]).

mod keeper;
pub mod ogg_opus;
mod opus;
mod shelf;
mod tape;
pub mod wav;
mod writer;

pub use keeper::{Keeper, Keeping};
pub use ogg_opus::Audio;
pub use shelf::{Objects, Store as ObjectsConfig, Warehouse};
pub use tape::Tape;
pub(crate) use writer::path_of;
pub use writer::{Writer, WriterConfig};
