//! Request body: read by the extractor, validated later by the handler, because permission and resource are checked before the body's content.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header;
use serde_json::{Map, Value};

use super::{Field, Form};
use crate::App;
use crate::auth::Principal;
use crate::error::{ApiError, Fault};
use crate::limits::{BodyLimit, JSON_DEPTH};

/// The body of a request, not yet validated.
pub(crate) struct Body {
    read: Result<Bytes, Fault>,
    is_json: bool,
    is_csv: bool,
}

/// Read a whole body within the size and time limit of its route.
pub(crate) async fn read_whole(body: axum::body::Body, limit: BodyLimit) -> Result<Bytes, Fault> {
    match tokio::time::timeout(limit.timeout, axum::body::to_bytes(body, limit.bytes)).await {
        Ok(read) => read.map_err(|_| limit.too_large),
        Err(_) => Err(Fault::BodyIncomplete), // a partial body is useless
    }
}

/// The body limit of the matched route.
pub(crate) fn limit_of(request: &Request) -> BodyLimit {
    request.extensions().get::<BodyLimit>().copied().unwrap_or(BodyLimit::FORM)
}

impl FromRequest<App> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, _app: &App) -> Result<Self, ApiError> {
        let kind = essence(request.headers());
        let (is_json, is_csv) = (is_json(&kind), kind == "text/csv");
        let limit = limit_of(&request);
        Ok(Body { read: read_whole(request.into_body(), limit).await, is_json, is_csv })
    }
}

impl Body {
    /// The bytes if the body is CSV.
    pub(crate) fn csv(&self) -> Result<Option<Bytes>, ApiError> {
        if !self.is_csv {
            return Ok(None);
        }
        self.read.clone().map(Some).map_err(ApiError::from)
    }

    /// Validate the JSON body for a route without `userId`.
    pub(crate) fn form_without_user(&self, fields: &'static [Field]) -> Result<Form, ApiError> {
        Form::of_object(self.object()?, fields)
    }

    /// Validate the JSON body. An empty body is an empty form (S21). A foreign `userId` is rejected before any value is validated.
    pub(crate) fn form(&self, principal: &Principal, fields: &'static [Field]) -> Result<Form, ApiError> {
        let object = self.object()?;
        if let Some(user) = object.get("userId").and_then(Value::as_str)
            && fields.iter().any(|field| field.name == "userId")
        {
            principal.require_user(user)?;
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
            Ok(Value::Object(mut object)) => {
                object.values_mut().for_each(normalise_integers);
                Ok(object)
            }
            Ok(_) => Err(Fault::BadJson.into()),
            Err(error) => {
                let place = format!("line {}, column {}", error.line(), error.column());
                let lugar = format!("línea {}, columna {}", error.line(), error.column());
                Err(ApiError::with_detail(
                    Fault::BadJson,
                    (
                        &format!("The body is not valid JSON: error at {place}"),
                        &format!("El cuerpo no es JSON válido: error en la {lugar}"),
                    ),
                ))
            }
        }
    }
}

/// Turn numbers without a fraction into integers: `30.0` is an integer in JSON Schema (2020-12 validation, §6.1.1).
fn normalise_integers(value: &mut Value) {
    /// Largest magnitude up to which every integer has an exact double.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) => {
            if let Some(float) = number.as_f64().filter(|_| number.is_f64())
                && float.fract() == 0.0
                && float.abs() <= EXACT
            {
                *value = Value::from(float as i64);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(normalise_integers),
        Value::Object(object) => object.values_mut().for_each(normalise_integers),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// The media type without its parameters.
fn essence(headers: &HeaderMap) -> String {
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn is_json(essence: &str) -> bool {
    essence == "application/json"
        || essence.strip_prefix("application/").is_some_and(|t| t.ends_with("+json"))
}

/// Nesting depth of brackets outside strings.
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
    fn numbers_without_a_fraction_are_integers() {
        let mut value = serde_json::json!({"a": [30.0, -0.0, 30.5, 1e300], "b": {"c": 5060.0}, "d": 7});
        normalise_integers(&mut value);
        assert_eq!(value, serde_json::json!({"a": [30, 0, 30.5, 1e300], "b": {"c": 5060}, "d": 7}));
    }

    #[test]
    fn brackets_in_strings_are_not_counted() {
        assert_eq!(depth(br#"{"a":[1,{"b":"]}[[[\"{{"}]}"#), 3);
        assert_eq!(depth("[".repeat(40).as_bytes()), 40);
        assert_eq!(depth(b""), 0);
    }
}
