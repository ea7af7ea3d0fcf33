//! The media workers: threads that own RTP sockets and relay packets between them as `media::Engine` decides.
//!
//! All streams of a call are on one worker, so a packet never changes its thread and needs no lock. Commands arrive in batches; events leave
//! through one callback.

mod callbacks;
mod config;
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
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use ::base::Rng;
use ::media::MediaCommand;

use crate::recording::Writer;
use crate::supervisor::Supervisor;
use crate::switch_thread::MediaDispatch;
pub use callbacks::{OnEvent, ReadClock};
pub use config::MediaConfig;
use stats::Counters;
pub use stats::WorkerStats;
use worker::{Inbox, Worker, WorkerSetup};

/// Longest pause before a failed worker is restarted: its calls have no audio meanwhile.
const MAX_RESTART_PAUSE: Duration = Duration::from_secs(1);

/// The running workers. Dropping them stops their threads.
pub struct MediaWorkers {
    running: Vec<Running>,
    events: OnEvent,
    /// The recording writer; stopped after the workers, so that their last blocks are written.
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
    /// Start the threads. The first ports arrive as [`media::MediaEvent::Ports`] at once.
    #[allow(clippy::needless_pass_by_value)] // moved in, and shared by the threads
    pub fn spawn(
        config: &MediaConfig,
        mut rng: Rng,
        clock: ReadClock,
        events: OnEvent,
        supervisor: &Supervisor,
    ) -> io::Result<MediaWorkers> {
        let count = config.workers.clamp(1, usize::from(u8::MAX));
        let (writer, mut senders) = match config.recordings.clone() {
            Some(recordings) => {
                let watch = supervisor.watch("recordings");
                let (writer, senders) = Writer::spawn(recordings, count, Arc::clone(&events), watch)?;
                (Some(writer), senders)
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
            let worker = Worker::new(&setup, rng.fork(), &mut senders.pop())?;
            let name = format!("media-{number}");
            let (watch, rng) =
                (supervisor.watch(name.clone()).pausing_at_most(MAX_RESTART_PAUSE), rng.fork());
            let thread = std::thread::Builder::new().name(name);
            let thread = thread.spawn(move || supervised::run(&setup, rng, worker, watch))?;
            workers.running.push(Running { inbox, counters, thread: Some(thread) });
        }
        Ok(workers)
    }

    /// Number of workers: a call selects its worker by index.
    pub fn count(&self) -> u8 {
        self.running.len() as u8
    }

    /// Counters and port counts of each worker.
    pub fn stats(&self) -> Vec<WorkerStats> {
        (0..).zip(&self.running).map(|(worker, running)| running.counters.snapshot(worker)).collect()
    }

    /// Send a command to a worker. Commands are executed in the order in which they are sent.
    pub fn send(&self, worker: u8, command: MediaCommand) {
        self.send_batch(worker, [command]);
    }

    /// Send several commands to a worker and wake it once.
    pub fn send_batch(&self, worker: u8, commands: impl IntoIterator<Item = MediaCommand>) {
        if let Some(running) = self.running.get(usize::from(worker)) {
            if let Err(commands) = running.inbox.push(commands) {
                commands.into_iter().for_each(|command| worker::reject(&command, &*self.events));
            }
        } else {
            tracing::error!(worker, "media command for a worker that does not exist");
        }
    }

    /// Close every stream (their reports still arrive) and wait for the threads to end.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        for running in &self.running {
            running.inbox.stop();
        }
        for running in &mut self.running {
            if running.thread.take().is_some_and(|thread| thread.join().is_err()) {
                tracing::error!("the thread of a media worker ended with a panic");
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
