//! HTTP for people and programs: REST, metrics and the OpenAPI document.
//!
//! [`router`] is the whole of it. What the command line and the first start do without HTTP lies in [`Office`].
#![deny(missing_docs)]

mod app;
mod auth;
mod error;
mod examples;
mod follow;
mod idempotency;
mod input;
mod layer;
mod limits;
mod live;
mod office;
mod openapi;
mod port;
mod route;
mod routes;
mod secret;
mod shapes;
mod usage;

pub use app::{App, Clock, Settings};
pub use office::{
    Actor, CreatedExtension, CreatedKey, ExtensionChanges, Imported, NewExtension, NewKey, NumberChange,
    Office, OfficeError, webhook_secret,
};
pub use port::{Offline, SwitchPort};
pub use route::router;
