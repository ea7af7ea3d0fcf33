//! `centralita serve`: raises everything in order, waits to be told to stop, and takes it down in the opposite order.

mod first;
mod http;
mod parts;
mod process;
mod public;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use api::App;
use base::{Chance, Now, Timestamp};
use model::Patience;
use store::{Retention, Store};
use switch::{Command, Reply};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::background;
use crate::clock::Clock;
use crate::config::{Config, Loaded};
use crate::control;
use crate::data::{self, DataDir, Lock};
use crate::day_log::{self, DayLog};
use crate::dns::Dns;
use crate::duty;
use crate::exchange::{Door, Exchange, Order, Setup, prepare};
use crate::journal::{self, Fed, Journal, Rhythm};
use crate::limits::{DRAIN, SEGMENT_BYTES, StreamLimits};
use crate::log::Log;
use crate::mail;
use crate::masked;
use crate::media::MediaWorkers;
use crate::net::stream::Connections;
use crate::recording::{Keeper, Warehouse};
use crate::schedule::{self, Beginning, Desk};
use crate::voicemail::Clerk;
use crate::webhooks::Courier;
use crate::webhooks::post::Post;
use crate::zoneinfo;
use parts::{control_facts, keeping, post, reach, retention, settings, switch_config, warehouse, workers};

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
    masked::configure(loaded.config.log_numbers);
    let log = Log::begin(&loaded.config.log_level, &data.log())?;
    raise_file_limit();
    process::leave_no_core();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("shell")
        .enable_all()
        .build()
        .context("threads cannot be started")?;
    let ledger = background::runtime("ledger").context("threads cannot be started")?;
    runtime.block_on(async {
        let house =
            Box::pin(House::raise(options, loaded.config, data, lock, clock, ledger.handle())).await?;
        house.wait(options, &log).await?;
        house.close().await
    })
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
struct House {
    config: Config,
    lock: Lock,
    store: Store,
    app: App,
    door: Door,
    exchange: Exchange,
    workers: Arc<MediaWorkers>,
    feeder: tokio::task::JoinHandle<Fed>,
    http: http::Http,
    keeper: tokio::task::JoinHandle<()>,
    courier: tokio::task::JoinHandle<()>,
    recordings: tokio::task::JoinHandle<()>,
    scheduler: tokio::task::JoinHandle<()>,
    /// The clerk, and who sends its mails.
    voicemail: [tokio::task::JoinHandle<()>; 2],
}

impl House {
    async fn raise(
        options: &ServeOptions,
        config: Config,
        data: DataDir,
        mut lock: Lock,
        clock: Clock,
        ledger: &tokio::runtime::Handle,
    ) -> Result<House> {
        let mut chance = Chance::from_seed(data::seed()?);
        let zones = zoneinfo::install(&config.zoneinfo)?;
        let public = public_ip(&config)?;
        // The API's sockets are opened first: who finds them taken must not have touched the database.
        let listeners = http::bind(&config.http.listen).await?;
        let epoch = data.begin_epoch()?;
        let seal = data.seal_key(&mut chance)?;
        let store = Store::open(config.store.url.expose(), data.path())
            .await
            .context("the database does not open")?;
        let seen = store.outbox_seq().await.context("the database cannot be read")?;
        let mut directory = store.load_directory().await.context("the database cannot be read")?;
        directory.set_rules(config.dial_rules());
        let mut remembered = store.remembered().await.context("the database cannot be read")?;
        let yesterday = Timestamp::from_micros(clock.now().wall.as_micros() - LONGEST_DAY_MICROS);
        remembered.outside = store.outside_since(yesterday).await.context("the database cannot be read")?;
        // Read in a hurry, written at leisure: the thread of the writer that stays gives way too.
        store.close().await;
        let (url, path) = (config.store.url.clone(), data.path().to_owned());
        let store = ledger
            .spawn(async move { Store::open(url.expose(), &path).await })
            .await?
            .context("the database does not open")?;
        let opened =
            Journal::open(&journal::dir(data.path()), SEGMENT_BYTES).context("the journal cannot be read")?;
        for fault in &opened.faults {
            tracing::error!(fault, "the journal is damaged");
        }
        let restore = journal::restore(remembered, &opened.pending);
        let identity = schedule::identity(&data, epoch)?;
        let beginning = Beginning::read(&store, &opened.pending, &identity).await?;
        drop(opened.pending);

        let (door, desk) = prepare().context("the exchange cannot be made")?;
        let workers = Arc::new(workers(&config, data.path(), &mut chance, clock, door.clone())?);
        let voice = Arc::clone(&workers);
        let (notes, told) = tokio::sync::mpsc::unbounded_channel();
        let pin_key = seal.derived("pins");
        let limits =
            StreamLimits { per_source: config.limits.connections_per_source, ..StreamLimits::default() };
        let exchange = Exchange::start(
            desk,
            Setup {
                switch: switch::Config {
                    seal: seal.clone(),
                    pin_key: pin_key.clone(),
                    // Where others may have it, it is asked for first.
                    registrar: !store.is_shared(),
                    ..switch_config(&config, epoch)
                },
                listen: config.sip.listen.clone(),
                public,
                clock,
                chance: chance.fork(),
                journal: opened.journal,
                connections: Connections::new(epoch, limits),
                runtime: tokio::runtime::Handle::current(),
                voice: Box::new(move |worker, commands| voice.send_batch(worker, commands)),
                dns: Dns::new(&config.dns.servers, door.clone()),
                notes,
                directory: directory.clone(),
                restore,
            },
        )?;
        let feeder = opened.feeder.telling(DayLog::new(clock.now().wall));
        let feeder = ledger.spawn(feeder.run(Arc::new(store.clone()), Rhythm::default()));

        let webhook_key = seal.derived("webhooks");
        let settings = api::Settings {
            seal,
            webhook_key: webhook_key.clone(),
            pin_key: pin_key.clone(),
            ..settings(&config, &exchange.addresses)
        };
        let now: api::Clock = Arc::new(move || -> Now { clock.now() });
        let app = App::new(
            store.clone(),
            directory,
            Arc::new(door.clone()),
            settings,
            Arc::clone(&now),
            chance.fork(),
        );
        app.office().loaded_at(seen).await;
        let warehouse = warehouse(&config, data.path())?;
        let audio = Arc::new(warehouse.clone());
        app.keep_audio_in(Arc::<Warehouse>::clone(&audio));
        let recordings = Keeper::new(store.clone(), warehouse.clone(), Arc::clone(&now), keeping(&config));
        let recordings = tokio::spawn(recordings.run());
        let bell = Arc::new(Notify::new());
        let clerk = Clerk {
            office: app.office().clone(),
            files: warehouse,
            door: door.clone(),
            bell: Arc::clone(&bell),
            key: pin_key,
        };
        let post = post(&config)?;
        let mails = mail::Worker { post, office: app.office().clone(), audio, bell };
        let voicemail = [tokio::spawn(clerk.run(told)), tokio::spawn(mails.run())];
        let fresh = first::admin_key(&app, &data).await?;
        let socket = control::open(data.path());
        let http = http::Http::start(listeners, &api::router(app.clone()));
        lock.tell(http.addresses.first().copied())?;
        let post = Post::new(reach(&config));
        let courier =
            Courier::new(store.clone(), post, webhook_key, Patience::default(), clock, chance.fork());
        let courier = tokio::spawn(courier.run());
        let (kept, follow) = (store.clone(), app.office().clone().follow());
        let trunks = day_log::watch_trunks(door.clone());
        let facts = control_facts(options, &config, &exchange.addresses, &http.addresses, &zones);
        let control = control::answer(socket, facts, door.clone(), store.clone());
        let retention = retention(&config);
        let duty = duty::watch(store.clone(), door.clone(), clock);
        let keeper = tokio::spawn(async move {
            tokio::join!(keep(kept, clock, retention), follow, duty, control, trunks).0;
        });
        let desk = Desk {
            store: store.clone(),
            office: app.office().clone(),
            door: door.clone(),
            clock,
            data: data.path().to_owned(),
        };
        let pace = switch::schedule::Config {
            owner: identity.owner().into(),
            per_second: config.recurring_calls_per_second,
            shared: store.is_shared(),
        };
        let scheduler = tokio::spawn(schedule::run(desk, pace, chance.fork(), beginning));
        let house = House {
            config,
            lock,
            store,
            app,
            door,
            exchange,
            workers,
            feeder,
            http,
            keeper,
            courier,
            recordings,
            scheduler,
            voicemail,
        };
        house.door.until_listening(true).await;
        let begin = first::Beginning {
            lan: options.lan,
            fresh,
            http: house.http.addresses.first().copied(),
            config: &house.config,
            listening: &house.exchange.addresses,
            data: &data,
        };
        begin.print();
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            sip = %first::joined(&house.exchange.addresses),
            http = %first::joined(&house.http.addresses),
            started_in_ms = clock.now().instant.as_micros() / 1000,
            "ready"
        );
        Ok(house)
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
        let calls = match self.door.ask(Command::Stop { force: false }).await {
            Some(Reply::Status(status)) => status.active_calls,
            Some(_) | None => 0,
        };
        tracing::info!(calls, "stopping: no new calls; calls in progress may end");
        tokio::select! {
            () = self.door.until_listening(false) => return,
            () = impatience => {}
        }
        tracing::warn!("calls in progress are ended");
        self.door.ask(Command::Stop { force: true }).await;
        let closed = tokio::time::timeout(Duration::from_secs(5), self.door.until_listening(false));
        if closed.await.is_err() {
            tracing::error!("the exchange does not stop");
        }
    }

    /// Take everything down; what is known is written before the end.
    async fn close(self) -> Result<()> {
        self.keeper.abort();
        self.scheduler.abort();
        self.courier.abort();
        self.recordings.abort();
        self.app.hang_up();
        self.http.stop().await;
        self.door.put(Order::Quit);
        let (exchange, workers) = (self.exchange, self.workers);
        let ended = tokio::task::spawn_blocking(move || {
            exchange.join();
            // The exchange held the other half: this ends the threads.
            drop(workers);
        });
        ended.await.ok();
        // The exchange is gone: the clerk writes what it told last, and ends.
        let [clerk, mails] = self.voicemail;
        mails.abort();
        if tokio::time::timeout(Duration::from_secs(5), clerk).await.is_err() {
            tracing::warn!("what was told of voicemail last is not written; it is found at the next start");
        }
        match tokio::time::timeout(Duration::from_secs(10), self.feeder).await {
            Ok(Ok(Fed::All)) => {}
            Ok(Ok(Fed::Part) | Err(_)) | Err(_) => {
                tracing::warn!("the database has not taken everything; the rest stays in the journal");
            }
        }
        self.app.flush().await;
        duty::resign(&self.store).await;
        self.store.close().await;
        tracing::info!("stopped");
        drop(self.lock);
        Ok(())
    }
}

/// Forget what is too old, once an hour.
async fn keep(store: Store, clock: Clock, retention: Retention) {
    let mut beat = tokio::time::interval(Duration::from_secs(3600));
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
