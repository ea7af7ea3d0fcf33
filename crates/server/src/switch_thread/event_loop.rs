//! One turn of the loop: gather, absorb, write down, send.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use base::Now;
use bytes::Bytes;
use media::{MediaCommand, MediaEvent};
use mio::{Events, Poll};
use model::journal::{CallEvent, Record};
use sip::resolve::Question;
use sip::{Flow, Hop, Transport};
use switch::{Command, Input, Output, Reply, Switch};
use tokio::sync::{oneshot, watch};

use super::busy_poll::{BUSY_POLL, BusyPoller};
use super::connections::ConnectionTable;
use super::crash::{self, Handling, Refused};
use super::published::{HEARTBEAT, Published, Snapshot};
use super::{BELL, MediaDispatch, Sockets, SwitchMsg};
use crate::clock::Clock;
use crate::config::Listen;
use crate::dns::Dns;
use crate::fault;
use crate::journal::Journal;
use crate::limits::INPUTS_PER_TURN;
use crate::net::LoopWaker;
use crate::net::dial::dial;
use crate::net::tcp::{ConnEvent, Connections, Inbox};
use crate::net::udp::Batches;
use crate::supervisor::{Supervisor, catch};

/// How often a full disk is looked at while nothing else happens.
const FULL_DISK: Duration = Duration::from_secs(1);

/// Everything that the thread owns.
pub(super) struct EventLoop {
    pub(super) poll: Poll,
    pub(super) waker: Arc<LoopWaker>,
    pub(super) orders: Receiver<SwitchMsg>,
    pub(super) inbox: Inbox,
    pub(super) frames: tokio::sync::mpsc::Receiver<ConnEvent>,
    pub(super) listening: watch::Sender<bool>,
    pub(super) listen: Vec<Listen>,
    pub(super) public: Option<IpAddr>,
    pub(super) sockets: Sockets,
    pub(super) clock: Clock,
    pub(super) core: Core,
    pub(super) journal: Journal,
    pub(super) connections: Arc<Connections>,
    pub(super) runtime: tokio::runtime::Handle,
    pub(super) voice: Box<dyn MediaDispatch>,
    pub(super) dns: Dns,
    pub(super) notes: tokio::sync::mpsc::UnboundedSender<switch::voicemail::VoicemailEffect>,
    pub(super) settings: tokio::sync::mpsc::UnboundedSender<(u64, switch::SettingChange)>,
    pub(super) lines: ConnectionTable,
    pub(super) work: Scratch,
    pub(super) pace: BusyPoller,
    pub(super) published: Arc<Published>,
    pub(super) snapshot: Snapshot,
    pub(super) supervisor: Supervisor,
    /// Where an input is described that the switch panicked on.
    pub(super) crashes: PathBuf,
    pub(super) refused: Refused,
}

/// The switch, and what it is handling.
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

/// Vectors that are used again in every turn.
#[derive(Default)]
pub(super) struct Scratch {
    batches: Batches,
    packets: Vec<(Hop, Bytes)>,
    frames: Vec<ConnEvent>,
    unreachable: Vec<Hop>,
    outputs: Vec<Output>,
    records: Vec<Record>,
    /// For voicemail, once the journal has them.
    notes: Vec<switch::voicemail::VoicemailEffect>,
    datagrams: Vec<(Hop, Bytes)>,
    streams: Vec<(Hop, Bytes)>,
    /// Connections whose peers will say nothing more.
    finished: Vec<sip::Flow>,
    media: Vec<(u8, MediaCommand)>,
    replies: Vec<(u64, Box<Reply>)>,
    questions: Vec<(u64, Question)>,
    asked: std::collections::HashMap<u64, oneshot::Sender<Reply>>,
    token: u64,
    /// Inputs that followed from our own doing; they are absorbed first in the next turn.
    pub(super) later: Vec<Input>,
    listen: Option<bool>,
    lost: u64,
    quit: bool,
    /// Whether something was left over that does not wait for a socket.
    again: bool,
}

impl EventLoop {
    /// Run until [`SwitchMsg::Quit`]. `begin` is absorbed before the first message. What cannot go on ends the process.
    pub(super) fn run(&mut self, begin: [Input; 2], sockets: Sockets) {
        self.or_end(|this| this.begin(begin, sockets));
        let mut events = Events::with_capacity(128);
        while !self.work.quit {
            self.or_end(EventLoop::iteration);
            if self.work.quit {
                break;
            }
            if self.pace.is_busy() && !self.has_more() {
                std::thread::sleep(BUSY_POLL);
                self.sockets.udp.iter_mut().for_each(|listener| listener.ready = true);
                if !self.pace.should_poll() {
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

    fn begin(&mut self, begin: [Input; 2], sockets: Sockets) {
        let now = self.clock.now();
        for input in begin {
            self.core.handle(now, input, &mut self.work.outputs);
        }
        self.core.handling = Handling::Nothing;
        self.begin_listening(sockets);
    }

    /// A panic ends the process at once: registrations and calls are in the journal, and a start takes a fraction of a second. Nothing of
    /// the iteration that panicked was answered or written down.
    fn or_end(&mut self, work: impl FnOnce(&mut EventLoop)) {
        let Err(panic) = catch(|| work(self)) else { return };
        let written = crash::write(&self.crashes, self.clock.now(), &panic.0, &self.core.handling);
        if let Err(error) = &written {
            tracing::error!(%error, "what the exchange was handling cannot be written down");
        }
        self.supervisor.fatal("exchange", &panic.0, written.ok().as_deref());
    }

    /// Wait until something happens, and note what can be read.
    fn wait(&mut self, events: &mut Events) -> std::io::Result<()> {
        match self.poll.poll(events, Some(self.timeout())) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        for event in events.iter().filter(|event| event.token() != BELL) {
            if let Some(listener) = self.sockets.udp.get_mut(event.token().0) {
                listener.ready |= event.is_readable();
                listener.failed |= event.is_error();
            }
        }
        Ok(())
    }

    /// Whether something is left over that does not wait for the kernel.
    fn has_more(&self) -> bool {
        let unread = self.sockets.udp.iter().any(|listener| listener.ready || listener.failed);
        unread || self.work.again || !self.work.later.is_empty()
    }

    /// How long the loop may sleep.
    fn timeout(&self) -> Duration {
        if self.has_more() {
            return Duration::ZERO;
        }
        let now = self.clock.now().instant;
        let deadline = self.core.switch.deadline().map(|deadline| deadline.since(now));
        let wait = deadline.map_or(HEARTBEAT, |wait| wait.min(HEARTBEAT)).min(self.snapshot.wait(now));
        // The kernel waits in whole milliseconds: a shorter rest is rounded up, or the loop would spin.
        let wait = if wait.is_zero() { wait } else { wait.max(Duration::from_millis(1)) };
        if self.journal.is_low() { wait.min(FULL_DISK) } else { wait }
    }

    fn iteration(&mut self) {
        self.waker.rest();
        self.gather();
        let now = self.clock.now();
        self.published.beat(now.instant);
        self.pace.note(now.instant, self.work.packets.len());
        if let Some(room) = self.journal.room_changed() {
            self.core.handle(now, Input::Journal(room), &mut self.work.outputs);
            self.snapshot.changed();
        }
        // Orders are taken after the messages were read: a directory that was published before a message arrived is seen by it.
        self.absorb_orders(now);
        self.absorb_messages(now);
        if self.core.switch.deadline().is_some_and(|deadline| deadline <= now.instant) {
            self.core.handle(now, Input::Tick, &mut self.work.outputs);
            self.snapshot.changed();
        }
        // Before any reply leaves: who was answered that the SIP side stops reads no older state.
        self.publish(now);
        self.core.handling = Handling::Nothing;
        self.perform();
        self.published.iteration.observe(self.clock.now().instant.since(now.instant));
    }

    /// Publish a snapshot, where one is due.
    fn publish(&mut self, now: Now) {
        if !self.snapshot.take_due(now.instant) {
            return;
        }
        let mut outputs = Vec::new();
        // Tokens of askers begin with 1.
        self.core.handle(now, Input::Command { token: 0, command: Command::Status }, &mut outputs);
        for output in outputs {
            match output {
                Output::Reply { token: 0, reply } => {
                    if let Reply::Status(status) = *reply {
                        self.published.put(status);
                    }
                }
                other => self.work.outputs.push(other),
            }
        }
    }

    /// Take one bounded batch from every socket and from the connections.
    fn gather(&mut self) {
        let work = &mut self.work;
        work.again = false;
        for listener in &mut self.sockets.udp {
            if listener.ready {
                listener.receive(&mut work.batches, &mut work.packets);
            }
            if listener.failed {
                listener.undelivered(&mut work.unreachable);
            }
        }
        for _ in 0..INPUTS_PER_TURN {
            match self.frames.try_recv() {
                Ok(event) => work.frames.push(event),
                Err(_) => return,
            }
        }
        work.again = true;
    }

    fn absorb_orders(&mut self, now: Now) {
        for input in std::mem::take(&mut self.work.later) {
            match input {
                Input::Listening(_) => self.snapshot.urgent(),
                _ => self.snapshot.changed(),
            }
            self.core.handle(now, input, &mut self.work.outputs);
        }
        for n in 0..=INPUTS_PER_TURN {
            if n == INPUTS_PER_TURN {
                self.work.again = true;
                return;
            }
            let Ok(order) = self.orders.try_recv() else { return };
            let Some(input) = self.input(order) else { continue };
            self.snapshot.changed();
            self.core.handle(now, input, &mut self.work.outputs);
        }
    }

    /// What an order says to the switch, if anything.
    fn input(&mut self, order: SwitchMsg) -> Option<Input> {
        Some(match order {
            SwitchMsg::Directory { directory, changes } => Input::Directory { directory, changes },
            SwitchMsg::Media(event) => {
                if let MediaEvent::WorkerGone { worker } = event {
                    // What was decided before is meant for the worker that is gone: it takes no commands, and these are dropped.
                    self.perform();
                    self.voice.reopen(worker);
                }
                Input::Media(event)
            }
            SwitchMsg::Resolved { token, answer } => Input::Resolved { token, answer },
            SwitchMsg::Prompts(prompts) => Input::Prompts(prompts),
            SwitchMsg::Fetched { token, clip } => Input::Fetched { token, clip },
            SwitchMsg::Deposited { token, done } => Input::Deposited { token, done },
            SwitchMsg::SettingChanged { token, done } => Input::SettingChanged { token, done },
            SwitchMsg::Command { command, asker, permit } => {
                drop(permit);
                if asker.is_closed() {
                    return None; // to whoever asked, it was refused
                }
                if matches!(command, Command::Start | Command::Stop { .. }) {
                    self.snapshot.urgent();
                }
                self.work.token += 1;
                self.work.asked.insert(self.work.token, asker);
                Input::Command { token: self.work.token, command }
            }
            SwitchMsg::Quit => {
                self.work.quit = true;
                return None;
            }
        })
    }

    fn absorb_messages(&mut self, now: Now) {
        let work = &mut self.work;
        if !(work.unreachable.is_empty() && work.frames.is_empty() && work.packets.is_empty()) {
            self.snapshot.changed();
        }
        for hop in work.unreachable.drain(..) {
            self.core.handle(now, Input::Unreachable(hop), &mut work.outputs);
        }
        for event in work.frames.drain(..) {
            let input = match event {
                ConnEvent::Opened { hop, line } => {
                    self.lines.open(hop, line);
                    continue;
                }
                ConnEvent::Frame { bytes, .. } if self.refused.has(&bytes) => continue,
                ConnEvent::Frame { hop, bytes } => Input::Packet { hop, bytes },
                ConnEvent::Closed(flow) => {
                    work.finished.push(flow);
                    continue;
                }
            };
            self.core.handle(now, input, &mut work.outputs);
        }
        for (hop, bytes) in work.packets.drain(..) {
            if self.refused.has(&bytes) {
                continue;
            }
            self.core.handle(now, Input::Packet { hop, bytes }, &mut work.outputs);
        }
    }

    /// Carry out what followed: first what must survive us, then what the world sees.
    fn perform(&mut self) {
        self.sort();
        let work = &mut self.work;
        if !work.records.is_empty() {
            let begun = self.clock.now().instant;
            self.journal.append(std::mem::take(&mut work.records));
            self.published.journal.observe(self.clock.now().instant.since(begun));
        }
        for note in work.notes.drain(..) {
            // An error means that its clerk is gone: the process ends.
            self.notes.send(note).ok();
        }
        for batch in work.datagrams.chunk_by(|(a, _), (b, _)| a.listener == b.listener) {
            let listener = batch.first().and_then(|(hop, _)| {
                self.sockets.udp.iter_mut().find(|listener| listener.index() == hop.listener)
            });
            let lost = match listener {
                Some(listener) => listener.send(&mut work.batches, batch),
                None => batch.len(),
            };
            work.lost += lost as u64;
        }
        work.datagrams.clear();
        self.send_streams();
        let work = &mut self.work;
        // A worker is woken once; the order of its own commands stays.
        work.media.sort_by_key(|(worker, _)| *worker);
        while let Some((worker, _)) = work.media.last() {
            let worker = *worker;
            let first = work.media.partition_point(|(other, _)| *other < worker);
            self.voice.send(worker, work.media.drain(first..).map(|(_, command)| command).collect());
        }
        for (token, reply) in work.replies.drain(..) {
            // An asker that stopped waiting needs no answer.
            if let Some(asker) = work.asked.remove(&token) {
                asker.send(*reply).ok();
            }
        }
        for (token, question) in work.questions.drain(..) {
            self.dns.ask(&self.runtime, &self.supervisor, token, question);
        }
        if let Some(open) = work.listen.take() {
            self.listen(open);
        }
    }

    /// Send what goes over connections; one to a carrier's host is opened for its first message.
    fn send_streams(&mut self) {
        let mut streams = std::mem::take(&mut self.work.streams);
        for (hop, bytes) in streams.drain(..) {
            let flow = if hop.flow == Flow::default() { self.reach(hop) } else { Some(hop.flow) };
            match flow {
                Some(flow) => self.lines.send(flow, bytes, &mut self.work.later),
                None => self.work.later.push(Input::Unreachable(hop)),
            }
        }
        self.work.streams = streams; // keep the memory
        // Only now: what a peer asked before it closed is answered.
        for flow in self.work.finished.drain(..) {
            self.lines.close(flow, &mut self.work.later);
        }
    }

    /// The connection to a host that the exchange names by its address only.
    fn reach(&mut self, hop: Hop) -> Option<Flow> {
        if let Some(flow) = self.lines.to_host(hop) {
            return Some(flow);
        }
        let listen = self.listen.get(usize::from(hop.listener))?;
        if hop.transport != Transport::Tcp || !self.lines.may_dial() {
            return None;
        }
        let hop = Hop { flow: self.connections.flow(), ..hop };
        let source = Some(listen.address.ip()).filter(|ip| !ip.is_unspecified());
        let (line, task) = dial(hop, source, self.connections.limits(), self.inbox.clone());
        self.runtime.spawn(task);
        self.lines.dial(hop, line);
        Some(hop.flow)
    }

    fn sort(&mut self) {
        let work = &mut self.work;
        for output in work.outputs.drain(..) {
            match output {
                Output::Transmit { hop, bytes } if hop.transport == Transport::Udp => {
                    work.datagrams.push((hop, bytes));
                }
                Output::Transmit { hop, bytes } => work.streams.push((hop, bytes)),
                Output::Media { worker, command } => work.media.push((worker, command)),
                Output::Journal(record) => {
                    match &record {
                        Record::Bound(binding) if binding.transport != 0 => {
                            let (epoch, number) = binding.flow;
                            self.lines.settle(Flow { epoch, number });
                        }
                        Record::LegUp { leg, .. } if leg.transport != 0 => self.lines.settle_peer(leg.remote),
                        Record::Noted(CallEvent::SpendAlert { user, percent, limit_minutes, .. }) => {
                            tracing::warn!(%user, percent, limit_minutes, "calls to the outside: the day's minutes run out");
                        }
                        Record::Noted(CallEvent::Emergency { call, .. }) => {
                            tracing::warn!(%call, "somebody calls for help");
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
                    work.records.push(record);
                }
                Output::Reply { token, reply } => work.replies.push((token, reply)),
                Output::Resolve { token, question } => work.questions.push((token, question)),
                Output::Listen(open) => work.listen = Some(open),
                Output::Voicemail(note) => {
                    if let switch::voicemail::VoicemailEffect::Fact(fact) = &*note {
                        work.records.push(Record::Voicemail(Box::new(fact.clone())));
                    }
                    work.notes.push(*note);
                }
                Output::Setting { token, change } => {
                    if self.settings.send((token, *change)).is_err() {
                        work.later.push(Input::SettingChanged { token, done: false });
                    }
                }
            }
        }
    }
}
