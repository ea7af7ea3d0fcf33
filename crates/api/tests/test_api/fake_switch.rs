//! A fake switch without SIP. It replies to each command as documented in `switch::Command`.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use base::Timestamp;
use centralita_api::SwitchPort;
use model::{
    CallDirection, CallId, CallRecord, CallStatus, Cause, Change, Directory, ExtensionNumber, Recording,
    RecordingFormat, RecordingId, RecordingState, TraceStep, UserId,
};
use switch::ladder::Rung;
use switch::{
    Ban, CallPlace, CallsOf, Command, Counters, HealthState, Originate, Presence, RecordingAction,
    RecordingView, Registration, RegistrationsOf, Reply, State, Status, TestedCall, TrunkHostStatus,
    TrunkRegistration, TrunkStatus,
};

#[derive(Default)]
pub struct FakeSwitch {
    pub inner: Mutex<FakeSwitchState>,
}

#[derive(Default)]
pub struct FakeSwitchState {
    pub state: State,
    pub calls: Vec<CallRecord>,
    pub registrations: Vec<Registration>,
    pub busy: Vec<String>,
    pub bans: Vec<Ban>,
    pub ladders: BTreeMap<CallId, Vec<Rung>>,
    /// Refuse all further calls with this cause.
    pub refuse: Option<Cause>,
    /// Reply to no command.
    pub unresponsive: bool,
    /// Start of the latest iteration of the event loop.
    pub heartbeat: Option<base::Instant>,
    pub commands: Vec<Command>,
    pub directory: Directory,
    pub published: Vec<Arc<[Change]>>,
    pub next: u32,
}

pub fn call_record(id: &str, user: &str, started: i64) -> CallRecord {
    CallRecord {
        as_of: None,
        id: CallId::parse(id).unwrap(),
        user: UserId::parse(user).unwrap(),
        other_user: None,
        direction: CallDirection::Internal,
        status: CallStatus::Ringing,
        from_number: "1001".into(),
        to_number: "1002".into(),
        device: Some("user_1234567890".into()),
        started_at: Timestamp::from_micros(started * 1_000_000),
        answered_at: None,
        ended_at: None,
        cause: None,
        trace: vec![TraceStep { rule: "extension".into(), outcome: "1002 is an extension".into() }],
        legs: Vec::new(),
    }
}

impl FakeSwitch {
    pub fn change(&self, change: impl FnOnce(&mut FakeSwitchState)) {
        change(&mut self.inner.lock().unwrap());
    }

    pub fn read<T>(&self, read: impl FnOnce(&FakeSwitchState) -> T) -> T {
        read(&self.inner.lock().unwrap())
    }
}

impl FakeSwitchState {
    fn answer(&mut self, command: Command) -> Reply {
        match command {
            Command::Originate(wanted) => self.originate(wanted),
            Command::End { call } => match self.calls.iter().position(|c| c.id == call) {
                Some(place) => {
                    let mut call = self.calls.remove(place);
                    call.status = CallStatus::Canceled;
                    call.ended_at = Some(call.started_at);
                    call.cause = Some(Cause::EndedByApi);
                    Reply::Call(call)
                }
                None => Reply::Unknown,
            },
            Command::Show { call } => self
                .calls
                .iter()
                .find(|c| c.id == call)
                .map_or(Reply::Unknown, |call| Reply::Call(call.clone())),
            Command::Calls { of, after, limit } => {
                let mut calls = self.calls.clone();
                calls.retain(|call| match &of {
                    CallsOf::Everybody => true,
                    CallsOf::User(user) => call.user == *user || call.other_user.as_ref() == Some(user),
                    CallsOf::Party(party) => {
                        call.device.as_deref() == Some(party)
                            || call.legs.iter().any(|leg| leg.party == **party)
                    }
                });
                calls.retain(|call| after.as_ref().is_none_or(|after| CallPlace::of(call) < *after));
                calls.sort_by_key(|call| std::cmp::Reverse(CallPlace::of(call)));
                calls.truncate(limit);
                Reply::Calls(calls)
            }
            Command::Up { mut calls } => {
                calls.retain(|id| self.calls.iter().any(|call| call.id == *id));
                Reply::Up(calls)
            }
            Command::Ladder { call } => {
                self.ladders.get(&call).cloned().map_or(Reply::Unknown, Reply::Ladder)
            }
            Command::Presence { usernames } => Reply::Presence(
                usernames
                    .iter()
                    .map(|name| Presence {
                        registered: self.registrations.iter().any(|r| r.username == *name),
                        busy: self.busy.iter().any(|busy| **busy == **name),
                    })
                    .collect(),
            ),
            Command::Registrations { of, limit } => self.registrations(of, limit),
            Command::Status => Reply::Status(self.status()),
            Command::Trunks => Reply::Trunks(self.trunks()),
            Command::ProbeTrunk { trunk } => {
                let found: Vec<_> = self.trunks().into_iter().filter(|status| status.id == trunk).collect();
                if found.is_empty() { Reply::Unknown } else { Reply::Trunks(found) }
            }
            Command::SetTrunkRegistration { .. } | Command::SuspendRegistrar => Reply::Status(self.status()),
            Command::TestCall { trunk, user, number, .. } => {
                if let Some(cause) = self.refuse {
                    return Reply::Refused(cause);
                }
                if self.directory.trunk(&trunk).is_none() {
                    return Reply::Unknown;
                }
                let mut call = call_record("session_0000000077_t", user.as_str(), super::BEGIN);
                call.to_number = number;
                Reply::Call(call)
            }
            Command::Bans => Reply::Bans(self.bans.clone()),
            Command::LiftBans { source, account } => {
                let wanted = |ban: &Ban| {
                    ban.source == source
                        && account.as_deref().is_none_or(|one| ban.account.as_deref() == Some(one))
                };
                let (lifted, kept) = self.bans.drain(..).partition(wanted);
                self.bans = kept;
                Reply::Bans(lifted)
            }
            Command::Tested { .. } => {
                self.next += 1;
                Reply::TestCall(TestedCall {
                    status: Some(486),
                    rang: Some(std::time::Duration::from_millis(1200)),
                    answered: None,
                    cause: self.next.is_multiple_of(2).then_some(Cause::Busy),
                    trace: vec![TraceStep { rule: "trunk".into(), outcome: "it answers 486".into() }],
                })
            }
            Command::Recording { call, action } => self.recording(&call, action),
            Command::Start => {
                self.state = State::Running;
                Reply::Status(Status { state: State::Starting, ..self.status() })
            }
            Command::Stop { force } => {
                if force {
                    self.calls.clear();
                }
                self.state = if self.calls.is_empty() { State::Stopped } else { State::Draining };
                Reply::Status(self.status())
            }
        }
    }

    /// The recording of an active call; the same one for every action.
    fn recording(&self, call: &CallId, action: RecordingAction) -> Reply {
        let up = self.calls.iter().find(|c| c.id == *call && c.status == CallStatus::InProgress);
        let Some(call) = up else { return Reply::Unknown };
        let recording = Recording {
            id: RecordingId::parse("rec_1736937000_a").unwrap(),
            call: call.id.clone(),
            user: call.user.clone(),
            other_user: None,
            extension: None,
            state: if action == RecordingAction::Stop {
                RecordingState::Complete
            } else {
                RecordingState::Recording
            },
            started_at: call.started_at,
            ended_at: (action == RecordingAction::Stop).then_some(call.started_at),
            format: RecordingFormat::Opus,
            bytes: 0,
            millis: 0,
            sha256: None,
            fault: None,
        };
        Reply::Recording(Some(RecordingView { recording, paused: action == RecordingAction::Pause }))
    }

    fn originate(&mut self, wanted: Originate) -> Reply {
        if let Some(cause) = self.refuse {
            return Reply::Refused(cause);
        }
        let registered = self.registrations.first().map(|r| r.username.to_string());
        let device = wanted.device.map(|d| d.to_string()).or(registered);
        if device.is_none() && wanted.require_device {
            return Reply::Refused(Cause::NoRegisteredDevice);
        }
        self.next += 1;
        let mut call =
            call_record(&format!("session_{:010}_a", self.next), wanted.user.as_str(), super::BEGIN);
        call.status = if device.is_some() { CallStatus::Ringing } else { CallStatus::Queued };
        // A queued call names the device that it waits for.
        let newest =
            self.directory.credentials_of(&wanted.user).max_by_key(|c| (c.created_at, c.username.clone()));
        call.device = device.or_else(|| newest.map(|c| c.username.to_string()));
        call.from_number = wanted.from.unwrap_or_default();
        call.to_number = wanted.to;
        call.other_user = ExtensionNumber::parse(&call.to_number)
            .ok()
            .and_then(|number| self.directory.extension_by_number(&number).map(|e| e.user.clone()));
        self.calls.push(call.clone());
        Reply::Call(call)
    }

    fn registrations(&self, of: RegistrationsOf, limit: usize) -> Reply {
        let mut all = self.registrations.clone();
        all.sort_by(|a, b| a.username.cmp(&b.username));
        match of {
            RegistrationsOf::Everybody { after } => {
                all.retain(|one| after.as_ref().is_none_or(|after| one.username > *after));
            }
            RegistrationsOf::These(names) => all.retain(|one| names.contains(&one.username)),
        }
        let last = all.get(limit.saturating_sub(1)).map(|one| one.username.clone());
        let end = last.map_or(all.len(), |last| all.partition_point(|one| one.username <= last));
        let next = (end < all.len()).then(|| all[end - 1].username.clone());
        all.truncate(end);
        Reply::Registrations { found: all, next }
    }

    /// All trunks are up: their first host has just responded.
    fn trunks(&self) -> Vec<TrunkStatus> {
        let status = |trunk: &Arc<model::Trunk>| TrunkStatus {
            id: trunk.id.clone(),
            name: trunk.name.clone(),
            life: HealthState::Up,
            hosts: vec![TrunkHostStatus {
                uri: format!("sip:{}", trunk.settings.hosts[0].host),
                address: "203.0.113.5:5060".parse().unwrap(),
                transport: "udp",
                health: HealthState::Up,
                status: Some(200),
                round_trip: Some(std::time::Duration::from_millis(12)),
                checked_at: Some(Timestamp::from_micros((super::BEGIN + 3600) * 1_000_000)),
            }],
            registration: TrunkRegistration::Failed { status: Some(403) },
            registered_until: None,
            calls: 2,
        };
        self.directory.trunks().map(status).collect()
    }

    fn status(&self) -> Status {
        Status {
            state: self.state,
            active_calls: self.calls.len(),
            registrations: self.registrations.len(),
            counters: Counters {
                challenges: 7,
                calls_ended: [("busy", 2)].into_iter().collect(),
                ..Counters::default()
            },
            ..Status::default()
        }
    }
}

impl SwitchPort for FakeSwitch {
    fn ask(&self, command: Command) -> Pin<Box<dyn Future<Output = Option<Reply>> + Send>> {
        let mut state = self.inner.lock().unwrap();
        state.commands.push(command.clone());
        let reply = if state.unresponsive { None } else { Some(state.answer(command)) };
        Box::pin(std::future::ready(reply))
    }

    fn publish(&self, directory: Directory, changes: Arc<[Change]>) {
        let mut state = self.inner.lock().unwrap();
        state.directory = directory;
        state.published.push(changes);
    }

    fn status(&self) -> Option<Arc<Status>> {
        let state = self.inner.lock().unwrap();
        (!state.unresponsive).then(|| Arc::new(state.status()))
    }

    fn heartbeat(&self) -> Option<base::Instant> {
        self.inner.lock().unwrap().heartbeat
    }
}
