//! API keys (S53–S60).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use axum::routing::{delete, get, patch, post};
use model::{ApiKey, ApiKeyId, Permission, Permissions, UserId};

use crate::auth::Caller;
use crate::error::{ApiError, Fault};
use crate::input::instant::instant;
use crate::input::{Body, Field, Form, Paging, Rule};
use crate::limits::{KEY_NAME_CHARS, PAGE_DEFAULT};
use crate::office::{KeyChanges, NewKey};
use crate::route::{Answer, Need, Route};
use crate::routes::{CURSOR, LIMIT, PathId, page};
use crate::shapes::{
    KeyAnswer, KeyMetadata, KeyUsageAnswer, KeyUseView, KeyView, KeysAnswer, NewKeyAnswer, NewKeyView,
    Success,
};
use crate::{App, Patch};

const GENERATE: &[Field] = &[
    Field::new("userId", Rule::Id, "Whose; the owner of the asking key where absent"),
    Field::new("name", Rule::Label(KEY_NAME_CHARS), "What its owner calls it"),
    Field::new("permissions", Rule::Permissions, "What it may do: at most what the asking key may"),
    Field::new(
        "requestsPerMinute",
        Rule::Whole(1, 1_000_000),
        "Its own limit; only an admin key may set one",
    ),
    EXPIRES,
];
const EXPIRES: Field =
    Field::new("expiresAt", Rule::Instant, "When it stops being accepted; never where absent").nullable();
const CHANGE: &[Field] = &[
    Field::new("name", Rule::Label(KEY_NAME_CHARS), "What its owner calls it"),
    Field::new(
        "requestsPerMinute",
        Rule::Whole(1, 1_000_000),
        "Its own limit, or null for the server's; only an admin key may set one",
    )
    .nullable(),
    Field::new(
        "expiresAt",
        Rule::Instant,
        "When it stops being accepted, or null; only an admin key may put it off",
    )
    .nullable(),
];
const USAGE: &[Field] =
    &[LIMIT, Field::new("cursor", Rule::Cursor(Paging::Whole), "The nextCursor of the page before")];
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
            ("patch", "/api/v1/keys/{id}"),
            "keys",
            "Change a key's name, limit or expiry",
            Need::Key,
            Answer::json::<KeyAnswer>(),
            patch(change),
        )
        .body(CHANGE)
        .also(&[409]),
        Route::new(
            ("get", "/api/v1/keys/{id}/usage"),
            "keys",
            "What a key was used for: by day, route, address and status",
            Need::Key,
            Answer::json::<KeyUsageAnswer>(),
            get(usage),
        )
        .query(USAGE)
        .also(&[503]),
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
    let expires_at = form.text("expiresAt").and_then(instant);
    if expires_at.is_some_and(|end| end <= app.office().now().wall) {
        return Err(ApiError::field(Fault::BadValue, "expiresAt", Some(PAST)));
    }
    // What limits a key limits those that it makes.
    let (requests_per_minute, expires_at) = match caller.key().filter(|_| !caller.is_admin()) {
        None => (requests_per_minute, expires_at),
        Some(own) => {
            if own.expires_at.is_some_and(|end| expires_at.is_some_and(|wanted| wanted > end)) {
                return Err(ApiError::field(Fault::WiderKey, "expiresAt", None));
            }
            (own.requests_per_minute, expires_at.or(own.expires_at))
        }
    };
    let name = form.text("name").unwrap_or("VoIP Key").to_owned();
    let made = app
        .office()
        .create_key(caller.actor(), NewKey { user, name, permissions, requests_per_minute, expires_at })
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
            created_at: key.created_at.to_string(),
            expires_at: key.expires_at.map(|at| at.to_string()),
            requests_per_minute: key.requests_per_minute,
        },
    }))
}

async fn list(State(app): State<App>, caller: Caller, uri: Uri) -> Result<Json<KeysAnswer>, ApiError> {
    let form = Form::of_query(&uri, LIST)?;
    if let Some(user) = form.text("userId")
        && !caller.permissions.allow(Permission::Keys)
    {
        caller.acts_for(user)?; // S57
    }
    let wanted = form.parsed("userId", UserId::parse)?;
    let directory = app.office().directory();
    let shown =
        |key: &&Arc<ApiKey>| wanted.as_ref().map_or_else(|| manages(&caller, key), |user| key.user == *user);
    let limit = form.whole("limit").unwrap_or(u64::from(PAGE_DEFAULT)) as usize;
    let keys = directory.keys().filter(shown);
    let (keys, next_cursor) = page(keys, form.text("cursor"), limit, |key| key.id.as_str());
    let written = app.office().store().keys_last_used().await?;
    let view = |key: &&Arc<ApiKey>| {
        let last = app.usage().last_used(&key.id).max(written.get(&key.id).copied());
        KeyView::of(app.settings(), key, last)
    };
    Ok(Json(KeysAnswer { success: true, keys: keys.iter().map(view).collect(), next_cursor }))
}

const PAST: (&str, &str) = ("must lie in the future", "debe estar en el futuro");

/// Whose keys somebody may see and switch: his own, or everybody's with `admin` or `keys:*`.
fn manages(caller: &Caller, key: &ApiKey) -> bool {
    caller.sees(&key.user) || caller.permissions.allow(Permission::Keys)
}

/// A key that the caller may see; any other is as good as missing.
fn own(app: &App, caller: &Caller, id: &PathId) -> Result<Arc<ApiKey>, ApiError> {
    let id: ApiKeyId = id.id()?;
    let directory = app.office().directory();
    let key = directory.key(&id).filter(|key| manages(caller, key)).ok_or(Fault::NotFound)?;
    Ok(Arc::clone(key))
}

/// … and may change: who manages others' keys does not touch those that may more than his own.
fn changeable(app: &App, caller: &Caller, id: &PathId) -> Result<Arc<ApiKey>, ApiError> {
    let key = own(app, caller, id)?;
    if caller.sees(&key.user) || caller.permissions.cover(key.permissions) {
        return Ok(key);
    }
    Err(Fault::WiderKey.into())
}

async fn change(
    State(app): State<App>,
    caller: Caller,
    id: PathId,
    body: Body,
) -> Result<Json<KeyAnswer>, ApiError> {
    let key = changeable(&app, &caller, &id)?;
    let form = body.form(&caller, CHANGE)?;
    let requests_per_minute =
        form.patch("requestsPerMinute", form.whole("requestsPerMinute").map(|n| n as u32));
    let expires_at = form.patch("expiresAt", form.text("expiresAt").and_then(instant));
    let later = match (expires_at, key.expires_at) {
        (_, None) | (Patch::Keep, _) => false,
        (Patch::Clear, Some(_)) => true,
        (Patch::Set(wanted), Some(end)) => wanted > end,
    };
    if !requests_per_minute.is_keep() || later {
        caller.needs(Permission::Admin)?;
    }
    if matches!(expires_at, Patch::Set(end) if end <= app.office().now().wall) {
        return Err(ApiError::field(Fault::BadValue, "expiresAt", Some(PAST)));
    }
    let changes = KeyChanges { name: form.text("name").map(str::to_owned), requests_per_minute, expires_at };
    let key = app.office().change_key(caller.actor(), key.id.clone(), changes).await?;
    let last_used = app.usage().last_used(&key.id);
    Ok(Json(KeyAnswer { success: true, key: KeyView::of(app.settings(), &key, last_used) }))
}

async fn usage(
    State(app): State<App>,
    caller: Caller,
    id: PathId,
    uri: Uri,
) -> Result<Json<KeyUsageAnswer>, ApiError> {
    let key = own(&app, &caller, &id)?;
    let form = Form::of_query(&uri, USAGE)?;
    let limit = form.whole("limit").unwrap_or(u64::from(PAGE_DEFAULT)) as u32;
    let skip = form.whole("cursor").unwrap_or(0);
    app.flush().await;
    let mut uses = app.office().store().key_uses(&key.id, skip, limit + 1).await?;
    let more = uses.len() > limit as usize;
    uses.truncate(limit as usize);
    Ok(Json(KeyUsageAnswer {
        success: true,
        usage: uses.iter().map(KeyUseView::of).collect(),
        next_cursor: more.then(|| (skip + u64::from(limit)).to_string()),
    }))
}

async fn toggle(
    State(app): State<App>,
    caller: Caller,
    id: PathId,
    body: Body,
) -> Result<Json<KeyAnswer>, ApiError> {
    let id = changeable(&app, &caller, &id)?.id.clone();
    let active = body.form(&caller, TOGGLE)?.flag("active");
    let key = app.office().switch_key(caller.actor(), id, active).await?;
    let last_used = app.usage().last_used(&key.id);
    Ok(Json(KeyAnswer { success: true, key: KeyView::of(app.settings(), &key, last_used) }))
}

async fn revoke(State(app): State<App>, caller: Caller, id: PathId) -> Result<Json<Success>, ApiError> {
    let id = changeable(&app, &caller, &id)?.id.clone();
    app.office().revoke_key(caller.actor(), id).await?;
    Ok(Json(Success { success: true }))
}
