//! What every request can reach.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base::{Now, Rng, Secret};
use ipnet::IpNet;
use model::{Cause, Directory, SealKey};
use store::Store;
use switch::{Command, Reply};
use tokio::sync::watch;

use crate::audio_store::{AudioFile, AudioStore, EmptyShelf};
use crate::error::{ApiError, Fault};
use crate::event_subscribers::EventSubscribers;
use crate::idempotency::IdempotencyCache;
use crate::limits::{FOLLOWER_PATIENCE, HEARTBEAT_LIMIT, Limits};
use crate::usage::Usage;
use crate::{DirectoryService, Process, SwitchPort};

/// What time it is; the shell reads the clocks.
pub type Clock = Arc<dyn Fn() -> Now + Send + Sync>;

/// How often the use of keys is written.
const USAGE_INTERVAL: Duration = Duration::from_secs(5);

/// What the configuration says that concerns the API.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The SIP domain, which is the digest realm (S41).
    pub domain: String,
    /// Further names and addresses of the domain.
    pub aliases: Vec<String>,
    /// The address that phones are told (S43), without a port.
    pub public_host: String,
    /// The port that phones are told.
    pub sip_port: u16,
    /// The SIP listeners as people read them, `udp://127.0.0.1:5060` (S36).
    pub listeners: Vec<String>,
    /// Trust loopback without a key (S20).
    pub local_admin: bool,
    /// Reverse proxies whose `X-Forwarded-For` or `Forwarded` names the client.
    pub trusted_proxies: Vec<IpNet>,
    /// Origins of web pages that may use the API from a browser (CORS).
    pub origins: Vec<String>,
    /// Of one key, where the key does not say (S28).
    pub requests_per_minute: u32,
    /// Of one source without a valid key.
    pub unauthenticated_per_minute: u32,
    /// Seals the passwords of trunks.
    pub seal: SealKey,
    /// Whether Twilio can be reached (S49, S54).
    pub twilio: bool,
    /// Proves PINs of voicemail.
    pub pin_key: model::voicemail::PinKey,
    /// The zone of schedules that name none (S78).
    pub default_timezone: String,
    /// Of this program.
    pub version: String,
    /// What secrets of webhooks and the seals of kept answers are derived from; the shell keeps it beside the database.
    pub webhook_key: Secret<[u8; 32]>,
    /// Whether webhooks may be posted to this machine over plain HTTP: for trials.
    pub insecure_webhooks: bool,
    /// How long the queue of who follows events may be full before he is cut.
    pub follower_patience: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            domain: "localhost".into(),
            aliases: Vec::new(),
            public_host: "127.0.0.1".into(),
            sip_port: 5060,
            listeners: Vec::new(),
            local_admin: false,
            trusted_proxies: Vec::new(),
            origins: Vec::new(),
            requests_per_minute: 100,
            unauthenticated_per_minute: 30,
            seal: SealKey::default(),
            twilio: false,
            pin_key: base::Secret::default(),
            default_timezone: "UTC".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            webhook_key: Secret::new([0; 32]),
            insecure_webhooks: false,
            follower_patience: FOLLOWER_PATIENCE,
        }
    }
}

impl Settings {
    /// `sip:user_1234567890@sip.nexus-core.com` (S42).
    pub(crate) fn sip_uri(&self, username: &str) -> String {
        format!("sip:{username}@{}", self.domain)
    }

    /// Where phones send to (S43).
    pub(crate) fn proxy_server(&self) -> String {
        format!("{}:{}", bracketed(&self.public_host), self.sip_port)
    }

    /// Whether a host, with a port or without, is ours.
    pub(crate) fn is_own_host(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
            Some(_) | None => host,
        };
        let bare = |text: &str| text.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let own = [&self.domain, &self.public_host].into_iter().chain(&self.aliases);
        let (name, whole) = (bare(name), bare(host));
        own.map(|own| bare(own)).any(|own| own == name || own == whole)
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

struct Inner {
    directory_service: DirectoryService,
    settings: Settings,
    limits: Limits,
    usage: Usage,
    followers: EventSubscribers,
    repeats: IdempotencyCache,
    closing: watch::Sender<bool>,
    shelf: OnceLock<Arc<dyn AudioStore>>,
    process: OnceLock<Arc<dyn Process>>,
    started: Now,
}

/// The API. Clones share everything.
#[derive(Clone)]
pub struct App {
    inner: Arc<Inner>,
}

impl App {
    /// An API over what was loaded.
    pub fn new(
        store: Store,
        directory: Directory,
        port: Arc<dyn SwitchPort>,
        settings: Settings,
        clock: Clock,
        mut rng: Rng,
    ) -> App {
        let (limits, started) = (Limits::new(&mut rng), clock());
        let directory_service =
            DirectoryService::new(store, directory, port, settings.domain.clone(), clock, rng);
        let inner = Arc::new(Inner {
            directory_service,
            settings,
            limits,
            usage: Usage::default(),
            followers: EventSubscribers::default(),
            repeats: IdempotencyCache::default(),
            closing: watch::Sender::new(false),
            shelf: OnceLock::new(),
            process: OnceLock::new(),
            started,
        });
        App { inner }
    }

    /// Where everything is written.
    pub fn directory_service(&self) -> &DirectoryService {
        &self.inner.directory_service
    }

    /// Write down the use of keys now and then, for as long as this is polled.
    pub async fn write_usage(self) {
        loop {
            tokio::time::sleep(USAGE_INTERVAL).await;
            self.flush().await;
        }
    }

    /// Say what process this is: once, before the first request.
    pub fn show_process(&self, process: Arc<dyn Process>) {
        self.inner.process.set(process).ok();
    }

    pub(crate) fn process(&self) -> Option<&dyn Process> {
        self.inner.process.get().map(|process| &**process)
    }

    /// Write down what is only counted in memory: call it before the process ends.
    pub async fn flush(&self) {
        self.inner.usage.flush(self.inner.directory_service.store()).await;
    }

    /// Tell those who follow events to come back later: call it before the listeners are closed.
    pub fn hang_up(&self) {
        self.inner.closing.send_replace(true);
    }

    pub(crate) fn closing(&self) -> watch::Receiver<bool> {
        self.inner.closing.subscribe()
    }

    pub(crate) fn followers(&self) -> &EventSubscribers {
        &self.inner.followers
    }

    pub(crate) fn repeats(&self) -> &IdempotencyCache {
        &self.inner.repeats
    }

    /// Say where audio is: once, before the first request.
    pub fn set_audio_store(&self, shelf: Arc<dyn AudioStore>) {
        self.inner.shelf.set(shelf).ok();
    }

    pub(crate) fn shelf(&self) -> &dyn AudioStore {
        self.inner.shelf.get().map_or(&EmptyShelf as &dyn AudioStore, |shelf| &**shelf)
    }

    /// Remove audio of voicemail whose row is gone. What stays is found by the shell's next start.
    pub(crate) async fn discard(&self, name: String) {
        if let Err(error) = self.shelf().remove(AudioFile::voicemail(name)).await {
            tracing::warn!(%error, "a file of voicemail cannot be deleted");
        }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    pub(crate) fn usage(&self) -> &Usage {
        &self.inner.usage
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.directory_service().now().instant.since(self.inner.started.instant)
    }

    /// Ask the exchange. Its refusals are ours; silence is 503. How long it may be silent is the port's to say: it holds a place in the
    /// queue until then.
    pub(crate) async fn ask(&self, command: Command) -> Result<Reply, ApiError> {
        match self.directory_service().port().ask(command).await {
            Some(Reply::Refused(cause)) => Err(ApiError::from(cause)),
            Some(reply) => Ok(reply),
            None => Err(Fault::SwitchAway.into()),
        }
    }

    /// Whether the exchange's loop goes round. True before its first iteration: it is being started.
    pub(crate) fn loop_alive(&self) -> bool {
        let heartbeat = self.directory_service().port().heartbeat();
        heartbeat.is_none_or(|at| self.directory_service().now().instant.since(at) <= HEARTBEAT_LIMIT)
    }

    /// How the exchange was doing when it last published that.
    pub(crate) fn published(&self) -> Option<Arc<switch::Status>> {
        self.directory_service().port().status()
    }

    /// How the exchange is doing.
    pub(crate) async fn status(&self) -> Result<switch::Status, ApiError> {
        match self.ask(Command::Status).await? {
            Reply::Status(status) => Ok(status),
            other => Err(out_of_turn(&other)),
        }
    }
}

/// An answer to another question than ours.
pub(crate) fn out_of_turn(reply: &Reply) -> ApiError {
    tracing::error!(?reply, "the exchange answered another question");
    Cause::Internal.into()
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").finish_non_exhaustive()
    }
}
