//! Audio files: the worker-side queue and the writer thread of recordings, storage in the data directory or an object store, and retention.
//! Voicemail uses the same storage.
//!
//! A worker sends its blocks without waiting ([`RecordingSender`]); one thread writes all files ([`Writer`]).

mod file_store;
mod objects;
pub mod ogg_opus;
mod opus;
mod retention;
mod sender;
pub mod unclaimed;
mod upload;
pub mod wav;
mod writer;

pub use file_store::AudioFileStore;
pub use objects::{Objects, ObjectsConfig};
pub use ogg_opus::Audio;
pub use retention::{RecordingRetention, RetentionPolicy};
pub use sender::RecordingSender;
pub use writer::{Writer, WriterConfig};
