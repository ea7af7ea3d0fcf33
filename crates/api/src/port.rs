//! The door to the exchange.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use model::{Change, Directory};

/// How the office speaks with the exchange, whatever thread or process that lives in.
pub trait SwitchPort: Send + Sync + 'static {
    /// Ask; `None` where the exchange does not answer (any more).
    fn ask(&self, command: switch::Command) -> Pin<Box<dyn Future<Output = Option<switch::Reply>> + Send>>;

    /// Hand over a new directory. After this returns, a REGISTER that arrives later sees it.
    fn publish(&self, directory: Directory, changes: Arc<[Change]>);
}

/// No exchange: for commands that change the database while no server runs.
#[derive(Clone, Copy, Debug)]
pub struct Offline;

impl SwitchPort for Offline {
    fn ask(&self, _command: switch::Command) -> Pin<Box<dyn Future<Output = Option<switch::Reply>> + Send>> {
        Box::pin(std::future::ready(None))
    }

    fn publish(&self, _directory: Directory, _changes: Arc<[Change]>) {}
}
