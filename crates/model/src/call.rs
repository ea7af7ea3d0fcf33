//! What is recorded of a call: one record per call while it lives and, unchanged in shape, when it is over (S47–S52).

use std::net::SocketAddr;

use base::{Id, Kind, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Cause, UserId};

/// Marks ids of calls; see [`CallId`].
#[derive(Clone, Copy, Debug)]
pub enum Call {}

impl Kind for Call {
    const PREFIX: &'static str = "session";
}

/// `session_1234567890_abc123`
pub type CallId = Id<Call>;

/// Where a call is, in the words of Twilio's clients (S52).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum CallStatus {
    Queued,
    Ringing,
    InProgress,
    Completed,
    Busy,
    Failed,
    NoAnswer,
    Canceled,
}

impl CallStatus {
    /// As in JSON: `queued`, `in-progress`, `no-answer`, ….
    pub fn as_str(self) -> &'static str {
        match self {
            CallStatus::Queued => "queued",
            CallStatus::Ringing => "ringing",
            CallStatus::InProgress => "in-progress",
            CallStatus::Completed => "completed",
            CallStatus::Busy => "busy",
            CallStatus::Failed => "failed",
            CallStatus::NoAnswer => "no-answer",
            CallStatus::Canceled => "canceled",
        }
    }

    /// Whether it is over.
    pub fn is_final(self) -> bool {
        !matches!(self, CallStatus::Queued | CallStatus::Ringing | CallStatus::InProgress)
    }
}

/// Between whom a call is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum CallDirection {
    Internal,
    Inbound,
    Outbound,
}

/// One rule that was looked at while routing, and what it said: the answer to "why?".
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TraceStep {
    /// Which rule: `identify`, `extension`, `bindings`, ….
    pub rule: String,
    /// What it found, in a sentence.
    pub outcome: String,
}

/// Which end of the call a leg is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum LegRole {
    Caller,
    Callee,
    Trunk,
}

/// How a leg sounded; absent where no media flowed.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quality {
    /// RTP packets from the phone.
    pub packets_received: u64,
    /// RTP packets to the phone.
    pub packets_sent: u64,
    /// Packets of the phone that never arrived.
    pub packets_lost: u64,
    /// Jitter of what the phone sends, ms.
    pub jitter_ms: f32,
    /// Round trip, ms; 0 where the phone sends no RTCP.
    pub rtt_ms: f32,
    /// E-model MOS of what the phone sends, 1.0–4.5; 0 where unknown.
    pub mos: f32,
    /// E-model MOS of what the phone hears, by its own reports; 0 where unknown.
    pub remote_mos: f32,
}

/// One leg of a call.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LegRecord {
    /// Which end.
    pub role: LegRole,
    /// Who: a user name, an extension or a number.
    pub party: String,
    /// The phone's signalling address.
    pub address: Option<SocketAddr>,
    /// SIP Call-ID of the leg.
    pub sip_call_id: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it was answered.
    pub answered_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why it ended.
    pub cause: Option<Cause>,
    /// The phone's own final status, where it refused: 486, 603, ….
    pub sip_status: Option<u16>,
    /// The codec spoken, `PCMU`.
    pub codec: Option<String>,
    /// How it sounded.
    pub quality: Option<Quality>,
}

/// A call, alive or over: what the API shows, what the store keeps, the CDR.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CallRecord {
    /// Its id, `sessionId` to the API.
    #[serde(rename = "sessionId")]
    pub id: CallId,
    /// Whose call it is: limits are counted and reading is allowed by it.
    pub user: UserId,
    /// Also allowed to read it: the user who owns the other end.
    pub other_user: Option<UserId>,
    /// Between whom.
    pub direction: CallDirection,
    /// Where it is.
    pub status: CallStatus,
    /// Who calls, as shown to the callee.
    pub from_number: String,
    /// What was dialled.
    pub to_number: String,
    /// The user name of the device that a click-to-call rings first (S48).
    pub device: Option<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// When the callee answered.
    pub answered_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why it ended.
    pub cause: Option<Cause>,
    /// Why it was routed so.
    pub trace: Vec<TraceStep>,
    /// Its legs, in the order in which they began.
    pub legs: Vec<LegRecord>,
}

impl CallRecord {
    /// Seconds from answer to end (to `now` while it is up); 0 where it was not answered.
    pub fn duration_seconds(&self, now: Timestamp) -> u64 {
        self.answered_at.map_or(0, |answered| self.ended_at.unwrap_or(now).since(answered).as_secs())
    }
}
