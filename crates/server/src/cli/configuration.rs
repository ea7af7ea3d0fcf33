//! `config check|show`

use clap::Subcommand;
use serde_json::{Map, Value};

use super::{Fault, Output, Shared, shape};
use crate::config::{KEYS, Loaded, Origin};
use crate::tr;

/// Verbs of `config`.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigVerb {
    /// Check the configuration and print the settings in force
    Check,
    /// Print the settings in force, with secrets hidden
    Show,
}

pub(super) fn run(shared: &Shared, verb: ConfigVerb) -> Result<(), Fault> {
    let loaded = shared.loaded()?;
    let text = toml(&loaded);
    match (verb, shared.output) {
        (_, Output::Json) => shape::say(shared, &json(&loaded), ""),
        (ConfigVerb::Show, Output::Table) => shape::say(shared, &Value::Null, &text),
        (ConfigVerb::Check, Output::Table) => {
            let file = loaded.file.as_ref().map(|file| file.display().to_string());
            let file = file.unwrap_or_else(|| tr!("no file, defaults", "sin archivo, valores por defecto"));
            let text = tr!(
                "{text}\n\nThe configuration is good ({file}).",
                "{text}\n\nLa configuración es correcta ({file})."
            );
            shape::say(shared, &Value::Null, &text);
        }
    }
    Ok(())
}

/// The effective configuration as a TOML file, with secrets hidden and the origin of each setting that is not the default.
pub(super) fn toml(loaded: &Loaded) -> String {
    let mut lines = Vec::new();
    let mut section = "";
    for key in KEYS {
        let Some(value) = (key.show)(&loaded.config) else { continue };
        let (of, name) = key.name.split_once('.').unwrap_or(("", key.name));
        if of != section {
            lines.push(format!("\n[{of}]"));
            section = of;
        }
        let origin = loaded.origins.iter().find(|(name, _)| *name == key.name);
        let origin = origin.map_or(String::new(), |(_, origin)| format!(" ({origin})"));
        let line = format!("{name} = {value}");
        lines.push(format!("{line:56} # {}{origin}", key.purpose()));
    }
    lines.join("\n")
}

fn json(loaded: &Loaded) -> Value {
    let mut all = Map::new();
    for key in KEYS {
        let Some(value) = (key.show)(&loaded.config) else { continue };
        let origin = loaded.origins.iter().find(|(name, _)| *name == key.name);
        let origin = origin.map_or(Origin::Default.to_string(), |(_, origin)| origin.to_string());
        // The values are TOML texts, numbers and lists, which are written as in JSON.
        let value: Value = serde_json::from_str(&value).unwrap_or(Value::String(value));
        all.insert(key.name.into(), serde_json::json!({ "value": value, "origin": origin }));
    }
    Value::Object(all)
}
