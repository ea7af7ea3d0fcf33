//! Handling of [`Command`]s from the API, the CLI and the scheduler.

use std::sync::Arc;

use base::Now;
use model::dialplan::{self, CallOrigin, Decision, DialContext, Route};
use model::{
    Announcement, CallDirection, CallId, CallRecord, Cause, DialPermissions, Extension, TraceStep, TrunkId,
};

use crate::backlog::Task;
use crate::call::announce::{AnnouncementState, PATIENCE};
use crate::call::originate::{DeviceFilter, announcement};
use crate::call::{Call, CallKey, Leg, Phase};
use crate::switch::Switch;
use crate::trunk::{Alarm, TestCall};
use crate::voicemail::{Audio, VoicemailEffect};
use crate::{Command, Originate, Output, RecordingAction, Reply, State, limits};

impl Switch {
    /// Start a call that plays an announcement; with `into_box` the announcement is stored in the mailbox if the call is not answered.
    pub(crate) fn announce(
        &mut self,
        now: Now,
        wish: &Originate,
        what: &Announcement,
        into_box: bool,
        out: &mut Vec<Output>,
    ) -> Reply {
        let device = wish.device.as_ref().and_then(|device| self.core.directory.credential(device));
        let device = device.filter(|credential| self.core.directory.is_allowed(credential));
        let Some(extension) = device.and_then(|credential| self.core.extension_of(credential)).cloned()
        else {
            return Reply::Refused(Cause::Inactive);
        };
        let asker = DialContext { origin: CallOrigin::Schedule, permissions: extension.dial_permissions };
        let Decision { route, mut trace } = dialplan::route(&self.core.directory, asker, &wish.to);
        match route {
            Route::Refused(cause) => return Reply::Refused(cause),
            Route::Application(_) => return Reply::Refused(Cause::BadNumber),
            Route::Extension(_) | Route::Username(_) | Route::Trunk(_) => {}
        }
        if let Err(cause) = self.core.has_room(&wish.user) {
            return Reply::Refused(cause);
        }
        let clip = match what {
            // The prompts are still being decoded just after start-up.
            Announcement::Prompt(_) if self.core.prompts.is_empty() => {
                return Reply::Refused(Cause::Overload);
            }
            Announcement::Prompt(name) => match self.core.prompt(&extension, name) {
                Some(clip) => Some(clip),
                None => return Reply::Refused(Cause::AudioMissing),
            },
            Announcement::Audio(_) => None,
        };
        if let Some(planned) = &wish.planned {
            let outcome = format!("{} was due at {}", planned.recurring, planned.due);
            trace.insert(0, TraceStep { rule: "recurring_call".into(), outcome });
        }
        self.core.counters.calls_started += 1;
        let announcement = AnnouncementState::new(self.core.rng.u64(), into_box);
        let token = announcement.token;
        let key = self.begin_announcement(now, wish, &extension, route, trace, announcement);
        self.on_call(now, key, out, |call, cx| call.journal_opening(cx));
        match what {
            Announcement::Prompt(_) => self.on_call(now, key, out, |call, cx| call.audio_is_read(cx, clip)),
            Announcement::Audio(id) => {
                let audio = Audio::Sound(id.clone());
                let note = VoicemailEffect::Fetch { token, extension: extension.id.clone(), audio };
                self.core.index.expect(token, key);
                out.push(Output::Voicemail(Box::new(note)));
                self.on_call(now, key, out, |call, cx| call.set_timer(cx, now.instant + PATIENCE));
            }
        }
        self.calls.get(key).map_or(Reply::Refused(Cause::Internal), |call| Reply::Call(call.live_record(now)))
    }

    fn begin_announcement(
        &mut self,
        now: Now,
        wish: &Originate,
        extension: &Extension,
        route: Route,
        trace: Vec<TraceStep>,
        announcement: AnnouncementState,
    ) -> CallKey {
        let planned = wish.planned.as_ref().map(|planned| planned.call.clone());
        let record = CallRecord {
            other_user: self.core.owner_of(&route),
            trace,
            ..CallRecord::new(
                planned.unwrap_or_else(|| model::CallId::new(now, &mut self.core.rng)),
                wish.user.clone(),
                CallDirection::Internal,
                extension.number.to_string(),
                wish.to.clone(),
                now.wall,
            )
        };
        self.calls.insert(
            now,
            &mut self.core.index,
            Call {
                legs: vec![Leg::placeholder(extension.username.to_string(), now.wall)],
                announcement: Some(Box::new(announcement)),
                ..Call::new(record, Phase::LoadingAudio(route))
            },
        )
    }

    pub(crate) fn originate(&mut self, now: Now, wish: Originate, out: &mut Vec<Output>) -> Reply {
        if self.core.state != State::Running {
            return Reply::Refused(Cause::Draining);
        }
        if let Some(call) = wish.planned.as_ref().and_then(|planned| self.core.index.find(&planned.call)) {
            return self.calls.get(call).map_or(Reply::Unknown, |call| Reply::Call(call.live_record(now)));
        }
        if let Some((what, into_box)) = announcement(&wish) {
            return self.announce(now, &wish, &what, into_box, out);
        }
        let mut decision = self.core.route_of(now, &wish);
        if let Some(planned) = &wish.planned {
            let outcome = format!("{} was due at {}", planned.recurring, planned.due);
            decision.trace.insert(0, TraceStep { rule: "recurring_call".into(), outcome });
        }
        if let Route::Refused(cause) = decision.route {
            return Reply::Refused(cause);
        }
        if let Err(cause) = self.core.has_room(&wish.user) {
            return Reply::Refused(cause);
        }
        let device = self.core.device_for(now, &wish, &decision.route, DeviceFilter::Registered);
        if device.is_none() && (wish.require_device || self.core.index.waiting() >= limits::WAITING) {
            return Reply::Refused(Cause::NoRegisteredDevice);
        }
        let leaves = matches!(decision.route, Route::Trunk(_));
        if leaves && let Err(cause) = self.core.usage.admit(now, &wish.user) {
            return Reply::Refused(cause);
        }
        self.core.counters.calls_started += 1;
        let key = self.queue(now, wish, &decision.route, decision.trace, out);
        if let Some(call) = self.calls.get_mut(key) {
            call.routing.outbound_admitted = leaves;
        }
        self.on_call(now, key, out, |call, cx| call.journal_opening(cx));
        if let Some(device) = device {
            self.on_call(now, key, out, |call, cx| call.ring_device(cx, &device));
        }
        self.calls.get(key).map_or(Reply::Refused(Cause::Internal), |call| Reply::Call(call.live_record(now)))
    }

    /// Insert a call without legs that waits for a device of the caller to register.
    fn queue(
        &mut self,
        now: Now,
        wish: Originate,
        route: &Route,
        trace: Vec<TraceStep>,
        out: &mut Vec<Output>,
    ) -> CallKey {
        let planned = wish.planned.as_ref().map(|planned| planned.call.clone());
        let id = planned.unwrap_or_else(|| model::CallId::new(now, &mut self.core.rng));
        let record = CallRecord {
            other_user: self.core.owner_of(route),
            device: self
                .core
                .device_for(now, &wish, route, DeviceFilter::All)
                .map(|device| device.username.to_string()),
            trace,
            ..CallRecord::new(
                id,
                wish.user.clone(),
                CallDirection::Internal,
                self.core.shown_number(&wish),
                wish.to.clone(),
                now.wall,
            )
        };
        let patience = wish.ring_timeout;
        let device = wish.device.as_deref().and_then(|device| self.core.directory.credential(device));
        let (device, user) = (device.map(|device| Arc::clone(&device.username)), wish.user.clone());
        let key =
            self.calls.insert(now, &mut self.core.index, Call::new(record, Phase::Waiting(Box::new(wish))));
        self.core.index.wait(key, device, user);
        self.on_call(now, key, out, |call, cx| call.set_timer(cx, now.instant + patience));
        key
    }

    /// Apply a recording action to a live call.
    pub(crate) fn recording_command(
        &mut self,
        now: Now,
        call: &CallId,
        action: RecordingAction,
        out: &mut Vec<Output>,
    ) -> Reply {
        let Some(key) = self.core.index.find(call) else { return Reply::Unknown };
        if action == RecordingAction::Start {
            let phase = self.calls.get(key).map(|call| &call.phase);
            if matches!(phase, Some(Phase::Voicemail(_) | Phase::Announcing(_) | Phase::StoringMessage)) {
                return Reply::NothingToRecord;
            }
            let begun = self.with_call(now, key, out, |call, cx| call.begin_recording(cx, None));
            return begun.map_or(Reply::Unknown, |begun| begun.map_or_else(Reply::Refused, Reply::Recording));
        }
        self.core.control_recording(now, call, action, out)
    }

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
                found.map_or(Reply::Unknown, |call| Reply::Call(call.live_record(now)))
            }
            Command::Calls { of, after, limit } => {
                Reply::Calls(self.calls.list(now, &self.core.index, &of, after.as_ref(), limit))
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

    /// The record of a call that was just released. A call without legs is removed at once; its CDR is then found in `out`.
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

    /// Start or stop registering at carriers. If two nodes registered the same account, each would receive calls meant for the other.
    pub(crate) fn set_trunk_registration(&mut self, now: Now, on_duty: bool, out: &mut Vec<Output>) {
        if self.core.config.register_trunks == on_duty {
            return;
        }
        self.core.config.register_trunks = on_duty;
        if self.core.state != State::Running {
            return; // applied when the listeners open, or not at all while draining
        }
        if on_duty {
            let ids: Vec<TrunkId> = self.core.directory.trunks().map(|trunk| trunk.id.clone()).collect();
            for id in ids {
                self.core.trunks.set_only(now.instant, Alarm::Register(id));
            }
            self.trunk_alarms(now, out);
        } else {
            self.core.unregister_all(now);
        }
    }

    pub(crate) fn test_call(&mut self, now: Now, wish: TestCall, out: &mut Vec<Output>) -> Reply {
        let Some(trunk) = self.core.directory.trunk(&wish.trunk).cloned() else { return Reply::Unknown };
        if self.core.state != State::Running {
            return Reply::Refused(Cause::Draining);
        }
        let asker = DialContext { origin: CallOrigin::Api, permissions: DialPermissions::default() };
        let Decision { route, mut trace } = dialplan::route(&self.core.directory, asker, &wish.number);
        let outside = match self.core.only_by(&trunk, &route) {
            Ok(outside) => outside,
            Err(cause) => return Reply::Refused(cause),
        };
        if let Err(cause) = self.core.has_room(&wish.user) {
            return Reply::Refused(cause);
        }
        let outcome = format!("{} is tested", trunk.name);
        trace.insert(0, TraceStep { rule: "test_call".into(), outcome });
        let record = self.core.record_of_test(now, wish.user, &wish.number, &trunk, trace);
        let (id, reply) = (record.id.clone(), Reply::Call(record.clone()));
        self.core.counters.calls_started += 1;
        self.core.trunks.tests.begin(id, now.instant);
        let key = self.calls.insert(now, &mut self.core.index, Call::new(record, Phase::TrunkTest));
        self.on_call(now, key, out, |call, cx| call.journal_opening(cx));
        self.on_call(now, key, out, |call, cx| call.set_timer(cx, now.instant + wish.patience));
        if let Some(Err(cause)) =
            self.with_call(now, key, out, |call, cx| call.start_outbound_attempt(cx, outside, None, None))
        {
            self.on_call(now, key, out, |call, cx| call.release(cx, cause));
        }
        reply
    }
}
