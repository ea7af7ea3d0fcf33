//! Supervision of a worker's thread: when the worker panics or cannot wait for its sockets, its calls are released, its sockets are closed, and a
//! new worker starts with newly bound ports.

use std::time::Duration;

use ::base::Rng;

use super::worker::{Worker, WorkerSetup};
use crate::recording::RecordingSender;
use crate::supervisor::{TaskMonitor, catch};

/// Interval at which a pausing thread checks whether it should stop.
const STOP_POLL: Duration = Duration::from_millis(50);

/// Run a worker, and restart it after errors, until the inbox is stopped.
pub(super) fn run(setup: &WorkerSetup, mut rng: Rng, first: Worker, mut monitor: TaskMonitor) {
    let mut recorder: Option<RecordingSender> = None;
    let mut next = Ok(first);
    let mut is_restart = false;
    loop {
        let fault = match next {
            Ok(mut worker) => {
                let ran = catch(|| {
                    worker.start()?;
                    if is_restart {
                        monitor.restarted();
                    }
                    worker.run()
                });
                let fault = match ran {
                    Ok(Ok(())) => return monitor.ended(),
                    Ok(Err(error)) => error.to_string(),
                    Err(panic) => panic.0,
                };
                // Its sockets are closed before the next worker binds the same ports.
                recorder = worker.report_lost();
                if catch(|| drop(worker)).is_err() {
                    tracing::error!("dropping a failed media worker panicked");
                }
                fault
            }
            Err(error) => format!("cannot start: {error}"),
        };
        if !pause(setup, monitor.failed(&fault)) {
            return monitor.ended();
        }
        is_restart = true;
        next = Worker::new(setup, rng.fork(), &mut recorder);
    }
}

/// Pause; `false` if the thread should stop.
fn pause(setup: &WorkerSetup, mut remaining: Duration) -> bool {
    while !remaining.is_zero() && !setup.inbox.is_stopping() {
        let step = remaining.min(STOP_POLL);
        std::thread::sleep(step);
        remaining -= step;
    }
    !setup.inbox.is_stopping()
}
