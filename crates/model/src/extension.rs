//! Extensions: a number, a person and a phone (S62–S75).

use std::sync::Arc;

use base::{Id, Kind, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{DialPermissions, DialledNumber, ExtensionNumber, RecordCalls, UserId};

/// Marks ids of extensions; see [`ExtensionId`].
#[derive(Clone, Copy, Debug)]
pub enum ExtensionKind {}

impl Kind for ExtensionKind {
    const PREFIX: &'static str = "ext";
}

/// `ext_1234567890_abc123`
pub type ExtensionId = Id<ExtensionKind>;

/// What is kept of an extension's state; `busy` and `registered` are derived (S70).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExtensionStatus {
    /// May register and be called.
    #[default]
    Active,
    /// REGISTER gets 403, calls get 480.
    Inactive,
}

/// When a call is forwarded (S71).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ForwardingMode {
    /// At once.
    #[default]
    Always,
    /// When the phone is busy.
    Busy,
    /// When nobody answers in `ring_seconds`.
    NoAnswer,
    /// When no phone is registered.
    Unreachable,
}

/// Where calls go that this extension does not take.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Forwarding {
    /// Whether it is on.
    pub enabled: bool,
    /// Where to.
    pub number: Option<DialledNumber>,
    /// When.
    pub mode: ForwardingMode,
}

/// How the numbers of a follow-me are rung.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FollowMode {
    /// One after the other, in their order.
    #[default]
    Sequential,
    /// All at once; the first that answers has the call.
    Simultaneous,
}

/// One number of a follow-me.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FollowStep {
    /// An extension, or a number outside.
    pub number: DialledNumber,
    /// How long it rings.
    pub ring_seconds: u16,
}

/// Where an extension's owner is looked for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FollowMe {
    /// In turn, or all at once.
    pub mode: FollowMode,
    /// The numbers, at most [`FollowMe::NUMBERS`]. The extension's own means its own phones.
    pub numbers: Vec<FollowStep>,
}

impl FollowMe {
    /// As many numbers as one follow-me may have.
    pub const NUMBERS: usize = 10;
}

/// An extension.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Extension {
    /// Its id.
    pub id: ExtensionId,
    /// Whose it is.
    pub user: UserId,
    /// What others dial.
    pub number: ExtensionNumber,
    /// The person's name, UTF-8, at most 64 characters, no control characters.
    pub display_name: String,
    /// Whether it may be used.
    pub status: ExtensionStatus,
    /// The user name of its credential.
    pub username: Arc<str>,
    /// Forwarding.
    pub forwarding: Forwarding,
    /// Whether voicemail takes what nobody answers (on by default, S63).
    pub voicemail_enabled: bool,
    /// Whether calls are refused as unwanted.
    pub do_not_disturb: bool,
    /// Whether a second call rings (S193).
    pub call_waiting: bool,
    /// Seconds that its phones ring.
    pub ring_seconds: u16,
    /// What it may dial (S188).
    #[serde(default)]
    pub dial_permissions: DialPermissions,
    /// Where its owner is looked for; off where `None`.
    #[serde(default)]
    pub follow_me: Option<FollowMe>,
    /// Which of its calls are recorded.
    #[serde(default)]
    pub record_calls: RecordCalls,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Of schedules that name none (S78); the server's where `None`.
    #[serde(default)]
    pub timezone: Option<crate::recurrence::Zone>,
}
