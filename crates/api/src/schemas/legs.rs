//! JSON of call legs and their audio quality.

use model::{LegRecord, Quality};
use serde::Serialize;
use utoipa::ToSchema;

use super::some;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Leg {
    /// `caller`, `callee` or `trunk`.
    pub role: &'static str,
    pub party: Option<String>,
    pub address: Option<String>,
    pub sip_call_id: Option<String>,
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
    /// 1.0 to 4.5; 0 if unknown.
    pub mos: f32,
    /// From the RTCP reports of the phone; 0 if unknown.
    pub remote_mos: f32,
}

impl QualityView {
    pub(super) fn of(q: &Quality) -> Self {
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

/// JSON cannot represent NaN or infinity: 0 instead.
fn finite(value: f32) -> f32 {
    if value.is_finite() { value } else { 0.0 }
}

impl Leg {
    pub(super) fn of(leg: &LegRecord) -> Self {
        Leg {
            role: match leg.role {
                model::LegRole::Caller => "caller",
                model::LegRole::Callee => "callee",
                model::LegRole::Trunk => "trunk",
            },
            party: some(&leg.party),
            address: leg.address.map(|address| address.to_string()),
            sip_call_id: some(&leg.sip_call_id),
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
