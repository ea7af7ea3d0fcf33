//! The integration tests of this crate as one binary, so that it is linked once and its tests share one thread pool.
#![allow(
    clippy::format_push_string,
    clippy::indexing_slicing,
    clippy::manual_is_multiple_of,
    clippy::match_same_arms,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub
)]

mod admission;
mod calls;
mod cancel_races_200;
mod challenged_calls;
mod chaos;
mod corpus;
mod digest;
mod forking;
mod framing;
mod glare_491;
mod in_dialog_requests;
mod late_offer;
mod lost_ack;
mod multipart;
mod network;
mod out_of_dialog_requests;
mod reliable_progress;
mod session_timer;
mod subscriptions;
mod target_selection;
mod torture;
mod torture_replay;
mod uri;
