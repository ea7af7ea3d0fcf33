//! Recording routes (S6, S177): control on an active call, list, download, delete.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::{get, post};
use base::Timestamp;
use model::{CallId, CallRecord, Permission, Recording, RecordingId, RecordingState};
use serde_json::json;
use store::{Audit, Kept, Place, RecordingCursor, RecordingFilter};
use switch::{Command, RecordingAction, Reply};

use crate::App;
use crate::app::unexpected_reply;
use crate::audio_response::audio_response;
use crate::audio_store::{AudioFile, AudioFormatRequest};
use crate::auth::Principal;
use crate::directory_service::Event;
use crate::error::{ApiError, Fault};
use crate::input::rule::call_cursor;
use crate::input::{Body, Field, Form, Paging, Rule};
use crate::limits::PAGE_DEFAULT;
use crate::live::{find_call, may_read};
use crate::route::{Access, Answer, Route};
use crate::routes::{LIMIT, PathId};
use crate::schemas::{RecordingAnswer, RecordingView, RecordingsAnswer, Success};

const NOTHING: &[Field] = &[];
const LIST: &[Field] = &[
    LIMIT,
    Field::new("cursor", Rule::Cursor(Paging::Call), "The nextCursor of the previous page"),
    Field::new("sessionId", Rule::Id, "Only recordings of this call"),
    Field::new(
        "state",
        Rule::OneOf(&["recording", "complete", "failed", "deleted"]),
        "Only recordings in this state; all except deleted ones if absent",
    ),
];
const AUDIO: &[Field] =
    &[Field::new("format", Rule::OneOf(&["wav"]), "wav: converted to WAV; the stored format if absent")];

pub(crate) fn routes() -> Vec<Route> {
    let access = Access::Permission(Permission::Recording);
    let control_route = |path, summary, handler| {
        Route::new(("post", path), "recordings", summary, access, Answer::json::<RecordingAnswer>(), handler)
            .body(NOTHING)
    };
    vec![
        control_route(
            "/api/v1/opensips/call/{id}/recording/start",
            "Start recording a call; no effect if it is already recorded",
            post(start),
        ),
        control_route("/api/v1/opensips/call/{id}/recording/stop", "Stop recording a call", post(stop)),
        control_route("/api/v1/opensips/call/{id}/recording/pause", "Pause the recording of a call: silence is written", post(pause)),
        control_route("/api/v1/opensips/call/{id}/recording/resume", "Resume the recording of a call", post(resume)),
        Route::new(
            ("get", "/api/v1/recordings"),
            "recordings",
            "List recordings, newest first",
            access,
            Answer::json::<RecordingsAnswer>(),
            get(list),
        )
        .query(LIST)
        .also(&[503]),
        Route::new(
            ("get", "/api/v1/recordings/{id}"),
            "recordings",
            "Get a recording",
            access,
            Answer::json::<RecordingAnswer>(),
            get(show),
        )
        .also(&[503]),
        Route::new(
            ("get", "/api/v1/recordings/{id}/audio"),
            "recordings",
            "Audio of a recording, whole or in part (Range header): the caller on the left channel, the callee on the right",
            access,
            Answer::Audio,
            get(audio),
        )
        .query(AUDIO)
        .also(&[409, 416, 503]),
        Route::new(
            ("delete", "/api/v1/recordings/{id}"),
            "recordings",
            "Delete a finished recording; no effect if it is already deleted",
            access,
            Answer::json::<Success>(),
            axum::routing::delete(remove),
        )
        .also(&[409]),
    ]
}

macro_rules! control_handlers {
    ($($name:ident $action:ident;)*) => {
        $(async fn $name(
            State(app): State<App>,
            principal: Principal,
            id: PathId,
            body: Body,
        ) -> Result<Json<RecordingAnswer>, ApiError> {
            control(&app, &principal, &id, body, RecordingAction::$action).await
        })*
    };
}

control_handlers! {
    start Start;
    stop Stop;
    pause Pause;
    resume Resume;
}

async fn control(
    app: &App,
    principal: &Principal,
    id: &PathId,
    body: Body,
    action: RecordingAction,
) -> Result<Json<RecordingAnswer>, ApiError> {
    let id: CallId = id.id()?;
    let call = find_call(app, &id).await?;
    let call = call.filter(|call| may_read(principal, call)).ok_or(Fault::NotFound)?;
    body.form(principal, NOTHING)?;
    let missing = if action == RecordingAction::Start { Fault::CallNotUp } else { Fault::NotRecording };
    let view = match app.ask(Command::Recording { call: call.id.clone(), action }).await? {
        Reply::Recording(Some(view)) => view,
        Reply::Recording(None) | Reply::Unknown => return Err(missing.into()),
        Reply::NothingToRecord => return Err(Fault::NothingToRecord.into()),
        other => return Err(unexpected_reply(&other)),
    };
    let kind = match action {
        RecordingAction::Pause => "recording_paused",
        RecordingAction::Resume => "recording_resumed",
        RecordingAction::Stop => "recording_stopped",
        RecordingAction::Start | RecordingAction::Show => "recording_wanted",
    };
    let (user, subject) = (Some(call.user.clone()), view.recording.id.to_string());
    app.directory_service()
        .audit(principal.actor(), Event { kind, user, subject, detail: json!({"sessionId": call.id}) });
    let recording = RecordingView::of(&view.recording, Place::Folder).paused(view.paused);
    Ok(Json(RecordingAnswer { success: true, recording }))
}

/// Whether the client may read a recording: both users whose phones were in the call may.
fn can_read(principal: &Principal, recording: &Recording) -> bool {
    principal.can_see(&recording.user)
        || recording.other_user.as_ref().is_some_and(|other| principal.can_see(other))
}

async fn find(app: &App, principal: &Principal, id: &PathId) -> Result<Kept, ApiError> {
    let id: RecordingId = id.id()?;
    let kept = app.directory_service().store().recording(&id).await?;
    kept.filter(|kept| can_read(principal, &kept.recording)).ok_or(Fault::NotFound.into())
}

/// Ids of the recordings of calls, by call: those in the database, and one that the switch has just started.
pub(crate) async fn of_calls(app: &App, calls: &[&CallRecord]) -> Result<Vec<(CallId, String)>, ApiError> {
    let ids: Vec<CallId> = calls.iter().map(|call| call.id.clone()).collect();
    let kept = app.directory_service().store().recordings_of(&ids).await?;
    let mut found: Vec<(CallId, String)> =
        kept.into_iter().map(|(call, recording)| (call, recording.to_string())).collect();
    if let [call] = calls
        && !call.status.is_final()
    {
        let command = Command::Recording { call: call.id.clone(), action: RecordingAction::Show };
        if let Reply::Recording(Some(view)) = app.ask(command).await? {
            let live = (call.id.clone(), view.recording.id.to_string());
            if !found.contains(&live) {
                found.push(live);
            }
        }
    }
    Ok(found)
}

async fn show(
    State(app): State<App>,
    principal: Principal,
    id: PathId,
) -> Result<Json<RecordingAnswer>, ApiError> {
    let kept = find(&app, &principal, &id).await?;
    Ok(Json(RecordingAnswer { success: true, recording: RecordingView::of(&kept.recording, kept.place) }))
}

async fn list(
    State(app): State<App>,
    principal: Principal,
    uri: Uri,
) -> Result<Json<RecordingsAnswer>, ApiError> {
    let form = Form::of_query(&uri, LIST)?;
    let state = form.text("state").map(|word| match word {
        "recording" => RecordingState::Recording,
        "failed" => RecordingState::Failed,
        "deleted" => RecordingState::Deleted,
        _ => RecordingState::Complete,
    });
    let cursor = form.text("cursor").and_then(call_cursor).and_then(|(micros, id)| {
        Some(RecordingCursor { started_at: Timestamp::from_micros(micros), id: RecordingId::parse(id).ok()? })
    });
    let filter = RecordingFilter {
        user: (!principal.is_admin()).then(|| principal.user().clone()),
        call: form.parsed("sessionId", CallId::parse)?,
        state,
        cursor,
        limit: form.integer("limit").unwrap_or(u64::from(PAGE_DEFAULT)) as u32,
    };
    let page = app.directory_service().store().recordings(&filter).await?;
    Ok(Json(RecordingsAnswer {
        success: true,
        recordings: page.recordings.iter().map(|k| RecordingView::of(&k.recording, k.place)).collect(),
        next_cursor: page.next.map(|next| format!("{}.{}", next.started_at.as_micros().max(0), next.id)),
    }))
}

async fn audio(
    State(app): State<App>,
    principal: Principal,
    id: PathId,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let kept = find(&app, &principal, &id).await?;
    let wanted = match Form::of_query(&uri, AUDIO)?.text("format") {
        Some(_) => AudioFormatRequest::Wav,
        None => AudioFormatRequest::Stored,
    };
    match kept.recording.state {
        RecordingState::Recording => return Err(Fault::StillRecording.into()),
        RecordingState::Deleted => return Err(Fault::NotFound.into()),
        RecordingState::Complete | RecordingState::Failed => {}
    }
    audio_response(&app, AudioFile::from(&kept), wanted, kept.recording.sha256.as_deref(), &headers).await
}

async fn remove(State(app): State<App>, principal: Principal, id: PathId) -> Result<Json<Success>, ApiError> {
    let kept = find(&app, &principal, &id).await?;
    let actor = principal.actor();
    let event = Audit {
        at: app.directory_service().now().wall,
        kind: "recording_deleted",
        user: Some(kept.recording.user.clone()),
        subject: kept.recording.id.to_string(),
        key: actor.key,
        ip: actor.ip,
        request: actor.request,
        detail: json!({"by": "api", "sessionId": kept.recording.call}),
    };
    match kept.recording.state {
        RecordingState::Recording => return Err(Fault::StillRecording.into()),
        RecordingState::Deleted => {}
        RecordingState::Complete | RecordingState::Failed => {
            app.directory_service().store().delete_recording(&kept.recording.id, event).await?;
        }
    }
    Ok(Json(Success { success: true }))
}
