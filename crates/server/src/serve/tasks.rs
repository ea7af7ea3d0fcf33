//! The tasks that work beside the exchange, each under its name.

use std::sync::Arc;

use anyhow::Result;
use base::{Chance, Secret};
use model::Patience;
use model::voicemail::PinKey;
use store::{Retention, Store};
use switch::voicemail::Note;
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinHandle;

use super::parts::{keeping, post, reach, retention};
use crate::clock::Clock;
use crate::config::Config;
use crate::duty;
use crate::exchange::Door;
use crate::mail;
use crate::recording::{Keeper, Warehouse};
use crate::schedule::{self, Beginning, Desk, Identity};
use crate::supervisor::Supervisor;
use crate::voicemail::{Adopt, Clerk};
use crate::webhooks::Courier;
use crate::webhooks::post::Post;

/// What the tasks work with.
pub(super) struct TaskSetup<'a> {
    pub(super) config: &'a Config,
    pub(super) supervisor: &'a Supervisor,
    pub(super) store: &'a Store,
    pub(super) app: &'a api::App,
    pub(super) door: &'a Door,
    pub(super) files: &'a Warehouse,
    pub(super) clock: Clock,
}

/// The tasks that run.
pub(super) struct Tasks {
    /// Those that may be cut off at any moment: what they have begun is found in the database.
    cut: Vec<JoinHandle<()>>,
    /// The clerk of voicemail: it writes what the exchange told it last.
    pub(super) clerk: JoinHandle<()>,
}

impl Tasks {
    /// Cut off all but the clerk.
    pub(super) fn abort(&self) {
        self.cut.iter().for_each(JoinHandle::abort);
    }
}

impl TaskSetup<'_> {
    pub(super) fn start(
        &self,
        chance: &mut Chance,
        keys: (Secret<[u8; 32]>, PinKey),
        told: UnboundedReceiver<Note>,
        beginning: (Beginning, Identity),
    ) -> Result<Tasks> {
        let (webhook_key, pin_key) = keys;
        let letters = Arc::new(Notify::new());
        let mut cut = vec![
            self.usage(),
            self.recordings(),
            self.mails(Arc::clone(&letters))?,
            self.webhooks(webhook_key, chance.fork()),
            self.scheduler(beginning, chance.fork()),
        ];
        cut.extend(self.upkeep());
        Ok(Tasks { cut, clerk: self.clerk(pin_key, letters, told) })
    }

    fn spawn<F: Future<Output = ()> + Send>(
        &self,
        name: &'static str,
        begin: impl FnMut() -> F + Send + 'static,
    ) -> JoinHandle<()> {
        self.supervisor.task(&Handle::current(), name, begin)
    }

    fn usage(&self) -> JoinHandle<()> {
        let app = self.app.clone();
        self.spawn("key-usage", move || app.clone().write_usage())
    }

    fn recordings(&self) -> JoinHandle<()> {
        let (store, files, clock, keeping) =
            (self.store.clone(), self.files.clone(), self.clock, keeping(self.config));
        // What ran before this start runs no more; what ran before a panic of this task may.
        let began = clock.now();
        self.spawn("recording-keeper", move || {
            let now: api::Clock = Arc::new(move || clock.now());
            Keeper::since(began.wall, store.clone(), files.clone(), now, keeping).run()
        })
    }

    fn clerk(&self, key: PinKey, bell: Arc<Notify>, told: UnboundedReceiver<Note>) -> JoinHandle<()> {
        let (office, files, door) = (self.app.office().clone(), self.files.clone(), self.door.clone());
        // The notes outlive a clerk that panics over one of them.
        let told = Arc::new(Mutex::new(told));
        let mut adopt = Adopt::Yes;
        self.spawn("voicemail", move || {
            let clerk = Clerk {
                office: office.clone(),
                files: files.clone(),
                door: door.clone(),
                bell: Arc::clone(&bell),
                key: key.clone(),
            };
            clerk.run(Arc::clone(&told), std::mem::replace(&mut adopt, Adopt::No))
        })
    }

    fn mails(&self, bell: Arc<Notify>) -> Result<JoinHandle<()>> {
        let (post, office) = (post(self.config)?, self.app.office().clone());
        let audio: Arc<dyn api::Shelf> = Arc::new(self.files.clone());
        Ok(self.spawn("mail", move || {
            let (post, office) = (post.clone(), office.clone());
            mail::Worker { post, office, audio: Arc::clone(&audio), bell: Arc::clone(&bell) }.run()
        }))
    }

    fn webhooks(&self, key: Secret<[u8; 32]>, mut chance: Chance) -> JoinHandle<()> {
        let (store, post, clock) = (self.store.clone(), Post::new(reach(self.config)), self.clock);
        self.spawn("webhooks", move || {
            let patience = Patience::default();
            Courier::new(store.clone(), post.clone(), key.clone(), patience, clock, chance.fork()).run()
        })
    }

    fn scheduler(&self, beginning: (Beginning, Identity), mut chance: Chance) -> JoinHandle<()> {
        let (store, office, door, clock) =
            (self.store.clone(), self.app.office().clone(), self.door.clone(), self.clock);
        let (beginning, identity) = beginning;
        let pace = switch::schedule::Config {
            owner: identity.owner().into(),
            per_second: self.config.recurring_calls_per_second,
            shared: store.is_shared(),
        };
        let mut first = Some(beginning);
        self.spawn("scheduler", move || {
            let desk = Desk { store: store.clone(), office: office.clone(), door: door.clone(), clock };
            schedule::run_from(first.take(), identity.clone(), desk, pace.clone(), chance.fork())
        })
    }

    /// What keeps the database and the directory in order.
    fn upkeep(&self) -> [JoinHandle<()>; 3] {
        let (store, clock, retention) = (self.store.clone(), self.clock, retention(self.config));
        let keep = self.spawn("database-upkeep", move || keep(store.clone(), clock, retention.clone()));
        let office = self.app.office().clone();
        let follow = self.spawn("directory-follow", move || office.clone().follow());
        let (store, door) = (self.store.clone(), self.door.clone());
        let duty = self.spawn("registrar-lease", move || duty::watch(store.clone(), door.clone(), clock));
        [keep, follow, duty]
    }
}

/// Forget what is too old, once an hour.
async fn keep(store: Store, clock: Clock, retention: Retention) {
    let mut beat = tokio::time::interval(std::time::Duration::from_secs(3600));
    beat.tick().await;
    loop {
        if let Err(error) = store.look_at_itself().await {
            tracing::warn!(%error, "the database cannot be analysed");
        }
        beat.tick().await;
        match store.prune(clock.now().wall, &retention).await {
            Ok(pruned) => tracing::debug!(?pruned, "old rows are gone"),
            Err(error) => tracing::warn!(%error, "old rows cannot be deleted"),
        }
    }
}
