//! Shared state of all request handlers.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base::{Now, Rng, Secret};
use ipnet::IpNet;
use model::{Cause, Directory, SealKey};
use store::Store;
use switch::{Command, Reply};
use tokio::sync::watch;

use crate::audio_store::{AudioFile, AudioStore, NoAudioStore};
use crate::error::{ApiError, Fault};
use crate::event_subscribers::EventSubscribers;
use crate::idempotency::IdempotencyCache;
use crate::limits::{HEARTBEAT_LIMIT, Limits, SUBSCRIBER_TIMEOUT};
use crate::usage::Usage;
use crate::{DirectoryService, Process, SwitchPort};

/// Reads the current time. The API itself never reads a clock.
pub type Clock = Arc<dyn Fn() -> Now + Send + Sync>;

/// Interval at which counted key uses are written to the database.
const USAGE_INTERVAL: Duration = Duration::from_secs(5);

/// The part of the configuration that the API needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// SIP domain, which is also the digest realm (S41).
    pub domain: String,
    /// Further names and addresses of the domain.
    pub aliases: Vec<String>,
    /// Address given to phones as their SIP server (S43), without a port.
    pub public_host: String,
    /// Port given to phones as their SIP port.
    pub sip_port: u16,
    /// SIP listeners for display, such as `udp://127.0.0.1:5060` (S36).
    pub listeners: Vec<String>,
    /// Trust requests from loopback without a key (S20).
    pub local_admin: bool,
    /// Reverse proxies whose `X-Forwarded-For` or `Forwarded` header names the client.
    pub trusted_proxies: Vec<IpNet>,
    /// Origins of web pages that may use the API from a browser (CORS).
    pub origins: Vec<String>,
    /// Requests per minute of one key that has no limit of its own (S28).
    pub requests_per_minute: u32,
    /// Requests per minute of one source address without a valid key.
    pub unauthenticated_per_minute: u32,
    /// Encrypts the passwords of trunks.
    pub seal: SealKey,
    /// Whether Twilio is configured (S49, S54).
    pub twilio: bool,
    /// Key of the voicemail PIN hashes.
    pub pin_key: model::voicemail::PinKey,
    /// Time zone of schedules that name none (S78).
    pub default_timezone: String,
    /// Version of this program.
    pub version: String,
    /// Key from which webhook secrets and the keys of stored idempotent responses are derived. It is kept beside the database.
    pub webhook_key: Secret<[u8; 32]>,
    /// Allow webhooks to this machine over plain HTTP, for trials.
    pub insecure_webhooks: bool,
    /// How long the queue of an event subscriber may stay full before the subscriber is disconnected.
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
            follower_patience: SUBSCRIBER_TIMEOUT,
        }
    }
}

impl Settings {
    /// `sip:user_1234567890@sip.nexus-core.com` (S42).
    pub(crate) fn sip_uri(&self, username: &str) -> String {
        format!("sip:{username}@{}", self.domain)
    }

    /// `host:port` to which phones send SIP (S43).
    pub(crate) fn proxy_server(&self) -> String {
        format!("{}:{}", bracketed(&self.public_host), self.sip_port)
    }

    /// Whether a host, with or without a port, is a name or address of this server.
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
    event_subscribers: EventSubscribers,
    idempotency_cache: IdempotencyCache,
    shutting_down: watch::Sender<bool>,
    audio_store: OnceLock<Arc<dyn AudioStore>>,
    process: OnceLock<Arc<dyn Process>>,
    started: Now,
}

/// The API. Clones share all state.
#[derive(Clone)]
pub struct App {
    inner: Arc<Inner>,
}

impl App {
    /// Create the API over a loaded directory.
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
            event_subscribers: EventSubscribers::default(),
            idempotency_cache: IdempotencyCache::default(),
            shutting_down: watch::Sender::new(false),
            audio_store: OnceLock::new(),
            process: OnceLock::new(),
            started,
        });
        App { inner }
    }

    /// The service through which every change is written.
    pub fn directory_service(&self) -> &DirectoryService {
        &self.inner.directory_service
    }

    /// Write counted key uses to the database every few seconds, for as long as this future is polled.
    pub async fn write_usage(self) {
        loop {
            tokio::time::sleep(USAGE_INTERVAL).await;
            self.flush().await;
        }
    }

    /// Set the source of task states and process metrics. Call it once, before the first request.
    pub fn set_process(&self, process: Arc<dyn Process>) {
        self.inner.process.set(process).ok();
    }

    pub(crate) fn process(&self) -> Option<&dyn Process> {
        self.inner.process.get().map(|process| &**process)
    }

    /// Write the counters that are only in memory. Call it before the process ends.
    pub async fn flush(&self) {
        self.inner.usage.flush(self.inner.directory_service.store()).await;
    }

    /// Disconnect event subscribers with a hint to reconnect later. Call it before the listeners are closed.
    pub fn begin_shutdown(&self) {
        self.inner.shutting_down.send_replace(true);
    }

    pub(crate) fn shutting_down(&self) -> watch::Receiver<bool> {
        self.inner.shutting_down.subscribe()
    }

    pub(crate) fn event_subscribers(&self) -> &EventSubscribers {
        &self.inner.event_subscribers
    }

    pub(crate) fn idempotency_cache(&self) -> &IdempotencyCache {
        &self.inner.idempotency_cache
    }

    /// Set the audio storage. Call it once, before the first request.
    pub fn set_audio_store(&self, audio_store: Arc<dyn AudioStore>) {
        self.inner.audio_store.set(audio_store).ok();
    }

    pub(crate) fn audio_store(&self) -> &dyn AudioStore {
        self.inner.audio_store.get().map_or(&NoAudioStore as &dyn AudioStore, |audio_store| &**audio_store)
    }

    /// Delete a voicemail file whose row is gone. A file that cannot be deleted is removed by the sweep at the next start.
    pub(crate) async fn delete_voicemail_file(&self, name: String) {
        if let Err(error) = self.audio_store().remove(AudioFile::voicemail(name)).await {
            tracing::warn!(%error, "a voicemail file could not be deleted");
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

    /// Send a command to the switch. A refusal becomes its API error, no reply becomes 503. The port sets the timeout: the command occupies a place
    /// in the queue until then.
    pub(crate) async fn ask(&self, command: Command) -> Result<Reply, ApiError> {
        match self.directory_service().port().ask(command).await {
            Some(Reply::Refused(cause)) => Err(ApiError::from(cause)),
            Some(reply) => Ok(reply),
            None => Err(Fault::SwitchUnavailable.into()),
        }
    }

    /// Whether the switch's event loop is iterating. True before its first iteration, because the server is still starting.
    pub(crate) fn is_loop_alive(&self) -> bool {
        let heartbeat = self.directory_service().port().heartbeat();
        heartbeat.is_none_or(|at| self.directory_service().now().instant.since(at) <= HEARTBEAT_LIMIT)
    }

    /// The status last published by the switch; `None` before the first.
    pub(crate) fn published_status(&self) -> Option<Arc<switch::Status>> {
        self.directory_service().port().status()
    }

    /// Ask the switch for its current status.
    pub(crate) async fn status(&self) -> Result<switch::Status, ApiError> {
        match self.ask(Command::Status).await? {
            Reply::Status(status) => Ok(status),
            other => Err(unexpected_reply(&other)),
        }
    }
}

/// Log a reply that does not belong to the command, and make it a 500.
pub(crate) fn unexpected_reply(reply: &Reply) -> ApiError {
    tracing::error!(?reply, "the switch sent an unexpected reply");
    Cause::Internal.into()
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").finish_non_exhaustive()
    }
}
