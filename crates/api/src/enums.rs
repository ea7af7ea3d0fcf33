//! Enums of string properties in the OpenAPI document. They are read from descriptions that begin with a list of values, and from the tables of
//! causes, event types and error codes, so that no list is written twice.

use model::{Cause, EVENT_TYPES, Language};
use serde_json::{Value, json};

use crate::error::Fault;

/// Add the enums to the schemas of a document, and the tables as extensions `x-…`.
pub(crate) fn add(document: &mut Value) {
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        for (owner, schema) in schemas {
            let Some(properties) = schema["properties"].as_object_mut() else { continue };
            for (name, property) in properties {
                if let Some(values) = enum_values(owner, name, property) {
                    property["enum"] = values;
                }
            }
        }
    }
    let event = |event: &model::EventType| json!({"type": event.kind, "description": event.about});
    document["x-event-types"] = EVENT_TYPES.iter().map(event).collect();
    let reason = |cause: &Cause| {
        json!({
            "reason": cause.code(), "sip": cause.sip_status(), "q850": cause.q850(), "status": cause.call_status().as_str(),
            "en": cause.sentence(Language::English), "es": cause.sentence(Language::Spanish)
        })
    };
    document["x-end-reasons"] = Cause::ALL.iter().map(reason).collect();
    let fault = |fault: &Fault| {
        let (status, code, en, es) = fault.row();
        json!({"code": code, "status": status, "en": en, "es": es})
    };
    document["x-error-codes"] = Fault::ALL.iter().map(fault).collect();
}

/// The values of a string property; `None` if it may be any text.
fn enum_values(owner: &str, name: &str, property: &Value) -> Option<Value> {
    let nullable = match &property["type"] {
        Value::String(kind) if kind == "string" => false,
        Value::Array(kinds) if kinds.contains(&"string".into()) => kinds.contains(&"null".into()),
        _ => return None,
    };
    let mut values: Vec<Value> = match (owner, name) {
        ("RefusalStats", "reason") | (_, "endReason") => {
            Cause::ALL.iter().map(|cause| cause.code().into()).collect()
        }
        ("Event" | "Delivery", "type") => EVENT_TYPES.iter().map(|event| event.kind.into()).collect(),
        ("Error", "code") => {
            let faults = Fault::ALL.iter().map(|fault| fault.row().1);
            let mut codes: Vec<&str> = faults.chain(Cause::ALL.iter().map(|cause| cause.code())).collect();
            codes.sort_unstable();
            codes.dedup();
            codes.into_iter().map(Value::from).collect()
        }
        _ => leading_list(property["description"].as_str()?)?.into_iter().map(Value::from).collect(),
    };
    values.retain(|word| word != "null");
    if nullable {
        values.push(Value::Null);
    }
    Some(values.into())
}

/// The list at the start of a description: `active`, `inactive`, or `busy`.
fn leading_list(description: &str) -> Option<Vec<&str>> {
    let mut values = Vec::new();
    let mut rest = description;
    loop {
        let (word, after) = rest.strip_prefix('`')?.split_once('`')?;
        values.push(word);
        let comma = after.strip_prefix(", ");
        let last = comma.unwrap_or(after).trim_start().strip_prefix("or ");
        if let Some(last) = last.filter(|last| last.starts_with('`')) {
            let (word, _) = last.strip_prefix('`')?.split_once('`')?;
            values.push(word);
            return Some(values);
        }
        rest = comma?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_at_the_beginning_of_a_description_are_read() {
        assert_eq!(leading_list("`es` or `en`"), Some(vec!["es", "en"]));
        assert_eq!(
            leading_list("`active`, `inactive`, or `busy` while it is in a call."),
            Some(vec!["active", "inactive", "busy"])
        );
        assert_eq!(leading_list("`a`, `b`, `c` or `d`."), Some(vec!["a", "b", "c", "d"]));
        for other in [
            "",
            "`UDP`",
            "`call_started`, `voip_extension_created`, ….",
            "`ok`, or the state of the SIP side.",
            "Either `a` or `b`",
        ] {
            assert_eq!(leading_list(other), None, "{other}");
        }
    }
}
