//! Life of one occurrence: wait, claim, dial, watch the call, write the outcome.

use std::sync::Arc;
use std::time::Duration;

use base::{Instant, Now, Timestamp};
use model::{Action, CallId, CallRecord, CallStatus, Cause, ExtensionNumber, Occurrence, OccurrenceState};

use super::{
    DOUBT, Dialled, GRACE, HEAD_START, Key, LEASE, LOOK, Output, PAUSE, RING, Scheduler, WriteResult,
};
use crate::{Originate, ScheduledOrigin};

/// State of an occurrence in progress.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Waiting to be dialled, not before `from`. `in_store`: its row has been written.
    Waiting { from: Instant, in_store: bool },
    /// Waiting for [`super::Input::Located`].
    Finding,
    /// Waiting for [`super::Input::Written`].
    Writing,
    /// The write failed and is repeated at `at`.
    Again { at: Instant },
    /// Waiting for [`super::Input::Dialled`].
    Dialling,
    /// The call is in progress and is polled next at `look_at`. `placed`: the switch has confirmed it, or a poll has found it.
    Watching { look_at: Instant, placed: bool, since: Instant },
    /// Waiting for [`super::Input::Polled`].
    Looking { placed: bool, since: Instant },
}

#[derive(Clone, Debug)]
pub(super) struct Run {
    /// The stored row or, during [`Step::Writing`], the row being written.
    pub(super) row: Occurrence,
    /// [`model::RecurringCall::since`] at the time of the claim.
    since: Timestamp,
    /// Number of transient refusals, for the back-off.
    refused: u32,
    /// Whether [`Output::Locate`] has been sent.
    sought: bool,
    pub(super) step: Step,
}

impl Run {
    pub(super) fn new(row: Occurrence, since: Timestamp, step: Step) -> Run {
        Run { row, since, refused: 0, sought: false, step }
    }

    /// Write the row: version 1 as a claim, later versions as a change.
    pub(super) fn write(&mut self, out: &mut Vec<Output>) {
        self.step = Step::Writing;
        out.push(match self.row.version {
            1 => Output::Claim { row: self.row.clone(), since: self.since },
            _ => Output::Change(self.row.clone()),
        });
    }

    /// Time of the next step; `None` while an answer of the shell is awaited. `free`: earliest start of the next call.
    pub(super) fn wakes(&self, now: Now, free: Instant) -> Option<Instant> {
        match self.step {
            Step::Waiting { from, .. } => {
                let due = now.instant + self.row.not_before.since(now.wall);
                Some(from.max(due).max(free))
            }
            Step::Again { at } | Step::Watching { look_at: at, .. } => Some(at),
            Step::Finding | Step::Writing | Step::Dialling | Step::Looking { .. } => None,
        }
    }

    /// Whether the latest start of this attempt has passed.
    fn is_late(&self, now: Now) -> bool {
        now.wall.since(self.row.not_before) > GRACE
    }

    /// Final state of an occurrence that cannot be dialled any more.
    fn final_state(&self) -> OccurrenceState {
        if self.row.attempts == 0 { OccurrenceState::Missed } else { OccurrenceState::Failed }
    }
}

/// Transient refusals: the call was not started, and may be accepted soon.
fn passes(cause: Cause) -> bool {
    matches!(cause, Cause::ConcurrentCallLimit | Cause::CallRateLimit | Cause::Overload | Cause::Draining)
}

/// Causes after which the call is retried (S86).
fn invites_retry(cause: Cause) -> bool {
    matches!(cause, Cause::Busy | Cause::NoAnswer | Cause::Unreachable | Cause::NoRegisteredDevice)
}

impl Scheduler {
    /// Start a waiting occurrence: write its row as dialling, or its final state if it is too late or the recurring call has changed.
    pub(super) fn begin(&mut self, now: Now, key: &Key, out: &mut Vec<Output>) {
        let wanted = self.still_wanted(&key.0, key.1).is_some();
        let Some(run) = self.runs.get_mut(key) else { return };
        let Step::Waiting { in_store, .. } = run.step else { return };
        if in_store && !wanted {
            return self.settle(now, key, None, Some(Cause::Cancelled), out);
        }
        if run.is_late(now) {
            return self.settle(now, key, None, None, out);
        }
        if self.config.shared && !in_store && !run.sought {
            run.sought = true;
            if let Some(username) = self.phone_of(key) {
                if let Some(run) = self.runs.get_mut(key) {
                    run.step = Step::Finding;
                }
                return out.push(Output::Locate(key.clone(), username));
            }
        }
        if now.instant < self.free {
            return;
        }
        let Some(run) = self.runs.get_mut(key) else { return };
        self.free = self.free.max(now.instant) + Duration::from_secs(1) / self.config.per_second.max(1);
        let call = CallId::new(now, &mut self.rng);
        run.row.call = Some(call);
        run.row.attempts = run.row.attempts.saturating_add(1);
        run.row.state = OccurrenceState::Dialling;
        run.row.lease_until = now.wall + LEASE;
        self.put(now, key, in_store, out);
    }

    /// User name of the first device called; `None` if it is not an internal one.
    fn phone_of(&self, key: &Key) -> Option<Arc<str>> {
        let call = &self.plans.get(&key.0)?.call;
        if call.action == Action::Connect {
            return self
                .directory
                .extension(&call.extension)
                .map(|extension| Arc::clone(&extension.username));
        }
        let called = user_part(&call.destination);
        let number = ExtensionNumber::parse(called).ok();
        let extension = number.and_then(|number| self.directory.extension_by_number(&number));
        let by_name = || self.directory.credential(called).map(|credential| Arc::clone(&credential.username));
        extension.map(|extension| Arc::clone(&extension.username)).or_else(by_name)
    }

    /// The node at which the phone is registered starts at once; other nodes wait for [`HEAD_START`], in case it is registered at none.
    pub(super) fn found(&mut self, now: Now, key: &Key, here: bool, out: &mut Vec<Output>) {
        let Some(run) = self.runs.get_mut(key) else { return };
        if run.step != Step::Finding {
            return;
        }
        let from = if here { now.instant } else { now.instant + HEAD_START };
        run.step = Step::Waiting { from, in_store: false };
        if here {
            self.begin(now, key, out);
        }
    }

    /// Write the row of a run with this process as owner and the next version.
    fn put(&mut self, now: Now, key: &Key, in_store: bool, out: &mut Vec<Output>) {
        let Some(run) = self.runs.get_mut(key) else { return };
        run.row.version = if in_store { run.row.version + 1 } else { 1 };
        run.row.owner = Arc::clone(&self.config.owner);
        run.row.updated_at = now.wall;
        run.write(out);
    }

    /// Write the final state: `state` or, if `None`, [`Run::final_state`].
    pub(super) fn settle(
        &mut self,
        now: Now,
        key: &Key,
        state: Option<OccurrenceState>,
        cause: Option<Cause>,
        out: &mut Vec<Output>,
    ) {
        let Some(run) = self.runs.get_mut(key) else { return };
        let in_store = !matches!(run.step, Step::Waiting { in_store: false, .. });
        run.row.state = state.unwrap_or_else(|| run.final_state());
        run.row.cause = cause.or(run.row.cause);
        if run.row.state == OccurrenceState::Done {
            run.row.cause = None;
        }
        self.put(now, key, in_store, out);
    }

    pub(super) fn written(&mut self, now: Now, key: &Key, written: WriteResult, out: &mut Vec<Output>) {
        let Some(run) = self.runs.get_mut(key) else { return };
        if run.step != Step::Writing {
            return;
        }
        match written {
            WriteResult::Conflict => {
                self.runs.remove(key);
            }
            WriteResult::Failed => run.step = Step::Again { at: now.instant + PAUSE },
            WriteResult::Applied => match run.row.state {
                OccurrenceState::Done | OccurrenceState::Failed | OccurrenceState::Missed => {
                    self.runs.remove(key);
                }
                OccurrenceState::Claimed => {
                    let from = now.instant + run.row.lease_until.since(now.wall);
                    run.step = Step::Waiting { from, in_store: true };
                }
                OccurrenceState::Dialling => self.dial(now, key, out),
            },
        }
    }

    /// The row is stored: start the call, unless the write took too long.
    fn dial(&mut self, now: Now, key: &Key, out: &mut Vec<Output>) {
        let wish = self.wish(key);
        let Some(run) = self.runs.get_mut(key) else { return };
        match wish {
            Some(_) if run.is_late(now) => self.not_dialled(now, key, Cause::Overload, out),
            Some(wish) => {
                run.step = Step::Dialling;
                out.push(Output::Dial(key.clone(), wish));
            }
            None => self.not_dialled(now, key, Cause::Cancelled, out),
        }
    }

    fn wish(&self, key: &Key) -> Option<Originate> {
        let id = self.runs.get(key)?.row.call.clone()?;
        let call = &self.plans.get(&key.0)?.call;
        let extension = self.directory.extension(&call.extension)?;
        Some(Originate {
            user: call.user.clone(),
            from: Some(extension.number.to_string()),
            device: Some(Arc::clone(&extension.username)),
            to: user_part(&call.destination).to_owned(),
            ring_timeout: RING,
            require_device: false,
            planned: Some(ScheduledOrigin {
                call: id,
                recurring: key.0.clone(),
                due: key.1,
                action: call.action.clone(),
            }),
        })
    }

    pub(super) fn dialled(&mut self, now: Now, key: &Key, dialled: Dialled, out: &mut Vec<Output>) {
        let Some(run) = self.runs.get_mut(key) else { return };
        if run.step != Step::Dialling {
            return;
        }
        let watching = |placed| Step::Watching { look_at: now.instant + LOOK, placed, since: now.instant };
        match dialled {
            Dialled::Placed => run.step = watching(true),
            Dialled::NoReply => run.step = watching(false),
            Dialled::Refused(cause) if passes(cause) => self.not_dialled(now, key, cause, out),
            Dialled::Refused(cause) => self.on_attempt_failed(now, key, cause, out),
        }
    }

    /// The call was not started: the attempt does not count, and is repeated until it is too late.
    fn not_dialled(&mut self, now: Now, key: &Key, cause: Cause, out: &mut Vec<Output>) {
        let Some(run) = self.runs.get_mut(key) else { return };
        run.row.attempts = run.row.attempts.saturating_sub(1);
        run.row.call = None;
        run.row.cause = Some(cause);
        if run.is_late(now) || cause == Cause::Cancelled {
            return self.settle(now, key, None, Some(cause), out);
        }
        // Exponential back-off, so that other occurrences can start.
        run.row.state = OccurrenceState::Claimed;
        run.row.lease_until = now.wall + PAUSE * (1 << run.refused.min(4));
        run.refused += 1;
        self.put(now, key, true, out);
    }

    /// The attempt failed: plan the next attempt, or write the final state.
    fn on_attempt_failed(&mut self, now: Now, key: &Key, cause: Cause, out: &mut Vec<Output>) {
        let policy = self.plans.get(&key.0).map(|plan| (plan.call.max_attempts, plan.call.retry_minutes));
        let Some(run) = self.runs.get_mut(key) else { return };
        let again = policy.filter(|(most, _)| invites_retry(cause) && run.row.attempts < *most);
        let Some((_, minutes)) = again else {
            return self.settle(now, key, Some(OccurrenceState::Failed), Some(cause), out);
        };
        run.row.state = OccurrenceState::Claimed;
        run.row.cause = Some(cause);
        run.row.not_before = now.wall + Duration::from_secs(60 * u64::from(minutes));
        run.row.lease_until = run.row.not_before;
        self.put(now, key, true, out);
    }

    /// Resume a run that is due and not waiting: poll its call, or repeat the write.
    pub(super) fn resume(&mut self, now: Now, key: &Key, out: &mut Vec<Output>) {
        let Some(run) = self.runs.get_mut(key) else { return };
        match run.step {
            Step::Again { .. } => run.write(out),
            Step::Watching { placed, since, .. } => match run.row.call.clone() {
                Some(call) => {
                    run.step = Step::Looking { placed, since };
                    out.push(Output::Poll(key.clone(), call));
                }
                None => self.settle(now, key, Some(OccurrenceState::Failed), Some(Cause::Internal), out),
            },
            Step::Waiting { .. } | Step::Finding | Step::Writing | Step::Dialling | Step::Looking { .. } => {}
        }
    }

    pub(super) fn looked(&mut self, now: Now, key: &Key, call: Option<&CallRecord>, out: &mut Vec<Output>) {
        let Some(run) = self.runs.get_mut(key) else { return };
        let Step::Looking { placed, since } = run.step else { return };
        let look_again = |placed| Step::Watching { look_at: now.instant + LOOK, placed, since };
        match call {
            Some(call) if call.answered_at.is_some() => {
                self.settle(now, key, Some(OccurrenceState::Done), None, out);
            }
            Some(call) if call.status.is_final() => {
                let cause = call.cause.unwrap_or(match call.status {
                    CallStatus::Busy => Cause::Busy,
                    CallStatus::NoAnswer => Cause::NoAnswer,
                    CallStatus::Queued
                    | CallStatus::Ringing
                    | CallStatus::InProgress
                    | CallStatus::Completed
                    | CallStatus::Failed
                    | CallStatus::Canceled => Cause::Internal,
                });
                self.on_attempt_failed(now, key, cause, out);
            }
            Some(_) => run.step = look_again(true),
            // The switch handles the request for the call before the poll, so the call was refused.
            None if !placed && now.instant.since(since) > DOUBT => {
                self.not_dialled(now, key, Cause::Overload, out);
            }
            None if now.wall > run.row.lease_until => {
                self.settle(now, key, Some(OccurrenceState::Failed), Some(Cause::Internal), out);
            }
            None => run.step = look_again(placed),
        }
    }
}

/// Argument of the dial plan: the user part of a SIP URI, or the number unchanged.
fn user_part(destination: &str) -> &str {
    match destination.split_once(':') {
        Some((_, rest)) => rest.split('@').next().unwrap_or(rest),
        None => destination,
    }
}
