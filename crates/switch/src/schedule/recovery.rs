//! Rows that somebody left behind: ours of an earlier life, and those of nodes that do not come back.

use base::Now;
use model::{Cause, Occurrence, OccurrenceState};

use super::run::{Run, Step};
use super::{CallStarted, LOOK, Output, Scheduler};

impl Scheduler {
    /// A row of an earlier life of this node.
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
            // Nobody was rung: the attempt is taken back.
            (OccurrenceState::Dialling, CallStarted::No) => {
                row.attempts = row.attempts.saturating_sub(1);
                row.call = None;
                waiting
            }
            (OccurrenceState::Dialling, CallStarted::Yes) => {
                Step::Watching { look_at: now.instant + LOOK, placed: true, since: now.instant }
            }
            // It may have rung: not a second time.
            (OccurrenceState::Dialling, CallStarted::Unknown) => {
                return self.give_up(now, row, out);
            }
        };
        let since = row.due;
        self.runs.insert(key, Run::new(row, since, step));
    }

    /// A row that nobody holds any more.
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

    /// Whoever dialled it did not live to tell what became of it.
    fn give_up(&mut self, now: Now, row: Occurrence, out: &mut Vec<Output>) {
        let (key, since) = (row.key(), row.due);
        let step = Step::Looking { placed: true, since: now.instant };
        self.runs.insert(key.clone(), Run::new(row, since, step));
        self.settle(now, &key, Some(OccurrenceState::Failed), Some(Cause::Crash), out);
    }
}
