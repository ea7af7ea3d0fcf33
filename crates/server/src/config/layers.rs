//! The layers of a configuration, each read into the same list of settings.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::Problem;

/// What begins a variable of the environment that is meant for us.
const PREFIX: &str = "CENTRALITA__";

/// The names of the seeds' `.env`, and the keys that they stand for (S103–S108).
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
    /// Nowhere: it is the default.
    Default,
    /// A line of a file, counted from 1; the file as a whole where 0.
    File {
        /// Which file.
        path: PathBuf,
        /// Which line.
        line: usize,
    },
    /// A variable of the environment.
    Variable(String),
    /// The command line, as `--lan`.
    Option(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line: 0 } => write!(f, "{}", path.display()),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Variable(name) => write!(f, "environment {name}"),
            Origin::Option(name) => f.write_str(name),
        }
    }
}

/// A value before its key gives it a meaning. The environment knows only text.
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
    /// Something that no key of ours takes; what TOML calls it.
    Other(&'static str),
}

/// One key with its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    /// `sip.domain`
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
            what: format!("is not TOML: {}", error.message().lines().collect::<Vec<_>>().join(", ")),
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
            // An empty section may stay; one that we do not know is refused by each of its keys.
            walk(&key, inner, at, settings);
            continue;
        }
        settings.push(Setting { key, value: plain(value.get_ref()), origin: at(name.span().start) });
    }
}

fn plain(value: &DeValue<'_>) -> Value {
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

/// The settings among the variables of an environment: the seeds' names first, so that ours win over them.
pub(super) fn from_variables(variables: impl Iterator<Item = (String, String, Origin)>) -> Vec<Setting> {
    let (mut seeds, mut ours) = (Vec::new(), Vec::new());
    for (name, value, origin) in variables {
        if let Some(rest) = name.strip_prefix(PREFIX) {
            let key = rest.split("__").map(str::to_lowercase).collect::<Vec<_>>().join(".");
            ours.push(Setting { key, value: Value::Text(value), origin });
        } else if let Some((_, key)) = SEEDS.iter().find(|(seed, _)| *seed == name)
            && !value.is_empty()
        {
            seeds.push(Setting { key: (*key).into(), value: Value::Text(value), origin });
        }
    }
    seeds.extend(ours);
    seeds
}

/// The lines of a `.env`: `NAME=value`, with quotes, `export` and comments as shells have them.
pub(super) fn dotenv(path: &Path, text: &str, problems: &mut Vec<Problem>) -> Vec<(String, String, Origin)> {
    let mut lines = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let origin = Origin::File { path: path.to_path_buf(), line: n + 1 };
        let line = line.strip_prefix("export ").unwrap_or(line);
        match line.split_once('=') {
            Some((name, value)) => lines.push((name.trim().into(), unquoted(value.trim()).into(), origin)),
            None => {
                problems.push(Problem { origin, key: String::new(), what: "a line is NAME=value".into() });
            }
        }
    }
    lines
}

fn unquoted(value: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(inner) = value.strip_prefix(quote)
            && let Some(end) = inner.find(quote)
        {
            return &inner[..end];
        }
    }
    value.split_once(" #").map_or(value, |(value, _)| value).trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dotenv_is_read_as_shells_do() {
        let text = "# c\nexport A=1\nB=\"x # y\"\nC='q'  # why\nD=plain # why\n\nnonsense\n";
        let mut problems = Vec::new();
        let lines = dotenv(Path::new(".env"), text, &mut problems);
        let read: Vec<_> = lines.iter().map(|(name, value, _)| (name.as_str(), value.as_str())).collect();
        assert_eq!(read, [("A", "1"), ("B", "x # y"), ("C", "q"), ("D", "plain")]);
        assert_eq!(problems[0].to_string(), ".env:7: a line is NAME=value");
    }
}
