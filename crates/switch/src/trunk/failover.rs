//! Failover: the next step of an outbound attempt after a time-out or a failure response from a carrier's host.

use model::Cause;
use sip::resolve::Candidate;
use sip::{HeaderName, Message, Termination};

use super::health::retry_after;
use super::outbound::{AttemptId, AttemptState, OutboundAttempt};
use crate::call::Call;
use crate::core::Cx;

/// Meaning of a carrier's failure response for the outbound attempt.
enum FailoverAction {
    /// The call failed at the callee (busy, unknown number, declined): no other host is tried.
    Final(Cause),
    /// No response: the host is marked down and the next one is tried.
    Dead,
    /// 5xx: the next host is tried. Holds Retry-After, in seconds.
    Fails(Option<u64>),
    /// 401 or 407 to our credentials: the other hosts of this trunk are skipped.
    AuthRejected,
}

impl FailoverAction {
    fn of(status: u16, response: Option<&Message>) -> FailoverAction {
        let Some(response) = response else { return FailoverAction::Dead };
        match status {
            401 | 407 => FailoverAction::AuthRejected,
            500..=599 => FailoverAction::Fails(retry_after(response)),
            _ => FailoverAction::Final(q850_cause(response).unwrap_or(Cause::of_sip(status))),
        }
    }
}

/// The cause of a Q.850 Reason header (RFC 3326). `None` without one, or when the status is specific enough.
fn q850_cause(response: &Message) -> Option<Cause> {
    if matches!(response.status(), Some(486 | 600 | 603 | 404 | 484 | 488)) {
        return None;
    }
    let reasons = response.header_lines(HeaderName::Reason).filter_map(|line| std::str::from_utf8(line).ok());
    let q850 =
        reasons.filter(|line| line.trim_start().get(..5).is_some_and(|p| p.eq_ignore_ascii_case("q.850")));
    q850.filter_map(|line| line.split(';').find_map(|part| part.trim().strip_prefix("cause=")))
        .find_map(|number| Cause::of_q850(number.trim().parse().ok()?))
}

impl Call {
    /// Timer of an outbound attempt: DNS time-out, end of pacing, or no response from the called host.
    pub(crate) fn attempt_waited(&mut self, cx: &mut Cx<'_>, attempt: u64) {
        if !self.phase.is_dialling() {
            return;
        }
        let Some(way) = self.outbound.waiting(attempt) else { return };
        let id = way.id;
        match &way.stage {
            AttemptState::Choosing => {}
            AttemptState::Resolving | AttemptState::Paced => self.continue_attempt(cx, id),
            AttemptState::Calling { leg, spot } => {
                let (leg, spot) = (*leg, spot.clone());
                let Some(session) = self.leg(leg).map(|leg| leg.session) else { return };
                if cx.core.endpoint.has_response(session) {
                    return;
                }
                self.push_trunk_trace(format!(
                    "{} at {} says nothing",
                    spot.trunk.name, spot.address.address
                ));
                cx.core.trunks.mark_down(cx.now, &spot.trunk.id, spot.address);
                // CANCEL, or BYE after a late answer: a call never has two answered outbound legs.
                self.set_stage(id, AttemptState::Choosing);
                self.hangup_leg(cx, leg, Cause::Unreachable);
                self.continue_attempt(cx, id);
            }
        }
    }

    fn set_stage(&mut self, id: AttemptId, stage: AttemptState) {
        if let Some(way) = self.outbound.get_mut(id) {
            way.stage = stage;
        }
    }

    /// The DNS lookup of a host has completed.
    pub(crate) fn attempt_resolved(&mut self, cx: &mut Cx<'_>, attempt: u64, addresses: Vec<Candidate>) {
        if !self.phase.is_dialling() {
            return;
        }
        let waits = |way: &&OutboundAttempt| matches!(way.stage, AttemptState::Resolving);
        let Some(id) = self.outbound.waiting(attempt).filter(waits).map(|way| way.id) else { return };
        let Some(mut way) = self.outbound.take(id) else { return };
        self.found(&mut way, addresses);
        self.outbound.put(way);
        self.continue_attempt(cx, id);
    }

    /// A leg to a carrier ended before it was answered: try the next target, unless the failure is final.
    pub(crate) fn trunk_leg_ended(&mut self, cx: &mut Cx<'_>, id: AttemptId, ended: &Termination) {
        let Some(way) = self.outbound.get_mut(id) else { return };
        let AttemptState::Calling { spot, .. } = &way.stage else { return };
        let spot = spot.clone();
        let Termination::Refused { status, response } = ended else {
            self.drop_attempt(cx, id);
            return self.on_branch_failed(cx, Cause::Unreachable);
        };
        let fate = FailoverAction::of(*status, response.as_ref());
        let name = format!("{} at {}", spot.trunk.name, spot.address.address);
        match fate {
            FailoverAction::Final(cause) => {
                self.push_trunk_trace(format!("{name} answers {status}"));
                self.drop_attempt(cx, id);
                return self.on_branch_failed(cx, cause);
            }
            FailoverAction::Dead => {
                self.push_trunk_trace(format!("{name} cannot be reached"));
                cx.core.trunks.mark_down(cx.now, &spot.trunk.id, spot.address);
            }
            FailoverAction::Fails(rest) => {
                self.push_trunk_trace(format!("{name} answers {status}"));
                if let Some(seconds) = rest {
                    cx.core.trunks.back_off(cx.now.instant, &spot.trunk.id, spot.address, seconds);
                }
            }
            FailoverAction::AuthRejected => {
                self.push_trunk_trace(format!("{name} does not take our password ({status})"));
                if let Some(way) = self.outbound.get_mut(id) {
                    way.hosts.clear();
                    way.addresses.clear();
                }
            }
        }
        self.set_stage(id, AttemptState::Choosing);
        self.continue_attempt(cx, id);
    }
}
