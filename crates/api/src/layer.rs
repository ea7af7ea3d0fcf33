//! What surrounds every route: the request's id, who asks, refusals in the caller's language, panics, the count of uses.

use std::any::Any;

use axum::Json;
use axum::extract::{MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::error::{ApiError, Fault};
use crate::limits::Quota;
use crate::{App, auth, idempotency};

/// Routes that need no key (S56).
pub(crate) const PUBLIC: [&str; 3] = ["/healthz", "/readyz", "/openapi.json"];
/// Routes that take a key in the header, and do without: a browser cannot send one with a WebSocket.
pub(crate) const HELLO: &str = "/api/v1/events/ws";
const REQUEST_ID: &str = "x-request-id";

/// The whole way of a request.
pub(crate) async fn surround(State(app): State<App>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let id = request_id(&app, &parts.headers);
    let language = auth::language(&parts.headers);
    let route = route_of(&parts);
    let verdict = needs_key(&parts).then(|| auth::judge(&app, &parts, &id));
    let (quota, key) = verdict.as_ref().map_or((None, None), |v| (v.quota, v.key.clone()));
    let source = auth::source(&parts);
    let admitted = match verdict.map(|v| v.caller) {
        Some(Err(refused)) => Err(refused),
        Some(Ok(caller)) => {
            parts.extensions.insert(caller);
            Ok(())
        }
        None => Ok(()),
    };
    let mut response = match admitted {
        Ok(()) => idempotency::once(&app, Request::from_parts(parts, body), next).await,
        Err(refused) => refused.into_response(),
    };
    if let Some(error) = refusal(&response) {
        if response.status() == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(request = %id, route, "a request failed");
        }
        let (parts, _) = response.into_parts();
        response = (parts.status, Json(error.body(language, &id))).into_response();
        for (name, value) in &parts.headers {
            if name != header::CONTENT_LENGTH && name != header::CONTENT_TYPE {
                response.headers_mut().insert(name.clone(), value.clone());
            }
        }
        let spoken = if language == model::Language::Spanish { "es" } else { "en" };
        response.headers_mut().insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(spoken));
    }
    if let Some(key) = key {
        app.usage().count(&key.id, &route, source, response.status().as_u16(), app.office().now().wall);
    }
    tracing::debug!(request = %id, route, status = response.status().as_u16(), "answered");
    finish(response.headers_mut(), &id, quota);
    response
}

/// Refusals of ours, and those that the router made by itself.
fn refusal(response: &Response) -> Option<ApiError> {
    if let Some(error) = response.extensions().get::<ApiError>() {
        return Some(error.clone());
    }
    if response.headers().contains_key(header::CONTENT_TYPE) && response.status() != StatusCode::BAD_REQUEST {
        return None;
    }
    match response.status() {
        StatusCode::METHOD_NOT_ALLOWED => Some(Fault::MethodNotAllowed.into()),
        StatusCode::NOT_FOUND => Some(Fault::NotFound.into()),
        status if status.is_client_error() => Some(Fault::BadValue.into()),
        _ => None,
    }
}

fn finish(headers: &mut HeaderMap, id: &str, quota: Option<Quota>) {
    if let Ok(value) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(quota) = quota {
        headers.insert("ratelimit-limit", HeaderValue::from(quota.limit));
        headers.insert("ratelimit-remaining", HeaderValue::from(quota.remaining));
        headers.insert("ratelimit-reset", HeaderValue::from(quota.reset));
    }
}

/// The caller's own id where it is harmless, else a new one.
fn request_id(app: &App, headers: &HeaderMap) -> String {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    match given.filter(|id| (1..=64).contains(&id.len()) && id.chars().all(legal)) {
        Some(id) => id.to_owned(),
        None => format!("req_{}", app.office().chance().base36(16)),
    }
}

/// Everything under `/api` and every known route but the public ones. What does not exist elsewhere is no secret.
fn needs_key(parts: &Parts) -> bool {
    match parts.extensions.get::<MatchedPath>() {
        Some(path) if path.as_str() == HELLO => parts.headers.contains_key(header::AUTHORIZATION),
        Some(path) => !PUBLIC.contains(&path.as_str()),
        None => parts.uri.path().starts_with("/api"),
    }
}

/// Method and route, without the ids in it.
fn route_of(parts: &Parts) -> String {
    let path = parts.extensions.get::<MatchedPath>().map_or("unknown", MatchedPath::as_str);
    format!("{} {path}", parts.method)
}

/// A handler that panicked is our fault, told like any other.
pub(crate) fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    ApiError::from(Fault::Internal).into_response()
}
