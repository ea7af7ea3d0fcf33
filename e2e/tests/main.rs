//! The integration tests of this crate in one binary: it is linked once, and its tests share one pool of threads.
#![allow(clippy::format_collect, clippy::format_push_string, clippy::too_many_arguments)]

mod announcements;
mod attacks_api;
mod attacks_dialogs;
mod attacks_floods;
mod attacks_guessing;
mod attacks_media;
mod attacks_registrar;
mod attacks_streams;
mod attacks_texts;
mod call_flows;
mod call_limits;
mod database_away;
mod document_000;
mod document_001;
mod document_002;
mod events;
mod forwarding;
mod fraud;
mod fuzz_api;
mod harness;
mod kill;
mod moves;
mod nodes;
mod recording;
mod recurring;
mod recurring_nodes;
mod registration;
mod torture;
mod trunk;
mod trunk_tcp;
mod two_phones_talk;
mod voicemail;
