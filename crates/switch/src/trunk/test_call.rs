//! Test calls: a number is called over one trunk, with the policy and limits of any call, and hung up once it is answered.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use base::{Instant, Now};
use model::dialplan::Route;
use model::trunk::{OutboundRoute, Trunk, TrunkReject};
use model::{CallDirection, CallId, CallRecord, CallStatus, Cause, TraceStep, TrunkId, UserId};

use crate::TestedCall;
use crate::call::{Call, Phase};
use crate::core::{Core, Cx};

/// Number of results kept; the oldest is dropped.
const KEPT: usize = 16;

/// Parameters of a test call.
#[derive(Debug)]
pub(crate) struct TestCall {
    pub(crate) trunk: TrunkId,
    pub(crate) user: UserId,
    pub(crate) number: String,
    pub(crate) patience: Duration,
}

/// The latest test calls and their results, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Tests(VecDeque<(CallId, Instant, TestedCall)>);

impl Tests {
    pub(crate) fn begin(&mut self, call: CallId, now: Instant) {
        if self.0.len() >= KEPT {
            self.0.pop_front();
        }
        self.0.push_back((call, now, TestedCall::default()));
    }

    fn find(&mut self, call: &CallId) -> Option<(Instant, &mut TestedCall)> {
        self.0.iter_mut().find(|(id, ..)| id == call).map(|(_, began, test)| (*began, test))
    }
}

impl Call {
    /// Record a response to a test call: its status, and the time to ringing or answer.
    pub(crate) fn test_hears(&mut self, cx: &mut Cx<'_>, status: u16) {
        if !matches!(self.phase, Phase::TrunkTest) {
            return;
        }
        let Some((began, test)) = cx.core.trunks.tests.find(&self.record.id) else { return };
        if status > 100 {
            test.status = Some(status);
        }
        let after = cx.now.instant.since(began);
        if (180..200).contains(&status) {
            test.rang.get_or_insert(after);
        } else if (200..300).contains(&status) {
            test.answered = Some(after);
        }
    }

    /// A test call was answered: release it at once.
    pub(crate) fn test_answered(&mut self, cx: &mut Cx<'_>, index: usize) {
        if self.outbound.of_leg(index).is_none() {
            return self.hangup_leg(cx, index, Cause::Cancelled); // a late answer from a dropped attempt
        }
        self.test_hears(cx, 200);
        self.record.answered_at = Some(self.time(cx.now));
        self.release(cx, Cause::Completed);
    }

    /// Store cause and trace of a test call that ends.
    pub(crate) fn test_ends(&mut self, cx: &mut Cx<'_>, cause: Cause) {
        if !matches!(self.phase, Phase::TrunkTest) {
            return;
        }
        if let Some((_, test)) = cx.core.trunks.tests.find(&self.record.id) {
            test.cause = Some(cause);
            test.trace.clone_from(&self.record.trace);
        }
    }
}

impl Core {
    /// The outbound route restricted to this trunk. `Err` when the number is not routed to trunks, or the trunk does not accept it or is disabled.
    pub(crate) fn only_by(&self, trunk: &Arc<Trunk>, route: &Route) -> Result<Arc<OutboundRoute>, Cause> {
        let outside = match route {
            Route::Trunk(outside) => outside,
            Route::Refused(cause) => return Err(*cause),
            // An internal destination does not use a trunk.
            Route::Extension(_) | Route::Username(_) | Route::Application(_) => return Err(Cause::NoRoute),
        };
        match outside.to_carrier_format(self.directory.rules(), trunk) {
            Err(TrunkReject::Forbidden(cause)) => Err(cause),
            Err(TrunkReject::Unwritten) => Err(Cause::NoRoute),
            Ok(_) if !trunk.enabled => Err(Cause::NoRoute),
            Ok(_) => Ok(Arc::new(OutboundRoute {
                trunks: vec![Arc::clone(trunk)],
                ..OutboundRoute::clone(outside)
            })),
        }
    }

    pub(crate) fn record_of_test(
        &mut self,
        now: Now,
        user: UserId,
        number: &str,
        trunk: &Trunk,
        trace: Vec<TraceStep>,
    ) -> CallRecord {
        let did = trunk.settings.dids.first().map(|did| &did.number);
        let own = trunk.settings.caller_number.as_ref().or(did);
        CallRecord {
            status: CallStatus::Ringing,
            trace,
            ..CallRecord::new(
                CallId::new(now, &mut self.rng),
                user,
                CallDirection::Outbound,
                own.map(ToString::to_string).unwrap_or_default(),
                number.to_owned(),
                now.wall,
            )
        }
    }

    /// The result of a test call so far; `None` when it is not kept any more.
    pub(crate) fn tested(&mut self, call: &CallId) -> Option<TestedCall> {
        self.trunks.tests.find(call).map(|(_, test)| test.clone())
    }
}
