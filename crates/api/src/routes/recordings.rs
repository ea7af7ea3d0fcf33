//! Recordings (S6, S177): made on a live call, listed, heard and deleted.

use axum::Json;
use axum::body::Body as Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base::Timestamp;
use futures_util::stream;
use model::{CallId, CallRecord, Permission, Recording, RecordingId, RecordingState};
use serde_json::json;
use store::{Audit, Kept, Place, RecordingCursor, RecordingFilter};
use switch::{Command, RecordingAction, Reply};

use crate::App;
use crate::app::out_of_turn;
use crate::auth::Caller;
use crate::error::{ApiError, Fault};
use crate::input::rule::call_cursor;
use crate::input::{Body, Field, Form, Rule};
use crate::limits::{AUDIO_CHUNK, PAGE_DEFAULT};
use crate::live::{find_call, may_read};
use crate::office::Event;
use crate::range::{Asked, asked};
use crate::route::{Answer, Need, Route};
use crate::routes::{LIMIT, PathId};
use crate::shapes::Success;
use crate::shapes_recordings::{RecordingAnswer, RecordingShape, RecordingsAnswer};
use crate::shelf::{Opened, Wanted};

const NOTHING: &[Field] = &[];
const LIST: &[Field] = &[
    LIMIT,
    Field::new("cursor", Rule::CallCursor, "The nextCursor of the page before"),
    Field::new("sessionId", Rule::Id, "Only those of this call"),
    Field::new(
        "state",
        Rule::OneOf(&["recording", "complete", "failed", "deleted"]),
        "Only those in this state; all but deleted ones where absent",
    ),
];
const AUDIO: &[Field] =
    &[Field::new("format", Rule::OneOf(&["wav"]), "wav: as WAV, whatever it was recorded as")];

pub(crate) fn routes() -> Vec<Route> {
    let need = Need::Permission(Permission::Recording);
    let verb = |path, summary, handler| {
        Route::new(("post", path), "recordings", summary, need, Answer::json::<RecordingAnswer>(), handler)
            .body(NOTHING)
    };
    vec![
        verb(
            "/api/v1/opensips/call/{id}/recording/start",
            "Record a call; nothing changes where it is recorded",
            post(start),
        ),
        verb("/api/v1/opensips/call/{id}/recording/stop", "End the recording of a call", post(stop)),
        verb("/api/v1/opensips/call/{id}/recording/pause", "Write silence from now on", post(pause)),
        verb("/api/v1/opensips/call/{id}/recording/resume", "Write again what is heard", post(resume)),
        Route::new(
            ("get", "/api/v1/recordings"),
            "recordings",
            "Recordings, newest first",
            need,
            Answer::json::<RecordingsAnswer>(),
            get(list),
        )
        .query(LIST)
        .also(&[503]),
        Route::new(
            ("get", "/api/v1/recordings/{id}"),
            "recordings",
            "One recording",
            need,
            Answer::json::<RecordingAnswer>(),
            get(show),
        )
        .also(&[503]),
        Route::new(
            ("get", "/api/v1/recordings/{id}/audio"),
            "recordings",
            "The audio: the caller is on the left, the callee on the right. Takes a Range header.",
            need,
            Answer::Audio,
            get(audio),
        )
        .query(AUDIO)
        .also(&[409, 416, 503]),
        Route::new(
            ("delete", "/api/v1/recordings/{id}"),
            "recordings",
            "Delete a recording that is over; deleting it again changes nothing",
            need,
            Answer::json::<Success>(),
            axum::routing::delete(remove),
        )
        .also(&[409]),
    ]
}

macro_rules! verbs {
    ($($name:ident $action:ident;)*) => {
        $(async fn $name(
            State(app): State<App>,
            caller: Caller,
            id: PathId,
            body: Body,
        ) -> Result<Json<RecordingAnswer>, ApiError> {
            act(&app, &caller, &id, body, RecordingAction::$action).await
        })*
    };
}

verbs! {
    start Start;
    stop Stop;
    pause Pause;
    resume Resume;
}

async fn act(
    app: &App,
    caller: &Caller,
    id: &PathId,
    body: Body,
    action: RecordingAction,
) -> Result<Json<RecordingAnswer>, ApiError> {
    let id: CallId = id.id()?;
    let call = find_call(app, &id).await?;
    let call = call.filter(|call| may_read(caller, call)).ok_or(Fault::NotFound)?;
    body.form(caller, NOTHING)?;
    let missing = if action == RecordingAction::Start { Fault::CallNotUp } else { Fault::NotRecording };
    let view = match app.ask(Command::Recording { call: call.id.clone(), action }).await? {
        Reply::Recording(Some(view)) => view,
        Reply::Recording(None) | Reply::Unknown => return Err(missing.into()),
        other => return Err(out_of_turn(&other)),
    };
    let kind = match action {
        RecordingAction::Pause => "recording_paused",
        RecordingAction::Resume => "recording_resumed",
        RecordingAction::Stop => "recording_stopped",
        RecordingAction::Start | RecordingAction::Show => "recording_wanted",
    };
    let (user, subject) = (Some(call.user.clone()), view.recording.id.to_string());
    app.office().tell(caller.actor(), Event { kind, user, subject, detail: json!({"sessionId": call.id}) });
    let recording = RecordingShape::of(&view.recording, Place::Folder).paused(view.paused);
    Ok(Json(RecordingAnswer { success: true, recording }))
}

/// Who may hear it: both users whose phones were in the call.
fn may_hear(caller: &Caller, recording: &Recording) -> bool {
    caller.sees(&recording.user) || recording.other_user.as_ref().is_some_and(|other| caller.sees(other))
}

async fn find(app: &App, caller: &Caller, id: &PathId) -> Result<Kept, ApiError> {
    let id: RecordingId = id.id()?;
    let kept = app.office().store().recording(&id).await?;
    kept.filter(|kept| may_hear(caller, &kept.recording)).ok_or(Fault::NotFound.into())
}

/// The recordings of calls, by call: what the database has, and what the exchange has just begun.
pub(crate) async fn of_calls(app: &App, calls: &[&CallRecord]) -> Result<Vec<(CallId, String)>, ApiError> {
    let ids: Vec<CallId> = calls.iter().map(|call| call.id.clone()).collect();
    let kept = app.office().store().recordings_of(&ids).await?;
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

async fn show(State(app): State<App>, caller: Caller, id: PathId) -> Result<Json<RecordingAnswer>, ApiError> {
    let kept = find(&app, &caller, &id).await?;
    Ok(Json(RecordingAnswer { success: true, recording: RecordingShape::of(&kept.recording, kept.place) }))
}

async fn list(State(app): State<App>, caller: Caller, uri: Uri) -> Result<Json<RecordingsAnswer>, ApiError> {
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
        user: (!caller.is_admin()).then(|| caller.user().clone()),
        call: form.parsed("sessionId", CallId::parse)?,
        state,
        cursor,
        limit: form.whole("limit").unwrap_or(u64::from(PAGE_DEFAULT)) as u32,
    };
    let page = app.office().store().recordings(&filter).await?;
    Ok(Json(RecordingsAnswer {
        success: true,
        recordings: page.recordings.iter().map(|k| RecordingShape::of(&k.recording, k.place)).collect(),
        next_cursor: page.next.map(|next| format!("{}.{}", next.started_at.as_micros().max(0), next.id)),
    }))
}

async fn audio(
    State(app): State<App>,
    caller: Caller,
    id: PathId,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let kept = find(&app, &caller, &id).await?;
    let wanted = match Form::of_query(&uri, AUDIO)?.text("format") {
        Some(_) => Wanted::Wav,
        None => Wanted::Stored,
    };
    match kept.recording.state {
        RecordingState::Recording => return Err(Fault::StillRecording.into()),
        RecordingState::Deleted => return Err(Fault::NotFound.into()),
        RecordingState::Complete | RecordingState::Failed => {}
    }
    let (name, ending) = (kept.recording.id.clone(), kept.recording.format.ending());
    let ending = if wanted == Wanted::Wav { "wav" } else { ending };
    let tag = kept.recording.sha256.as_ref().map(|sha| format!("\"{sha}-{ending}\""));
    let opened = match app.shelf().open(kept, wanted).await {
        Ok(opened) => opened,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(Fault::NotFound.into()),
        Err(error) => {
            tracing::error!(%error, recording = %name, "the audio of a recording cannot be read");
            return Err(Fault::AudioAway.into());
        }
    };
    let (length, content_type) = (opened.length, opened.content_type);
    let (status, from, to) = match asked(&headers, tag.as_deref(), length) {
        Asked::All => (StatusCode::OK, 0, length),
        Asked::Part(from, to) => (StatusCode::PARTIAL_CONTENT, from, to),
        Asked::Nothing => {
            let beyond = [(header::CONTENT_RANGE, format!("bytes */{length}"))];
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, beyond).into_response());
        }
    };
    let mut response = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, content_type)
        .header(header::CONTENT_LENGTH, to - from)
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::CACHE_CONTROL, "private, no-cache")
        .header(header::CONTENT_DISPOSITION, format!("inline; filename=\"{name}.{ending}\""));
    if let Some(tag) = tag {
        response = response.header(header::ETAG, tag);
    }
    if status == StatusCode::PARTIAL_CONTENT {
        response = response.header(header::CONTENT_RANGE, format!("bytes {from}-{}/{length}", to - 1));
    }
    response.body(chunks(opened, from, to)).map_err(|_| Fault::Internal.into())
}

/// The bytes in pieces: nobody's recording is in memory as a whole.
fn chunks(opened: Opened, from: u64, to: u64) -> Bytes {
    Bytes::from_stream(stream::try_unfold(from, move |at| {
        let opened = opened.clone();
        async move {
            if at >= to {
                return Ok(None);
            }
            let bytes = (opened.read)(at..to.min(at + AUDIO_CHUNK)).await?;
            if bytes.is_empty() {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof));
            }
            let next = at + bytes.len() as u64;
            Ok(Some((bytes, next)))
        }
    }))
}

async fn remove(State(app): State<App>, caller: Caller, id: PathId) -> Result<Json<Success>, ApiError> {
    let kept = find(&app, &caller, &id).await?;
    let actor = caller.actor();
    let event = Audit {
        at: app.office().now().wall,
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
            app.office().store().delete_recording(&kept.recording.id, event).await?;
        }
    }
    Ok(Json(Success { success: true }))
}
