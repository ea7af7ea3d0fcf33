//! One worker's loop: packets first, then commands, then what the engine wants to play.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::base::{Chance, Instant, Now};
use ::media::{Channel, Engine, Filed, MediaCommand, MediaEvent, RecordingId, StreamId, Wire};
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use slab::Slab;

use super::port_pool::{Pair, PortPool};
use super::{MediaConfig, OnEvent, ReadClock};
use crate::recording::Tape;

/// Ready sockets taken from the kernel at once.
const EVENTS: usize = 1_024;
/// Longer packets are no voice: the engine refuses them.
const BUFFER: usize = 2_048;
/// A wake-up for so few packets costs more than they do.
const FEW: usize = 4;
/// After so many such wake-ups in a row packets are coming in evenly spread: from then on they gather for [`TURN`]. Packets that come in
/// bursts need no such help, since a worker that is busy with some finds the others waiting.
const SPREAD: u8 = 16;
/// How long packets gather: a third of what a phone's own clock jitters.
const TURN: Duration = Duration::from_micros(300);
/// The token of the inbox.
const WAKE: u64 = u64::MAX;

/// What others put in for a worker.
#[derive(Debug)]
pub(super) struct Inbox {
    commands: Mutex<Vec<MediaCommand>>,
    stopping: AtomicBool,
    bell: OwnedFd,
}

impl Inbox {
    pub(super) fn new() -> io::Result<Inbox> {
        let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Inbox { commands: Mutex::default(), stopping: AtomicBool::new(false), bell })
    }

    pub(super) fn put(&self, batch: impl IntoIterator<Item = MediaCommand>) {
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        let sleeps = commands.is_empty();
        commands.extend(batch);
        if sleeps && !commands.is_empty() {
            drop(commands);
            self.ring();
        }
    }

    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.ring();
    }

    fn ring(&self) {
        // It can only fail when the bell rings already.
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }

    fn take(&self, into: &mut Vec<MediaCommand>) {
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        std::mem::swap(into, &mut *self.commands.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// See the module.
pub(super) struct Worker {
    number: u8,
    engine: Engine,
    ports: PortPool,
    streams: Streams,
    poll: OwnedFd,
    clock: ReadClock,
    on_event: OnEvent,
    inbox: Arc<Inbox>,
    events: Vec<MediaEvent>,
}

/// The sockets of open streams.
#[derive(Default)]
struct Streams {
    open: Slab<(StreamId, Pair)>,
    slots: HashMap<StreamId, usize, BuildHasherDefault<Spread>>,
    tape: Option<Tape>,
}

impl Streams {
    fn get(&self, stream: StreamId) -> Option<&Pair> {
        self.open.get(*self.slots.get(&stream)?).map(|(_, pair)| pair)
    }

    #[inline]
    fn send_from(&self, stream: StreamId, channel: Channel, to: SocketAddr, packet: &[u8]) {
        let Some(pair) = self.get(stream) else { return };
        match channel {
            Channel::Rtp => pair.rtp.send(packet, to),
            Channel::Rtcp => pair.rtcp.send(packet, to),
        }
    }
}

impl Wire for Streams {
    fn send(&mut self, stream: StreamId, channel: Channel, to: SocketAddr, packet: &[u8]) {
        self.send_from(stream, channel, to, packet);
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

/// How packets have been coming in.
#[derive(Default)]
struct Rhythm {
    small: u8,
    last: Instant,
}

impl Rhythm {
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
    pub(super) fn new(
        number: u8,
        count: usize,
        config: &MediaConfig,
        mut chance: Chance,
        clock: ReadClock,
        on_event: OnEvent,
        inbox: Arc<Inbox>,
        tape: Option<Tape>,
    ) -> io::Result<Worker> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&poll, &inbox.bell, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)?;
        let ports = PortPool::new(config, usize::from(number), count, chance.fork());
        let engine = Engine::new(chance);
        let (streams, events) = (Streams { tape, ..Streams::default() }, Vec::new());
        Ok(Worker { number, engine, ports, streams, poll, clock, on_event, inbox, events })
    }

    /// Until it is told to stop.
    pub(super) fn run(mut self) {
        let mut ready = [const { MaybeUninit::<epoll::Event>::uninit() }; EVENTS];
        let mut commands = Vec::new();
        let mut buffer = [0; BUFFER];
        let mut woken = (self.clock)();
        let mut rhythm = Rhythm::default();
        self.refill(woken);
        loop {
            let timeout = self.timeout(woken);
            let ready = match epoll::wait(&self.poll, &mut ready, timeout.as_ref()) {
                Ok((ready, _)) => ready,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => {
                    tracing::error!(%error, "a media worker cannot wait for its sockets");
                    break;
                }
            };
            woken = (self.clock)();
            let (mut rung, count) = (false, ready.len());
            for event in ready.iter() {
                match event.data.u64() {
                    WAKE => rung = true,
                    token => self.packet(woken, token, &mut buffer),
                }
            }
            if rung {
                self.inbox.take(&mut commands);
                for command in commands.drain(..) {
                    self.command(woken, command);
                }
                if self.inbox.stopping.load(Ordering::Acquire) {
                    break;
                }
            }
            if self.engine.deadline().is_some_and(|at| at <= woken.instant) {
                self.engine.tick(woken, &mut self.streams, &mut self.events);
            }
            if self.ports.deadline().is_some_and(|at| at <= woken.instant) {
                self.refill(woken);
            }
            self.tell();
            rhythm.count(count, woken.instant);
            if rhythm.is_spread() {
                self.gather(woken);
            }
        }
        self.close_all();
    }

    /// Let packets gather until a turn is full. Commands wait as long.
    fn gather(&self, woken: Now) {
        let spent = (self.clock)().instant.since(woken.instant);
        if let Some(rest) = TURN.checked_sub(spent) {
            std::thread::sleep(rest);
        }
    }

    /// How long nothing but packets and commands can happen.
    fn timeout(&self, woken: Now) -> Option<Timespec> {
        let next = [self.engine.deadline(), self.ports.deadline()].into_iter().flatten().min()?;
        let wait = if next <= woken.instant { Duration::ZERO } else { next.since((self.clock)().instant) };
        Some(Timespec { tv_sec: wait.as_secs() as _, tv_nsec: wait.subsec_nanos() as _ })
    }

    /// One packet from a socket that has some; the next one comes with the next turn, so that no stream starves another.
    fn packet(&mut self, now: Now, token: u64, buffer: &mut [u8; BUFFER]) {
        let Some((stream, pair)) = self.streams.open.get((token >> 1) as usize) else { return };
        let (channel, socket) =
            if token & 1 == 0 { (Channel::Rtp, &pair.rtp) } else { (Channel::Rtcp, &pair.rtcp) };
        let Some((len, from)) = socket.receive(buffer) else { return };
        let Some(packet) = buffer.get_mut(..len) else { return };
        let stream = *stream;
        if let Some(forward) = self.engine.packet(now, stream, channel, from, packet, &mut self.events)
            && let Some(packet) = packet.get(..forward.len)
        {
            self.streams.send_from(forward.stream, forward.channel, forward.to, packet);
        }
    }

    fn command(&mut self, now: Now, command: MediaCommand) {
        match &command {
            MediaCommand::Open { stream, port } => self.open(now.instant, *stream, *port),
            MediaCommand::Close { stream } => self.close(now.instant, *stream),
            MediaCommand::Record(record) => match &mut self.streams.tape {
                Some(tape) => tape.begin(record.clone()),
                None => {
                    let (recording, file) = (record.recording, Filed::Failed);
                    self.events.push(MediaEvent::Filed { recording, file });
                }
            },
            MediaCommand::Negotiated { .. }
            | MediaCommand::Feed { .. }
            | MediaCommand::Play { .. }
            | MediaCommand::StopPlay { .. }
            | MediaCommand::Listen { .. }
            | MediaCommand::PauseRecord { .. }
            | MediaCommand::ResumeRecord { .. }
            | MediaCommand::StopRecord { .. } => {}
        }
        self.engine.command(now, command, &mut self.streams, &mut self.events);
    }

    fn open(&mut self, now: Instant, stream: StreamId, port: u16) {
        self.close(now, stream);
        let Some(pair) = self.ports.take(port) else {
            tracing::error!(?stream, port, "a stream was opened on a port that is not free");
            return;
        };
        let entry = self.streams.open.vacant_entry();
        let token = (entry.key() as u64) << 1;
        for (socket, token) in [(&pair.rtp, token), (&pair.rtcp, token | 1)] {
            let data = epoll::EventData::new_u64(token);
            if let Err(error) = epoll::add(&self.poll, socket.as_fd(), data, epoll::EventFlags::IN) {
                tracing::error!(%error, port, "a stream's socket cannot be watched");
            }
        }
        self.streams.slots.insert(stream, entry.key());
        entry.insert((stream, pair));
    }

    fn close(&mut self, now: Instant, stream: StreamId) {
        let Some(slot) = self.streams.slots.remove(&stream) else { return };
        let Some((_, pair)) = self.streams.open.try_remove(slot) else { return };
        for socket in [&pair.rtp, &pair.rtcp] {
            // Only a socket that is not watched can fail, and then nothing is to be done.
            let _ = epoll::delete(&self.poll, socket.as_fd());
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
            }
            (self.on_event)(event);
        }
    }

    fn close_all(&mut self) {
        let now = (self.clock)();
        let open: Vec<StreamId> = self.streams.open.iter().map(|(_, (stream, _))| *stream).collect();
        for stream in open {
            self.command(now, MediaCommand::Close { stream });
        }
        self.tell();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns `every` microseconds with `ready` sockets each.
    fn turns(rhythm: &mut Rhythm, every: u64, ready: impl IntoIterator<Item = usize>) -> bool {
        for count in ready {
            let now = Instant::from_micros(rhythm.last.as_micros() + every);
            rhythm.count(count, now);
        }
        rhythm.is_spread()
    }

    #[test]
    fn packets_gather_where_they_are_spread_and_not_where_they_burst_or_are_rare() {
        let mut rhythm = Rhythm::default();
        assert!(!turns(&mut rhythm, 20_000, [1; 100]), "one call");
        assert!(!turns(&mut rhythm, 50, [1, 2, 5, 12, 30].repeat(20)), "bursts");
        assert!(turns(&mut rhythm, 50, [1; 20]), "evenly spread");
        assert!(turns(&mut rhythm, 350, [15; 100]), "they gather now");
        assert!(!turns(&mut rhythm, 20_000, [1]), "the load is gone");
    }
}
