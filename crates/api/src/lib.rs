//! HTTP API: REST routes, Prometheus metrics and the OpenAPI document.
//!
//! [`router()`] builds the whole service. [`DirectoryService`] offers the same directory operations to the command line and to the first start,
//! without HTTP.
#![deny(missing_docs)]

mod app;
mod audio_response;
mod audio_store;
mod auth;
mod cors;
mod cursor;
mod directory_service;
mod enums;
mod error;
mod event_subscribers;
mod examples;
mod idempotency;
mod import_line;
mod input;
mod limits;
mod live;
mod middleware;
mod openapi;
mod operation_ids;
mod pages;
mod patch;
mod port;
mod process;
mod range;
mod route;
mod router;
mod routes;
mod schemas;
mod secret;
mod source;
mod spreadsheet;
mod upload;
mod usage;
mod warnings;

pub use app::{App, Clock, Settings};
pub use audio_store::{AudioError, AudioFile, AudioFormatRequest, AudioStore, BoxFuture, Opened};
pub use directory_service::{
    Actor, CreatedExtension, CreatedKey, DirectoryError, DirectoryService, ExtensionChanges, ImportLine,
    ImportResult, MadePassword, MailboxChanges, NewExtension, NewKey, NewRecurringCall, RecurringCallChanges,
    TrunkDraft, webhook_secret,
};
pub use import_line::{Column, LineFault};
pub use input::PermissionsChange;
pub use patch::Patch;
pub use port::{Offline, SwitchPort};
pub use process::{Kind as MetricKind, MetricsPage, Process, TaskState, TaskStatus, Value as MetricValue};
pub use router::router;
pub use secret::is_well_formed as is_api_key;
pub use spreadsheet::read_spreadsheet;
