//! Validation rules of fields.

use base::Id;
use model::recurrence::{Zone, is_time};
use model::{DialledNumber, ExtensionNumber, Permission};
use serde_json::Value;

use super::Field;
use super::dialling::{self, PermissionsChange};
use super::instant::instant;
use crate::error::Fault;

/// A sentence in English and in Spanish.
pub(crate) type Sentence = (&'static str, &'static str);

/// JSON type that a rule expects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ExpectedType {
    Text,
    Flag,
    Integer,
    List,
    Object,
    Any,
}

/// Rule that a value must satisfy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rule {
    /// An id of any object.
    Id,
    /// Extension number: 2 to 6 digits.
    ExtensionNumber,
    /// Dialled number (S32).
    Dialled,
    /// Number, user name, or SIP URI of this server's domain.
    Destination,
    /// Number, user name or SIP URI that is shown to the callee.
    Origin,
    /// Text for people, with its maximum length in characters.
    Label(usize),
    /// `true` or `false`.
    Flag,
    /// Integer with minimum and maximum.
    Integer(u64, u64),
    /// One of the given words.
    OneOf(&'static [&'static str]),
    /// A list of permissions.
    Permissions,
    /// Position of a page.
    Cursor(Paging),
    /// List of objects with these fields, with its maximum length. Only the list is validated here; each object is validated as a form of its own.
    Objects(&'static [Field], usize),
    /// Rule specific to one resource.
    Custom(&'static CustomRule),
    /// Dial permissions of an extension.
    DialPermissions,
    /// Follow-me settings of an extension.
    FollowMe,
    /// RFC 3339 timestamp.
    Instant,
    /// Prefix of a number or user name.
    Prefix,
    /// Event types separated by commas.
    EventTypes,
    /// List of event types.
    EventTypeList,
    /// URL of a webhook: `https://…`
    Url,
    /// Object with these fields.
    Object(&'static [super::Field]),
    /// Time of day.
    Time,
    /// IANA time zone.
    Zone,
    /// List of days of the week.
    DaysOfWeek,
}

/// What a cursor encodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Paging {
    /// An id, extension number or user name.
    Id,
    /// Start time and id of a call.
    Call,
    /// An integer.
    Integer,
    /// Sequence number of an event. It may also be given as plain text, like `Last-Event-ID`.
    Event,
}

impl Paging {
    fn read(self, text: &str) -> Option<Value> {
        let place = match crate::cursor::decode(text) {
            Some(place) => place,
            None if self == Paging::Event => text.to_owned(),
            None => return None,
        };
        match self {
            Paging::Id => Id::<()>::parse(&place).ok().map(|_| Value::from(place)),
            Paging::Call => call_cursor(&place).is_some().then(|| Value::from(place)),
            Paging::Integer | Paging::Event => {
                let number = place.parse::<i64>().ok().filter(|number| *number >= 0);
                number.map(Value::from)
            }
        }
    }
}

/// A rule that is defined by the module of its resource.
#[derive(Debug)]
pub(crate) struct CustomRule {
    pub holds: fn(&Value) -> bool,
    pub sentence: Sentence,
    pub schema: fn() -> Value,
}

impl PartialEq for CustomRule {
    fn eq(&self, other: &CustomRule) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for CustomRule {}

/// Maximum number of event types in one filter: all there are.
pub(super) const EVENT_TYPE_COUNT: usize = model::EVENT_TYPES.len();
/// Maximum length of a webhook URL in bytes.
pub(super) const URL_BYTES: usize = 2048;

impl Rule {
    fn expected(self) -> ExpectedType {
        match self {
            Rule::Flag => ExpectedType::Flag,
            Rule::Integer(..) => ExpectedType::Integer,
            Rule::Permissions | Rule::Objects(..) | Rule::EventTypeList | Rule::DaysOfWeek => {
                ExpectedType::List
            }
            Rule::DialPermissions | Rule::FollowMe | Rule::Object(_) => ExpectedType::Object,
            Rule::Custom(_) | Rule::Cursor(_) => ExpectedType::Any,
            Rule::Id
            | Rule::ExtensionNumber
            | Rule::Dialled
            | Rule::Destination
            | Rule::Origin
            | Rule::Label(_)
            | Rule::OneOf(_)
            | Rule::Time
            | Rule::Zone
            | Rule::Instant
            | Rule::Prefix
            | Rule::EventTypes
            | Rule::Url => ExpectedType::Text,
        }
    }

    /// Convert the text of a query parameter to the JSON value it stands for.
    pub(crate) fn read(self, text: &str) -> Value {
        if let Rule::Cursor(place) = self {
            return place.read(text).unwrap_or(Value::Null);
        }
        let scalar = match self.expected() {
            ExpectedType::Flag => text.parse::<bool>().ok().map(Value::from),
            ExpectedType::Integer => text.parse::<u64>().ok().map(Value::from),
            // A `+` that was not percent-encoded in a query arrives as a space.
            ExpectedType::Text if self == Rule::Prefix => {
                text.strip_prefix(' ').map(|digits| Value::from(format!("+{digits}")))
            }
            ExpectedType::Text | ExpectedType::List | ExpectedType::Object | ExpectedType::Any => None,
        };
        scalar.unwrap_or_else(|| Value::from(text))
    }

    /// Check a value. The error says whether its type or its value is wrong.
    pub(crate) fn check(self, value: &Value) -> Result<(), (Fault, (String, String))> {
        let typed = match self.expected() {
            ExpectedType::Text => {
                value.is_string().then_some(()).ok_or(("must be a string", "debe ser un texto"))
            }
            ExpectedType::Flag => {
                value.is_boolean().then_some(()).ok_or(("must be true or false", "debe ser true o false"))
            }
            ExpectedType::Integer => {
                value.is_number().then_some(()).ok_or(("must be a number", "debe ser un número"))
            }
            ExpectedType::List => {
                value.is_array().then_some(()).ok_or(("must be a list", "debe ser una lista"))
            }
            ExpectedType::Any => Ok(()),
            ExpectedType::Object => {
                value.is_object().then_some(()).ok_or(("must be an object", "debe ser un objeto"))
            }
        };
        typed.map_err(|(en, es)| (Fault::WrongType, (en.to_owned(), es.to_owned())))?;
        if self.holds(value) { Ok(()) } else { Err((Fault::BadValue, self.sentence(value))) }
    }

    fn holds(self, value: &Value) -> bool {
        let text = value.as_str().unwrap_or_default();
        match self {
            Rule::Id => Id::<()>::parse(text).is_ok(),
            Rule::ExtensionNumber => ExtensionNumber::parse(text).is_ok(),
            Rule::Dialled => DialledNumber::parse(text).is_ok(),
            Rule::Destination | Rule::Origin => is_destination(text),
            Rule::Label(max) => is_label(text, max),
            Rule::Flag => value.is_boolean(),
            Rule::Integer(min, max) => value.as_u64().is_some_and(|n| (min..=max).contains(&n)),
            Rule::OneOf(words) => words.contains(&text),
            Rule::Permissions => value.as_array().is_some_and(|list| {
                let known = |item: &Value| item.as_str().and_then(Permission::parse).is_some();
                (1..=Permission::ALL.len()).contains(&list.len()) && list.iter().all(known)
            }),
            Rule::Cursor(_) => !value.is_null(), // `read` has already parsed it
            Rule::Objects(_, most) => value
                .as_array()
                .is_some_and(|list| (1..=most).contains(&list.len()) && list.iter().all(Value::is_object)),
            Rule::Custom(rule) => (rule.holds)(value),
            Rule::DialPermissions => PermissionsChange::read(value).is_some(),
            Rule::FollowMe => dialling::follow_me(value).is_some(),
            Rule::Instant => instant(text).is_some(),
            Rule::Prefix => is_prefix(text),
            Rule::EventTypes => text.split(',').all(is_event_type),
            Rule::EventTypeList => value.as_array().is_some_and(|list| {
                list.len() <= EVENT_TYPE_COUNT
                    && list.iter().all(|item| item.as_str().is_some_and(is_event_type))
            }),
            Rule::Url => is_url(text),
            Rule::Object(_) => value.is_object(),
            Rule::Time => is_time(text),
            Rule::Zone => Zone::parse(text).is_ok(),
            Rule::DaysOfWeek => value.as_array().is_some_and(|list| {
                let days: Vec<u64> = list.iter().filter_map(Value::as_u64).filter(|day| *day <= 6).collect();
                let different = days.iter().collect::<std::collections::BTreeSet<_>>().len();
                !list.is_empty() && different == list.len()
            }),
        }
    }

    /// Why `value` is rejected, with everything that would be accepted.
    fn sentence(self, value: &Value) -> (String, String) {
        let (en, es) = match self {
            Rule::Label(most) => {
                return (
                    format!(
                        "must have 1 to {most} characters, none of them a control character, and not only spaces"
                    ),
                    format!("debe tener de 1 a {most} caracteres, ninguno de control, y no solo espacios"),
                );
            }
            Rule::Integer(least, most) => {
                let most = most.min(i64::MAX as u64);
                return (
                    format!("must be a whole number from {least} to {most}"),
                    format!("debe ser un número entero de {least} a {most}"),
                );
            }
            Rule::OneOf(words) => {
                let words = words.join(", ");
                return (
                    format!("must be one of {words}"),
                    format!("debe ser una de estas palabras: {words}"),
                );
            }
            Rule::Objects(_, most) => {
                return (
                    format!("must be a list of 1 to {most} objects"),
                    format!("debe ser una lista de 1 a {most} objetos"),
                );
            }
            Rule::EventTypes | Rule::EventTypeList => return unknown_event_type(value),
            other => other.fixed_sentence(),
        };
        (en.to_owned(), es.to_owned())
    }

    fn fixed_sentence(self) -> Sentence {
        match self {
            Rule::Id => (
                "must have 1 to 128 characters: letters, digits, '_', '.' or '-'",
                "debe tener de 1 a 128 caracteres: letras, dígitos, '_', '.' y '-'",
            ),
            Rule::ExtensionNumber => ("must have 2 to 6 digits", "debe tener de 2 a 6 dígitos"),
            Rule::Dialled => (
                "must have 1 to 32 characters: 0-9, * or #, optionally after a leading +",
                "debe tener de 1 a 32 caracteres: 0-9, * y #, con o sin + delante",
            ),
            Rule::Destination | Rule::Origin => (
                "must be a number, a user name, or a SIP URI of the server's domain",
                "debe ser un número, un nombre de usuario o un URI SIP del dominio del servidor",
            ),
            Rule::Flag => ("must be true or false", "debe ser true o false"),
            Rule::Permissions => (
                "must be a list of one or more of call, sip, recording, admin, keys:*, events:read",
                "debe ser una lista de uno o más de call, sip, recording, admin, keys:*, events:read",
            ),
            Rule::Object(_) => ("must be an object", "debe ser un objeto"),
            Rule::Time => (
                "must be HH:MM or HH:MM:SS, from 00:00 to 23:59:59",
                "debe ser HH:MM o HH:MM:SS, de 00:00 a 23:59:59",
            ),
            Rule::Zone => (
                "must be an IANA time zone, such as America/New_York",
                "debe ser una zona horaria IANA, como America/New_York",
            ),
            Rule::DaysOfWeek => (
                "must be a list of different days from 0 (Sunday) to 6 (Saturday)",
                "debe ser una lista de días distintos, de 0 (domingo) a 6 (sábado)",
            ),
            Rule::Cursor(_) => {
                ("must be the nextCursor of an earlier page", "debe ser el nextCursor de una página anterior")
            }
            Rule::Custom(rule) => rule.sentence,
            Rule::DialPermissions => (
                "must be an object of internal, national, international and premium, each true or false",
                "debe ser un objeto con internal, national, international y premium, cada uno true o false",
            ),
            Rule::FollowMe => (
                "must be an object with mode (sequential or simultaneous) and 1 to 10 numbers, each with 5 to 300 ringSeconds",
                "debe ser un objeto con mode (sequential o simultaneous) y de 1 a 10 numbers, cada uno con 5 a 300 ringSeconds",
            ),
            Rule::Instant => (
                "must be an RFC 3339 timestamp, such as 2026-11-21T09:30:00Z",
                "debe ser una fecha y hora RFC 3339, como 2026-11-21T09:30:00Z",
            ),
            Rule::Prefix => (
                "must be the first characters of a number or a user name",
                "debe ser el comienzo de un número o de un nombre de usuario",
            ),
            Rule::Url => (
                "must be an https:// URL with a host, optionally a port from 1 to 65535, and no user name, password or fragment",
                "debe ser una URL https:// con un host, opcionalmente un puerto de 1 a 65535, y sin usuario, contraseña ni fragmento",
            ),
            // These have longer sentences, built in `sentence`.
            Rule::Label(_)
            | Rule::Integer(..)
            | Rule::OneOf(_)
            | Rule::Objects(..)
            | Rule::EventTypes
            | Rule::EventTypeList => ("is not allowed here", "no se permite aquí"),
        }
    }
}

/// Text for people: not blank, not too long, without control characters (they would reach SIP headers, logs and screens), line separators or
/// bidirectional controls (a name must not look like another one on the called phone).
pub(crate) fn is_label(text: &str, max: usize) -> bool {
    let blank = |c: char| c == ' ' || c == '\u{a0}';
    let bad = |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().count() <= max && !text.chars().any(bad) && !text.chars().all(blank)
}

fn is_destination(text: &str) -> bool {
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if DialledNumber::parse(text).is_ok() || (1..=64).contains(&text.len()) && text.chars().all(name) {
        return true;
    }
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let Some((user, host)) = rest.split_once('@') else { return false };
    let user = user.strip_prefix('+').unwrap_or(user);
    let host_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '[' | ']' | '-');
    (scheme.eq_ignore_ascii_case("sip") || scheme.eq_ignore_ascii_case("sips"))
        && (1..=64).contains(&user.len())
        && user.chars().all(|c| name(c) || c == '*' || c == '#')
        && (1..=255).contains(&host.len())
        && host.chars().all(host_char)
}

fn is_prefix(text: &str) -> bool {
    let rest = text.strip_prefix('+').unwrap_or(text);
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '*' | '#');
    (1..=65).contains(&text.len()) && rest.len() <= 64 && rest.chars().all(legal)
}

/// Parse the cursor of a call: start time in microseconds, and id.
pub(crate) fn call_cursor(text: &str) -> Option<(i64, &str)> {
    let (micros, id) = text.split_once('.')?;
    let digits = (1..=18).contains(&micros.len()) && micros.bytes().all(|b| b.is_ascii_digit());
    (digits && Id::<()>::parse(id).is_ok()).then_some((micros.parse().ok()?, id))
}

/// Whether a text is an event type, such as `call_ended`.
fn is_event_type(text: &str) -> bool {
    model::event_type(text).is_some()
}

/// Name the unknown event type, and list the types with the same first word, or else all types.
fn unknown_event_type(value: &Value) -> (String, String) {
    let sent: Vec<&str> = match value {
        Value::String(text) => text.split(',').collect(),
        Value::Array(items) => items.iter().map(|item| item.as_str().unwrap_or_default()).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    };
    let Some(wrong) = sent.into_iter().find(|kind| !is_event_type(kind)) else {
        return (
            format!("must have at most {EVENT_TYPE_COUNT} event types"),
            format!("debe tener como máximo {EVENT_TYPE_COUNT} tipos de evento"),
        );
    };
    let noun = |kind: &str| kind.split('_').next().unwrap_or_default().to_owned();
    let all = || model::EVENT_TYPES.iter().map(|event| event.kind);
    let near: Vec<&str> = all().filter(|kind| noun(kind) == noun(wrong)).collect();
    let known = if near.is_empty() { all().collect::<Vec<_>>().join(", ") } else { near.join(", ") };
    let wrong = super::printable(wrong);
    (
        format!("unknown event type {wrong:?}; known types: {known}"),
        format!("tipo de evento desconocido {wrong:?}; tipos conocidos: {known}"),
    )
}

/// Whether a text is a valid webhook URL. The address to which its name resolves is checked at each delivery.
fn is_url(text: &str) -> bool {
    if text.len() > URL_BYTES
        || !text.bytes().all(|b| b.is_ascii_graphic())
        || text.contains(['"', '<', '>', '\\', '^', '`', '{', '|', '}', '#', '@'])
    {
        return false;
    }
    // Browsers accept `https:crm.example`, but it is confusing to people.
    let Some((_, rest)) = text.split_once("://") else { return false };
    let Ok(url) = url::Url::parse(text) else { return false };
    let named = match url.host() {
        Some(url::Host::Domain(name)) => model::is_host(name),
        Some(url::Host::Ipv4(_) | url::Host::Ipv6(_)) => true,
        None => false,
    };
    named && !rest.starts_with('/') && matches!(url.scheme(), "https" | "http") && url.port() != Some(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_webhooks_are_plain() {
        for good in [
            "https://crm.example/hook?x=1",
            "HTTPS://CRM.Example/hook",
            "https://crm.example:65535",
            "https://[2001:db8::1]:8443/",
            "http://127.0.0.1:9000/a",
        ] {
            assert!(is_url(good), "{good}");
        }
        for bad in [
            "",
            "ftp://a/",
            "https://",
            "https:crm.example/",
            "https:///crm.example/",
            "https://crm.example:0/",
            "https://crm.example:99999/",
            "https://crm.example:x/",
            "https://256.1.1.1/",
            "https://a..b/",
            "https://-a.example/",
            "https://u:p@a/",
            "https://a/#x",
            "https://a b/",
            "javascript:alert(1)",
            "https://a\r\nX: y/",
        ] {
            assert!(!is_url(bad), "{bad:?}");
        }
    }

    #[test]
    fn destinations_are_numbers_user_names_and_sip_uris() {
        for good in
            ["+0987654321", "*43", "1001", "user_1234567890", "sip:1001@localhost", "SIP:+1@[::1]:5060"]
        {
            assert!(is_destination(good), "{good}"); // S32
        }
        for bad in [
            "",
            "+",
            "a b",
            "1001\r\nX: y",
            "sip:",
            "sip:@x",
            "sip:1001@x;transport=udp",
            "tel:+1",
            "sip:a@b?c=d",
        ] {
            assert!(!is_destination(bad), "{bad:?}");
        }
    }
}
