//! The exchange: registrar, location service, B2BUA and call control, as one deterministic state machine.
//!
//! [`Switch::handle`] absorbs one input and appends every consequence to a vector. No socket, no clock, no database.
#![deny(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::wildcard_enum_match_arm)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod backlog;
mod call;
mod command;
mod commands;
mod config;
mod exchange;
mod features;
mod guard;
mod identity;
mod io;
pub mod ladder;
pub mod limits;
mod location;
mod meter;
mod ports;
mod registrar;
mod requests;
mod restore;
pub mod schedule;
mod trunk;
pub mod voicemail;

pub use call::{Beep, RecordingConfig};
pub use command::{
    Ban, CallPlace, CallsOf, Command, Counters, JournalRoom, Originate, Planned, Presence, RecordingAction,
    RecordingView, Registration, RegistrationsOf, Reply, State, Status,
};
pub use command::{TestedCall, TrunkHostStatus, TrunkLife, TrunkRegistration, TrunkStatus};
pub use config::{Config, Hold, Listener};
pub use exchange::Switch;
pub use features::{FeatureCodes, Setting, SettingChange};
pub use io::{Input, OpenCall, Output};
pub use meter::OutsideLimits;
