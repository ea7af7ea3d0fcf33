//! Integration tests of this crate, in one binary: it is linked once, and its tests share one thread pool.

mod announcements;
mod bad_input;
mod bodies;
mod calls;
mod conventions;
mod directory_service;
mod documents;
mod events;
mod examples;
mod extensions;
mod guard;
mod idempotency;
mod keys;
mod matrix;
mod openapi;
mod pages;
mod permissions;
mod rate_limits;
mod recurring_calls;
mod reference;
mod stats;
mod test_api;
mod trunks;
mod voicemail;
mod webhooks;
