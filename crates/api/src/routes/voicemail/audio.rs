//! Voicemail audio routes: download messages, and download, upload or delete the custom greeting.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::{delete, get, put};
use model::Permission;
use switch::voicemail::{greeting_path, message_path};

use super::schemas::{MailboxAnswer, MailboxView};
use super::{PathMessage, SIP, TAG};
use crate::audio_response::audio_response;
use crate::audio_store::{AudioFile, AudioFormatRequest};
use crate::auth::Principal;
use crate::directory_service::MailboxChanges;
use crate::error::{ApiError, Fault};
use crate::input::{Field, Form, Rule};
use crate::route::{Access, Answer, Route};
use crate::routes::PathId;
use crate::routes::extensions::visible_extension;
use crate::upload::read_wav;
use crate::{App, Patch};

const RECORDING: Access = Access::Permission(Permission::Recording);
const FORMAT: &[Field] = &[Field::new(
    "format",
    Rule::OneOf(&["wav", "ogg"]),
    "wav: WAV; ogg: Opus in Ogg as stored; wav if absent",
)];

pub(super) fn routes() -> Vec<Route> {
    let set = Answer::json::<MailboxAnswer>;
    let greeting = "/api/v1/voip/extensions/{id}/voicemail/greeting";
    vec![
        Route::new(
            ("get", "/api/v1/voip/extensions/{id}/voicemail/{messageId}/audio"),
            TAG,
            "Audio of a message, whole or in part (Range header)",
            RECORDING,
            Answer::Audio,
            get(message),
        )
        .query(FORMAT)
        .also(&[206, 416, 503]),
        Route::new(
            ("get", "/api/v1/voip/extensions/{id}/voicemail/greeting/audio"),
            TAG,
            "Audio of the custom greeting, whole or in part (Range header)",
            RECORDING,
            Answer::Audio,
            get(greeting_audio),
        )
        .query(FORMAT)
        .also(&[206, 416, 503]),
        Route::new(
            ("put", greeting),
            TAG,
            "Upload a custom greeting: WAV, 16-bit PCM, at most one minute",
            SIP,
            set(),
            put(send),
        )
        .upload("audio/wav")
        .also(&[400, 413, 415, 503]),
        Route::new(("delete", greeting), TAG, "Delete the custom greeting", SIP, set(), delete(remove)),
    ]
}

async fn message(
    State(app): State<App>,
    principal: Principal,
    path: PathMessage,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (extension, message) = path.find(&app, &principal)?;
    respond_with_audio(&app, message_path(&extension.id, &message.id), &uri, &headers).await
}

async fn greeting_audio(
    State(app): State<App>,
    principal: Principal,
    id: PathId,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let extension = visible_extension(&app, &principal, &id)?;
    app.directory_service().directory().mailbox(&extension.id).greeting_at.ok_or(Fault::NotFound)?;
    respond_with_audio(&app, greeting_path(&extension.id), &uri, &headers).await
}

async fn respond_with_audio(
    app: &App,
    name: String,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let wanted = match Form::of_query(uri, FORMAT)?.text("format") {
        Some("ogg") => AudioFormatRequest::Stored,
        _ => AudioFormatRequest::Wav,
    };
    audio_response(app, AudioFile::voicemail(name), wanted, None, headers).await
}

async fn send(
    State(app): State<App>,
    principal: Principal,
    id: PathId,
    request: Request,
) -> Result<Json<MailboxAnswer>, ApiError> {
    let extension = visible_extension(&app, &principal, &id)?;
    let wav = read_wav(request).await?;
    app.audio_store().keep_wav(greeting_path(&extension.id), wav).await?;
    let changes = MailboxChanges {
        greeting_at: Patch::Set(app.directory_service().now().wall),
        ..MailboxChanges::default()
    };
    set(&app, &principal, &extension.id, changes).await
}

async fn remove(
    State(app): State<App>,
    principal: Principal,
    id: PathId,
) -> Result<Json<MailboxAnswer>, ApiError> {
    let extension = visible_extension(&app, &principal, &id)?;
    let changes = MailboxChanges { greeting_at: Patch::Clear, ..MailboxChanges::default() };
    let answer = set(&app, &principal, &extension.id, changes).await?;
    app.delete_voicemail_file(greeting_path(&extension.id)).await;
    Ok(answer)
}

async fn set(
    app: &App,
    principal: &Principal,
    id: &model::ExtensionId,
    changes: MailboxChanges,
) -> Result<Json<MailboxAnswer>, ApiError> {
    let key = app.settings().pin_key.clone();
    let mailbox = app.directory_service().change_mailbox(principal.actor(), id.clone(), key, changes).await?;
    Ok(Json(MailboxAnswer { success: true, mailbox: MailboxView::of(&mailbox) }))
}
