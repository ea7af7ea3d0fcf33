//! JSON of responses, with the field names and the order of the original documentation; one file per resource.

mod credentials;
mod events;
mod extensions;
mod keys;
mod ladder;
mod legs;
mod recordings;
mod recurring;
mod registrations;
mod server;
mod sessions;
mod webhooks;

use serde::Serialize;
use utoipa::ToSchema;

pub(crate) use credentials::*;
pub(crate) use events::*;
pub(crate) use extensions::*;
pub(crate) use keys::*;
pub(crate) use ladder::*;
pub(crate) use recordings::*;
pub(crate) use recurring::*;
pub(crate) use registrations::*;
pub(crate) use server::*;
pub(crate) use sessions::*;
pub(crate) use webhooks::*;

/// `None` for an empty text.
pub(crate) fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// A setting that was accepted but cannot work at present.
#[derive(Serialize, ToSchema)]
pub(crate) struct Warning {
    /// Name of the field concerned.
    pub field: &'static str,
    /// Stable: independent of the language and the version.
    pub code: &'static str,
    /// A sentence in English, or in Spanish if Accept-Language prefers it.
    pub message: &'static str,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Success {
    /// Always `true`.
    pub success: bool,
}
