//! Parsers of the values of keys; their errors say what to write instead.

use std::net::{IpAddr, SocketAddr};

use base::Secret;
use ipnet::IpNet;
use sip::Transport;
use sip::digest::Algorithm;

use super::{Listen, Numbers, PublicAddress, Value, Zoneinfo};
use crate::tr;

pub(super) fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::Text(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) | Value::List(_) | Value::Other(_) => {
            Err(tr!("write a text in quotes", "escriba un texto entre comillas"))
        }
    }
}

/// A list, or a text with commas (environment).
pub(super) fn list(value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::List(items) => Ok(items.clone()),
        Value::Text(text) => {
            Ok(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
        }
        Value::Number(_) | Value::Bool(_) | Value::Other(_) => {
            Err(tr!("write a list of texts, [\"…\"]", "escriba una lista de textos, [\"…\"]"))
        }
    }
}

pub(super) fn boolean(value: &Value) -> Result<bool, String> {
    match value {
        Value::Bool(bool) => Ok(*bool),
        Value::Text(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(tr!("{text:?} is neither true nor false", "{text:?} no es true ni false")),
        },
        Value::Number(_) | Value::List(_) | Value::Other(_) => {
            Err(tr!("write true or false", "escriba true o false"))
        }
    }
}

pub(super) fn number(value: &Value, least: u32, most: u32) -> Result<u32, String> {
    let wanted = || {
        tr!("write a whole number from {least} to {most}", "escriba un número entero entre {least} y {most}")
    };
    let number = match value {
        Value::Number(number) => *number,
        Value::Text(text) => text.trim().parse().map_err(|_| wanted())?,
        Value::Bool(_) | Value::List(_) | Value::Other(_) => return Err(wanted()),
    };
    u32::try_from(number).ok().filter(|n| (least..=most).contains(n)).ok_or_else(wanted)
}

pub(super) fn port(text: &str) -> Result<u16, String> {
    let port = text.trim().parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| {
        tr!(
            "{text:?} is not a port; write a number from 1 to 65535",
            "{text:?} no es un puerto; escriba un número entre 1 y 65535"
        )
    })
}

pub(super) fn ports(text: &str) -> Result<std::ops::RangeInclusive<u16>, String> {
    let (start, end) = text.split_once('-').ok_or_else(|| {
        tr!("write a port range, \"10000-20000\"", "escriba un rango de puertos, \"10000-20000\"")
    })?;
    Ok(port(start)?..=port(end)?)
}

pub(super) fn socket(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        tr!(
            "{text:?} is not an address with a port; write \"127.0.0.1:5000\" or \"[::1]:5000\"",
            "{text:?} no es una dirección con puerto; escriba \"127.0.0.1:5000\" o \"[::1]:5000\""
        )
    })
}

pub(super) fn listener(text: &str) -> Result<Listen, String> {
    let (scheme, rest) = text.split_once("://").ok_or_else(|| {
        tr!(
            "{text:?} is not a listener; write \"udp://127.0.0.1:5060\" or \"tcp://…\"",
            "{text:?} no es una dirección de escucha; escriba \"udp://127.0.0.1:5060\" o \"tcp://…\""
        )
    })?;
    let transport = match scheme.to_ascii_lowercase().as_str() {
        "udp" => Transport::Udp,
        "tcp" => Transport::Tcp,
        "tls" | "ws" | "wss" => {
            return Err(tr!(
                "{scheme}:// is not supported in this version; write udp:// or tcp://",
                "{scheme}:// todavía no se admite en esta versión; escriba udp:// o tcp://"
            ));
        }
        _ => {
            return Err(tr!(
                "{scheme}:// is not a transport; write udp:// or tcp://",
                "{scheme}:// no es un transporte; escriba udp:// o tcp://"
            ));
        }
    };
    let bare = rest.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let address = match bare {
        Ok(ip) => SocketAddr::new(ip, 5060),
        Err(_) => socket(rest)?,
    };
    Ok(Listen { transport, address })
}

pub(super) fn algorithm(text: &str) -> Result<Algorithm, String> {
    match text.to_ascii_lowercase().as_str() {
        "md5" => Ok(Algorithm::Md5),
        "sha-256" | "sha256" => Ok(Algorithm::Sha256),
        _ => Err(tr!(
            "{text:?} is not a digest algorithm; write \"md5\" or \"sha-256\"",
            "{text:?} no es un algoritmo de digest; escriba \"md5\" o \"sha-256\""
        )),
    }
}

pub(super) fn algorithm_name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Md5 => "md5",
        Algorithm::Sha256 => "sha-256",
    }
}

/// A host name or address as in a SIP URI.
pub(super) fn host(text: &str) -> Result<String, String> {
    let is_valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    if text.is_empty() || text.len() > 253 || !text.chars().all(is_valid) {
        return Err(tr!(
            "{text:?} is not a host; write a name or an address without scheme and port",
            "{text:?} no es un host; escriba un nombre o una dirección IP, sin esquema ni puerto"
        ));
    }
    Ok(text.to_ascii_lowercase())
}

pub(super) fn zone(text: &str) -> Result<String, String> {
    let zone = model::recurrence::Zone::parse(text);
    zone.map(|zone| zone.name().to_owned()).map_err(|_| {
        tr!(
            "{text:?} is not a time zone of the IANA database; write \"America/New_York\" or \"UTC\"",
            "{text:?} no es una zona horaria de la base de datos IANA; escriba \"Europe/Madrid\", \"America/Santiago\" o \"UTC\""
        )
    })
}

pub(super) fn public(text: &str) -> Result<PublicAddress, String> {
    if text.eq_ignore_ascii_case("auto") {
        return Ok(PublicAddress::Auto);
    }
    if text.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()) {
        return Err(tr!(
            "{text} cannot be reached by a phone; write the address that phones use, or \"auto\"",
            "{text} no es una dirección accesible para los teléfonos; escriba la que ellos usan, o \"auto\""
        ));
    }
    host(text).map(PublicAddress::Host)
}

pub(super) fn url(text: &str) -> Result<String, String> {
    if text.starts_with("sqlite:") && text.len() > "sqlite:".len() {
        return Ok(text.into());
    }
    if ["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
        return Ok(text.into());
    }
    Err(tr!(
        "{0:?} is not a database URL; write \"sqlite:centralita.db\" or \"postgres://USER:PASSWORD@HOST/DATABASE\"",
        "{0:?} no es la URL de una base de datos; escriba \"sqlite:centralita.db\" o \"postgres://USUARIO:CONTRASEÑA@HOST/BASE\"",
        without_password(text)
    ))
}

pub(super) fn level(text: &str) -> Result<String, String> {
    let known = tracing_subscriber::EnvFilter::builder().parse(text).is_ok();
    // A filter of one unknown word is parsed as a module name: certainly a misspelled level.
    let word = text.chars().all(char::is_alphanumeric);
    if !known || word && text.parse::<tracing_subscriber::filter::LevelFilter>().is_err() {
        return Err(tr!(
            "{text:?} is not a log level; write error, warn, info, debug or trace",
            "{text:?} no es un nivel de log; escriba error, warn, info, debug o trace"
        ));
    }
    Ok(text.into())
}

/// A network, `10.0.0.0/8`, or one address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let one = text.parse::<IpAddr>().map(IpNet::from);
    let wrong = || {
        tr!(
            "{text:?} is not a network; write \"10.0.0.0/8\", \"192.0.2.7\" or \"fd00::/8\"",
            "{text:?} no es una red; escriba \"10.0.0.0/8\", \"192.0.2.7\" o \"fd00::/8\""
        )
    };
    let network = one.or_else(|_| text.parse::<IpNet>()).map_err(|_| wrong())?;
    if network.prefix_len() == 0 {
        return Err(tr!(
            "{text} contains every address: any client could then forge its source; write your proxy's address",
            "{text} incluye todas las direcciones: cualquier cliente podría falsear su origen; escriba la dirección de su proxy"
        ));
    }
    Ok(network.trunc())
}

/// The origin of a web page (RFC 6454 §6.2): scheme, host, and port if it is not the default.
pub(super) fn origin(text: &str) -> Result<String, String> {
    let url = reqwest::Url::parse(text).ok().filter(|url| matches!(url.scheme(), "https" | "http"));
    let origin = url.map(|url| url.origin().ascii_serialization());
    origin.filter(|origin| origin.eq_ignore_ascii_case(text.trim_end_matches('/'))).ok_or_else(|| {
        tr!(
            "{text:?} is not an origin; write scheme, host and port as in \"https://crm.example.com\"",
            "{text:?} no es un origen; escriba esquema, host y puerto, como \"https://crm.example.com\""
        )
    })
}

/// A prefix of numbers in international form, with or without `+`.
pub(super) fn prefix(text: &str) -> Result<String, String> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let is_valid = (1..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    match is_valid && !digits.starts_with('0') {
        true => Ok(digits.to_owned()),
        false => Err(tr!(
            "{text:?} is not a prefix of international numbers; write a country code, \"34\"",
            "{text:?} no es un prefijo internacional; escriba el código de un país, \"34\" o \"56\""
        )),
    }
}

pub(super) fn prefixes(value: &Value) -> Result<Vec<String>, String> {
    list(value)?.iter().map(|item| prefix(item)).collect()
}

/// An emergency number, as it is dialled.
pub(super) fn emergency(text: &str) -> Result<String, String> {
    match (2..=8).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()) {
        true => Ok(text.to_owned()),
        false => Err(tr!(
            "{text:?} is not an emergency number; write 2 to 8 digits, \"112\"",
            "{text:?} no es un número de emergencia; escriba de 2 a 8 dígitos, \"112\""
        )),
    }
}

/// A feature code: a star or hash and digits; empty if the feature is switched off.
pub(super) fn feature_code(text: &str) -> Result<String, String> {
    let digits = text.strip_prefix(['*', '#']).unwrap_or_default();
    let is_valid = (1..=4).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    if !text.is_empty() && !is_valid {
        return Err(tr!(
            "{text:?} is not a feature code; write a star and one to four digits, \"*72\", or \"\" for none",
            "{text:?} no es un código de función; escriba un asterisco y de uno a cuatro dígitos, \"*72\", o \"\" para ninguno"
        ));
    }
    if model::dialplan::Application::ALL.iter().any(|taken| !text.is_empty() && taken.number() == text) {
        return Err(tr!("{text} is the number of an application", "{text} es el número de una aplicación"));
    }
    Ok(text.to_owned())
}

pub(super) fn country(text: &str) -> Result<String, String> {
    let code = prefix(text)?;
    match model::policy::country_of(&code) == Some(code.as_str()) {
        true => Ok(code),
        false => Err(tr!(
            "{text:?} is not a country code; write \"34\", \"1\", \"56\"",
            "{text:?} no es el código de un país; escriba \"34\", \"1\", \"56\""
        )),
    }
}

pub(super) fn record_calls(text: &str) -> Result<model::RecordCalls, String> {
    let known = model::RecordCalls::parse(text).filter(|calls| *calls != model::RecordCalls::Default);
    known.ok_or_else(|| {
        tr!(
            "{text:?} is not a valid value; write \"none\", \"inbound\", \"outbound\" or \"all\"",
            "{text:?} no es un valor válido; escriba \"none\", \"inbound\", \"outbound\" o \"all\""
        )
    })
}

pub(super) fn format(text: &str) -> Result<model::RecordingFormat, String> {
    match text {
        "opus" => Ok(model::RecordingFormat::Opus),
        "wav" => Ok(model::RecordingFormat::Wav),
        _ => Err(tr!(
            "{text:?} is not a format; write \"opus\" or \"wav\"",
            "{text:?} no es un formato; escriba \"opus\" o \"wav\""
        )),
    }
}

pub(super) fn beep(value: &Value) -> Result<switch::Beep, String> {
    match value {
        Value::Text(text) if text == "never" => Ok(switch::Beep::Never),
        Value::Text(text) if text == "once" => Ok(switch::Beep::Once),
        Value::Text(_) | Value::Number(_) | Value::Bool(_) | Value::List(_) | Value::Other(_) => {
            let seconds = number(value, 5, 3_600).map_err(|_| {
                tr!(
                    "write \"never\", \"once\" or a number of seconds from 5 to 3600",
                    "escriba \"never\", \"once\" o un número de segundos entre 5 y 3600"
                )
            })?;
            Ok(switch::Beep::Every(std::time::Duration::from_secs(u64::from(seconds))))
        }
    }
}

pub(super) fn beep_text(beep: switch::Beep) -> String {
    match beep {
        switch::Beep::Never => quoted("never"),
        switch::Beep::Once => quoted("once"),
        switch::Beep::Every(time) => time.as_secs().to_string(),
    }
}

pub(super) fn http_url(text: &str) -> Result<String, String> {
    let url = reqwest::Url::parse(text).ok().filter(|url| matches!(url.scheme(), "https" | "http"));
    let named = |url: &reqwest::Url| match url.host_str() {
        Some(host) => model::is_host(host.trim_start_matches('[').trim_end_matches(']')),
        None => false,
    };
    if url.is_some_and(|url| named(&url) && url.port() != Some(0)) {
        return Ok(text.trim_end_matches('/').to_owned());
    }
    Err(tr!(
        "{text:?} is not a URL; write \"https://s3.example.com\"",
        "{text:?} no es una URL; escriba \"https://s3.example.com\""
    ))
}

pub(super) fn mode(text: &str) -> Result<String, String> {
    match text {
        "auto" | "trunk" | "api" => Ok(text.into()),
        _ => Err(tr!(
            "{text:?} is not a mode; write \"auto\", \"trunk\" or \"api\"",
            "{text:?} no es un modo; escriba \"auto\", \"trunk\" o \"api\""
        )),
    }
}

pub(super) fn extension(text: &str) -> Result<String, String> {
    match model::ExtensionNumber::parse(text) {
        Ok(number) => Ok(number.to_string()),
        Err(_) => Err(tr!(
            "{text:?} is not an extension; write its number, 2 to 6 digits",
            "{text:?} no es una extensión; escriba su número, de 2 a 6 dígitos"
        )),
    }
}

pub(super) fn numbers(text: &str) -> Result<Numbers, String> {
    Numbers::parse(text).ok_or_else(|| {
        tr!(
            "{text:?} is not a valid value; write \"masked\", \"full\" or \"none\"",
            "{text:?} no es un valor válido; escriba \"masked\", \"full\" o \"none\""
        )
    })
}

pub(super) fn zoneinfo(text: &str) -> Result<Zoneinfo, String> {
    match text {
        "auto" => Ok(Zoneinfo::Auto),
        "builtin" => Ok(Zoneinfo::Builtin),
        "system" => Ok(Zoneinfo::System),
        path if path.starts_with('/') => Ok(Zoneinfo::Folder(path.into())),
        _ => Err(tr!(
            "{text:?} is not a valid value; write \"auto\", \"builtin\", \"system\" or the path of a zoneinfo directory",
            "{text:?} no es un valor válido; escriba \"auto\", \"builtin\", \"system\" o la ruta de un directorio zoneinfo"
        )),
    }
}

pub(super) fn relay(text: &str) -> Result<Secret<String>, String> {
    crate::mail::SmtpRelay::parse(text).map(|_| Secret::new(text.to_owned()))
}

/// The URL with its password replaced, `postgres://user:***@host/…`.
pub fn without_password(url: &str) -> String {
    let hidden = url.split_once("://").and_then(|(scheme, rest)| {
        let (login, host) = rest.rsplit_once('@')?;
        let (user, _) = login.split_once(':')?;
        Some(format!("{scheme}://{user}:***@{host}"))
    });
    let hidden = hidden.unwrap_or_else(|| url.to_owned());
    // PostgreSQL accepts the password as a parameter too.
    let Some((before, rest)) = hidden.split_once("password=") else { return hidden };
    let after = rest.find('&').and_then(|end| rest.get(end..)).unwrap_or_default();
    format!("{before}password=***{after}")
}

pub(super) fn quoted(text: &str) -> String {
    format!("{text:?}")
}

pub(super) fn listed(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.map(|item| quoted(&item)).collect::<Vec<_>>().join(", "))
}
