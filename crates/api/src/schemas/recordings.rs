//! JSON of recordings.

use model::Recording;
use serde::Serialize;
use store::Place;
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
pub(crate) struct RecordingAnswer {
    pub success: bool,
    pub recording: RecordingView,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RecordingsAnswer {
    pub success: bool,
    /// Newest first.
    pub recordings: Vec<RecordingView>,
    /// Pass it as `cursor` to get the next page; `null` on the last page.
    #[serde(serialize_with = "crate::cursor::serialize_cursor")]
    pub next_cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Recording)]
pub(crate) struct RecordingView {
    pub id: String,
    /// Same as id.
    pub recording_id: String,
    /// Id of the recorded call.
    pub session_id: String,
    pub user_id: String,
    /// The extension whose setting started the recording; `null` if it was started on demand.
    pub extension_number: Option<String>,
    /// `recording`, `complete`, `failed` or `deleted`.
    pub state: &'static str,
    /// Only while recording: whether it is paused, so that silence is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub paused: Option<bool>,
    #[schema(format = DateTime)]
    pub started_at: String,
    #[schema(format = DateTime)]
    pub ended_at: Option<String>,
    pub duration_ms: u64,
    /// `opus` or `wav`: Opus is in Ogg.
    pub format: &'static str,
    pub bytes: u64,
    /// SHA-256 of the file in hexadecimal digits.
    pub sha256: Option<String>,
    /// `folder`, `objects`, or `null` if the audio was deleted.
    pub stored_in: Option<&'static str>,
    /// Why it failed: `disk_full`, `write_failed`, `interrupted`, `codec_not_recordable`.
    pub fault: Option<String>,
    pub audio_url: String,
}

impl RecordingView {
    pub(crate) fn of(recording: &Recording, place: Place) -> Self {
        RecordingView {
            id: recording.id.to_string(),
            recording_id: recording.id.to_string(),
            session_id: recording.call.to_string(),
            user_id: recording.user.to_string(),
            extension_number: recording.extension.clone(),
            state: recording.state.as_str(),
            paused: None,
            started_at: recording.started_at.to_string(),
            ended_at: recording.ended_at.map(|at| at.to_string()),
            duration_ms: recording.millis,
            format: recording.format.as_str(),
            bytes: recording.bytes,
            sha256: recording.sha256.clone(),
            stored_in: match place {
                Place::Folder => Some("folder"),
                Place::Objects => Some("objects"),
                Place::Gone => None,
            },
            fault: recording.fault.clone(),
            audio_url: format!("/api/v1/recordings/{}/audio", recording.id),
        }
    }

    pub(crate) fn paused(self, paused: bool) -> Self {
        RecordingView { paused: Some(paused), ..self }
    }
}
