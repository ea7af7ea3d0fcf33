//! What the API, the CLI and the scheduler ask, and the answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::Now;
use model::Cause;

use crate::exchange::Switch;
use crate::trunk::TestCall;
use crate::{Command, Output, Presence, Registration, Reply, State, Status};

impl Switch {
    pub(crate) fn command(&mut self, now: Now, command: Command, out: &mut Vec<Output>) -> Reply {
        match command {
            Command::Originate(wish) => self.originate(now, wish, out),
            Command::End { call } => {
                let Some(key) = self.calls.find(&call) else { return Reply::Unknown };
                self.release(now, key, Cause::EndedByApi, out);
                let reply = self.last_record(key, &call, out).map_or(Reply::Unknown, Reply::Call);
                self.settle(now, out);
                reply
            }
            Command::Show { call } => {
                let found = self.calls.find(&call).and_then(|key| self.calls.get(key));
                found.map_or(Reply::Unknown, |call| Reply::Call(call.record.clone()))
            }
            Command::Calls => {
                let mut calls: Vec<_> = self.calls.live().map(|call| call.record.clone()).collect();
                calls.sort_by(|a, b| Switch::began(b).cmp(&Switch::began(a)));
                Reply::Calls(calls)
            }
            Command::Ladder { call } => {
                let found = self.calls.find(&call).and_then(|key| self.calls.get(key));
                found.map_or(Reply::Unknown, |call| Reply::Ladder(call.ladder.rungs()))
            }
            Command::Recording { call, action } => self.recording_command(now, &call, action, out),
            Command::Presence { usernames } => Reply::Presence(self.presence(now, &usernames)),
            Command::Registrations { username } => Reply::Registrations(self.registrations(now, username)),
            Command::Status => Reply::Status(self.status()),
            Command::Trunks => Reply::Trunks(self.trunk_statuses(now)),
            Command::ProbeTrunk { trunk } => {
                let before = self.trunk_status(now, &trunk);
                if self.state == State::Running {
                    self.probe(now, &trunk, out);
                }
                before.map_or(Reply::Unknown, |status| Reply::Trunks(vec![status]))
            }
            Command::Registrar { on_duty } => {
                self.set_registrar(now, on_duty, out);
                Reply::Status(self.status())
            }
            Command::TestCall { trunk, user, number, patience } => {
                let wish = TestCall { trunk, user, number, patience };
                let reply = self.test_call(now, wish, out);
                self.settle(now, out);
                reply
            }
            Command::Tested { call } => self.tested(&call).map_or(Reply::Unknown, Reply::TestCall),
            Command::Bans => Reply::Bans(self.identity.bans(now)),
            Command::LiftBans { source, account } => {
                Reply::Bans(self.identity.lift(now, source, account.as_deref()))
            }
            Command::Start => {
                if matches!(self.state, State::Stopped | State::Draining) {
                    self.state = State::Starting;
                    out.push(Output::Listen(true));
                }
                Reply::Status(self.status())
            }
            Command::Stop { force } => {
                self.stop(now, force, out);
                Reply::Status(self.status())
            }
        }
    }

    /// Whether phones are there and in calls: one look at the calls for all of them.
    fn presence(&self, now: Now, usernames: &[Arc<str>]) -> Vec<Presence> {
        let mut busy: BTreeMap<&str, bool> = usernames.iter().map(|name| (&**name, false)).collect();
        for party in self.calls.live().flat_map(|call| &call.parties) {
            if let Some(busy) = busy.get_mut(&**party) {
                *busy = true;
            }
        }
        let of = |name: &Arc<str>| Presence {
            registered: self.location.is_registered(now.instant, name),
            busy: busy.get(&**name).is_some_and(|busy| *busy),
        };
        usernames.iter().map(of).collect()
    }

    /// The record of a call that was just released. One without legs is forgotten at once: then its CDR is in this batch.
    fn last_record(&self, key: usize, id: &model::CallId, out: &[Output]) -> Option<model::CallRecord> {
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
            | Output::Listen(_) => None,
        };
        let kept = self.calls.get(key).filter(|call| call.record.id == *id).map(|call| call.record.clone());
        kept.or_else(|| out.iter().rev().find_map(written))
    }

    fn stop(&mut self, now: Now, force: bool, out: &mut Vec<Output>) {
        if self.state == State::Stopped {
            return;
        }
        self.state = State::Draining;
        self.leave_all(now);
        let keys = if force { self.calls.live_keys() } else { self.calls.waiting.iter().copied().collect() };
        for key in keys {
            self.release(now, key, Cause::Draining, out);
        }
        self.settle(now, out);
        self.drained(out);
    }

    /// Close the listeners once the last call has said its last word and its recording is closed.
    pub(crate) fn drained(&mut self, out: &mut Vec<Output>) {
        let over = self.calls.len() == 0 && self.tapes.is_empty() && !self.trunks.is_leaving();
        if self.state == State::Draining && over {
            out.push(Output::Listen(false));
        }
    }

    fn registrations(&self, now: Now, username: Option<Arc<str>>) -> Vec<Registration> {
        let usernames = username.map_or_else(|| self.location.usernames(), |one| [one].into());
        let of = |username: Arc<str>| {
            let each = self.location.contacts(&username).iter().filter(|c| now.instant < c.expires);
            let shown = each.map(|contact| Registration {
                username: Arc::clone(&username),
                contact: contact.uri.to_string(),
                remote: contact.hop.remote,
                expires_at: now.wall + contact.expires.since(now.instant),
                user_agent: contact.user_agent.to_string(),
            });
            shown.collect::<Vec<_>>()
        };
        usernames.into_iter().flat_map(of).collect()
    }

    fn status(&self) -> Status {
        let (transactions, sessions) = self.endpoint.census();
        let mut counters = self.counters.clone();
        (counters.wrong_passwords, counters.banned) = (self.identity.wrong, self.identity.silenced);
        counters.answers_withheld = self.endpoint.withheld();
        Status {
            state: self.state,
            active_calls: self.calls.live_count(),
            registrations: self.location.len(),
            ports_in_use: self.calls.streams(),
            transactions,
            sessions,
            counters,
        }
    }
}
