//! Input validation. Bodies and queries are described by tables of fields, which both validate requests and generate the OpenAPI document, so the
//! two always agree.

mod body;
pub(crate) mod dialling;
pub(crate) mod instant;
pub(crate) mod rule;
pub(crate) mod schema;

use std::collections::BTreeMap;

use axum::http::Uri;
use serde_json::Value;

use crate::Patch;
use crate::error::{ApiError, Fault};

pub(crate) use body::{Body, limit_of, read_whole};
pub use dialling::PermissionsChange;
pub(crate) use rule::{Paging, Rule};

/// One field of a body or query.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Field {
    pub name: &'static str,
    /// Alternative name of the same field in the original documentation (S76).
    pub alias: Option<&'static str>,
    pub rule: Rule,
    pub required: bool,
    /// Whether `null` is accepted.
    pub nullable: bool,
    pub about: &'static str,
}

impl Field {
    pub(crate) const fn new(name: &'static str, rule: Rule, about: &'static str) -> Field {
        Field { name, alias: None, rule, required: false, nullable: false, about }
    }

    pub(crate) const fn required(self) -> Field {
        Field { required: true, ..self }
    }

    pub(crate) const fn nullable(self) -> Field {
        Field { nullable: true, ..self }
    }

    pub(crate) const fn or(self, alias: &'static str) -> Field {
        Field { alias: Some(alias), ..self }
    }

    fn has_name(&self, name: &str) -> bool {
        self.name == name || self.alias == Some(name)
    }
}

/// Validated values by field name.
#[derive(Debug, Default)]
pub(crate) struct Form {
    values: BTreeMap<&'static str, Value>,
}

impl Form {
    /// Validate a JSON object against its table.
    pub(crate) fn of_object(
        object: serde_json::Map<String, Value>,
        fields: &'static [Field],
    ) -> Result<Form, ApiError> {
        let mut form = Form::default();
        for (name, value) in object {
            let Some(field) = fields.iter().find(|field| field.has_name(&name)) else {
                return Err(unknown_field(&name, fields));
            };
            if !(field.nullable && value.is_null()) {
                field
                    .rule
                    .check(&value)
                    .map_err(|(fault, (en, es))| ApiError::field(fault, &name, Some((&en, &es))))?;
                if let (Rule::Object(fields), Some(object)) = (field.rule, value.as_object()) {
                    Form::of_object(object.clone(), fields).map_err(|error| error.nested_in(&name))?;
                }
            }
            if form.values.insert(field.name, value).is_some() {
                return Err(ApiError::field(
                    Fault::BadValue,
                    &name,
                    Some(("given under two names", "aparece con dos nombres")),
                ));
            }
        }
        form.check_required(fields)
    }

    /// Reject query parameters that the route does not have. Their values are validated later by the handler, so that a 404 takes precedence.
    pub(crate) fn check_names(uri: &Uri, fields: &'static [Field]) -> Result<(), ApiError> {
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri);
        let names = pairs.map(|pairs| pairs.0).unwrap_or_default();
        match names.iter().find(|(name, _)| !fields.iter().any(|field| field.has_name(name))) {
            Some((name, _)) => Err(unknown_field(name, fields)),
            None => Ok(()),
        }
    }

    /// Validate a query against its table. Numbers and flags are parsed from text.
    pub(crate) fn of_query(uri: &Uri, fields: &'static [Field]) -> Result<Form, ApiError> {
        let bad =
            |name: &str, rule: (&str, &str)| ApiError::field(Fault::BadValue, &printable(name), Some(rule));
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| bad("query", ("cannot be read", "no se puede leer")))?;
        let mut form = Form::default();
        for (name, text) in pairs.0 {
            let Some(field) = fields.iter().find(|field| field.has_name(&name)) else {
                return Err(unknown_field(&name, fields));
            };
            let value = field.rule.read(&text);
            field.rule.check(&value).map_err(|(_, (en, es))| bad(&name, (&en, &es)))?;
            if form.values.insert(field.name, value).is_some() {
                return Err(bad(&name, ("given twice", "aparece dos veces")));
            }
        }
        form.check_required(fields)
    }

    fn check_required(self, fields: &'static [Field]) -> Result<Form, ApiError> {
        match fields.iter().find(|field| field.required && !self.values.contains_key(field.name)) {
            Some(missing) => {
                let rule = ("required but missing", "es obligatorio y falta");
                Err(ApiError::field(Fault::MissingField, missing.name, Some(rule)))
            }
            None => Ok(self),
        }
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.as_str()
    }

    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        self.values.get(name)?.as_bool()
    }

    pub(crate) fn integer(&self, name: &str) -> Option<u64> {
        self.values.get(name)?.as_u64()
    }

    /// The tri-state of a nullable field. `value` is the parsed value if the field was sent and is not `null`.
    pub(crate) fn patch<T>(&self, name: &str, value: Option<T>) -> Patch<T> {
        match value {
            Some(value) => Patch::Set(value),
            None if self.values.get(name).is_some_and(Value::is_null) => Patch::Clear,
            None => Patch::Keep,
        }
    }

    /// Parse a string that has already passed its rule.
    pub(crate) fn parsed<T, E>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<T>, ApiError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        parse(text).map(Some).map_err(|_| ApiError::field(Fault::BadValue, name, None))
    }

    /// Take the objects of a list.
    pub(crate) fn objects(&mut self, name: &str) -> impl Iterator<Item = serde_json::Map<String, Value>> {
        let list = match self.values.remove(name) {
            Some(Value::Array(list)) => list,
            Some(_) | None => Vec::new(),
        };
        list.into_iter().filter_map(|item| match item {
            Value::Object(object) => Some(object),
            _ => None,
        })
    }

    /// The JSON value as sent.
    pub(crate) fn value(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// Validate a nested object against the table `fields`.
    pub(crate) fn object(&self, name: &str, fields: &'static [Field]) -> Option<Form> {
        Form::of_object(self.values.get(name)?.as_object()?.clone(), fields).ok()
    }

    /// The integers of a list.
    pub(crate) fn integers(&self, name: &str) -> Option<Vec<i64>> {
        Some(self.values.get(name)?.as_array()?.iter().filter_map(Value::as_i64).collect())
    }

    /// The strings of a list.
    pub(crate) fn texts(&self, name: &str) -> Option<impl Iterator<Item = &str>> {
        Some(self.values.get(name)?.as_array()?.iter().filter_map(Value::as_str))
    }
}

/// Error for an unknown field, which lists the known ones.
fn unknown_field(name: &str, fields: &[Field]) -> ApiError {
    let names = |field: &Field| [Some(field.name), field.alias];
    let known: Vec<&str> = fields.iter().flat_map(names).flatten().collect();
    let known = known.join(", ");
    let (en, es) = if known.is_empty() {
        (
            "unknown field; no fields are allowed here".into(),
            "campo desconocido; aquí no se admite ninguno".into(),
        )
    } else {
        (
            format!("unknown field; allowed fields: {known}"),
            format!("campo desconocido; campos admitidos: {known}"),
        )
    };
    ApiError::field(Fault::UnknownField, &printable(name), Some((&en, &es)))
}

/// Client-supplied text without control characters, cut to 64 characters, for use in responses.
pub(crate) fn printable(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(64).collect()
}
