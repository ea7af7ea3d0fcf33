//! The media workers: threads that own RTP sockets and move packets between them as `media::Engine` says.
//!
//! All streams of a call live on one worker, so a packet never changes its thread and meets no lock. Commands come in batches; what happened
//! goes out through one callback.

mod io_uring;
mod packet;
mod packet_io;
mod poll;
mod port_pool;
mod socket;
mod stats;
mod supervised;
mod worker;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use ::base::{Now, Rng};
use ::media::{MediaCommand, MediaEvent};

use crate::recording::{Writer, WriterConfig};
use crate::supervisor::Supervisor;
use crate::switch_thread::MediaDispatch;
use stats::Counters;
pub use stats::WorkerStats;
use worker::{Inbox, Worker, WorkerSetup};

/// While a worker is away no call has a voice: it begins anew soon, however often it failed.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What the workers are started with.
#[derive(Clone, Debug)]
pub struct MediaConfig {
    /// The SIP listeners by index, each with the address that its legs' RTP binds on.
    pub listeners: Vec<(u16, IpAddr)>,
    /// Where RTP ports are taken from, in pairs of an even and the odd one above it.
    pub ports: RangeInclusive<u16>,
    /// Threads.
    pub workers: usize,
    /// Whether packets may go through io_uring, where the kernel has it.
    pub ring: bool,
    /// Where recordings are written; every recording fails where `None`.
    pub recordings: Option<WriterConfig>,
}

/// Shows the clocks.
pub type ReadClock = Arc<dyn Fn() -> Now + Send + Sync>;
/// Takes what happened. Called on the workers' threads: it must not wait.
pub type OnEvent = Arc<dyn Fn(MediaEvent) + Send + Sync>;

/// The running workers. Dropping them stops them.
pub struct MediaWorkers {
    running: Vec<Running>,
    events: OnEvent,
    /// Ends after the workers: their last blocks are written.
    writer: Option<Writer>,
}

struct Running {
    inbox: Arc<Inbox>,
    counters: Arc<Counters>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for MediaWorkers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MediaWorkers").field("workers", &self.running.len()).finish_non_exhaustive()
    }
}

impl MediaWorkers {
    /// Start the threads. The first ports arrive as [`MediaEvent::Ports`] at once.
    #[allow(clippy::needless_pass_by_value)] // handed over, and shared by the threads
    pub fn spawn(
        config: &MediaConfig,
        mut rng: Rng,
        clock: ReadClock,
        events: OnEvent,
        supervisor: &Supervisor,
    ) -> io::Result<MediaWorkers> {
        let count = config.workers.clamp(1, usize::from(u8::MAX));
        let (writer, mut tapes) = match config.recordings.clone() {
            Some(recordings) => {
                let watch = supervisor.watch("recordings");
                let (writer, tapes) = Writer::spawn(recordings, count, Arc::clone(&events), watch)?;
                (Some(writer), tapes)
            }
            None => (None, Vec::new()),
        };
        let mut workers =
            MediaWorkers { running: Vec::with_capacity(count), events: Arc::clone(&events), writer };
        for number in 0..count {
            let (inbox, counters) = (Arc::new(Inbox::new()?), Arc::<Counters>::default());
            let setup = WorkerSetup {
                number: number as u8,
                count,
                config: config.clone(),
                clock: Arc::clone(&clock),
                on_event: Arc::clone(&events),
                inbox: Arc::clone(&inbox),
                counters: Arc::clone(&counters),
            };
            let worker = Worker::new(&setup, rng.fork(), &mut tapes.pop())?;
            let name = format!("media-{number}");
            let (watch, rng) = (supervisor.watch(name.clone()).pausing_at_most(LONGEST_PAUSE), rng.fork());
            let thread = std::thread::Builder::new().name(name);
            let thread = thread.spawn(move || supervised::run(&setup, rng, worker, watch))?;
            workers.running.push(Running { inbox, counters, thread: Some(thread) });
        }
        Ok(workers)
    }

    /// How many there are: a call chooses one by its number.
    pub fn count(&self) -> u8 {
        self.running.len() as u8
    }

    /// What each worker has done so far, and the ports that it has.
    pub fn stats(&self) -> Vec<WorkerStats> {
        (0..).zip(&self.running).map(|(worker, running)| running.counters.snapshot(worker)).collect()
    }

    /// Hand a worker a command. Commands are carried out in the order in which they are sent.
    pub fn send(&self, worker: u8, command: MediaCommand) {
        self.send_batch(worker, [command]);
    }

    /// Hand a worker several commands and wake it once.
    pub fn send_batch(&self, worker: u8, commands: impl IntoIterator<Item = MediaCommand>) {
        if let Some(running) = self.running.get(usize::from(worker)) {
            if let Err(commands) = running.inbox.put(commands) {
                commands.into_iter().for_each(|command| worker::refuse(&command, &*self.events));
            }
        } else {
            tracing::error!(worker, "a command for a media worker that does not exist");
        }
    }

    /// Close every stream, whose reports still arrive, and wait for the threads to end.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        for running in &self.running {
            running.inbox.stop();
        }
        for running in &mut self.running {
            if running.thread.take().is_some_and(|thread| thread.join().is_err()) {
                tracing::error!("the thread of a media worker had panicked");
            }
        }
        self.writer.take();
    }
}

impl MediaDispatch for Arc<MediaWorkers> {
    fn send(&self, worker: u8, commands: Vec<MediaCommand>) {
        self.send_batch(worker, commands);
    }

    fn reopen(&self, worker: u8) {
        if let Some(running) = self.running.get(usize::from(worker)) {
            running.inbox.reopen();
        }
    }
}

impl Drop for MediaWorkers {
    fn drop(&mut self) {
        self.end();
    }
}
