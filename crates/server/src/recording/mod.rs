//! Audio in files: recordings from the media workers' audio to files that outlive a crash, and on to where they are kept, as voicemail is too.
//!
//! A worker hands its blocks over without waiting ([`RecordingSender`]); one thread writes all files ([`Writer`]).

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
