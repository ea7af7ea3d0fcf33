//! Version 1 of the journal's records: postcard, which identifies fields by order and variants by index. Such segments exist after a crash
//! followed by an upgrade. Read only; nothing here may ever change (`tests/golden/journal-v1.log`).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use base::Timestamp;
use model::journal::{Binding, CallEvent, DialogSnapshot, ListenerId, OutboundCallTime, Record};
use model::{
    CallDirection, CallId, CallRecord, CallStatus, Cause, LegRecord, LegRole, Quality, Recording,
    RecordingFormat, RecordingId, RecordingState, TraceStep, UserId,
};
use serde::{Deserialize, Deserializer};

/// Decode the payload of a record.
pub(super) fn read(payload: &[u8]) -> Result<Record, postcard::Error> {
    postcard::from_bytes::<RecordV1>(payload).map(Record::from)
}

/// A variant without fields, encoded by its index.
struct Indexed<T>(T);

/// The variants in the order of version 1.
trait Order: Copy + 'static {
    const ORDER: &'static [Self];
}

impl<'de, T: Order> Deserialize<'de> for Indexed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let index = u32::deserialize(deserializer)?;
        let variant = T::ORDER.get(index as usize).copied();
        variant.map(Indexed).ok_or_else(|| serde::de::Error::custom("unknown variant index"))
    }
}

impl Order for Cause {
    const ORDER: &'static [Cause] = &[
        Cause::Completed,
        Cause::Cancelled,
        Cause::EndedByApi,
        Cause::Busy,
        Cause::NoAnswer,
        Cause::Unreachable,
        Cause::DoNotDisturb,
        Cause::Declined,
        Cause::Refused,
        Cause::NotFound,
        Cause::NoRoute,
        Cause::TrunkDown,
        Cause::TrunkBusy,
        Cause::ForwardingLoop,
        Cause::BadNumber,
        Cause::Inactive,
        Cause::Forbidden,
        Cause::NotPermitted,
        Cause::NumberBlocked,
        Cause::EmergencyNotAllowed,
        Cause::IncompatibleMedia,
        Cause::CodecNotRecordable,
        Cause::BadMedia,
        Cause::ConcurrentCallLimit,
        Cause::Overload,
        Cause::Draining,
        Cause::MaxDuration,
        Cause::NoAck,
        Cause::SessionExpired,
        Cause::PeerLost,
        Cause::MediaTimeout,
        Cause::NoRegisteredDevice,
        Cause::TwilioNotConfigured,
        Cause::Crash,
        Cause::AudioMissing,
        Cause::Internal,
        Cause::CallRateLimit,
        Cause::OutsideMinutesUsed,
        Cause::EmergencyNoRoute,
    ];
}

impl Order for CallStatus {
    const ORDER: &'static [CallStatus] = &[
        CallStatus::Queued,
        CallStatus::Ringing,
        CallStatus::InProgress,
        CallStatus::Completed,
        CallStatus::Busy,
        CallStatus::Failed,
        CallStatus::NoAnswer,
        CallStatus::Canceled,
    ];
}

impl Order for CallDirection {
    const ORDER: &'static [CallDirection] =
        &[CallDirection::Internal, CallDirection::Inbound, CallDirection::Outbound];
}

impl Order for LegRole {
    const ORDER: &'static [LegRole] = &[LegRole::Caller, LegRole::Callee, LegRole::Trunk];
}

impl Order for RecordingState {
    const ORDER: &'static [RecordingState] = &[
        RecordingState::Recording,
        RecordingState::Complete,
        RecordingState::Failed,
        RecordingState::Deleted,
    ];
}

impl Order for RecordingFormat {
    const ORDER: &'static [RecordingFormat] = &[RecordingFormat::Opus, RecordingFormat::Wav];
}

#[derive(Deserialize)]
#[allow(clippy::large_enum_variant)]
enum RecordV1 {
    Bound(BindingV1),
    Unbound { username: Arc<str>, contact: String, at: Timestamp },
    CallOpened(CallV1),
    LegUp { call: CallId, leg: OpenLegV1 },
    CallClosed(CallV1),
    Ladder { call: CallId, blob: Vec<u8> },
    Noted(NoteV1),
    Recording(RecordingV1),
}

impl From<RecordV1> for Record {
    fn from(record: RecordV1) -> Record {
        match record {
            RecordV1::Bound(binding) => Record::Bound(binding.into()),
            RecordV1::Unbound { username, contact, at } => Record::Unbound { username, contact, at },
            RecordV1::CallOpened(call) => Record::CallOpened(Box::new(call.into())),
            RecordV1::LegUp { call, leg } => Record::LegUp { call, leg: leg.into() },
            RecordV1::CallClosed(call) => Record::CallClosed(Box::new(call.into())),
            RecordV1::Ladder { call, blob } => Record::Ladder { call, blob },
            RecordV1::Noted(note) => Record::Noted(note.into()),
            RecordV1::Recording(row) => Record::Recording(Box::new(row.into())),
        }
    }
}

#[derive(Deserialize)]
struct BindingV1 {
    username: Arc<str>,
    contact: String,
    path: Vec<String>,
    call_id: String,
    cseq: u32,
    q: u16,
    expires_at: Timestamp,
    created_at: Timestamp,
    user_agent: String,
    transport: u8,
    listener: u16,
    local: SocketAddr,
    remote: SocketAddr,
    flow: (u32, u32),
}

impl From<BindingV1> for Binding {
    fn from(old: BindingV1) -> Binding {
        Binding {
            username: old.username,
            contact: old.contact,
            path: old.path,
            call_id: old.call_id,
            cseq: old.cseq,
            q: old.q,
            expires_at: old.expires_at,
            created_at: old.created_at,
            user_agent: old.user_agent,
            transport: old.transport,
            listener: ListenerId::Index(old.listener),
            local: old.local,
            remote: old.remote,
            flow: old.flow,
            instance: None,
            reg_id: None,
        }
    }
}

#[derive(Deserialize)]
struct OpenLegV1 {
    dialog: Vec<u8>,
    transport: u8,
    listener: u16,
    local: SocketAddr,
    remote: SocketAddr,
}

impl From<OpenLegV1> for DialogSnapshot {
    fn from(old: OpenLegV1) -> DialogSnapshot {
        DialogSnapshot {
            dialog: old.dialog,
            transport: old.transport,
            listener: ListenerId::Index(old.listener),
            local: old.local,
            remote: old.remote,
            place: None,
            record: None,
        }
    }
}

#[derive(Deserialize)]
struct CallV1 {
    id: CallId,
    user: UserId,
    other_user: Option<UserId>,
    direction: Indexed<CallDirection>,
    status: Indexed<CallStatus>,
    from_number: String,
    to_number: String,
    device: Option<String>,
    started_at: Timestamp,
    answered_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    cause: Option<Indexed<Cause>>,
    trace: Vec<TraceStepV1>,
    legs: Vec<LegV1>,
}

impl From<CallV1> for CallRecord {
    fn from(old: CallV1) -> CallRecord {
        let step = |step: TraceStepV1| TraceStep { rule: step.rule, outcome: step.outcome };
        CallRecord {
            as_of: None,
            id: old.id,
            user: old.user,
            other_user: old.other_user,
            direction: old.direction.0,
            status: old.status.0,
            from_number: old.from_number,
            to_number: old.to_number,
            device: old.device,
            started_at: old.started_at,
            answered_at: old.answered_at,
            ended_at: old.ended_at,
            cause: old.cause.map(|cause| cause.0),
            trace: old.trace.into_iter().map(step).collect(),
            legs: old.legs.into_iter().map(LegRecord::from).collect(),
        }
    }
}

#[derive(Deserialize)]
struct TraceStepV1 {
    rule: String,
    outcome: String,
}

#[derive(Deserialize)]
struct LegV1 {
    role: Indexed<LegRole>,
    party: String,
    address: Option<SocketAddr>,
    sip_call_id: String,
    started_at: Timestamp,
    answered_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    cause: Option<Indexed<Cause>>,
    sip_status: Option<u16>,
    codec: Option<String>,
    quality: Option<QualityV1>,
}

impl From<LegV1> for LegRecord {
    fn from(old: LegV1) -> LegRecord {
        LegRecord {
            role: old.role.0,
            party: old.party,
            address: old.address,
            sip_call_id: old.sip_call_id,
            started_at: old.started_at,
            answered_at: old.answered_at,
            ended_at: old.ended_at,
            cause: old.cause.map(|cause| cause.0),
            sip_status: old.sip_status,
            codec: old.codec,
            quality: old.quality.map(Quality::from),
        }
    }
}

#[derive(Deserialize)]
struct QualityV1 {
    packets_received: u64,
    packets_sent: u64,
    packets_lost: u64,
    jitter_ms: f32,
    rtt_ms: f32,
    mos: f32,
    remote_mos: f32,
}

impl From<QualityV1> for Quality {
    fn from(old: QualityV1) -> Quality {
        Quality {
            packets_received: old.packets_received,
            packets_sent: old.packets_sent,
            packets_lost: old.packets_lost,
            jitter_ms: old.jitter_ms,
            rtt_ms: old.rtt_ms,
            mos: old.mos,
            remote_mos: old.remote_mos,
        }
    }
}

#[derive(Deserialize)]
enum NoteV1 {
    Ringing { call: CallId, at: Timestamp },
    Answered { call: CallId, at: Timestamp },
    WrongAnswer { source: IpAddr, account: String, at: Timestamp, banned_seconds: u32 },
    Outside(OutsideTimeV1),
    Emergency { call: CallId, at: Timestamp },
    SpendAlert { user: UserId, percent: u8, limit_minutes: u32, day: Timestamp, at: Timestamp },
}

#[derive(Deserialize)]
struct OutsideTimeV1 {
    call: CallId,
    leg: u32,
    user: UserId,
    since: Timestamp,
    until: Option<Timestamp>,
}

impl From<NoteV1> for CallEvent {
    fn from(note: NoteV1) -> CallEvent {
        match note {
            NoteV1::Ringing { call, at } => CallEvent::Ringing { call, at },
            NoteV1::Answered { call, at } => CallEvent::Answered { call, at },
            NoteV1::WrongAnswer { source, account, at, banned_seconds } => {
                CallEvent::WrongAnswer { source, account, at, banned_seconds }
            }
            NoteV1::Outside(OutsideTimeV1 { call, leg, user, since, until }) => {
                CallEvent::Outside(OutboundCallTime { call, leg, user, since, until })
            }
            NoteV1::Emergency { call, at } => CallEvent::Emergency { call, at },
            NoteV1::SpendAlert { user, percent, limit_minutes, day, at } => {
                CallEvent::SpendAlert { user, percent, limit_minutes, day, at }
            }
        }
    }
}

#[derive(Deserialize)]
struct RecordingV1 {
    id: RecordingId,
    call: CallId,
    user: UserId,
    other_user: Option<UserId>,
    extension: Option<String>,
    state: Indexed<RecordingState>,
    started_at: Timestamp,
    ended_at: Option<Timestamp>,
    format: Indexed<RecordingFormat>,
    bytes: u64,
    millis: u64,
    sha256: Option<String>,
    fault: Option<String>,
}

impl From<RecordingV1> for Recording {
    fn from(old: RecordingV1) -> Recording {
        Recording {
            id: old.id,
            call: old.call,
            user: old.user,
            other_user: old.other_user,
            extension: old.extension,
            state: old.state.0,
            started_at: old.started_at,
            ended_at: old.ended_at,
            format: old.format.0,
            bytes: old.bytes,
            millis: old.millis,
            sha256: old.sha256,
            fault: old.fault,
        }
    }
}
