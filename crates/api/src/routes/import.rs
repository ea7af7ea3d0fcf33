//! `POST /api/v1/voip/extensions/import`: create many extensions with their existing passwords (S40) from a list or a spreadsheet, all or none.

use axum::Json;
use axum::extract::State;
use axum::routing::post;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::auth::Principal;
use crate::error::ApiError;
use crate::import_line::{Column, RawLine, validate_line};
use crate::input::{Body, Field, Form, Rule};
use crate::limits::{DISPLAY_NAME_CHARS, IMPORT_LINES, PASSWORD_CHARS};
use crate::route::{Access, Answer, Route};
use crate::spreadsheet::read_spreadsheet;
use crate::{App, DirectoryError, ImportLine};

const LIST: &str = "extensions";
const LINE: &[Field] = &[
    Field::new("extensionNumber", Rule::ExtensionNumber, "Number of the extension").required(),
    Field::new("username", Rule::Label(PASSWORD_CHARS), "Digest user name").required(),
    Field::new("password", Rule::Label(PASSWORD_CHARS), "Digest password").required(),
    Field::new("userId", Rule::Id, "Owner of the extension").required(),
    Field::new("displayName", Rule::Label(DISPLAY_NAME_CHARS), "Display name; the number if absent"),
    Field::new("voicemailPin", Rule::Label(10), "PIN of the mailbox, 4 to 10 digits"),
];
const IMPORT: &[Field] =
    &[Field::new(LIST, Rule::Objects(LINE, IMPORT_LINES), "The extensions; either all are created or none")
        .required()];

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::new(
            ("post", "/api/v1/voip/extensions/import"),
            "extensions",
            "Create many extensions, from a list or a spreadsheet",
            Access::Admin,
            Answer::json::<ImportAnswer>(),
            post(import),
        )
        .body(IMPORT)
        .or_csv()
        .bulk()
        .also(&[409]),
    ]
}

#[derive(Serialize, ToSchema)]
pub(crate) struct ImportAnswer {
    pub success: bool,
    /// Number of extensions created.
    pub imported: usize,
    /// Generated passwords, for the extensions that came without one. They are shown once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub passwords: Vec<MadePasswordView>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MadePassword)]
pub(crate) struct MadePasswordView {
    pub extension_number: String,
    pub username: String,
    pub password: String,
}

async fn import(
    State(app): State<App>,
    principal: Principal,
    body: Body,
) -> Result<Json<ImportAnswer>, ApiError> {
    let csv = body.csv()?;
    let lines = match &csv {
        Some(csv) => {
            read_spreadsheet(csv, principal.user()).map_err(|fault| ApiError::from_line_fault(&fault))?
        }
        None => parse_list(&principal, &mut body.form_without_user(IMPORT)?)?,
    };
    drop(body);
    let pins = app.settings().pin_key.clone();
    let done =
        app.directory_service().import(principal.actor(), pins, lines).await.map_err(
            |error| match error {
                DirectoryError::Line(fault) if csv.is_none() => ApiError::from_list_fault(LIST, &fault),
                error => error.into(),
            },
        )?;
    let passwords = done.made.into_iter().map(|made| MadePasswordView {
        extension_number: made.number.to_string(),
        username: made.username,
        password: made.password.expose().clone(),
    });
    Ok(Json(ImportAnswer { success: true, imported: done.count, passwords: passwords.collect() }))
}

fn parse_list(principal: &Principal, form: &mut Form) -> Result<Vec<ImportLine>, ApiError> {
    let line = |(n, object): (usize, Map<String, Value>)| {
        let form = Form::of_object(object.clone(), LINE)
            .map_err(|error| add_value(error, &object).at_index(LIST, n))?;
        let raw_line = RawLine {
            line: n as u64,
            number: form.text("extensionNumber"),
            name: form.text("displayName"),
            username: form.text("username"),
            password: form.text("password"),
            owner: form.text("userId"),
            pin: form.text("voicemailPin"),
        };
        validate_line(&raw_line, principal.user()).map_err(|fault| ApiError::from_list_fault(LIST, &fault))
    };
    form.objects(LIST).enumerate().map(line).collect()
}

/// Add the rejected value to the error, unless it is a secret.
fn add_value(error: ApiError, object: &Map<String, Value>) -> ApiError {
    let secret = [Column::Password, Column::Pin].map(Column::field);
    let value = error.field_name().filter(|name| !secret.contains(name)).and_then(|name| object.get(name));
    match value {
        Some(value @ (Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null)) => {
            error.with_value(&crate::input::printable(&value.to_string()))
        }
        Some(Value::Array(_) | Value::Object(_)) | None => error,
    }
}
