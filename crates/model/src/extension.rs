//! Extensions: a number, its owner and its phones (S62–S75).

use std::sync::Arc;

use base::{Id, Kind, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{DialPermissions, DialledNumber, ExtensionNumber, RecordCalls, UserId};

/// Id prefix of [`ExtensionId`].
#[derive(Clone, Copy, Debug)]
pub enum ExtensionKind {}

impl Kind for ExtensionKind {
    const PREFIX: &'static str = "ext";
}

/// `ext_1234567890_abc123`
pub type ExtensionId = Id<ExtensionKind>;

/// The stored status of an extension; `busy` and `registered` are derived at run time (S70).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExtensionStatus {
    /// May register and be called.
    #[default]
    Active,
    /// REGISTER is refused with 403, calls with 480.
    Inactive,
}

/// Condition of call forwarding (S71).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ForwardingMode {
    /// Unconditional.
    #[default]
    Always,
    /// When the extension is busy.
    Busy,
    /// When no phone answers within `ring_seconds`.
    NoAnswer,
    /// When no phone is registered.
    Unreachable,
}

/// Call forwarding settings of an extension.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Forwarding {
    /// Whether forwarding is active.
    pub enabled: bool,
    /// The destination; `None` where none was set.
    pub number: Option<DialledNumber>,
    /// The condition.
    pub mode: ForwardingMode,
}

/// Ring strategy of a follow-me list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FollowMode {
    /// One number after the other, in list order.
    #[default]
    Sequential,
    /// All numbers at once; the first answer wins.
    Simultaneous,
}

/// One entry of a follow-me list.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FollowStep {
    /// An extension number or an outside number.
    pub number: DialledNumber,
    /// Ring time in seconds.
    pub ring_seconds: u16,
}

/// Follow-me (find-me) settings of an extension.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FollowMe {
    /// Sequential or simultaneous ringing.
    pub mode: FollowMode,
    /// 1 to [`FollowMe::NUMBERS`] entries. The extension's own number stands for its registered phones.
    pub numbers: Vec<FollowStep>,
}

impl FollowMe {
    /// Maximum number of entries.
    pub const NUMBERS: usize = 10;
}

/// An extension.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Extension {
    /// Unique id.
    pub id: ExtensionId,
    /// The owner.
    pub user: UserId,
    /// The number that others dial.
    pub number: ExtensionNumber,
    /// Caller name: UTF-8, at most 64 characters, no control characters.
    pub display_name: String,
    /// Active or inactive.
    pub status: ExtensionStatus,
    /// User name of its SIP credential.
    pub username: Arc<str>,
    /// Call forwarding.
    pub forwarding: Forwarding,
    /// Whether unanswered calls go to voicemail (on by default, S63).
    pub voicemail_enabled: bool,
    /// Do not disturb: calls are refused while it is on.
    pub do_not_disturb: bool,
    /// Call waiting: whether a second call rings (S193).
    pub call_waiting: bool,
    /// Ring time of its phones in seconds.
    pub ring_seconds: u16,
    /// Classes of numbers that it may dial (S188).
    #[serde(default)]
    pub dial_permissions: DialPermissions,
    /// Follow-me; off where `None`.
    #[serde(default)]
    pub follow_me: Option<FollowMe>,
    /// Which of its calls are recorded automatically.
    #[serde(default)]
    pub record_calls: RecordCalls,
    /// Creation time.
    pub created_at: Timestamp,
    /// Time of the last change.
    pub updated_at: Timestamp,
    /// Time zone of its schedules that name none (S78); the server's zone where `None`.
    #[serde(default)]
    pub timezone: Option<crate::recurrence::Zone>,
}

impl Extension {
    /// Default ring time in seconds.
    pub const RING_SECONDS: u16 = 30;

    /// An active extension with default settings, created at `at`, without a display name.
    pub fn new(
        id: ExtensionId,
        user: UserId,
        number: ExtensionNumber,
        username: impl Into<Arc<str>>,
        at: Timestamp,
    ) -> Extension {
        Extension {
            id,
            user,
            number,
            display_name: String::new(),
            status: ExtensionStatus::Active,
            username: username.into(),
            forwarding: Forwarding::default(),
            voicemail_enabled: true,
            do_not_disturb: false,
            call_waiting: true,
            ring_seconds: Extension::RING_SECONDS,
            dial_permissions: DialPermissions::default(),
            follow_me: None,
            record_calls: RecordCalls::default(),
            created_at: at,
            updated_at: at,
            timezone: None,
        }
    }
}
