//! Recurring calls and their occurrences (S76–S87).

use std::sync::Arc;

use base::{Id, Kind, Timestamp};
use serde::{Deserialize, Serialize};

use crate::recurrence::Schedule;
use crate::{Announcement, CallId, Cause, ExtensionId, UserId};

/// Id prefix of [`RecurringCallId`].
#[derive(Clone, Copy, Debug)]
pub enum RecurringCallKind {}

impl Kind for RecurringCallKind {
    const PREFIX: &'static str = "rc";
}

/// `rc_1234567890_abc123`
pub type RecurringCallId = Id<RecurringCallKind>;

/// Misfire policy: what happens with due instants that passed while no server ran (S85).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Misfire {
    /// All are recorded as missed.
    #[default]
    Skip,
    /// The last one is dialled at once, the others are recorded as missed.
    RunOnce,
}

/// What a recurring call does when it is due (S86).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// Ring the extension's phone; after its answer call the destination and connect the two.
    #[default]
    Connect,
    /// Ring the destination, play this to the party that answers, and end the call.
    Play(Announcement),
    /// As `Play`; where a local extension does not answer, the announcement is stored in its mailbox as a message.
    Message(Announcement),
}

impl Action {
    /// The announcement to play, if any.
    pub fn announcement(&self) -> Option<&Announcement> {
        match self {
            Action::Connect => None,
            Action::Play(what) | Action::Message(what) => Some(what),
        }
    }
}

/// A call that an extension makes on a schedule.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RecurringCall {
    /// Unique id.
    pub id: RecurringCallId,
    /// The extension whose phone is rung first, or in whose name the announcement is played.
    pub extension: ExtensionId,
    /// The owner of the extension.
    pub user: UserId,
    /// The called number or user name, as it was given.
    pub destination: String,
    /// When it is due.
    pub schedule: Schedule,
    /// Whether it is active.
    pub enabled: bool,
    /// Misfire policy.
    pub misfire: Misfire,
    /// What it does when it is due.
    pub action: Action,
    /// Maximum number of attempts per occurrence where the callee is busy or does not answer.
    pub max_attempts: u8,
    /// Minutes between two attempts.
    pub retry_minutes: u16,
    /// Start of validity: instants up to this time are not due.
    pub since: Timestamp,
    /// Creation time.
    pub created_at: Timestamp,
    /// Time of the last change.
    pub updated_at: Timestamp,
}

/// State of an occurrence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OccurrenceState {
    /// Claimed by a node, not being dialled: it waits for its next attempt.
    Claimed,
    /// Stored before the switch is asked to dial: it is being dialled, or the process died meanwhile.
    Dialling,
    /// Both parties were connected.
    Done,
    /// Dialled without success.
    Failed,
    /// Never dialled.
    Missed,
}

impl OccurrenceState {
    /// The JSON name: `claimed`, `dialling`, `done`, `failed`, `missed`.
    pub fn as_str(self) -> &'static str {
        match self {
            OccurrenceState::Claimed => "claimed",
            OccurrenceState::Dialling => "dialling",
            OccurrenceState::Done => "done",
            OccurrenceState::Failed => "failed",
            OccurrenceState::Missed => "missed",
        }
    }

    /// Whether the state is final.
    pub fn is_final(self) -> bool {
        matches!(self, OccurrenceState::Done | OccurrenceState::Failed | OccurrenceState::Missed)
    }

    /// The event published when an occurrence enters this state (S95).
    pub fn event(self) -> Option<&'static str> {
        match self {
            OccurrenceState::Claimed | OccurrenceState::Dialling => None,
            OccurrenceState::Done => Some("recurring_call_executed"),
            OccurrenceState::Failed => Some("recurring_call_failed"),
            OccurrenceState::Missed => Some("recurring_call_missed"),
        }
    }
}

/// One due instant of a recurring call. The pair (recurring call, instant) is unique.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Occurrence {
    /// Id of the recurring call.
    pub recurring: RecurringCallId,
    /// The due instant.
    pub due: Timestamp,
    /// The owner.
    pub user: UserId,
    /// State.
    pub state: OccurrenceState,
    /// Version for optimistic locking: an update names the version it read, and has no effect where the row has another one.
    pub version: u64,
    /// The process that holds the claim, `node:boot:start`.
    pub owner: Arc<str>,
    /// End of the claim's lease; afterwards any node may claim it.
    pub lease_until: Timestamp,
    /// Earliest time of the next attempt.
    pub not_before: Timestamp,
    /// Number of attempts so far.
    pub attempts: u8,
    /// Call of the last attempt: its id is stored before the switch is asked to dial.
    pub call: Option<CallId>,
    /// Why it failed, or why it waits.
    pub cause: Option<Cause>,
    /// Time of the last change.
    pub updated_at: Timestamp,
}

impl Occurrence {
    /// The unique key.
    pub fn key(&self) -> (RecurringCallId, Timestamp) {
        (self.recurring.clone(), self.due)
    }
}
