//! Parameters of a PostgreSQL URL: validated before the driver reads them, because it would only log a warning, with the value, for an unknown
//! one.

use std::fs::File;
use std::path::PathBuf;

use crate::StoreError;

/// Parameters whose value is a file.
const FILES: [&str; 7] =
    ["sslrootcert", "ssl-root-cert", "ssl-ca", "sslcert", "ssl-cert", "sslkey", "ssl-key"];
const OTHERS: [&str; 11] = [
    "sslmode",
    "ssl-mode",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
    "statement-cache-capacity",
];
/// `allow` is missing: the driver treats it as `disable`, and a user who writes it expects more than that.
const MODES: [&str; 5] = ["disable", "prefer", "require", "verify-ca", "verify-full"];

/// Refuse parameters that the driver would ignore, and files that cannot be read.
pub(crate) fn check(url: &str) -> Result<(), StoreError> {
    for (name, value) in pairs(url) {
        if FILES.contains(&name) {
            let path = PathBuf::from(decoded(value));
            File::open(&path).map_err(|source| StoreError::Io { path, source })?;
        } else if !(OTHERS.contains(&name) || name.starts_with("options[") && name.ends_with(']')) {
            return Err(StoreError::Parameter { name: printable(url, name), known: listed(&OTHERS, &FILES) });
        } else if ["sslmode", "ssl-mode"].contains(&name) && !MODES.contains(&value) {
            return Err(StoreError::Parameter { name: name.to_owned(), known: MODES.join(", ") });
        }
    }
    Ok(())
}

/// A URL without its password, for messages.
pub(crate) fn redacted(url: &str) -> String {
    let hidden = url.split_once("://").and_then(|(scheme, rest)| {
        let (login, host) = rest.rsplit_once('@')?;
        let user = login.split_once(':').map_or(login, |(user, _)| user);
        Some(format!("{scheme}://{user}:***@{host}"))
    });
    let hidden = hidden.unwrap_or_else(|| url.to_owned());
    let Some((place, query)) = hidden.split_once('?') else { return hidden };
    let each = query.split('&').map(|pair| match pair.split_once('=') {
        Some(("password", _)) => "password=***",
        Some(_) | None => pair,
    });
    format!("{place}?{}", each.collect::<Vec<_>>().join("&"))
}

fn pairs(url: &str) -> impl Iterator<Item = (&str, &str)> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let query = query.split_once('#').map_or(query, |(query, _)| query);
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// Mask a name that could be the rest of a password containing a `?`.
fn printable(url: &str, name: &str) -> String {
    let behind_login = url.split_once('?').is_some_and(|(before, _)| before.contains('@'));
    let enum_text = name.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c == '-');
    if behind_login && enum_text { name.to_owned() } else { "?".to_owned() }
}

fn listed(names: &[&str], more: &[&str]) -> String {
    let mut all: Vec<&str> = names.iter().chain(more).copied().filter(|name| !name.contains('-')).collect();
    all.sort_unstable();
    all.join(", ")
}

/// Percent-decode a value as the driver does; an invalid escape stays as it is.
fn decoded(text: &str) -> String {
    form_urlencoded::parse(format!("={text}").as_bytes()).map(|(_, value)| value.into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_escapes_are_decoded() {
        for (written, meant) in [
            ("/etc/ssl/root.pem", "/etc/ssl/root.pem"),
            ("%2Fetc%2fmy+root.pem", "/etc/my root.pem"),
            ("100%", "100%"),
            ("%zz", "%zz"),
        ] {
            assert_eq!(decoded(written), meant);
        }
    }

    #[test]
    fn no_password_is_shown_wherever_it_stands() {
        for url in [
            "postgres://a:hush-8841@b/c?sslmode=require",
            "postgres://b/c?user=a&password=hush-8841&sslmode=require",
            "postgres://a:hush-8841?x@b/c",
        ] {
            assert!(!redacted(url).contains("hush-8841"), "{}", redacted(url));
        }
        assert_eq!(redacted("postgres://a:b@c/d?sslmode=require"), "postgres://a:***@c/d?sslmode=require");
        for url in ["postgres://a:p?hush8841@b/c", "postgres://a:p?hush8841"] {
            assert!(!check(url).unwrap_err().to_string().contains("hush"), "{:?}", check(url));
        }
    }
}
