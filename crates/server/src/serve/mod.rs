//! `centralita serve`: raises everything in order, waits to be told to stop, and takes it down in the opposite order.

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
use parts::{control_facts, settings, stream_limits, switch_config, warehouse, workers};
use report::Report;
use tasks::{FromExchange, TaskSetup, Tasks};

pub use public::{guess_address, public_host, public_ip};

/// No day is longer, however the clocks change.
const LONGEST_DAY_MICROS: i64 = 26 * 3_600_000_000;

/// What `serve` was told.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// The configuration file; the default one where `None`.
    pub file: Option<PathBuf>,
    /// The data directory.
    pub data: PathBuf,
    /// Listen on all interfaces.
    pub lan: bool,
}

/// Run a server until it is told to stop.
pub fn serve(options: &ServeOptions) -> Result<()> {
    let clock = Clock::start();
    let loaded = read(options)?;
    let data = DataDir::make(&options.data)?;
    let lock = data.lock()?;
    let log = Log::begin(&loaded.config.log_level, &data.log())?;
    masked::configure(loaded.config.log_numbers);
    install_panic_hook();
    let ending = log.clone();
    let supervisor = Supervisor::new(move || ending.finish());
    raise_file_limit();
    process::leave_no_core();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("shell")
        .enable_all()
        .build()
        .context("threads cannot be started")?;
    let low_priority = low_priority::runtime("ledger").context("threads cannot be started")?;
    let process = Process { clock, log, supervisor, low_priority: low_priority.handle().clone() };
    let serving = async {
        let house = Box::pin(Runtime::start(options, loaded.config, data, lock, &process)).await?;
        house.wait(options, &process.log).await?;
        house.close().await
    };
    let served = match catch(|| runtime.block_on(serving)) {
        Ok(served) => served,
        Err(panic) => process.supervisor.fatal("main task", &panic.0, None),
    };
    process.log.finish();
    served
}

/// The configuration that `serve` runs under.
pub fn read(options: &ServeOptions) -> Result<Loaded> {
    let mut loaded = Loaded::read(options.file.as_deref(), std::env::vars_os())?;
    if options.lan {
        public::open_to_lan(&mut loaded);
    }
    Ok(loaded)
}

/// As many files as the system allows: every connection and every RTP port is one.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Everything that runs.
struct Runtime {
    config: Config,
    lock: Lock,
    store: Store,
    app: App,
    switch_handle: SwitchHandle,
    exchange: SwitchThread,
    workers: Arc<MediaWorkers>,
    feeder: tokio::task::JoinHandle<FeedResult>,
    http: http::Http,
    tasks: Tasks,
}

/// What the process runs under.
struct Process {
    clock: Clock,
    log: Log,
    supervisor: Supervisor,
    /// Runs what gives way to calls.
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
        let (mut opened, past) = Opened::open(&config, &data, process.clock, &process.low_priority).await?;
        let (clock, supervisor) = (process.clock, &process.supervisor);
        let keys = (opened.seal.derived("webhooks"), opened.seal.derived("pins"));
        let lag = past.feeder.lag();
        let feeder = past.feeder.telling(DayLog::new(clock.now().wall));
        let feeding = feeder.run(Arc::new(opened.store.clone()), FeedIntervals::default());
        let facts = (past.facts, past.done);
        let past = (past.journal, past.restore);
        let started = start_exchange(&config, &data, process, &mut opened, past, public)?;
        let (switch_handle, exchange, workers, told) = started;
        // What it has not fed yet is known to nobody else but the journal.
        let feeder = supervisor.essential(&process.low_priority, "feeder", feeding);

        let settings = api::Settings {
            seal: opened.seal,
            webhook_key: keys.0.clone(),
            pin_key: keys.1.clone(),
            ..settings(&config, &exchange.addresses)
        };
        let now: api::Clock = Arc::new(move || -> Now { clock.now() });
        let (port, rng) = (Arc::new(switch_handle.clone()), &mut opened.rng);
        let app = App::new(opened.store.clone(), opened.directory, port, settings, now, rng.fork());
        app.directory_service().loaded_at(opened.seen).await;
        app.show_process(Arc::new(Report {
            supervisor: supervisor.clone(),
            exchange: switch_handle.published(),
            workers: Arc::clone(&workers),
            lag,
            log: process.log.clone(),
        }));
        let files = warehouse(&config, data.path())?;
        app.set_audio_store(Arc::new(files.clone()));
        let fresh = first_key::ensure(app.directory_service(), &data).await? == FirstKey::Made;
        let socket = control::open(data.path());
        let http = http::Http::start(
            opened.listeners,
            &api::router(app.clone()),
            &config.http.trusted_proxies,
            supervisor,
        );
        lock.tell(http.addresses.first().copied())?;
        let (config, store) = (config, opened.store);
        let reported = control_facts(options, &config, &exchange.addresses, &http.addresses, &zones);
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
        let tasks =
            setup.start(rng, keys, (told, facts), (opened.beginning, opened.identity), (socket, reported))?;
        let house =
            Runtime { config, lock, store, app, switch_handle, exchange, workers, feeder, http, tasks };
        house.switch_handle.until_listening(true).await;
        house.greet(options, &data, fresh, clock);
        Ok(house)
    }

    /// Say that we are there: to the person in front of the terminal, and to the log.
    fn greet(&self, options: &ServeOptions, data: &DataDir, fresh: bool, clock: Clock) {
        let begin = first::Beginning {
            lan: options.lan,
            fresh,
            http: self.http.addresses.first().copied(),
            config: &self.config,
            listening: &self.exchange.addresses,
            data,
        };
        begin.print();
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            sip = %first::joined(&self.exchange.addresses),
            http = %first::joined(&self.http.addresses),
            started_in_ms = clock.now().instant.as_micros() / 1000,
            "ready"
        );
    }

    /// Until somebody wants us to stop.
    async fn wait(&self, options: &ServeOptions, log: &Log) -> Result<()> {
        let mut hang_up = signal(SignalKind::hangup())?;
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        loop {
            tokio::select! {
                _ = hang_up.recv() => reload(options, &self.config, log),
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
        }
        self.drain(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                () = tokio::time::sleep(DRAIN) => {}
            }
        })
        .await;
        Ok(())
    }

    /// Let calls end, until `impatience`.
    async fn drain(&self, impatience: impl Future<Output = ()>) {
        let calls = match self.switch_handle.ask(Command::Stop { force: false }).await {
            Some(Reply::Status(status)) => status.active_calls,
            Some(_) | None => 0,
        };
        tracing::info!(calls, "stopping: no new calls; calls in progress may end");
        tokio::select! {
            () = self.switch_handle.until_listening(false) => return,
            () = impatience => {}
        }
        tracing::warn!("calls in progress are ended");
        self.switch_handle.ask(Command::Stop { force: true }).await;
        let closed = tokio::time::timeout(Duration::from_secs(5), self.switch_handle.until_listening(false));
        if closed.await.is_err() {
            tracing::error!("the exchange does not stop");
        }
    }

    /// Take everything down; what is known is written before the end.
    async fn close(self) -> Result<()> {
        self.tasks.abort();
        self.app.hang_up();
        self.http.stop().await;
        self.switch_handle.put(SwitchMsg::Quit);
        let (exchange, workers) = (self.exchange, self.workers);
        let ended = tokio::task::spawn_blocking(move || {
            exchange.join();
            // The exchange held the other half: this ends the threads.
            drop(workers);
        });
        ended.await.ok();
        // The exchange is gone: the clerk writes what it told last, and ends.
        if tokio::time::timeout(Duration::from_secs(5), self.tasks.last()).await.is_err() {
            tracing::warn!("what was told of voicemail last is not written; it is found at the next start");
        }
        match tokio::time::timeout(Duration::from_secs(10), self.feeder).await {
            Ok(Ok(FeedResult::All)) => {}
            Ok(Ok(FeedResult::Part) | Err(_)) | Err(_) => {
                tracing::warn!("the database has not taken everything; the rest stays in the journal");
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

/// The exchange and its media workers, and what the exchange tells others to do.
type Started = (SwitchHandle, SwitchThread, Arc<MediaWorkers>, FromExchange);

fn start_exchange(
    config: &Config,
    data: &DataDir,
    process: &Process,
    opened: &mut Opened,
    (journal, restore): (Journal, Input),
    public: Option<IpAddr>,
) -> Result<Started> {
    let (clock, supervisor) = (process.clock, &process.supervisor);
    let (switch_handle, desk) = channel().context("the exchange cannot be made")?;
    let workers = workers(config, data.path(), &mut opened.rng, clock, switch_handle.clone(), supervisor)?;
    let workers = Arc::new(workers);
    let (notes, voicemail) = tokio::sync::mpsc::unbounded_channel();
    let (changes, settings) = tokio::sync::mpsc::unbounded_channel();
    let setup = Setup {
        switch: switch::Config {
            seal: opened.seal.clone(),
            pin_key: opened.seal.derived("pins"),
            // Where others may have it, it is asked for first.
            register_trunks: !opened.store.is_shared(),
            ..switch_config(config, opened.epoch)
        },
        listen: config.sip.listen.clone(),
        public,
        clock,
        rng: opened.rng.fork(),
        journal,
        connections: Connections::new(opened.epoch, stream_limits(config)),
        runtime: tokio::runtime::Handle::current(),
        voice: Box::new(Arc::clone(&workers)),
        dns: Dns::new(&config.dns.servers, switch_handle.clone()),
        notes,
        settings: changes,
        directory: opened.directory.clone(),
        restore,
        supervisor: supervisor.clone(),
        crashes: data.path().join("crash"),
    };
    Ok((switch_handle, SwitchThread::start(desk, setup)?, workers, FromExchange { voicemail, settings }))
}

/// Read the configuration anew: the log's level changes at once, and the operator is told what needs a restart.
fn reload(options: &ServeOptions, running: &Config, log: &Log) {
    let loaded = match read(options) {
        Ok(loaded) => loaded,
        Err(error) => {
            tracing::error!(%error, "the configuration is not reloaded");
            return;
        }
    };
    if let Err(error) = log.reload(&loaded.config.log_level) {
        tracing::error!(%error, "the log is not reloaded");
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
        "reloaded: the log's level and file; the keys named need a restart"
    );
}
