//! The integration tests of this crate in one binary: it is linked once, and its tests share one pool of threads.

mod announcements;
mod bad_input;
mod bodies;
mod calls;
mod documents;
mod events;
mod extensions;
mod guard;
mod house;
mod idempotency;
mod keys;
mod matrix;
mod office;
mod openapi;
mod pages;
mod permissions;
mod rate_limits;
mod recurring_calls;
mod reference;
mod stats;
mod tour;
mod trunks;
mod voicemail;
mod webhooks;
mod words;
