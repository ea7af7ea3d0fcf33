//! The integration tests of this crate in one binary: linked once, and run on one thread pool.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, missing_docs, unreachable_pub)]

mod corpus;
mod events;
mod offer_answer;
mod play;
mod record;
mod relay;
mod reports;
mod restart;
mod sdp_properties;
mod source;
mod test_engine;
mod tones;
