//! Domain model of the PBX (users, extensions, API keys, credentials, trunks, schedules) and its routing decisions. Pure values: no database,
//! no network.
#![deny(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::wildcard_enum_match_arm)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod call;
mod call_status;
mod cause;
mod credential;
pub mod dialplan;
mod directory;
mod event;
mod extension;
mod host;
pub mod journal;
mod key;
mod number;
mod party;
pub mod policy;
mod recording;
pub mod recurrence;
mod recurring;
mod route;
mod sealed;
mod snapshot_map;
mod sorted_map;
mod sound;
pub mod trunk;
mod user;
pub mod voicemail;
mod webhook;

pub use call::{Call, CallDirection, CallId, CallRecord, LegRecord, LegRole, Quality, TraceStep};
pub use call_status::CallStatus;
pub use cause::{Cause, Language};
pub use credential::{Credential, Ha1};
pub use directory::{Change, Directory};
pub use event::{EVENT_TYPES, EventType, event_type};
pub use extension::{
    Extension, ExtensionId, ExtensionKind, ExtensionStatus, FollowMe, FollowMode, FollowStep, Forwarding,
    ForwardingMode,
};
pub use host::{is_host, is_public};
pub use key::{ApiKey, ApiKeyId, ApiKeyKind, Permission, Permissions};
pub use number::{DialledNumber, ExtensionNumber, NumberError};
pub use party::Party;
pub use policy::{CallClass, DialPermissions, DialRules};
pub use recording::{RecordCalls, Recording, RecordingFormat, RecordingId, RecordingKind, RecordingState};
pub use recurring::{
    Action, Misfire, Occurrence, OccurrenceState, RecurringCall, RecurringCallId, RecurringCallKind,
};
pub use route::OutboundRoute;
pub use sealed::{SealKey, SealedSecret};
pub use snapshot_map::SnapshotMap;
pub use sound::{Announcement, Sound, SoundId, SoundKind};
pub use trunk::{
    CallerId, Did, NumberFormat, Source, SourceError, Trunk, TrunkError, TrunkHost, TrunkId, TrunkKind,
    TrunkSettings, TrunkTransport,
};
pub use user::{User, UserId, UserKind};
pub use voicemail::{Mailbox, MessageId, MessageState, VoicemailMessage};
pub use webhook::{RetryPolicy, Webhook, WebhookId, WebhookKind};
