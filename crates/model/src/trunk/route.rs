//! Where trunks lead: which of them carry a number outside, and whom a carrier's call reaches.

use std::sync::Arc;

use super::{Trunk, same_number};
use crate::dialplan::{CallOrigin, Decision, DialContext, Route, to_extension};
use crate::policy::{self, DialRules};
use crate::{Cause, DialPermissions, DialledNumber, Directory, TraceStep};

/// A number outside, and the trunks that can carry it, in the order in which they are tried.
#[derive(Clone, PartialEq, Debug)]
pub struct OutboundRoute {
    /// As it was dialled.
    pub number: DialledNumber,
    /// With its country code and no `+`, where the house knows that.
    pub e164: Option<String>,
    /// It calls for help: no limit stands in its way (security.md row 31).
    pub is_emergency: bool,
    /// Who asked for it: what goes on the wire is judged once more.
    pub context: DialContext,
    /// Never empty.
    pub trunks: Vec<Arc<Trunk>>,
}

/// Why a number does not go by a trunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrunkReject {
    /// Its carrier could not read it.
    Unwritten,
    /// What the trunk's prefixes make of it may not be dialled.
    Forbidden(Cause),
}

impl OutboundRoute {
    /// The number as a trunk's carrier reads it. What its prefixes make of it is judged like a number that was dialled, so that no rewriting
    /// opens what the policy shuts (security.md row 7).
    pub fn to_carrier_format(&self, rules: &DialRules, trunk: &Trunk) -> Result<String, TrunkReject> {
        let settings = &trunk.settings;
        let written = settings
            .on_the_wire(&self.number, self.e164.as_deref(), self.is_emergency)
            .ok_or(TrunkReject::Unwritten)?;
        if self.is_emergency {
            return Ok(written);
        }
        let meant = settings.meant(&self.number, self.e164.as_deref()).ok_or(TrunkReject::Unwritten)?;
        if meant == self.number {
            return Ok(written);
        }
        let DialContext { origin, permissions } = self.context;
        policy::check(rules, origin, permissions, &meant, &mut Vec::new()).map_err(TrunkReject::Forbidden)?;
        Ok(written)
    }
}

/// Lead a number that may be dialled to the trunks; 404 where none carries it (S194), 403 where each would dial what may not be dialled.
pub(crate) fn outside(
    directory: &Directory,
    asker: DialContext,
    number: DialledNumber,
    help: Option<&str>,
    trace: &mut Vec<TraceStep>,
) -> Route {
    // However it was spelled, help is called by its plain number.
    let number = help.and_then(|help| DialledNumber::parse(help).ok()).unwrap_or(number);
    let (help, whole) = (help.is_some(), policy::e164(directory.rules(), &number));
    let mut outside =
        OutboundRoute { number, e164: whole, is_emergency: help, context: asker, trunks: Vec::new() };
    let mut say = |outcome: String| trace.push(TraceStep { rule: "trunk".into(), outcome });
    let mut forbidden = None;
    for trunk in directory.trunks().filter(|trunk| trunk.enabled) {
        match outside.to_carrier_format(directory.rules(), trunk) {
            Ok(_) => outside.trunks.push(Arc::clone(trunk)),
            Err(TrunkReject::Unwritten) => {}
            Err(TrunkReject::Forbidden(cause)) => {
                say(format!("{} would make a number of it that may not be dialled", trunk.name));
                forbidden = forbidden.or(Some(cause));
            }
        }
    }
    if outside.trunks.is_empty() {
        say(format!("no trunk is there to carry {}", outside.number));
        let none = if outside.is_emergency { Cause::EmergencyNoRoute } else { Cause::NoRoute };
        return Route::Refused(forbidden.unwrap_or(none));
    }
    let names: Vec<&str> = outside.trunks.iter().map(|trunk| trunk.name.as_str()).collect();
    say(format!("carried by {}", names.join(", then ")));
    Route::Trunk(Arc::new(outside))
}

/// Decide whom a call from a trunk reaches: an extension, or nobody. It never leads outside again (security.md row 8). `dialled` are the
/// numbers that it may name, the more telling one first.
pub fn inbound(directory: &Directory, trunk: &Trunk, dialled: &[&str]) -> Decision {
    let mut trace = Vec::new();
    let mut say = |rule: &str, outcome: String| trace.push(TraceStep { rule: rule.into(), outcome });
    let settings = &trunk.settings;
    let did = dialled.iter().find_map(|number| settings.did(number));
    let wanted = match did {
        Some(did) => {
            say("did", format!("the number is a DID of {}", trunk.name));
            did.extension.as_ref().or(settings.default_extension.as_ref())
        }
        None => {
            say("did", format!("the number is no DID of {}", trunk.name));
            // A trunk that names no DIDs takes all numbers of its carrier (S106).
            settings.default_extension.as_ref()
        }
    };
    let extension = match wanted {
        Some(number) => directory.extension_by_number(number),
        // A DID for which nobody is named reaches the first extension (S106).
        None if did.is_some() => directory.extensions_after(None).next(),
        None => None,
    };
    let route = match extension {
        Some(extension) => {
            say("extension", format!("{} is an extension", extension.number));
            let asker = DialContext { origin: CallOrigin::Trunk, permissions: DialPermissions::default() };
            to_extension(extension, asker, &mut trace)
        }
        None => {
            say("extension", "no extension takes this number".into());
            Route::Refused(Cause::NotFound)
        }
    };
    Decision { route, trace }
}

/// Whether a trunk names one of these numbers.
pub fn names(trunk: &Trunk, dialled: &[&str]) -> bool {
    trunk.settings.dids.iter().any(|did| dialled.iter().any(|n| same_number(did.number.as_str(), n)))
}
