//! `centralita serve`: starts all parts in order, waits for a signal, and stops them in reverse order.

mod first;
mod http;
mod opened;
mod parts;
mod process;
mod public;
mod report;
mod tasks;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use api::App;
use base::Now;
use store::Store;
use switch::{Command, Input, Reply};
use tokio::signal::unix::{SignalKind, signal};

use crate::clock::Clock;
use crate::config::{Config, Loaded};
use crate::control;
use crate::data::{DataDir, Lock};
use crate::day_log::DayLog;
use crate::dns::Dns;
use crate::first_key::{self, FirstKey};
use crate::journal::{FeedIntervals, FeedResult, Journal};
use crate::limits::DRAIN;
use crate::log::Log;
use crate::low_priority;
use crate::masked;
use crate::media::MediaWorkers;
use crate::net::tcp::Connections;
use crate::supervisor::{Supervisor, catch, install_panic_hook};
use crate::switch_thread::{Setup, SwitchHandle, SwitchMsg, SwitchThread, channel};
use crate::trunk_leader;
use crate::zoneinfo;
use opened::Opened;
use parts::{audio_store, control_facts, settings, sip_conn_limits, switch_config, workers};
use report::Report;
use tasks::{SwitchOutputs, TaskSetup, Tasks};

pub use public::{guess_address, public_host, public_ip};

/// The longest day, with any change of clocks, µs.
const LONGEST_DAY_MICROS: i64 = 26 * 3_600_000_000;

/// Options of `serve`.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// The configuration file; `None` for the default one.
    pub file: Option<PathBuf>,
    /// The data directory.
    pub data: PathBuf,
    /// Listen on all interfaces.
    pub lan: bool,
}

/// Run a server until it receives a signal to stop.
pub fn serve(options: &ServeOptions) -> Result<()> {
    let clock = Clock::start();
    let loaded = read(options)?;
    let data = DataDir::make(&options.data)?;
    let lock = data.lock()?;
    let log = Log::begin(&loaded.config.log_level, &data.log())?;
    masked::configure(loaded.config.log_numbers);
    install_panic_hook();
    let log_at_exit = log.clone();
    let supervisor = Supervisor::new(move || log_at_exit.finish());
    raise_file_limit();
    process::disable_core_dumps();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("shell")
        .enable_all()
        .build()
        .context("threads cannot be started")?;
    let low_priority = low_priority::runtime("ledger").context("threads cannot be started")?;
    let process = Process { clock, log, supervisor, low_priority: low_priority.handle().clone() };
    let serving = async {
        let server = Box::pin(Runtime::start(options, loaded.config, data, lock, &process)).await?;
        server.wait(options, &process.log).await?;
        server.close().await
    };
    let served = match catch(|| runtime.block_on(serving)) {
        Ok(served) => served,
        Err(panic) => process.supervisor.fatal("main task", &panic.0, None),
    };
    process.log.finish();
    served
}

/// Read the configuration for `serve`, with `--lan` applied.
pub fn read(options: &ServeOptions) -> Result<Loaded> {
    let mut loaded = Loaded::read(options.file.as_deref(), std::env::vars_os())?;
    if options.lan {
        public::open_to_lan(&mut loaded);
    }
    Ok(loaded)
}

/// Raise the limit of open files to the maximum: every connection and RTP port is one.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
}

/// The running server.
struct Runtime {
    config: Config,
    lock: Lock,
    store: Store,
    app: App,
    switch_handle: SwitchHandle,
    switch_thread: SwitchThread,
    workers: Arc<MediaWorkers>,
    feeder: tokio::task::JoinHandle<FeedResult>,
    http: http::Http,
    tasks: Tasks,
}

/// Resources of the process that outlive its parts.
struct Process {
    clock: Clock,
    log: Log,
    supervisor: Supervisor,
    /// Runtime of low-priority tasks.
    low_priority: tokio::runtime::Handle,
}

impl Runtime {
    async fn start(
        options: &ServeOptions,
        config: Config,
        data: DataDir,
        mut lock: Lock,
        process: &Process,
    ) -> Result<Runtime> {
        let zones = zoneinfo::install(&config.zoneinfo)?;
        let public = public_ip(&config)?;
        let (mut opened, journal_state) =
            Opened::open(&config, &data, process.clock, &process.low_priority).await?;
        let (clock, supervisor) = (process.clock, &process.supervisor);
        let keys = (opened.seal.derived("webhooks"), opened.seal.derived("pins"));
        let lag = journal_state.feeder.lag();
        let feeder = journal_state.feeder.with_day_log(DayLog::new(clock.now().wall));
        let feeding = feeder.run(Arc::new(opened.store.clone()), FeedIntervals::default());
        let voicemail_facts = (journal_state.facts, journal_state.done);
        let journal_state = (journal_state.journal, journal_state.restore);
        let started = start_switch(&config, &data, process, &mut opened, journal_state, public)?;
        let (switch_handle, switch_thread, workers, outputs) = started;
        // Records that it has not fed yet are only in the journal.
        let feeder = supervisor.essential(&process.low_priority, "feeder", feeding);

        let settings = api::Settings {
            seal: opened.seal,
            webhook_key: keys.0.clone(),
            pin_key: keys.1.clone(),
            ..settings(&config, &switch_thread.addresses)
        };
        let now: api::Clock = Arc::new(move || -> Now { clock.now() });
        let (port, rng) = (Arc::new(switch_handle.clone()), &mut opened.rng);
        let app = App::new(opened.store.clone(), opened.directory, port, settings, now, rng.fork());
        app.directory_service().loaded_at(opened.seen).await;
        app.set_process(Arc::new(Report {
            supervisor: supervisor.clone(),
            switch: switch_handle.published(),
            workers: Arc::clone(&workers),
            lag,
            log: process.log.clone(),
        }));
        let files = audio_store(&config, data.path())?;
        app.set_audio_store(Arc::new(files.clone()));
        let key_created = first_key::ensure(app.directory_service(), &data).await? == FirstKey::Created;
        let socket = control::open(data.path());
        let http = http::Http::start(
            opened.listeners,
            &api::router(app.clone()),
            &config.http.trusted_proxies,
            supervisor,
        );
        lock.publish(http.addresses.first().copied())?;
        let (config, store) = (config, opened.store);
        let reported = control_facts(options, &config, &switch_thread.addresses, &http.addresses, &zones);
        let setup = TaskSetup {
            config: &config,
            data: data.path(),
            supervisor,
            store: &store,
            app: &app,
            switch_handle: &switch_handle,
            files: &files,
            clock,
            low_priority: &process.low_priority,
        };
        let tasks = setup.start(
            rng,
            keys,
            (outputs, voicemail_facts),
            (opened.initial_state, opened.identity),
            (socket, reported),
        )?;
        let server =
            Runtime { config, lock, store, app, switch_handle, switch_thread, workers, feeder, http, tasks };
        server.switch_handle.until_listening(true).await;
        server.announce(options, &data, key_created, clock);
        Ok(server)
    }

    /// Announce that the server is ready, on the terminal and in the log.
    fn announce(&self, options: &ServeOptions, data: &DataDir, key_created: bool, clock: Clock) {
        let begin = first::StartupMessage {
            lan: options.lan,
            key_created,
            http: self.http.addresses.first().copied(),
            config: &self.config,
            listening: &self.switch_thread.addresses,
            data,
        };
        begin.print();
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            sip = %first::joined(&self.switch_thread.addresses),
            http = %first::joined(&self.http.addresses),
            started_in_ms = clock.now().instant.as_micros() / 1000,
            "ready"
        );
    }

    /// Reload on SIGHUP; on SIGTERM or SIGINT drain calls and return.
    async fn wait(&self, options: &ServeOptions, log: &Log) -> Result<()> {
        let mut sighup = signal(SignalKind::hangup())?;
        let (mut sigterm, mut sigint) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        loop {
            tokio::select! {
                _ = sighup.recv() => reload(options, &self.config, log),
                _ = sigterm.recv() => break,
                _ = sigint.recv() => break,
            }
        }
        self.drain(async {
            tokio::select! {
                _ = sigterm.recv() => {}
                _ = sigint.recv() => {}
                () = tokio::time::sleep(DRAIN) => {}
            }
        })
        .await;
        Ok(())
    }

    /// Wait for calls to end, until `impatience` resolves; then end them.
    async fn drain(&self, deadline: impl Future<Output = ()>) {
        let calls = match self.switch_handle.ask(Command::Stop { force: false }).await {
            Some(Reply::Status(status)) => status.active_calls,
            Some(_) | None => 0,
        };
        tracing::info!(calls, "stopping: no new calls are accepted; waiting for calls in progress to end");
        tokio::select! {
            () = self.switch_handle.until_listening(false) => return,
            () = deadline => {}
        }
        tracing::warn!("ending the calls that are still in progress");
        self.switch_handle.ask(Command::Stop { force: true }).await;
        let closed = tokio::time::timeout(Duration::from_secs(5), self.switch_handle.until_listening(false));
        if closed.await.is_err() {
            tracing::error!("the switch does not stop");
        }
    }

    /// Stop all parts; pending records are written first.
    async fn close(self) -> Result<()> {
        self.tasks.abort();
        self.app.begin_shutdown();
        self.http.stop().await;
        self.switch_handle.send(SwitchMsg::Quit);
        let (switch_thread, workers) = (self.switch_thread, self.workers);
        let ended = tokio::task::spawn_blocking(move || {
            switch_thread.join();
            // The switch thread held the other reference: this ends the worker threads.
            drop(workers);
        });
        ended.await.ok();
        // The switch thread has ended: the voicemail worker finishes its last effects and ends.
        if tokio::time::timeout(Duration::from_secs(5), self.tasks.finish()).await.is_err() {
            tracing::warn!(
                "the last voicemail changes are not written; they are recovered at the next start"
            );
        }
        match tokio::time::timeout(Duration::from_secs(10), self.feeder).await {
            Ok(Ok(FeedResult::All)) => {}
            Ok(Ok(FeedResult::Part) | Err(_)) | Err(_) => {
                tracing::warn!("not all records were written to the database; the rest stays in the journal");
            }
        }
        self.app.flush().await;
        trunk_leader::resign(&self.store).await;
        self.store.close().await;
        tracing::info!("stopped");
        drop(self.lock);
        Ok(())
    }
}

/// The switch thread, its media workers, and the receivers of its outputs.
type Started = (SwitchHandle, SwitchThread, Arc<MediaWorkers>, SwitchOutputs);

fn start_switch(
    config: &Config,
    data: &DataDir,
    process: &Process,
    opened: &mut Opened,
    (journal, restore): (Journal, Input),
    public: Option<IpAddr>,
) -> Result<Started> {
    let (clock, supervisor) = (process.clock, &process.supervisor);
    let (switch_handle, channels) =
        channel().context("the channels of the switch thread cannot be created")?;
    let workers = workers(config, data.path(), &mut opened.rng, clock, switch_handle.clone(), supervisor)?;
    let workers = Arc::new(workers);
    let (effects, voicemail) = tokio::sync::mpsc::unbounded_channel();
    let (changes, settings) = tokio::sync::mpsc::unbounded_channel();
    let setup = Setup {
        switch: switch::Config {
            seal: opened.seal.clone(),
            pin_key: opened.seal.derived("pins"),
            // In a cluster a node registers the trunks only after it has acquired the lease.
            register_trunks: !opened.store.is_shared(),
            ..switch_config(config, opened.epoch)
        },
        listen: config.sip.listen.clone(),
        public,
        clock,
        rng: opened.rng.fork(),
        journal,
        connections: Connections::new(opened.epoch, sip_conn_limits(config)),
        runtime: tokio::runtime::Handle::current(),
        media: Box::new(Arc::clone(&workers)),
        dns: Dns::new(&config.dns.servers, switch_handle.clone()),
        voicemail: effects,
        settings: changes,
        directory: opened.directory.clone(),
        restore,
        supervisor: supervisor.clone(),
        crashes: data.path().join("crash"),
    };
    Ok((switch_handle, SwitchThread::start(channels, setup)?, workers, SwitchOutputs { voicemail, settings }))
}

/// Reload the configuration: the log settings change at once, and the log names the keys that need a restart.
fn reload(options: &ServeOptions, running: &Config, log: &Log) {
    let loaded = match read(options) {
        Ok(loaded) => loaded,
        Err(error) => {
            tracing::error!(%error, "the configuration was not reloaded");
            return;
        }
    };
    if let Err(error) = log.reload(&loaded.config.log_level) {
        tracing::error!(%error, "the log settings were not reloaded");
        return;
    }
    let restart: Vec<&str> = crate::config::KEYS
        .iter()
        .filter(|key| key.name != "log.level" && (key.show)(running) != (key.show)(&loaded.config))
        .map(|key| key.name)
        .collect();
    tracing::info!(
        log_level = loaded.config.log_level,
        after_restart = restart.join(", "),
        "reloaded the log level and file; the keys in after_restart need a restart"
    );
}
