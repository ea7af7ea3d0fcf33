//! Outermost middleware: request id, authentication, error bodies in the client's language, panics, recording of key use.

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
use crate::input::printable;
use crate::limits::Quota;
use crate::source::Source;
use crate::{App, auth, pages};

/// Routes without a key (S56).
pub(crate) const PUBLIC: [&str; 3] = ["/healthz", "/readyz", "/openapi.json"];
/// Route that takes a key in the header but also works without: browsers cannot send the header with a WebSocket.
pub(crate) const EVENTS_SOCKET: &str = "/api/v1/events/ws";
const REQUEST_ID: &str = "x-request-id";

/// Handle one request from authentication to the response headers.
pub(crate) async fn handle_request(State(app): State<App>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let id = request_id(&app, &parts.headers);
    let language = auth::language(&parts.headers);
    let route = route_of(&parts);
    let source = Source::of(&parts, &app.settings().trusted_proxies);
    parts.extensions.insert(source);
    let target = RequestTarget::of(&parts);
    let hosted = has_host(&parts);
    let outcome = (hosted && needs_key(&parts)).then(|| auth::authenticate(&app, &parts, source.0, &id));
    let (quota, key) = outcome.as_ref().map_or((None, None), |v| (v.quota, v.key.clone()));
    let admitted = match outcome.map(|v| v.principal) {
        Some(Err(error)) => Err(error),
        Some(Ok(principal)) => {
            parts.extensions.insert(principal);
            Ok(())
        }
        None if !hosted => Err(ApiError::field(Fault::InvalidHost, "Host", None)),
        None => Ok(()),
    };
    let mut response = match admitted {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(error) => error.into_response(),
    };
    if let Some(error) = error_of(&response) {
        let error = target.add_context(error);
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
        let tag = if language == model::Language::Spanish { "es" } else { "en" };
        response.headers_mut().insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(tag));
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
    set_headers(response.headers_mut(), &id, quota);
    response
}

/// Whether the request has exactly one `Host`, which is empty or an authority without userinfo (RFC 9112 §3.2).
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

/// The methods of each path, as text. The `Allow` header is set by axum outside this middleware, so it cannot be read here.
static ALLOWED_METHODS: LazyLock<BTreeMap<&'static str, String>> = LazyLock::new(|| {
    let mut methods: BTreeMap<&'static str, BTreeSet<String>> = BTreeMap::new();
    for route in crate::routes::all() {
        let allowed = methods.entry(route.path).or_default();
        allowed.insert(route.method.to_ascii_uppercase());
        if route.method == "get" {
            allowed.insert("HEAD".into());
        }
    }
    let text = |allowed: BTreeSet<String>| allowed.into_iter().collect::<Vec<_>>().join(", ");
    methods.into_iter().map(|(path, allowed)| (path, text(allowed))).collect()
});

/// Target of a request, for error sentences that name it.
struct RequestTarget {
    /// The last id in the path, or the whole path if no route matches.
    resource: String,
    method: String,
    /// The methods that the path supports.
    allowed: String,
}

impl RequestTarget {
    fn of(parts: &Parts) -> RequestTarget {
        let path = parts.uri.path();
        let matched = parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
        let id = matched.and_then(|template| {
            let pairs = template.split('/').zip(path.split('/'));
            pairs.filter(|(part, _)| part.starts_with('{')).last().map(|(_, id)| id)
        });
        let allowed = matched.map(|template| ALLOWED_METHODS.get(template).cloned().unwrap_or_default());
        RequestTarget {
            resource: printable(id.unwrap_or(path)),
            method: printable(parts.method.as_str()),
            allowed: allowed.unwrap_or_default(),
        }
    }

    /// Name the missing resource or the supported methods in the sentence of an error.
    fn add_context(&self, error: ApiError) -> ApiError {
        let allowed = &self.allowed;
        if error.is_plain(Fault::NotFound) {
            let (en, es) = (
                format!("Resource not found: {}", self.resource),
                format!("Recurso no encontrado: {}", self.resource),
            );
            return ApiError::with_detail(Fault::NotFound, (&en, &es));
        }
        if error.is_plain(Fault::MethodNotAllowed) && !allowed.is_empty() {
            let (en, es) = (
                format!("This resource does not support {}; it supports {allowed}", self.method),
                format!("Este recurso no admite {}; admite {allowed}", self.method),
            );
            return ApiError::with_detail(Fault::MethodNotAllowed, (&en, &es));
        }
        error
    }
}

/// The error of a response: one of ours, or one that the router created by itself.
fn error_of(response: &Response) -> Option<ApiError> {
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

fn set_headers(headers: &mut HeaderMap, id: &str, quota: Option<Quota>) {
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

/// The client's own request id if it is harmless, else a new one.
fn request_id(app: &App, headers: &HeaderMap) -> String {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    match given.filter(|id| (1..=64).contains(&id.len()) && id.chars().all(legal)) {
        Some(id) => id.to_owned(),
        None => format!("req_{}", app.directory_service().rng().base36(16)),
    }
}

/// Whether a request needs a key: everything under `/api` and every known route except the public ones. Unknown paths elsewhere are answered 404
/// without a key.
fn needs_key(parts: &Parts) -> bool {
    match parts.extensions.get::<MatchedPath>() {
        Some(path) if path.as_str() == EVENTS_SOCKET => parts.headers.contains_key(header::AUTHORIZATION),
        Some(path) => !PUBLIC.contains(&path.as_str()) && !pages::PUBLIC.contains(&path.as_str()),
        None => parts.uri.path().starts_with("/api"),
    }
}

/// Method and path template, without the ids.
fn route_of(parts: &Parts) -> String {
    let path = parts.extensions.get::<MatchedPath>().map_or("unknown", MatchedPath::as_str);
    format!("{} {path}", parts.method)
}

/// A handler panicked: answer 500.
pub(crate) fn on_panic(_: Box<dyn Any + Send + 'static>) -> Response {
    ApiError::from(Fault::Internal).into_response()
}
