//! Translates the configuration into the settings of each part.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use base::Rng;
use store::Retention;

use super::{ServeOptions, public_host};
use crate::clock::Clock;
use crate::config::{Config, DEFAULT_FILE, KEYS};
use crate::control::Facts;
use crate::limits::ConnLimits;
use crate::mail;
use crate::media::{MediaConfig, MediaWorkers};
use crate::recording::{AudioFileStore, Objects, ObjectsConfig, RetentionPolicy, WriterConfig};
use crate::supervisor::Supervisor;
use crate::switch_thread::{SwitchHandle, SwitchMsg};
use crate::webhooks::address::AddressPolicy;
use crate::zoneinfo::InForce;

pub(super) fn workers(
    config: &Config,
    data: &Path,
    rng: &mut Rng,
    clock: Clock,
    switch_handle: SwitchHandle,
    supervisor: &Supervisor,
) -> Result<MediaWorkers> {
    let listeners: Vec<(u16, IpAddr)> =
        (0..).zip(&config.sip.listen).map(|(index, listen)| (index, listen.address.ip())).collect();
    let events = Arc::new(move |event| switch_handle.send(SwitchMsg::Media(event)));
    let media = MediaConfig {
        listeners,
        ports: config.media.ports.clone(),
        workers: media_workers(config),
        io_uring: true,
        recordings: Some(WriterConfig {
            data: data.to_owned(),
            reserve: u64::from(config.recording.reserve_mb) * 1_000_000,
        }),
    };
    MediaWorkers::spawn(&media, rng.fork(), Arc::new(move || clock.now()), events, supervisor)
        .context("the media workers cannot be started")
}

/// Limits of SIP connections.
pub(super) fn sip_conn_limits(config: &Config) -> ConnLimits {
    ConnLimits { per_source: config.limits.connections_per_source, ..ConnLimits::default() }
}

/// One fewer than the CPU cores: the switch thread has one to itself.
fn media_workers(config: &Config) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if config.media.workers == 0 { (cores - 1).max(1) } else { config.media.workers }
}

/// Settings of outgoing e-mail.
pub(super) fn mail_config(config: &Config) -> Result<mail::MailConfig> {
    let mailer = match &config.mail.smtp {
        Some(url) => {
            let relay = mail::SmtpRelay::parse(url.expose()).map_err(anyhow::Error::msg)?;
            Some(mail::Mailer::new(&relay).context("mail.smtp cannot be used")?)
        }
        None => None,
    };
    let from = config.mail.sender(&config.sip.domain);
    Ok(mail::MailConfig { mailer, from, retry: Duration::from_secs(u64::from(config.mail.retry_seconds)) })
}

pub(super) fn switch_config(config: &Config, epoch: u32) -> switch::Config {
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
        features: config.features.clone(),
        min_expires: Duration::from_secs(u64::from(config.sip.min_expires_seconds)),
        ladders_per_second: config.limits.ladders_per_second,
        // Node 0, shard 0, and the epoch: a dialog of an earlier run is never mistaken for a current one.
        mark: format!("0{epoch:x}"),
        recording: switch::RecordingConfig {
            calls: config.recording.calls,
            format: config.recording.format,
            beep: config.recording.beep,
        },
        ..switch::Config::default()
    }
}

pub(super) fn settings(config: &Config, listening: &[SocketAddr]) -> api::Settings {
    let schemes = config.sip.listen.iter().map(|listen| listen.transport.as_param());
    api::Settings {
        domain: config.sip.domain.clone(),
        aliases: config.sip.aliases.clone(),
        public_host: public_host(config),
        sip_port: listening.first().map_or(5060, SocketAddr::port),
        listeners: schemes.zip(listening).map(|(scheme, address)| format!("{scheme}://{address}")).collect(),
        local_admin: config.http.local_admin,
        trusted_proxies: config.http.trusted_proxies.clone(),
        origins: config.http.origins.clone(),
        default_timezone: config.default_timezone.clone(),
        requests_per_minute: config.limits.requests_per_minute,
        unauthenticated_per_minute: config.limits.unauthenticated_per_minute,
        insecure_webhooks: config.webhooks.allow_insecure_loopback,
        ..api::Settings::default()
    }
}

/// The fixed part of the control socket's report.
pub(super) fn control_facts(
    options: &ServeOptions,
    config: &Config,
    sip: &[SocketAddr],
    http: &[SocketAddr],
    zones: &InForce,
) -> Facts {
    let file = options.file.as_deref().unwrap_or(Path::new(DEFAULT_FILE));
    let shown = KEYS.iter().filter_map(|key| Some((key.name.to_owned(), (key.show)(config)?)));
    Facts {
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").into(),
        sip: settings(config, sip).listeners,
        http: http.iter().map(ToString::to_string).collect(),
        lan: options.lan,
        public_host: public_host(config),
        config_file: file.exists().then(|| std::path::absolute(file).ok()).flatten(),
        settings: shown.collect(),
        time_zones: zones.to_string(),
    }
}

pub(super) fn webhook_addresses(config: &Config) -> AddressPolicy {
    if config.webhooks.allow_insecure_loopback { AddressPolicy::LoopbackToo } else { AddressPolicy::Public }
}

pub(super) fn database_retention(config: &Config) -> Retention {
    let kept = Some(Duration::from_secs(u64::from(config.store.keep_calls_days) * 86_400));
    Retention { calls: kept, ladders: kept, events: kept }
}

/// The store of recordings.
pub(super) fn audio_store(config: &Config, data: &Path) -> Result<AudioFileStore> {
    let recording = &config.recording;
    let (Some(bucket), Some(access), Some(secret)) =
        (&recording.s3_bucket, &recording.s3_access_key, &recording.s3_secret_key)
    else {
        return Ok(AudioFileStore::new(data, None));
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
    Ok(AudioFileStore::new(data, Some(objects)))
}

pub(super) fn recording_retention(config: &Config) -> RetentionPolicy {
    let (days, megabytes) = (config.recording.keep_days, config.recording.quota_mb);
    RetentionPolicy {
        max_age: (days > 0).then(|| Duration::from_secs(u64::from(days) * 86_400)),
        quota: (megabytes > 0).then(|| u64::from(megabytes) * 1_000_000),
    }
}

/// How long audio files without a database row are kept.
pub(super) fn keep_unclaimed(config: &Config) -> Option<Duration> {
    let days = config.recording.keep_unclaimed_days;
    (days > 0).then(|| Duration::from_secs(u64::from(days) * 86_400))
}
