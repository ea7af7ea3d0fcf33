//! What must be there before anything runs: sockets of the API, database, journal, and what an earlier life has left in them.

use anyhow::{Context, Result};
use base::{Rng, Timestamp};
use model::voicemail::Fact;
use model::{Directory, SealKey};
use store::{RuntimeState, Store};
use switch::Input;
use tokio::net::TcpListener;

use super::{LONGEST_DAY_MICROS, first, http};
use crate::clock::Clock;
use crate::config::Config;
use crate::data::{self, DataDir};
use crate::installation;
use crate::journal::{self, Feeder, Journal, VoicemailDone};
use crate::limits::SEGMENT_BYTES;
use crate::schedule::{self, Beginning, Identity};

/// See the module.
pub(super) struct Opened {
    pub(super) rng: Rng,
    pub(super) epoch: u32,
    pub(super) seal: SealKey,
    pub(super) listeners: Vec<TcpListener>,
    pub(super) store: Store,
    /// The last event of the outbox that `directory` has seen.
    pub(super) seen: i64,
    pub(super) directory: Directory,
    pub(super) identity: Identity,
    pub(super) beginning: Beginning,
}

/// The journal, and what the exchange is to restore from it.
pub(super) struct Past {
    pub(super) journal: Journal,
    pub(super) feeder: Feeder,
    pub(super) restore: Input,
    /// What it says of voicemail and may not be done yet.
    pub(super) facts: Vec<Fact>,
    pub(super) done: VoicemailDone,
}

/// What the database says.
struct Read {
    seen: i64,
    directory: Directory,
    remembered: RuntimeState,
}

impl Opened {
    pub(super) async fn open(
        config: &Config,
        data: &DataDir,
        clock: Clock,
        low_priority: &tokio::runtime::Handle,
    ) -> Result<(Opened, Past)> {
        let mut rng = Rng::from_seed(data::seed()?);
        // The API's sockets are opened first: who finds them taken must not have touched the database.
        let listeners = http::bind(&config.http.listen).await?;
        let epoch = data.begin_epoch()?;
        let seal = data.seal_key(&mut rng)?;
        let (store, Read { seen, directory, remembered }) =
            open_store(config, data, clock, low_priority, &mut rng).await?;
        for trunk in first::unreadable_trunks(&directory, &seal) {
            tracing::error!(
                trunk,
                "seal.key is not the one with which this trunk's password was sealed: put the one of your backup there, or set the password anew"
            );
        }
        let opened =
            Journal::open(&journal::dir(data.path()), SEGMENT_BYTES).context("the journal cannot be read")?;
        for fault in &opened.faults {
            tracing::error!(fault, "the journal is damaged");
        }
        let identity = schedule::identity(data, epoch)?;
        let beginning = Beginning::read(&store, &opened.pending, &identity).await?;
        let restore = journal::restore(remembered, &opened.pending);
        let facts = opened.pending.facts();
        let (journal, feeder, done) = (opened.journal, opened.feeder, opened.done);
        let past = Past { journal, feeder, restore, facts, done };
        Ok((Opened { rng, epoch, seal, listeners, store, seen, directory, identity, beginning }, past))
    }
}

/// Read in a hurry, written at leisure: the thread of the writer that stays gives way too.
async fn open_store(
    config: &Config,
    data: &DataDir,
    clock: Clock,
    low_priority: &tokio::runtime::Handle,
    rng: &mut Rng,
) -> Result<(Store, Read)> {
    let (url, path) = (config.store.url.clone(), data.path().to_owned());
    let store = Store::open(url.expose(), &path).await.context("the database does not open")?;
    installation::check(&store, data, rng).await?;
    let read = read(&store, config, clock).await.context("the database cannot be read")?;
    store.close().await;
    let store = low_priority.spawn(async move { Store::open(url.expose(), &path).await });
    Ok((store.await?.context("the database does not open")?, read))
}

async fn read(store: &Store, config: &Config, clock: Clock) -> Result<Read> {
    let seen = store.outbox_seq().await?;
    let mut directory = store.load_directory().await?;
    directory.set_rules(config.dial_rules());
    let mut remembered = store.load_runtime_state().await?;
    let yesterday = Timestamp::from_micros(clock.now().wall.as_micros() - LONGEST_DAY_MICROS);
    remembered.outside = store.outside_since(yesterday).await?;
    Ok(Read { seen, directory, remembered })
}
