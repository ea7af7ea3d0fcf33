//! Warnings about settings that are accepted but cannot work at present; they are part of the successful response.

use axum::http::HeaderMap;
use model::dialplan::{self, CallOrigin, DialContext, Route};
use model::{Action, Cause, DialPermissions, Directory, Extension, RecurringCall};

use crate::auth::language;
use crate::schemas::Warning;

/// Warn about external numbers to which an extension forwards calls while no trunk carries them.
pub(crate) fn of_extension(
    directory: &Directory,
    extension: &Extension,
    headers: &HeaderMap,
) -> Vec<Warning> {
    let forwarding = &extension.forwarding;
    let forwarded = forwarding.number.iter().filter(|_| forwarding.enabled);
    let forwarded = forwarded.map(|number| ("forwardingNumber", number.as_str()));
    let followed = extension.follow_me.iter().flat_map(|follow| &follow.numbers);
    let followed = followed.map(|step| ("followMe", step.number.as_str()));
    let asker = DialContext { origin: CallOrigin::Forward, permissions: extension.dial_permissions };
    forwarded
        .chain(followed)
        .filter_map(|(field, number)| of_number(directory, asker, number, field, headers))
        .collect()
}

/// Warn about an external destination of a recurring call while no trunk carries it.
pub(crate) fn of_recurring(directory: &Directory, call: &RecurringCall, headers: &HeaderMap) -> Vec<Warning> {
    if matches!(call.action, Action::Message(_)) && call.destination.is_empty() {
        return Vec::new(); // without a destination, the message goes to the extension's own mailbox
    }
    let permissions =
        directory.extension(&call.extension).map_or_else(DialPermissions::default, |e| e.dial_permissions);
    let asker = DialContext { origin: CallOrigin::Schedule, permissions };
    // The destination may have been given as a SIP URI of this server's domain.
    let number = crate::routes::sessions::user_part(&call.destination);
    of_number(directory, asker, number, "destinationNumber", headers).into_iter().collect()
}

fn of_number(
    directory: &Directory,
    asker: DialContext,
    number: &str,
    field: &'static str,
    headers: &HeaderMap,
) -> Option<Warning> {
    match dialplan::route(directory, asker, number).route {
        Route::Refused(cause @ (Cause::NoRoute | Cause::EmergencyNoRoute)) => {
            Some(Warning { field, code: cause.code(), message: cause.sentence(language(headers)) })
        }
        Route::Refused(_)
        | Route::Extension(_)
        | Route::Username(_)
        | Route::Application(_)
        | Route::Trunk(_) => None,
    }
}
