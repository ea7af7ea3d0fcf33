//! Calendar of recurring calls: due instants, and misfires (instants that passed while no server ran).

use std::sync::Arc;

use base::{Now, Timestamp};
use model::recurrence::next_after;
use model::{Directory, Misfire, Occurrence, OccurrenceState, RecurringCall, RecurringCallId};

use super::run::{Run, Step};
use super::{BATCH, GRACE, Output, Scheduler};

/// A recurring call and its next instant.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) call: Arc<RecurringCall>,
    /// `None` if the call is disabled or has no further instant.
    pub(super) next: Option<Timestamp>,
}

impl Scheduler {
    /// Update the plans from the directory. An unchanged plan keeps its next instant.
    pub(super) fn plan(&mut self, directory: Directory) {
        if self.directory.has_recurring_calls_of(&directory) {
            self.directory = directory; // no recurring call has changed, as with most directory changes
            return;
        }
        self.plans.retain(|id, plan| {
            let stays = directory.recurring_call(id).is_some();
            if let Some(next) = plan.next.filter(|_| !stays) {
                self.calendar.remove(&(next, id.clone()));
            }
            stays
        });
        for call in directory.recurring_calls() {
            self.plan_one(call);
        }
        self.directory = directory;
        self.last.clear();
    }

    fn plan_one(&mut self, call: &Arc<RecurringCall>) {
        let id = &call.id;
        if let Some(plan) = self.plans.get_mut(id) {
            if plan.call.since == call.since && plan.call.enabled == call.enabled {
                plan.call = Arc::clone(call);
                return;
            }
            if let Some(next) = plan.next {
                self.calendar.remove(&(next, id.clone()));
            }
        }
        let settled = self.last.get(id).copied().unwrap_or_default().max(call.since);
        let next = if call.enabled { next_after(&call.schedule, settled) } else { None };
        if let Some(next) = next {
            self.calendar.insert((next, id.clone()));
        }
        self.plans.insert(id.clone(), Plan { call: Arc::clone(call), next });
    }

    /// Remove due instants from the calendar, at most [`BATCH`], and create their runs.
    pub(super) fn take_due(&mut self, now: Now, out: &mut Vec<Output>) {
        for _ in 0..BATCH {
            let Some((due, id)) = self.calendar.first().cloned() else { return };
            if due > now.wall {
                return;
            }
            self.calendar.pop_first();
            let Some(plan) = self.plans.get_mut(&id) else { continue };
            plan.next = next_after(&plan.call.schedule, due);
            if let Some(next) = plan.next {
                self.calendar.insert((next, id.clone()));
            }
            let call = Arc::clone(&plan.call);
            let is_last = plan.next.is_none_or(|next| next > now.wall);
            self.due(now, &call, due, is_last, out);
        }
    }

    fn due(&mut self, now: Now, call: &RecurringCall, due: Timestamp, is_last: bool, out: &mut Vec<Output>) {
        let key = (call.id.clone(), due);
        if self.runs.contains_key(&key) {
            return; // recovered from a previous run of this node
        }
        let late = now.wall.since(due) > GRACE;
        let now_instead = late && is_last && call.misfire == Misfire::RunOnce;
        let mut row = self.fresh(now, call, due);
        if now_instead {
            row.not_before = now.wall;
        }
        let mut run = Run::new(row, call.since, Step::Waiting { from: now.instant, in_store: false });
        if late && !now_instead {
            run.row.state = OccurrenceState::Missed;
            run.write(out);
        }
        self.runs.insert(key, run);
    }

    fn fresh(&self, now: Now, call: &RecurringCall, due: Timestamp) -> Occurrence {
        Occurrence {
            recurring: call.id.clone(),
            due,
            user: call.user.clone(),
            state: OccurrenceState::Claimed,
            version: 1,
            owner: Arc::clone(&self.config.owner),
            lease_until: now.wall,
            not_before: due,
            attempts: 0,
            call: None,
            cause: None,
            updated_at: now.wall,
        }
    }

    /// The recurring call of an occurrence, if it is enabled and was valid at `due` in its present form.
    pub(super) fn still_wanted(&self, id: &RecurringCallId, due: Timestamp) -> Option<&Arc<RecurringCall>> {
        self.plans.get(id).map(|plan| &plan.call).filter(|call| call.enabled && call.since < due)
    }
}
