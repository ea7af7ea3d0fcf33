//! API keys and their permissions (S53–S61).

use std::fmt;

use base::{Id, Kind, Timestamp};
use serde::{Deserialize, Serialize};

use crate::UserId;

/// Id prefix of [`ApiKeyId`].
#[derive(Clone, Copy, Debug)]
pub enum ApiKeyKind {}

impl Kind for ApiKeyKind {
    const PREFIX: &'static str = "key";
}

/// `key_1234567890_…`
pub type ApiKeyId = Id<ApiKeyKind>;

/// A permission of an API key (S56).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    /// Make, end and read calls.
    Call,
    /// Credentials, extensions, server start, status and health.
    Sip,
    /// Recordings and voicemail audio.
    Recording,
    /// All permissions, for the data of all users.
    Admin,
    /// The API keys of all users, as long as their permissions are covered by its own.
    #[serde(rename = "keys:*")]
    Keys,
    /// The events of all users.
    #[serde(rename = "events:read")]
    Events,
}

impl Permission {
    /// All permissions.
    pub const ALL: [Permission; 6] = [
        Permission::Call,
        Permission::Sip,
        Permission::Recording,
        Permission::Admin,
        Permission::Keys,
        Permission::Events,
    ];

    /// The JSON name: `call`, `sip`, `recording`, `admin`, `keys:*`, `events:read`.
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

    /// The permission with this JSON name; `None` where there is none.
    pub fn parse(text: &str) -> Option<Permission> {
        Permission::ALL.into_iter().find(|p| p.as_str() == text)
    }
}

/// A set of permissions.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Permission>", into = "Vec<Permission>")]
pub struct Permissions(u8);

impl Permissions {
    /// Whether the set allows `permission`; `admin` allows every permission.
    pub fn allow(self, permission: Permission) -> bool {
        self.has(permission) || self.has(Permission::Admin)
    }

    /// Whether this set allows everything in `other`: a key cannot create a key with more permissions (security.md row 21).
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

/// A stored API key. The secret itself is not stored: only its SHA-256, and its first characters for display.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ApiKey {
    /// Unique id.
    pub id: ApiKeyId,
    /// The owner. The user of a request is read from here and from nowhere else.
    pub user: UserId,
    /// Name chosen by the owner.
    pub name: String,
    /// The first characters of the secret, `sk_voip_1a2b3c4d`.
    pub prefix: String,
    /// SHA-256 of the whole secret.
    pub hash: [u8; 32],
    /// What the key may do.
    pub permissions: Permissions,
    /// Whether the key is accepted.
    pub active: bool,
    /// Rate limit in requests per minute; the server's default where `None` (S28).
    pub requests_per_minute: Option<u32>,
    /// Creation time.
    pub created_at: Timestamp,
    /// Expiry time; `None` for a key that does not expire.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

impl ApiKey {
    /// Whether the key has expired at `now`.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}
