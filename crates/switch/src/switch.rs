//! The switch: owns all parts and dispatches inputs and endpoint events to them.

use std::mem;

use base::{Instant, Now, Rng};
use model::Directory;
use model::journal::Record;
use sip::{Event, Message, SessionId};

use crate::backlog::Backlog;
use crate::call::{Call, CallKey, Calls};
use crate::core::{Core, Cx};
use crate::mwi::Mwi;
use crate::{Config, Input, Output, State, limits};

/// Registrar, B2BUA and call control as one state machine, driven by [`Switch::handle`].
#[derive(Debug)]
pub struct Switch {
    pub(crate) core: Core,
    pub(crate) calls: Calls,
    pub(crate) mwi: Mwi,
    pub(crate) backlog: Backlog,
    /// When the next [`Record::Alive`] is due, while calls are up.
    alive_due: Instant,
    /// Cost of all inputs so far, without the tables' own counts: see [`Switch::steps`].
    steps: u64,
    /// Step count of the current directory when it was installed.
    steps_before: u64,
}

impl Switch {
    /// A switch with an empty directory: [`Input::Directory`] and [`Input::Restore`] must come first.
    pub fn new(config: Config, mut rng: Rng) -> Switch {
        let mwi = Mwi::new(&mut rng);
        Switch {
            core: Core::new(config, rng),
            calls: Calls::default(),
            mwi,
            backlog: Backlog::default(),
            alive_due: Instant::ZERO,
            steps: 0,
            steps_before: 0,
        }
    }

    /// Absorb one input and append all outputs to `out`. Never blocks, never reads a clock.
    pub fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        let before = out.len();
        self.absorb(now, input, out);
        self.drain_endpoint(now, out);
        self.steps += out.len().saturating_sub(before) as u64;
    }

    /// Cost of all inputs so far: outputs, messages between the parts, and table entries visited. The difference around one input is the cost of
    /// that input; it must depend only on the call or account concerned.
    pub fn steps(&self) -> u64 {
        self.steps + self.calls.steps() + self.core.location.steps() + self.directory_steps()
    }

    fn directory_steps(&self) -> u64 {
        self.core.directory.steps().saturating_sub(self.steps_before)
    }

    fn absorb(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Packet { hop, bytes } => {
                self.core.counters.messages_received += 1;
                self.core.sip(now, sip::Input::Packet { hop, bytes });
            }
            Input::FlowClosed(flow) => {
                self.core.location.flow_closed(flow);
                self.core.sip(now, sip::Input::FlowClosed(flow));
            }
            Input::Unreachable(hop) => self.core.sip(now, sip::Input::Unreachable(hop)),
            Input::Media(event) => self.media_event(now, event, out),
            Input::Directory { directory, changes } => self.directory_changed(now, *directory, &changes, out),
            Input::Restore { bindings, calls, outside, alive } => {
                self.core.restore_meters(now, outside, alive, out);
                self.core.restore(now, &bindings, calls, alive, out);
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
                self.core.state = if open { State::Running } else { State::Stopped };
                self.trunks_listen(now, open, out);
            }
            Input::Journal(room) => self.core.journal = room,
            Input::Tick => self.tick(now, out),
        }
    }

    /// When [`Input::Tick`] is due if no other input comes first.
    pub fn deadline(&self) -> Option<Instant> {
        let alive = (self.core.index.live_count() > 0).then_some(self.alive_due);
        [self.core.deadline(), self.backlog.deadline(), alive].into_iter().flatten().min()
    }

    /// Write a liveness record to the journal while calls are up: after a crash, those calls are closed at the time of the last one.
    fn show_life(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.core.index.live_count() > 0 && self.alive_due <= now.instant {
            self.alive_due = now.instant + limits::ALIVE;
            out.push(Output::Journal(Record::Alive { at: now.wall }));
        }
    }

    /// Dispatch the endpoint's outputs, and those that follow from them, in FIFO order. Only this function dispatches them, so the handler of one
    /// event finishes before the next event is handled.
    fn drain_endpoint(&mut self, now: Now, out: &mut Vec<Output>) {
        while !self.core.sip_out.is_empty() {
            let mut outputs = mem::take(&mut self.core.sip_out);
            self.steps += outputs.len() as u64;
            for output in outputs.drain(..) {
                match output {
                    sip::Output::Transmit { hop, bytes, session } => {
                        self.core.counters.messages_sent += 1;
                        if let Some(session) = session {
                            self.note(now, session, true, hop, &bytes);
                        }
                        out.push(Output::Transmit { hop, bytes });
                    }
                    sip::Output::Received { session, hop, bytes } => {
                        self.note(now, session, false, hop, &bytes);
                    }
                    sip::Output::Event(event) => self.sip_event(now, event, out),
                }
            }
            if self.core.sip_out.is_empty() {
                self.core.sip_out = outputs; // keep the allocation
            }
        }
        out.extend(self.core.auth.events.drain(..).map(|event| Output::Journal(Record::Noted(event))));
    }

    /// Run `act` on a call; `None` if the call no longer exists. A call with nothing left to do afterwards is removed from the table.
    pub(crate) fn with_call<T>(
        &mut self,
        now: Now,
        key: CallKey,
        out: &mut Vec<Output>,
        act: impl FnOnce(&mut Call, &mut Cx<'_>) -> T,
    ) -> Option<T> {
        let call = self.calls.get_mut(key)?;
        let done = act(call, &mut Cx::new(now, &mut self.core, out));
        if call.gone {
            self.calls.remove(&mut self.core.index, key);
            self.core.drained(out);
        }
        Some(done)
    }

    /// [`Switch::with_call`] without a result.
    pub(crate) fn on_call(
        &mut self,
        now: Now,
        key: CallKey,
        out: &mut Vec<Output>,
        act: impl FnOnce(&mut Call, &mut Cx<'_>),
    ) {
        self.with_call(now, key, out, act);
    }

    /// Add a message to the SIP ladder of its session's call.
    fn note(&mut self, now: Now, session: SessionId, sent: bool, hop: sip::Hop, message: &[u8]) {
        let call = self.core.index.leg_of(session).and_then(|(key, _)| self.calls.get_mut(key));
        if let Some(call) = call {
            call.ladder.note(call.time(now), sent, hop, message);
        }
    }

    fn sip_event(&mut self, now: Now, event: Event, out: &mut Vec<Output>) {
        match event {
            Event::Request(request) => self.request(now, request, out),
            Event::Session { session, event } => self.session_event(now, session, event, out),
            Event::SourceChanged { session, request } => self.on_source_changed(now, session, request),
            Event::Subscription { subscription, event } => {
                let cx = &mut Cx::new(now, &mut self.core, out);
                self.mwi.subscription_event(cx, subscription, event);
            }
            Event::Response { request, response } => {
                let status = response.as_ref().and_then(Message::status);
                if !self.mwi.on_notify_response(&mut Cx::new(now, &mut self.core, out), request, status) {
                    self.core.trunk_answered(now, request, response.as_ref(), out);
                }
            }
        }
    }

    fn tick(&mut self, now: Now, out: &mut Vec<Output>) {
        self.show_life(now, out);
        self.core.sip(now, sip::Input::Tick);
        self.core.location.expire(now.instant, |username, contact| {
            let contact = contact.uri.to_string();
            self.mwi.gone(username, &contact);
            out.push(Output::Journal(Record::Unbound { username: username.clone(), contact, at: now.wall }));
        });
        for _ in 0..limits::TICK_BATCH {
            let Some(call) = self.core.timers.pop(now.instant) else { break };
            self.on_call(now, call, out, super::call::Call::call_timer);
        }
        self.trunk_alarms(now, out);
        self.meters_due(now, out);
        self.beeps(now, out);
        self.work_off(now, out);
    }

    /// Install a new directory: drop the bindings of removed, deactivated and re-keyed accounts, and pass the changes on.
    fn directory_changed(
        &mut self,
        now: Now,
        directory: Directory,
        changes: &[model::Change],
        out: &mut Vec<Output>,
    ) {
        self.steps += self.directory_steps();
        self.steps_before = directory.steps();
        let before = std::mem::replace(&mut self.core.directory, directory);
        if !self.core.directory.same_messages_as(&before) {
            self.mwi.messages_changed();
        }
        let mut boxes: Vec<&model::ExtensionId> = changes.iter().filter_map(box_of).collect();
        boxes.sort_unstable();
        boxes.dedup();
        for extension in boxes {
            self.mwi.box_changed(&mut Cx::new(now, &mut self.core, out), extension);
        }
        for change in changes {
            let username = match change {
                model::Change::CredentialGone(username) => username.clone(),
                // Bindings made with the old password end (S75).
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
            for contact in self.core.location.contacts(&username) {
                let contact = contact.uri.to_string();
                out.push(Output::Journal(Record::Unbound {
                    username: username.clone(),
                    contact,
                    at: now.wall,
                }));
            }
            self.core.location.replace(&username, Vec::new());
            self.mwi.all_gone(&username);
        }
    }

    /// Calls, streams, transactions and sessions still held; the simulator checks that all are zero at the end.
    pub fn counts(&self) -> [usize; 4] {
        let (transactions, sessions) = self.core.endpoint.counts();
        [self.core.index.len(), self.core.index.streams(), transactions, sessions]
    }
}

/// The mailbox that a change concerns; `None` for a message that is still being recorded.
fn box_of(change: &model::Change) -> Option<&model::ExtensionId> {
    if let model::Change::Message(message) = change {
        return (message.state != model::MessageState::Recording).then_some(&message.extension);
    }
    if let model::Change::MessageGone { extension, .. } = change { Some(extension) } else { None }
}

impl Core {
    fn sip(&mut self, now: Now, input: sip::Input) {
        let mut said = mem::take(&mut self.sip_out);
        self.endpoint.handle(now, input, &mut said);
        self.sip_out = said;
    }

    pub(crate) fn leg_of(&self, session: SessionId) -> Option<(crate::call::CallKey, usize)> {
        self.index.leg_of(session)
    }
}
