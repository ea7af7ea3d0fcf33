//! The OpenAPI 3.1 document, generated from the route table.

use serde_json::{Map, Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema as _, ToSchema as _};

use crate::error::ErrorBody;
use crate::input::Field;
use crate::input::schema::{object, schema_of};
use crate::operation_ids::operation_id;
use crate::route::{Access, Answer, Route};

type Schemas = Vec<(String, RefOr<Schema>)>;

/// Build the document of these routes.
pub(crate) fn document(routes: &[Route]) -> Value {
    let mut schemas: Schemas = vec![("Error".into(), ErrorBody::schema())];
    ErrorBody::schemas(&mut schemas);
    let mut paths = Map::new();
    for route in routes {
        let operation = operation(route, &mut schemas);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Value::Object(path) = path {
            path.insert(route.method.to_owned(), operation);
        }
    }
    let schemas: Map<String, Value> = schemas
        .into_iter()
        .map(|(name, schema)| (name, serde_json::to_value(schema).unwrap_or_default()))
        .collect();
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Centralita",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "SIP server, PBX and REST API in one program.",
            "license": {"name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT"}
        },
        "servers": [{"url": "/"}],
        "security": [{"apiKey": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "apiKey": {"type": "http", "scheme": "bearer", "bearerFormat": "sk_voip_[0-9A-Za-z]{49}"}
            }
        }
    });
    crate::enums::add(&mut document);
    crate::examples::add(&mut document);
    document
}

fn operation(route: &Route, schemas: &mut Schemas) -> Value {
    let mut parameters: Vec<Value> = Vec::new();
    for name in path_parameters(route.path) {
        parameters.push(json!({
            "name": name, "in": "path", "required": true,
            "schema": {"type": "string", "pattern": r"^[0-9A-Za-z_.\-]{1,128}$"}
        }));
    }
    if route.method == "post" && route.access != Access::Public {
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header", "required": false,
            "description": "Makes retries safe: a request repeated with the same value within 24 hours is executed once and answered as before",
            "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"}
        }));
    }
    for field in route.query {
        parameters.push(json!({
            "name": field.name, "in": "query", "required": field.required,
            "description": field.about, "schema": schema_of(field)
        }));
        if let Some(alias) = field.alias {
            parameters.push(json!({
                "name": alias, "in": "query", "required": false, "deprecated": true,
                "description": format!("Same as {}", field.name), "schema": schema_of(field)
            }));
        }
    }
    let mut operation = json!({
        "operationId": operation_id(route.method, route.path),
        "tags": [route.tag],
        "summary": route.summary,
        "description": description(route.access),
        "x-needs": access_name(route.access),
        "parameters": parameters,
        "responses": responses(route, schemas),
    });
    if let Value::Object(operation) = &mut operation {
        if matches!(route.access, Access::Public | Access::KeyOrFirstMessage) {
            operation.insert("security".into(), json!([]));
        }
        if let Some(fields) = route.body {
            operation.insert("requestBody".into(), request_body(fields));
        }
        if route.csv {
            // Plain text: JSON Schema cannot describe the columns of a table.
            operation["requestBody"]["content"]["text/csv"] = json!({
                "schema": {"type": "string", "contentMediaType": "text/csv"},
                "example": "number,name,username,password,owner,voicemail PIN\n1001,Ana,,a-long-password,user_123,4711\n"
            });
        }
        if let Some(kind) = route.upload {
            let body = json!({"required": true, "content": {kind: {"schema": binary(kind)}}});
            operation.insert("requestBody".into(), body);
        }
    }
    operation
}

/// The parameters of a path: `id` of `/api/v1/keys/{id}`.
fn path_parameters(path: &'static str) -> impl Iterator<Item = &'static str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn description(access: Access) -> String {
    match access {
        Access::Public => "Public: needs no key.".into(),
        Access::Key => "Needs any active key.".into(),
        Access::Permission(permission) => {
            format!("Needs a key with the permission `{}`.", permission.as_str())
        }
        Access::Admin => "Needs a key with the permission `admin`.".into(),
        Access::KeyOrFirstMessage => "Needs any active key, in the header or in the first message.".into(),
    }
}

/// Access for machines (`x-needs`): a permission, `key` for any key, `hello` for a key in the first message, `nothing` for a public route.
fn access_name(access: Access) -> &'static str {
    match access {
        Access::Public => "nothing",
        Access::Key => "key",
        Access::Permission(permission) => permission.as_str(),
        Access::Admin => "admin",
        Access::KeyOrFirstMessage => "hello",
    }
}

fn request_body(fields: &[Field]) -> Value {
    let needed = fields.iter().any(|field| field.required);
    json!({"required": needed, "content": {"application/json": {"schema": object(fields)}}})
}

/// Schema of binary content. Generators recognise `format` (OpenAPI 3.0) or `contentMediaType` (JSON Schema, OpenAPI 3.1).
fn binary(kind: &str) -> Value {
    json!({"type": "string", "format": "binary", "contentMediaType": kind})
}

fn responses(route: &Route, schemas: &mut Schemas) -> Value {
    let mut responses = Map::new();
    let content = match &route.answer {
        Answer::Json { name, schema, collect } => {
            add_schema(schemas, name, *schema, *collect);
            json!({"application/json": {"schema": reference(name)}})
        }
        Answer::JsonOrText { name, schema, collect } => {
            add_schema(schemas, name, *schema, *collect);
            json!({"application/json": {"schema": reference(name)}, "text/plain": {"schema": {"type": "string"}}})
        }
        Answer::Text => json!({"text/plain": {"schema": {"type": "string"}}}),
        Answer::EventStream => json!({"text/event-stream": {"schema": {"type": "string"}}}),
        Answer::Socket => json!({}),
        Answer::Audio => {
            let (ogg, wav) = (json!({"schema": binary("audio/ogg")}), json!({"schema": binary("audio/wav")}));
            let content = json!({"audio/ogg": ogg, "audio/wav": wav});
            responses
                .insert("206".into(), json!({"description": "The requested byte range", "content": content}));
            content
        }
        Answer::AnyJson => json!({"application/json": {"schema": {"type": "object"}}}),
    };
    if matches!(route.answer, Answer::Socket) {
        responses.insert("101".into(), json!({"description": "Switched to the WebSocket protocol"}));
    } else {
        responses.insert("200".into(), json!({"description": "Success", "content": content}));
    }
    let mut statuses: Vec<u16> = route.also.to_vec();
    if !matches!(route.access, Access::Public | Access::KeyOrFirstMessage) {
        statuses.extend([401, 403, 429, 500]);
    }
    if route.path.contains("{id}") {
        statuses.push(404);
    }
    // For a malformed HTTP/1.1 request and for unknown parameters.
    statuses.push(400);
    if route.body.is_some() {
        statuses.extend([409, 413, 415, 503]);
    }
    if route.method == "post" {
        statuses.extend([409, 413]);
    }
    if route.upload.is_some() {
        statuses.extend([413, 415]);
    }
    if route.method == "delete" || route.tag == "keys" {
        statuses.push(503);
    }
    statuses.sort_unstable();
    statuses.dedup();
    for status in statuses {
        let schema = if route.path == "/readyz" { reference("Probe") } else { reference("Error") };
        let mut response = json!({
            "description": status_description(status),
            "content": {"application/json": {"schema": schema}}
        });
        if let (Value::Object(response), 429 | 503) = (&mut response, status) {
            let header = json!({"Retry-After": {"description": "Seconds", "schema": {"type": "integer"}}});
            response.insert("headers".into(), header);
        }
        responses.insert(status.to_string(), response);
    }
    Value::Object(responses)
}

fn add_schema(schemas: &mut Schemas, name: &str, schema: fn() -> RefOr<Schema>, collect: fn(&mut Schemas)) {
    if !schemas.iter().any(|(known, _)| known == name) {
        schemas.push((name.to_owned(), schema()));
        collect(schemas);
    }
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn status_description(status: u16) -> &'static str {
    match status {
        400 => "A value is invalid; `field` names it",
        401 => "No valid and active key",
        403 => "The key lacks the permission, or a policy forbids it",
        404 => "The resource does not exist, or belongs to another user",
        409 => "Conflict with the current state",
        413 => "The body is too large: more than 64 KB, or 32 MB for an import",
        415 => "The Content-Type or Content-Encoding of the body is not supported",
        416 => "The requested range does not exist",
        429 => "Too many requests, or too many calls",
        503 => "A required component is unavailable or not configured",
        _ => "Server error",
    }
}
