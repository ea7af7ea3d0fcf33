//! API keys (S53–S60).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use axum::routing::{delete, get, post};
use model::{ApiKey, ApiKeyId, Permission, Permissions, UserId};

use crate::App;
use crate::auth::Caller;
use crate::error::{ApiError, Fault};
use crate::input::{Body, Field, Form, Rule};
use crate::limits::{KEY_NAME_CHARS, PAGE_DEFAULT};
use crate::office::NewKey;
use crate::route::{Answer, Need, Route};
use crate::routes::{CURSOR, LIMIT, PathId, page};
use crate::shapes::{
    KeyAnswer, KeyMetadata, KeyView, KeysAnswer, NewKeyAnswer, NewKeyView, Success, to_the_second,
};

const GENERATE: &[Field] = &[
    Field::new("userId", Rule::Id, "Whose; the owner of the asking key where absent"),
    Field::new("name", Rule::Label(KEY_NAME_CHARS), "What its owner calls it"),
    Field::new("permissions", Rule::Permissions, "What it may do: at most what the asking key may"),
    Field::new(
        "requestsPerMinute",
        Rule::Whole(1, 1_000_000),
        "Its own limit; only an admin key may set one",
    ),
];
const LIST: &[Field] = &[Field::new("userId", Rule::Id, "Only keys of this user"), LIMIT, CURSOR];
const TOGGLE: &[Field] = &[Field::new("active", Rule::Flag, "The wanted state; the other one where absent")];
const DOCUMENTED: [Permission; 3] = [Permission::Call, Permission::Sip, Permission::Recording];

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::new(
            ("post", "/api/v1/keys/voip/generate"),
            "keys",
            "Make an API key",
            Need::Key,
            Answer::json::<NewKeyAnswer>(),
            post(generate),
        )
        .body(GENERATE),
        Route::new(
            ("get", "/api/v1/keys"),
            "keys",
            "List API keys",
            Need::Key,
            Answer::json::<KeysAnswer>(),
            get(list),
        )
        .query(LIST),
        Route::new(
            ("post", "/api/v1/keys/{id}/toggle"),
            "keys",
            "Switch a key on or off",
            Need::Key,
            Answer::json::<KeyAnswer>(),
            post(toggle),
        )
        .body(TOGGLE)
        .also(&[409]),
        Route::new(
            ("delete", "/api/v1/keys/{id}"),
            "keys",
            "Revoke a key",
            Need::Key,
            Answer::json::<Success>(),
            delete(revoke),
        )
        .also(&[409]),
    ]
}

async fn generate(
    State(app): State<App>,
    caller: Caller,
    body: Body,
) -> Result<Json<NewKeyAnswer>, ApiError> {
    let form = body.form(&caller, GENERATE)?;
    let user = form.parsed("userId", UserId::parse)?.unwrap_or_else(|| caller.user().clone());
    let permissions: Permissions = match form.texts("permissions") {
        Some(words) => words.filter_map(Permission::parse).collect(),
        None => DOCUMENTED.into_iter().collect(),
    };
    if !caller.permissions.cover(permissions) {
        return Err(ApiError::field(Fault::WiderKey, "permissions", None)); // security.md row 21
    }
    let requests_per_minute = form.whole("requestsPerMinute").map(|n| n as u32);
    if requests_per_minute.is_some() {
        caller.needs(Permission::Admin)?;
    }
    let name = form.text("name").unwrap_or("VoIP Key").to_owned();
    let made = app
        .office()
        .create_key(caller.actor(), NewKey { user, name, permissions, requests_per_minute })
        .await?;
    let key = made.key;
    Ok(Json(NewKeyAnswer {
        success: true,
        key: NewKeyView {
            id: key.id.to_string(),
            key: made.secret.expose().clone(),
            service: "voip",
            metadata: KeyMetadata::of(app.settings(), &key),
            name: key.name.clone(),
            user_id: key.user.to_string(),
            key_prefix: key.prefix.clone(),
            active: key.active,
            created_at: to_the_second(key.created_at),
        },
    }))
}

async fn list(State(app): State<App>, caller: Caller, uri: Uri) -> Result<Json<KeysAnswer>, ApiError> {
    let form = Form::of_query(&uri, LIST)?;
    if let Some(user) = form.text("userId") {
        caller.acts_for(user)?; // S57
    }
    let wanted = form.parsed("userId", UserId::parse)?;
    let directory = app.office().directory();
    let shown =
        |key: &&Arc<ApiKey>| wanted.as_ref().map_or_else(|| caller.sees(&key.user), |user| key.user == *user);
    let mut keys: Vec<Arc<ApiKey>> = directory.keys().filter(shown).cloned().collect();
    keys.sort_by(|a, b| a.id.cmp(&b.id));
    let limit = form.whole("limit").unwrap_or(u64::from(PAGE_DEFAULT)) as usize;
    let (keys, next_cursor) = page(keys, form.text("cursor"), limit, |key| key.id.as_str());
    let written = app.office().store().keys_last_used().await?;
    let view = |key: &Arc<ApiKey>| {
        let last = app.usage().last_used(&key.id).max(written.get(&key.id).copied());
        KeyView::of(app.settings(), key, last)
    };
    Ok(Json(KeysAnswer { success: true, keys: keys.iter().map(view).collect(), next_cursor }))
}

/// A key that the caller may see; any other is as good as missing.
fn own(app: &App, caller: &Caller, id: &PathId) -> Result<ApiKeyId, ApiError> {
    let id: ApiKeyId = id.id()?;
    let directory = app.office().directory();
    let key = directory.key(&id).filter(|key| caller.sees(&key.user)).ok_or(Fault::NotFound)?;
    Ok(key.id.clone())
}

async fn toggle(
    State(app): State<App>,
    caller: Caller,
    id: PathId,
    body: Body,
) -> Result<Json<KeyAnswer>, ApiError> {
    let id = own(&app, &caller, &id)?;
    let active = body.form(&caller, TOGGLE)?.flag("active");
    let key = app.office().switch_key(caller.actor(), id, active).await?;
    let last_used = app.usage().last_used(&key.id);
    Ok(Json(KeyAnswer { success: true, key: KeyView::of(app.settings(), &key, last_used) }))
}

async fn revoke(State(app): State<App>, caller: Caller, id: PathId) -> Result<Json<Success>, ApiError> {
    let id = own(&app, &caller, &id)?;
    app.office().revoke_key(caller.actor(), id).await?;
    Ok(Json(Success { success: true }))
}
