//! The JSON that is answered, in the names and the order of the documents: a file per noun.

mod credentials;
mod events;
mod extensions;
mod keys;
mod ladder;
mod legs;
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
pub(crate) use recurring::*;
pub(crate) use registrations::*;
pub(crate) use server::*;
pub(crate) use sessions::*;
pub(crate) use webhooks::*;

/// `null` for what is empty.
pub(crate) fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Something that was taken and, as things are, will not do what it says.
#[derive(Serialize, ToSchema)]
pub(crate) struct Warning {
    /// The field that it is about.
    pub field: &'static str,
    /// Never changes with the language or the version.
    pub code: &'static str,
    /// A sentence in English or, by Accept-Language, Spanish.
    pub message: &'static str,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Success {
    /// Always `true`.
    pub success: bool,
}
