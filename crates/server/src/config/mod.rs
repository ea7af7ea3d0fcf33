//! What must be known before the database opens: one TOML file, the environment, and a `.env` beside the file.

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
    /// What SDP and Contact show.
    pub public_address: PublicAddress,
    /// The HTTP side.
    pub http: Http,
    /// The SIP side.
    pub sip: Sip,
    /// Where names are looked up.
    pub dns: Dns,
    /// The voice side.
    pub media: Media,
    /// The database.
    pub store: Store,
    /// Recordings.
    pub recording: Recording,
    /// What nobody may exceed.
    pub limits: Limits,
    /// Which numbers may be dialled.
    pub dialling: Dialling,
    /// What is dialled for the features that phones can switch.
    pub features: switch::FeatureCodes,
    /// Those who are told of events.
    pub webhooks: Webhooks,
    /// Mail about voicemail.
    pub mail: Mail,
    /// The zone of schedules that name none (S78).
    pub default_timezone: String,
    /// Recurring calls that are begun in a second at most.
    pub recurring_calls_per_second: u32,
    /// How much is written to the log: a `tracing` filter, `info` or `info,server=debug`.
    pub log_level: String,
    /// How people's numbers are written to the log.
    pub log_numbers: Numbers,
    /// Where the rules of time zones come from.
    pub zoneinfo: Zoneinfo,
    /// The carrier of the seeds; read now, used by trunks.
    pub twilio: Twilio,
}

/// Which address phones are told.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum PublicAddress {
    /// The listener's own address or, for a wildcard, the one that the peer used.
    #[default]
    Auto,
    /// This address or name.
    Host(String),
}

/// Where the rules of time zones come from (RFC 6557 §2: they change faster than releases do).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Zoneinfo {
    /// The newer of what is built in and what the system has.
    #[default]
    Auto,
    /// What is built in.
    Builtin,
    /// What the system has, wherever it keeps it.
    System,
    /// A folder of compiled zones (`zic -d`).
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

/// The HTTP side.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Http {
    /// Where to listen.
    pub listen: Vec<SocketAddr>,
    /// Whether a loopback peer without a key is an administrator (S20).
    pub local_admin: bool,
    /// Reverse proxies whose word about the client counts.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// Origins of web pages that may use the API.
    pub origins: Vec<String>,
}

/// The SIP side.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sip {
    /// The realm, and the domain of our addresses.
    pub domain: String,
    /// Further names that are accepted as our domain.
    pub aliases: Vec<String>,
    /// The digest algorithms to challenge with.
    pub digest: Vec<Algorithm>,
    /// Where to listen.
    pub listen: Vec<Listen>,
    /// The shortest registration that is accepted, in seconds.
    pub min_expires_seconds: u32,
    /// Where inbound numbers go that no route names (S106).
    pub default_extension: Option<String>,
}

/// One SIP listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listen {
    /// Its protocol.
    pub transport: Transport,
    /// Its address.
    pub address: SocketAddr,
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.transport.as_param(), self.address)
    }
}

/// Where names are looked up.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Dns {
    /// Servers with their ports; those of the system where there are none.
    pub servers: Vec<SocketAddr>,
}

/// The voice side.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Media {
    /// RTP and RTCP ports, even and odd.
    pub ports: RangeInclusive<u16>,
    /// Media worker threads; chosen by the number of cores where 0.
    pub workers: usize,
}

/// The database.
#[derive(Clone, PartialEq, Debug)]
pub struct Store {
    /// `sqlite:` and a path relative to the data directory, or `postgres://…`.
    pub url: Secret<String>,
    /// Calls that ended longer ago are forgotten.
    pub keep_calls_days: u32,
}

/// Recordings (S177).
#[derive(Clone, PartialEq, Debug)]
pub struct Recording {
    /// Which calls are recorded of extensions that do not say: `none`, `inbound`, `outbound`, `all`.
    pub calls: model::RecordCalls,
    /// What the files are.
    pub format: model::RecordingFormat,
    /// Whether the parties hear a tone.
    pub beep: switch::Beep,
    /// Days that recordings are kept; for ever where 0.
    pub keep_days: u32,
    /// Days that audio which the database does not know is kept aside; for ever where 0.
    pub keep_unclaimed_days: u32,
    /// Megabytes that all together may have, the oldest are deleted first; no bound where 0.
    pub quota_mb: u32,
    /// Megabytes of the disk that recordings leave free.
    pub reserve_mb: u32,
    /// The bucket of an S3-compatible store; recordings stay in the data directory where none is named.
    pub s3_bucket: Option<String>,
    /// Its address, where it is not Amazon's.
    pub s3_endpoint: Option<String>,
    /// Its region.
    pub s3_region: String,
    /// Put in front of every key.
    pub s3_prefix: Option<String>,
    /// Who we are there.
    pub s3_access_key: Option<String>,
    /// The secret that goes with it.
    pub s3_secret_key: Option<Secret<String>>,
}

/// Mail about voicemail.
#[derive(Clone, PartialEq, Debug)]
pub struct Mail {
    /// The server that takes it, `smtps://USER:PASSWORD@HOST`; none is sent where `None`.
    pub smtp: Option<Secret<String>>,
    /// The sender; `centralita@` and the SIP domain where `None`.
    pub from: Option<String>,
    /// A mail that was not taken is tried again after this, then after twice as long, and so on.
    pub retry_seconds: u32,
}

impl Mail {
    /// The sender.
    pub fn sender(&self, domain: &str) -> String {
        self.from.clone().unwrap_or_else(|| format!("centralita@{domain}"))
    }
}

/// What nobody may exceed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Simultaneous calls of one user (S29).
    pub calls_per_user: u32,
    /// Hours that a call may last (S30).
    pub call_hours: u32,
    /// Calls to the outside that a user begins within a minute; no limit where 0 (security.md row 7).
    pub outside_calls_per_minute: u32,
    /// Minutes that a user's calls to the outside last in a day; no limit where 0 (security.md row 7).
    pub outside_minutes_per_day: u32,
    /// Requests a minute of one API key (S28).
    pub requests_per_minute: u32,
    /// Requests a minute of one source without a valid key.
    pub unauthenticated_per_minute: u32,
    /// SIP connections of one source; raise it for an office with many TCP phones behind one address.
    pub connections_per_source: u32,
    /// Calls a second whose SIP ladder is kept.
    pub ladders_per_second: u32,
}

/// Which numbers may be dialled: beginnings of numbers in international form, without `+`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Dialling {
    /// The country code of national numbers; that of our own number at Twilio where it is not said.
    pub country: Option<String>,
    /// The countries that may be called; all where empty.
    pub allowed: Vec<String>,
    /// High-risk countries that may be called.
    pub opened: Vec<String>,
    /// What is never called, besides the block list.
    pub blocked: Vec<String>,
    /// The numbers that call for help; those of the country where empty (security.md row 31).
    pub emergency: Vec<String>,
}

impl Config {
    /// The dial policy's rules of the house.
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
    /// What a user may spend on the outside; the day is that of the house.
    pub fn outside_limits(&self) -> switch::OutboundLimits {
        let zone = model::recurrence::Zone::parse(&self.default_timezone);
        switch::OutboundLimits {
            calls_per_minute: self.limits.outside_calls_per_minute,
            minutes_per_day: self.limits.outside_minutes_per_day,
            zone: zone.unwrap_or_else(|_| model::recurrence::Zone::utc()),
        }
    }
}

/// Those who are told of events over HTTP.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Webhooks {
    /// Whether they may be on this machine, without TLS: for trials.
    pub allow_insecure_loopback: bool,
}

/// What the seeds' `.env` says about Twilio (S106–S108).
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

/// One thing that the operator must mend: where, which key, what to write instead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Where it was read.
    pub origin: Origin,
    /// The key, `sip.domain`; empty where the file itself is broken.
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

/// Everything that is wrong with a configuration.
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

/// A configuration, and where each of its keys came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Which keys are not at their default, and since where.
    pub origins: Vec<(&'static str, Origin)>,
    /// The file that was read; `None` where there was none.
    pub file: Option<PathBuf>,
}

/// Where a configuration is looked for when nobody names a file.
pub const DEFAULT_FILE: &str = "centralita.toml";

impl Loaded {
    /// Read all layers. A file that is named must be there; without a name, [`DEFAULT_FILE`] need not.
    pub fn read(
        file: Option<&Path>,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Loaded, ConfigError> {
        Loaded::read_from(file, file.is_some(), environment)
    }

    /// The same where the file that is named may be missing: `init` makes it.
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
                    "there is no such file; make one with: centralita init --config {0}",
                    "ese archivo no existe; créelo con: centralita init --config {0}",
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

/// The keys of which an empty text is a value: a feature code that is switched off.
const EMPTY_IS_A_VALUE: &str = "features.";

/// What is wrong with an empty value. A list is emptied with `[]` in the file.
fn emptiness(setting: &Setting) -> Option<String> {
    let Value::Text(text) = &setting.value else { return None };
    if !text.trim().is_empty() || setting.key.starts_with(EMPTY_IS_A_VALUE) {
        return None;
    }
    Some(match &setting.origin {
        Origin::Variable(name) => tr!(
            "is empty; give it a value, or take {name} away for the default",
            "está vacía; dele un valor, o quite {name} para el valor por defecto"
        ),
        Origin::File { .. } | Origin::Option(_) | Origin::Default => tr!(
            "is empty; give it a value, or take the line away for the default",
            "está vacía; dele un valor, o quite la línea para el valor por defecto"
        ),
    })
}

fn apply(settings: &[Setting], problems: &mut Vec<Problem>) -> (Config, Vec<(&'static str, Origin)>) {
    let mut config = Config::default();
    let mut origins: Vec<(&'static str, Origin)> = Vec::new();
    for setting in settings {
        let done = match (keys::find(&setting.key), emptiness(setting)) {
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
