//! The door to the exchange.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use base::Instant;
use model::{Change, Directory};
use switch::Status;

/// How the office speaks with the exchange, whatever thread or process that lives in.
pub trait SwitchPort: Send + Sync + 'static {
    /// Ask; `None` where the exchange does not answer (any more).
    fn ask(&self, command: switch::Command) -> Pin<Box<dyn Future<Output = Option<switch::Reply>> + Send>>;

    /// Hand over a new directory. After this returns, a REGISTER that arrives later sees it.
    fn publish(&self, directory: Directory, changes: Arc<[Change]>);

    /// The status that the exchange last published, about a second old at most; `None` before the first. Read, not asked: a probe neither
    /// waits for the exchange nor takes a place in its queue.
    fn status(&self) -> Option<Arc<Status>>;

    /// When the exchange's loop last began an iteration; `None` before the first.
    fn heartbeat(&self) -> Option<Instant>;
}

/// No exchange: for commands that change the database while no server runs.
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
