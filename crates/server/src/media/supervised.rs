//! A worker's thread: when the worker panics or cannot wait for its sockets, its calls are released, its sockets closed, and another one begins
//! with ports that are bound anew.

use std::time::Duration;

use ::base::Rng;

use super::worker::{Worker, WorkerSetup};
use crate::recording::RecordingSender;
use crate::supervisor::{Watch, catch};

/// How often a thread that waits to begin anew looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(50);

/// Run a worker, and those that follow it, until the inbox says stop.
pub(super) fn run(setup: &WorkerSetup, mut rng: Rng, first: Worker, mut watch: Watch) {
    let mut tape: Option<RecordingSender> = None;
    let mut next = Ok(first);
    let mut again = false;
    loop {
        let fault = match next {
            Ok(mut worker) => {
                let ran = catch(|| {
                    worker.begin()?;
                    if again {
                        watch.restarted();
                    }
                    worker.run()
                });
                let fault = match ran {
                    Ok(Ok(())) => return watch.ended(),
                    Ok(Err(error)) => error.to_string(),
                    Err(panic) => panic.0,
                };
                // Its sockets are closed with it, before the next one binds the same ports.
                tape = worker.abandon();
                if catch(|| drop(worker)).is_err() {
                    tracing::error!("what a media worker has left cannot be dropped");
                }
                fault
            }
            Err(error) => format!("cannot begin: {error}"),
        };
        if !rest(setup, watch.failed(&fault)) {
            return watch.ended();
        }
        again = true;
        next = Worker::new(setup, rng.fork(), &mut tape);
    }
}

/// Wait for so long; `false` where the thread is to stop.
fn rest(setup: &WorkerSetup, mut left: Duration) -> bool {
    while !left.is_zero() && !setup.inbox.is_stopping() {
        let step = left.min(LOOK);
        std::thread::sleep(step);
        left -= step;
    }
    !setup.inbox.is_stopping()
}
