//! Differences between two snapshots of an object, for events and the audit.

use serde_json::{Value, json};

/// The fields that differ, as `{"before": …, "after": …}` (S74, S90).
pub(super) fn difference(before: &Value, after: &Value) -> Value {
    let (mut was, mut is) = (serde_json::Map::new(), serde_json::Map::new());
    for (name, value) in after.as_object().into_iter().flatten() {
        if before.get(name) != Some(value) {
            was.insert(name.clone(), before.get(name).cloned().unwrap_or_default());
            is.insert(name.clone(), value.clone());
        }
    }
    json!({"before": was, "after": is})
}
