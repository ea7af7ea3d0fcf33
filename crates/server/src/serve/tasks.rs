//! The tasks that work beside the exchange, each under its name.

use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use base::{Rng, Secret};
use model::RetryPolicy;
use model::voicemail::{Fact, PinKey};
use store::{Retention, Store};
use switch::SettingChange;
use switch::voicemail::VoicemailEffect;
use tokio::net::UnixListener;
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinHandle;

use super::parts::{keep_unclaimed, keeping, post, reach, retention};
use crate::clock::{Clock, SteadyClock};
use crate::config::Config;
use crate::control::{self, Facts};
use crate::day_log;
use crate::journal::VoicemailDone;
use crate::mail;
use crate::recording::{AudioFileStore, RecordingRetention};
use crate::schedule::{self, Beginning, Identity, SchedulerContext};
use crate::settings;
use crate::supervisor::Supervisor;
use crate::switch_thread::{SwitchHandle, SwitchMsg};
use crate::trunk_leader;
use crate::voicemail::{FactQueue, VoicemailWorker, prompts};
use crate::webhooks::WebhookDispatcher;
use crate::webhooks::client::WebhookClient;

/// What the tasks work with.
pub(super) struct TaskSetup<'a> {
    pub(super) config: &'a Config,
    pub(super) data: &'a Path,
    pub(super) supervisor: &'a Supervisor,
    pub(super) store: &'a Store,
    pub(super) app: &'a api::App,
    pub(super) switch_handle: &'a SwitchHandle,
    pub(super) files: &'a AudioFileStore,
    pub(super) clock: Clock,
    /// Runs what gives way to calls.
    pub(super) low_priority: &'a Handle,
}

/// The tasks that run.
pub(super) struct Tasks {
    /// Those that may be cut off at any moment: what they have begun is found in the database.
    cut: Vec<JoinHandle<()>>,
    /// Those that end by themselves once the exchange is gone: they do what it told them last.
    last: Vec<JoinHandle<()>>,
}

/// What the exchange tells others to do.
pub(super) struct FromExchange {
    pub(super) voicemail: UnboundedReceiver<VoicemailEffect>,
    pub(super) settings: UnboundedReceiver<(u64, SettingChange)>,
}

impl Tasks {
    /// Cut off all that may be.
    pub(super) fn abort(&self) {
        self.cut.iter().for_each(JoinHandle::abort);
    }

    /// Wait until what the exchange told last is done.
    pub(super) async fn last(self) {
        for task in self.last {
            task.await.ok();
        }
    }
}

impl TaskSetup<'_> {
    pub(super) fn start(
        &self,
        rng: &mut Rng,
        keys: (Secret<[u8; 32]>, PinKey),
        (told, facts): (FromExchange, (Vec<Fact>, VoicemailDone)),
        beginning: (Beginning, Identity),
        control: (io::Result<UnixListener>, Facts),
    ) -> Result<Tasks> {
        let (webhook_key, pin_key) = keys;
        let letters = Arc::new(Notify::new());
        let mut cut = vec![
            self.usage(),
            self.recordings(),
            self.mails(Arc::clone(&letters))?,
            self.webhooks(webhook_key, rng.fork()),
            self.scheduler(beginning, rng.fork()),
        ];
        cut.push(self.prompts());
        cut.extend(self.upkeep());
        cut.extend(self.control(control));
        let mut last = Vec::from(self.voicemail(pin_key, letters, told.voicemail, facts));
        last.push(self.settings(told.settings));
        Ok(Tasks { cut, last })
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
            RecordingRetention::since(began, store.clone(), files.clone(), now, keeping).run()
        })
    }

    fn voicemail(
        &self,
        key: PinKey,
        waker: Arc<Notify>,
        told: UnboundedReceiver<VoicemailEffect>,
        (inherited, done): (Vec<Fact>, VoicemailDone),
    ) -> [JoinHandle<()>; 2] {
        let clerk = VoicemailWorker {
            directory_service: self.app.directory_service().clone(),
            files: self.files.clone(),
            switch_handle: self.switch_handle.clone(),
            waker,
            key,
            keep_unclaimed: keep_unclaimed(self.config),
        };
        let (queue, queued) = tokio::sync::mpsc::unbounded_channel();
        // Both queues outlive a task that panics over something in them.
        let facts = Arc::new(Mutex::new(FactQueue::new(inherited, queued, done)));
        let told = Arc::new(Mutex::new(told));
        let writer = clerk.clone();
        [
            self.spawn("voicemail", move || clerk.clone().run(Arc::clone(&told), queue.clone())),
            self.spawn("voicemail-facts", move || writer.clone().write_facts(Arc::clone(&facts))),
        ]
    }

    /// Decode what voicemail says: a tenth of a second of work, for which calls of a server that has just started do not wait.
    fn prompts(&self) -> JoinHandle<()> {
        let switch_handle = self.switch_handle.clone();
        self.supervisor.task(self.low_priority, "voicemail-prompts", move || {
            let switch_handle = switch_handle.clone();
            let decoding = tokio::task::spawn_blocking(move || {
                switch_handle.put(SwitchMsg::Prompts(Arc::new(prompts())));
            });
            async move {
                if let Err(error) = decoding.await
                    && let Ok(panic) = error.try_into_panic()
                {
                    std::panic::resume_unwind(panic);
                }
            }
        })
    }

    fn settings(&self, told: UnboundedReceiver<(u64, SettingChange)>) -> JoinHandle<()> {
        let (directory_service, switch_handle, told) =
            (self.app.directory_service().clone(), self.switch_handle.clone(), Arc::new(Mutex::new(told)));
        self.spawn("dialled-settings", move || {
            settings::run(directory_service.clone(), switch_handle.clone(), Arc::clone(&told))
        })
    }

    /// What `centralita doctor` asks; without its socket the server runs all the same.
    fn control(&self, (socket, facts): (io::Result<UnixListener>, Facts)) -> Option<JoinHandle<()>> {
        let listener = match socket {
            Ok(listener) => Arc::new(listener),
            Err(error) => {
                tracing::warn!(%error, "the control socket is not there: doctor cannot ask this server");
                return None;
            }
        };
        let (switch_handle, store) = (self.switch_handle.clone(), self.store.clone());
        Some(self.spawn("control-socket", move || {
            control::answer(Arc::clone(&listener), facts.clone(), switch_handle.clone(), store.clone())
        }))
    }

    fn mails(&self, waker: Arc<Notify>) -> Result<JoinHandle<()>> {
        let (post, directory_service) = (post(self.config)?, self.app.directory_service().clone());
        let audio: Arc<dyn api::AudioStore> = Arc::new(self.files.clone());
        Ok(self.spawn("mail", move || {
            let (post, directory_service) = (post.clone(), directory_service.clone());
            mail::Worker { post, directory_service, audio: Arc::clone(&audio), waker: Arc::clone(&waker) }
                .run()
        }))
    }

    fn webhooks(&self, key: Secret<[u8; 32]>, mut rng: Rng) -> JoinHandle<()> {
        let (store, post, clock) = (self.store.clone(), WebhookClient::new(reach(self.config)), self.clock);
        self.spawn("webhooks", move || {
            let patience = RetryPolicy::default();
            WebhookDispatcher::new(store.clone(), post.clone(), key.clone(), patience, clock, rng.fork())
                .run()
        })
    }

    fn scheduler(&self, beginning: (Beginning, Identity), mut rng: Rng) -> JoinHandle<()> {
        let (store, directory_service, switch_handle, clock) = (
            self.store.clone(),
            self.app.directory_service().clone(),
            self.switch_handle.clone(),
            self.clock,
        );
        let (beginning, identity) = beginning;
        let pace = switch::schedule::Config {
            owner: identity.owner().into(),
            per_second: self.config.recurring_calls_per_second,
            shared: store.is_shared(),
        };
        let data = self.data.to_owned();
        let mut first = Some(beginning);
        self.spawn("scheduler", move || {
            let (store, directory_service, switch_handle, data) =
                (store.clone(), directory_service.clone(), switch_handle.clone(), data.clone());
            let desk = SchedulerContext { store, directory_service, switch_handle, clock, data };
            schedule::run_from(first.take(), identity.clone(), desk, pace.clone(), rng.fork())
        })
    }

    /// What keeps the database and the directory in order.
    fn upkeep(&self) -> [JoinHandle<()>; 5] {
        let (store, clock, retention) = (self.store.clone(), self.clock, retention(self.config));
        let keep = self.spawn("database-upkeep", move || keep(store.clone(), clock, retention.clone()));
        let directory_service = self.app.directory_service().clone();
        let follow = self.spawn("directory-follow", move || directory_service.clone().follow());
        let (store, switch_handle) = (self.store.clone(), self.switch_handle.clone());
        let duty = self.spawn("registrar-lease", move || {
            trunk_leader::watch(store.clone(), switch_handle.clone(), clock)
        });
        let store = self.store.clone();
        let health = self.spawn("database-health", move || {
            let store = store.clone();
            async move { store.watch_health().await }
        });
        let switch_handle = self.switch_handle.clone();
        let trunks = self.spawn("trunk-log", move || day_log::watch_trunks(switch_handle.clone()));
        [keep, follow, duty, health, trunks]
    }
}

/// Forget what is too old, once an hour.
async fn keep(store: Store, clock: Clock, retention: Retention) {
    let mut beat = tokio::time::interval(std::time::Duration::from_secs(3600));
    beat.tick().await;
    let mut steady = SteadyClock::begin(clock.now());
    let newest = store.newest_instant().await.ok().flatten();
    steady.is_settled(clock.now(), newest);
    loop {
        if let Err(error) = store.analyze().await {
            tracing::warn!(%error, "the database cannot be analysed");
        }
        beat.tick().await;
        let now = clock.now();
        if !steady.is_settled(now, newest) {
            continue;
        }
        match store.prune(now.wall, &retention).await {
            Ok(pruned) => tracing::debug!(?pruned, "old rows are gone"),
            Err(error) => tracing::warn!(%error, "old rows cannot be deleted"),
        }
    }
}
