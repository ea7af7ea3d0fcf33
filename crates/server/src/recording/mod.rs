//! Audio in files: recordings from the media workers' audio to files that outlive a crash, and on to where they are kept, as voicemail is too.
//!
//! A worker hands its blocks over without waiting ([`Tape`]); one thread writes all files ([`Writer`]).

mod keeper;
mod objects;
pub mod ogg_opus;
mod opus;
mod shelf;
mod tape;
pub mod unclaimed;
mod upload;
pub mod wav;
mod writer;

pub use keeper::{Keeper, Keeping};
pub use objects::{Objects, ObjectsConfig};
pub use ogg_opus::Audio;
pub use shelf::Warehouse;
pub use tape::Tape;
pub use writer::{Writer, WriterConfig};
