//! `centralita serve`: raises everything in order, waits to be told to stop, and takes it down in the opposite order.

mod first;
mod http;
mod process;
mod public;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
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
use crate::data::{self, DataDir, Lock};
use crate::dns::Dns;
use crate::exchange::{Door, Exchange, Order, Setup, prepare};
use crate::journal::{self, Fed, Journal, Rhythm};
use crate::limits::{DRAIN, SEGMENT_BYTES, StreamLimits};
use crate::log::Log;
use crate::mail;
use crate::media::{MediaConfig, MediaWorkers};
use crate::net::stream::Connections;
use crate::recording::{Keeper, Keeping, Objects, ObjectsConfig, Warehouse, WriterConfig};
use crate::schedule::{self, Beginning, Desk};
use crate::voicemail::{Clerk, Files};
use crate::webhooks::Courier;
use crate::webhooks::address::Reach;
use crate::webhooks::post::Post;

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
        let house = House::raise(options, loaded.config, data, lock, clock, ledger.handle()).await?;
        house.wait(options, &log).await?;
        house.close().await
    })
}

/// The configuration that `serve` runs under.
pub fn read(options: &ServeOptions) -> Result<Loaded> {
    let mut loaded = Loaded::read(options.file.as_deref(), std::env::vars())?;
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
        let feeder = ledger.spawn(opened.feeder.run(Arc::new(store.clone()), Rhythm::default()));

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
        app.keep_audio_in(Arc::new(warehouse.clone()));
        let recordings = Keeper::new(store.clone(), warehouse, Arc::clone(&now), keeping(&config));
        let recordings = tokio::spawn(recordings.run());
        let files = Arc::new(Files::new(data.path()));
        app.set_audio(Arc::<Files>::clone(&files));
        let bell = Arc::new(Notify::new());
        let clerk = Clerk {
            office: app.office().clone(),
            files: Arc::clone(&files),
            door: door.clone(),
            bell: Arc::clone(&bell),
            key: pin_key,
        };
        let post = post(&config)?;
        let mails = mail::Worker { post, office: app.office().clone(), audio: files, bell };
        let voicemail = [tokio::spawn(clerk.run(told)), tokio::spawn(mails.run())];
        let fresh = first::admin_key(&app, &data).await?;
        let http = http::Http::start(listeners, &api::router(app.clone()));
        lock.tell(http.addresses.first().copied())?;
        let post = Post::new(reach(&config)).context("webhooks cannot be told")?;
        let courier =
            Courier::new(store.clone(), post, webhook_key, Patience::default(), clock, chance.fork());
        let courier = tokio::spawn(courier.run());
        let (kept, follow) = (store.clone(), app.office().clone().follow());
        let retention = retention(&config);
        let keeper = tokio::spawn(async move { tokio::join!(keep(kept, clock, retention), follow).0 });
        let desk = Desk { store: store.clone(), office: app.office().clone(), door: door.clone(), clock };
        let pace = switch::schedule::Config {
            owner: identity.owner().into(),
            per_second: config.recurring_calls_per_second,
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
        self.store.close().await;
        tracing::info!("stopped");
        drop(self.lock);
        Ok(())
    }
}

fn workers(
    config: &Config,
    data: &Path,
    chance: &mut Chance,
    clock: Clock,
    door: Door,
) -> Result<MediaWorkers> {
    let listeners: Vec<(u16, IpAddr)> =
        (0..).zip(&config.sip.listen).map(|(index, listen)| (index, listen.address.ip())).collect();
    let events = Arc::new(move |event| door.put(Order::Media(event)));
    let media = MediaConfig {
        listeners,
        ports: config.media.ports.clone(),
        workers: media_workers(config),
        recordings: Some(WriterConfig {
            data: data.to_owned(),
            reserve: u64::from(config.recording.reserve_mb) * 1_000_000,
        }),
    };
    MediaWorkers::spawn(&media, chance.fork(), Arc::new(move || clock.now()), events)
        .context("the media workers do not start")
}

/// One fewer than there are cores: the exchange has one to itself.
fn media_workers(config: &Config) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if config.media.workers == 0 { (cores - 1).max(1) } else { config.media.workers }
}

/// How mails about voicemail leave.
fn post(config: &Config) -> Result<mail::Post> {
    let mailer = match &config.mail.smtp {
        Some(url) => {
            let relay = mail::Relay::parse(url.expose()).map_err(anyhow::Error::msg)?;
            Some(mail::Mailer::new(&relay).context("mail.smtp cannot be used")?)
        }
        None => None,
    };
    let from = config.mail.sender(&config.sip.domain);
    Ok(mail::Post { mailer, from, retry: Duration::from_secs(u64::from(config.mail.retry_seconds)) })
}

fn switch_config(config: &Config, epoch: u32) -> switch::Config {
    let mut aliases = config.sip.aliases.clone();
    if let crate::config::PublicAddress::Host(host) = &config.public_address {
        aliases.push(host.clone());
    }
    switch::Config {
        domain: config.sip.domain.clone(),
        aliases,
        listeners: Vec::new(),
        digest: config.sip.digest.clone(),
        calls_per_user: config.limits.calls_per_user,
        call_duration: Duration::from_secs(u64::from(config.limits.call_hours) * 3600),
        outside: config.outside_limits(),
        min_expires: Duration::from_secs(u64::from(config.sip.min_expires_seconds)),
        ladders_per_second: config.limits.ladders_per_second,
        // Node 0, shard 0, and this start: a dialog of an earlier life is never taken for one of ours.
        mark: format!("0{epoch:x}"),
        recording: switch::RecordingConfig {
            calls: config.recording.calls,
            format: config.recording.format,
            beep: config.recording.beep,
        },
        ..switch::Config::default()
    }
}

fn settings(config: &Config, listening: &[SocketAddr]) -> api::Settings {
    let schemes = config.sip.listen.iter().map(|listen| listen.transport.as_param());
    api::Settings {
        domain: config.sip.domain.clone(),
        aliases: config.sip.aliases.clone(),
        public_host: public_host(config),
        sip_port: listening.first().map_or(5060, SocketAddr::port),
        listeners: schemes.zip(listening).map(|(scheme, address)| format!("{scheme}://{address}")).collect(),
        local_admin: config.http.local_admin,
        default_timezone: config.default_timezone.clone(),
        requests_per_minute: config.limits.requests_per_minute,
        unauthenticated_per_minute: config.limits.unauthenticated_per_minute,
        insecure_webhooks: config.webhooks.allow_insecure_loopback,
        ..api::Settings::default()
    }
}

fn reach(config: &Config) -> Reach {
    if config.webhooks.allow_insecure_loopback { Reach::LoopbackToo } else { Reach::Public }
}

fn retention(config: &Config) -> Retention {
    let kept = Some(Duration::from_secs(u64::from(config.store.keep_calls_days) * 86_400));
    Retention { calls: kept, ladders: kept, events: kept }
}

/// Where recordings are kept.
fn warehouse(config: &Config, data: &Path) -> Result<Warehouse> {
    let recording = &config.recording;
    let (Some(bucket), Some(access), Some(secret)) =
        (&recording.s3_bucket, &recording.s3_access_key, &recording.s3_secret_key)
    else {
        return Ok(Warehouse::new(data, None));
    };
    let objects = Objects::open(ObjectsConfig {
        bucket: bucket.clone(),
        endpoint: recording.s3_endpoint.clone(),
        region: recording.s3_region.clone(),
        prefix: recording.s3_prefix.clone(),
        access_key: access.clone(),
        secret_key: secret.clone(),
    })
    .context("the object store of recording.s3_bucket cannot be used")?;
    Ok(Warehouse::new(data, Some(objects)))
}

fn keeping(config: &Config) -> Keeping {
    let (days, megabytes) = (config.recording.keep_days, config.recording.quota_mb);
    Keeping {
        longest: (days > 0).then(|| Duration::from_secs(u64::from(days) * 86_400)),
        quota: (megabytes > 0).then(|| u64::from(megabytes) * 1_000_000),
    }
}

/// Forget what is too old, once an hour.
async fn keep(store: Store, clock: Clock, retention: Retention) {
    let mut beat = tokio::time::interval(Duration::from_secs(3600));
    beat.tick().await;
    loop {
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
