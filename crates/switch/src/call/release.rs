//! Release, the single end of every call: all legs are hung up with the cause, all ports are freed, and exactly one CDR is written.

use std::time::Duration;

use model::journal::Record;
use model::{CallStatus, Cause};

use super::Phase;
use crate::Output;
use crate::call::Call;
use crate::core::Cx;

/// How long the CDR waits for the reports of the media workers and for the responses to BYE.
const REPORTS: Duration = Duration::from_secs(2);
/// Time from the CDR to the removal of a call whose sessions have not terminated. Longer than any SIP transaction.
const LAST_WORDS: Duration = Duration::from_secs(40);

impl Call {
    /// End the call with `cause`. No effect on a released call.
    pub(crate) fn release(&mut self, cx: &mut Cx<'_>, cause: Cause) {
        if matches!(self.phase, Phase::Released { .. }) {
            return;
        }
        self.test_ends(cx, cause);
        let was_up = self.is_up();
        let id = self.record.id.clone();
        self.phase = Phase::Released { reports: true };
        let at = self.time(cx.now);
        self.record.ended_at = Some(at);
        self.record.cause = Some(cause);
        self.record.status = if was_up { CallStatus::Completed } else { cause.call_status() };
        for leg in &mut self.legs {
            leg.record.ended_at.get_or_insert(at);
            leg.record.cause.get_or_insert(cause);
        }
        let legs = self.legs.len();
        for index in 0..legs {
            self.hangup_leg(cx, index, cause);
        }
        self.release_trunk_channels(cx);
        cx.core.outbound_call_ends(cx.now, self.key, cx.out);
        *cx.core.counters.calls_ended.entry(cause.code()).or_default() += 1;
        cx.core.index.retire(self);
        cx.core.on_call_released(&id, cx.out);
        cx.core.forget_wish(&id);
        self.set_timer(cx, cx.now.instant + REPORTS);
        self.finish_if_done(cx);
    }

    /// Write the CDR once all media reports have arrived and the session of every answered leg has terminated. Until then the journal shows the
    /// call as open, so that after a crash BYE is sent to its legs again. Remove the call once the sessions of all legs have terminated.
    pub(crate) fn finish_if_done(&mut self, cx: &mut Cx<'_>) {
        let Phase::Released { reports } = self.phase else { return };
        let owes =
            |leg: &super::Leg| leg.state != super::LegState::Terminated && leg.record.answered_at.is_some();
        let owing = self.legs.iter().any(owes);
        if reports && self.open_streams == 0 && !owing {
            self.phase = Phase::Released { reports: false };
            cx.out.push(Output::Journal(Record::CallClosed(Box::new(self.cdr()))));
            self.set_timer(cx, cx.now.instant + LAST_WORDS);
        }
        let silent = self.legs.iter().all(|leg| leg.state == super::LegState::Terminated);
        if matches!(self.phase, Phase::Released { reports: false }) && silent {
            self.forget(cx);
        }
    }

    /// Timer of a released call: write the CDR without the missing reports and BYE responses; at the second expiry, remove the call although
    /// a session has not terminated.
    pub(crate) fn on_release_timeout(&mut self, cx: &mut Cx<'_>) {
        if matches!(self.phase, Phase::Released { reports: true }) {
            self.phase = Phase::Released { reports: false };
            cx.out.push(Output::Journal(Record::CallClosed(Box::new(self.cdr()))));
            self.set_timer(cx, cx.now.instant + LAST_WORDS);
            return self.finish_if_done(cx);
        }
        self.forget(cx);
    }

    /// Write the ladder and mark the call for removal from the call table.
    fn forget(&mut self, cx: &mut Cx<'_>) {
        self.gone = true;
        cx.core.timers.cancel(self.timer.take());
        if cx.core.keeps_ladder(cx.now) {
            let ladder = Record::Ladder { call: self.record.id.clone(), blob: self.ladder.encode() };
            cx.out.push(Output::Journal(ladder));
        } else {
            cx.core.counters.ladders_shed += 1;
        }
    }
}
