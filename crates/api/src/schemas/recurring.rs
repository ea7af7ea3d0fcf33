//! JSON of recurring calls (S77, S82).

use base::Timestamp;
use model::recurrence::next_after;
use model::{Action, Announcement, Misfire, Occurrence, OccurrenceState, RecurringCall};
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RecurringCallAnswer {
    pub success: bool,
    pub recurring_call: RecurringCallView,
    /// Settings that were accepted but cannot work at present, such as a destination that no trunk carries. Absent if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub warnings: Vec<super::Warning>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RecurringCallsAnswer {
    pub success: bool,
    /// Oldest first.
    pub recurring_calls: Vec<RecurringCallView>,
    /// Pass it as `cursor` to get the next page; `null` on the last page.
    #[serde(serialize_with = "crate::cursor::serialize_cursor")]
    pub next_cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RecurringCall)]
pub(crate) struct RecurringCallView {
    pub id: String,
    pub extension_id: String,
    pub destination_number: String,
    pub schedule: ScheduleView,
    pub enabled: bool,
    /// `null` while it is disabled.
    #[schema(format = DateTime)]
    pub next_execution: Option<String>,
    /// `skip` or `run_once`.
    pub misfire: &'static str,
    /// `connect`, `play` or `message`.
    pub action: &'static str,
    /// Server prompt that is played.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub prompt_id: Option<String>,
    /// Sound of the extension that is played.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub audio_id: Option<String>,
    pub max_attempts: u8,
    pub retry_minutes: u16,
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(format = DateTime)]
    pub updated_at: String,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Schedule)]
pub(crate) struct ScheduleView {
    /// `daily`, `weekly` or `monthly`.
    pub frequency: String,
    pub time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub day_of_week: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub days_of_week: Option<Vec<i64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub day_of_month: Option<i64>,
    /// `skip`; absent if the last day of the month is used when the day does not exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub month_end_policy: Option<String>,
    pub timezone: String,
}

impl RecurringCallView {
    pub(crate) fn of(call: &RecurringCall, now: Timestamp) -> Self {
        let written = call.schedule.written();
        let next = if call.enabled { next_after(&call.schedule, now) } else { None };
        let (prompt_id, audio_id) = match call.action.announcement() {
            Some(Announcement::Prompt(name)) => (Some(name.clone()), None),
            Some(Announcement::Audio(id)) => (None, Some(id.to_string())),
            None => (None, None),
        };
        RecurringCallView {
            id: call.id.to_string(),
            extension_id: call.extension.to_string(),
            destination_number: call.destination.clone(),
            schedule: ScheduleView {
                frequency: written.frequency,
                time: written.time,
                day_of_week: written.day_of_week,
                days_of_week: written.days_of_week,
                day_of_month: written.day_of_month,
                month_end_policy: written.month_end_policy,
                timezone: written.timezone,
            },
            enabled: call.enabled,
            next_execution: next.map(|at| at.to_string()),
            misfire: match call.misfire {
                Misfire::Skip => "skip",
                Misfire::RunOnce => "run_once",
            },
            action: match call.action {
                Action::Connect => "connect",
                Action::Play(_) => "play",
                Action::Message(_) => "message",
            },
            prompt_id,
            audio_id,
            max_attempts: call.max_attempts,
            retry_minutes: call.retry_minutes,
            created_at: call.created_at.to_string(),
            updated_at: call.updated_at.to_string(),
        }
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NextRunsAnswer {
    pub success: bool,
    /// While false, the call is not placed at these times.
    pub enabled: bool,
    /// `weekly on Mon at 10:30 (America/Los_Angeles)`
    pub description: String,
    /// Release of the IANA time zone database that was used.
    pub tzdb_version: &'static str,
    pub next: Vec<NextRun>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct NextRun {
    #[schema(format = DateTime)]
    pub at: String,
    /// Local time in the time zone of the schedule.
    pub local: String,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunsAnswer {
    pub success: bool,
    /// Newest first.
    pub runs: Vec<RunView>,
    /// Pass it as `cursor` to get the next page; `null` on the last page.
    #[serde(serialize_with = "crate::cursor::serialize_cursor")]
    pub next_cursor: Option<String>,
}

/// One occurrence of a recurring call and its result.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Run)]
pub(crate) struct RunView {
    #[schema(format = DateTime)]
    pub due: String,
    /// `claimed`, `dialling`, `done`, `failed` or `missed`.
    pub state: &'static str,
    /// Number of call attempts.
    pub attempts: u8,
    /// Call of the last attempt.
    pub session_id: Option<String>,
    /// Why the last attempt failed, or why it has to wait.
    pub end_reason: Option<&'static str>,
    /// When the next attempt is due, if there is one.
    #[schema(format = DateTime)]
    pub next_attempt: Option<String>,
    #[schema(format = DateTime)]
    pub updated_at: String,
}

impl RunView {
    pub(crate) fn of(row: &Occurrence) -> Self {
        let waits = row.state == OccurrenceState::Claimed;
        RunView {
            due: row.due.to_string(),
            state: row.state.as_str(),
            attempts: row.attempts,
            session_id: row.call.as_ref().map(ToString::to_string),
            end_reason: row.cause.map(model::Cause::code),
            next_attempt: waits.then(|| row.not_before.max(row.lease_until).to_string()),
            updated_at: row.updated_at.to_string(),
        }
    }
}
