//! Events, and figures about calls.

use serde::Serialize;
use serde_json::Value;
use store::Event;
use utoipa::ToSchema;

use super::some;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventsAnswer {
    pub success: bool,
    /// Newest first, or oldest first with `order=asc`.
    pub events: Vec<EventView>,
    /// Ask with it as `cursor` for what follows. With `order=asc` it is always there: come back with it for what happens next.
    #[serde(serialize_with = "crate::cursor::sealed")]
    #[schema(value_type = Option<String>)]
    pub next_cursor: Option<i64>,
}

/// A fact: it happened once, and is told once.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Event)]
pub(crate) struct EventView {
    /// Later events have higher ones; `Last-Event-ID` and cursors are made of it.
    pub id: i64,
    /// `call_started`, `voip_extension_created`, ….
    #[serde(rename = "type")]
    pub kind: String,
    #[schema(format = DateTime)]
    pub at: String,
    /// Whose.
    pub user_id: Option<String>,
    /// The id of what it is about: a session, an extension, a key, a user name; `null` for the server itself.
    pub subject: Option<String>,
    /// What happened; other for each type.
    #[schema(value_type = Object)]
    pub data: Value,
    /// The API key that did it.
    pub key_id: Option<String>,
    /// From where it was done.
    pub ip: Option<String>,
    /// The `X-Request-Id` of the request that did it.
    pub request_id: Option<String>,
}

impl EventView {
    pub(crate) fn of(event: &Event) -> Self {
        EventView {
            id: event.seq,
            kind: event.kind.clone(),
            at: event.at.to_string(),
            user_id: event.user.as_ref().map(ToString::to_string),
            subject: some(&event.subject),
            data: if event.detail.is_object() {
                event.detail.clone()
            } else {
                Value::Object(serde_json::Map::new())
            },
            key_id: event.key.as_ref().map(ToString::to_string),
            ip: event.ip.clone(),
            request_id: (!event.request.is_empty()).then(|| event.request.clone()),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(crate) struct StatsAnswer {
    pub success: bool,
    pub stats: StatsView,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Stats)]
pub(crate) struct StatsView {
    /// Calls that are up now.
    pub active_calls: usize,
    /// Phones that are registered now.
    pub registrations: usize,
    /// The figures below are of calls that began since then: 24 hours.
    #[schema(format = DateTime)]
    pub since: String,
    /// Calls that are over.
    pub calls: u64,
    /// Of these, how many were answered.
    pub answered: u64,
    /// Answer-seizure ratio: the answered part of them, 0 to 1; `null` without a call.
    pub asr: Option<f64>,
    /// Average call duration in seconds, of answered calls; `null` without one.
    pub acd: Option<f64>,
    /// The last 24 hours, oldest first.
    pub by_hour: Vec<HourView>,
    pub quality: QualityStats,
    /// Why calls were not answered, most frequent first.
    pub refusals: Vec<RefusalView>,
    /// Whether there were more calls than are looked at; the newest are.
    pub truncated: bool,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = HourStats)]
pub(crate) struct HourView {
    #[schema(format = DateTime)]
    pub at: String,
    pub calls: u64,
    pub answered: u64,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QualityStats {
    /// Legs whose sound was measured.
    pub measured: u64,
    /// Their mean MOS, 1 to 4.5.
    pub mean_mos: Option<f64>,
    /// The part of them under 3.6, 0 to 1.
    pub poor_share: Option<f64>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RefusalStats)]
pub(crate) struct RefusalView {
    /// As `endReason` of a session.
    pub reason: String,
    pub calls: u64,
}
