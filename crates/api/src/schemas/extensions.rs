//! JSON of extensions and of the settings of their phones.

use model::{DialPermissions, Extension, FollowMe, FollowMode, FollowStep, ForwardingMode};
use serde::Serialize;
use switch::Presence;
use utoipa::ToSchema;

use crate::Settings;

/// SIP settings of the extension's phones.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExtensionCredentials {
    pub username: String,
    /// Only in the response that creates it: it is shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub password: Option<String>,
    pub domain: String,
    pub sip_uri: String,
    /// `host:port`
    pub proxy_server: String,
    /// `UDP`
    pub transport_protocol: &'static str,
}

impl ExtensionCredentials {
    pub(crate) fn of(settings: &Settings, username: &str, password: Option<String>) -> Self {
        ExtensionCredentials {
            username: username.to_owned(),
            password,
            domain: settings.domain.clone(),
            sip_uri: settings.sip_uri(username),
            proxy_server: settings.proxy_server(),
            transport_protocol: "UDP",
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(crate) struct ExtensionAnswer {
    pub success: bool,
    pub extension: ExtensionView,
    /// Settings that were accepted but cannot work at present, such as a forward to a number that no trunk carries. Absent if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub warnings: Vec<super::Warning>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExtensionsAnswer {
    pub success: bool,
    pub extensions: Vec<ExtensionView>,
    /// Ask with it as `cursor` for the next page; `null` on the last one.
    #[serde(serialize_with = "crate::cursor::serialize_cursor")]
    pub next_cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Extension)]
pub(crate) struct ExtensionView {
    pub id: String,
    pub extension_number: String,
    pub display_name: String,
    /// Absent in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub sip_credentials: Option<ExtensionCredentials>,
    /// `active`, `inactive`, or `busy` while it is in a call.
    pub status: &'static str,
    /// Whether a phone is registered.
    pub registered: bool,
    pub forwarding_enabled: bool,
    pub forwarding_number: Option<String>,
    /// `always`, `busy`, `noAnswer` or `unreachable`.
    pub forwarding_mode: &'static str,
    pub voicemail_enabled: bool,
    pub do_not_disturb: bool,
    pub call_waiting: bool,
    pub ring_seconds: u16,
    /// `default`, `none`, `inbound`, `outbound` or `all`: which of its calls are recorded.
    pub record_calls: &'static str,
    /// Time zone of schedules that name none; `null` for the server's.
    pub timezone: Option<String>,
    pub dial_permissions: DialPermissionsView,
    /// `null` if it is off.
    pub follow_me: Option<FollowMeView>,
    pub user_id: String,
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(format = DateTime)]
    pub updated_at: String,
}

/// What an extension may dial (S188).
#[derive(Serialize, ToSchema)]
#[schema(as = DialPermissions)]
pub(crate) struct DialPermissionsView {
    pub internal: bool,
    pub national: bool,
    pub international: bool,
    pub premium: bool,
}

impl DialPermissionsView {
    fn of(DialPermissions { internal, national, international, premium }: DialPermissions) -> Self {
        DialPermissionsView { internal, national, international, premium }
    }
}

/// Follow-me: numbers that are called to reach the user of the extension.
#[derive(Serialize, ToSchema)]
#[schema(as = FollowMe)]
pub(crate) struct FollowMeView {
    /// `sequential` or `simultaneous`.
    pub mode: &'static str,
    pub numbers: Vec<FollowStepView>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FollowStep)]
pub(crate) struct FollowStepView {
    pub number: String,
    pub ring_seconds: u16,
}

impl FollowMeView {
    fn of(follow_me: &FollowMe) -> Self {
        let step = |step: &FollowStep| FollowStepView {
            number: step.number.to_string(),
            ring_seconds: step.ring_seconds,
        };
        let mode = match follow_me.mode {
            FollowMode::Sequential => "sequential",
            FollowMode::Simultaneous => "simultaneous",
        };
        FollowMeView { mode, numbers: follow_me.numbers.iter().map(step).collect() }
    }
}

pub(crate) fn forwarding_mode(mode: ForwardingMode) -> &'static str {
    match mode {
        ForwardingMode::Always => "always",
        ForwardingMode::Busy => "busy",
        ForwardingMode::NoAnswer => "noAnswer",
        ForwardingMode::Unreachable => "unreachable",
    }
}

impl ExtensionView {
    pub(crate) fn of(extension: &Extension, presence: Presence) -> Self {
        let status = match extension.status {
            model::ExtensionStatus::Inactive => "inactive",
            model::ExtensionStatus::Active if presence.busy => "busy", // S70
            model::ExtensionStatus::Active => "active",
        };
        ExtensionView {
            id: extension.id.to_string(),
            extension_number: extension.number.to_string(),
            display_name: extension.display_name.clone(),
            sip_credentials: None,
            status,
            registered: presence.registered,
            forwarding_enabled: extension.forwarding.enabled,
            forwarding_number: extension.forwarding.number.as_ref().map(ToString::to_string),
            forwarding_mode: forwarding_mode(extension.forwarding.mode),
            voicemail_enabled: extension.voicemail_enabled,
            do_not_disturb: extension.do_not_disturb,
            call_waiting: extension.call_waiting,
            ring_seconds: extension.ring_seconds,
            record_calls: extension.record_calls.as_str(),
            timezone: extension.timezone.as_ref().map(|zone| zone.name().to_owned()),
            dial_permissions: DialPermissionsView::of(extension.dial_permissions),
            follow_me: extension.follow_me.as_ref().map(FollowMeView::of),
            user_id: extension.user.to_string(),
            created_at: extension.created_at.to_string(),
            updated_at: extension.updated_at.to_string(),
        }
    }

    pub(crate) fn with(self, credentials: ExtensionCredentials) -> Self {
        ExtensionView { sip_credentials: Some(credentials), ..self }
    }
}
