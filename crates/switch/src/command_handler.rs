//! What the API, the CLI and the scheduler ask, and the answers.

use crate::core::Core;
use std::sync::Arc;

use base::Now;
use model::Cause;

use crate::backlog::Task;
use crate::call::{CallKey, Phase};
use crate::switch::Switch;
use crate::trunk::TestCall;
use crate::{Command, Output, Presence, Registration, RegistrationsOf, Reply, State, Status, limits};

impl Switch {
    pub(crate) fn command(&mut self, now: Now, command: Command, out: &mut Vec<Output>) -> Reply {
        match command {
            Command::Originate(wish) => self.originate(now, wish, out),
            Command::End { call } => {
                let Some(key) = self.core.index.find(&call) else { return Reply::Unknown };
                self.on_call(now, key, out, |call, cx| call.release(cx, Cause::EndedByApi));
                self.last_record(key, &call, out).map_or(Reply::Unknown, Reply::Call)
            }
            Command::Show { call } => {
                let found = self.core.index.find(&call).and_then(|key| self.calls.get(key));
                found.map_or(Reply::Unknown, |call| Reply::Call(call.cdr()))
            }
            Command::Calls { of, after, limit } => {
                Reply::Calls(self.calls.list(&self.core.index, &of, after.as_ref(), limit))
            }
            Command::Up { mut calls } => {
                calls.retain(|call| {
                    let call = self.core.index.find(call).and_then(|key| self.calls.get(key));
                    call.is_some_and(|call| !matches!(call.phase, Phase::Released { .. }))
                });
                Reply::Up(calls)
            }
            Command::Ladder { call } => {
                let found = self.core.index.find(&call).and_then(|key| self.calls.get(key));
                found.map_or(Reply::Unknown, |call| Reply::Ladder(call.ladder.rungs()))
            }
            Command::Recording { call, action } => self.recording_command(now, &call, action, out),
            Command::Presence { usernames } => Reply::Presence(self.core.presence(now, &usernames)),
            Command::Registrations { of, limit } => self.core.registrations(now, &of, limit),
            Command::Status => Reply::Status(self.core.status()),
            Command::Trunks => Reply::Trunks(self.core.trunk_statuses(now)),
            Command::ProbeTrunk { trunk } => {
                let before = self.core.trunk_status(now, &trunk);
                if self.core.state == State::Running {
                    self.core.probe(now, &trunk, out);
                }
                before.map_or(Reply::Unknown, |status| Reply::Trunks(vec![status]))
            }
            Command::SetTrunkRegistration { on_duty } => {
                self.set_trunk_registration(now, on_duty, out);
                Reply::Status(self.core.status())
            }
            Command::SuspendRegistrar => {
                self.core.suspend_trunk_registration();
                Reply::Status(self.core.status())
            }
            Command::TestCall { trunk, user, number, patience } => {
                let wish = TestCall { trunk, user, number, patience };
                self.test_call(now, wish, out)
            }
            Command::Tested { call } => self.core.tested(&call).map_or(Reply::Unknown, Reply::TestCall),
            Command::Bans => Reply::Bans(self.core.auth.bans(now)),
            Command::LiftBans { source, account } => {
                Reply::Bans(self.core.auth.lift(now, source, account.as_deref()))
            }
            Command::Start => {
                if matches!(self.core.state, State::Stopped | State::Draining) {
                    self.core.state = State::Starting;
                    out.push(Output::Listen(true));
                }
                Reply::Status(self.core.status())
            }
            Command::Stop { force } => {
                self.stop(now, force, out);
                Reply::Status(self.core.status())
            }
        }
    }

    /// The record of a call that was just released. One without legs is forgotten at once: then its CDR is in this batch.
    fn last_record(&self, key: CallKey, id: &model::CallId, out: &[Output]) -> Option<model::CallRecord> {
        let written = |output: &Output| match output {
            Output::Journal(model::journal::Record::CallClosed(record)) if record.id == *id => {
                Some((**record).clone())
            }
            Output::Journal(_)
            | Output::Transmit { .. }
            | Output::Media { .. }
            | Output::Reply { .. }
            | Output::Resolve { .. }
            | Output::Voicemail(_)
            | Output::Setting { .. }
            | Output::Listen(_) => None,
        };
        let kept = self.calls.get(key).filter(|call| call.record.id == *id).map(crate::call::Call::cdr);
        kept.or_else(|| out.iter().rev().find_map(written))
    }

    fn stop(&mut self, now: Now, force: bool, out: &mut Vec<Output>) {
        if self.core.state == State::Stopped {
            return;
        }
        self.core.state = State::Draining;
        self.core.unregister_all(now);
        match self.core.index.last_id().filter(|_| force) {
            Some(until) => {
                let task = Task::Release { after: None, until, cause: Cause::Draining };
                self.do_in_parts(now, task, out);
            }
            None => self.do_in_parts(now, Task::ReleaseWaiting, out),
        }
        self.core.drained(out);
    }
}

impl Core {
    /// Whether phones are there and in calls.
    fn presence(&self, now: Now, usernames: &[Arc<str>]) -> Vec<Presence> {
        let of = |name: &Arc<str>| Presence {
            registered: self.location.is_registered(now.instant, name),
            busy: self.index.is_busy(name),
        };
        usernames.iter().map(of).collect()
    }

    /// Close the listeners once the last call has said its last word and its recording is closed.
    pub(crate) fn drained(&mut self, out: &mut Vec<Output>) {
        let over = || self.index.len() == 0 && self.recordings.is_empty() && !self.trunks.is_unregistering();
        if self.state == State::Draining && over() {
            out.push(Output::Listen(false));
        }
    }

    fn registrations(&self, now: Now, of: &RegistrationsOf, limit: usize) -> Reply {
        match of {
            RegistrationsOf::Everybody { after } => {
                self.registrations_of(now, self.location.names_after(after.as_deref()), limit)
            }
            RegistrationsOf::These(names) => self.registrations_of(now, names.iter(), limit),
        }
    }

    fn registrations_of<'n>(
        &self,
        now: Now,
        names: impl Iterator<Item = &'n Arc<str>>,
        limit: usize,
    ) -> Reply {
        let (mut found, mut last) = (Vec::new(), None);
        for (looked_at, username) in names.enumerate() {
            if found.len() >= limit || looked_at >= limits::NAMES_LISTED {
                return Reply::Registrations { found, next: last };
            }
            let live = self.location.contacts(username).iter().filter(|c| now.instant < c.expires);
            found.extend(live.map(|contact| Registration {
                username: Arc::clone(username),
                contact: contact.uri.to_string(),
                remote: contact.hop.remote,
                expires_at: now.wall + contact.expires.since(now.instant),
                user_agent: contact.user_agent.to_string(),
            }));
            last = Some(Arc::clone(username));
        }
        Reply::Registrations { found, next: None }
    }

    fn status(&self) -> Status {
        let (transactions, sessions) = self.endpoint.counts();
        let mut counters = self.counters.clone();
        (counters.wrong_passwords, counters.banned) = (self.auth.wrong, self.auth.silenced);
        counters.answers_withheld = self.endpoint.suppressed_responses();
        Status {
            state: self.state,
            active_calls: self.index.live_count(),
            registrations: self.location.len(),
            ports_in_use: self.index.streams(),
            transactions,
            sessions,
            journal: self.journal,
            counters,
        }
    }
}
