//! The configuration layers (TOML file, `.env`, environment), each read into the same list of settings.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::nearest::nearest;
use super::{KEYS, Problem};
use crate::tr;

/// Prefix of our environment variables.
const PREFIX: &str = "CENTRALITA__";
/// A common misspelling of the prefix.
const SHORT_PREFIX: &str = "CENTRALITA_";

/// Variable names of the seed documents' `.env`, and the keys that they set (S103–S108).
const SEEDS: &[(&str, &str)] = &[
    ("RTP_PORT_START", "media.ports.start"),
    ("RTP_PORT_END", "media.ports.end"),
    ("EXTERNAL_IP", "public_address"),
    ("PUBLIC_IP", "public_address"),
    ("PUBLIC_HOST", "public_address"),
    ("DEFAULT_EXTENSION", "sip.default_extension"),
    ("TWILIO_DID", "twilio.did"),
    ("TWILIO_SIP_USER", "twilio.sip_user"),
    ("TWILIO_SIP_PASSWORD", "twilio.sip_password"),
    ("TWILIO_TERMINATION_URI", "twilio.termination_uri"),
    ("TWILIO_ACCOUNT_SID", "twilio.account_sid"),
    ("TWILIO_AUTH_TOKEN", "twilio.auth_token"),
    ("TWILIO_MODE", "twilio.mode"),
];

/// Where a setting was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The default value.
    Default,
    /// A file.
    File {
        /// Path of the file.
        path: PathBuf,
        /// Line, counted from 1; 0 for the file as a whole.
        line: usize,
    },
    /// An environment variable, by name.
    Variable(String),
    /// A command line option, as `--lan`.
    Option(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str(&tr!("default", "valor por defecto")),
            Origin::File { path, line: 0 } => write!(f, "{}", path.display()),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Variable(name) => f.write_str(&tr!("environment {name}", "entorno {name}")),
            Origin::Option(name) => f.write_str(name),
        }
    }
}

/// A value before its key interprets it. The environment provides text only.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// Text, from the file or from a variable.
    Text(String),
    /// A whole number.
    Number(i64),
    /// `true` or `false`.
    Bool(bool),
    /// A list of texts.
    List(Vec<String>),
    /// A TOML type that no key accepts, by its TOML name.
    Other(&'static str),
}

/// One key with its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    /// Name of the key, as `sip.domain`.
    pub key: String,
    /// Its value.
    pub value: Value,
    /// Where it was read.
    pub origin: Origin,
}

/// The settings of a TOML file.
pub(super) fn from_toml(path: &Path, text: &str, problems: &mut Vec<Problem>) -> Vec<Setting> {
    let at = |offset: usize| Origin::File { path: path.to_path_buf(), line: line_of(text, offset) };
    let mut settings = Vec::new();
    match DeTable::parse(text) {
        Ok(table) => walk("", table.get_ref(), &at, &mut settings),
        Err(error) => problems.push(Problem {
            origin: at(error.span().map_or(0, |span| span.start)),
            key: String::new(),
            what: {
                let why = error.message().lines().collect::<Vec<_>>().join(", ");
                tr!("is not valid TOML: {why}", "no es TOML válido: {why}")
            },
        }),
    }
    settings
}

fn walk(prefix: &str, table: &DeTable<'_>, at: &dyn Fn(usize) -> Origin, settings: &mut Vec<Setting>) {
    for (name, value) in table {
        let key = if prefix.is_empty() {
            name.get_ref().to_string()
        } else {
            format!("{prefix}.{}", name.get_ref())
        };
        if let DeValue::Table(inner) = value.get_ref() {
            // An empty section is accepted; an unknown section is refused by each of its keys.
            walk(&key, inner, at, settings);
            continue;
        }
        settings.push(Setting { key, value: to_value(value.get_ref()), origin: at(name.span().start) });
    }
}

fn to_value(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Boolean(bool) => Value::Bool(*bool),
        DeValue::Integer(number) => {
            let digits = number.as_str().replace('_', "");
            i64::from_str_radix(&digits, number.radix()).map_or(Value::Other("integer"), Value::Number)
        }
        DeValue::Array(items) => {
            let texts = items.iter().map(|item| item.get_ref().as_str().map(str::to_owned));
            texts.collect::<Option<Vec<_>>>().map_or(Value::Other("array"), Value::List)
        }
        other => Value::Other(other.type_str()),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// The environment variable of a key, as `CENTRALITA__SIP__DOMAIN`.
fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase().replace('.', "__"))
}

/// Whether a variable is one that we read.
pub(super) fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX) || SEEDS.iter().any(|(seed, _)| *seed == name)
}

/// Error text for a variable that names no key.
pub(super) fn unknown_variable(key: &str) -> String {
    match nearest(key, KEYS.iter().map(|key| key.name)).map(variable) {
        Some(meant) => {
            tr!(
                "there is no such key; did you mean {meant}?",
                "esa clave no existe; ¿quería escribir {meant}?"
            )
        }
        None => super::keys::unknown(key),
    }
}

/// The environment as text. Foreign variables may contain any bytes; one of ours that is not UTF-8 is reported by its name.
pub(super) fn environment(
    variables: impl Iterator<Item = (OsString, OsString)>,
    problems: &mut Vec<Problem>,
) -> Vec<(String, String, Origin)> {
    let mut read = Vec::new();
    for (name, value) in variables {
        let Some(name) = name.to_str().map(str::to_owned) else { continue };
        let origin = Origin::Variable(name.clone());
        match value.into_string() {
            Ok(value) => read.push((name, value, origin)),
            Err(_) if is_ours(&name) => problems.push(Problem {
                origin,
                key: String::new(),
                what: tr!(
                    "is not UTF-8; write its value in UTF-8",
                    "no está en UTF-8; escriba el valor en UTF-8"
                ),
            }),
            Err(_) => {}
        }
    }
    read
}

/// The settings of an environment: the seed names first, so that our own names override them.
pub(super) fn from_variables(
    variables: impl Iterator<Item = (String, String, Origin)>,
    problems: &mut Vec<Problem>,
) -> Vec<Setting> {
    let (mut seeds, mut own) = (Vec::new(), Vec::new());
    for (name, value, origin) in variables {
        if let Some(rest) = name.strip_prefix(PREFIX) {
            let key = rest.split("__").map(str::to_lowercase).collect::<Vec<_>>().join(".");
            own.push(Setting { key, value: Value::Text(value), origin });
        } else if let Some((_, key)) = SEEDS.iter().find(|(seed, _)| *seed == name)
            && !value.is_empty()
        {
            seeds.push(Setting { key: (*key).into(), value: Value::Text(value), origin });
        } else if let Some(rest) = name.strip_prefix(SHORT_PREFIX)
            && let Some(key) = KEYS.iter().find(|key| flat(key.name) == flat(rest))
        {
            // Foreign variables may start like this: Kubernetes sets CENTRALITA_PORT for a service called centralita.
            let meant = variable(key.name);
            let what = tr!(
                "is not read; write {meant}, with two underscores",
                "no se tiene en cuenta; escriba {meant}, con dos guiones bajos"
            );
            problems.push(Problem { origin, key: String::new(), what });
        }
    }
    seeds.extend(own);
    seeds
}

/// A key without dots and underscores, in lower case.
fn flat(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}
