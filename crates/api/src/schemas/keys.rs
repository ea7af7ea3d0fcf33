//! JSON of API keys.

use base::Timestamp;
use model::{ApiKey, Permission};
use serde::Serialize;
use store::UsedBy;
use utoipa::ToSchema;

use super::some;
use crate::Settings;

#[derive(Serialize, ToSchema)]
pub(crate) struct NewKeyAnswer {
    pub success: bool,
    pub key: NewKeyView,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NewKey)]
pub(crate) struct NewKeyView {
    pub id: String,
    /// Shown once.
    pub key: String,
    /// Always `voip`.
    pub service: &'static str,
    pub metadata: KeyMetadata,
    pub name: String,
    pub user_id: String,
    pub key_prefix: String,
    pub active: bool,
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    /// Rate limit of this key; `null` for the server's default.
    pub requests_per_minute: Option<u32>,
}

/// Metadata with the field names of the original API.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) struct KeyMetadata {
    pub opensips_enabled: bool,
    /// Whether Twilio is configured.
    pub twilio_integration: bool,
    pub permissions: Vec<&'static str>,
}

impl KeyMetadata {
    pub(crate) fn of(settings: &Settings, key: &ApiKey) -> Self {
        KeyMetadata {
            opensips_enabled: true,
            twilio_integration: settings.twilio,
            permissions: key.permissions.iter().map(Permission::as_str).collect(),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(crate) struct KeyAnswer {
    pub success: bool,
    pub key: KeyView,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KeysAnswer {
    pub success: bool,
    pub keys: Vec<KeyView>,
    /// Pass it as `cursor` to get the next page; `null` on the last page.
    #[serde(serialize_with = "crate::cursor::serialize_cursor")]
    pub next_cursor: Option<String>,
}

/// An API key without its secret.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Key)]
pub(crate) struct KeyView {
    pub id: String,
    pub name: String,
    pub user_id: String,
    pub key_prefix: String,
    /// Always `voip`.
    pub service: &'static str,
    pub active: bool,
    pub metadata: KeyMetadata,
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(format = DateTime)]
    pub last_used_at: Option<String>,
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    /// Rate limit of this key; `null` for the server's default.
    pub requests_per_minute: Option<u32>,
}

impl KeyView {
    pub(crate) fn of(settings: &Settings, key: &ApiKey, last_used: Option<Timestamp>) -> Self {
        KeyView {
            id: key.id.to_string(),
            name: key.name.clone(),
            user_id: key.user.to_string(),
            key_prefix: key.prefix.clone(),
            service: "voip",
            active: key.active,
            metadata: KeyMetadata::of(settings, key),
            created_at: key.created_at.to_string(),
            last_used_at: last_used.map(|at| at.to_string()),
            expires_at: key.expires_at.map(|at| at.to_string()),
            requests_per_minute: key.requests_per_minute,
        }
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KeyUsageAnswer {
    pub success: bool,
    /// Newest first.
    pub usage: Vec<KeyUseView>,
    /// Pass it as `cursor` to get the next page; `null` on the last page.
    #[serde(serialize_with = "crate::cursor::serialize_cursor")]
    pub next_cursor: Option<String>,
}

/// Uses of a key on one day.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = KeyUse)]
pub(crate) struct KeyUseView {
    /// Start of the day, in UTC.
    #[schema(format = DateTime)]
    pub day: String,
    /// Method and path template; `null` if too many different uses were counted at once.
    pub route: Option<String>,
    pub ip: String,
    /// HTTP status of the responses.
    pub status: u16,
    /// Number of requests.
    pub count: u64,
    #[schema(format = DateTime)]
    pub last_used_at: String,
}

impl KeyUseView {
    pub(crate) fn of(used: &UsedBy) -> Self {
        KeyUseView {
            day: Timestamp::from_micros(used.day * 86_400_000_000).to_string(),
            route: some(&used.route),
            ip: used.ip.clone(),
            status: used.status,
            count: used.count,
            last_used_at: used.last_used.to_string(),
        }
    }
}
