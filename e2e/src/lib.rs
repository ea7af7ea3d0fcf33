//! The real binary, tested with real phones over loopback.
//!
//! A test starts its own [`Server`] on free ports, creates extensions through the REST API, and lets [`Phone`]s (baresip), SIPp scenarios
//! ([`sipp`]) or hand-written messages ([`wire`]) talk to it. No test sleeps: every wait is for a condition, with a limit after which the test
//! fails and says what was missing.

// Messages are written in reading order; the cost does not matter here.
#![allow(clippy::format_push_string, clippy::format_collect, clippy::too_many_arguments)]

mod audio_probe;
mod block;
mod digest;
mod document;
pub mod how_to;
mod http;
mod mount;
mod nat;
mod phone;
pub mod postgres;
pub mod python;
pub mod raw;
pub mod recurring;
mod scratch;
mod server;
pub mod sipp;
mod smtp;
pub mod tone;
mod wait;
pub mod wire;

pub use audio_probe::AudioProbe;
pub use block::Block;
pub use document::Document;
pub use http::{Answer, Http};
pub use mount::Mount;
pub use nat::Nat;
pub use phone::{Account, Answering, Phone, Transport};
pub use postgres::Postgres;
pub use scratch::Scratch;
pub use server::{Extension, Server, Settings, text};
pub use smtp::Smtp;
pub use wait::{soon, until};
