//! Timers handled by a tick, and long tasks that are split over several inputs.

use base::Now;
use model::Cause;

use crate::backlog::Task;
use crate::limits::{BACKLOG_BATCH, TICK_BATCH};
use crate::switch::Switch;
use crate::trunk::Alarm;
use crate::{Output, State};

impl Switch {
    /// Queue a task that is too long for one input, and do its first steps.
    pub(crate) fn do_in_parts(&mut self, now: Now, task: Task, out: &mut Vec<Output>) {
        if self.backlog.tasks.is_empty() {
            self.backlog.since = now.instant;
        }
        self.backlog.tasks.push_back(task);
        self.work_off(now, out);
    }

    /// Do a bounded number of steps of the queued tasks.
    pub(crate) fn work_off(&mut self, now: Now, out: &mut Vec<Output>) {
        for _ in 0..BACKLOG_BATCH {
            let Some(task) = self.backlog.tasks.pop_front() else { return };
            if let Some(rest) = self.step(now, task, out) {
                self.backlog.tasks.push_front(rest);
            }
        }
    }

    /// Do one step of a task; returns the rest, or `None` when it is done.
    fn step(&mut self, now: Now, task: Task, out: &mut Vec<Output>) -> Option<Task> {
        match task {
            Task::Release { after, until, cause } => {
                let (id, key) = self.core.index.next(after.as_ref(), &until)?;
                self.on_call(now, key, out, |call, cx| call.release(cx, cause));
                Some(Task::Release { after: Some(id), until, cause })
            }
            Task::ReleaseWorker { worker, after, until } => {
                let (id, key) = self.core.index.next(after.as_ref(), &until)?;
                if self.calls.get(key).is_some_and(|call| call.is_on(worker)) {
                    self.on_call(now, key, out, |call, cx| call.release(cx, Cause::Internal));
                }
                Some(Task::ReleaseWorker { worker, after: Some(id), until })
            }
            Task::ReleaseWaiting => {
                let key = self.core.index.first_waiting().filter(|_| self.core.state != State::Running)?;
                self.on_call(now, key, out, |call, cx| call.release(cx, Cause::Draining));
                Some(Task::ReleaseWaiting)
            }
            Task::Speak => {
                let key = self.core.index.next_without_prompts()?;
                self.on_call(now, key, out, crate::call::Call::begin_to_speak);
                Some(Task::Speak)
            }
            Task::Resolved { mut lookups, answer } => {
                let lookup = lookups.pop_front()?;
                self.lookup_answered(now, lookup, &answer, out);
                Some(Task::Resolved { lookups, answer })
            }
        }
    }

    /// Report usage levels that were reached, and end the calls of users over their daily limit.
    pub(crate) fn meters_due(&mut self, now: Now, out: &mut Vec<Output>) {
        for _ in 0..TICK_BATCH {
            let Some(user) = self.core.usage.next_due(now) else { return };
            self.core.tell_levels(now, &user, out);
            for key in self.core.usage.over_limit(now, &user) {
                if let Some(call) = self.calls.get_mut(key) {
                    call.push_trace("limit", "the minutes of the day are used up".into());
                }
                self.on_call(now, key, out, |call, cx| call.release(cx, Cause::OutsideMinutesUsed));
            }
        }
    }

    /// Play the recording beeps that are due.
    pub(crate) fn beeps(&mut self, now: Now, out: &mut Vec<Output>) {
        for _ in 0..TICK_BATCH {
            if self.core.recordings.beeps.first().is_none_or(|(due, _)| *due > now.instant) {
                return;
            }
            let Some((_, number)) = self.core.recordings.beeps.pop_first() else { return };
            let call = self.core.recordings.running.get(&number).map(|running| &running.row.call);
            if let Some(key) = call.and_then(|call| self.core.index.find(call)) {
                self.on_call(now, key, out, |call, cx| call.beep(cx, number));
            }
        }
    }

    /// Handle the trunk alarms that are due.
    pub(crate) fn trunk_alarms(&mut self, now: Now, out: &mut Vec<Output>) {
        for _ in 0..TICK_BATCH {
            let Some(alarm) = self.core.trunks.due(now.instant) else { return };
            match alarm {
                Alarm::Attempt { call, attempt } => {
                    self.on_call(now, call, out, |call, cx| call.attempt_waited(cx, attempt));
                }
                Alarm::Probe(trunk) => self.core.probe(now, &trunk, out),
                Alarm::Register(trunk) => self.core.register_at(now, &trunk, out),
                Alarm::Lookup(id) => {
                    let done = self.core.trunks.go_on(now.instant, id, out);
                    self.looked_up(now, done, out);
                }
                Alarm::UnregisterTimeout => self.core.left(out),
            }
        }
    }
}
