//! The JSON that is answered, in the names and the order of the documents.

use base::Timestamp;
use model::{ApiKey, CallRecord, Extension, ForwardingMode, LegRecord, Permission, Quality};
use serde::Serialize;
use switch::Presence;
use utoipa::ToSchema;

use crate::Settings;

/// RFC 3339 without fractions, as the documents show `createdAt`.
pub(crate) fn to_the_second(at: Timestamp) -> String {
    Timestamp::from_micros(at.as_secs() * 1_000_000).to_string().replace(".000Z", "Z")
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Success {
    /// Always `true`.
    pub success: bool,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServerStatus {
    pub success: bool,
    /// `running`, `stopped`, `starting` or `draining`.
    pub status: &'static str,
    /// The same.
    pub opensips_status: &'static str,
    /// The SIP listeners.
    pub listeners: Vec<String>,
    /// Calls, not legs.
    pub active_calls: usize,
    pub registrations: usize,
    /// RTP ports that calls hold now.
    pub ports_in_use: usize,
    pub uptime_seconds: u64,
    pub version: String,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Health {
    /// `running`, `stopped`, `starting` or `draining`.
    pub opensips_status: &'static str,
    /// Calls, not legs.
    pub active_calls: usize,
    /// Whether the server is up.
    pub server_uptime: bool,
    pub server_uptime_seconds: u64,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Probe {
    /// `ok`, or the state of the SIP side.
    pub status: &'static str,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CredentialsAnswer {
    pub success: bool,
    pub credentials: Credentials,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Credentials {
    pub username: String,
    /// Shown once.
    pub password: String,
    pub domain: String,
    pub sip_uri: String,
    /// `host:port`
    pub proxy_server: String,
    /// `UDP`
    pub transport_protocol: &'static str,
}

/// What an extension's phone is configured with.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExtensionCredentials {
    pub username: String,
    /// Only where it has just been made: it is shown once.
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
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExtensionsAnswer {
    pub success: bool,
    pub extensions: Vec<ExtensionView>,
    /// Ask with it as `cursor` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Extension)]
pub(crate) struct ExtensionView {
    pub id: String,
    pub extension_number: String,
    pub display_name: String,
    /// Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub sip_credentials: Option<ExtensionCredentials>,
    /// `active`, `inactive`, or `busy` while it is in a call.
    pub status: &'static str,
    /// Whether a phone of it is registered now.
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
    pub user_id: String,
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(format = DateTime)]
    pub updated_at: String,
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
            user_id: extension.user.to_string(),
            created_at: to_the_second(extension.created_at),
            updated_at: to_the_second(extension.updated_at),
        }
    }

    pub(crate) fn with(self, credentials: ExtensionCredentials) -> Self {
        ExtensionView { sip_credentials: Some(credentials), ..self }
    }
}

#[derive(Serialize, ToSchema)]
pub(crate) struct NewSessionAnswer {
    pub success: bool,
    pub session: NewSession,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewSession {
    pub session_id: String,
    /// `queued`, `ringing`, `in-progress`, `completed`, `busy`, `failed`, `no-answer` or `canceled`.
    pub status: &'static str,
    pub sip_credentials: SessionCredentials,
    /// `null` until Twilio has sent one.
    pub twilio_call_sid: Option<String>,
}

/// The device that is rung first.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionCredentials {
    /// `null` where no device is known yet.
    pub username: Option<String>,
    pub domain: String,
}

impl NewSession {
    pub(crate) fn of(settings: &Settings, call: &CallRecord) -> Self {
        NewSession {
            session_id: call.id.to_string(),
            status: call.status.as_str(),
            sip_credentials: SessionCredentials {
                username: call.device.clone(),
                domain: settings.domain.clone(),
            },
            twilio_call_sid: None,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(crate) struct ExtensionCallAnswer {
    pub success: bool,
    pub call: ExtensionCall,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExtensionCall {
    pub session_id: String,
    /// As in a session.
    pub status: &'static str,
    /// The extension's SIP URI.
    pub from_number: String,
    pub to_number: String,
    /// `null` until Twilio has sent one.
    pub twilio_call_sid: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct SessionAnswer {
    pub success: bool,
    pub session: Session,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CallsAnswer {
    pub success: bool,
    /// Newest first.
    pub calls: Vec<Session>,
    /// Ask with it as `cursor` for the next page; `null` on the last one.
    pub next_cursor: Option<String>,
}

/// A call, alive or over.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::struct_field_names)] // the documents call it so
pub(crate) struct Session {
    pub session_id: String,
    /// `queued`, `ringing`, `in-progress`, `completed`, `busy`, `failed`, `no-answer` or `canceled`.
    pub status: &'static str,
    pub sip_credentials: SessionCredentials,
    /// `null` until Twilio has sent one.
    pub twilio_call_sid: Option<String>,
    pub user_id: String,
    pub from_number: String,
    pub to_number: String,
    /// `internal`, `inbound` or `outbound`.
    pub direction: &'static str,
    #[schema(format = DateTime)]
    pub started_at: String,
    #[schema(format = DateTime)]
    pub answered_at: Option<String>,
    #[schema(format = DateTime)]
    pub ended_at: Option<String>,
    /// From answer to end, or to now.
    pub duration_seconds: u64,
    /// Why it ended: `completed`, `busy`, `no_answer`, ….
    pub end_reason: Option<&'static str>,
    pub legs: Vec<Leg>,
    /// The worst of its legs.
    pub quality: Option<QualityView>,
    pub recordings: Vec<String>,
    /// Where its SIP messages can be read.
    pub timeline_url: String,
    /// Why it was routed so.
    pub trace: Vec<TraceStepView>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = TraceStep)]
pub(crate) struct TraceStepView {
    pub rule: String,
    pub outcome: String,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Leg {
    /// `caller` or `callee`.
    pub role: &'static str,
    pub party: String,
    pub address: Option<String>,
    pub sip_call_id: String,
    #[schema(format = DateTime)]
    pub started_at: String,
    #[schema(format = DateTime)]
    pub answered_at: Option<String>,
    #[schema(format = DateTime)]
    pub ended_at: Option<String>,
    pub end_reason: Option<&'static str>,
    pub sip_status: Option<u16>,
    pub codec: Option<String>,
    pub quality: Option<QualityView>,
}

#[derive(Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Quality)]
pub(crate) struct QualityView {
    pub packets_received: u64,
    pub packets_sent: u64,
    pub packets_lost: u64,
    pub jitter_ms: f32,
    pub rtt_ms: f32,
    /// 1.0 to 4.5; 0 where unknown.
    pub mos: f32,
    /// By the phone's own reports; 0 where unknown.
    pub remote_mos: f32,
}

impl QualityView {
    fn of(q: &Quality) -> Self {
        QualityView {
            packets_received: q.packets_received,
            packets_sent: q.packets_sent,
            packets_lost: q.packets_lost,
            jitter_ms: finite(q.jitter_ms),
            rtt_ms: finite(q.rtt_ms),
            mos: finite(q.mos),
            remote_mos: finite(q.remote_mos),
        }
    }
}

/// JSON has no word for what is no number.
fn finite(value: f32) -> f32 {
    if value.is_finite() { value } else { 0.0 }
}

impl Leg {
    fn of(leg: &LegRecord) -> Self {
        Leg {
            role: match leg.role {
                model::LegRole::Caller => "caller",
                model::LegRole::Callee => "callee",
            },
            party: leg.party.clone(),
            address: leg.address.map(|address| address.to_string()),
            sip_call_id: leg.sip_call_id.clone(),
            started_at: leg.started_at.to_string(),
            answered_at: leg.answered_at.map(|at| at.to_string()),
            ended_at: leg.ended_at.map(|at| at.to_string()),
            end_reason: leg.cause.map(model::Cause::code),
            sip_status: leg.sip_status,
            codec: leg.codec.clone(),
            quality: leg.quality.as_ref().map(QualityView::of),
        }
    }
}

impl Session {
    pub(crate) fn of(settings: &Settings, call: &CallRecord, now: Timestamp) -> Self {
        let legs: Vec<Leg> = call.legs.iter().map(Leg::of).collect();
        let heard = legs.iter().filter_map(|leg| leg.quality.as_ref()).filter(|q| q.mos > 0.0);
        let worst = heard.min_by(|a, b| a.mos.total_cmp(&b.mos)).cloned();
        let brief = NewSession::of(settings, call);
        Session {
            session_id: brief.session_id,
            status: brief.status,
            sip_credentials: brief.sip_credentials,
            twilio_call_sid: brief.twilio_call_sid,
            user_id: call.user.to_string(),
            from_number: call.from_number.clone(),
            to_number: call.to_number.clone(),
            direction: match call.direction {
                model::CallDirection::Internal => "internal",
                model::CallDirection::Inbound => "inbound",
                model::CallDirection::Outbound => "outbound",
            },
            started_at: call.started_at.to_string(),
            answered_at: call.answered_at.map(|at| at.to_string()),
            ended_at: call.ended_at.map(|at| at.to_string()),
            duration_seconds: call.duration_seconds(now),
            end_reason: call.cause.map(model::Cause::code),
            quality: worst.or_else(|| legs.iter().find_map(|leg| leg.quality.clone())),
            legs,
            recordings: Vec::new(),
            timeline_url: format!("/api/v1/calls/{}/ladder", call.id),
            trace: call
                .trace
                .iter()
                .map(|step| TraceStepView { rule: step.rule.clone(), outcome: step.outcome.clone() })
                .collect(),
        }
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LadderAnswer {
    pub success: bool,
    pub session_id: String,
    /// Every SIP message of the call, in order.
    pub ladder: Vec<Rung>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rung {
    #[schema(format = DateTime)]
    pub at: String,
    /// `sent` or `received`.
    pub direction: &'static str,
    pub transport: String,
    pub local: String,
    pub remote: String,
    /// `INVITE sip:1002@localhost SIP/2.0`
    pub first_line: String,
    /// The whole message.
    pub text: String,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RegistrationsAnswer {
    pub success: bool,
    pub registrations: Vec<RegistrationView>,
    /// Ask with it as `cursor` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Registration)]
pub(crate) struct RegistrationView {
    pub username: String,
    pub extension_number: Option<String>,
    pub user_id: Option<String>,
    pub contact: String,
    /// Where the phone really is.
    pub address: String,
    #[schema(format = DateTime)]
    pub expires_at: String,
    pub user_agent: String,
}

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
}

/// In the names of the documents.
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
    /// Ask with it as `cursor` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next_cursor: Option<String>,
}

/// A key, without its secret.
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
            created_at: to_the_second(key.created_at),
            last_used_at: last_used.map(to_the_second),
        }
    }
}
