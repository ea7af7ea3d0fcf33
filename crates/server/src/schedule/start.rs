//! What an earlier life of this node has left: read at the start, while the journal still tells what it did.

use anyhow::{Context, Result};
use base::Timestamp;
use model::{Occurrence, RecurringCallId};
use store::Store;
use switch::schedule::CallStarted;

use crate::data::{self, DataDir};
use crate::journal::Pending;

/// Which node this is, which start of the machine, and which start of the process.
#[derive(Clone, Debug)]
pub struct Identity {
    node: String,
    boot: String,
    epoch: u32,
}

/// Who we are on this data directory.
pub fn identity(data: &DataDir, epoch: u32) -> Result<Identity> {
    // Without one, no earlier life is ever of the same boot: then nothing is dialled that may have been.
    let boot = match std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        Ok(text) => text.trim().to_owned(),
        Err(_) => base::Rng::from_seed(data::seed()?).base36(12),
    };
    Ok(Identity { node: store::node_name(data.path())?.to_string(), boot, epoch })
}

impl Identity {
    /// `node:boot:start`, as it stands in the rows that we hold.
    pub fn owner(&self) -> String {
        format!("{}:{}:{}", self.node, self.boot, self.epoch)
    }

    /// The same node, without trusting that the journal lacks nothing.
    pub(super) fn of_another_boot(self) -> Identity {
        Identity { boot: String::new(), ..self }
    }

    fn node_prefix(&self) -> String {
        format!("{}:", self.node)
    }

    /// Whether the machine has not been started anew since `owner` wrote: then the journal lacks nothing.
    fn same_boot(&self, owner: &str) -> bool {
        owner.split(':').nth(1) == Some(&self.boot)
    }
}

/// What the scheduler is told first.
#[derive(Debug, Default)]
pub struct Beginning {
    /// The last instant of each recurring call that has a row.
    pub last: Vec<(RecurringCallId, Timestamp)>,
    /// Rows that an earlier life of this node held.
    pub open: Vec<(Occurrence, CallStarted)>,
}

impl Beginning {
    /// Read it. `pending` is what the journal has and the database may not have yet.
    pub async fn read(store: &Store, pending: &Pending, identity: &Identity) -> Result<Beginning> {
        let last = store.last_occurrences().await.context("the database cannot be read")?;
        let rows = store.open_occurrences_of(&identity.node_prefix()).await;
        let mut open = Vec::new();
        for row in rows.context("the database cannot be read")? {
            let known = match &row.call {
                Some(call) => {
                    pending.knows(call)
                        || store.call(call).await.context("the database cannot be read")?.is_some()
                }
                None => false,
            };
            let begun = match known {
                true => CallStarted::Yes,
                false if identity.same_boot(&row.owner) => CallStarted::No,
                false => CallStarted::Unknown,
            };
            open.push((row, begun));
        }
        Ok(Beginning { last, open })
    }
}
