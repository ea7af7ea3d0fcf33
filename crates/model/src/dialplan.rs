//! The dial plan: where a dialled number leads, and why. Pure: the same directory and the same request give the same answer.

use std::sync::Arc;

use crate::{Cause, Dialled, Directory, Extension, ExtensionNumber, ExtensionStatus, TraceStep};

/// An application that answers by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Application {
    /// `*43`: what you say comes back.
    Echo,
    /// `*44`: 1004 Hz at 0 dBm0.
    Milliwatt,
}

impl Application {
    /// The number that reaches it.
    pub fn number(self) -> &'static str {
        match self {
            Application::Echo => "*43",
            Application::Milliwatt => "*44",
        }
    }
}

/// By which road a call comes: emergency numbers are only for registered phones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Road {
    /// A registered phone dialled.
    Phone,
    /// The API asked for it.
    Api,
    /// A recurring call is due.
    Schedule,
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

/// Numbers that call for help, by country: the common ones of Europe and the Americas.
const EMERGENCY: [&str; 17] = [
    "112", "911", "999", "000", "110", "113", "118", "119", "131", "132", "133", "061", "062", "080", "091",
    "190", "192",
];

/// Whether a number calls for help; a `+` before it is a slip that carriers forgive.
pub fn is_emergency(number: &Dialled) -> bool {
    let digits = number.as_str();
    EMERGENCY.contains(&digits.strip_prefix('+').unwrap_or(digits))
}

/// Decide where what was dialled leads. `dialled` is the user part of the Request-URI or `toNumber`: a number or a user name.
pub fn route(directory: &Directory, road: Road, dialled: &str) -> Decision {
    let mut trace = Vec::new();
    let route = decide(directory, road, dialled, &mut trace);
    Decision { route, trace }
}

fn decide(directory: &Directory, road: Road, dialled: &str, trace: &mut Vec<TraceStep>) -> Route {
    let mut say = |rule: &str, outcome: String| trace.push(TraceStep { rule: rule.into(), outcome });
    for application in [Application::Echo, Application::Milliwatt] {
        if dialled == application.number() {
            say("application", format!("{dialled} is {application:?}"));
            return Route::Application(application);
        }
    }
    if let Ok(number) = ExtensionNumber::parse(dialled)
        && let Some(extension) = directory.extension_by_number(&number)
    {
        say("extension", format!("{number} is an extension"));
        return to_extension(extension, &mut say);
    }
    if let Some(credential) = directory.credential(dialled) {
        say("username", format!("{dialled} is a user name"));
        return match credential.extension.as_ref().and_then(|id| directory.extension(id)) {
            Some(extension) => to_extension(extension, &mut say),
            None => Route::Username(Arc::clone(&credential.username)),
        };
    }
    let Ok(number) = Dialled::parse(dialled) else {
        say("number", "neither a number nor a user name of ours".into());
        return Route::Refused(Cause::NotFound);
    };
    if is_emergency(&number) && road != Road::Phone {
        say("emergency", "emergency numbers only from a registered phone".into());
        return Route::Refused(Cause::EmergencyNotAllowed);
    }
    if ExtensionNumber::parse(dialled).is_ok() {
        say("extension", format!("no extension has the number {number}"));
        return Route::Refused(Cause::NotFound);
    }
    say("trunk", format!("no trunk is there to carry {number}"));
    Route::Refused(Cause::NoRoute) // S194
}

fn to_extension(extension: &Arc<Extension>, say: &mut impl FnMut(&str, String)) -> Route {
    if extension.status == ExtensionStatus::Inactive {
        say("status", "the extension is inactive".into());
        return Route::Refused(Cause::Inactive); // S70
    }
    if extension.do_not_disturb {
        say("do_not_disturb", "the extension does not want to be disturbed".into());
        return Route::Refused(Cause::DoNotDisturb);
    }
    Route::Extension(Arc::clone(extension))
}
