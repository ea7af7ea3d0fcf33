//! Recordings of calls (S6, S177): what is recorded, and what is kept of it.

use base::{Id, Kind, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{CallId, UserId};

/// Marks ids of recordings; see [`RecordingId`].
#[derive(Clone, Copy, Debug)]
pub enum RecordingKind {}

impl Kind for RecordingKind {
    const PREFIX: &'static str = "rec";
}

/// `rec_1234567890_abc123`
pub type RecordingId = Id<RecordingKind>;

/// Which calls of an extension are recorded by themselves, from their answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordCalls {
    /// What the configuration says.
    #[default]
    Default,
    /// None.
    None,
    /// Those that it answers.
    Inbound,
    /// Those that it makes.
    Outbound,
    /// All.
    All,
}

impl RecordCalls {
    /// As in JSON: `default`, `none`, `inbound`, `outbound`, `all`.
    pub fn as_str(self) -> &'static str {
        match self {
            RecordCalls::Default => "default",
            RecordCalls::None => "none",
            RecordCalls::Inbound => "inbound",
            RecordCalls::Outbound => "outbound",
            RecordCalls::All => "all",
        }
    }

    /// What a word means; `None` where it means nothing.
    pub fn parse(word: &str) -> Option<RecordCalls> {
        let all = [
            RecordCalls::Default,
            RecordCalls::None,
            RecordCalls::Inbound,
            RecordCalls::Outbound,
            RecordCalls::All,
        ];
        all.into_iter().find(|one| one.as_str() == word)
    }

    /// Whether a call is recorded that the extension makes (or, where it does not, answers). `default` is what the configuration says.
    pub fn wants(self, makes: bool, default: RecordCalls) -> bool {
        match self {
            RecordCalls::Default if default == RecordCalls::Default => false,
            RecordCalls::Default => default.wants(makes, RecordCalls::None),
            RecordCalls::None => false,
            RecordCalls::Inbound => !makes,
            RecordCalls::Outbound => makes,
            RecordCalls::All => true,
        }
    }
}

/// Where a recording is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordingState {
    /// It runs.
    Recording,
    /// Its file is whole.
    Complete,
    /// It could not be written to its end; what was written before may be there.
    Failed,
    /// Its audio is gone: by its age, for room, or by somebody's wish.
    Deleted,
}

impl RecordingState {
    /// As in JSON: `recording`, `complete`, `failed`, `deleted`.
    pub fn as_str(self) -> &'static str {
        match self {
            RecordingState::Recording => "recording",
            RecordingState::Complete => "complete",
            RecordingState::Failed => "failed",
            RecordingState::Deleted => "deleted",
        }
    }
}

/// What a recording's file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordingFormat {
    /// Opus in Ogg.
    #[default]
    Opus,
    /// PCM, 16 bits, 8 kHz.
    Wav,
}

impl RecordingFormat {
    /// As in JSON: `opus`, `wav`.
    pub fn as_str(self) -> &'static str {
        match self {
            RecordingFormat::Opus => "opus",
            RecordingFormat::Wav => "wav",
        }
    }

    /// What its files end in: `ogg`, `wav`.
    pub fn ending(self) -> &'static str {
        match self {
            RecordingFormat::Opus => "ogg",
            RecordingFormat::Wav => "wav",
        }
    }
}

/// A recording of a call: the caller is on the left, the callee on the right.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recording {
    /// Its id.
    pub id: RecordingId,
    /// The call.
    pub call: CallId,
    /// Whose it is: the call's user.
    pub user: UserId,
    /// Also allowed to hear it: the user who owns the other end.
    pub other_user: Option<UserId>,
    /// The extension for whose sake it was made; `None` where somebody asked for it.
    pub extension: Option<String>,
    /// Where it is.
    pub state: RecordingState,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Its file.
    pub format: RecordingFormat,
    /// Bytes of its file, once it is whole.
    pub bytes: u64,
    /// How long it plays.
    pub millis: u64,
    /// SHA-256 of its file, in hexadecimal digits.
    pub sha256: Option<String>,
    /// Why it failed: `disk_full`, `write_failed`, `interrupted`, `codec_not_recordable`.
    pub fault: Option<String>,
}

impl Recording {
    /// Its file below the data directory, and its key in an object store, without the ending.
    pub fn name(&self) -> String {
        format!("recordings/{}", self.id)
    }
}
