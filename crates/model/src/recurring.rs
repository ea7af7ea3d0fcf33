//! Recurring calls and their occurrences (S76–S87).

use std::sync::Arc;

use base::{Id, Kind, Timestamp};
use serde::{Deserialize, Serialize};

use crate::recurrence::Schedule;
use crate::{Announcement, CallId, Cause, ExtensionId, UserId};

/// Marks ids of recurring calls; see [`RecurringCallId`].
#[derive(Clone, Copy, Debug)]
pub enum RecurringCallKind {}

impl Kind for RecurringCallKind {
    const PREFIX: &'static str = "rc";
}

/// `rc_1234567890_abc123`
pub type RecurringCallId = Id<RecurringCallKind>;

/// What happens with instants that passed while no server ran (S85).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Misfire {
    /// They are recorded as missed.
    #[default]
    Skip,
    /// The last of them is dialled at once, the others are recorded as missed.
    RunOnce,
}

/// What a recurring call does when it is due (S86).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// The extension's phone is rung; once it has answered the destination is called, and the two are connected.
    #[default]
    Connect,
    /// The destination is rung; whoever answers hears this, and the call ends.
    Play(Announcement),
    /// The same; where nobody answers at an extension of ours, it is put into its mailbox as a message.
    Message(Announcement),
}

impl Action {
    /// What is played, where anything is.
    pub fn announcement(&self) -> Option<&Announcement> {
        match self {
            Action::Connect => None,
            Action::Play(what) | Action::Message(what) => Some(what),
        }
    }
}

/// A call that is made again and again from an extension.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RecurringCall {
    /// Its id.
    pub id: RecurringCallId,
    /// The extension whose phone is rung first, or which speaks.
    pub extension: ExtensionId,
    /// Whose it is: the owner of the extension.
    pub user: UserId,
    /// Who is called, as it was given.
    pub destination: String,
    /// When.
    pub schedule: Schedule,
    /// Whether it is due at all.
    pub enabled: bool,
    /// What happens with instants that passed while no server ran.
    pub misfire: Misfire,
    /// What it does then.
    pub action: Action,
    /// How often one occurrence is dialled at most, where the line is busy or nobody answers.
    pub max_attempts: u8,
    /// Minutes between two attempts.
    pub retry_minutes: u16,
    /// Since when this schedule holds: instants up to here are nobody's.
    pub since: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// How far an occurrence has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OccurrenceState {
    /// Somebody has taken it on, and does not dial now: it waits for its next attempt.
    Claimed,
    /// Written down before the exchange is asked: it is being dialled, or the process died then.
    Dialling,
    /// Both parties were connected.
    Done,
    /// It was dialled, in vain.
    Failed,
    /// It was never dialled.
    Missed,
}

impl OccurrenceState {
    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            OccurrenceState::Claimed => "claimed",
            OccurrenceState::Dialling => "dialling",
            OccurrenceState::Done => "done",
            OccurrenceState::Failed => "failed",
            OccurrenceState::Missed => "missed",
        }
    }

    /// Whether nothing follows.
    pub fn is_final(self) -> bool {
        matches!(self, OccurrenceState::Done | OccurrenceState::Failed | OccurrenceState::Missed)
    }

    /// What is told when an occurrence gets here (S95).
    pub fn event(self) -> Option<&'static str> {
        match self {
            OccurrenceState::Claimed | OccurrenceState::Dialling => None,
            OccurrenceState::Done => Some("recurring_call_executed"),
            OccurrenceState::Failed => Some("recurring_call_failed"),
            OccurrenceState::Missed => Some("recurring_call_missed"),
        }
    }
}

/// One due instant of a recurring call. There is never a second one of the same call and instant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Occurrence {
    /// Of which recurring call.
    pub recurring: RecurringCallId,
    /// When it is due.
    pub due: Timestamp,
    /// Whose it is.
    pub user: UserId,
    /// How far it has come.
    pub state: OccurrenceState,
    /// How often it was changed: a change names the number that it saw, and does nothing where another one was faster.
    pub version: u64,
    /// The process that holds it, `node:boot:start`.
    pub owner: Arc<str>,
    /// Until when it is held; later, anybody may take it.
    pub lease_until: Timestamp,
    /// When the next attempt may begin.
    pub not_before: Timestamp,
    /// How often it was dialled.
    pub attempts: u8,
    /// The call of the last attempt: its id is written here before the exchange is asked.
    pub call: Option<CallId>,
    /// Why it came to nothing, or has to wait.
    pub cause: Option<Cause>,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Occurrence {
    /// The pair that is unique.
    pub fn key(&self) -> (RecurringCallId, Timestamp) {
        (self.recurring.clone(), self.due)
    }
}
