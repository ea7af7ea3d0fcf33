//! Routes: the destination of a call, and the trace of the rules that led to it.

use std::sync::Arc;

use crate::policy::{self, CallOrigin, DialRules};
use crate::trunk::Trunk;
use crate::{Cause, DialPermissions, DialledNumber, Extension, ExtensionStatus, TraceStep};

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

/// An outbound number and the trunks that can carry it, in failover order.
#[derive(Clone, PartialEq, Debug)]
pub struct OutboundRoute {
    /// The number as dialled.
    pub number: DialledNumber,
    /// Its E.164 digits without `+`; `None` where the country is not configured.
    pub e164: Option<String>,
    /// Whether it is an emergency number: no limit applies (security.md row 31).
    pub is_emergency: bool,
    /// Origin and permissions of the call: the number that a trunk's prefixes produce is checked again with them.
    pub context: DialContext,
    /// Candidate trunks; never empty in a route.
    pub trunks: Vec<Arc<Trunk>>,
}

/// Why a trunk cannot carry a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrunkReject {
    /// The number cannot be written in the carrier's format.
    Unwritten,
    /// The number that the trunk's prefixes produce may not be dialled.
    Forbidden(Cause),
}

impl OutboundRoute {
    /// The number in the trunk's format. If the trunk's prefixes change the number, the result is checked by the dial policy again, so that no
    /// rewriting opens a blocked number (security.md row 7).
    pub fn to_carrier_format(&self, rules: &DialRules, trunk: &Trunk) -> Result<String, TrunkReject> {
        let settings = &trunk.settings;
        let formatted = settings
            .format_number(&self.number, self.e164.as_deref(), self.is_emergency)
            .ok_or(TrunkReject::Unwritten)?;
        if self.is_emergency {
            return Ok(formatted);
        }
        let sent = settings
            .number_after_prefixes(&self.number, self.e164.as_deref())
            .ok_or(TrunkReject::Unwritten)?;
        if sent == self.number {
            return Ok(formatted);
        }
        let DialContext { origin, permissions } = self.context;
        policy::check(rules, origin, permissions, &sent, &mut Vec::new()).map_err(TrunkReject::Forbidden)?;
        Ok(formatted)
    }
}

/// Route to an extension, if the origin may call it and it is active.
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
