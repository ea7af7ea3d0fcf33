//! The integration tests of this crate in one binary: it is linked once, and its tests share one pool of threads.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, missing_docs, unreachable_pub)]

mod corpus;
mod desk;
mod offer_answer;
mod play;
mod record;
mod relay;
mod reports;
mod sdp_properties;
mod source;
mod tones;
