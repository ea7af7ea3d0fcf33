//! Trunk routing: the trunks that can carry an outbound number, and the extension that an inbound call reaches.

use std::sync::Arc;

use super::Trunk;
use crate::policy::{self, CallOrigin, DialRules};
use crate::route::{Decision, DialContext, OutboundRoute, Route, TrunkReject, to_extension};
use crate::{Cause, DialPermissions, DialledNumber, Directory, Party, TraceStep};

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
                push_step(format!("the prefixes of {} produce a number that may not be dialled", trunk.name));
                forbidden = forbidden.or(Some(cause));
            }
        }
    }
    if route.trunks.is_empty() {
        push_step(format!("no trunk carries {}", route.number));
        let none = if route.is_emergency { Cause::EmergencyNoRoute } else { Cause::NoRoute };
        return Route::Refused(forbidden.unwrap_or(none));
    }
    let names: Vec<&str> = route.trunks.iter().map(|trunk| trunk.name.as_str()).collect();
    push_step(format!("carried by {}", names.join(", then ")));
    Route::Trunk(Arc::new(route))
}

/// Route a call from a trunk to an extension. It is never routed to a trunk again (security.md row 8). `dialled`: candidate called numbers of
/// the request (user parts, with or without separators and parameters), the most specific first.
pub fn inbound(directory: &Directory, trunk: &Trunk, dialled: &[&str]) -> Decision {
    let mut trace = Vec::new();
    let mut push_step = |rule: &str, outcome: String| trace.push(TraceStep { rule: rule.into(), outcome });
    let settings = &trunk.settings;
    let called: Vec<Party> =
        dialled.iter().filter_map(|text| Party::parse(text, None, directory.rules())).collect();
    let did = called.iter().find_map(|party| settings.did(party.as_str()));
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

/// Whether one of these called numbers, written as in [`inbound`], is a DID of the trunk.
pub fn names(trunk: &Trunk, dialled: &[&str]) -> bool {
    let rules = DialRules::default();
    let mut called = dialled.iter().filter_map(|text| Party::parse(text, None, &rules));
    called.any(|party| trunk.settings.did(party.as_str()).is_some())
}
