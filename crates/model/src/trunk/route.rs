//! Trunk routing: the trunks that can carry an outbound number, and the extension that an inbound call reaches.

use std::sync::Arc;

use super::{Trunk, same_number};
use crate::dialplan::{CallOrigin, Decision, DialContext, Route, to_extension};
use crate::policy::{self, DialRules};
use crate::{Cause, DialPermissions, DialledNumber, Directory, TraceStep};

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

/// Route a permitted number to the trunks; 404 where none carries it (S194), 403 where every trunk would dial a blocked number.
pub(crate) fn route_outbound(
    directory: &Directory,
    context: DialContext,
    number: DialledNumber,
    emergency_number: Option<&str>,
    trace: &mut Vec<TraceStep>,
) -> Route {
    // An emergency call dials the plain emergency number, whatever spelling was dialled.
    let number = emergency_number.and_then(|number| DialledNumber::parse(number).ok()).unwrap_or(number);
    let (is_emergency, e164) = (emergency_number.is_some(), policy::e164(directory.rules(), &number));
    let mut route = OutboundRoute { number, e164, is_emergency, context, trunks: Vec::new() };
    let mut push_step = |outcome: String| trace.push(TraceStep { rule: "trunk".into(), outcome });
    let mut forbidden = None;
    for trunk in directory.trunks().filter(|trunk| trunk.enabled) {
        match route.to_carrier_format(directory.rules(), trunk) {
            Ok(_) => route.trunks.push(Arc::clone(trunk)),
            Err(TrunkReject::Unwritten) => {}
            Err(TrunkReject::Forbidden(cause)) => {
                push_step(format!("{} would make a number of it that may not be dialled", trunk.name));
                forbidden = forbidden.or(Some(cause));
            }
        }
    }
    if route.trunks.is_empty() {
        push_step(format!("no trunk is there to carry {}", route.number));
        let none = if route.is_emergency { Cause::EmergencyNoRoute } else { Cause::NoRoute };
        return Route::Refused(forbidden.unwrap_or(none));
    }
    let names: Vec<&str> = route.trunks.iter().map(|trunk| trunk.name.as_str()).collect();
    push_step(format!("carried by {}", names.join(", then ")));
    Route::Trunk(Arc::new(route))
}

/// Route a call from a trunk to an extension. It is never routed to a trunk again (security.md row 8). `dialled`: candidate called numbers of
/// the request, the most specific first.
pub fn inbound(directory: &Directory, trunk: &Trunk, dialled: &[&str]) -> Decision {
    let mut trace = Vec::new();
    let mut push_step = |rule: &str, outcome: String| trace.push(TraceStep { rule: rule.into(), outcome });
    let settings = &trunk.settings;
    let did = dialled.iter().find_map(|number| settings.did(number));
    let wanted = match did {
        Some(did) => {
            push_step("did", format!("the number is a DID of {}", trunk.name));
            did.extension.as_ref().or(settings.default_extension.as_ref())
        }
        None => {
            push_step("did", format!("the number is no DID of {}", trunk.name));
            // A trunk without a matching DID sends all numbers to its default extension (S106).
            settings.default_extension.as_ref()
        }
    };
    let extension = match wanted {
        Some(number) => directory.extension_by_number(number),
        // A DID without an extension and without a default reaches the first extension (S106).
        None if did.is_some() => directory.extensions_after(None).next(),
        None => None,
    };
    let route = match extension {
        Some(extension) => {
            push_step("extension", format!("{} is an extension", extension.number));
            let context = DialContext { origin: CallOrigin::Trunk, permissions: DialPermissions::default() };
            to_extension(extension, context, &mut trace)
        }
        None => {
            push_step("extension", "no extension takes this number".into());
            Route::Refused(Cause::NotFound)
        }
    };
    Decision { route, trace }
}

/// Whether one of these numbers is a DID of the trunk.
pub fn names(trunk: &Trunk, dialled: &[&str]) -> bool {
    trunk.settings.dids.iter().any(|did| dialled.iter().any(|n| same_number(did.number.as_str(), n)))
}
