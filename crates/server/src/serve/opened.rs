//! Opens what must exist before anything runs: the API's sockets, the database, the journal, and the state that the previous run left in them.

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
use crate::schedule::{self, Identity, InitialState};

/// The opened resources.
pub(super) struct Opened {
    pub(super) rng: Rng,
    pub(super) epoch: u32,
    pub(super) seal: SealKey,
    pub(super) listeners: Vec<TcpListener>,
    pub(super) store: Store,
    /// Sequence number of the last outbox event that `directory` includes.
    pub(super) seen: i64,
    pub(super) directory: Directory,
    pub(super) identity: Identity,
    pub(super) initial_state: InitialState,
}

/// The journal, and the state to restore from it.
pub(super) struct JournalState {
    pub(super) journal: Journal,
    pub(super) feeder: Feeder,
    pub(super) restore: Input,
    /// Voicemail facts in the journal that may not be executed yet.
    pub(super) facts: Vec<Fact>,
    pub(super) done: VoicemailDone,
}

/// State read from the database.
struct Read {
    seen: i64,
    directory: Directory,
    runtime_state: RuntimeState,
}

impl Opened {
    pub(super) async fn open(
        config: &Config,
        data: &DataDir,
        clock: Clock,
        low_priority: &tokio::runtime::Handle,
    ) -> Result<(Opened, JournalState)> {
        let mut rng = Rng::from_seed(data::seed()?);
        // The API's sockets are opened first: a start that finds them in use must not touch the database.
        let listeners = http::bind(&config.http.listen).await?;
        let epoch = data.begin_epoch()?;
        let seal = data.seal_key(&mut rng)?;
        let (store, Read { seen, directory, runtime_state }) =
            open_store(config, data, clock, low_priority, &mut rng).await?;
        for trunk in first::unreadable_trunks(&directory, &seal) {
            tracing::error!(
                trunk,
                "seal.key is not the one that encrypted this trunk's password: restore seal.key from your backup, or set the password again"
            );
        }
        let opened =
            Journal::open(&journal::dir(data.path()), SEGMENT_BYTES).context("the journal cannot be read")?;
        for fault in &opened.faults {
            tracing::error!(fault, "the journal is damaged");
        }
        let identity = schedule::identity(data, epoch)?;
        let initial_state = InitialState::read(&store, &opened.pending, &identity).await?;
        let restore = journal::restore(runtime_state, &opened.pending);
        let facts = opened.pending.facts();
        let (journal, feeder, done) = (opened.journal, opened.feeder, opened.done);
        let journal_state = JournalState { journal, feeder, restore, facts, done };
        Ok((
            Opened { rng, epoch, seal, listeners, store, seen, directory, identity, initial_state },
            journal_state,
        ))
    }
}

/// The database is read with normal priority, then reopened: the writer thread of the connection that stays has low priority.
async fn open_store(
    config: &Config,
    data: &DataDir,
    clock: Clock,
    low_priority: &tokio::runtime::Handle,
    rng: &mut Rng,
) -> Result<(Store, Read)> {
    let (url, path) = (config.store.url.clone(), data.path().to_owned());
    let store = Store::open(url.expose(), &path).await.context("the database cannot be opened")?;
    installation::check(&store, data, rng).await?;
    let read = read(&store, config, clock).await.context("the database cannot be read")?;
    store.close().await;
    let store = low_priority.spawn(async move { Store::open(url.expose(), &path).await });
    Ok((store.await?.context("the database cannot be opened")?, read))
}

async fn read(store: &Store, config: &Config, clock: Clock) -> Result<Read> {
    let seen = store.outbox_seq().await?;
    let mut directory = store.load_directory().await?;
    directory.set_rules(config.dial_rules());
    let mut runtime_state = store.load_runtime_state().await?;
    let since = Timestamp::from_micros(clock.now().wall.as_micros() - LONGEST_DAY_MICROS);
    runtime_state.outside = store.outside_since(since).await?;
    Ok(Read { seen, directory, runtime_state })
}
