//! A worker's thread: when the worker panics or cannot wait for its sockets, its calls are released, its sockets closed, and another one begins
//! with ports that are bound anew.

use std::time::Duration;

use ::base::Chance;

use super::worker::{Worker, WorkerSetup};
use crate::recording::Tape;
use crate::supervisor::{Watch, catch};

/// How often a thread that waits to begin anew looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(50);

/// Run a worker, and those that follow it, until the inbox says stop.
pub(super) fn run(setup: &WorkerSetup, mut chance: Chance, first: Worker, mut watch: Watch) {
    let mut worker = Some(first);
    let mut tape: Option<Tape> = None;
    loop {
        let fault = match worker.as_mut().map(|worker| catch(|| worker.run())) {
            Some(Ok(Ok(()))) => return watch.ended(),
            Some(Ok(Err(error))) => error.to_string(),
            Some(Err(panic)) => panic.0,
            None => "cannot begin anew".to_owned(),
        };
        if let Some(mut gone) = worker.take() {
            // Sockets are closed with it, before the next one binds the same ports.
            tape = gone.abandon();
            if catch(|| drop(gone)).is_err() {
                tracing::error!("what a media worker has left cannot be dropped");
            }
        }
        if !rest(setup, watch.failed(&fault)) {
            return watch.ended();
        }
        match Worker::new(setup, chance.fork(), &mut tape) {
            Ok(next) => {
                worker = Some(next);
                watch.restarted();
            }
            Err(error) => tracing::error!(%error, "a media worker cannot begin anew"),
        }
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
