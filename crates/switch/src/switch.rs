//! The switch itself: owns every part and only dispatches between them.

use std::mem;
use std::sync::Arc;

use base::{Instant, Now, Rng};
use model::Directory;
use model::journal::Record;
use sip::{Endpoint, Event, Headers, Message, SessionId};

use crate::auth::Authenticator;
use crate::backlog::Backlog;
use crate::call::{Calls, Recordings, Timers};
use crate::features::Features;
use crate::location::Location;
use crate::mwi::Mwi;
use crate::ports::Ports;
use crate::trunk::Trunks;
use crate::usage::OutboundUsage;
use crate::voicemail::{PromptSet, VoicemailRecordings};
use crate::{Config, Counters, Input, JournalRoom, Output, State, limits};

/// See the crate.
#[derive(Debug)]
pub struct Switch {
    pub(crate) config: Config,
    pub(crate) rng: Rng,
    pub(crate) directory: Directory,
    pub(crate) endpoint: Endpoint,
    pub(crate) identity: Authenticator,
    pub(crate) location: Location,
    pub(crate) calls: Calls,
    pub(crate) ports: Ports,
    pub(crate) timers: Timers,
    pub(crate) backlog: Backlog,
    pub(crate) trunks: Trunks,
    pub(crate) usage: OutboundUsage,
    pub(crate) recordings: Recordings,
    pub(crate) prompts: Arc<PromptSet>,
    /// Whether they are there: a start does not wait until they are decoded.
    pub(crate) prompts_read: bool,
    pub(crate) voicemail_recordings: VoicemailRecordings,
    pub(crate) mwi: Mwi,
    pub(crate) features: Features,
    pub(crate) state: State,
    /// Whether what is promised can be written down.
    pub(crate) journal: JournalRoom,
    pub(crate) counters: Counters,
    /// When the journal is told next that we live, where calls are up.
    pub(crate) alive_due: Instant,
    /// The second that ladders are being counted in, and how many it has seen.
    pub(crate) ladders: (u64, u32),
    /// Outputs of the endpoint that are not dispatched yet: see [`Switch::drain_endpoint`].
    pub(crate) sip_out: Vec<sip::Output>,
    /// Header lines being written: one buffer for all answers.
    pub(crate) lines: Headers,
    /// See [`Switch::steps`].
    steps: u64,
    /// What the directory had counted when it was handed in.
    steps_before: u64,
}

impl Switch {
    /// A switch that knows nobody yet: [`Input::Directory`] and [`Input::Restore`] come first.
    pub fn new(config: Config, mut rng: Rng) -> Switch {
        let endpoint =
            sip::Config { id_prefix: config.mark.clone(), t1: config.t1, ..sip::Config::default() };
        Switch {
            endpoint: Endpoint::new(endpoint, rng.fork()),
            identity: Authenticator::new(&config.domain, &config.digest, &mut rng),
            location: Location::new(&mut rng),
            calls: Calls::new(&mut rng),
            trunks: Trunks::new(&mut rng),
            usage: OutboundUsage::new(config.outside.clone()),
            ports: Ports::new(&config.listeners),
            mwi: Mwi::new(&mut rng),
            config,
            rng,
            directory: Directory::default(),
            timers: Timers::default(),
            backlog: Backlog::default(),
            recordings: Recordings::default(),
            prompts: Arc::default(),
            prompts_read: false,
            voicemail_recordings: VoicemailRecordings::default(),
            features: Features::default(),
            state: State::Starting,
            journal: JournalRoom::Ample,
            counters: Counters::default(),
            alive_due: Instant::ZERO,
            ladders: (0, 0),
            sip_out: Vec::new(),
            lines: Headers::new(),
            steps: 0,
            steps_before: 0,
        }
    }

    /// Absorb one input; append every consequence to `out`. Never blocks, never reads a clock.
    pub fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        let before = out.len();
        self.absorb(now, input, out);
        self.drain_endpoint(now, out);
        self.steps += out.len().saturating_sub(before) as u64;
    }

    /// What all inputs so far have cost: outputs, messages between the parts, and entries that walks over tables have passed. The difference
    /// around one input is what it has cost, which nothing but its own call or account may make larger.
    pub fn steps(&self) -> u64 {
        self.steps + self.calls.steps() + self.location.steps() + self.directory_steps()
    }

    fn directory_steps(&self) -> u64 {
        self.directory.steps().saturating_sub(self.steps_before)
    }

    fn absorb(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Packet { hop, bytes } => {
                self.counters.messages_received += 1;
                self.sip(now, sip::Input::Packet { hop, bytes });
            }
            Input::FlowClosed(flow) => {
                self.location.flow_closed(flow);
                self.sip(now, sip::Input::FlowClosed(flow));
            }
            Input::Unreachable(hop) => self.sip(now, sip::Input::Unreachable(hop)),
            Input::Media(event) => self.media_event(now, event, out),
            Input::Directory { directory, changes } => self.directory_changed(now, *directory, &changes, out),
            Input::Restore { bindings, calls, outside, alive } => {
                self.restore_meters(now, outside, alive, out);
                self.restore(now, &bindings, calls, alive, out);
            }
            Input::Command { token, command } => {
                let reply = Box::new(self.command(now, command, out));
                out.push(Output::Reply { token, reply });
            }
            Input::Prompts(prompts) => self.prompts_are_read(now, prompts, out),
            Input::Fetched { token, clip } => self.fetched(now, token, clip, out),
            Input::Deposited { token, done } => self.deposited(now, token, done, out),
            Input::SettingChanged { token, done } => self.setting_changed(now, token, done, out),
            Input::Resolved { token, answer } => self.resolved(now, token, &answer, out),
            Input::Listening(open) => {
                self.state = if open { State::Running } else { State::Stopped };
                self.trunks_listen(now, open, out);
            }
            Input::Journal(room) => self.journal = room,
            Input::Tick => self.tick(now, out),
        }
    }

    /// When to come back with [`Input::Tick`] if nothing else happens.
    pub fn deadline(&self) -> Option<Instant> {
        let sip = [self.endpoint.deadline(), self.location.deadline(), self.trunks.deadline()];
        let calls = [self.timers.first(), self.recordings.deadline(), self.usage.deadline()];
        let calls = calls.into_iter().chain([self.backlog.deadline()]);
        let alive = (self.calls.live_count() > 0).then_some(self.alive_due);
        sip.into_iter().chain(calls).chain([alive]).flatten().min()
    }

    /// Write down that we live, while calls are up: after a crash they have ended at the last of these.
    fn show_life(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.calls.live_count() > 0 && self.alive_due <= now.instant {
            self.alive_due = now.instant + limits::ALIVE;
            out.push(Output::Journal(Record::Alive { at: now.wall }));
        }
    }

    fn sip(&mut self, now: Now, input: sip::Input) {
        let mut said = mem::take(&mut self.sip_out);
        self.endpoint.handle(now, input, &mut said);
        self.sip_out = said;
    }

    /// Dispatch the endpoint's outputs, and those that follow from them, first in, first out. The one place where that is done: what handles one
    /// event never sees the next one before it has finished.
    fn drain_endpoint(&mut self, now: Now, out: &mut Vec<Output>) {
        while !self.sip_out.is_empty() {
            let mut outputs = mem::take(&mut self.sip_out);
            self.steps += outputs.len() as u64;
            for output in outputs.drain(..) {
                match output {
                    sip::Output::Transmit { hop, bytes, session } => {
                        self.counters.messages_sent += 1;
                        if let Some(session) = session {
                            self.calls.note(now, session, true, hop, &bytes);
                        }
                        out.push(Output::Transmit { hop, bytes });
                    }
                    sip::Output::Received { session, hop, bytes } => {
                        self.calls.note(now, session, false, hop, &bytes);
                    }
                    sip::Output::Event(event) => self.sip_event(now, event, out),
                }
            }
            if self.sip_out.is_empty() {
                self.sip_out = outputs; // keep the memory
            }
        }
        out.extend(self.identity.events.drain(..).map(|event| Output::Journal(Record::Noted(event))));
    }

    fn sip_event(&mut self, now: Now, event: Event, out: &mut Vec<Output>) {
        match event {
            Event::Request(request) => self.request(now, request, out),
            Event::Session { session, event } => self.session_event(now, session, event, out),
            Event::SourceChanged { session, request } => self.on_source_changed(now, session, request),
            Event::Subscription { subscription, event } => {
                self.subscription_event(now, subscription, event);
            }
            Event::Response { request, response } => {
                let status = response.as_ref().and_then(Message::status);
                if !self.on_notify_response(request, status) {
                    self.trunk_answered(now, request, response.as_ref(), out);
                }
            }
        }
    }

    fn tick(&mut self, now: Now, out: &mut Vec<Output>) {
        self.show_life(now, out);
        self.sip(now, sip::Input::Tick);
        self.location.expire(now.instant, |username, contact| {
            let contact = contact.uri.to_string();
            self.mwi.gone(username, &contact);
            out.push(Output::Journal(Record::Unbound { username: username.clone(), contact, at: now.wall }));
        });
        for _ in 0..limits::TICK_BATCH {
            let Some(call) = self.timers.pop(now.instant) else { break };
            self.call_timer(now, call, out);
        }
        self.trunk_alarms(now, out);
        self.meters_due(now, out);
        self.beeps(now, out);
        self.work_off(now, out);
    }

    /// The phones of what is gone from the directory are no longer ours.
    fn directory_changed(
        &mut self,
        now: Now,
        directory: Directory,
        changes: &[model::Change],
        out: &mut Vec<Output>,
    ) {
        self.steps += self.directory_steps();
        self.steps_before = directory.steps();
        let before = std::mem::replace(&mut self.directory, directory);
        if !self.directory.has_messages_of(&before) {
            self.mwi.messages_changed();
        }
        let mut boxes: Vec<&model::ExtensionId> = changes.iter().filter_map(box_of).collect();
        boxes.sort_unstable();
        boxes.dedup();
        for extension in boxes {
            self.box_changed(now, extension);
        }
        for change in changes {
            let username = match change {
                model::Change::CredentialGone(username) => username.clone(),
                // What was registered with an old password (S75).
                model::Change::Credential(c)
                    if before.credential(&c.username).is_some_and(|old| old.ha1 != c.ha1) =>
                {
                    c.username.clone()
                }
                model::Change::Extension(e) if e.status == model::ExtensionStatus::Inactive => {
                    e.username.clone()
                }
                model::Change::Trunk(trunk) => {
                    self.trunk_changed(now, &trunk.id, out);
                    continue;
                }
                model::Change::TrunkGone(id) => {
                    self.trunk_changed(now, id, out);
                    continue;
                }
                model::Change::Extension(_)
                | model::Change::ExtensionGone(_)
                | model::Change::Credential(_)
                | model::Change::User(_)
                | model::Change::Key(_)
                | model::Change::KeyGone(_)
                | model::Change::Mailbox(_)
                | model::Change::Message(_)
                | model::Change::MessageGone { .. }
                | model::Change::Recurring(_)
                | model::Change::RecurringGone(_) => continue,
            };
            for contact in self.location.contacts(&username) {
                let contact = contact.uri.to_string();
                out.push(Output::Journal(Record::Unbound {
                    username: username.clone(),
                    contact,
                    at: now.wall,
                }));
            }
            self.location.replace(&username, Vec::new());
            self.mwi.all_gone(&username);
        }
    }

    /// Calls, sessions and ports that are still held: the oracle of the simulator says that it comes to nothing.
    pub fn counts(&self) -> [usize; 4] {
        let (transactions, sessions) = self.endpoint.counts();
        [self.calls.len(), self.calls.streams(), transactions, sessions]
    }

    pub(crate) fn leg_of(&self, session: SessionId) -> Option<(crate::call::CallKey, usize)> {
        self.calls.leg_of(session)
    }
}

/// The box of voicemail that a change concerns. A message that is being spoken does not count yet.
fn box_of(change: &model::Change) -> Option<&model::ExtensionId> {
    if let model::Change::Message(message) = change {
        return (message.state != model::MessageState::Recording).then_some(&message.extension);
    }
    if let model::Change::MessageGone { extension, .. } = change { Some(extension) } else { None }
}
