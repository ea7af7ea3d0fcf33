//! The event loop: receive, handle, write the journal, send.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use base::Now;
use bytes::Bytes;
use media::{MediaCommand, MediaEvent};
use mio::{Events, Poll, Token};
use model::journal::{CallEvent, Record};
use sip::resolve::Question;
use sip::{Flow, Hop, Transport};
use switch::{Command, Input, Output, Reply, Switch};
use tokio::sync::{oneshot, watch};

use super::busy_poll::{BUSY_POLL, BusyPoller};
use super::connections::ConnectionTable;
use super::crash::{self, Handling, PoisonMessages};
use super::handle::SwitchMsg;
use super::listeners::SipListeners;
use super::media_dispatch::MediaDispatch;
use super::published::{HEARTBEAT, Published, Snapshot};
use crate::clock::Clock;
use crate::config::Listen;
use crate::dns::Dns;
use crate::fault;
use crate::journal::Journal;
use crate::limits::INPUTS_PER_ITERATION;
use crate::net::LoopWaker;
use crate::net::dial::dial;
use crate::net::tcp::{ConnEvent, Connections, Inbox};
use crate::net::udp::Batches;
use crate::supervisor::{Supervisor, catch};

/// Token of the waker; UDP listeners have their position as token.
pub(super) const WAKER: Token = Token(usize::MAX);
/// Maximum sleep while the disk is full, so that its space is checked again.
const DISK_FULL_POLL: Duration = Duration::from_secs(1);

/// State of the switch thread.
pub(super) struct EventLoop {
    pub(super) poll: Poll,
    pub(super) waker: Arc<LoopWaker>,
    pub(super) messages: Receiver<SwitchMsg>,
    pub(super) inbox: Inbox,
    pub(super) conn_events: tokio::sync::mpsc::Receiver<ConnEvent>,
    pub(super) listening: watch::Sender<bool>,
    pub(super) listen: Vec<Listen>,
    pub(super) public: Option<IpAddr>,
    pub(super) listeners: SipListeners,
    pub(super) clock: Clock,
    pub(super) core: Core,
    pub(super) journal: Journal,
    pub(super) connections: Arc<Connections>,
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) media: Box<dyn MediaDispatch>,
    pub(super) dns: Dns,
    pub(super) voicemail: tokio::sync::mpsc::UnboundedSender<switch::voicemail::VoicemailEffect>,
    pub(super) settings: tokio::sync::mpsc::UnboundedSender<(u64, switch::SettingChange)>,
    pub(super) open_connections: ConnectionTable,
    pub(super) scratch: Scratch,
    pub(super) busy_poller: BusyPoller,
    pub(super) published: Arc<Published>,
    pub(super) snapshot: Snapshot,
    pub(super) supervisor: Supervisor,
    /// Directory of crash reports.
    pub(super) crashes: PathBuf,
    pub(super) poison: PoisonMessages,
}

/// The switch, and the input that it is handling.
pub(super) struct Core {
    pub(super) switch: Switch,
    pub(super) handling: Handling,
}

impl Core {
    fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        self.handling = Handling::of(&input);
        if let Input::Packet { bytes, .. } = &input {
            fault::in_message(bytes);
        }
        self.switch.handle(now, input, out);
    }
}

/// Buffers that are reused in every iteration, and state between iterations.
#[derive(Default)]
pub(super) struct Scratch {
    batches: Batches,
    packets: Vec<(Hop, Bytes)>,
    conn_events: Vec<ConnEvent>,
    unreachable: Vec<Hop>,
    outputs: Vec<Output>,
    records: Vec<Record>,
    /// Sent to voicemail after the journal was written.
    voicemail_effects: Vec<switch::voicemail::VoicemailEffect>,
    datagrams: Vec<(Hop, Bytes)>,
    stream_sends: Vec<(Hop, Bytes)>,
    /// Connections whose peers have closed; removed after their pending responses are sent.
    peer_closed: Vec<sip::Flow>,
    media: Vec<(u8, MediaCommand)>,
    replies: Vec<(u64, Box<Reply>)>,
    questions: Vec<(u64, Question)>,
    pending_replies: std::collections::HashMap<u64, oneshot::Sender<Reply>>,
    last_token: u64,
    /// Inputs that result from executing outputs; handled first in the next iteration.
    pub(super) deferred: Vec<Input>,
    listen: Option<bool>,
    unsent: u64,
    quit: bool,
    /// Whether input is left over that no socket event will announce.
    has_leftover: bool,
}

impl EventLoop {
    /// Run until [`SwitchMsg::Quit`]. The inputs `begin` are handled before the first message. An unrecoverable error ends the process.
    pub(super) fn run(&mut self, begin: [Input; 2], listeners: SipListeners) {
        self.exit_on_panic(|this| this.begin(begin, listeners));
        let mut events = Events::with_capacity(128);
        while !self.scratch.quit {
            self.exit_on_panic(EventLoop::iteration);
            if self.scratch.quit {
                break;
            }
            if self.busy_poller.is_busy() && !self.has_more() {
                std::thread::sleep(BUSY_POLL);
                self.listeners.udp.iter_mut().for_each(|listener| listener.ready = true);
                if !self.busy_poller.should_poll() {
                    continue;
                }
            }
            if let Err(error) = self.wait(&mut events) {
                let what = format!("cannot wait for its sockets ({error})");
                self.supervisor.fatal("exchange", &what, None);
            }
        }
        self.journal.flush();
        self.listening.send_replace(false);
    }

    fn begin(&mut self, begin: [Input; 2], listeners: SipListeners) {
        let now = self.clock.now();
        for input in begin {
            self.core.handle(now, input, &mut self.scratch.outputs);
        }
        self.core.handling = Handling::Nothing;
        self.begin_listening(listeners);
    }

    /// Run `work`; a panic in it ends the process. Registrations and calls are in the journal, and a start takes a fraction of a second. Nothing of
    /// the iteration that panicked was sent or written.
    fn exit_on_panic(&mut self, work: impl FnOnce(&mut EventLoop)) {
        let Err(panic) = catch(|| work(self)) else { return };
        let written = crash::write(&self.crashes, self.clock.now(), &panic.0, &self.core.handling);
        if let Err(error) = &written {
            tracing::error!(%error, "the crash report of the switch cannot be written");
        }
        self.supervisor.fatal("exchange", &panic.0, written.ok().as_deref());
    }

    /// Wait for an event or the timeout, and mark the listeners that are readable.
    fn wait(&mut self, events: &mut Events) -> std::io::Result<()> {
        match self.poll.poll(events, Some(self.timeout())) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        for event in events.iter().filter(|event| event.token() != WAKER) {
            if let Some(listener) = self.listeners.udp.get_mut(event.token().0) {
                listener.ready |= event.is_readable();
                listener.failed |= event.is_error();
            }
        }
        Ok(())
    }

    /// Whether input is left over that does not wait for the kernel.
    fn has_more(&self) -> bool {
        let unread = self.listeners.udp.iter().any(|listener| listener.ready || listener.failed);
        unread || self.scratch.has_leftover || !self.scratch.deferred.is_empty()
    }

    /// Timeout of the next wait.
    fn timeout(&self) -> Duration {
        if self.has_more() {
            return Duration::ZERO;
        }
        let now = self.clock.now().instant;
        let deadline = self.core.switch.deadline().map(|deadline| deadline.since(now));
        let wait = deadline.map_or(HEARTBEAT, |wait| wait.min(HEARTBEAT)).min(self.snapshot.wait(now));
        // epoll waits in whole milliseconds: a shorter wait is rounded up, or the loop would spin.
        let wait = if wait.is_zero() { wait } else { wait.max(Duration::from_millis(1)) };
        if self.journal.is_low() { wait.min(DISK_FULL_POLL) } else { wait }
    }

    fn iteration(&mut self) {
        self.waker.clear();
        self.receive();
        let now = self.clock.now();
        self.published.beat(now.instant);
        self.busy_poller.count(now.instant, self.scratch.packets.len());
        if let Some(room) = self.journal.room_changed() {
            self.core.handle(now, Input::Journal(room), &mut self.scratch.outputs);
            self.snapshot.changed();
        }
        // Messages are taken after the sockets were read: a directory that was published before a packet arrived is in force when it is handled.
        self.handle_messages(now);
        self.handle_packets(now);
        if self.core.switch.deadline().is_some_and(|deadline| deadline <= now.instant) {
            self.core.handle(now, Input::Tick, &mut self.scratch.outputs);
            self.snapshot.changed();
        }
        // Before any reply is sent: a client whose stop command was answered reads no older state.
        self.publish(now);
        self.core.handling = Handling::Nothing;
        self.execute_outputs();
        self.published.iteration.observe(self.clock.now().instant.since(now.instant));
    }

    /// Publish a status snapshot if one is due.
    fn publish(&mut self, now: Now) {
        if !self.snapshot.take_due(now.instant) {
            return;
        }
        let mut outputs = Vec::new();
        // Tokens of clients' commands start at 1.
        self.core.handle(now, Input::Command { token: 0, command: Command::Status }, &mut outputs);
        for output in outputs {
            match output {
                Output::Reply { token: 0, reply } => {
                    if let Reply::Status(status) = *reply {
                        self.published.put(status);
                    }
                }
                other => self.scratch.outputs.push(other),
            }
        }
    }

    /// Read one bounded batch from every socket and from the connections.
    fn receive(&mut self) {
        let scratch = &mut self.scratch;
        scratch.has_leftover = false;
        for listener in &mut self.listeners.udp {
            if listener.ready {
                listener.receive(&mut scratch.batches, &mut scratch.packets);
            }
            if listener.failed {
                listener.undelivered(&mut scratch.unreachable);
            }
        }
        for _ in 0..INPUTS_PER_ITERATION {
            match self.conn_events.try_recv() {
                Ok(event) => scratch.conn_events.push(event),
                Err(_) => return,
            }
        }
        scratch.has_leftover = true;
    }

    fn handle_messages(&mut self, now: Now) {
        for input in std::mem::take(&mut self.scratch.deferred) {
            match input {
                Input::Listening(_) => self.snapshot.urgent(),
                _ => self.snapshot.changed(),
            }
            self.core.handle(now, input, &mut self.scratch.outputs);
        }
        for n in 0..=INPUTS_PER_ITERATION {
            if n == INPUTS_PER_ITERATION {
                self.scratch.has_leftover = true;
                return;
            }
            let Ok(message) = self.messages.try_recv() else { return };
            let Some(input) = self.input(message) else { continue };
            self.snapshot.changed();
            self.core.handle(now, input, &mut self.scratch.outputs);
        }
    }

    /// The input for the switch, if the message is one.
    fn input(&mut self, message: SwitchMsg) -> Option<Input> {
        Some(match message {
            SwitchMsg::Directory { directory, changes } => Input::Directory { directory, changes },
            SwitchMsg::Media(event) => {
                if let MediaEvent::WorkerGone { worker } = event {
                    // Commands issued so far are meant for the worker that is gone: they are executed now, and dropped by it.
                    self.execute_outputs();
                    self.media.reopen(worker);
                }
                Input::Media(event)
            }
            SwitchMsg::Resolved { token, answer } => Input::Resolved { token, answer },
            SwitchMsg::Prompts(prompts) => Input::Prompts(prompts),
            SwitchMsg::Fetched { token, clip } => Input::Fetched { token, clip },
            SwitchMsg::Deposited { token, done } => Input::Deposited { token, done },
            SwitchMsg::SettingChanged { token, done } => Input::SettingChanged { token, done },
            SwitchMsg::Command { command, reply_to, permit } => {
                drop(permit);
                if reply_to.is_closed() {
                    return None; // the client has given up: the command is not executed
                }
                if matches!(command, Command::Start | Command::Stop { .. }) {
                    self.snapshot.urgent();
                }
                self.scratch.last_token += 1;
                self.scratch.pending_replies.insert(self.scratch.last_token, reply_to);
                Input::Command { token: self.scratch.last_token, command }
            }
            SwitchMsg::Quit => {
                self.scratch.quit = true;
                return None;
            }
        })
    }

    fn handle_packets(&mut self, now: Now) {
        let scratch = &mut self.scratch;
        if !(scratch.unreachable.is_empty() && scratch.conn_events.is_empty() && scratch.packets.is_empty()) {
            self.snapshot.changed();
        }
        for hop in scratch.unreachable.drain(..) {
            self.core.handle(now, Input::Unreachable(hop), &mut scratch.outputs);
        }
        for event in scratch.conn_events.drain(..) {
            let input = match event {
                ConnEvent::Opened { hop, connection } => {
                    self.open_connections.open(hop, connection);
                    continue;
                }
                ConnEvent::Frame { bytes, .. } if self.poison.has(&bytes) => continue,
                ConnEvent::Frame { hop, bytes } => Input::Packet { hop, bytes },
                ConnEvent::Closed(flow) => {
                    scratch.peer_closed.push(flow);
                    continue;
                }
            };
            self.core.handle(now, input, &mut scratch.outputs);
        }
        for (hop, bytes) in scratch.packets.drain(..) {
            if self.poison.has(&bytes) {
                continue;
            }
            self.core.handle(now, Input::Packet { hop, bytes }, &mut scratch.outputs);
        }
    }

    /// Execute the outputs: first the journal, then everything that is visible outside.
    fn execute_outputs(&mut self) {
        self.sort_outputs();
        let scratch = &mut self.scratch;
        if !scratch.records.is_empty() {
            let started = self.clock.now().instant;
            self.journal.append(std::mem::take(&mut scratch.records));
            self.published.journal.observe(self.clock.now().instant.since(started));
        }
        for effect in scratch.voicemail_effects.drain(..) {
            // An error means that the voicemail task has ended: the process is shutting down.
            self.voicemail.send(effect).ok();
        }
        for batch in scratch.datagrams.chunk_by(|(a, _), (b, _)| a.listener == b.listener) {
            let listener = batch.first().and_then(|(hop, _)| {
                self.listeners.udp.iter_mut().find(|listener| listener.index() == hop.listener)
            });
            let unsent = match listener {
                Some(listener) => listener.send(&mut scratch.batches, batch),
                None => batch.len(),
            };
            scratch.unsent += unsent as u64;
        }
        scratch.datagrams.clear();
        self.send_streams();
        let scratch = &mut self.scratch;
        // One message per worker; the order of its commands is kept.
        scratch.media.sort_by_key(|(worker, _)| *worker);
        while let Some((worker, _)) = scratch.media.last() {
            let worker = *worker;
            let first = scratch.media.partition_point(|(other, _)| *other < worker);
            self.media.send(worker, scratch.media.drain(first..).map(|(_, command)| command).collect());
        }
        for (token, reply) in scratch.replies.drain(..) {
            // A client that stopped waiting needs no reply.
            if let Some(reply_to) = scratch.pending_replies.remove(&token) {
                reply_to.send(*reply).ok();
            }
        }
        for (token, question) in scratch.questions.drain(..) {
            self.dns.ask(&self.runtime, &self.supervisor, token, question);
        }
        if let Some(open) = scratch.listen.take() {
            self.listen(open);
        }
    }

    /// Send over connections; an outbound connection to a trunk host is opened for its first message.
    fn send_streams(&mut self) {
        let mut stream_sends = std::mem::take(&mut self.scratch.stream_sends);
        for (hop, bytes) in stream_sends.drain(..) {
            let flow = if hop.flow == Flow::default() { self.connection_to(hop) } else { Some(hop.flow) };
            match flow {
                Some(flow) => self.open_connections.send(flow, bytes, &mut self.scratch.deferred),
                None => self.scratch.deferred.push(Input::Unreachable(hop)),
            }
        }
        self.scratch.stream_sends = stream_sends; // keep the memory
        // After sending: requests that a peer sent before it closed are still answered.
        for flow in self.scratch.peer_closed.drain(..) {
            self.open_connections.close(flow, &mut self.scratch.deferred);
        }
    }

    /// The outbound connection to a host that the switch addresses by host only; opened if there is none.
    fn connection_to(&mut self, hop: Hop) -> Option<Flow> {
        if let Some(flow) = self.open_connections.to_host(hop) {
            return Some(flow);
        }
        let listen = self.listen.get(usize::from(hop.listener))?;
        if hop.transport != Transport::Tcp || !self.open_connections.may_dial() {
            return None;
        }
        let hop = Hop { flow: self.connections.flow(), ..hop };
        let source = Some(listen.address.ip()).filter(|ip| !ip.is_unspecified());
        let (connection, task) = dial(hop, source, self.connections.limits(), self.inbox.clone());
        self.runtime.spawn(task);
        self.open_connections.dial(hop, connection);
        Some(hop.flow)
    }

    fn sort_outputs(&mut self) {
        let scratch = &mut self.scratch;
        for output in scratch.outputs.drain(..) {
            match output {
                Output::Transmit { hop, bytes } if hop.transport == Transport::Udp => {
                    scratch.datagrams.push((hop, bytes));
                }
                Output::Transmit { hop, bytes } => scratch.stream_sends.push((hop, bytes)),
                Output::Media { worker, command } => scratch.media.push((worker, command)),
                Output::Journal(record) => {
                    match &record {
                        Record::Bound(binding) if binding.transport != 0 => {
                            let (epoch, number) = binding.flow;
                            self.open_connections.mark_authenticated(Flow { epoch, number });
                        }
                        Record::LegUp { leg, .. } if leg.transport != 0 => {
                            self.open_connections.mark_peer_authenticated(leg.remote);
                        }
                        Record::Noted(CallEvent::SpendAlert { user, percent, limit_minutes, .. }) => {
                            tracing::warn!(%user, percent, limit_minutes, "outbound calls: the daily minutes of a user are running out");
                        }
                        Record::Noted(CallEvent::Emergency { call, .. }) => {
                            tracing::warn!(%call, "emergency call");
                        }
                        Record::Bound(_)
                        | Record::Unbound { .. }
                        | Record::CallOpened(_)
                        | Record::LegUp { .. }
                        | Record::CallClosed(_)
                        | Record::Ladder { .. }
                        | Record::Noted(_)
                        | Record::Recording(_)
                        | Record::Alive { .. }
                        | Record::Voicemail(_) => {}
                    }
                    scratch.records.push(record);
                }
                Output::Reply { token, reply } => scratch.replies.push((token, reply)),
                Output::Resolve { token, question } => scratch.questions.push((token, question)),
                Output::Listen(open) => scratch.listen = Some(open),
                Output::Voicemail(effect) => {
                    if let switch::voicemail::VoicemailEffect::Fact(fact) = &*effect {
                        scratch.records.push(Record::Voicemail(Box::new(fact.clone())));
                    }
                    scratch.voicemail_effects.push(*effect);
                }
                Output::Setting { token, change } => {
                    if self.settings.send((token, *change)).is_err() {
                        scratch.deferred.push(Input::SettingChanged { token, done: false });
                    }
                }
            }
        }
    }
}
