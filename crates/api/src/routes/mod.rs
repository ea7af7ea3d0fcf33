//! Route handlers, one file per resource.

mod announcement;
pub(crate) mod calls;
pub(crate) mod credentials;
pub(crate) mod document;
pub(crate) mod events;
pub(crate) mod extension_calls;
pub(crate) mod extensions;
pub(crate) mod guard;
pub(crate) mod import;
pub(crate) mod keys;
pub(crate) mod ladder;
pub(crate) mod probes;
pub(crate) mod recordings;
pub(crate) mod recurring;
pub(crate) mod registrations;
pub(crate) mod server;
pub(crate) mod sessions;
pub(crate) mod sounds;
pub(crate) mod stats;
pub(crate) mod trunks;
pub(crate) mod voicemail;
pub(crate) mod webhooks;

use std::convert::Infallible;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use base::Id;

use crate::error::{ApiError, Fault};
use crate::input::{Field, Paging, Rule};
use crate::limits::PAGE;
use crate::route::Route;

/// All routes, including the aliases.
pub(crate) fn all() -> Vec<Route> {
    let mut all = Vec::new();
    all.extend(server::routes());
    all.extend(credentials::routes());
    all.extend(sessions::routes());
    all.extend(keys::routes());
    all.extend(extensions::routes());
    all.extend(import::routes());
    all.extend(extension_calls::routes());
    all.extend(recurring::routes());
    all.extend(sounds::routes());
    all.extend(calls::routes());
    all.extend(ladder::routes());
    all.extend(recordings::routes());
    all.extend(voicemail::routes());
    all.extend(registrations::routes());
    all.extend(guard::routes());
    all.extend(trunks::routes());
    all.extend(stats::routes());
    all.extend(events::routes());
    all.extend(webhooks::routes());
    all.extend(probes::routes());
    all.extend(document::routes());
    let aliases: Vec<Route> =
        all.iter().filter_map(|route| Some(route.with_path(alias_of(route.path)?))).collect();
    all.extend(aliases);
    all
}

/// The alias of a path that carries the name of OpenSIPS: the same path under a product-neutral name.
fn alias_of(path: &str) -> Option<&'static str> {
    Some(match path {
        "/api/v1/opensips/start" => "/api/v1/server/start",
        "/api/v1/opensips/stop" => "/api/v1/server/stop",
        "/api/v1/opensips/status" => "/api/v1/server/status",
        "/api/v1/opensips/health" => "/api/v1/server/health",
        "/api/v1/opensips/generate-credentials" => "/api/v1/server/generate-credentials",
        "/api/v1/opensips/call/initiate" => "/api/v1/calls",
        "/api/v1/opensips/call/{id}" => "/api/v1/calls/{id}",
        "/api/v1/opensips/call/{id}/end" => "/api/v1/calls/{id}/end",
        "/api/v1/opensips/call/{id}/recording/start" => "/api/v1/calls/{id}/recording/start",
        "/api/v1/opensips/call/{id}/recording/stop" => "/api/v1/calls/{id}/recording/stop",
        "/api/v1/opensips/call/{id}/recording/pause" => "/api/v1/calls/{id}/recording/pause",
        "/api/v1/opensips/call/{id}/recording/resume" => "/api/v1/calls/{id}/recording/resume",
        _ => return None,
    })
}

pub(crate) const LIMIT: Field =
    Field::new("limit", Rule::Integer(1, PAGE as u64), "Maximum number of items; 50 if absent");
pub(crate) const CURSOR: Field =
    Field::new("cursor", Rule::Cursor(Paging::Id), "The nextCursor of the previous page");

/// The id in a path. A malformed id is treated like an unknown one: 404.
pub(crate) struct PathId(Option<String>);

impl PathId {
    pub(crate) fn id<T>(&self) -> Result<Id<T>, ApiError> {
        let text = self.0.as_deref().unwrap_or_default();
        Id::parse(text).map_err(|_| Fault::NotFound.into())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let params = RawPathParams::from_request_parts(parts, state).await.ok();
        let first = params.as_ref().and_then(|params| params.iter().next());
        Ok(PathId(first.map(|(_, value)| value.to_owned())))
    }
}

/// One page of an unordered collection: the items after `cursor`, and the cursor of the next page. Only the items of the page are sorted, because
/// sorting a collection of ten thousand items would be most of the work.
pub(crate) fn page<T>(
    all: impl Iterator<Item = T>,
    cursor: Option<&str>,
    limit: usize,
    key: impl Fn(&T) -> &str,
) -> (Vec<T>, Option<String>) {
    let mut found: Vec<T> = all.filter(|item| cursor.is_none_or(|cursor| key(item) > cursor)).collect();
    let order = |a: &T, b: &T| key(a).cmp(key(b));
    let more = found.len() > limit;
    if more {
        found.select_nth_unstable_by(limit, order);
        found.truncate(limit);
    }
    found.sort_unstable_by(order);
    let next = found.last().filter(|_| more).map(|last| key(last).to_owned());
    (found, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_pages_contain_everything_once_and_in_order() {
        let words: Vec<String> = (0..97).map(|n| format!("{:03}", n * 61 % 97)).collect();
        for limit in [1, 7, 96, 97, 98] {
            let (mut seen, mut cursor) = (Vec::new(), None);
            loop {
                let (shown, next) = page(words.iter(), cursor.as_deref(), limit, |word| word.as_str());
                assert!(!shown.is_empty() && shown.len() <= limit);
                seen.extend(shown.into_iter().cloned());
                cursor = next;
                if cursor.is_none() {
                    break;
                }
            }
            assert_eq!(seen, (0..97).map(|n| format!("{n:03}")).collect::<Vec<_>>());
        }
    }
}
