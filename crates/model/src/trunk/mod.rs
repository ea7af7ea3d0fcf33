//! Trunks to carriers (S106, S107, S121–S123, S191). Stored trunks have passed [`TrunkSettings::check`].

mod number;
mod route;
mod source;

use base::{Id, Kind, Timestamp};
use serde::{Deserialize, Serialize};

pub use number::{NumberFormat, same_number};
pub(crate) use route::route_outbound;
pub use route::{inbound, names};
pub use source::{Source, SourceError};

pub use crate::route::{OutboundRoute, TrunkReject};
use crate::{DialledNumber, ExtensionNumber, SealedSecret};

/// Id prefix of [`TrunkId`].
#[derive(Clone, Copy, Debug)]
pub enum TrunkKind {}

impl Kind for TrunkKind {
    const PREFIX: &'static str = "trunk";
}

/// `trunk_1234567890_abc123`
pub type TrunkId = Id<TrunkKind>;

/// SIP transport to a carrier's host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum TrunkTransport {
    #[default]
    Udp,
    Tcp,
    Tls,
}

impl TrunkTransport {
    /// The value of the URI parameter `transport`.
    pub fn as_str(self) -> &'static str {
        match self {
            TrunkTransport::Udp => "udp",
            TrunkTransport::Tcp => "tcp",
            TrunkTransport::Tls => "tls",
        }
    }
}

/// One host of a carrier (S123).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrunkHost {
    /// Host name or IP address.
    pub host: String,
    /// UDP or TCP port; SRV records decide where `None` (RFC 3263).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// SIP transport.
    #[serde(default)]
    pub transport: TrunkTransport,
    /// Lower values are tried first.
    #[serde(default = "ten")]
    pub priority: u16,
    /// Relative share of calls among hosts of equal priority.
    #[serde(default = "ten")]
    pub weight: u16,
}

fn ten() -> u16 {
    10
}

impl TrunkHost {
    /// The host as written in a URI: an IPv6 address in brackets.
    pub fn in_uri(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        }
    }
}

/// An inbound number (DID) and the extension that it reaches (S106).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Did {
    /// The number as the carrier sends it; `+`, `00` and no prefix are equivalent.
    pub number: DialledNumber,
    /// The extension; the trunk's default extension where `None`.
    #[serde(default)]
    pub extension: Option<ExtensionNumber>,
}

/// Which caller number an outbound call shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallerId {
    /// Always the trunk's own number.
    #[default]
    Fixed,
    /// The DID of the calling extension, else the trunk's own number, else the extension's number. For a forwarded call: of the
    /// extension that forwards.
    Own,
    /// The number that the call carries: for a forwarded call, the original caller's.
    Pass,
}

/// Administrator-defined settings of a trunk.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrunkSettings {
    /// The carrier's hosts: 1 to 8.
    pub hosts: Vec<TrunkHost>,
    /// Digest user name, also used to register.
    pub username: Option<String>,
    /// Where given, only challenges of this realm are answered.
    pub realm: Option<String>,
    /// Registration interval in seconds (S119); `None` for a trunk that does not register.
    pub register: Option<u32>,
    /// Next hop of all requests, instead of the hosts; the hosts stay in the URIs.
    pub outbound_proxy: Option<TrunkHost>,
    /// Networks from which calls are accepted.
    pub sources: Vec<Source>,
    /// Inbound numbers.
    pub dids: Vec<Did>,
    /// Extension for DIDs without one.
    pub default_extension: Option<ExtensionNumber>,
    /// Caller number policy of outbound calls.
    pub caller_id: CallerId,
    /// The trunk's own number.
    pub caller_number: Option<DialledNumber>,
    /// Number format of the carrier.
    pub number_format: NumberFormat,
    /// Prefix stripped from dialled numbers, before anything else.
    pub strip_prefix: Option<DialledNumber>,
    /// Prefix added to numbers that are not in international form.
    pub add_prefix: Option<DialledNumber>,
    /// Codecs that are offered and accepted; all where empty.
    pub codecs: Vec<String>,
    /// Maximum number of simultaneous calls; `None` for no limit.
    pub max_channels: Option<u32>,
    /// Maximum number of new calls per second; `None` for no limit.
    pub calls_per_second: Option<u32>,
    /// Whether the hosts are probed with OPTIONS.
    pub probe: bool,
    /// Send Diversion and History-Info for forwarded calls. Off by default: the carrier learns no more than it needs.
    #[serde(default)]
    pub diversion: bool,
}

impl Default for TrunkSettings {
    /// Default settings. They are not a valid trunk before a host is added.
    fn default() -> Self {
        TrunkSettings {
            hosts: Vec::new(),
            username: None,
            realm: None,
            register: None,
            outbound_proxy: None,
            sources: Vec::new(),
            dids: Vec::new(),
            default_extension: None,
            caller_id: CallerId::Fixed,
            caller_number: None,
            number_format: NumberFormat::E164,
            strip_prefix: None,
            add_prefix: None,
            codecs: Vec::new(),
            max_channels: None,
            calls_per_second: None,
            probe: true,
            diversion: false,
        }
    }
}

/// A trunk.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trunk {
    /// Unique id.
    pub id: TrunkId,
    /// Display name.
    pub name: String,
    /// Whether the trunk is used.
    pub enabled: bool,
    /// Lower values are tried first.
    pub priority: u16,
    /// Administrator-defined settings.
    pub settings: TrunkSettings,
    /// Digest password, sealed.
    pub password: Option<SealedSecret>,
    /// Creation time.
    pub created_at: Timestamp,
    /// Time of the last change.
    pub updated_at: Timestamp,
}

/// Why settings are refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TrunkError {
    /// No host, too many hosts, or an invalid one.
    #[error("hosts: 1 to 8 names or addresses, without scheme, spaces or brackets")]
    Hosts,
    /// TLS to carriers is not supported.
    #[error("hosts: this version supports udp and tcp to carriers, not tls")]
    Transport,
    /// The user name cannot be written in a digest header or a URI.
    #[error("username: 1 to 128 characters without spaces, quotes, '<', '>', '@' or control characters")]
    Username,
    /// User name without password, or the other way round.
    #[error("username and password belong together, and registering needs both")]
    Account,
    /// Registration interval too short for a refresh, or longer than carriers grant.
    #[error("registerExpires: 60 to 86400 seconds")]
    Expires,
    /// The caller number policy `fixed` needs a number.
    #[error("callerNumber: the rule \"fixed\" needs one")]
    CallerNumber,
    /// Too many entries of a list.
    #[error("at most 64 sources, 1000 DIDs and 16 codecs")]
    TooMany,
    /// Not a legal codec name.
    #[error("codecs: names like PCMU, PCMA, G722, opus")]
    Codec,
}

/// Maximum number of hosts of one trunk.
const HOSTS: usize = 8;

impl TrunkSettings {
    /// Validate the settings. `has_password`: whether a password is stored or given.
    pub fn check(&self, has_password: bool) -> Result<(), TrunkError> {
        let hosts = self.hosts.iter().chain(&self.outbound_proxy);
        if self.hosts.is_empty() || self.hosts.len() > HOSTS || !hosts.into_iter().all(is_host) {
            return Err(TrunkError::Hosts);
        }
        let mut hosts = self.hosts.iter().chain(&self.outbound_proxy);
        if hosts.any(|host| host.transport == TrunkTransport::Tls) {
            return Err(TrunkError::Transport);
        }
        if self.username.as_deref().is_some_and(|name| !is_account(name)) {
            return Err(TrunkError::Username);
        }
        if self.username.is_some() != has_password || (self.register.is_some() && !has_password) {
            return Err(TrunkError::Account);
        }
        if self.register.is_some_and(|seconds| !(60..=86_400).contains(&seconds)) {
            return Err(TrunkError::Expires);
        }
        if self.caller_id == CallerId::Fixed && self.caller_number.is_none() {
            return Err(TrunkError::CallerNumber);
        }
        if self.sources.len() > 64 || self.dids.len() > 1000 || self.codecs.len() > 16 {
            return Err(TrunkError::TooMany);
        }
        let codec = |name: &String| {
            (1..=32).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        if self.codecs.iter().all(codec) { Ok(()) } else { Err(TrunkError::Codec) }
    }

    /// The DID equal to a number.
    pub fn did(&self, number: &str) -> Option<&Did> {
        self.dids.iter().find(|did| same_number(did.number.as_str(), number))
    }
}

fn is_host(host: &TrunkHost) -> bool {
    crate::is_host(&host.host) && host.port != Some(0)
}

fn is_account(name: &str) -> bool {
    let bad = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '"' | '<' | '>' | '@' | '\\');
    !name.is_empty() && name.chars().count() <= 128 && !name.chars().any(bad)
}
