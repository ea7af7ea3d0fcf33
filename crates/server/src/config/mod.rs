//! Configuration read before the database is opened: one TOML file, the environment, and a `.env` file beside the TOML file.

mod dotenv;
mod keys;
mod layers;
mod nearest;
mod spanish;
mod values;

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use base::Secret;
use sip::Transport;
use sip::digest::Algorithm;

pub use crate::masked::Numbers;
use crate::tr;

pub use keys::{KEYS, Key};
pub use layers::{Origin, Setting, Value};
pub use values::without_password;

/// The effective configuration: the defaults, then the file, then `.env`, then the environment.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// The address advertised in SDP and Contact.
    pub public_address: PublicAddress,
    /// HTTP settings.
    pub http: Http,
    /// SIP settings.
    pub sip: Sip,
    /// DNS settings.
    pub dns: Dns,
    /// Media settings.
    pub media: Media,
    /// The database.
    pub store: Store,
    /// Recordings.
    pub recording: Recording,
    /// Limits.
    pub limits: Limits,
    /// Dial policy.
    pub dialling: Dialling,
    /// Feature codes.
    pub features: switch::FeatureCodes,
    /// Webhook settings.
    pub webhooks: Webhooks,
    /// E-mail notifications of voicemail.
    pub mail: Mail,
    /// Time zone of schedules without one (S78).
    pub default_timezone: String,
    /// Recurring calls started per second at most.
    pub recurring_calls_per_second: u32,
    /// Log level: a `tracing` filter, `info` or `info,server=debug`.
    pub log_level: String,
    /// How phone numbers are written to the log.
    pub log_numbers: Numbers,
    /// Source of the time zone data.
    pub zoneinfo: Zoneinfo,
    /// Twilio settings of the seed documents, used by trunks.
    pub twilio: Twilio,
}

/// The address advertised to phones.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum PublicAddress {
    /// The listener's own address or, for a wildcard, the one that the peer used.
    #[default]
    Auto,
    /// This address or name.
    Host(String),
}

/// Source of the time zone data (RFC 6557 §2: rules change faster than software is released).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Zoneinfo {
    /// The newer of the built-in and the system's data.
    #[default]
    Auto,
    /// The built-in data.
    Builtin,
    /// The system's data.
    System,
    /// A directory of compiled zones (`zic -d`).
    Folder(PathBuf),
}

impl fmt::Display for Zoneinfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Zoneinfo::Auto => f.write_str("auto"),
            Zoneinfo::Builtin => f.write_str("builtin"),
            Zoneinfo::System => f.write_str("system"),
            Zoneinfo::Folder(path) => write!(f, "{}", path.display()),
        }
    }
}

/// HTTP settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Http {
    /// Addresses of the listeners.
    pub listen: Vec<SocketAddr>,
    /// Whether a client on loopback without a key is an administrator (S20).
    pub local_admin: bool,
    /// Reverse proxies whose `Forwarded` headers are trusted.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// Origins of web pages that may use the API (CORS).
    pub origins: Vec<String>,
}

/// SIP settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sip {
    /// Digest realm, and domain of our SIP addresses.
    pub domain: String,
    /// Further names that are accepted as our domain.
    pub aliases: Vec<String>,
    /// The digest algorithms to challenge with.
    pub digest: Vec<Algorithm>,
    /// The listeners.
    pub listen: Vec<Listen>,
    /// The shortest accepted registration, seconds.
    pub min_expires_seconds: u32,
    /// Extension for inbound numbers without a route (S106).
    pub default_extension: Option<String>,
}

/// One SIP listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listen {
    /// Transport protocol.
    pub transport: Transport,
    /// Address and port.
    pub address: SocketAddr,
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.transport.as_param(), self.address)
    }
}

/// DNS settings.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Dns {
    /// Name servers with ports; those of the system if empty.
    pub servers: Vec<SocketAddr>,
}

/// Media settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Media {
    /// Port range: RTP on even, RTCP on odd ports.
    pub ports: RangeInclusive<u16>,
    /// Media worker threads; 0: chosen by the number of CPU cores.
    pub workers: usize,
}

/// The database.
#[derive(Clone, PartialEq, Debug)]
pub struct Store {
    /// `sqlite:` and a path relative to the data directory, or `postgres://…`.
    pub url: Secret<String>,
    /// Days that ended calls are kept.
    pub keep_calls_days: u32,
}

/// Recordings (S177).
#[derive(Clone, PartialEq, Debug)]
pub struct Recording {
    /// Which calls are recorded for extensions without their own setting: `none`, `inbound`, `outbound`, `all`.
    pub calls: model::RecordCalls,
    /// File format.
    pub format: model::RecordingFormat,
    /// Whether the parties hear a recording tone.
    pub beep: switch::Beep,
    /// Days that recordings are kept; 0: forever.
    pub keep_days: u32,
    /// Days that audio files unknown to the database are kept aside; 0: forever.
    pub keep_unclaimed_days: u32,
    /// Maximum size of all recordings, MB; the oldest are deleted first. 0: unlimited.
    pub quota_mb: u32,
    /// Disk space that recordings leave free, MB.
    pub reserve_mb: u32,
    /// Bucket of an S3-compatible store; if `None`, recordings stay in the data directory.
    pub s3_bucket: Option<String>,
    /// Endpoint of the store, if it is not Amazon's.
    pub s3_endpoint: Option<String>,
    /// Region of the bucket.
    pub s3_region: String,
    /// Prefix of every object key.
    pub s3_prefix: Option<String>,
    /// Access key id.
    pub s3_access_key: Option<String>,
    /// Secret access key.
    pub s3_secret_key: Option<Secret<String>>,
}

/// E-mail notifications of voicemail.
#[derive(Clone, PartialEq, Debug)]
pub struct Mail {
    /// SMTP relay, `smtps://USER:PASSWORD@HOST`; if `None`, no e-mail is sent.
    pub smtp: Option<Secret<String>>,
    /// Sender address; if `None`, `centralita@` and the SIP domain.
    pub from: Option<String>,
    /// First retry delay of a failed e-mail, seconds; it doubles with each attempt.
    pub retry_seconds: u32,
}

impl Mail {
    /// The sender address.
    pub fn sender(&self, domain: &str) -> String {
        self.from.clone().unwrap_or_else(|| format!("centralita@{domain}"))
    }
}

/// Limits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Simultaneous calls of one user (S29).
    pub calls_per_user: u32,
    /// Hours that a call may last (S30).
    pub call_hours: u32,
    /// Outbound calls that a user may start per minute (toll fraud); 0: unlimited.
    pub outside_calls_per_minute: u32,
    /// Outbound call minutes of a user per day (toll fraud); 0: unlimited.
    pub outside_minutes_per_day: u32,
    /// Requests per minute and API key (S28).
    pub requests_per_minute: u32,
    /// Requests per minute and source address without a valid key.
    pub unauthenticated_per_minute: u32,
    /// SIP connections per source address; raise it for a site with many TCP phones behind one address.
    pub connections_per_source: u32,
    /// Calls per second whose SIP ladder is stored.
    pub ladders_per_second: u32,
}

/// Dial policy. Prefixes are in international form, without `+`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Dialling {
    /// Country code of national numbers; if `None`, that of our first Twilio number.
    pub country: Option<String>,
    /// Allowed countries; all if empty.
    pub allowed: Vec<String>,
    /// High-risk countries that are allowed.
    pub opened: Vec<String>,
    /// Prefixes that are always blocked, besides the built-in block list.
    pub blocked: Vec<String>,
    /// Emergency numbers; those of the country if empty.
    pub emergency: Vec<String>,
}

impl Config {
    /// The system-wide rules of the dial policy.
    pub fn dial_rules(&self) -> model::DialRules {
        let shared = |list: &[String]| list.iter().map(|prefix| prefix.as_str().into()).collect();
        let ours = self.twilio.did.first().and_then(|did| did.strip_prefix('+'));
        let country = self.dialling.country.as_deref().or_else(|| model::policy::country_of(ours?));
        model::DialRules {
            country: country.map(Into::into),
            allowed: shared(&self.dialling.allowed),
            opened: shared(&self.dialling.opened),
            blocked: shared(&self.dialling.blocked),
            emergency: shared(&self.dialling.emergency),
        }
    }
}

impl Config {
    /// Limits of a user's outbound calls; days are counted in the default time zone.
    pub fn outside_limits(&self) -> switch::OutboundLimits {
        let zone = model::recurrence::Zone::parse(&self.default_timezone);
        switch::OutboundLimits {
            calls_per_minute: self.limits.outside_calls_per_minute,
            minutes_per_day: self.limits.outside_minutes_per_day,
            zone: zone.unwrap_or_else(|_| model::recurrence::Zone::utc()),
        }
    }
}

/// Webhook settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Webhooks {
    /// Whether webhooks on loopback without TLS are allowed, for tests.
    pub allow_insecure_loopback: bool,
}

/// The Twilio settings of the seed documents' `.env` (S106–S108).
#[derive(Clone, PartialEq, Debug, Default)]
#[allow(missing_docs)]
pub struct Twilio {
    pub did: Vec<String>,
    pub sip_user: Option<String>,
    pub sip_password: Option<Secret<String>>,
    pub termination_uri: Option<String>,
    pub account_sid: Option<String>,
    pub auth_token: Option<Secret<String>>,
    pub mode: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Config {
            public_address: PublicAddress::Auto,
            http: Http {
                listen: vec![loopback(5000)],
                local_admin: false,
                trusted_proxies: Vec::new(),
                origins: Vec::new(),
            },
            sip: Sip {
                domain: "localhost".into(),
                aliases: Vec::new(),
                digest: vec![Algorithm::Md5],
                listen: vec![
                    Listen { transport: Transport::Udp, address: loopback(5060) },
                    Listen { transport: Transport::Tcp, address: loopback(5060) },
                ],
                min_expires_seconds: 60,
                default_extension: None,
            },
            dns: Dns::default(),
            media: Media { ports: 10_000..=20_000, workers: 0 },
            store: Store { url: Secret::new("sqlite:centralita.db".into()), keep_calls_days: 90 },
            recording: Recording {
                calls: model::RecordCalls::None,
                format: model::RecordingFormat::Opus,
                beep: switch::Beep::Never,
                keep_days: 90,
                keep_unclaimed_days: 0,
                quota_mb: 0,
                reserve_mb: 200,
                s3_bucket: None,
                s3_endpoint: None,
                s3_region: "us-east-1".into(),
                s3_prefix: None,
                s3_access_key: None,
                s3_secret_key: None,
            },
            limits: Limits {
                calls_per_user: 50,
                call_hours: 4,
                outside_calls_per_minute: 30,
                outside_minutes_per_day: 600,
                requests_per_minute: 100,
                unauthenticated_per_minute: 30,
                connections_per_source: 32,
                ladders_per_second: 100,
            },
            dialling: Dialling::default(),
            features: switch::FeatureCodes::default(),
            webhooks: Webhooks::default(),
            mail: Mail { smtp: None, from: None, retry_seconds: 60 },
            default_timezone: "UTC".into(),
            recurring_calls_per_second: 5,
            log_level: "info".into(),
            log_numbers: Numbers::Masked,
            zoneinfo: Zoneinfo::Auto,
            twilio: Twilio::default(),
        }
    }
}

/// One error in the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Where the setting was read.
    pub origin: Origin,
    /// The key, as `sip.domain`; empty if the file itself is malformed.
    pub key: String,
    /// What is wrong, and what to write instead.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            return write!(f, "{}: {}", self.origin, self.what);
        }
        write!(f, "{}: {}: {}", self.origin, self.key, self.what)
    }
}

/// All errors of a configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError(pub Vec<Problem>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.0.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// A configuration, and the origins of its settings.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The keys that are set, and where.
    pub origins: Vec<(&'static str, Origin)>,
    /// The file that was read; `None` if there is none.
    pub file: Option<PathBuf>,
}

/// The configuration file if none is named.
pub const DEFAULT_FILE: &str = "centralita.toml";

impl Loaded {
    /// Read all layers. A file that is named must exist; [`DEFAULT_FILE`] need not.
    pub fn read(
        file: Option<&Path>,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Loaded, ConfigError> {
        Loaded::read_from(file, file.is_some(), environment)
    }

    /// The same, but a named file may be missing: `init` creates it.
    pub fn read_or_default(
        file: Option<&Path>,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Loaded, ConfigError> {
        Loaded::read_from(file, false, environment)
    }

    fn read_from(
        file: Option<&Path>,
        must_exist: bool,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Loaded, ConfigError> {
        let path = file.unwrap_or(Path::new(DEFAULT_FILE));
        let mut problems = Vec::new();
        let mut settings = Vec::new();
        let text = read_or_empty(path, &mut problems);
        if text.is_none() && must_exist && problems.is_empty() {
            problems.push(Problem {
                origin: Origin::File { path: path.to_path_buf(), line: 0 },
                key: String::new(),
                what: tr!(
                    "the file does not exist; create it with: centralita init --config {0}",
                    "el archivo no existe; créelo con: centralita init --config {0}",
                    path.display()
                ),
            });
        }
        if let Some(text) = &text {
            settings.extend(layers::from_toml(path, text, &mut problems));
        }
        let dotenv = path.with_file_name(".env");
        if let Some(text) = read_or_empty(&dotenv, &mut problems) {
            let variables = dotenv::read(&dotenv, &text, &mut problems);
            settings.extend(layers::from_variables(variables.into_iter(), &mut problems));
        }
        let variables = layers::environment(environment, &mut problems);
        settings.extend(layers::from_variables(variables.into_iter(), &mut problems));
        let (config, origins) = apply(&settings, &mut problems);
        if !problems.is_empty() {
            return Err(ConfigError(problems));
        }
        Ok(Loaded { config, origins, file: text.map(|_| path.to_path_buf()) })
    }
}

fn read_or_empty(path: &Path, problems: &mut Vec<Problem>) -> Option<String> {
    match std::fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            let origin = Origin::File { path: path.to_path_buf(), line: 0 };
            let what = tr!("cannot be read: {error}", "no se puede leer: {error}");
            problems.push(Problem { origin, key: String::new(), what });
            None
        }
    }
}

/// Prefix of the keys for which an empty text is a value: it switches a feature code off.
const EMPTY_ALLOWED: &str = "features.";

/// Error text of an empty value. A list is emptied with `[]` in the file.
fn empty_value_error(setting: &Setting) -> Option<String> {
    let Value::Text(text) = &setting.value else { return None };
    if !text.trim().is_empty() || setting.key.starts_with(EMPTY_ALLOWED) {
        return None;
    }
    Some(match &setting.origin {
        Origin::Variable(name) => tr!(
            "is empty; give it a value, or unset {name} to use the default",
            "está vacía; asígnele un valor, o elimine {name} para usar el valor por defecto"
        ),
        Origin::File { .. } | Origin::Option(_) | Origin::Default => tr!(
            "is empty; give it a value, or remove the line to use the default",
            "está vacía; asígnele un valor, o borre la línea para usar el valor por defecto"
        ),
    })
}

fn apply(settings: &[Setting], problems: &mut Vec<Problem>) -> (Config, Vec<(&'static str, Origin)>) {
    let mut config = Config::default();
    let mut origins: Vec<(&'static str, Origin)> = Vec::new();
    for setting in settings {
        let done = match (keys::find(&setting.key), empty_value_error(setting)) {
            (Some(_), Some(empty)) => Err(empty),
            (Some(key), None) => (key.set)(&mut config, &setting.value).map(|()| key.name),
            (None, _) => Err(match &setting.origin {
                Origin::Variable(_) => layers::unknown_variable(&setting.key),
                Origin::File { path, .. } if path.ends_with(".env") => layers::unknown_variable(&setting.key),
                Origin::File { .. } | Origin::Option(_) | Origin::Default => keys::unknown(&setting.key),
            }),
        };
        match done {
            Ok(name) => {
                origins.retain(|(other, _)| *other != name);
                origins.push((name, setting.origin.clone()));
            }
            Err(what) => {
                problems.push(Problem { origin: setting.origin.clone(), key: setting.key.clone(), what });
            }
        }
    }
    keys::check(&config, &mut |key, what| {
        let origin = origins.iter().find(|(name, _)| *name == key).map(|(_, origin)| origin.clone());
        let origin = origin.unwrap_or(Origin::Default);
        problems.push(Problem { origin, key: key.into(), what });
    });
    (config, origins)
}
