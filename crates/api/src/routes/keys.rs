//! API key routes (S53–S60).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use axum::routing::{delete, get, patch, post};
use model::{ApiKey, ApiKeyId, Permission, Permissions, UserId};

use crate::auth::Principal;
use crate::directory_service::{KeyChanges, NewKey};
use crate::error::{ApiError, Fault};
use crate::input::instant::instant;
use crate::input::{Body, Field, Form, Paging, Rule};
use crate::limits::{KEY_NAME_CHARS, PAGE_DEFAULT};
use crate::route::{Access, Answer, Route};
use crate::routes::{CURSOR, LIMIT, PathId, page};
use crate::schemas::{
    KeyAnswer, KeyMetadata, KeyUsageAnswer, KeyUseView, KeyView, KeysAnswer, NewKeyAnswer, NewKeyView,
    Success,
};
use crate::{App, Patch};

const GENERATE: &[Field] = &[
    Field::new("userId", Rule::Id, "Owner of the new key; the owner of the requesting key if absent"),
    Field::new("name", Rule::Label(KEY_NAME_CHARS), "Name of the key"),
    Field::new(
        "permissions",
        Rule::Permissions,
        "Permissions of the new key; at most those of the requesting key",
    ),
    Field::new(
        "requestsPerMinute",
        Rule::Integer(1, 1_000_000),
        "Rate limit of the key; only an admin key may set one",
    ),
    EXPIRES,
];
const EXPIRES: Field = Field::new("expiresAt", Rule::Instant, "Expiry of the key; none if absent").nullable();
const CHANGE: &[Field] = &[
    Field::new("name", Rule::Label(KEY_NAME_CHARS), "Name of the key"),
    Field::new(
        "requestsPerMinute",
        Rule::Integer(1, 1_000_000),
        "Rate limit of the key, or null for the server's default; only an admin key may set it",
    )
    .nullable(),
    Field::new(
        "expiresAt",
        Rule::Instant,
        "Expiry of the key, or null for none; only an admin key may extend it",
    )
    .nullable(),
];
const USAGE: &[Field] =
    &[LIMIT, Field::new("cursor", Rule::Cursor(Paging::Integer), "The nextCursor of the previous page")];
const LIST: &[Field] = &[Field::new("userId", Rule::Id, "Only keys of this user"), LIMIT, CURSOR];
const TOGGLE: &[Field] = &[Field::new("active", Rule::Flag, "New state; toggled if absent")];
const DOCUMENTED: [Permission; 3] = [Permission::Call, Permission::Sip, Permission::Recording];

pub(crate) fn routes() -> Vec<Route> {
    vec![
        Route::new(
            ("post", "/api/v1/keys/voip/generate"),
            "keys",
            "Create an API key",
            Access::Key,
            Answer::json::<NewKeyAnswer>(),
            post(generate),
        )
        .body(GENERATE),
        Route::new(
            ("get", "/api/v1/keys"),
            "keys",
            "List API keys",
            Access::Key,
            Answer::json::<KeysAnswer>(),
            get(list),
        )
        .query(LIST),
        Route::new(
            ("post", "/api/v1/keys/{id}/toggle"),
            "keys",
            "Activate or deactivate an API key",
            Access::Key,
            Answer::json::<KeyAnswer>(),
            post(toggle),
        )
        .body(TOGGLE)
        .also(&[409]),
        Route::new(
            ("patch", "/api/v1/keys/{id}"),
            "keys",
            "Change the name, rate limit or expiry of an API key",
            Access::Key,
            Answer::json::<KeyAnswer>(),
            patch(change),
        )
        .body(CHANGE)
        .also(&[409]),
        Route::new(
            ("get", "/api/v1/keys/{id}/usage"),
            "keys",
            "Uses of an API key by day, route, address and status",
            Access::Key,
            Answer::json::<KeyUsageAnswer>(),
            get(usage),
        )
        .query(USAGE)
        .also(&[503]),
        Route::new(
            ("delete", "/api/v1/keys/{id}"),
            "keys",
            "Delete an API key",
            Access::Key,
            Answer::json::<Success>(),
            delete(revoke),
        )
        .also(&[409]),
    ]
}

async fn generate(
    State(app): State<App>,
    principal: Principal,
    body: Body,
) -> Result<Json<NewKeyAnswer>, ApiError> {
    let form = body.form(&principal, GENERATE)?;
    let user = form.parsed("userId", UserId::parse)?.unwrap_or_else(|| principal.user().clone());
    let permissions: Permissions = match form.texts("permissions") {
        Some(words) => words.filter_map(Permission::parse).collect(),
        None => DOCUMENTED.into_iter().collect(),
    };
    if !principal.permissions.cover(permissions) {
        return Err(ApiError::field(Fault::WiderPermissions, "permissions", None)); // security.md row 21
    }
    let requests_per_minute = form.integer("requestsPerMinute").map(|n| n as u32);
    if requests_per_minute.is_some() {
        principal.require(Permission::Admin)?;
    }
    let expires_at = form.text("expiresAt").and_then(instant);
    if expires_at.is_some_and(|end| end <= app.directory_service().now().wall) {
        return Err(ApiError::field(Fault::BadValue, "expiresAt", Some(PAST_EXPIRY)));
    }
    // A key passes its own rate limit and expiry on to the keys it creates.
    let (requests_per_minute, expires_at) = match principal.key().filter(|_| !principal.is_admin()) {
        None => (requests_per_minute, expires_at),
        Some(own) => {
            if own.expires_at.is_some_and(|end| expires_at.is_some_and(|wanted| wanted > end)) {
                return Err(ApiError::field(Fault::WiderPermissions, "expiresAt", None));
            }
            (own.requests_per_minute, expires_at.or(own.expires_at))
        }
    };
    let name = form.text("name").unwrap_or("VoIP Key").to_owned();
    let made = app
        .directory_service()
        .create_key(principal.actor(), NewKey { user, name, permissions, requests_per_minute, expires_at })
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

async fn list(State(app): State<App>, principal: Principal, uri: Uri) -> Result<Json<KeysAnswer>, ApiError> {
    let form = Form::of_query(&uri, LIST)?;
    if let Some(user) = form.text("userId")
        && !principal.permissions.allow(Permission::Keys)
    {
        principal.require_user(user)?; // S57
    }
    let wanted = form.parsed("userId", UserId::parse)?;
    let directory = app.directory_service().directory();
    let shown = |key: &&Arc<ApiKey>| {
        wanted.as_ref().map_or_else(|| can_manage(&principal, key), |user| key.user == *user)
    };
    let limit = form.integer("limit").unwrap_or(u64::from(PAGE_DEFAULT)) as usize;
    let keys = directory.keys().filter(shown);
    let (keys, next_cursor) = page(keys, form.text("cursor"), limit, |key| key.id.as_str());
    let written = app.directory_service().store().keys_last_used().await?;
    let view = |key: &&Arc<ApiKey>| {
        let last = app.usage().last_used(&key.id).max(written.get(&key.id).copied());
        KeyView::of(app.settings(), key, last)
    };
    Ok(Json(KeysAnswer { success: true, keys: keys.iter().map(view).collect(), next_cursor }))
}

const PAST_EXPIRY: (&str, &str) = ("must lie in the future", "debe estar en el futuro");

/// Whether the client may see and change a key: its own, or all with `admin` or `keys:*`.
fn can_manage(principal: &Principal, key: &ApiKey) -> bool {
    principal.can_see(&key.user) || principal.permissions.allow(Permission::Keys)
}

/// Find a key that the client may see. Any other is answered 404.
fn visible_key(app: &App, principal: &Principal, id: &PathId) -> Result<Arc<ApiKey>, ApiError> {
    let id: ApiKeyId = id.id()?;
    let directory = app.directory_service().directory();
    let key = directory.key(&id).filter(|key| can_manage(principal, key)).ok_or(Fault::NotFound)?;
    Ok(Arc::clone(key))
}

/// Find a key that the client may change. With `keys:*`, keys with more permissions than the client's cannot be changed.
fn editable_key(app: &App, principal: &Principal, id: &PathId) -> Result<Arc<ApiKey>, ApiError> {
    let key = visible_key(app, principal, id)?;
    if principal.can_see(&key.user) || principal.permissions.cover(key.permissions) {
        return Ok(key);
    }
    Err(Fault::WiderPermissions.into())
}

async fn change(
    State(app): State<App>,
    principal: Principal,
    id: PathId,
    body: Body,
) -> Result<Json<KeyAnswer>, ApiError> {
    let key = editable_key(&app, &principal, &id)?;
    let form = body.form(&principal, CHANGE)?;
    let requests_per_minute =
        form.patch("requestsPerMinute", form.integer("requestsPerMinute").map(|n| n as u32));
    let expires_at = form.patch("expiresAt", form.text("expiresAt").and_then(instant));
    let later = match (expires_at, key.expires_at) {
        (_, None) | (Patch::Keep, _) => false,
        (Patch::Clear, Some(_)) => true,
        (Patch::Set(wanted), Some(end)) => wanted > end,
    };
    if !requests_per_minute.is_keep() || later {
        principal.require(Permission::Admin)?;
    }
    if matches!(expires_at, Patch::Set(end) if end <= app.directory_service().now().wall) {
        return Err(ApiError::field(Fault::BadValue, "expiresAt", Some(PAST_EXPIRY)));
    }
    let changes = KeyChanges { name: form.text("name").map(str::to_owned), requests_per_minute, expires_at };
    let key = app.directory_service().change_key(principal.actor(), key.id.clone(), changes).await?;
    let last_used = app.usage().last_used(&key.id);
    Ok(Json(KeyAnswer { success: true, key: KeyView::of(app.settings(), &key, last_used) }))
}

async fn usage(
    State(app): State<App>,
    principal: Principal,
    id: PathId,
    uri: Uri,
) -> Result<Json<KeyUsageAnswer>, ApiError> {
    let key = visible_key(&app, &principal, &id)?;
    let form = Form::of_query(&uri, USAGE)?;
    let limit = form.integer("limit").unwrap_or(u64::from(PAGE_DEFAULT)) as u32;
    let skip = form.integer("cursor").unwrap_or(0);
    app.flush().await;
    let mut uses = app.directory_service().store().key_uses(&key.id, skip, limit + 1).await?;
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
    principal: Principal,
    id: PathId,
    body: Body,
) -> Result<Json<KeyAnswer>, ApiError> {
    let id = editable_key(&app, &principal, &id)?.id.clone();
    let active = body.form(&principal, TOGGLE)?.flag("active");
    let key = app.directory_service().set_key_active(principal.actor(), id, active).await?;
    let last_used = app.usage().last_used(&key.id);
    Ok(Json(KeyAnswer { success: true, key: KeyView::of(app.settings(), &key, last_used) }))
}

async fn revoke(State(app): State<App>, principal: Principal, id: PathId) -> Result<Json<Success>, ApiError> {
    let id = editable_key(&app, &principal, &id)?.id.clone();
    app.directory_service().revoke_key(principal.actor(), id).await?;
    Ok(Json(Success { success: true }))
}
