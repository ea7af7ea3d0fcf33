//! The dial plan: maps a dialled number or user name to a route, with a trace of the rules that matched. Pure: the same directory and the same
//! request give the same decision.

use std::sync::Arc;

pub use crate::policy::{CallOrigin, is_emergency};
use crate::route::to_extension;
pub use crate::route::{Application, Decision, DialContext, Route};
use crate::{Cause, DialledNumber, Directory, ExtensionNumber, Party, TraceStep, policy, trunk};

/// Route a call. `dialled` is the user part of the Request-URI, or the API's `toNumber`: a user name, or a number with or without separators
/// and parameters (see [`Party::parse`]).
pub fn route(directory: &Directory, context: DialContext, dialled: &str) -> Decision {
    let mut trace = Vec::new();
    let is_username = directory.credential(dialled).is_some(); // a user name may look like a number with separators: `12.34`
    let party = if is_username { None } else { Party::parse(dialled, None, directory.rules()) };
    let dialled = party.as_ref().map_or(dialled, Party::as_str);
    let route = decide(directory, context, dialled, &mut trace);
    Decision { route, trace }
}

fn decide(directory: &Directory, context: DialContext, dialled: &str, trace: &mut Vec<TraceStep>) -> Route {
    let mut push_step = |rule: &str, outcome: String| trace.push(TraceStep { rule: rule.into(), outcome });
    for application in Application::ALL {
        if dialled == application.number() {
            push_step("application", format!("{dialled} is {application:?}"));
            return Route::Application(application);
        }
    }
    if let Ok(number) = ExtensionNumber::parse(dialled)
        && let Some(extension) = directory.extension_by_number(&number)
    {
        push_step("extension", format!("{number} is an extension"));
        return to_extension(extension, context, trace);
    }
    if let Some(credential) = directory.credential(dialled) {
        push_step("username", format!("{dialled} is a user name"));
        return match credential.extension.as_ref().and_then(|id| directory.extension(id)) {
            Some(extension) => to_extension(extension, context, trace),
            None => match policy::check_internal(context.origin, context.permissions, trace) {
                Ok(_) => Route::Username(Arc::clone(&credential.username)),
                Err(cause) => Route::Refused(cause),
            },
        };
    }
    let Ok(number) = DialledNumber::parse(dialled) else {
        push_step("number", "neither a number nor a known user name".into());
        return Route::Refused(Cause::NotFound);
    };
    let emergency_number = policy::emergency(directory.rules(), &number);
    if emergency_number.is_none() && ExtensionNumber::parse(dialled).is_ok() {
        push_step("extension", format!("no extension has the number {number}"));
        return Route::Refused(Cause::NotFound);
    }
    if let Err(cause) = policy::check(directory.rules(), context.origin, context.permissions, &number, trace)
    {
        return Route::Refused(cause);
    }
    trunk::route_outbound(directory, context, number, emergency_number, trace) // S194
}
