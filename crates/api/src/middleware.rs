//! What surrounds every route: the request's id, who asks, refusals in the caller's language, panics, the count of uses.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use axum::Json;
use axum::extract::{MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::error::{ApiError, Fault};
use crate::input::shown;
use crate::limits::Quota;
use crate::source::Source;
use crate::{App, auth, pages};

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
    let source = Source::of(&parts, &app.settings().trusted_proxies);
    parts.extensions.insert(source);
    let place = Place::of(&parts);
    let hosted = has_host(&parts);
    let verdict = (hosted && needs_key(&parts)).then(|| auth::judge(&app, &parts, source.0, &id));
    let (quota, key) = verdict.as_ref().map_or((None, None), |v| (v.quota, v.key.clone()));
    let admitted = match verdict.map(|v| v.principal) {
        Some(Err(refused)) => Err(refused),
        Some(Ok(principal)) => {
            parts.extensions.insert(principal);
            Ok(())
        }
        None if !hosted => Err(ApiError::field(Fault::HostMissing, "Host", None)),
        None => Ok(()),
    };
    let mut response = match admitted {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(refused) => refused.into_response(),
    };
    if let Some(error) = refusal(&response) {
        let error = place.named_in(error);
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
        app.usage().count(
            &key.id,
            &route,
            source.0,
            response.status().as_u16(),
            app.directory_service().now().wall,
        );
    }
    tracing::debug!(request = %id, route, client = %source.0, status = response.status().as_u16(), "answered");
    finish(response.headers_mut(), &id, quota);
    response
}

/// RFC 9112 §3.2: one `Host`, whose value is none or an authority without user.
fn has_host(parts: &Parts) -> bool {
    if parts.version != Version::HTTP_11 {
        return true;
    }
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let legal = |host: &HeaderValue| {
        let text = host.to_str().unwrap_or("@");
        text.is_empty() || !text.contains('@') && text.parse::<Authority>().is_ok()
    };
    matches!((hosts.next(), hosts.next()), (Some(host), None) if legal(host))
}

/// The methods of each path, as people read them. The header `Allow` is written further out than refusals are.
static KNOWN: LazyLock<BTreeMap<&'static str, String>> = LazyLock::new(|| {
    let mut methods: BTreeMap<&'static str, BTreeSet<String>> = BTreeMap::new();
    for route in crate::routes::all() {
        let known = methods.entry(route.path).or_default();
        known.insert(route.method.to_ascii_uppercase());
        if route.method == "get" {
            known.insert("HEAD".into());
        }
    }
    let text = |known: BTreeSet<String>| known.into_iter().collect::<Vec<_>>().join(", ");
    methods.into_iter().map(|(path, known)| (path, text(known))).collect()
});

/// What a request asked for, in case that is what has to be named.
struct Place {
    /// The last id in the path, or the path itself where there is no such route.
    thing: String,
    method: String,
    /// The methods that its path knows.
    known: String,
}

impl Place {
    fn of(parts: &Parts) -> Place {
        let path = parts.uri.path();
        let matched = parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
        let id = matched.and_then(|template| {
            let pairs = template.split('/').zip(path.split('/'));
            pairs.filter(|(part, _)| part.starts_with('{')).last().map(|(_, id)| id)
        });
        let known = matched.map(|template| KNOWN.get(template).cloned().unwrap_or_default());
        Place {
            thing: shown(id.unwrap_or(path)),
            method: shown(parts.method.as_str()),
            known: known.unwrap_or_default(),
        }
    }

    /// The same refusal, naming what was not found, or which methods there are.
    fn named_in(&self, error: ApiError) -> ApiError {
        let allowed = &self.known;
        if error.is_bare(Fault::NotFound) {
            let (en, es) = (
                format!("Resource not found: {}", self.thing),
                format!("Recurso no encontrado: {}", self.thing),
            );
            return ApiError::said(Fault::NotFound, (&en, &es));
        }
        if error.is_bare(Fault::MethodNotAllowed) && !allowed.is_empty() {
            let (en, es) = (
                format!("This resource does not know {}; it knows {allowed}", self.method),
                format!("Este recurso no conoce {}; conoce {allowed}", self.method),
            );
            return ApiError::said(Fault::MethodNotAllowed, (&en, &es));
        }
        error
    }
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
        None => format!("req_{}", app.directory_service().rng().base36(16)),
    }
}

/// Everything under `/api` and every known route but the public ones. What does not exist elsewhere is no secret.
fn needs_key(parts: &Parts) -> bool {
    match parts.extensions.get::<MatchedPath>() {
        Some(path) if path.as_str() == HELLO => parts.headers.contains_key(header::AUTHORIZATION),
        Some(path) => !PUBLIC.contains(&path.as_str()) && !pages::PUBLIC.contains(&path.as_str()),
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
