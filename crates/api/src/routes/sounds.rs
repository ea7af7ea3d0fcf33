//! Sound routes of an extension: uploaded once, played by its recurring calls (S86).

use std::io;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::{delete, get, post};
use base::Id;
use bytes::Bytes;
use model::{Announcement, Permission, Sound, SoundId};
use serde::Serialize;
use serde_json::json;
use store::Audit;
use utoipa::ToSchema;

use crate::App;
use crate::audio_response::ogg_response;
use crate::audio_store::{AudioFile, AudioFormatRequest};
use crate::auth::Principal;
use crate::error::{ApiError, Fault};
use crate::input::{Field, Form, Rule};
use crate::limits::{DISPLAY_NAME_CHARS, SOUNDS_PER_EXTENSION};
use crate::route::{Access, Answer, Route};
use crate::routes::PathId;
use crate::routes::extensions::visible_extension;
use crate::schemas::Success;
use crate::upload::read_wav;

const CALL: Access = Access::Permission(Permission::Call);
const NAME: &[Field] = &[Field::new("name", Rule::Label(DISPLAY_NAME_CHARS), "Name of the sound").required()];
/// Size of a WAV header, and bytes per millisecond of audio.
const WAV: (u64, u64) = (44, 16);

#[derive(Serialize, ToSchema)]
pub(crate) struct SoundAnswer {
    pub success: bool,
    pub sound: SoundView,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct SoundsAnswer {
    pub success: bool,
    /// Oldest first.
    pub sounds: Vec<SoundView>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Sound)]
pub(crate) struct SoundView {
    /// `snd_1234567890_abc123`
    pub id: String,
    pub extension_id: String,
    /// `Good morning`
    pub name: String,
    pub milliseconds: u32,
    #[schema(format = DateTime)]
    pub created_at: String,
}

impl SoundView {
    fn of(sound: &Sound) -> Self {
        SoundView {
            id: sound.id.to_string(),
            extension_id: sound.extension.to_string(),
            name: sound.name.clone(),
            milliseconds: sound.millis,
            created_at: sound.created_at.to_string(),
        }
    }
}

pub(crate) fn routes() -> Vec<Route> {
    let tag = "recurring calls";
    let one = Answer::json::<SoundAnswer>;
    let (of_extension, id) = ("/api/v1/voip/extensions/{id}/sounds", "/api/v1/voip/sounds/{id}");
    vec![
        Route::new(
            ("post", of_extension),
            tag,
            "Upload a sound for recurring calls: WAV, 16-bit PCM, at most one minute",
            CALL,
            one(),
            post(send),
        )
        .query(NAME)
        .upload("audio/wav")
        .also(&[400, 409, 413, 415, 503]),
        Route::new(
            ("get", of_extension),
            tag,
            "List the sounds of an extension",
            CALL,
            Answer::json::<SoundsAnswer>(),
            get(list),
        )
        .also(&[503]),
        Route::new(("get", id), tag, "Get a sound", CALL, one(), get(show)).also(&[503]),
        Route::new(
            ("get", "/api/v1/voip/sounds/{id}/audio"),
            tag,
            "Audio of a sound, whole or in part (Range header): Opus in Ogg",
            CALL,
            Answer::Audio,
            get(audio),
        )
        .also(&[206, 416, 503]),
        Route::new(
            ("delete", id),
            tag,
            "Delete a sound that no recurring call plays",
            CALL,
            Answer::json::<Success>(),
            delete(remove),
        )
        .also(&[409, 503]),
    ]
}

/// Find a sound that the client may see. Any other is answered 404 (S25).
async fn visible_sound(app: &App, principal: &Principal, id: &PathId) -> Result<Sound, ApiError> {
    let id: SoundId = id.id()?;
    let found = app.directory_service().store().sound(&id).await?;
    Ok(found.filter(|sound| principal.can_see(&sound.user)).ok_or(Fault::NotFound)?)
}

fn audit_event(app: &App, principal: &Principal, kind: &'static str, sound: &Sound) -> Audit {
    let actor = principal.actor();
    Audit {
        at: app.directory_service().now().wall,
        kind,
        user: Some(sound.user.clone()),
        subject: sound.id.to_string(),
        key: actor.key,
        ip: actor.ip,
        request: actor.request,
        detail: json!({"extensionId": sound.extension, "name": sound.name, "milliseconds": sound.millis}),
    }
}

async fn send(
    State(app): State<App>,
    principal: Principal,
    id: PathId,
    uri: Uri,
    request: Request,
) -> Result<Json<SoundAnswer>, ApiError> {
    let extension = visible_extension(&app, &principal, &id)?;
    let form = Form::of_query(&uri, NAME)?;
    let wav = read_wav(request).await?;
    let directory_service = app.directory_service();
    let id: SoundId = Id::new(directory_service.now(), &mut directory_service.rng());
    // The audio store converts to Opus through a temporary voicemail file. A file left by a crash is deleted by the voicemail sweep.
    let draft = format!("voicemail/{}/{id}", extension.id);
    app.audio_store().keep_wav(draft.clone(), wav).await?;
    let converted = converted(&app, AudioFile::voicemail(draft.clone())).await;
    app.delete_voicemail_file(draft).await;
    let (wav_bytes, ogg) = converted.map_err(|error| {
        tracing::error!(%error, "uploaded audio could not be read back after conversion");
        Fault::StoreUnavailable
    })?;
    let sound = Sound {
        id,
        extension: extension.id.clone(),
        user: extension.user.clone(),
        name: form.text("name").unwrap_or_default().to_owned(),
        millis: (wav_bytes.saturating_sub(WAV.0) / WAV.1) as u32,
        created_at: directory_service.now().wall,
    };
    let event = audit_event(&app, &principal, "sound_created", &sound);
    if !directory_service.store().insert_sound(&sound, &ogg, SOUNDS_PER_EXTENSION, event).await? {
        return Err(Fault::TooManySounds.into());
    }
    Ok(Json(SoundAnswer { success: true, sound: SoundView::of(&sound) }))
}

/// Size of the audio as WAV (with header), and its Opus data.
async fn converted(app: &App, file: AudioFile) -> io::Result<(u64, Bytes)> {
    let wav = app.audio_store().open(file.clone(), AudioFormatRequest::Wav).await?;
    let ogg = app.audio_store().open(file, AudioFormatRequest::Stored).await?;
    Ok((wav.length, (ogg.read)(0..ogg.length).await?))
}

async fn list(
    State(app): State<App>,
    principal: Principal,
    id: PathId,
) -> Result<Json<SoundsAnswer>, ApiError> {
    let extension = visible_extension(&app, &principal, &id)?;
    let sounds = app.directory_service().store().sounds(&extension.id).await?;
    Ok(Json(SoundsAnswer { success: true, sounds: sounds.iter().map(SoundView::of).collect() }))
}

async fn show(
    State(app): State<App>,
    principal: Principal,
    id: PathId,
) -> Result<Json<SoundAnswer>, ApiError> {
    let sound = visible_sound(&app, &principal, &id).await?;
    Ok(Json(SoundAnswer { success: true, sound: SoundView::of(&sound) }))
}

async fn audio(
    State(app): State<App>,
    principal: Principal,
    id: PathId,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let sound = visible_sound(&app, &principal, &id).await?;
    let ogg = app.directory_service().store().sound_audio(&sound.id).await?.ok_or(Fault::NotFound)?;
    ogg_response(ogg.into(), sound.id.as_str(), &headers)
}

async fn remove(State(app): State<App>, principal: Principal, id: PathId) -> Result<Json<Success>, ApiError> {
    let sound = visible_sound(&app, &principal, &id).await?;
    let directory = app.directory_service().directory();
    let played = Announcement::Audio(sound.id.clone());
    let mut calls = directory.recurring_calls_of(&sound.extension);
    if calls.any(|call| call.action.announcement() == Some(&played)) {
        return Err(Fault::SoundInUse.into());
    }
    let event = audit_event(&app, &principal, "sound_deleted", &sound);
    if !app.directory_service().store().remove_sound(&sound.id, event).await? {
        return Err(Fault::NotFound.into());
    }
    Ok(Json(Success { success: true }))
}
