//! What becomes of an attempt to reach a carrier's host: silence, a refusal, or somebody who said no.

use base::Now;
use model::Cause;
use sip::resolve::Candidate;
use sip::{HeaderName, Message, Termination};

use super::health::retry_after;
use super::outbound::{Outgoing, Stage, WayId};
use crate::Output;
use crate::call::CallKey;
use crate::exchange::Switch;

impl Switch {
    /// The alarm of a call on its way out.
    pub(super) fn attempt_waited(&mut self, now: Now, key: CallKey, attempt: u64, out: &mut Vec<Output>) {
        let Some(call) = self.calls.get(key).filter(|call| call.phase.is_dialling()) else { return };
        let Some(way) = call.ways.waiting(attempt) else { return };
        let id = way.id;
        match &way.stage {
            Stage::Choosing => {}
            Stage::Resolving | Stage::Paced => self.go_on_outside(now, key, id, out),
            Stage::Calling { leg, spot } => {
                let (leg, spot) = (*leg, spot.clone());
                let Some(session) = call.leg(leg).map(|leg| leg.session) else { return };
                if self.endpoint.has_response(session) {
                    return;
                }
                self.trace(key, format!("{} at {} says nothing", spot.trunk.name, spot.address.address));
                self.trunks.is_dead(now, &spot.trunk.id, spot.address);
                // Should it wake up after all, it is cancelled, or hung up: one call is never carried twice.
                self.set_stage(key, id, Stage::Choosing);
                self.hangup_leg(now, key, leg, Cause::Unreachable, out);
                self.go_on_outside(now, key, id, out);
            }
        }
        self.settle(now, out);
    }

    fn set_stage(&mut self, key: CallKey, id: WayId, stage: Stage) {
        if let Some(way) = self.calls.get_mut(key).and_then(|call| call.ways.get_mut(id)) {
            way.stage = stage;
        }
    }

    /// The DNS has said where a host is.
    pub(super) fn attempt_resolved(
        &mut self,
        now: Now,
        key: CallKey,
        attempt: u64,
        addresses: Vec<Candidate>,
        out: &mut Vec<Output>,
    ) {
        let Some(call) = self.calls.get_mut(key).filter(|call| call.phase.is_dialling()) else { return };
        let waits = |way: &&Outgoing| matches!(way.stage, Stage::Resolving);
        let Some(id) = call.ways.waiting(attempt).filter(waits).map(|way| way.id) else { return };
        let Some(mut way) = call.ways.take(id) else { return };
        self.found(key, &mut way, addresses);
        if let Some(call) = self.calls.get_mut(key) {
            call.ways.put(way);
        }
        self.go_on_outside(now, key, id, out);
    }

    /// A leg to a carrier has ended before it was answered: the next host is tried where this one could not, and not where somebody said no.
    pub(crate) fn trunk_leg_ended(
        &mut self,
        now: Now,
        key: CallKey,
        id: WayId,
        ended: &Termination,
        out: &mut Vec<Output>,
    ) {
        let Some(way) = self.calls.get_mut(key).and_then(|call| call.ways.get_mut(id)) else { return };
        let Stage::Calling { spot, .. } = &way.stage else { return };
        let spot = spot.clone();
        let Termination::Refused { status, response } = ended else {
            self.leave_way(key, id);
            return self.branch_gone(now, key, Cause::Unreachable, out);
        };
        let fate = Fate::of(*status, response.as_ref());
        let name = format!("{} at {}", spot.trunk.name, spot.address.address);
        match fate {
            Fate::Final(cause) => {
                self.trace(key, format!("{name} answers {status}"));
                self.leave_way(key, id);
                return self.branch_gone(now, key, cause, out);
            }
            Fate::Dead => {
                self.trace(key, format!("{name} cannot be reached"));
                self.trunks.is_dead(now, &spot.trunk.id, spot.address);
            }
            Fate::Fails(rest) => {
                self.trace(key, format!("{name} answers {status}"));
                if let Some(seconds) = rest {
                    self.trunks.rest(now.instant, &spot.trunk.id, spot.address, seconds);
                }
            }
            Fate::NotOurs => {
                self.trace(key, format!("{name} does not take our password ({status})"));
                if let Some(way) = self.calls.get_mut(key).and_then(|call| call.ways.get_mut(id)) {
                    way.hosts.clear();
                    way.addresses.clear();
                }
            }
        }
        self.set_stage(key, id, Stage::Choosing);
        self.go_on_outside(now, key, id, out);
    }
}

/// What a carrier's refusal means for the call.
enum Fate {
    /// Somebody said no: busy, unknown, declined.
    Final(Cause),
    /// Nobody is there.
    Dead,
    /// This host cannot; it may ask for rest.
    Fails(Option<u64>),
    /// It does not know us: no host of this trunk will.
    NotOurs,
}

impl Fate {
    fn of(status: u16, response: Option<&Message>) -> Fate {
        let Some(response) = response else { return Fate::Dead };
        match status {
            401 | 407 => Fate::NotOurs,
            500..=599 => Fate::Fails(retry_after(response)),
            _ => Fate::Final(said(response).unwrap_or(Cause::of_sip(status))),
        }
    }
}

/// The Q.850 cause of a refusal, where the status alone says little (RFC 3326).
fn said(response: &Message) -> Option<Cause> {
    if matches!(response.status(), Some(486 | 600 | 603 | 404 | 484 | 488)) {
        return None;
    }
    let reasons = response.header_lines(HeaderName::Reason).filter_map(|line| std::str::from_utf8(line).ok());
    let q850 =
        reasons.filter(|line| line.trim_start().get(..5).is_some_and(|p| p.eq_ignore_ascii_case("q.850")));
    q850.filter_map(|line| line.split(';').find_map(|part| part.trim().strip_prefix("cause=")))
        .find_map(|number| Cause::of_q850(number.trim().parse().ok()?))
}
