//! The integration tests of this crate in one binary: it is linked once, and its tests share one pool of threads.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, missing_docs)]

mod command_line;
mod configuration;
mod connections;
mod dns;
mod journal;
mod journal_format;
mod journal_on_a_full_disk;
mod journal_waits;
mod media_workers;
mod recordings;
mod switch_thread;
mod webhooks;
