//! Trunks: the ways to the outside (S106, S107, S121–S123, S191). A trunk that exists is valid; see [`TrunkSettings::check`].

mod number;
mod route;
mod source;

use base::{Id, Kind, Timestamp};
use serde::{Deserialize, Serialize};

pub use number::{NumberFormat, same_number};
pub(crate) use route::outside;
pub use route::{OutboundRoute, TrunkReject, inbound, names};
pub use source::{Source, SourceError};

use crate::{DialledNumber, ExtensionNumber, SealedSecret};

/// Marks ids of trunks; see [`TrunkId`].
#[derive(Clone, Copy, Debug)]
pub enum TrunkKind {}

impl Kind for TrunkKind {
    const PREFIX: &'static str = "trunk";
}

/// `trunk_1234567890_abc123`
pub type TrunkId = Id<TrunkKind>;

/// How a carrier's host is spoken with.
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
    /// As in a URI's parameter.
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
    /// A name, or an address.
    pub host: String,
    /// Without one, SRV records say which (RFC 3263).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// How.
    #[serde(default)]
    pub transport: TrunkTransport,
    /// Lower ones are tried first.
    #[serde(default = "ten")]
    pub priority: u16,
    /// Among equal priorities, how often this one comes first.
    #[serde(default = "ten")]
    pub weight: u16,
}

fn ten() -> u16 {
    10
}

impl TrunkHost {
    /// The host as a URI writes it.
    pub fn in_uri(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        }
    }
}

/// A number that callers outside dial, and whom it reaches (S106).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Did {
    /// The number, as the carrier writes it; `+`, `00` and nothing in front are the same.
    pub number: DialledNumber,
    /// The extension; the trunk's default one where `None`.
    #[serde(default)]
    pub extension: Option<ExtensionNumber>,
}

/// Which number the called one is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallerId {
    /// Always the trunk's own.
    #[default]
    Fixed,
    /// The DID that leads to the calling extension, else the trunk's own, else the extension's number. Of a forwarded call that is the
    /// extension that forwards.
    Own,
    /// What the call says already: of a forwarded call, the number of its caller.
    Pass,
}

/// What an administrator says of a trunk.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrunkSettings {
    /// The carrier's hosts; at least one.
    pub hosts: Vec<TrunkHost>,
    /// The digest user name, which is also the one that registers.
    pub username: Option<String>,
    /// Where given, only challenges of this realm are answered.
    pub realm: Option<String>,
    /// Registers, and asks for so many seconds (S119).
    pub register: Option<u32>,
    /// Everything is sent here instead of to the hosts, which stay in the URIs.
    pub outbound_proxy: Option<TrunkHost>,
    /// Who may deliver calls.
    pub sources: Vec<Source>,
    /// The numbers that reach us by this trunk.
    pub dids: Vec<Did>,
    /// Who gets calls for a DID without an extension.
    pub default_extension: Option<ExtensionNumber>,
    /// Which number the called one is shown.
    pub caller_id: CallerId,
    /// The trunk's own number.
    pub caller_number: Option<DialledNumber>,
    /// How numbers are written.
    pub number_format: NumberFormat,
    /// Cut from numbers that begin so, before anything else.
    pub strip_prefix: Option<DialledNumber>,
    /// Put before numbers that are not international.
    pub add_prefix: Option<DialledNumber>,
    /// The only codecs that are offered and accepted; all where empty.
    pub codecs: Vec<String>,
    /// Calls at once.
    pub max_channels: Option<u32>,
    /// New calls a second that the carrier takes.
    pub calls_per_second: Option<u32>,
    /// Ask the hosts with OPTIONS whether they live.
    pub probe: bool,
    /// Tell the carrier of a forwarded call who forwards it (Diversion, History-Info). Off: it learns nothing that it need not know.
    #[serde(default)]
    pub diversion: bool,
}

impl Default for TrunkSettings {
    /// What holds where an administrator says nothing. It is no trunk before it has a host.
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
    /// Its id.
    pub id: TrunkId,
    /// What people call it.
    pub name: String,
    /// Whether it is used.
    pub enabled: bool,
    /// Lower ones are tried first.
    pub priority: u16,
    /// The rest.
    pub settings: TrunkSettings,
    /// The digest password.
    pub password: Option<SealedSecret>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// Why settings are no trunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TrunkError {
    /// No host, too many, or one that cannot be.
    #[error("hosts: 1 to 8 names or addresses, without scheme, spaces or brackets")]
    Hosts,
    /// The shell opens no encrypted streams.
    #[error("hosts: this version speaks udp and tcp to carriers, not yet tls")]
    Transport,
    /// Names in digest and URIs.
    #[error("username: 1 to 128 characters without spaces, quotes, '<', '>', '@' or control characters")]
    Username,
    /// One without the other.
    #[error("username and password belong together, and registering needs both")]
    Account,
    /// Shorter than a refresh takes, or longer than any carrier grants.
    #[error("registerExpires: 60 to 86400 seconds")]
    Expires,
    /// Without one nobody would know who calls.
    #[error("callerNumber: the rule \"fixed\" needs one")]
    CallerNumber,
    /// Too many.
    #[error("at most 64 sources, 1000 DIDs and 16 codecs")]
    TooMany,
    /// Not a name of a codec.
    #[error("codecs: names like PCMU, PCMA, G722, opus")]
    Codec,
}

/// Hosts of one trunk.
const HOSTS: usize = 8;

impl TrunkSettings {
    /// Whether this can be a trunk; `has_password` tells whether one is kept or given.
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

    /// The DID that a number names.
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
