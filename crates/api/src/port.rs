//! Interface to the switch.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use base::Instant;
use model::{Change, Directory};
use switch::Status;

/// How the directory service reaches the switch, whatever thread or process the switch runs in.
pub trait SwitchPort: Send + Sync + 'static {
    /// Send a command and wait for the reply; `None` if the switch does not reply or has stopped.
    fn ask(&self, command: switch::Command) -> Pin<Box<dyn Future<Output = Option<switch::Reply>> + Send>>;

    /// Publish a new directory. A REGISTER that arrives after this returns sees it.
    fn publish(&self, directory: Directory, changes: Arc<[Change]>);

    /// The status last published by the switch, at most about a second old; `None` before the first. It is read from memory: a probe neither waits
    /// for the switch nor occupies a place in its queue.
    fn status(&self) -> Option<Arc<Status>>;

    /// Start time of the latest iteration of the switch's event loop; `None` before the first.
    fn heartbeat(&self) -> Option<Instant>;
}

/// No switch: for commands that change the database while no server runs.
#[derive(Clone, Copy, Debug)]
pub struct Offline;

impl SwitchPort for Offline {
    fn ask(&self, _command: switch::Command) -> Pin<Box<dyn Future<Output = Option<switch::Reply>> + Send>> {
        Box::pin(std::future::ready(None))
    }

    fn publish(&self, _directory: Directory, _changes: Arc<[Change]>) {}

    fn status(&self) -> Option<Arc<Status>> {
        None
    }

    fn heartbeat(&self) -> Option<Instant> {
        None
    }
}
