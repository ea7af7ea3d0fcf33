//! Recovery of open occurrences: those of previous runs of this node, and those of other nodes whose lease has expired.

use base::Now;
use model::{Cause, Occurrence, OccurrenceState};

use super::run::{Run, Step};
use super::{CallStarted, LOOK, Output, Scheduler};

impl Scheduler {
    /// Take over an open occurrence of a previous run of this node.
    pub(super) fn recover(
        &mut self,
        now: Now,
        mut row: Occurrence,
        begun: CallStarted,
        out: &mut Vec<Output>,
    ) {
        let key = row.key();
        let waiting = Step::Waiting { from: now.instant, in_store: true };
        let step = match (row.state, begun) {
            (OccurrenceState::Done | OccurrenceState::Failed | OccurrenceState::Missed, _) => return,
            (OccurrenceState::Claimed, _) => waiting,
            // The call was not started: the attempt does not count.
            (OccurrenceState::Dialling, CallStarted::No) => {
                row.attempts = row.attempts.saturating_sub(1);
                row.call = None;
                waiting
            }
            (OccurrenceState::Dialling, CallStarted::Yes) => {
                Step::Watching { look_at: now.instant + LOOK, placed: true, since: now.instant }
            }
            // The call may have been started: it is not dialled again.
            (OccurrenceState::Dialling, CallStarted::Unknown) => {
                return self.give_up(now, row, out);
            }
        };
        let since = row.due;
        self.runs.insert(key, Run::new(row, since, step));
    }

    /// Take over an open occurrence whose lease has expired.
    pub(super) fn adopt(&mut self, now: Now, row: Occurrence, out: &mut Vec<Output>) {
        if self.runs.contains_key(&row.key()) {
            return;
        }
        match row.state {
            OccurrenceState::Done | OccurrenceState::Failed | OccurrenceState::Missed => {}
            OccurrenceState::Claimed => self.recover(now, row, CallStarted::No, out),
            OccurrenceState::Dialling => self.give_up(now, row, out),
        }
    }

    /// Record the occurrence as failed: its owner ended before it wrote the outcome of the call.
    fn give_up(&mut self, now: Now, row: Occurrence, out: &mut Vec<Output>) {
        let (key, since) = (row.key(), row.due);
        let step = Step::Looking { placed: true, since: now.instant };
        self.runs.insert(key.clone(), Run::new(row, since, step));
        self.settle(now, &key, Some(OccurrenceState::Failed), Some(Cause::Crash), out);
    }
}
