//! JSON Schema of rules and tables of fields.

use model::Permission;
use serde_json::{Map, Value, json};

use super::Field;
use super::dialling::{self, PermissionsChange};
use super::rule::{EVENT_TYPE_COUNT, Rule, URL_BYTES};

/// Pattern of a destination: `^\+?[0-9*#]{1,32}$`, a user name, or a SIP URI.
const DESTINATION: &str = r"^(\+?[0-9*#]{1,32}|[0-9A-Za-z_.\-]{1,64}|[sS][iI][pP][sS]?:\+?[0-9A-Za-z_.*#\-]{1,64}@[0-9A-Za-z.:\[\]\-]{1,255})$";

/// Pattern of a time of day: `09:00`, `23:59:59`.
const TIME: &str = "^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?$";

/// Pattern of an HTTP URL with a host and an optional port from 1 to 65535.
const URL: &str = concat!(
    r"^[hH][tT][tT][pP][sS]?://(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z_]([0-9A-Za-z_\-]{0,61}[0-9A-Za-z_])?(\.[0-9A-Za-z_]([0-9A-Za-z_\-]{0,61}[0-9A-Za-z_])?)*)",
    r"(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?([/?][!$-;=?-Z_a-z~]*)?$"
);

fn event_types() -> impl Iterator<Item = &'static str> {
    model::EVENT_TYPES.iter().map(|event| event.kind)
}

impl Rule {
    /// The rule as JSON Schema.
    pub(crate) fn schema(self) -> Value {
        match self {
            Rule::Id => json!({"type": "string", "pattern": r"^[0-9A-Za-z_.\-]{1,128}$"}),
            Rule::ExtensionNumber => json!({"type": "string", "pattern": "^[0-9]{2,6}$"}),
            Rule::Dialled => json!({"type": "string", "pattern": r"^\+?[0-9*#]{1,32}$"}),
            Rule::Destination | Rule::Origin => json!({"type": "string", "pattern": DESTINATION}),
            Rule::Label(max) => json!({
                "type": "string", "minLength": 1, "maxLength": max,
                "pattern": r"^[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]*[^\u0000-\u0020\u007f-\u00a0\u2028-\u202e\u2066-\u2069][^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]*$"
            }),
            Rule::Flag => json!({"type": "boolean"}),
            Rule::Integer(min, max) => json!({"type": "integer", "minimum": min, "maximum": max}),
            Rule::OneOf(words) => json!({"type": "string", "enum": words}),
            Rule::Permissions => json!({
                "type": "array", "minItems": 1, "maxItems": Permission::ALL.len(),
                "items": {"type": "string", "enum": Permission::ALL.map(Permission::as_str)}
            }),
            Rule::Custom(rule) => (rule.schema)(),
            Rule::Object(fields) => object(fields),
            Rule::Time => json!({"type": "string", "pattern": TIME}),
            Rule::Zone => {
                json!({"type": "string", "minLength": 1, "maxLength": 64, "examples": ["America/New_York"]})
            }
            Rule::DaysOfWeek => json!({
                "type": "array", "minItems": 1, "maxItems": 7, "uniqueItems": true,
                "items": {"type": "integer", "minimum": 0, "maximum": 6}
            }),
            Rule::Cursor(_) => json!({"type": "string", "pattern": "^[0-9A-Za-z_-]{1,300}$"}),
            Rule::Objects(fields, most) => {
                let property = |field: &Field| (field.name.to_owned(), field.rule.schema());
                let properties: serde_json::Map<String, Value> = fields.iter().map(property).collect();
                let required: Vec<&str> = fields.iter().filter(|f| f.required).map(|f| f.name).collect();
                json!({
                    "type": "array", "minItems": 1, "maxItems": most,
                    "items": {
                        "type": "object", "properties": properties, "required": required,
                        "additionalProperties": false
                    }
                })
            }
            Rule::DialPermissions => PermissionsChange::schema(),
            Rule::FollowMe => dialling::follow_me_schema(),
            Rule::Instant => json!({"type": "string", "format": "date-time", "maxLength": 40}),
            Rule::Prefix => json!({"type": "string", "pattern": r"^(\+|\+?[0-9A-Za-z_.*#\-]{1,64})$"}),
            Rule::EventTypes => {
                let one = event_types().collect::<Vec<_>>().join("|");
                json!({"type": "string", "pattern": format!("^({one})(,({one}))*$"), "examples": ["call_started,call_ended"]})
            }
            Rule::EventTypeList => json!({
                "type": "array", "maxItems": EVENT_TYPE_COUNT,
                "items": {"type": "string", "enum": event_types().collect::<Vec<_>>()}
            }),
            Rule::Url => json!({
                "type": "string", "maxLength": URL_BYTES,
                "pattern": URL
            }),
        }
    }
}

/// Schema of a field's value.
pub(crate) fn schema_of(field: &Field) -> Value {
    let schema = field.rule.schema();
    if field.nullable { json!({"oneOf": [schema, {"type": "null"}]}) } else { schema }
}

/// Schema of an object with exactly these fields.
pub(crate) fn object(fields: &[Field]) -> Value {
    let mut properties = Map::new();
    let mut required: Vec<&str> = Vec::new();
    let mut either: Vec<Value> = Vec::new();
    for field in fields {
        let mut schema = schema_of(field);
        if let Value::Object(schema) = &mut schema {
            schema.insert("description".into(), field.about.into());
        }
        if let Some(alias) = field.alias {
            properties.insert(alias.to_owned(), schema.clone());
            if field.required {
                either = vec![json!({"required": [field.name]}), json!({"required": [alias]})];
            }
        } else if field.required {
            required.push(field.name);
        }
        properties.insert(field.name.to_owned(), schema);
    }
    let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": false});
    if let Value::Object(schema) = &mut schema {
        if !required.is_empty() {
            schema.insert("required".into(), json!(required));
        }
        if !either.is_empty() {
            schema.insert("oneOf".into(), either.into());
        }
    }
    schema
}
