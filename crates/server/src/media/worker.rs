//! One worker's loop: packets first, then commands, then what the engine wants to play.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::base::{Instant, Now, Rng};
use ::media::{
    Component, Ended, Engine, FileResult, MediaCommand, MediaEvent, MediaSink, RecordingId, Report, StreamId,
};
use rustix::event::{EventfdFlags, eventfd};
use slab::Slab;

use super::packet::{Arrival, Packet, Token};
use super::packet_io::PacketIo;
use super::port_pool::{Pair, PortPool};
use super::socket::{MediaSocket, Sent};
use super::stats::{Counters, WorkerStats, thread_cpu_time};
use super::{MediaConfig, OnEvent, ReadClock};
use crate::fault;
use crate::recording::RecordingSender;

/// A wake-up for so few packets costs more than they do.
const FEW: usize = 4;
/// After so many such wake-ups in a row packets are coming in evenly spread: from then on they gather for [`TURN`]. Packets that come in
/// bursts need no such help, since a worker that is busy with some finds the others waiting.
const SPREAD: u8 = 16;
/// How long packets gather: a third of what a phone's own clock jitters.
const TURN: Duration = Duration::from_micros(300);

/// What others put in for a worker. It outlives a worker that panics.
#[derive(Debug)]
pub(super) struct Inbox {
    queue: Mutex<Queue>,
    stopping: AtomicBool,
    waker: OwnedFd,
}

#[derive(Debug, Default)]
struct Queue {
    commands: VecDeque<MediaCommand>,
    /// How many workers have ended that the exchange does not know of yet: its commands name streams and ports that are gone.
    closed: u32,
}

impl Inbox {
    pub(super) fn new() -> io::Result<Inbox> {
        let waker = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Inbox { queue: Mutex::default(), stopping: AtomicBool::new(false), waker })
    }

    /// Put commands in. They are handed back where the worker has ended and the exchange does not know it yet.
    pub(super) fn put<B: IntoIterator<Item = MediaCommand>>(&self, batch: B) -> Result<(), B> {
        let mut queue = self.queue();
        if queue.closed > 0 {
            return Err(batch);
        }
        let sleeps = queue.commands.is_empty();
        queue.commands.extend(batch);
        if sleeps && !queue.commands.is_empty() {
            drop(queue);
            self.ring();
        }
        Ok(())
    }

    /// The worker has ended: nothing is taken in before [`Inbox::reopen`]. What nobody has carried out is handed back.
    pub(super) fn close(&self) -> VecDeque<MediaCommand> {
        let mut queue = self.queue();
        queue.closed += 1;
        std::mem::take(&mut queue.commands)
    }

    /// What is put in from now on is meant for the worker that follows.
    pub(super) fn reopen(&self) {
        let mut queue = self.queue();
        queue.closed = queue.closed.saturating_sub(1);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.ring();
    }

    fn ring(&self) {
        // It can only fail when the bell rings already.
        let _ = rustix::io::write(&self.waker, &1_u64.to_ne_bytes());
    }

    fn take(&self, into: &mut VecDeque<MediaCommand>) {
        let _ = rustix::io::read(&self.waker, &mut [0; 8]);
        std::mem::swap(into, &mut self.queue().commands);
    }
}

/// What a worker is made of, and the one that follows after an error.
pub(super) struct WorkerSetup {
    pub(super) number: u8,
    pub(super) count: usize,
    pub(super) config: MediaConfig,
    pub(super) clock: ReadClock,
    pub(super) on_event: OnEvent,
    pub(super) inbox: Arc<Inbox>,
    pub(super) counters: Arc<Counters>,
}

/// See the module.
pub(super) struct Worker {
    number: u8,
    engine: Engine,
    ports: PortPool,
    streams: Streams,
    packets: PacketIo,
    clock: ReadClock,
    on_event: OnEvent,
    inbox: Arc<Inbox>,
    events: Vec<MediaEvent>,
    /// Commands that were taken out of the inbox and are still to be carried out.
    commands: VecDeque<MediaCommand>,
    /// Recordings that run.
    recordings: Vec<RecordingId>,
    stats: WorkerStats,
    counters: Arc<Counters>,
}

/// How a worker ended that was not told to.
#[derive(Debug, thiserror::Error)]
pub(super) enum WorkerError {
    /// It cannot use its ring.
    #[error("cannot begin to use its ring: {0}")]
    Ring(io::Error),
    /// It cannot wait for its sockets.
    #[error("cannot wait for its sockets: {0}")]
    Wait(io::Error),
}

/// The sockets of open streams.
#[derive(Default)]
struct Streams {
    open: Slab<(StreamId, Pair)>,
    slots: HashMap<StreamId, usize, BuildHasherDefault<Spread>>,
    tape: Option<RecordingSender>,
    /// Packets that the engine made, and those of them that the kernel did not take.
    generated: u64,
    unsent: u64,
}

impl Streams {
    fn get(&self, stream: StreamId) -> Option<&Pair> {
        self.open.get(*self.slots.get(&stream)?).map(|(_, pair)| pair)
    }

    /// The socket that a packet came from, unless its stream is over.
    #[inline]
    fn socket(&self, token: Token) -> Option<&MediaSocket> {
        let (stream, pair) = self.open.get(token.slot())?;
        (*stream == token.stream()).then(|| pair.socket(token.channel()))
    }
}

impl MediaSink for Streams {
    fn send(&mut self, stream: StreamId, channel: Component, to: SocketAddr, packet: &[u8]) {
        let Some(pair) = self.get(stream) else { return };
        match pair.socket(channel).send(packet, to) {
            Sent::Yes => self.generated += 1,
            Sent::No => self.unsent += 1,
        }
    }

    fn audio(&mut self, recording: RecordingId, at: u64, left: &[i16], right: Option<&[i16]>) {
        if let Some(tape) = &mut self.tape {
            tape.audio(recording, at, left, right);
        }
    }
}

/// Spreads numbers that the switch counted up by itself: nobody else chooses them, so nothing stronger is needed.
#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
}

/// What a command began has ended already: the worker that was to carry it out is gone.
pub(super) fn refuse(command: &MediaCommand, told: &dyn Fn(MediaEvent)) {
    match command {
        MediaCommand::Open { stream, .. } => {
            told(MediaEvent::Closed { stream: *stream, report: Report::default() });
        }
        MediaCommand::StartRecording(record) => {
            let (recording, ended, file) = (record.recording, Ended::Refused, FileResult::Failed);
            told(MediaEvent::Recorded { recording, millis: 0, sound_millis: 0, ended });
            told(MediaEvent::FileClosed { recording, file });
        }
        MediaCommand::Close { .. }
        | MediaCommand::Negotiated { .. }
        | MediaCommand::SetSource { .. }
        | MediaCommand::Play { .. }
        | MediaCommand::StopPlay { .. }
        | MediaCommand::SetDtmfMode { .. }
        | MediaCommand::PauseRecording { .. }
        | MediaCommand::ResumeRecording { .. }
        | MediaCommand::StopRecording { .. } => {}
    }
}

/// How packets have been coming in.
#[derive(Default)]
struct ArrivalPattern {
    small: u8,
    last: Instant,
}

impl ArrivalPattern {
    /// A turn with so many ready sockets.
    fn count(&mut self, ready: usize, now: Instant) {
        let soon = now.since(std::mem::replace(&mut self.last, now)) <= 2 * TURN;
        self.small = match ready {
            _ if !soon => 0,
            0..=FEW => self.small.saturating_add(1).min(SPREAD),
            _ if self.is_spread() => SPREAD, // they gathered: go on
            _ => 0,
        };
    }

    fn is_spread(&self) -> bool {
        self.small >= SPREAD
    }
}

impl Worker {
    /// A worker, with the tape where one is there: it is left where it is when this fails.
    pub(super) fn new(
        setup: &WorkerSetup,
        mut rng: Rng,
        tape: &mut Option<RecordingSender>,
    ) -> io::Result<Worker> {
        let packets = PacketIo::new(&setup.inbox.waker, setup.config.ring)?;
        let ports = PortPool::new(&setup.config, usize::from(setup.number), setup.count, rng.fork());
        Ok(Worker {
            number: setup.number,
            engine: Engine::new(rng),
            ports,
            streams: Streams { tape: tape.take(), ..Streams::default() },
            packets,
            clock: Arc::clone(&setup.clock),
            on_event: Arc::clone(&setup.on_event),
            inbox: Arc::clone(&setup.inbox),
            events: Vec::new(),
            commands: VecDeque::new(),
            recordings: Vec::new(),
            counters: Arc::clone(&setup.counters),
            stats: WorkerStats::default(),
        })
    }

    /// On the thread that will run it: bind the first ports, and tell the switch of them.
    pub(super) fn begin(&mut self) -> Result<(), WorkerError> {
        self.packets.begin(&self.inbox.waker).map_err(WorkerError::Ring)?;
        self.refill((self.clock)());
        Ok(())
    }

    /// Until it is told to stop.
    pub(super) fn run(&mut self) -> Result<(), WorkerError> {
        let mut woken = (self.clock)();
        let mut rhythm = ArrivalPattern::default();
        loop {
            let gather = rhythm.is_spread().then(|| self.rest_of_the_turn(woken));
            let timeout = self.timeout(woken);
            let count = self.packets.wait(gather, timeout).map_err(WorkerError::Wait)?;
            woken = (self.clock)();
            let mut rung = false;
            while let Some(arrival) = self.packets.next(|token| self.streams.socket(token)) {
                match arrival {
                    Arrival::Bell => rung = true,
                    Arrival::Packet(packet, ended) => {
                        let token = packet.token;
                        self.packet(woken, packet);
                        if ended {
                            self.watch(token);
                        }
                    }
                    Arrival::Ended(token) => self.watch(token),
                }
            }
            if rung {
                self.inbox.take(&mut self.commands);
                while let Some(command) = self.commands.pop_front() {
                    self.command(woken, command);
                }
                if self.inbox.is_stopping() {
                    break;
                }
            }
            if self.engine.deadline().is_some_and(|at| at <= woken.instant) {
                self.engine.tick(woken, &mut self.streams, &mut self.events);
            }
            if self.ports.deadline().is_some_and(|at| at <= woken.instant) {
                self.refill(woken);
            }
            self.publish(); // before others can act on the turn's events
            self.tell();
            rhythm.count(count, woken.instant);
        }
        self.close_all();
        Ok(())
    }

    /// The worker has ended by an error: tell the switch what is gone with it, and close its files. The tape, for the worker that follows.
    pub(super) fn abandon(&mut self) -> Option<RecordingSender> {
        let lost = self.inbox.close();
        self.events.clear();
        (self.on_event)(MediaEvent::WorkerGone { worker: self.number });
        for command in self.commands.drain(..).chain(lost) {
            refuse(&command, &*self.on_event);
        }
        for recording in self.recordings.drain(..) {
            let ended = Ended::Stopped;
            (self.on_event)(MediaEvent::Recorded { recording, millis: 0, sound_millis: 0, ended });
            if let Some(tape) = &mut self.streams.tape {
                tape.end(recording);
            }
        }
        for (_, (stream, _)) in &self.streams.open {
            (self.on_event)(MediaEvent::Closed { stream: *stream, report: Report::default() });
        }
        self.streams.tape.take()
    }

    /// How long packets still gather. Commands wait as long.
    fn rest_of_the_turn(&self, woken: Now) -> Duration {
        TURN.saturating_sub((self.clock)().instant.since(woken.instant))
    }

    /// How long nothing but packets and commands can happen.
    fn timeout(&self, woken: Now) -> Option<Duration> {
        let next = [self.engine.deadline(), self.ports.deadline()].into_iter().flatten().min()?;
        Some(if next <= woken.instant { Duration::ZERO } else { next.since((self.clock)().instant) })
    }

    #[inline]
    fn packet(&mut self, now: Now, packet: Packet) {
        let (token, from) = (packet.token, packet.from);
        self.stats.received += 1;
        if self.streams.socket(token).is_none() {
            self.stats.dropped_closed += 1;
            return self.packets.release(packet);
        }
        let bytes = self.packets.bytes(&packet);
        fault::in_packet(bytes);
        let forward = self.engine.packet(now, token.stream(), token.channel(), from, bytes, &mut self.events);
        let listener = forward.and_then(|f| Some((f, self.streams.get(f.stream)?.socket(f.channel))));
        match listener {
            Some((forward, socket)) => {
                self.stats.forwarded += 1;
                self.packets.forward(packet, forward.len, socket, forward.to);
            }
            None => self.packets.release(packet),
        }
    }

    /// Anew: the kernel gave up on a socket, since all buffers were in use.
    fn watch(&mut self, token: Token) {
        if let Some(socket) = self.streams.socket(token) {
            self.packets.watch(token, socket);
        }
    }

    fn command(&mut self, now: Now, command: MediaCommand) {
        match &command {
            MediaCommand::Open { stream, port } => self.open(now.instant, *stream, *port),
            MediaCommand::Close { stream } => self.close(now.instant, *stream),
            MediaCommand::StartRecording(record) => match &mut self.streams.tape {
                Some(tape) => {
                    tape.begin(record.clone());
                    self.recordings.push(record.recording);
                }
                None => {
                    let (recording, file) = (record.recording, FileResult::Failed);
                    self.events.push(MediaEvent::FileClosed { recording, file });
                }
            },
            MediaCommand::Negotiated { .. }
            | MediaCommand::SetSource { .. }
            | MediaCommand::Play { .. }
            | MediaCommand::StopPlay { .. }
            | MediaCommand::SetDtmfMode { .. }
            | MediaCommand::PauseRecording { .. }
            | MediaCommand::ResumeRecording { .. }
            | MediaCommand::StopRecording { .. } => {}
        }
        self.engine.command(now, command, &mut self.streams, &mut self.events);
    }

    fn open(&mut self, now: Instant, stream: StreamId, port: u16) {
        self.close(now, stream);
        let Some(pair) = self.ports.take(now, port) else {
            tracing::error!(?stream, port, "a stream was opened on a port that is not free");
            return;
        };
        let entry = self.streams.open.vacant_entry();
        let slot = entry.key();
        for channel in [Component::Rtp, Component::Rtcp] {
            self.packets.watch(Token::new(stream, slot, channel), pair.socket(channel));
        }
        self.streams.slots.insert(stream, slot);
        entry.insert((stream, pair));
    }

    fn close(&mut self, now: Instant, stream: StreamId) {
        let Some(slot) = self.streams.slots.remove(&stream) else { return };
        let Some((_, pair)) = self.streams.open.try_remove(slot) else { return };
        for channel in [Component::Rtp, Component::Rtcp] {
            self.packets.forget(Token::new(stream, slot, channel), pair.socket(channel));
        }
        self.ports.rest(now, pair);
    }

    /// Get ports ready and tell the switch.
    fn refill(&mut self, now: Now) {
        let mut by_listener: Vec<(u16, Vec<u16>)> = Vec::new();
        self.ports.refill(now.instant, |listener, port| {
            match by_listener.iter_mut().find(|(known, _)| *known == listener) {
                Some((_, ports)) => ports.push(port),
                None => by_listener.push((listener, vec![port])),
            }
        });
        let worker = self.number;
        let told =
            by_listener.into_iter().map(|(listener, ports)| MediaEvent::Ports { worker, listener, ports });
        self.events.extend(told);
        self.tell();
    }

    fn tell(&mut self) {
        if let Some(tape) = &mut self.streams.tape {
            tape.pay();
        }
        for event in self.events.drain(..) {
            if let (MediaEvent::Recorded { recording, .. }, Some(tape)) = (&event, &mut self.streams.tape) {
                tape.end(*recording);
                self.recordings.retain(|running| running != recording);
            }
            (self.on_event)(event);
        }
    }

    /// Let others see what this turn has counted.
    fn publish(&mut self) {
        let (losses, ports) = (self.packets.losses(), self.ports.count());
        let stats = &mut self.stats;
        stats.turns += 1;
        stats.busy = thread_cpu_time();
        stats.generated = self.streams.generated;
        stats.dropped_refused = self.engine.refused();
        stats.dropped_oversized = losses.oversized;
        stats.dropped_unsent = losses.unsent + self.streams.unsent;
        stats.streams = self.streams.open.len() as u64;
        (stats.ports_free, stats.ports_resting, stats.ports_unbound) = ports;
        self.counters.publish(stats);
    }

    fn close_all(&mut self) {
        let now = (self.clock)();
        let open: Vec<StreamId> = self.streams.open.iter().map(|(_, (stream, _))| *stream).collect();
        for stream in open {
            self.command(now, MediaCommand::Close { stream });
        }
        self.publish();
        self.tell();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns `every` microseconds with `ready` sockets each.
    fn turns(rhythm: &mut ArrivalPattern, every: u64, ready: impl IntoIterator<Item = usize>) -> bool {
        for count in ready {
            let now = Instant::from_micros(rhythm.last.as_micros() + every);
            rhythm.count(count, now);
        }
        rhythm.is_spread()
    }

    #[test]
    fn packets_gather_where_they_are_spread_and_not_where_they_burst_or_are_rare() {
        let mut rhythm = ArrivalPattern::default();
        assert!(!turns(&mut rhythm, 20_000, [1; 100]), "one call");
        assert!(!turns(&mut rhythm, 50, [1, 2, 5, 12, 30].repeat(20)), "bursts");
        assert!(turns(&mut rhythm, 50, [1; 20]), "evenly spread");
        assert!(turns(&mut rhythm, 350, [15; 100]), "they gather now");
        assert!(!turns(&mut rhythm, 20_000, [1]), "the load is gone");
    }
}
