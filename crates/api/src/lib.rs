//! HTTP for people and programs: REST, metrics and the OpenAPI document.
//!
//! [`router`] is the whole of it. What the command line and the first start do without HTTP lies in [`Office`].
#![deny(missing_docs)]

mod app;
mod auth;
mod cors;
mod cursor;
mod enums;
mod error;
mod examples;
mod follow;
mod idempotency;
mod imported;
mod input;
mod layer;
mod limits;
mod live;
mod office;
mod openapi;
mod operation_ids;
mod pages;
mod patch;
mod play;
mod port;
mod process;
mod range;
mod route;
mod router;
mod routes;
mod secret;
mod shapes;
mod shapes_recordings;
mod shelf;
mod source;
mod spreadsheet;
mod upload;
mod usage;
mod warnings;

pub use app::{App, Clock, Settings};
pub use imported::{Column, LineFault};
pub use input::PermissionsChange;
pub use office::{
    Actor, CreatedExtension, CreatedKey, ExtensionChanges, ImportDone, Imported, MadePassword,
    MailboxChanges, NewExtension, NewKey, NewRecurringCall, Office, OfficeError, RecurringCallChanges,
    TrunkDraft, webhook_secret,
};
pub use patch::Patch;
pub use port::{Offline, SwitchPort};
pub use process::{Kind as MetricKind, MetricsPage, Process, TaskState, TaskStatus, Value as MetricValue};
pub use router::router;
pub use secret::is_well_formed as is_api_key;
pub use shelf::{AudioError, AudioFile, Later, Opened, Shelf, Wanted};
pub use spreadsheet::read_spreadsheet;
