//! Starts the tasks beside the switch thread, each supervised under its name.

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

use super::parts::{database_retention, keep_unclaimed, mail_config, recording_retention, webhook_addresses};
use crate::clock::{Clock, SteadyClock};
use crate::config::Config;
use crate::control::{self, Facts};
use crate::day_log;
use crate::journal::VoicemailDone;
use crate::mail;
use crate::recording::{AudioFileStore, RecordingRetention};
use crate::schedule::{self, Identity, InitialState, SchedulerContext};
use crate::settings;
use crate::supervisor::Supervisor;
use crate::switch_thread::{SwitchHandle, SwitchMsg};
use crate::trunk_leader;
use crate::voicemail::{FactQueue, VoicemailWorker, prompts};
use crate::webhooks::WebhookDispatcher;
use crate::webhooks::client::WebhookClient;

/// The resources that the tasks use.
pub(super) struct TaskSetup<'a> {
    pub(super) config: &'a Config,
    pub(super) data: &'a Path,
    pub(super) supervisor: &'a Supervisor,
    pub(super) store: &'a Store,
    pub(super) app: &'a api::App,
    pub(super) switch_handle: &'a SwitchHandle,
    pub(super) files: &'a AudioFileStore,
    pub(super) clock: Clock,
    /// Runtime of low-priority tasks.
    pub(super) low_priority: &'a Handle,
}

/// The running tasks.
pub(super) struct Tasks {
    /// Tasks that may be aborted at any moment: the database knows their unfinished work.
    abortable: Vec<JoinHandle<()>>,
    /// Tasks that end by themselves after the switch thread: they finish its last outputs.
    finishing: Vec<JoinHandle<()>>,
}

/// Outputs of the switch that are executed by tasks.
pub(super) struct SwitchOutputs {
    pub(super) voicemail: UnboundedReceiver<VoicemailEffect>,
    pub(super) settings: UnboundedReceiver<(u64, SettingChange)>,
}

impl Tasks {
    /// Abort the abortable tasks.
    pub(super) fn abort(&self) {
        self.abortable.iter().for_each(JoinHandle::abort);
    }

    /// Wait until the last outputs of the switch are executed.
    pub(super) async fn finish(self) {
        for task in self.finishing {
            task.await.ok();
        }
    }
}

impl TaskSetup<'_> {
    pub(super) fn start(
        &self,
        rng: &mut Rng,
        keys: (Secret<[u8; 32]>, PinKey),
        (outputs, facts): (SwitchOutputs, (Vec<Fact>, VoicemailDone)),
        initial_state: (InitialState, Identity),
        control: (io::Result<UnixListener>, Facts),
    ) -> Result<Tasks> {
        let (webhook_key, pin_key) = keys;
        let mail_waker = Arc::new(Notify::new());
        let mut abortable = vec![
            self.usage(),
            self.recordings(),
            self.mails(Arc::clone(&mail_waker))?,
            self.webhooks(webhook_key, rng.fork()),
            self.scheduler(initial_state, rng.fork()),
        ];
        abortable.push(self.prompts());
        abortable.extend(self.upkeep());
        abortable.extend(self.control(control));
        let mut finishing = Vec::from(self.voicemail(pin_key, mail_waker, outputs.voicemail, facts));
        finishing.push(self.settings(outputs.settings));
        Ok(Tasks { abortable, finishing })
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
        let (store, files, clock, retention) =
            (self.store.clone(), self.files.clone(), self.clock, recording_retention(self.config));
        // Recordings that were running before this start have ended; those running before a restart of this task may still run.
        let began = clock.now();
        self.spawn("recording-keeper", move || {
            let now: api::Clock = Arc::new(move || clock.now());
            RecordingRetention::since(began, store.clone(), files.clone(), now, retention).run()
        })
    }

    fn voicemail(
        &self,
        key: PinKey,
        waker: Arc<Notify>,
        outputs: UnboundedReceiver<VoicemailEffect>,
        (from_journal, done): (Vec<Fact>, VoicemailDone),
    ) -> [JoinHandle<()>; 2] {
        let worker = VoicemailWorker {
            directory_service: self.app.directory_service().clone(),
            files: self.files.clone(),
            switch_handle: self.switch_handle.clone(),
            waker,
            key,
            keep_unclaimed: keep_unclaimed(self.config),
        };
        let (queue, queued) = tokio::sync::mpsc::unbounded_channel();
        // Both queues survive a panic of the task.
        let facts = Arc::new(Mutex::new(FactQueue::new(from_journal, queued, done)));
        let outputs = Arc::new(Mutex::new(outputs));
        let fact_writer = worker.clone();
        [
            self.spawn("voicemail", move || worker.clone().run(Arc::clone(&outputs), queue.clone())),
            self.spawn("voicemail-facts", move || fact_writer.clone().write_facts(Arc::clone(&facts))),
        ]
    }

    /// Decode the prompts: 0.1 s of CPU time, off the start-up path.
    fn prompts(&self) -> JoinHandle<()> {
        let switch_handle = self.switch_handle.clone();
        self.supervisor.task(self.low_priority, "voicemail-prompts", move || {
            let switch_handle = switch_handle.clone();
            let decoding = tokio::task::spawn_blocking(move || {
                switch_handle.send(SwitchMsg::Prompts(Arc::new(prompts())));
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

    fn settings(&self, outputs: UnboundedReceiver<(u64, SettingChange)>) -> JoinHandle<()> {
        let (directory_service, switch_handle, outputs) =
            (self.app.directory_service().clone(), self.switch_handle.clone(), Arc::new(Mutex::new(outputs)));
        self.spawn("dialled-settings", move || {
            settings::run(directory_service.clone(), switch_handle.clone(), Arc::clone(&outputs))
        })
    }

    /// The control socket for `centralita doctor`; the server runs without it too.
    fn control(&self, (socket, facts): (io::Result<UnixListener>, Facts)) -> Option<JoinHandle<()>> {
        let listener = match socket {
            Ok(listener) => Arc::new(listener),
            Err(error) => {
                tracing::warn!(%error, "the control socket cannot be opened: centralita doctor cannot query this server");
                return None;
            }
        };
        let (switch_handle, store) = (self.switch_handle.clone(), self.store.clone());
        Some(self.spawn("control-socket", move || {
            control::serve(Arc::clone(&listener), facts.clone(), switch_handle.clone(), store.clone())
        }))
    }

    fn mails(&self, waker: Arc<Notify>) -> Result<JoinHandle<()>> {
        let (config, directory_service) = (mail_config(self.config)?, self.app.directory_service().clone());
        let audio: Arc<dyn api::AudioStore> = Arc::new(self.files.clone());
        Ok(self.spawn("mail", move || {
            let (config, directory_service) = (config.clone(), directory_service.clone());
            mail::Worker { config, directory_service, audio: Arc::clone(&audio), waker: Arc::clone(&waker) }
                .run()
        }))
    }

    fn webhooks(&self, key: Secret<[u8; 32]>, mut rng: Rng) -> JoinHandle<()> {
        let (store, client, clock) =
            (self.store.clone(), WebhookClient::new(webhook_addresses(self.config)), self.clock);
        self.spawn("webhooks", move || {
            let retry = RetryPolicy::default();
            WebhookDispatcher::new(store.clone(), client.clone(), key.clone(), retry, clock, rng.fork()).run()
        })
    }

    fn scheduler(&self, initial_state: (InitialState, Identity), mut rng: Rng) -> JoinHandle<()> {
        let (store, directory_service, switch_handle, clock) = (
            self.store.clone(),
            self.app.directory_service().clone(),
            self.switch_handle.clone(),
            self.clock,
        );
        let (initial_state, identity) = initial_state;
        let scheduler_config = switch::schedule::Config {
            owner: identity.owner().into(),
            per_second: self.config.recurring_calls_per_second,
            shared: store.is_shared(),
        };
        let data = self.data.to_owned();
        let mut initial = Some(initial_state);
        self.spawn("scheduler", move || {
            let (store, directory_service, switch_handle, data) =
                (store.clone(), directory_service.clone(), switch_handle.clone(), data.clone());
            let context = SchedulerContext { store, directory_service, switch_handle, clock, data };
            schedule::run_from(
                initial.take(),
                identity.clone(),
                context,
                scheduler_config.clone(),
                rng.fork(),
            )
        })
    }

    /// Maintenance of the database, the directory and the trunk lease.
    fn upkeep(&self) -> [JoinHandle<()>; 5] {
        let (store, clock, retention) = (self.store.clone(), self.clock, database_retention(self.config));
        let prune_hourly =
            self.spawn("database-upkeep", move || prune_hourly(store.clone(), clock, retention.clone()));
        let directory_service = self.app.directory_service().clone();
        let follow = self.spawn("directory-follow", move || directory_service.clone().follow());
        let (store, switch_handle) = (self.store.clone(), self.switch_handle.clone());
        let lease = self.spawn("registrar-lease", move || {
            trunk_leader::watch(store.clone(), switch_handle.clone(), clock)
        });
        let store = self.store.clone();
        let health = self.spawn("database-health", move || {
            let store = store.clone();
            async move { store.watch_health().await }
        });
        let switch_handle = self.switch_handle.clone();
        let trunks = self.spawn("trunk-log", move || day_log::watch_trunks(switch_handle.clone()));
        [prune_hourly, follow, lease, health, trunks]
    }
}

/// Delete expired rows every hour.
async fn prune_hourly(store: Store, clock: Clock, retention: Retention) {
    let mut interval = tokio::time::interval(std::time::Duration::from_secs(3600));
    interval.tick().await;
    let mut steady_clock = SteadyClock::begin(clock.now());
    let newest = store.newest_instant().await.ok().flatten();
    steady_clock.is_settled(clock.now(), newest);
    loop {
        if let Err(error) = store.analyze().await {
            tracing::warn!(%error, "ANALYZE of the database failed");
        }
        interval.tick().await;
        let now = clock.now();
        if !steady_clock.is_settled(now, newest) {
            continue;
        }
        match store.prune(now.wall, &retention).await {
            Ok(pruned) => tracing::debug!(?pruned, "expired rows deleted"),
            Err(error) => tracing::warn!(%error, "expired rows cannot be deleted"),
        }
    }
}
