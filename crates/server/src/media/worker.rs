//! The loop of one media worker: packets first, then commands, then the engine's timers.

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

use super::callbacks::{OnEvent, ReadClock};
use super::config::MediaConfig;
use super::packet::{Arrival, Packet, Token};
use super::packet_io::PacketIo;
use super::port_pool::{Pair, PortPool};
use super::socket::{MediaSocket, Sent};
use super::stats::{Counters, WorkerStats, thread_cpu_time};
use crate::fault;
use crate::recording::RecordingSender;

/// Wake-ups with at most this many ready sockets cost more than their packets.
const FEW_SOCKETS: usize = 4;
/// After so many such wake-ups in a row packets arrive evenly spread: from then on the worker waits [`GATHER`] before it reads them. Bursts need
/// no such wait, because a worker that is busy with some packets finds the others waiting.
const SPREAD_ITERATIONS: u8 = 16;
/// How long packets are gathered: a third of the jitter of a phone's own clock.
const GATHER: Duration = Duration::from_micros(300);

/// Command queue of a worker. It outlives a worker that panics.
#[derive(Debug)]
pub(super) struct Inbox {
    queue: Mutex<Queue>,
    stopping: AtomicBool,
    waker: OwnedFd,
}

#[derive(Debug, Default)]
struct Queue {
    commands: VecDeque<MediaCommand>,
    /// Number of workers that have ended without the switch knowing yet: its commands name streams and ports that no longer exist.
    closed: u32,
}

impl Inbox {
    pub(super) fn new() -> io::Result<Inbox> {
        let waker = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Inbox { queue: Mutex::default(), stopping: AtomicBool::new(false), waker })
    }

    /// Queue commands. They are returned if the worker has ended and the switch does not know it yet.
    pub(super) fn push<B: IntoIterator<Item = MediaCommand>>(&self, batch: B) -> Result<(), B> {
        let mut queue = self.queue();
        if queue.closed > 0 {
            return Err(batch);
        }
        let sleeps = queue.commands.is_empty();
        queue.commands.extend(batch);
        if sleeps && !queue.commands.is_empty() {
            drop(queue);
            self.wake();
        }
        Ok(())
    }

    /// Close the queue after the worker has ended, until [`Inbox::reopen`]. Returns the commands that were not executed.
    pub(super) fn close(&self) -> VecDeque<MediaCommand> {
        let mut queue = self.queue();
        queue.closed += 1;
        std::mem::take(&mut queue.commands)
    }

    /// Accept commands again: they are meant for the restarted worker.
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
        self.wake();
    }

    fn wake(&self) {
        // Writing can only fail while a wake-up is pending.
        let _ = rustix::io::write(&self.waker, &1_u64.to_ne_bytes());
    }

    fn take(&self, into: &mut VecDeque<MediaCommand>) {
        let _ = rustix::io::read(&self.waker, &mut [0; 8]);
        std::mem::swap(into, &mut self.queue().commands);
    }
}

/// Everything needed to create a worker, and to recreate it after an error.
pub(super) struct WorkerSetup {
    pub(super) number: u8,
    pub(super) count: usize,
    pub(super) config: MediaConfig,
    pub(super) clock: ReadClock,
    pub(super) on_event: OnEvent,
    pub(super) inbox: Arc<Inbox>,
    pub(super) counters: Arc<Counters>,
}

/// A media worker.
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
    /// Commands taken out of the inbox and not executed yet.
    commands: VecDeque<MediaCommand>,
    /// Recordings in progress.
    recordings: Vec<RecordingId>,
    stats: WorkerStats,
    counters: Arc<Counters>,
}

/// A worker ended because of an error.
#[derive(Debug, thiserror::Error)]
pub(super) enum WorkerError {
    /// io_uring cannot be enabled.
    #[error("cannot enable io_uring: {0}")]
    EnableIoUring(io::Error),
    /// Waiting for its sockets failed.
    #[error("cannot wait for its sockets: {0}")]
    Wait(io::Error),
}

/// The sockets of open streams.
#[derive(Default)]
struct Streams {
    open: Slab<(StreamId, Pair)>,
    slots: HashMap<StreamId, usize, BuildHasherDefault<IdHasher>>,
    recorder: Option<RecordingSender>,
    /// Packets sent by the engine, and those that the kernel did not accept.
    generated: u64,
    unsent: u64,
}

impl Streams {
    fn get(&self, stream: StreamId) -> Option<&Pair> {
        self.open.get(*self.slots.get(&stream)?).map(|(_, pair)| pair)
    }

    /// The socket of a token; `None` if its stream is closed.
    #[inline]
    fn socket(&self, token: Token) -> Option<&MediaSocket> {
        let (stream, pair) = self.open.get(token.slot())?;
        (*stream == token.stream()).then(|| pair.socket(token.component()))
    }
}

impl MediaSink for Streams {
    fn send(&mut self, stream: StreamId, component: Component, to: SocketAddr, packet: &[u8]) {
        let Some(pair) = self.get(stream) else { return };
        match pair.socket(component).send(packet, to) {
            Sent::Yes => self.generated += 1,
            Sent::No => self.unsent += 1,
        }
    }

    fn audio(&mut self, recording: RecordingId, at: u64, left: &[i16], right: Option<&[i16]>) {
        if let Some(recorder) = &mut self.recorder {
            recorder.audio(recording, at, left, right);
        }
    }
}

/// Hasher for ids that the switch counts up itself: no peer chooses them, so no keyed hash is needed.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
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

/// Report what a command would have started as ended: the worker that should have executed it is gone.
pub(super) fn reject(command: &MediaCommand, on_event: &dyn Fn(MediaEvent)) {
    match command {
        MediaCommand::Open { stream, .. } => {
            on_event(MediaEvent::Closed { stream: *stream, report: Report::default() });
        }
        MediaCommand::StartRecording(record) => {
            let (recording, ended, file) = (record.recording, Ended::Refused, FileResult::Failed);
            on_event(MediaEvent::Recorded { recording, millis: 0, sound_millis: 0, ended });
            on_event(MediaEvent::FileClosed { recording, file });
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

/// Detects packets that arrive evenly spread.
#[derive(Default)]
struct ArrivalPattern {
    spread_iterations: u8,
    last: Instant,
}

impl ArrivalPattern {
    /// Count one iteration with `ready` sockets.
    fn count(&mut self, ready: usize, now: Instant) {
        let soon = now.since(std::mem::replace(&mut self.last, now)) <= 2 * GATHER;
        self.spread_iterations = match ready {
            _ if !soon => 0,
            0..=FEW_SOCKETS => self.spread_iterations.saturating_add(1).min(SPREAD_ITERATIONS),
            _ if self.is_spread() => SPREAD_ITERATIONS, // packets were gathered: continue
            _ => 0,
        };
    }

    fn is_spread(&self) -> bool {
        self.spread_iterations >= SPREAD_ITERATIONS
    }
}

impl Worker {
    /// Create a worker. The recording sender is taken only on success.
    pub(super) fn new(
        setup: &WorkerSetup,
        mut rng: Rng,
        recorder: &mut Option<RecordingSender>,
    ) -> io::Result<Worker> {
        let packets = PacketIo::new(&setup.inbox.waker, setup.config.io_uring)?;
        let ports = PortPool::new(&setup.config, usize::from(setup.number), setup.count, rng.fork());
        Ok(Worker {
            number: setup.number,
            engine: Engine::new(rng),
            ports,
            streams: Streams { recorder: recorder.take(), ..Streams::default() },
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

    /// Called on the worker's own thread: bind the first ports and report them to the switch.
    pub(super) fn start(&mut self) -> Result<(), WorkerError> {
        self.packets.start(&self.inbox.waker).map_err(WorkerError::EnableIoUring)?;
        self.refill((self.clock)());
        Ok(())
    }

    /// Run until the inbox is stopped.
    pub(super) fn run(&mut self) -> Result<(), WorkerError> {
        let mut now = (self.clock)();
        let mut pattern = ArrivalPattern::default();
        loop {
            let gather = pattern.is_spread().then(|| self.gather_time(now));
            let timeout = self.timeout(now);
            let count = self.packets.wait(gather, timeout).map_err(WorkerError::Wait)?;
            now = (self.clock)();
            let mut inbox_ready = false;
            while let Some(arrival) = self.packets.next(|token| self.streams.socket(token)) {
                match arrival {
                    Arrival::Waker => inbox_ready = true,
                    Arrival::Packet(packet, ended) => {
                        let token = packet.token;
                        self.packet(now, packet);
                        if ended {
                            self.register(token);
                        }
                    }
                    Arrival::Rearm(token) => self.register(token),
                }
            }
            if inbox_ready {
                self.inbox.take(&mut self.commands);
                while let Some(command) = self.commands.pop_front() {
                    self.command(now, command);
                }
                if self.inbox.is_stopping() {
                    break;
                }
            }
            if self.engine.deadline().is_some_and(|at| at <= now.instant) {
                self.engine.tick(now, &mut self.streams, &mut self.events);
            }
            if self.ports.deadline().is_some_and(|at| at <= now.instant) {
                self.refill(now);
            }
            self.publish(); // before others can act on the events of this iteration
            self.emit_events();
            pattern.count(count, now.instant);
        }
        self.close_all();
        Ok(())
    }

    /// Clean up after an error: report the lost streams and recordings to the switch and close the files. Returns the recording sender for the
    /// restarted worker.
    pub(super) fn report_lost(&mut self) -> Option<RecordingSender> {
        let unexecuted = self.inbox.close();
        self.events.clear();
        (self.on_event)(MediaEvent::WorkerGone { worker: self.number });
        for command in self.commands.drain(..).chain(unexecuted) {
            reject(&command, &*self.on_event);
        }
        for recording in self.recordings.drain(..) {
            let ended = Ended::Stopped;
            (self.on_event)(MediaEvent::Recorded { recording, millis: 0, sound_millis: 0, ended });
            if let Some(recorder) = &mut self.streams.recorder {
                recorder.end(recording);
            }
        }
        for (_, (stream, _)) in &self.streams.open {
            (self.on_event)(MediaEvent::Closed { stream: *stream, report: Report::default() });
        }
        self.streams.recorder.take()
    }

    /// How long packets are still gathered. Commands wait as long.
    fn gather_time(&self, woken: Now) -> Duration {
        GATHER.saturating_sub((self.clock)().instant.since(woken.instant))
    }

    /// Time until the next timer.
    fn timeout(&self, now: Now) -> Option<Duration> {
        let next = [self.engine.deadline(), self.ports.deadline()].into_iter().flatten().min()?;
        Some(if next <= now.instant { Duration::ZERO } else { next.since((self.clock)().instant) })
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
        let forward =
            self.engine.packet(now, token.stream(), token.component(), from, bytes, &mut self.events);
        let listener = forward.and_then(|f| Some((f, self.streams.get(f.stream)?.socket(f.channel))));
        match listener {
            Some((forward, socket)) => {
                self.stats.forwarded += 1;
                self.packets.forward(packet, forward.len, socket, forward.to);
            }
            None => self.packets.release(packet),
        }
    }

    /// Register a socket again: the kernel dropped its receive request because all buffers were in use.
    fn register(&mut self, token: Token) {
        if let Some(socket) = self.streams.socket(token) {
            self.packets.register(token, socket);
        }
    }

    fn command(&mut self, now: Now, command: MediaCommand) {
        match &command {
            MediaCommand::Open { stream, port } => self.open(now.instant, *stream, *port),
            MediaCommand::Close { stream } => self.close(now.instant, *stream),
            MediaCommand::StartRecording(record) => match &mut self.streams.recorder {
                Some(recorder) => {
                    recorder.begin(record.clone());
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
        for component in [Component::Rtp, Component::Rtcp] {
            self.packets.register(Token::new(stream, slot, component), pair.socket(component));
        }
        self.streams.slots.insert(stream, slot);
        entry.insert((stream, pair));
    }

    fn close(&mut self, now: Instant, stream: StreamId) {
        let Some(slot) = self.streams.slots.remove(&stream) else { return };
        let Some((_, pair)) = self.streams.open.try_remove(slot) else { return };
        for component in [Component::Rtp, Component::Rtcp] {
            self.packets.deregister(Token::new(stream, slot, component), pair.socket(component));
        }
        self.ports.quarantine(now, pair);
    }

    /// Bind ports and report the free ones to the switch.
    fn refill(&mut self, now: Now) {
        let mut by_listener: Vec<(u16, Vec<u16>)> = Vec::new();
        self.ports.refill(now.instant, |listener, port| {
            match by_listener.iter_mut().find(|(known, _)| *known == listener) {
                Some((_, ports)) => ports.push(port),
                None => by_listener.push((listener, vec![port])),
            }
        });
        let worker = self.number;
        let on_event =
            by_listener.into_iter().map(|(listener, ports)| MediaEvent::Ports { worker, listener, ports });
        self.events.extend(on_event);
        self.emit_events();
    }

    fn emit_events(&mut self) {
        if let Some(recorder) = &mut self.streams.recorder {
            recorder.flush_control();
        }
        for event in self.events.drain(..) {
            if let (MediaEvent::Recorded { recording, .. }, Some(recorder)) =
                (&event, &mut self.streams.recorder)
            {
                recorder.end(*recording);
                self.recordings.retain(|running| running != recording);
            }
            (self.on_event)(event);
        }
    }

    /// Publish the counters of this iteration.
    fn publish(&mut self) {
        let (losses, ports) = (self.packets.losses(), self.ports.count());
        let stats = &mut self.stats;
        stats.iterations += 1;
        stats.busy = thread_cpu_time();
        stats.generated = self.streams.generated;
        stats.dropped_refused = self.engine.refused();
        stats.dropped_oversized = losses.oversized;
        stats.dropped_unsent = losses.unsent + self.streams.unsent;
        stats.streams = self.streams.open.len() as u64;
        (stats.ports_free, stats.ports_quarantined, stats.ports_unbound) = ports;
        self.counters.publish(stats);
    }

    fn close_all(&mut self) {
        let now = (self.clock)();
        let open: Vec<StreamId> = self.streams.open.iter().map(|(_, (stream, _))| *stream).collect();
        for stream in open {
            self.command(now, MediaCommand::Close { stream });
        }
        self.publish();
        self.emit_events();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Iterations every `every` µs with `ready` sockets each.
    fn iterations(pattern: &mut ArrivalPattern, every: u64, ready: impl IntoIterator<Item = usize>) -> bool {
        for count in ready {
            let now = Instant::from_micros(pattern.last.as_micros() + every);
            pattern.count(count, now);
        }
        pattern.is_spread()
    }

    #[test]
    fn packets_are_gathered_when_evenly_spread_but_not_in_bursts_or_when_rare() {
        let mut pattern = ArrivalPattern::default();
        assert!(!iterations(&mut pattern, 20_000, [1; 100]), "one call");
        assert!(!iterations(&mut pattern, 50, [1, 2, 5, 12, 30].repeat(20)), "bursts");
        assert!(iterations(&mut pattern, 50, [1; 20]), "evenly spread");
        assert!(iterations(&mut pattern, 350, [15; 100]), "they gather now");
        assert!(!iterations(&mut pattern, 20_000, [1]), "the load is gone");
    }
}
