//! Voicemail routes (S72): messages and mailbox settings of an extension, and deliveries of e-mail notifications.

mod audio;
mod schemas;

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, RawPathParams, State};
use axum::http::Uri;
use axum::http::request::Parts;
use axum::routing::{delete, get, patch, put};
use base::{Id, Secret};
use model::voicemail::Count;
use model::{Extension, Language, MessageId, MessageState, Permission, VoicemailMessage};

use crate::auth::Principal;
use crate::directory_service::MailboxChanges;
use crate::error::{ApiError, Fault};
use crate::input::{Body, Field, Form, Rule};
use crate::limits::PAGE_DEFAULT;
use crate::route::{Access, Answer, Route};
use crate::routes::extensions::visible_extension;
use crate::routes::{CURSOR, LIMIT, PathId};
use crate::schemas::Success;
use crate::{App, Patch};
use schemas::{
    MailView, MailboxAnswer, MailboxView, MailsAnswer, MessageAnswer, MessageView, VoicemailAnswer,
};

/// Mailbox settings are part of the extension, so they need the same permission.
const SIP: Access = Access::Permission(Permission::Sip);
/// Messages are part of the call history, so they need the permission for calls.
const CALL: Access = Access::Permission(Permission::Call);
const TAG: &str = "voicemail";

const LIST: &[Field] = &[
    Field::new("status", Rule::OneOf(&["new", "heard", "saved"]), "Only messages in this state"),
    LIMIT,
    CURSOR,
];
const SETTINGS: &[Field] = &[
    Field::new("pin", Rule::Label(10), "PIN of the mailbox, 4 to 10 digits; null removes it").nullable(),
    Field::new("language", Rule::OneOf(&["es", "en"]), "Language of the voicemail prompts"),
    Field::new(
        "email",
        Rule::Label(254),
        "E-mail address for notifications about new messages; null for none",
    )
    .nullable(),
    Field::new("emailAudio", Rule::Flag, "Whether the audio is attached to notifications"),
];
const MARK: &[Field] =
    &[Field::new("status", Rule::OneOf(&["new", "heard", "saved"]), "New state of the message").required()];
const DELIVERIES: &[Field] = &[LIMIT];

const MAILBOX: &str = "/api/v1/voip/extensions/{id}/voicemail";
const MESSAGE: &str = "/api/v1/voip/extensions/{id}/voicemail/{messageId}";

pub(crate) fn routes() -> Vec<Route> {
    let one = Answer::json::<MessageAnswer>;
    let set = Answer::json::<MailboxAnswer>;
    let mut all = vec![
        Route::new(
            ("get", MAILBOX),
            TAG,
            "Voicemail messages and mailbox settings of an extension, newest message first",
            CALL,
            Answer::json::<VoicemailAnswer>(),
            get(list),
        )
        .query(LIST),
        Route::new(
            ("put", MAILBOX),
            TAG,
            "Change the settings of a mailbox; absent fields are unchanged",
            SIP,
            set(),
            put(settings),
        )
        .body(SETTINGS),
        Route::new(
            ("patch", MAILBOX),
            TAG,
            "Change the settings of a mailbox; absent fields are unchanged",
            SIP,
            set(),
            patch(settings),
        )
        .body(SETTINGS),
        Route::new(
            ("get", "/api/v1/voip/extensions/{id}/voicemail/deliveries"),
            TAG,
            "List e-mail notifications about an extension's messages, newest first",
            SIP,
            Answer::json::<MailsAnswer>(),
            get(deliveries),
        )
        .query(DELIVERIES)
        .also(&[503]),
        Route::new(("get", MESSAGE), TAG, "Get a message", CALL, one(), get(show)),
        Route::new(("put", MESSAGE), TAG, "Mark a message as heard, saved or new", CALL, one(), put(mark))
            .body(MARK),
        Route::new(
            ("patch", MESSAGE),
            TAG,
            "Mark a message as heard, saved or new",
            CALL,
            one(),
            patch(mark),
        )
        .body(MARK),
        Route::new(
            ("delete", MESSAGE),
            TAG,
            "Delete a message",
            CALL,
            Answer::json::<Success>(),
            delete(remove),
        ),
    ];
    all.extend(audio::routes());
    all
}

/// Extension id and message id of a path. A malformed id is treated like an unknown one: 404.
pub(crate) struct PathMessage {
    extension: PathId,
    message: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for PathMessage {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let params = RawPathParams::from_request_parts(parts, state).await.ok();
        let message =
            params.as_ref().and_then(|params| params.iter().nth(1)).map(|(_, text)| text.to_owned());
        Ok(PathMessage { extension: PathId::from_request_parts(parts, state).await?, message })
    }
}

impl PathMessage {
    /// Find a message that the caller may see. Any other is answered 404 (S25).
    fn find(&self, app: &App, principal: &Principal) -> Result<(Arc<Extension>, VoicemailMessage), ApiError> {
        let extension = visible_extension(app, principal, &self.extension)?;
        let id: MessageId =
            Id::parse(self.message.as_deref().unwrap_or_default()).map_err(|_| Fault::NotFound)?;
        let directory = app.directory_service().directory();
        let found = directory.message(&extension.id, &id).filter(|m| m.state != MessageState::Recording);
        let message = (**found.ok_or(Fault::NotFound)?).clone();
        Ok((extension, message))
    }
}

async fn list(
    State(app): State<App>,
    principal: Principal,
    id: PathId,
    uri: Uri,
) -> Result<Json<VoicemailAnswer>, ApiError> {
    let extension = visible_extension(&app, &principal, &id)?;
    let form = Form::of_query(&uri, LIST)?;
    let directory = app.directory_service().directory();
    let count = Count::of(directory.messages(&extension.id).map(|message| &**message));
    let limit = form.integer("limit").unwrap_or(u64::from(PAGE_DEFAULT)) as usize;
    let wanted = |message: &&Arc<VoicemailMessage>| {
        message.state != MessageState::Recording
            && form.text("status").is_none_or(|status| message.state.as_str() == status)
            && form.text("cursor").is_none_or(|cursor| message.id.as_str() < cursor)
    };
    let mut found: Vec<MessageView> = directory
        .messages(&extension.id)
        .rev()
        .filter(wanted)
        .take(limit + 1)
        .map(|message| MessageView::of(message))
        .collect();
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|last| last.id.clone());
    Ok(Json(VoicemailAnswer::new(&directory.mailbox(&extension.id), count, found, next)))
}

async fn settings(
    State(app): State<App>,
    principal: Principal,
    id: PathId,
    body: Body,
) -> Result<Json<MailboxAnswer>, ApiError> {
    let extension = visible_extension(&app, &principal, &id)?;
    let form = body.form(&principal, SETTINGS)?;
    let text = |name: &str| form.patch(name, form.text(name).map(str::to_owned));
    let changes = MailboxChanges {
        pin: text("pin").map(Secret::new),
        language: form.text("language").map(|word| match word {
            "en" => Language::English,
            _ => Language::Spanish,
        }),
        email: text("email"),
        email_audio: form.flag("emailAudio"),
        greeting_at: Patch::Keep,
    };
    let key = app.settings().pin_key.clone();
    let mailbox =
        app.directory_service().change_mailbox(principal.actor(), extension.id.clone(), key, changes).await?;
    Ok(Json(MailboxAnswer { success: true, mailbox: MailboxView::of(&mailbox) }))
}

async fn deliveries(
    State(app): State<App>,
    principal: Principal,
    id: PathId,
    uri: Uri,
) -> Result<Json<MailsAnswer>, ApiError> {
    let extension = visible_extension(&app, &principal, &id)?;
    let form = Form::of_query(&uri, DELIVERIES)?;
    let limit = form.integer("limit").unwrap_or(u64::from(PAGE_DEFAULT)) as u32;
    let mails = app.directory_service().store().mails_of(&extension.id, limit).await?;
    let deliveries = mails.iter().map(MailView::of).collect();
    Ok(Json(MailsAnswer { success: true, deliveries }))
}

async fn show(
    State(app): State<App>,
    principal: Principal,
    path: PathMessage,
) -> Result<Json<MessageAnswer>, ApiError> {
    let (_, message) = path.find(&app, &principal)?;
    Ok(Json(MessageAnswer { success: true, message: MessageView::of(&message) }))
}

async fn mark(
    State(app): State<App>,
    principal: Principal,
    path: PathMessage,
    body: Body,
) -> Result<Json<MessageAnswer>, ApiError> {
    let (extension, message) = path.find(&app, &principal)?;
    let form = body.form(&principal, MARK)?;
    let state = match form.text("status") {
        Some("heard") => MessageState::Heard,
        Some("saved") => MessageState::Saved,
        _ => MessageState::New,
    };
    let directory_service = app.directory_service();
    let marked =
        directory_service.mark_message(principal.actor(), extension.id.clone(), message.id, state).await?;
    Ok(Json(MessageAnswer { success: true, message: MessageView::of(&marked) }))
}

async fn remove(
    State(app): State<App>,
    principal: Principal,
    path: PathMessage,
) -> Result<Json<Success>, ApiError> {
    let (extension, message) = path.find(&app, &principal)?;
    app.directory_service()
        .remove_message(principal.actor(), extension.id.clone(), message.id.clone())
        .await?;
    app.delete_voicemail_file(switch::voicemail::message_path(&extension.id, &message.id)).await;
    Ok(Json(Success { success: true }))
}
