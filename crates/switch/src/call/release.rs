//! Release: the only way a call ends. Every leg is told why, every port goes back, and exactly one CDR is written.

use std::time::Duration;

use base::Now;
use model::journal::Record;
use model::{CallStatus, Cause};

use super::{CallKey, Phase};
use crate::Output;
use crate::switch::Switch;

/// How long the record waits for media workers to report, and for phones to answer BYE.
const REPORTS: Duration = Duration::from_secs(2);
/// Longer than any transaction: what is left then is forgotten.
const LAST_WORDS: Duration = Duration::from_secs(40);

impl Switch {
    pub(crate) fn release(&mut self, now: Now, key: CallKey, cause: Cause, out: &mut Vec<Output>) {
        let Some(call) = self.calls.get_mut(key) else { return };
        if matches!(call.phase, Phase::Released { .. }) {
            return;
        }
        self.test_ends(key, cause);
        let Some(call) = self.calls.get_mut(key) else { return };
        let was_up = call.is_up();
        let id = call.record.id.clone();
        call.phase = Phase::Released { reports: true };
        let at = call.time(now);
        call.record.ended_at = Some(at);
        call.record.cause = Some(cause);
        call.record.status = if was_up { CallStatus::Completed } else { cause.call_status() };
        for leg in &mut call.legs {
            leg.record.ended_at.get_or_insert(at);
            leg.record.cause.get_or_insert(cause);
        }
        let legs = call.legs.len();
        for index in 0..legs {
            self.hangup_leg(now, key, index, cause, out);
        }
        self.release_trunk_channels(key);
        self.outbound_call_ends(now, key, out);
        *self.core.counters.calls_ended.entry(cause.code()).or_default() += 1;
        if let Some(call) = self.calls.get_mut(key) {
            self.core.index.retire(call);
        }
        self.on_call_released(&id, out);
        self.forget_wish(&id);
        self.set_timer(key, now.instant + REPORTS);
        self.finish_if_done(now, key, out);
    }

    /// Write the CDR once the reports are in and every phone that was up has heard that it is over: after a crash before that the journal
    /// still shows the call as open, so that its phones are told again. Forget the call once its last messages are through.
    pub(crate) fn finish_if_done(&mut self, now: Now, key: CallKey, out: &mut Vec<Output>) {
        let Some(call) = self.calls.get_mut(key) else { return };
        let Phase::Released { reports } = call.phase else { return };
        let owes =
            |leg: &super::Leg| leg.state != super::LegState::Terminated && leg.record.answered_at.is_some();
        let owing = call.legs.iter().any(owes);
        if reports && call.open_streams == 0 && !owing {
            call.phase = Phase::Released { reports: false };
            out.push(Output::Journal(Record::CallClosed(Box::new(call.cdr()))));
            self.set_timer(key, now.instant + LAST_WORDS);
        }
        let Some(call) = self.calls.get(key) else { return };
        let silent = call.legs.iter().all(|leg| leg.state == super::LegState::Terminated);
        if matches!(call.phase, Phase::Released { reports: false }) && silent {
            self.forget(now, key, out);
        }
    }

    /// The timer of a call that is over: a worker that does not report, a phone that does not answer BYE, or a session that does not end, holds nothing up for ever.
    pub(crate) fn on_release_timeout(&mut self, now: Now, key: CallKey, out: &mut Vec<Output>) {
        let Some(call) = self.calls.get_mut(key) else { return };
        if matches!(call.phase, Phase::Released { reports: true }) {
            call.phase = Phase::Released { reports: false };
            out.push(Output::Journal(Record::CallClosed(Box::new(call.cdr()))));
            self.set_timer(key, now.instant + LAST_WORDS);
            return self.finish_if_done(now, key, out);
        }
        self.forget(now, key, out);
    }

    /// Its last messages are through: its ladder is written, and the switch takes it out of its table.
    fn forget(&mut self, now: Now, key: CallKey, out: &mut Vec<Output>) {
        let Some(call) = self.calls.get_mut(key) else { return };
        call.gone = true;
        self.core.timers.cancel(call.timer.take());
        if self.core.keeps_ladder(now) {
            let ladder = Record::Ladder { call: call.record.id.clone(), blob: call.ladder.encode() };
            out.push(Output::Journal(ladder));
        } else {
            self.core.counters.ladders_shed += 1;
        }
    }
}
