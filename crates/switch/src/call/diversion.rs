//! Diversions of a call, and the headers Diversion (RFC 5806) and History-Info (RFC 7044): generated for outgoing legs, counted on incoming INVITEs.

use std::fmt::Write as _;

use model::{Cause, ExtensionNumber, Trunk, TrunkHost};
use sip::{Headers, Message};

use super::Call;
use super::fork::escaped;

/// Why a call was diverted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DiversionReason {
    Always,
    Busy,
    NoAnswer,
    Unreachable,
    DoNotDisturb,
    /// The phone answered with a redirect (3xx).
    Deflected,
    FollowMe,
}

impl DiversionReason {
    pub(crate) fn of(cause: Cause) -> DiversionReason {
        if matches!(cause, Cause::Busy | Cause::Declined) {
            DiversionReason::Busy
        } else if cause == Cause::DoNotDisturb {
            DiversionReason::DoNotDisturb
        } else if cause == Cause::Unreachable {
            DiversionReason::Unreachable
        } else {
            DiversionReason::NoAnswer
        }
    }

    pub(crate) fn description(self) -> &'static str {
        match self {
            DiversionReason::Always => "it always does",
            DiversionReason::Busy => "it is busy",
            DiversionReason::NoAnswer => "nobody answered",
            DiversionReason::Unreachable => "none of its phones can be reached",
            DiversionReason::DoNotDisturb => "it does not want to be disturbed",
            DiversionReason::Deflected => "its phone says so",
            DiversionReason::FollowMe => "its owner is looked for",
        }
    }

    /// The `reason` of RFC 5806 §4.
    fn reason(self) -> &'static str {
        match self {
            DiversionReason::Always => "unconditional",
            DiversionReason::Busy => "user-busy",
            DiversionReason::NoAnswer => "no-answer",
            DiversionReason::Unreachable => "unavailable",
            DiversionReason::DoNotDisturb => "do-not-disturb",
            DiversionReason::Deflected => "deflection",
            DiversionReason::FollowMe => "follow-me",
        }
    }

    /// The `cause` of RFC 4458 §3.
    fn cause(self) -> u16 {
        match self {
            DiversionReason::Always | DiversionReason::FollowMe => 302,
            DiversionReason::Busy | DiversionReason::DoNotDisturb => 486,
            DiversionReason::NoAnswer => 408,
            DiversionReason::Unreachable => 503,
            DiversionReason::Deflected => 480,
        }
    }
}

/// One diversion of a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Diversion {
    /// Number of the extension that diverted the call.
    pub(crate) from: String,
    /// Number that it was diverted to.
    pub(crate) to: String,
    pub(crate) why: DiversionReason,
}

impl Call {
    /// Diversion and History-Info for a leg: the newest Diversion first, the oldest entry of History-Info first. `and` is a diversion that
    /// applies to this leg only. Empty without diversions.
    pub(crate) fn diversion_headers(&self, domain: &str, and: Option<&Diversion>) -> Headers {
        let mut lines = Headers::new();
        let steps: Vec<&Diversion> = self.routing.diversions.iter().chain(and).collect();
        let Some(first) = steps.first() else { return lines };
        for step in steps.iter().rev() {
            let (from, reason) = (escaped(&step.from), step.why.reason());
            lines.add(
                "Diversion",
                format_args!("<sip:{from}@{domain}>;reason={reason};counter=1;privacy=off"),
            );
        }
        let mut history = format!("<sip:{}@{domain}>;index=1", escaped(&first.from));
        let mut index = "1".to_owned();
        for step in &steps {
            let (to, cause) = (escaped(&step.to), step.why.cause());
            let _ = write!(history, ", <sip:{to}@{domain};cause={cause}>;index={index}.1;mp={index}");
            index.push_str(".1");
        }
        lines.add("History-Info", history);
        lines
    }
}

impl Call {
    /// The same for a trunk, if its settings enable `diversion`. The carrier knows no internal numbers: an extension appears by its DID on this
    /// trunk, else by the trunk's caller number, else not at all. `called` is the number dialled on the trunk and the carrier's host.
    pub(crate) fn diversion_headers_for_trunk(
        &self,
        trunk: &Trunk,
        and: Option<&Diversion>,
        domain: &str,
        called: (&str, &TrunkHost),
        lines: &mut Headers,
    ) {
        let settings = &trunk.settings;
        if !settings.diversion {
            return;
        }
        let known = |from: &str| {
            let did = ExtensionNumber::parse(from).ok().and_then(|number| settings.number_of(&number));
            did.or(settings.caller_number.as_ref().map(model::DialledNumber::as_str)).map(str::to_owned)
        };
        let mut told: Vec<(String, DiversionReason, usize)> = Vec::new();
        for step in self.routing.diversions.iter().chain(and) {
            let Some(from) = known(&step.from) else { continue };
            match told.last_mut() {
                Some((last, why, times)) if *last == from => (*why, *times) = (step.why, *times + 1),
                Some(_) | None => told.push((from, step.why, 1)),
            }
        }
        let Some((first, ..)) = told.first() else { return };
        for (from, why, times) in told.iter().rev() {
            let (from, reason) = (escaped(from), why.reason());
            lines.add(
                "Diversion",
                format_args!("<sip:{from}@{domain}>;reason={reason};counter={times};privacy=off"),
            );
        }
        let mut history = format!("<sip:{}@{domain}>;index=1", escaped(first));
        let mut index = "1".to_owned();
        let (number, host) = (called.0, called.1.in_uri());
        let next = told.iter().skip(1).map(|(from, ..)| (from.as_str(), domain));
        for ((_, why, _), (to, at)) in told.iter().zip(next.chain([(number, host.as_str())])) {
            let (to, cause) = (escaped(to), why.cause());
            let _ = write!(history, ", <sip:{to}@{at};cause={cause}>;index={index}.1;mp={index}");
            index.push_str(".1");
        }
        lines.add("History-Info", history);
    }
}

/// How often an INVITE was diverted before it arrived here, by its Diversion counters or its History-Info entries: the larger of the two.
pub(crate) fn count_diversions(invite: &Message) -> usize {
    let (mut diverted, mut retargeted) = (0_usize, 0);
    for (name, value) in invite.all_headers() {
        let value = String::from_utf8_lossy(value);
        if name.eq_ignore_ascii_case(b"Diversion") {
            let counters = value.split(',').map(|one| parameter(one, "counter=").unwrap_or(1).max(1));
            diverted = counters.fold(diverted, usize::saturating_add);
        } else if name.eq_ignore_ascii_case(b"History-Info") {
            let entries = value.split(',').filter(|one| one.contains(";mp=") || one.contains(";cause="));
            retargeted += entries.count();
        }
    }
    diverted.max(retargeted)
}

fn parameter(text: &str, name: &str) -> Option<usize> {
    let rest = text.split(name).nth(1)?;
    let digits =
        rest.find(|c: char| !c.is_ascii_digit()).map_or(rest, |end| rest.get(..end).unwrap_or_default());
    digits.parse().ok()
}
