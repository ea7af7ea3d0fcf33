//! `POST /api/v1/voip/extensions/import`: a whole office with its own passwords in one call (S40), all of it or nothing.

use axum::Json;
use axum::extract::State;
use axum::routing::post;
use base::Secret;
use model::{ExtensionNumber, UserId};
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Caller;
use crate::error::{ApiError, Fault};
use crate::input::{Bulk, Field, Form, Rule};
use crate::limits::{DISPLAY_NAME_CHARS, IMPORT_LINES, PASSWORD_CHARS};
use crate::route::{Answer, Need, Route};
use crate::{App, Imported, secret};

const LIST: &str = "extensions";
const LINE: &[Field] = &[
    Field::new("extensionNumber", Rule::ExtensionNumber, "What others dial").required(),
    Field::new("username", Rule::Label(PASSWORD_CHARS), "The digest user name").required(),
    Field::new("password", Rule::Label(PASSWORD_CHARS), "The digest password").required(),
    Field::new("userId", Rule::Id, "Whose").required(),
    Field::new("displayName", Rule::Label(DISPLAY_NAME_CHARS), "The person's name; the number where absent"),
];
const IMPORT: &[Field] =
    &[Field::new(LIST, Rule::Lines(LINE, IMPORT_LINES), "The extensions; all are made, or none").required()];

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::new(
            ("post", "/api/v1/voip/extensions/import"),
            "extensions",
            "Create many extensions that have their passwords already",
            Need::Admin,
            Answer::json::<ImportAnswer>(),
            post(import),
        )
        .body(IMPORT)
        .also(&[409]),
    ]
}

#[derive(Serialize, ToSchema)]
pub(crate) struct ImportAnswer {
    pub success: bool,
    /// How many were made.
    pub imported: usize,
}

async fn import(State(app): State<App>, caller: Caller, body: Bulk) -> Result<Json<ImportAnswer>, ApiError> {
    let mut form = body.form(IMPORT)?;
    drop(body);
    let line = |(n, object)| {
        Form::of_object(object, LINE).and_then(|form| imported(&form)).map_err(|error| error.of_line(LIST, n))
    };
    let lines = form.objects(LIST).enumerate().map(line).collect::<Result<Vec<_>, ApiError>>()?;
    let imported = app.office().import(caller.actor(), lines).await?;
    Ok(Json(ImportAnswer { success: true, imported }))
}

/// One line. Its table has found every required field there.
fn imported(form: &Form) -> Result<Imported, ApiError> {
    let missing = |name| move || ApiError::field(Fault::MissingField, name, None);
    let text = |name| form.text(name).ok_or_else(missing(name));
    if secret::is_known(text("password")?, &[text("extensionNumber")?, text("username")?]) {
        let rule = (
            "must not be published somewhere, nor the number or the user name",
            "no debe estar publicada en ningún sitio, ni ser el número o el nombre de usuario",
        );
        return Err(ApiError::field(Fault::BadValue, "password", Some(rule)));
    }
    Ok(Imported {
        number: form
            .parsed("extensionNumber", ExtensionNumber::parse)?
            .ok_or_else(missing("extensionNumber"))?,
        username: text("username")?.to_owned(),
        password: Secret::new(text("password")?.to_owned()),
        owner: form.parsed("userId", UserId::parse)?.ok_or_else(missing("userId"))?,
        display_name: form.text("displayName").map(str::to_owned),
    })
}
