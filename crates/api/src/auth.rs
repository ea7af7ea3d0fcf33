//! Authentication by bearer key (S19) or as the trusted loopback client (S20), and the permissions that follow.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use model::{ApiKey, Language, Permission, Permissions, UserId};

use crate::error::{ApiError, Fault};
use crate::limits::Quota;
use crate::{Actor, App, secret};

/// User as which a trusted loopback client acts.
const LOCAL_USER: &str = "admin";

/// An authenticated client: the owner of the key, or the trusted loopback client.
#[derive(Clone, Debug)]
pub(crate) struct Principal {
    key: Option<Arc<ApiKey>>,
    user: UserId,
    pub permissions: Permissions,
    ip: IpAddr,
    request: String,
}

impl Principal {
    /// Owner of the key; default owner of objects in requests that name no user.
    pub(crate) fn user(&self) -> &UserId {
        &self.user
    }

    pub(crate) fn is_admin(&self) -> bool {
        self.permissions.allow(Permission::Admin)
    }

    /// Fails with 403 if the key lacks the permission (S56).
    pub(crate) fn require(&self, permission: Permission) -> Result<(), ApiError> {
        if self.permissions.allow(permission) {
            return Ok(());
        }
        let name = permission.as_str();
        let (en, es) = (
            format!("The API key lacks the permission {name} for this"),
            format!("La API key no tiene el permiso {name} para esto"),
        );
        Err(ApiError::with_detail(Fault::Permission, (&en, &es)))
    }

    /// Fails with 403 if the request acts for another user and the key is not an admin key (S25).
    pub(crate) fn require_user(&self, user: &str) -> Result<(), ApiError> {
        if self.is_admin() || self.user.as_str() == user {
            return Ok(());
        }
        Err(ApiError::field(Fault::ForeignUser, "userId", None))
    }

    /// Whether objects of `user` are visible. Invisible objects are answered 404, as if they did not exist (S25).
    pub(crate) fn can_see(&self, user: &UserId) -> bool {
        self.is_admin() || self.user == *user
    }

    /// The key of the request; `None` for the trusted loopback client.
    pub(crate) fn key(&self) -> Option<&Arc<ApiKey>> {
        self.key.as_ref()
    }

    /// Whether the key is still active and not expired. Checked during long-lived connections, because keys can be revoked meanwhile.
    pub(crate) fn is_still_valid(&self, app: &App) -> bool {
        let Some(key) = &self.key else { return true };
        let directory = app.directory_service().directory();
        directory
            .key(&key.id)
            .is_some_and(|key| key.active && !key.is_expired(app.directory_service().now().wall))
    }

    pub(crate) fn actor(&self) -> Actor {
        Actor {
            key: self.key.as_ref().map(|k| k.id.clone()),
            ip: Some(self.ip),
            request: self.request.clone(),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Principal {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        parts.extensions.get::<Principal>().cloned().ok_or_else(|| Fault::KeyMissing.into())
    }
}

/// Result of authentication, with the state of the rate limit bucket that was charged.
pub(crate) struct AuthOutcome {
    pub principal: Result<Principal, ApiError>,
    pub quota: Option<Quota>,
    /// The key that was charged; its use is recorded (S61).
    pub key: Option<Arc<ApiKey>>,
}

/// Authenticate a request for a route that is not public.
pub(crate) fn authenticate(app: &App, parts: &Parts, ip: IpAddr, request: &str) -> AuthOutcome {
    let unauthenticated = |fault: Fault| unauthenticated(app, ip, fault);
    let Some(authorization) = parts.headers.get(header::AUTHORIZATION) else {
        if app.settings().local_admin && is_trusted_loopback(ip, &parts.headers) {
            return loopback_admin(ip, request);
        }
        return unauthenticated(Fault::KeyMissing);
    };
    let Some(token) = authorization.to_str().ok().and_then(bearer) else {
        return unauthenticated(Fault::KeyInvalid);
    };
    authenticate_token(app, token, ip, request)
}

/// Authenticate a key from a header or from a WebSocket message.
pub(crate) fn authenticate_token(app: &App, token: &str, ip: IpAddr, request: &str) -> AuthOutcome {
    let now = app.directory_service().now();
    let unauthenticated = |fault: Fault| unauthenticated(app, ip, fault);
    let Some(token) = Some(token).filter(|token| secret::is_well_formed(token)) else {
        return unauthenticated(Fault::KeyInvalid);
    };
    // The lookup uses the hash of the whole key, so its duration reveals nothing about the key.
    let directory = app.directory_service().directory();
    let Some(key) = directory.key_by_hash(&secret::hash(token)) else {
        return unauthenticated(Fault::KeyInvalid);
    };
    if !key.active {
        return unauthenticated(Fault::KeyInactive); // S24
    }
    if key.is_expired(now.wall) {
        return unauthenticated(Fault::KeyExpired);
    }
    let per_minute = key.requests_per_minute.unwrap_or(app.settings().requests_per_minute);
    let quota = app.limits().of_key(&key.id, per_minute, now.instant);
    let principal = if quota.granted {
        Ok(Principal {
            key: Some(Arc::clone(key)),
            user: key.user.clone(),
            permissions: key.permissions,
            ip,
            request: request.to_owned(),
        })
    } else {
        Err(ApiError::rate_limited(quota.retry_after))
    };
    AuthOutcome { principal, quota: Some(quota), key: Some(Arc::clone(key)) }
}

/// Reject a request without a valid key, and charge the rate limit of its source address.
fn unauthenticated(app: &App, ip: IpAddr, fault: Fault) -> AuthOutcome {
    let now = app.directory_service().now().instant;
    let quota = app.limits().of_source(ip, app.settings().unauthenticated_per_minute, now);
    let error = if quota.granted { fault.into() } else { ApiError::rate_limited(quota.retry_after) };
    AuthOutcome { principal: Err(error), quota: Some(quota), key: None }
}

/// The token of `Bearer TOKEN`. The scheme is case-insensitive (S19).
pub(crate) fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whether a request comes from a program on this machine, neither through a proxy nor from a web page (S20). A web page that rebinds its DNS name
/// to this machine (DNS rebinding) still shows that name in `Host`.
fn is_trusted_loopback(ip: IpAddr, headers: &HeaderMap) -> bool {
    const NOT_LOCAL_HEADERS: [&str; 5] =
        ["forwarded", "x-forwarded-for", "x-real-ip", "origin", "sec-fetch-site"];
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    ip.is_loopback()
        && NOT_LOCAL_HEADERS.iter().all(|name| !headers.contains_key(*name))
        && is_local_name(host)
}

fn is_local_name(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn loopback_admin(ip: IpAddr, request: &str) -> AuthOutcome {
    let principal =
        UserId::parse(LOCAL_USER).map_err(|_| ApiError::from(Fault::Internal)).map(|user| Principal {
            key: None,
            user,
            permissions: [Permission::Admin].into_iter().collect(),
            ip,
            request: request.to_owned(),
        });
    AuthOutcome { principal, quota: None, key: None }
}

/// The supported language with the highest weight in `Accept-Language`; English by default (S17).
pub(crate) fn language(headers: &HeaderMap) -> Language {
    let wanted =
        headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut best = (0.0_f32, Language::English);
    for range in wanted.split(',') {
        let (tag, parameters) = range.split_once(';').unwrap_or((range, ""));
        let q = parameters.trim().strip_prefix("q=").map_or(1.0, |q| q.trim().parse().unwrap_or(0.0));
        let primary = tag.trim().split('-').next().unwrap_or_default();
        let language = match primary.to_ascii_lowercase().as_str() {
            "es" => Language::Spanish,
            "en" => Language::English,
            _ => continue,
        };
        if q > best.0 {
            best = (q, language);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preferred_language_is_found() {
        for (wanted, language) in [
            ("es", Language::Spanish),
            ("es-CL,es;q=0.9,en;q=0.8", Language::Spanish),
            ("de, en;q=0.5, es;q=0.7", Language::Spanish),
            ("en, es", Language::English),
            ("fr", Language::English),
            ("", Language::English),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_LANGUAGE, wanted.parse().unwrap());
            assert_eq!(super::language(&headers), language, "{wanted}"); // S17
        }
    }

    #[test]
    fn only_names_of_this_machine_are_local() {
        for host in ["localhost", "localhost:5000", "127.0.0.1:5000", "[::1]:5000", "127.1.2.3"] {
            assert!(is_local_name(host), "{host}");
        }
        for host in ["", "evil.example:5000", "localhost.evil.example", "192.168.1.1:5000", "::2"] {
            assert!(!is_local_name(host), "{host}");
        }
    }
}
