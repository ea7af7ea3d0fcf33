//! Registrar, location service, B2BUA and call control as one deterministic state machine.
//!
//! [`Switch::handle`] absorbs one input and appends all outputs to a vector. No socket, no clock, no database.
#![deny(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::wildcard_enum_match_arm)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod auth;
mod backlog;
mod call;
mod command;
mod config;
mod core;
mod dispatch;
mod features;
mod guard;
mod io;
pub mod ladder;
pub mod limits;
mod location;
mod mwi;
mod out_of_dialog;
mod ports;
mod registrar;
mod restore;
pub mod schedule;
mod status;
mod switch;
mod trunk;
mod usage;
pub mod voicemail;

pub use call::{Beep, RecordingConfig};
pub use command::{
    Ban, CallPlace, CallsOf, Command, Counters, JournalRoom, Originate, Presence, RecordingAction,
    RecordingView, Registration, RegistrationsOf, Reply, ScheduledOrigin, State, Status,
};
pub use command::{HealthState, TestedCall, TrunkHostStatus, TrunkRegistration, TrunkStatus};
pub use config::{Config, HoldTreatment, Listener};
pub use features::{FeatureCodes, Setting, SettingChange};
pub use io::{Input, OpenCall, Output};
pub use switch::Switch;
pub use usage::OutboundLimits;
