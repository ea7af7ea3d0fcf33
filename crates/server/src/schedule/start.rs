//! The occurrences that the previous run of this node left open: read at start, while the journal still knows what it did.

use anyhow::{Context, Result};
use base::Timestamp;
use model::{Occurrence, RecurringCallId};
use store::Store;
use switch::schedule::CallStarted;

use crate::data::{self, DataDir};
use crate::journal::Pending;

/// Identity of this process: node, boot of the machine, and epoch of the process.
#[derive(Clone, Debug)]
pub struct Identity {
    node: String,
    boot: String,
    epoch: u32,
}

/// The identity of this process on a data directory.
pub fn identity(data: &DataDir, epoch: u32) -> Result<Identity> {
    // Without a boot id, no previous run counts as of the same boot: occurrences that may have been dialled are not dialled again.
    let boot = match std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        Ok(text) => text.trim().to_owned(),
        Err(_) => base::Rng::from_seed(data::seed()?).base36(12),
    };
    Ok(Identity { node: store::node_name(data.path())?.to_string(), boot, epoch })
}

impl Identity {
    /// `node:boot:epoch`, the owner in the rows that this process holds.
    pub fn owner(&self) -> String {
        format!("{}:{}:{}", self.node, self.boot, self.epoch)
    }

    /// The same node with another boot: the journal is not trusted to be complete.
    pub(super) fn of_another_boot(self) -> Identity {
        Identity { boot: String::new(), ..self }
    }

    fn node_prefix(&self) -> String {
        format!("{}:", self.node)
    }

    /// Whether `owner` wrote during this boot of the machine: then the journal is complete.
    fn same_boot(&self, owner: &str) -> bool {
        owner.split(':').nth(1) == Some(&self.boot)
    }
}

/// The initial state of the scheduler.
#[derive(Debug, Default)]
pub struct InitialState {
    /// The latest occurrence of each recurring call that has one.
    pub last: Vec<(RecurringCallId, Timestamp)>,
    /// Open occurrences of previous runs of this node, and whether their call was started.
    pub open: Vec<(Occurrence, CallStarted)>,
}

impl InitialState {
    /// Read it from the database. `pending` are the journal records that the database may not have yet.
    pub async fn read(store: &Store, pending: &Pending, identity: &Identity) -> Result<InitialState> {
        let last = store.last_occurrences().await.context("the database cannot be read")?;
        let rows = store.open_occurrences_of(&identity.node_prefix()).await;
        let mut open = Vec::new();
        for row in rows.context("the database cannot be read")? {
            let known = match &row.call {
                Some(call) => {
                    pending.has_call(call)
                        || store.call(call).await.context("the database cannot be read")?.is_some()
                }
                None => false,
            };
            let started = match known {
                true => CallStarted::Yes,
                false if identity.same_boot(&row.owner) => CallStarted::No,
                false => CallStarted::Unknown,
            };
            open.push((row, started));
        }
        Ok(InitialState { last, open })
    }
}
