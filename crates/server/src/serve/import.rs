//! `POST /api/v1/voip/extensions/import`: a thousand extensions with their own passwords in one call (S40), for administrators.

use std::net::SocketAddr;

use api::{Actor, App, Imported, OfficeError};
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use base::Secret;
use model::{ApiKeyId, ExtensionNumber, Permission, UserId};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

/// Bytes of a body: a hundred thousand lines. It is read only for an administrator.
const BODY_BYTES: usize = 32 * 1024 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Import {
    extensions: Vec<Line>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Line {
    extension_number: String,
    username: String,
    password: String,
    user_id: UserId,
    display_name: Option<String>,
}

/// The route.
pub(super) fn router(app: App) -> Router {
    Router::new().route("/api/v1/voip/extensions/import", post(import)).with_state(app)
}

async fn import(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let key = match administrator(&app, &headers) {
        Ok(key) => key,
        Err(refusal) => return *refusal,
    };
    let Ok(bytes) = to_bytes(body, BODY_BYTES).await else {
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the body is too large");
    };
    let lines = match parse(&bytes) {
        Ok(lines) => lines,
        Err(why) => return refuse(StatusCode::BAD_REQUEST, "invalid", &why),
    };
    let actor = Actor { key: Some(key), ip: Some(peer.ip()), request: String::new() };
    match app.office().import(actor, lines).await {
        Ok(imported) => Json(json!({ "success": true, "imported": imported })).into_response(),
        Err(error @ (OfficeError::NumberTaken(_) | OfficeError::UsernameTaken(_))) => {
            refuse(StatusCode::CONFLICT, "duplicate", &error.to_string())
        }
        Err(OfficeError::Store(error)) if error.is_away() => {
            let mut refusal =
                refuse(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", "the database does not answer");
            refusal.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
            refusal
        }
        Err(OfficeError::Store(error)) => {
            tracing::error!(%error, "the import failed");
            refuse(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the database failed; the log says why")
        }
        Err(error) => refuse(StatusCode::BAD_REQUEST, "invalid", &error.to_string()),
    }
}

/// The key of the request, where it may administer.
fn administrator(app: &App, headers: &HeaderMap) -> Result<ApiKeyId, Box<Response>> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let secret = bearer.and_then(|value| value.strip_prefix("Bearer "));
    let hash: Option<[u8; 32]> = secret.map(|secret| Sha256::digest(secret.trim()).into());
    let directory = app.office().directory();
    let key = hash.and_then(|hash| directory.key_by_hash(&hash)).filter(|key| key.active);
    match key {
        Some(key) if key.permissions.allow(Permission::Admin) => Ok(key.id.clone()),
        Some(_) => Err(Box::new(refuse(StatusCode::FORBIDDEN, "forbidden", "this key may not administer"))),
        None => {
            let mut refusal = refuse(StatusCode::UNAUTHORIZED, "unauthorized", "API key missing or invalid");
            refusal
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
            Err(Box::new(refusal))
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Vec<Imported>, String> {
    let body: Import = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let lines = body.extensions.into_iter().enumerate().map(|(n, line)| {
        Ok(Imported {
            number: ExtensionNumber::parse(&line.extension_number)
                .map_err(|error| format!("line {}: {error}", n + 1))?,
            username: line.username,
            password: Secret::new(line.password),
            owner: line.user_id,
            display_name: line.display_name,
        })
    });
    lines.collect()
}

/// In the shape of every other refusal (S23).
fn refuse(status: StatusCode, code: &str, error: &str) -> Response {
    (status, Json(json!({ "success": false, "error": error, "code": code, "requestId": "" }))).into_response()
}
