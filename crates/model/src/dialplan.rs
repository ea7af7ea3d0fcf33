//! The dial plan: maps a dialled number or user name to a route, with a trace of the rules that matched. Pure: the same directory and the same
//! request give the same decision.

use std::sync::Arc;

pub use crate::policy::{CallOrigin, is_emergency};
use crate::{
    Cause, DialPermissions, DialledNumber, Directory, Extension, ExtensionNumber, ExtensionStatus,
    OutboundRoute, TraceStep, policy, trunk,
};

/// A built-in application that answers a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Application {
    /// `*43`: echo test.
    Echo,
    /// `*44`: a test tone of 1004 Hz at 0 dBm0.
    Milliwatt,
    /// `*97`: the mailbox of the calling extension (S72).
    Voicemail,
    /// `*98`: asks for the extension number of the mailbox (S72).
    AnyVoicemail,
    /// A feature code that changes a setting of the calling extension. The codes are configured, so this one has no fixed number.
    Settings,
}

impl Application {
    /// All applications with a fixed number.
    pub const ALL: [Application; 4] =
        [Application::Echo, Application::Milliwatt, Application::Voicemail, Application::AnyVoicemail];

    /// The number that reaches the application; empty for [`Application::Settings`].
    pub fn number(self) -> &'static str {
        match self {
            Application::Echo => "*43",
            Application::Milliwatt => "*44",
            Application::Voicemail => "*97",
            Application::AnyVoicemail => "*98",
            Application::Settings => "",
        }
    }
}

/// Destination of a call.
#[derive(Clone, PartialEq, Debug)]
pub enum Route {
    /// The registered phones of an extension.
    Extension(Arc<Extension>),
    /// The registered phones of a credential without an extension, by user name.
    Username(Arc<str>),
    /// A built-in application.
    Application(Application),
    /// An outside number, by the trunks listed.
    Trunk(Arc<OutboundRoute>),
    /// Refused with this cause.
    Refused(Cause),
}

/// A route and the trace of the rules that led to it.
#[derive(Clone, PartialEq, Debug)]
pub struct Decision {
    /// The destination.
    pub route: Route,
    /// The rules that were evaluated, in order.
    pub trace: Vec<TraceStep>,
}

/// Who places the call: its origin, and the dial permissions of the caller or of the extension that forwards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct DialContext {
    pub origin: CallOrigin,
    pub permissions: DialPermissions,
}

/// Route a call. `dialled` is the user part of the Request-URI, or the API's `toNumber`: a number or a user name.
pub fn route(directory: &Directory, context: DialContext, dialled: &str) -> Decision {
    let mut trace = Vec::new();
    let known = directory.credential(dialled).is_some(); // a user name may look like a number with separators: `12.34`
    let number = if known { dialled.into() } else { policy::normalise(dialled) };
    let route = decide(directory, context, &number, &mut trace);
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
        push_step("number", "neither a number nor a user name of ours".into());
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

pub(crate) fn to_extension(
    extension: &Arc<Extension>,
    context: DialContext,
    trace: &mut Vec<TraceStep>,
) -> Route {
    if let Err(cause) = policy::check_internal(context.origin, context.permissions, trace) {
        return Route::Refused(cause);
    }
    if extension.status == ExtensionStatus::Inactive {
        trace.push(TraceStep { rule: "status".into(), outcome: "the extension is inactive".into() });
        return Route::Refused(Cause::Inactive); // S70
    }
    Route::Extension(Arc::clone(extension))
}
