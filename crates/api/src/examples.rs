//! Examples for the OpenAPI document, generated from its schemas and from the sample values of the project's documentation, so that a new route
//! gets examples automatically.

use serde_json::{Map, Value, json};

/// Recursion limit, deeper than any schema; it stops a schema that contains itself.
const DEPTH: usize = 8;

/// Fields that exclude each other or do not fit the other values of the example.
const OMITTED: [&str; 2] = ["promptId", "audioId"];

/// Add an example to every schema of a request and of a successful response.
pub(crate) fn add(document: &mut Value) {
    let schemas = document["components"]["schemas"].clone();
    let Some(paths) = document["paths"].as_object_mut() else { return };
    let operations = paths.values_mut().filter_map(Value::as_object_mut).flat_map(Map::values_mut);
    for operation in operations {
        for place in ["/requestBody/content", "/responses/200/content"] {
            let Some(contents) = operation.pointer_mut(place).and_then(Value::as_object_mut) else {
                continue;
            };
            for (kind, content) in contents {
                if kind == "application/json" {
                    content["example"] = of(&schemas, &content["schema"], "", "", DEPTH);
                }
            }
        }
    }
}

/// Example of a schema. `owner` is the name of the schema and `name` that of the property.
fn of(schemas: &Value, schema: &Value, owner: &str, name: &str, depth: usize) -> Value {
    if depth == 0 {
        return Value::Null;
    }
    // A resource-specific rule brings its own example.
    if let Some(example) = schema["examples"].get(0) {
        return example.clone();
    }
    if let Some(target) = schema["$ref"].as_str() {
        let target = target.rsplit('/').next().unwrap_or_default();
        return of(schemas, &schemas[target], target, name, depth - 1);
    }
    if let Some(choice) = ["oneOf", "anyOf", "allOf"].iter().find_map(|keyword| schema[*keyword].as_array())
        && schema["properties"].is_null()
    {
        let some = choice.iter().find(|choice| choice["type"] != json!("null"));
        return some.map_or(Value::Null, |choice| of(schemas, choice, owner, name, depth));
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null"),
        kind => kind.as_str(),
    };
    match kind {
        Some("object") => match sample(owner, name) {
            Some(thing @ Value::Object(_)) => thing,
            Some(_) | None => object(schemas, schema, owner, depth),
        },
        Some("array") => match sample(owner, name) {
            Some(list @ Value::Array(_)) => list,
            Some(_) | None => {
                json!([of(schemas, &schema["items"], owner, name.trim_end_matches('s'), depth - 1)])
            }
        },
        Some("string") => text(schema, owner, name),
        Some("integer") => {
            sample(owner, name).filter(Value::is_i64).unwrap_or_else(|| match schema["minimum"].as_i64() {
                Some(least) if least > 1 => least.into(),
                Some(_) | None => 1.into(),
            })
        }
        Some("number") => sample(owner, name).filter(Value::is_number).unwrap_or_else(|| json!(4.2)),
        // False for flags that need something configured or registered.
        Some("boolean") => json!(!matches!(name, "rotate" | "useTwilio" | "requireDevice")),
        Some(_) | None => Value::Null,
    }
}

fn object(schemas: &Value, schema: &Value, owner: &str, depth: usize) -> Value {
    let Some(properties) = schema["properties"].as_object() else { return json!({}) };
    let mut example = Map::new();
    let mut abouts: Vec<&str> = Vec::new();
    // Two names of one field have the same description, and only one may be sent: the last, such as `toNumber`.
    for (name, property) in properties.iter().rev() {
        let about = property["description"].as_str().unwrap_or_default();
        let sent = schema["additionalProperties"] == json!(false);
        if OMITTED.contains(&name.as_str()) || sent && !about.is_empty() && abouts.contains(&about) {
            continue;
        }
        abouts.push(about);
        example.insert(name.clone(), of(schemas, property, owner, name, depth - 1));
    }
    Value::Object(example)
}

fn text(schema: &Value, owner: &str, name: &str) -> Value {
    if let Some(first) = schema["enum"].as_array().and_then(|words| words.first()) {
        return first.clone();
    }
    if let Some(sample) = sample(owner, name).filter(Value::is_string) {
        return sample;
    }
    if schema["format"] == json!("date-time") {
        return if name == "expiresAt" {
            "2099-12-31T23:59:59.000Z".into()
        } else {
            "2025-01-15T10:30:00.000Z".into()
        };
    }
    // A description that lists values begins with the most common one.
    let about = schema["description"].as_str().unwrap_or_default();
    match about.split('`').nth(1) {
        Some(first) => first.into(),
        None => "1001".into(),
    }
}

/// Sample value of a property in the documentation.
fn sample(owner: &str, name: &str) -> Option<Value> {
    let sample = match (owner, name) {
        ("Extension", "id") => "ext_1234567890_abc123",
        ("Key" | "NewKey", "id") | (_, "keyId") => "key_1234567890",
        ("Webhook", "id") => "hook_1234567890_abc12345",
        ("Delivery", "id") => "dlv_1234567890_abc12345_42",
        ("Event", "id") | ("Delivery", "eventId") => return Some(42.into()),
        ("NewKey", "key") => "sk_voip_abc123...",
        (_, "userId" | "user") => "user_123",
        (_, "extensionNumber") => "1001",
        ("Sound", "name") => "Good morning",
        ("Sound", "milliseconds") => return Some(4_200.into()),
        (_, "displayName") => "Juan Pérez",
        (_, "name") => "Production VoIP Key",
        (_, "sessionId" | "subject") | ("Session" | "NewSession" | "ExtensionCall", "id") => {
            "session_1234567890_abc123"
        }
        (_, "fromNumber" | "forwardingNumber") => "+1234567890",
        (_, "toNumber" | "destinationNumber") => "+0987654321",
        (_, "domain") => "sip.nexus-core.com",
        (_, "username") => "user_1234567890",
        (_, "password") => "(shown once)",
        (_, "sipUri") => "sip:user_1234567890@sip.nexus-core.com",
        (_, "proxyServer") => "sip.nexus-core.com:5060",
        (_, "transportProtocol") => "UDP",
        (_, "service") => "voip",
        (_, "keyPrefix") => "sk_voip_abc12345",
        (_, "twilioCallSid") => "CA1234567890abcdef1234567890abcdef",
        ("RecurringCall", "id") => "rc_1234567890_abc123",
        (_, "extensionId") => "ext_1234567890_abc123",
        (_, "schedule") => {
            return Some(json!({"frequency": "daily", "time": "09:00", "timezone": "America/New_York"}));
        }
        (_, "voicemailPin") => "4711",
        (_, "timezone") => "America/New_York",
        (_, "email") => "juan@example.com",
        (_, "permissions") => return Some(json!(["call", "sip", "recording"])),
        (_, "types") => return Some(json!(["call_ended"])),
        (_, "recordings") => return Some(json!([])),
        (_, "type") => "call_ended",
        (_, "url") => "https://crm.example.com/centralita",
        (_, "secret") => "whsec_(shown once)",
        (_, "ip") => "203.0.113.7",
        (_, "address" | "local" | "remote") => "203.0.113.7:5060",
        (_, "contact") => "sip:user_1234567890@203.0.113.7:5060",
        (_, "userAgent") => "Linphone/5.2",
        (_, "route") => "POST /api/v1/opensips/call/initiate",
        (_, "requestId") => "req_1a2b3c4d5e6f7g8h",
        (_, "timelineUrl") => "/api/v1/calls/session_1234567890_abc123/ladder",
        (_, "sipCallId") => "a84b4c76e66710@203.0.113.7",
        (_, "text") => "INVITE sip:1002@sip.nexus-core.com SIP/2.0\r\n…",
        (_, "transport") => "udp",
        (_, "codec") => "PCMU",
        (_, "rule") => "extension",
        (_, "outcome") => "1002 is an extension",
        (_, "reason" | "endReason") => "no_answer",
        (_, "nextCursor") => "YzoxMDAx",
        (_, "listeners" | "listener") => "udp://203.0.113.7:5060",
        (_, "party") => "1001",
        (_, "version") => env!("CARGO_PKG_VERSION"),
        (_, "asr") => return Some(json!(0.8)),
        (_, "acd") => return Some(json!(93.5)),
        (_, "poorShare") => return Some(json!(0.05)),
        (_, "ringSeconds" | "ringTimeoutSeconds") => return Some(30.into()),
        (_, "requestsPerMinute") => return Some(100.into()),
        (_, "status") if owner == "KeyUse" => return Some(200.into()),
        _ => return None,
    };
    Some(sample.into())
}
