//! Call recordings (S6, S177): which calls are recorded, and the metadata of a recording.

use base::{Id, Kind, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{CallId, UserId};

/// Id prefix of [`RecordingId`].
#[derive(Clone, Copy, Debug)]
pub enum RecordingKind {}

impl Kind for RecordingKind {
    const PREFIX: &'static str = "rec";
}

/// `rec_1234567890_abc123`
pub type RecordingId = Id<RecordingKind>;

/// Which calls of an extension are recorded automatically, from their answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordCalls {
    /// As configured for the server.
    #[default]
    Default,
    /// None.
    None,
    /// Calls that it answers.
    Inbound,
    /// Calls that it makes.
    Outbound,
    /// All.
    All,
}

impl RecordCalls {
    /// The JSON name: `default`, `none`, `inbound`, `outbound`, `all`.
    pub fn as_str(self) -> &'static str {
        match self {
            RecordCalls::Default => "default",
            RecordCalls::None => "none",
            RecordCalls::Inbound => "inbound",
            RecordCalls::Outbound => "outbound",
            RecordCalls::All => "all",
        }
    }

    /// The value with this JSON name.
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

    /// Whether a call of the extension is recorded. `makes`: the extension is the caller, else the callee. `default`: the server's setting.
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

/// State of a recording.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordingState {
    /// In progress.
    Recording,
    /// Its file is complete.
    Complete,
    /// It could not be written to its end; the part written before may exist.
    Failed,
    /// Its audio is deleted: by age, for disk space, or by request.
    Deleted,
}

impl RecordingState {
    /// The JSON name: `recording`, `complete`, `failed`, `deleted`.
    pub fn as_str(self) -> &'static str {
        match self {
            RecordingState::Recording => "recording",
            RecordingState::Complete => "complete",
            RecordingState::Failed => "failed",
            RecordingState::Deleted => "deleted",
        }
    }
}

/// File format of a recording.
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
    /// The JSON name: `opus`, `wav`.
    pub fn as_str(self) -> &'static str {
        match self {
            RecordingFormat::Opus => "opus",
            RecordingFormat::Wav => "wav",
        }
    }

    /// The file extension: `ogg`, `wav`.
    pub fn ending(self) -> &'static str {
        match self {
            RecordingFormat::Opus => "ogg",
            RecordingFormat::Wav => "wav",
        }
    }
}

/// A recording of a call, in stereo: the caller is the left channel, the callee the right one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recording {
    /// Unique id.
    pub id: RecordingId,
    /// Id of the recorded call.
    pub call: CallId,
    /// The owner: the call's user.
    pub user: UserId,
    /// The user who owns the other end, and may listen to it too.
    pub other_user: Option<UserId>,
    /// Number of the extension whose `recordCalls` setting started it; `None` where it was requested.
    pub extension: Option<String>,
    /// State.
    pub state: RecordingState,
    /// Start time.
    pub started_at: Timestamp,
    /// End time.
    pub ended_at: Option<Timestamp>,
    /// File format.
    pub format: RecordingFormat,
    /// File size in bytes once it is complete.
    pub bytes: u64,
    /// Duration in milliseconds.
    pub millis: u64,
    /// SHA-256 of the file in hexadecimal digits.
    pub sha256: Option<String>,
    /// Reason of a failure: `disk_full`, `write_failed`, `interrupted`, `codec_not_recordable`.
    pub fault: Option<String>,
}

impl Recording {
    /// Path of the file below the data directory, and its key in an object store; without the file extension.
    pub fn name(&self) -> String {
        format!("recordings/{}", self.id)
    }
}
