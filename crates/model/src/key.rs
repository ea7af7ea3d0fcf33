//! API keys: who may do what over REST (S53–S61).

use std::fmt;

use base::{Id, Kind, Timestamp};
use serde::{Deserialize, Serialize};

use crate::UserId;

/// Marks ids of keys; see [`ApiKeyId`].
#[derive(Clone, Copy, Debug)]
pub enum ApiKeyKind {}

impl Kind for ApiKeyKind {
    const PREFIX: &'static str = "key";
}

/// `key_1234567890_…`
pub type ApiKeyId = Id<ApiKeyKind>;

/// One thing that a key may do (S56).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    /// Make, end and read calls.
    Call,
    /// Credentials, extensions, server start, status and health.
    Sip,
    /// Recordings and voicemail audio.
    Recording,
    /// Everything, for everybody.
    Admin,
    /// Everybody's keys, as far as they are no wider than its own.
    #[serde(rename = "keys:*")]
    Keys,
    /// Everybody's events.
    #[serde(rename = "events:read")]
    Events,
}

impl Permission {
    /// All of them.
    pub const ALL: [Permission; 6] = [
        Permission::Call,
        Permission::Sip,
        Permission::Recording,
        Permission::Admin,
        Permission::Keys,
        Permission::Events,
    ];

    /// As in JSON: `call`, `sip`, `recording`, `admin`, `keys:*`, `events:read`.
    pub fn as_str(self) -> &'static str {
        match self {
            Permission::Call => "call",
            Permission::Sip => "sip",
            Permission::Recording => "recording",
            Permission::Admin => "admin",
            Permission::Keys => "keys:*",
            Permission::Events => "events:read",
        }
    }

    /// The permission of that name.
    pub fn parse(text: &str) -> Option<Permission> {
        Permission::ALL.into_iter().find(|p| p.as_str() == text)
    }
}

/// A set of permissions.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Permission>", into = "Vec<Permission>")]
pub struct Permissions(u8);

impl Permissions {
    /// Whether the set allows `permission`; `admin` allows all.
    pub fn allow(self, permission: Permission) -> bool {
        self.has(permission) || self.has(Permission::Admin)
    }

    /// Whether everything in `other` is allowed by this set: a key cannot mint a wider key (security.md row 21).
    pub fn cover(self, other: Permissions) -> bool {
        self.has(Permission::Admin) || other.0 & !self.0 == 0
    }

    /// The members, in the order of [`Permission::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.into_iter().filter(move |p| self.has(*p))
    }

    fn has(self, permission: Permission) -> bool {
        self.0 & (1 << permission as u8) != 0
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(members: I) -> Self {
        Permissions(members.into_iter().fold(0, |set, p| set | 1 << p as u8))
    }
}

impl From<Vec<Permission>> for Permissions {
    fn from(members: Vec<Permission>) -> Self {
        members.into_iter().collect()
    }
}

impl From<Permissions> for Vec<Permission> {
    fn from(set: Permissions) -> Self {
        set.iter().collect()
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// A key as we keep it: never the secret, only its SHA-256 and the prefix that people recognise it by.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// Whose it is: the user of a request comes from here and nowhere else.
    pub user: UserId,
    /// What its owner calls it.
    pub name: String,
    /// The first characters of the secret, `sk_voip_1a2b3c4d`.
    pub prefix: String,
    /// SHA-256 of the whole secret.
    pub hash: [u8; 32],
    /// What it may do.
    pub permissions: Permissions,
    /// Whether it is accepted now.
    pub active: bool,
    /// Requests per minute; the server's default where `None` (S28).
    pub requests_per_minute: Option<u32>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops being accepted; never where `None`.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

impl ApiKey {
    /// Whether its time is over.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}
