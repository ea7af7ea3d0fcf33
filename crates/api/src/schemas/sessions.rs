//! JSON of calls, active or ended.

use base::Timestamp;
use model::CallRecord;
use serde::Serialize;
use utoipa::ToSchema;

use super::legs::{Leg, QualityView};
use super::some;
use crate::Settings;

#[derive(Serialize, ToSchema)]
pub(crate) struct NewSessionAnswer {
    pub success: bool,
    pub session: NewSession,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewSession {
    pub id: String,
    /// Same as id.
    pub session_id: String,
    /// `queued`, `ringing`, `in-progress`, `completed`, `busy`, `failed`, `no-answer` or `canceled`.
    pub status: &'static str,
    pub sip_credentials: SessionCredentials,
    /// `null` until Twilio has sent one.
    pub twilio_call_sid: Option<String>,
}

/// The device that rings first.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionCredentials {
    /// `null` if no device is known yet.
    pub username: Option<String>,
    pub domain: String,
}

impl NewSession {
    pub(crate) fn of(settings: &Settings, call: &CallRecord) -> Self {
        NewSession {
            id: call.id.to_string(),
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
    pub id: String,
    /// Same as id.
    pub session_id: String,
    /// As in a session.
    pub status: &'static str,
    /// SIP URI of the extension.
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
    /// Pass it as `cursor` to get the next page; `null` on the last page.
    #[serde(serialize_with = "crate::cursor::serialize_cursor")]
    pub next_cursor: Option<String>,
}

/// A call, active or ended.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::struct_field_names)] // the documents call it so
pub(crate) struct Session {
    pub id: String,
    /// Same as id.
    pub session_id: String,
    /// `queued`, `ringing`, `in-progress`, `completed`, `busy`, `failed`, `no-answer` or `canceled`.
    pub status: &'static str,
    pub sip_credentials: SessionCredentials,
    /// `null` until Twilio has sent one.
    pub twilio_call_sid: Option<String>,
    pub user_id: String,
    /// `null` if the caller is unknown.
    pub from_number: Option<String>,
    pub to_number: Option<String>,
    /// `internal`, `inbound` or `outbound`.
    pub direction: &'static str,
    #[schema(format = DateTime)]
    pub started_at: String,
    #[schema(format = DateTime)]
    pub answered_at: Option<String>,
    #[schema(format = DateTime)]
    pub ended_at: Option<String>,
    /// Seconds from answer to end, or to now.
    pub duration_seconds: u64,
    /// Why it ended: `completed`, `busy`, `no_answer`, ….
    pub end_reason: Option<&'static str>,
    pub legs: Vec<Leg>,
    /// Quality of the worst leg.
    pub quality: Option<QualityView>,
    pub recordings: Vec<String>,
    /// URL of the call's SIP messages.
    pub timeline_url: String,
    /// Routing decisions, in order.
    pub trace: Vec<TraceStepView>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = TraceStep)]
pub(crate) struct TraceStepView {
    pub rule: String,
    pub outcome: String,
}

pub(crate) fn direction_of(call: &CallRecord) -> &'static str {
    match call.direction {
        model::CallDirection::Internal => "internal",
        model::CallDirection::Inbound => "inbound",
        model::CallDirection::Outbound => "outbound",
    }
}

impl Session {
    pub(crate) fn of(settings: &Settings, call: &CallRecord, now: Timestamp) -> Self {
        let legs: Vec<Leg> = call.legs.iter().map(Leg::of).collect();
        let heard = legs.iter().filter_map(|leg| leg.quality.as_ref()).filter(|q| q.mos > 0.0);
        let worst = heard.min_by(|a, b| a.mos.total_cmp(&b.mos)).cloned();
        let brief = NewSession::of(settings, call);
        Session {
            id: brief.id,
            session_id: brief.session_id,
            status: brief.status,
            sip_credentials: brief.sip_credentials,
            twilio_call_sid: brief.twilio_call_sid,
            user_id: call.user.to_string(),
            from_number: some(&call.from_number),
            to_number: some(&call.to_number),
            direction: direction_of(call),
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
