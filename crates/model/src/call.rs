//! Call records: one record per call, live and, in the same shape, as the final CDR (S47–S52).

use std::net::SocketAddr;

use base::{Id, Kind, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{CallStatus, Cause, UserId};

/// Id prefix of [`CallId`].
#[derive(Clone, Copy, Debug)]
pub enum Call {}

impl Kind for Call {
    const PREFIX: &'static str = "session";
}

/// `session_1234567890_abc123`
pub type CallId = Id<Call>;

/// Direction of a call, seen from the PBX.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum CallDirection {
    Internal,
    Inbound,
    Outbound,
}

/// One routing rule that was evaluated, and its outcome.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TraceStep {
    /// Name of the rule: `identify`, `extension`, `bindings`, ….
    pub rule: String,
    /// Outcome in a sentence.
    pub outcome: String,
}

/// Role of a leg in its call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum LegRole {
    Caller,
    Callee,
    Trunk,
}

/// Media quality of a leg; absent where no media flowed.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quality {
    /// RTP packets received from the peer.
    pub packets_received: u64,
    /// RTP packets sent to the peer.
    pub packets_sent: u64,
    /// RTP packets of the peer that were lost.
    pub packets_lost: u64,
    /// Interarrival jitter of the received stream in ms (RFC 3550 §6.4.1).
    pub jitter_ms: f32,
    /// Round-trip time in ms; 0 where the peer sends no RTCP.
    pub rtt_ms: f32,
    /// E-model MOS of the received stream, 1.0 to 4.5; 0 where unknown.
    pub mos: f32,
    /// E-model MOS of the sent stream from the peer's RTCP reports, 1.0 to 4.5; 0 where unknown.
    pub remote_mos: f32,
}

/// Record of one leg of a call.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LegRecord {
    /// Caller, callee or trunk.
    pub role: LegRole,
    /// The party: a user name, an extension number or an outside number.
    pub party: String,
    /// Signalling address of the peer.
    pub address: Option<SocketAddr>,
    /// SIP Call-ID of the leg.
    pub sip_call_id: String,
    /// Start time.
    pub started_at: Timestamp,
    /// Time of the answer.
    pub answered_at: Option<Timestamp>,
    /// End time.
    pub ended_at: Option<Timestamp>,
    /// Why the leg ended.
    pub cause: Option<Cause>,
    /// Final SIP status of the peer where it refused: 486, 603, ….
    pub sip_status: Option<u16>,
    /// Negotiated codec, `PCMU`.
    pub codec: Option<String>,
    /// Media quality.
    pub quality: Option<Quality>,
}

impl LegRecord {
    /// A leg that starts at `at`, neither answered nor ended.
    pub fn new(role: LegRole, party: impl Into<String>, at: Timestamp) -> LegRecord {
        LegRecord {
            role,
            party: party.into(),
            address: None,
            sip_call_id: String::new(),
            started_at: at,
            answered_at: None,
            ended_at: None,
            cause: None,
            sip_status: None,
            codec: None,
            quality: None,
        }
    }
}

/// Record of a call, live or ended: the API's call object, the stored row and the CDR.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CallRecord {
    /// Unique id; `sessionId` in the API.
    #[serde(rename = "sessionId")]
    pub id: CallId,
    /// The user who owns the call: limits are counted for this user, who may read the record.
    pub user: UserId,
    /// The user who owns the other end, and may read the record too.
    pub other_user: Option<UserId>,
    /// Internal, inbound or outbound.
    pub direction: CallDirection,
    /// Current or final status.
    pub status: CallStatus,
    /// Caller number as shown to the callee.
    pub from_number: String,
    /// Dialled number.
    pub to_number: String,
    /// User name of the device that a click-to-call rings first (S48).
    pub device: Option<String>,
    /// Start time.
    pub started_at: Timestamp,
    /// Time of the callee's answer.
    pub answered_at: Option<Timestamp>,
    /// End time.
    pub ended_at: Option<Timestamp>,
    /// Why the call ended.
    pub cause: Option<Cause>,
    /// Routing trace.
    pub trace: Vec<TraceStep>,
    /// Legs, in the order in which they began.
    pub legs: Vec<LegRecord>,
    /// Of a call in progress: the time of this copy, by the clock that the times above follow. It differs from the wall clock if that was set
    /// during the call. `None` in what is stored.
    #[serde(skip)]
    pub as_of: Option<Timestamp>,
}

impl CallRecord {
    /// A queued call that starts at `at`, without legs and trace. `from` is the caller number shown to the callee, `to` the dialled number.
    pub fn new(
        id: CallId,
        user: UserId,
        direction: CallDirection,
        from: impl Into<String>,
        to: impl Into<String>,
        at: Timestamp,
    ) -> CallRecord {
        CallRecord {
            as_of: None,
            id,
            user,
            other_user: None,
            direction,
            status: CallStatus::Queued,
            from_number: from.into(),
            to_number: to.into(),
            device: None,
            started_at: at,
            answered_at: None,
            ended_at: None,
            cause: None,
            trace: Vec::new(),
            legs: Vec::new(),
        }
    }

    /// Seconds from answer to end, or to [`CallRecord::as_of`] (else `now`) while the call is up; 0 where it was not answered.
    pub fn duration_seconds(&self, now: Timestamp) -> u64 {
        let end = self.ended_at.or(self.as_of).unwrap_or(now);
        self.answered_at.map_or(0, |answered| end.since(answered).as_secs())
    }
}
