//! The body of a request: read at once, judged later, because who asks and for what is judged first.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header;
use serde_json::{Map, Value};

use super::{Field, Form};
use crate::App;
use crate::auth::Caller;
use crate::error::{ApiError, Fault};
use crate::limits::{BODY_BYTES, BODY_PATIENCE, IMPORT_BYTES, IMPORT_PATIENCE, JSON_DEPTH};

/// See the module.
pub(crate) struct Body {
    read: Result<Bytes, Fault>,
    is_json: bool,
}

impl FromRequest<App> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, _app: &App) -> Result<Self, ApiError> {
        Ok(Body::read(request, BODY_BYTES, BODY_PATIENCE, Fault::BodyTooLarge).await)
    }
}

/// A body that may hold a whole office. Only routes for administrators read one.
pub(crate) struct Bulk(Body);

impl FromRequest<App> for Bulk {
    type Rejection = ApiError;

    async fn from_request(request: Request, _app: &App) -> Result<Self, ApiError> {
        Ok(Bulk(Body::read(request, IMPORT_BYTES, IMPORT_PATIENCE, Fault::ImportTooLarge).await))
    }
}

impl Bulk {
    /// The form in the body.
    pub(crate) fn form(&self, fields: &'static [Field]) -> Result<Form, ApiError> {
        Form::of_object(self.0.object()?, fields)
    }
}

impl Body {
    async fn read(request: Request, most: usize, patience: Duration, too_large: Fault) -> Body {
        let is_json = says_json(request.headers());
        let reading = axum::body::to_bytes(request.into_body(), most);
        let read = match tokio::time::timeout(patience, reading).await {
            Ok(read) => read.map_err(|_| too_large),
            Err(_) => Err(Fault::BadJson), // half of an object is none
        };
        Body { read, is_json }
    }

    /// The form in the body. An empty body is an empty form (S21). Acting on somebody else is refused before a value is looked at.
    pub(crate) fn form(&self, caller: &Caller, fields: &'static [Field]) -> Result<Form, ApiError> {
        let object = self.object()?;
        if let Some(user) = object.get("userId").and_then(Value::as_str)
            && fields.iter().any(|field| field.name == "userId")
        {
            caller.acts_for(user)?;
        }
        Form::of_object(object, fields)
    }

    fn object(&self) -> Result<Map<String, Value>, ApiError> {
        let bytes = self.read.as_ref().map_err(|fault| ApiError::from(*fault))?;
        if bytes.is_empty() {
            return Ok(Map::new());
        }
        if !self.is_json {
            return Err(Fault::MediaType.into());
        }
        if depth(bytes) > JSON_DEPTH {
            return Err(Fault::TooDeep.into());
        }
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(object)) => Ok(object),
            Ok(_) | Err(_) => Err(Fault::BadJson.into()),
        }
    }
}

fn says_json(headers: &HeaderMap) -> bool {
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json"
        || essence.strip_prefix("application/").is_some_and(|t| t.ends_with("+json"))
}

/// How deeply brackets are nested outside of strings.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in json {
        match (quoted, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => quoted = !quoted,
            (false, b'{' | b'[') => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            (false, b'}' | b']') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_in_strings_are_not_counted() {
        assert_eq!(depth(br#"{"a":[1,{"b":"]}[[[\"{{"}]}"#), 3);
        assert_eq!(depth("[".repeat(40).as_bytes()), 40);
        assert_eq!(depth(b""), 0);
    }
}
