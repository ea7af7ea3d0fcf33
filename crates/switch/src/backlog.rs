//! What would make one input too long: it is done a bounded part at a time, the first at once and each next one with the next tick.

use std::collections::VecDeque;

use base::{Instant, Now};
use model::{CallId, Cause};
use sip::resolve::{Answer, LookupId};

use crate::limits::BACKLOG_BATCH;
use crate::switch::Switch;
use crate::{Output, State};

/// Something that is left to do.
#[derive(Debug)]
pub(crate) enum Task {
    /// Release all calls up to `until`; those up to `after` are done.
    Release { after: Option<CallId>, until: CallId, cause: Cause },
    /// The same of those with a stream on a media worker that has ended.
    ReleaseWorker { worker: u8, after: Option<CallId>, until: CallId },
    /// Release the click-to-calls that wait for a device, while the SIP side goes down.
    ReleaseWaiting,
    /// The prompts are there: speak to those who wait for them.
    Speak,
    /// Tell lookups what the DNS said to a question of all of them.
    Resolved { lookups: VecDeque<LookupId>, answer: Answer },
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    tasks: VecDeque<Task>,
    since: Instant,
}

impl Backlog {
    pub(crate) fn deadline(&self) -> Option<Instant> {
        (!self.tasks.is_empty()).then_some(self.since)
    }
}

impl Switch {
    /// Do what has many parts: some of them now.
    pub(crate) fn do_in_parts(&mut self, now: Now, task: Task, out: &mut Vec<Output>) {
        if self.backlog.tasks.is_empty() {
            self.backlog.since = now.instant;
        }
        self.backlog.tasks.push_back(task);
        self.work_off(now, out);
    }

    /// Do a bounded part of what is left.
    pub(crate) fn work_off(&mut self, now: Now, out: &mut Vec<Output>) {
        for _ in 0..BACKLOG_BATCH {
            let Some(task) = self.backlog.tasks.pop_front() else { return };
            if let Some(rest) = self.step(now, task, out) {
                self.backlog.tasks.push_front(rest);
            }
        }
    }

    /// One part of a task; what is left of it.
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
                self.on_call(now, key, out, super::call::Call::begin_to_speak);
                Some(Task::Speak)
            }
            Task::Resolved { mut lookups, answer } => {
                let lookup = lookups.pop_front()?;
                self.lookup_answered(now, lookup, &answer, out);
                Some(Task::Resolved { lookups, answer })
            }
        }
    }
}
