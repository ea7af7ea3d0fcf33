//! JSON of events and statistics.

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
    /// Pass it as `cursor` to continue. With `order=asc` it is always present: pass it later to get new events.
    #[serde(serialize_with = "crate::cursor::serialize_cursor")]
    #[schema(value_type = Option<String>)]
    pub next_cursor: Option<i64>,
}

/// A fact that happened once and is reported once.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Event)]
pub(crate) struct EventView {
    /// Increases with time. `Last-Event-ID` and cursors are derived from it.
    pub id: i64,
    /// `call_started`, `voip_extension_created`, ….
    #[serde(rename = "type")]
    pub kind: String,
    #[schema(format = DateTime)]
    pub at: String,
    /// User whom the event concerns.
    pub user_id: Option<String>,
    /// Id of the object concerned: a session, an extension, a key, a user name; `null` for the server itself.
    pub subject: Option<String>,
    /// Details; the fields depend on the type.
    #[schema(value_type = Object)]
    pub data: Value,
    /// API key of the request that caused it.
    pub key_id: Option<String>,
    /// Source address of the request that caused it.
    pub ip: Option<String>,
    /// The `X-Request-Id` of the request that caused it.
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
    /// Active calls.
    pub active_calls: usize,
    /// Registered phones.
    pub registrations: usize,
    /// Start of the period of the figures below: 24 hours.
    #[schema(format = DateTime)]
    pub since: String,
    /// Ended calls.
    pub calls: u64,
    /// Ended calls that were answered.
    pub answered: u64,
    /// Answer-seizure ratio: answered share of the ended calls, 0 to 1; `null` without calls.
    pub asr: Option<f64>,
    /// Average duration of answered calls in seconds; `null` without answered calls.
    pub acd: Option<f64>,
    /// The last 24 hours, oldest first.
    pub by_hour: Vec<HourView>,
    pub quality: QualityStats,
    /// Why calls were not answered, most frequent reason first.
    pub refusals: Vec<RefusalView>,
    /// Whether there were too many calls to count all; only the newest are counted.
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
    /// Legs with measured audio quality.
    pub measured: u64,
    /// Mean MOS of these legs, 1 to 4.5.
    pub mean_mos: Option<f64>,
    /// Share of these legs with a MOS below 3.6, 0 to 1.
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
