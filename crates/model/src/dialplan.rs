//! The dial plan: where a dialled number leads, and why. Pure: the same directory and the same request give the same answer.

use std::sync::Arc;

pub use crate::policy::{CallOrigin, is_emergency};
use crate::{
    Cause, DialPermissions, DialledNumber, Directory, Extension, ExtensionNumber, ExtensionStatus,
    OutboundRoute, TraceStep, policy, trunk,
};

/// An application that answers by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Application {
    /// `*43`: what you say comes back.
    Echo,
    /// `*44`: 1004 Hz at 0 dBm0.
    Milliwatt,
    /// `*97`: the voicemail of the phone that dials it (S72).
    Voicemail,
    /// `*98`: a voicemail that is asked for by its number (S72).
    AnyVoicemail,
    /// A setting of the extension that dials a feature code. The codes are configured, so no number of the dial plan leads here.
    Settings,
}

impl Application {
    /// All that have a number.
    pub const ALL: [Application; 4] =
        [Application::Echo, Application::Milliwatt, Application::Voicemail, Application::AnyVoicemail];

    /// The number that reaches it.
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

/// Where a call leads.
#[derive(Clone, PartialEq, Debug)]
pub enum Route {
    /// To the phones of an extension.
    Extension(Arc<Extension>),
    /// To the phones of a credential that has no extension, by its user name.
    Username(Arc<str>),
    /// To an application.
    Application(Application),
    /// To the outside.
    Trunk(Arc<OutboundRoute>),
    /// Nowhere.
    Refused(Cause),
}

/// A route and the rules that led to it.
#[derive(Clone, PartialEq, Debug)]
pub struct Decision {
    /// Where to.
    pub route: Route,
    /// Why.
    pub trace: Vec<TraceStep>,
}

/// Who asks for a call: the road that it comes by, and what the one who dialled (or who forwards) may dial.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct DialContext {
    pub origin: CallOrigin,
    pub permissions: DialPermissions,
}

/// Decide where what was dialled leads. `dialled` is the user part of the Request-URI or `toNumber`: a number or a user name.
pub fn route(directory: &Directory, asker: DialContext, dialled: &str) -> Decision {
    let mut trace = Vec::new();
    let known = directory.credential(dialled).is_some(); // `12.34` may be a user name
    let number = if known { dialled.into() } else { policy::normalise(dialled) };
    let route = decide(directory, asker, &number, &mut trace);
    Decision { route, trace }
}

fn decide(directory: &Directory, asker: DialContext, dialled: &str, trace: &mut Vec<TraceStep>) -> Route {
    let mut say = |rule: &str, outcome: String| trace.push(TraceStep { rule: rule.into(), outcome });
    for application in Application::ALL {
        if dialled == application.number() {
            say("application", format!("{dialled} is {application:?}"));
            return Route::Application(application);
        }
    }
    if let Ok(number) = ExtensionNumber::parse(dialled)
        && let Some(extension) = directory.extension_by_number(&number)
    {
        say("extension", format!("{number} is an extension"));
        return to_extension(extension, asker, trace);
    }
    if let Some(credential) = directory.credential(dialled) {
        say("username", format!("{dialled} is a user name"));
        return match credential.extension.as_ref().and_then(|id| directory.extension(id)) {
            Some(extension) => to_extension(extension, asker, trace),
            None => match policy::check_internal(asker.origin, asker.permissions, trace) {
                Ok(_) => Route::Username(Arc::clone(&credential.username)),
                Err(cause) => Route::Refused(cause),
            },
        };
    }
    let Ok(number) = DialledNumber::parse(dialled) else {
        say("number", "neither a number nor a user name of ours".into());
        return Route::Refused(Cause::NotFound);
    };
    let help = policy::emergency(directory.rules(), &number);
    if help.is_none() && ExtensionNumber::parse(dialled).is_ok() {
        say("extension", format!("no extension has the number {number}"));
        return Route::Refused(Cause::NotFound);
    }
    if let Err(cause) = policy::check(directory.rules(), asker.origin, asker.permissions, &number, trace) {
        return Route::Refused(cause);
    }
    trunk::outside(directory, asker, number, help, trace) // S194
}

pub(crate) fn to_extension(
    extension: &Arc<Extension>,
    asker: DialContext,
    trace: &mut Vec<TraceStep>,
) -> Route {
    if let Err(cause) = policy::check_internal(asker.origin, asker.permissions, trace) {
        return Route::Refused(cause);
    }
    if extension.status == ExtensionStatus::Inactive {
        trace.push(TraceStep { rule: "status".into(), outcome: "the extension is inactive".into() });
        return Route::Refused(Cause::Inactive); // S70
    }
    Route::Extension(Arc::clone(extension))
}
