//! Where trunks lead: which of them carry a number outside, and whom a carrier's call reaches.

use std::sync::Arc;

use super::{Trunk, same_number};
use crate::dialplan::{Asker, Decision, Road, Route, to_extension};
use crate::{Cause, DialPermissions, Dialled, Directory, TraceStep, policy};

/// A number outside, and the trunks that can carry it, in the order in which they are tried.
#[derive(Clone, PartialEq, Debug)]
pub struct Outside {
    /// As it was dialled.
    pub number: Dialled,
    /// With its country code and no `+`, where the house knows that.
    pub whole: Option<String>,
    /// It calls for help: no limit stands in its way (security.md row 31).
    pub help: bool,
    /// Never empty.
    pub trunks: Vec<Arc<Trunk>>,
}

/// Lead a number that may be dialled to the trunks; 404 where none carries it (S194).
pub(crate) fn outside(
    directory: &Directory,
    asker: Asker,
    number: Dialled,
    help: Option<&str>,
    trace: &mut Vec<TraceStep>,
) -> Route {
    // However it was spelled, help is called by its plain number.
    let number = help.and_then(|help| Dialled::parse(help).ok()).unwrap_or(number);
    let (help, whole) = (help.is_some(), policy::e164(directory.rules(), &number));
    let carries = |trunk: &&Arc<Trunk>| {
        trunk.enabled && trunk.settings.on_the_wire(&number, whole.as_deref(), help).is_some()
    };
    let mut trunks: Vec<Arc<Trunk>> = directory.trunks().into_iter().filter(carries).cloned().collect();
    // What a trunk's prefixes make of the number is judged as well: 9 in front opens no door.
    let mut shut = None;
    trunks.retain(|trunk| {
        let meant = trunk.settings.meant(&number, whole.as_deref()).filter(|_| !help);
        let Some(meant) = meant.filter(|meant| *meant != number) else { return true };
        let (mut steps, rules) = (Vec::new(), directory.rules());
        let verdict = policy::check(rules, asker.road, asker.permissions, &meant, &mut steps);
        if let Err(cause) = verdict {
            shut = Some(cause);
            trace.append(&mut steps);
        }
        verdict.is_ok()
    });
    if let Some(cause) = shut.filter(|_| trunks.is_empty()) {
        return Route::Refused(cause);
    }
    let mut say = |outcome: String| trace.push(TraceStep { rule: "trunk".into(), outcome });
    if trunks.is_empty() {
        say(format!("no trunk is there to carry {number}"));
        return Route::Refused(if help { Cause::EmergencyNoRoute } else { Cause::NoRoute });
    }
    let names: Vec<&str> = trunks.iter().map(|trunk| trunk.name.as_str()).collect();
    say(format!("carried by {}", names.join(", then ")));
    Route::Trunk(Arc::new(Outside { number, whole, help, trunks }))
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
        None if did.is_some() => directory.extensions().min_by_key(|extension| &extension.number),
        None => None,
    };
    let route = match extension {
        Some(extension) => {
            say("extension", format!("{} is an extension", extension.number));
            let asker = Asker { road: Road::Trunk, permissions: DialPermissions::default() };
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
