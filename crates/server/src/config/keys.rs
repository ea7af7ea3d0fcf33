//! The table of all configuration keys: how each is parsed, shown and checked.

use base::Secret;

use super::nearest::nearest;
use super::values::{
    algorithm, algorithm_name, beep, beep_text, boolean, country, emergency, extension, feature_code, format,
    host, http_url, level, list, listed, listener, mode, network, number, numbers, origin, port, ports,
    prefixes, public, quoted, record_calls, relay, socket, text, url, without_password, zone, zoneinfo,
};
use super::{Config, PublicAddress, Value};
use crate::{lang, tr};

/// One key of the configuration.
pub struct Key {
    /// Name, as `sip.domain`.
    pub name: &'static str,
    /// Short English description.
    pub about: &'static str,
    /// Set a value; the error says what to write instead.
    pub(super) set: fn(&mut Config, &Value) -> Result<(), String>,
    /// The value as TOML, with secrets hidden; `None` if not set.
    pub show: fn(&Config) -> Option<String>,
}

impl Key {
    /// Short description in the current language.
    pub fn purpose(&self) -> &'static str {
        lang::current().pick(Some(self.about), super::spanish::about(self.name)).unwrap_or(self.about)
    }
}

macro_rules! keys {
    ($($name:literal, $about:literal, |$config:ident, $value:ident| $set:expr, |$shown:ident| $show:expr;)*) => {
        /// Every key, in the order in which they are shown.
        pub const KEYS: &[Key] = &[$(Key {
            name: $name,
            about: $about,
            set: |$config, $value| { $set; Ok(()) },
            show: |$shown| $show,
        },)*];
    };
}

keys! {
    "public_address", "address advertised in SDP and Contact: an address, a name, or auto",
        |c, v| c.public_address = public(&text(v)?)?,
        |c| Some(match &c.public_address { PublicAddress::Auto => quoted("auto"), PublicAddress::Host(host) => quoted(host) });
    "default_timezone", "time zone of schedules without one, such as America/New_York",
        |c, v| c.default_timezone = zone(&text(v)?)?,
        |c| Some(quoted(&c.default_timezone));
    "http.listen", "addresses of the API",
        |c, v| c.http.listen = list(v)?.iter().map(|item| socket(item)).collect::<Result<_, _>>()?,
        |c| Some(listed(c.http.listen.iter().map(ToString::to_string)));
    "http.local_admin", "whether a loopback client without a key is an administrator",
        |c, v| c.http.local_admin = boolean(v)?,
        |c| Some(c.http.local_admin.to_string());
    "http.trusted_proxies", "reverse proxies whose X-Forwarded-For or Forwarded header is trusted, as addresses or networks",
        |c, v| c.http.trusted_proxies = list(v)?.iter().map(|item| network(item)).collect::<Result<_, _>>()?,
        |c| Some(listed(c.http.trusted_proxies.iter().map(ToString::to_string)));
    "http.origins", "origins of web pages that may use the API, such as https://crm.example.com; none if empty",
        |c, v| c.http.origins = list(v)?.iter().map(|item| origin(item)).collect::<Result<_, _>>()?,
        |c| Some(listed(c.http.origins.iter().cloned()));
    "sip.domain", "SIP domain and digest realm",
        |c, v| c.sip.domain = host(&text(v)?)?,
        |c| Some(quoted(&c.sip.domain));
    "sip.aliases", "further names accepted as the SIP domain",
        |c, v| c.sip.aliases = list(v)?.iter().map(|item| host(item)).collect::<Result<_, _>>()?,
        |c| Some(listed(c.sip.aliases.iter().cloned()));
    "sip.digest", "digest algorithms, in the order of the challenges",
        |c, v| c.sip.digest = list(v)?.iter().map(|item| algorithm(item)).collect::<Result<_, _>>()?,
        |c| Some(listed(c.sip.digest.iter().map(|a| algorithm_name(*a).to_owned())));
    "sip.listen", "udp:// and tcp:// addresses of the SIP listeners",
        |c, v| c.sip.listen = list(v)?.iter().map(|item| listener(item)).collect::<Result<_, _>>()?,
        |c| Some(listed(c.sip.listen.iter().map(ToString::to_string)));
    "sip.min_expires_seconds", "shortest registration accepted",
        |c, v| c.sip.min_expires_seconds = number(v, 1, 3600)?,
        |c| Some(c.sip.min_expires_seconds.to_string());
    "sip.default_extension", "extension for inbound numbers without a route",
        |c, v| c.sip.default_extension = Some(extension(&text(v)?)?),
        |c| c.sip.default_extension.as_deref().map(quoted);
    "dns.servers", "DNS servers with ports; those of the system if empty",
        |c, v| c.dns.servers = list(v)?.iter().map(|item| socket(item)).collect::<Result<_, _>>()?,
        |c| Some(listed(c.dns.servers.iter().map(ToString::to_string)));
    "media.ports", "RTP and RTCP ports",
        |c, v| c.media.ports = ports(&text(v)?)?,
        |c| Some(quoted(&format!("{}-{}", c.media.ports.start(), c.media.ports.end())));
    "media.workers", "media threads; 0 is one fewer than CPU cores",
        |c, v| c.media.workers = number(v, 0, 64)? as usize,
        |c| Some(c.media.workers.to_string());
    "store.url", "sqlite: and a path relative to the data directory, or postgres://",
        |c, v| c.store.url = Secret::new(url(&text(v)?)?),
        |c| Some(quoted(&without_password(c.store.url.expose())));
    "store.keep_calls_days", "days that ended calls are kept",
        |c, v| c.store.keep_calls_days = number(v, 1, 36_500)?,
        |c| Some(c.store.keep_calls_days.to_string());
    "recording.calls", "calls recorded for extensions without their own setting: none, inbound, outbound or all",
        |c, v| c.recording.calls = record_calls(&text(v)?)?,
        |c| Some(quoted(c.recording.calls.as_str()));
    "recording.format", "opus (in Ogg) or wav",
        |c, v| c.recording.format = format(&text(v)?)?,
        |c| Some(quoted(c.recording.format.as_str()));
    "recording.beep", "recording tone for both parties: never, once, or the seconds between tones",
        |c, v| c.recording.beep = beep(v)?,
        |c| Some(beep_text(c.recording.beep));
    "recording.keep_days", "days that recordings are kept; 0 keeps them forever",
        |c, v| c.recording.keep_days = number(v, 0, 36_500)?,
        |c| Some(c.recording.keep_days.to_string());
    "recording.keep_unclaimed_days", "days that audio unknown to the database is kept in the folder unclaimed; 0 keeps it forever",
        |c, v| c.recording.keep_unclaimed_days = number(v, 0, 36_500)?,
        |c| Some(c.recording.keep_unclaimed_days.to_string());
    "recording.quota_mb", "megabytes of all recordings, the oldest are deleted first; 0 is unlimited",
        |c, v| c.recording.quota_mb = number(v, 0, u32::MAX)?,
        |c| Some(c.recording.quota_mb.to_string());
    "recording.reserve_mb", "megabytes of disk space that recordings leave free",
        |c, v| c.recording.reserve_mb = number(v, 0, u32::MAX)?,
        |c| Some(c.recording.reserve_mb.to_string());
    "recording.s3_bucket", "bucket of an S3-compatible store for recordings",
        |c, v| c.recording.s3_bucket = Some(text(v)?),
        |c| c.recording.s3_bucket.as_deref().map(quoted);
    "recording.s3_endpoint", "endpoint of the store, if it is not Amazon's",
        |c, v| c.recording.s3_endpoint = Some(http_url(&text(v)?)?),
        |c| c.recording.s3_endpoint.as_deref().map(quoted);
    "recording.s3_region", "region of the bucket",
        |c, v| c.recording.s3_region = text(v)?,
        |c| Some(quoted(&c.recording.s3_region));
    "recording.s3_prefix", "prefix of every object key",
        |c, v| c.recording.s3_prefix = Some(text(v)?),
        |c| c.recording.s3_prefix.as_deref().map(quoted);
    "recording.s3_access_key", "access key id",
        |c, v| c.recording.s3_access_key = Some(text(v)?),
        |c| c.recording.s3_access_key.as_deref().map(quoted);
    "recording.s3_secret_key", "secret access key",
        |c, v| c.recording.s3_secret_key = Some(Secret::new(text(v)?)),
        |c| c.recording.s3_secret_key.as_ref().map(|secret| quoted(&secret.to_string()));
    "limits.calls_per_user", "simultaneous calls of one user",
        |c, v| c.limits.calls_per_user = number(v, 1, 20_000)?,
        |c| Some(c.limits.calls_per_user.to_string());
    "limits.call_hours", "hours that a call may last",
        |c, v| c.limits.call_hours = number(v, 1, 168)?,
        |c| Some(c.limits.call_hours.to_string());
    "limits.outside_calls_per_minute", "outbound calls that one user may start per minute; 0 is unlimited",
        |c, v| c.limits.outside_calls_per_minute = number(v, 0, 10_000)?,
        |c| Some(c.limits.outside_calls_per_minute.to_string());
    "limits.outside_minutes_per_day", "minutes of outbound calls per user and day; 0 is unlimited",
        |c, v| c.limits.outside_minutes_per_day = number(v, 0, 10_000_000)?,
        |c| Some(c.limits.outside_minutes_per_day.to_string());
    "limits.requests_per_minute", "requests per minute and API key",
        |c, v| c.limits.requests_per_minute = number(v, 1, 1_000_000)?,
        |c| Some(c.limits.requests_per_minute.to_string());
    "limits.unauthenticated_per_minute", "requests per minute and source address without a valid key",
        |c, v| c.limits.unauthenticated_per_minute = number(v, 1, 1_000_000)?,
        |c| Some(c.limits.unauthenticated_per_minute.to_string());
    "limits.connections_per_source", "SIP connections per source address",
        |c, v| c.limits.connections_per_source = number(v, 1, 10_000)?,
        |c| Some(c.limits.connections_per_source.to_string());
    "limits.ladders_per_second", "calls per second whose SIP ladder is stored",
        |c, v| c.limits.ladders_per_second = number(v, 0, 1_000_000)?,
        |c| Some(c.limits.ladders_per_second.to_string());
    "limits.recurring_calls_per_second", "recurring calls started per second",
        |c, v| c.recurring_calls_per_second = number(v, 1, 1000)?,
        |c| Some(c.recurring_calls_per_second.to_string());
    "dialling.country", "country code of national numbers; if not set, that of the first Twilio number",
        |c, v| c.dialling.country = Some(country(&text(v)?)?),
        |c| c.dialling.country.as_deref().map(quoted);
    "dialling.allowed", "allowed countries, as prefixes without +; all if empty",
        |c, v| c.dialling.allowed = prefixes(v)?,
        |c| (!c.dialling.allowed.is_empty()).then(|| listed(c.dialling.allowed.iter().cloned()));
    "dialling.opened", "countries of the high-risk list that are allowed",
        |c, v| c.dialling.opened = prefixes(v)?,
        |c| (!c.dialling.opened.is_empty()).then(|| listed(c.dialling.opened.iter().cloned()));
    "dialling.blocked", "prefixes that are always blocked, besides premium-rate services and satellites",
        |c, v| c.dialling.blocked = prefixes(v)?,
        |c| (!c.dialling.blocked.is_empty()).then(|| listed(c.dialling.blocked.iter().cloned()));
    "dialling.emergency", "emergency numbers; if empty, those of the country, with 112 and 911",
        |c, v| c.dialling.emergency = list(v)?.iter().map(|item| emergency(item)).collect::<Result<_, _>>()?,
        |c| (!c.dialling.emergency.is_empty()).then(|| listed(c.dialling.emergency.iter().cloned()));
    "features.forward_on", "feature code, followed by a number, that forwards all calls there; \"\" switches a code off",
        |c, v| c.features.forward_on = feature_code(&text(v)?)?,
        |c| Some(quoted(&c.features.forward_on));
    "features.forward_off", "feature code that ends forwarding",
        |c, v| c.features.forward_off = feature_code(&text(v)?)?,
        |c| Some(quoted(&c.features.forward_off));
    "features.do_not_disturb_on", "feature code that turns do not disturb on",
        |c, v| c.features.do_not_disturb_on = feature_code(&text(v)?)?,
        |c| Some(quoted(&c.features.do_not_disturb_on));
    "features.do_not_disturb_off", "feature code that turns do not disturb off",
        |c, v| c.features.do_not_disturb_off = feature_code(&text(v)?)?,
        |c| Some(quoted(&c.features.do_not_disturb_off));
    "features.hide_number", "prefix that withholds the caller's number for one call",
        |c, v| c.features.hide_number = feature_code(&text(v)?)?,
        |c| Some(quoted(&c.features.hide_number));
    "features.call_back", "feature code that calls back the last caller",
        |c, v| c.features.call_back = feature_code(&text(v)?)?,
        |c| Some(quoted(&c.features.call_back));
    "webhooks.allow_insecure_loopback", "whether webhooks on this machine over http are allowed, for tests",
        |c, v| c.webhooks.allow_insecure_loopback = boolean(v)?,
        |c| Some(c.webhooks.allow_insecure_loopback.to_string());
    "mail.smtp", "SMTP relay for voicemail notifications: smtps://, smtp:// (STARTTLS) or smtp+plain://",
        |c, v| c.mail.smtp = Some(relay(&text(v)?)?),
        |c| c.mail.smtp.as_ref().map(|url| quoted(&without_password(url.expose())));
    "mail.from", "sender address of e-mails",
        |c, v| c.mail.from = Some(crate::mail::sender(&text(v)?)?),
        |c| c.mail.from.as_deref().map(quoted);
    "mail.retry_seconds", "first retry delay of a failed e-mail; it doubles with each attempt",
        |c, v| c.mail.retry_seconds = number(v, 1, 3600)?,
        |c| Some(c.mail.retry_seconds.to_string());
    "log.level", "error, warn, info, debug, trace, or a filter like info,sip=debug",
        |c, v| c.log_level = level(&text(v)?)?,
        |c| Some(quoted(&c.log_level));
    "log.numbers", "phone numbers in the log: masked (+34•••001), full or none",
        |c, v| c.log_numbers = numbers(&text(v)?)?,
        |c| Some(quoted(c.log_numbers.as_str()));
    "time.zoneinfo", "time zone data: auto (the newer of built-in and system), builtin, system, or a directory",
        |c, v| c.zoneinfo = zoneinfo(&text(v)?)?,
        |c| Some(quoted(&c.zoneinfo.to_string()));
    "twilio.did", "our Twilio numbers",
        |c, v| c.twilio.did = list(v)?,
        |c| (!c.twilio.did.is_empty()).then(|| listed(c.twilio.did.iter().cloned()));
    "twilio.sip_user", "user name of the trunk",
        |c, v| c.twilio.sip_user = Some(text(v)?),
        |c| c.twilio.sip_user.as_deref().map(quoted);
    "twilio.sip_password", "password of the trunk",
        |c, v| c.twilio.sip_password = Some(Secret::new(text(v)?)),
        |c| c.twilio.sip_password.as_ref().map(|secret| quoted(&secret.to_string()));
    "twilio.termination_uri", "host of the trunk",
        |c, v| c.twilio.termination_uri = Some(text(v)?),
        |c| c.twilio.termination_uri.as_deref().map(quoted);
    "twilio.account_sid", "account SID",
        |c, v| c.twilio.account_sid = Some(text(v)?),
        |c| c.twilio.account_sid.as_deref().map(quoted);
    "twilio.auth_token", "auth token of the account",
        |c, v| c.twilio.auth_token = Some(Secret::new(text(v)?)),
        |c| c.twilio.auth_token.as_ref().map(|secret| quoted(&secret.to_string()));
    "twilio.mode", "auto, trunk or api",
        |c, v| c.twilio.mode = Some(mode(&text(v)?)?),
        |c| c.twilio.mode.as_deref().map(quoted);
}

/// Start and end of `media.ports`, which are set separately by the seed names only (S103).
const PORT_RANGE_ENDS: &[Key] = &[
    Key {
        name: "media.ports",
        about: "",
        set: |c, v| {
            c.media.ports = port(&text(v)?)?..=*c.media.ports.end();
            Ok(())
        },
        show: |_| None,
    },
    Key {
        name: "media.ports",
        about: "",
        set: |c, v| {
            c.media.ports = *c.media.ports.start()..=port(&text(v)?)?;
            Ok(())
        },
        show: |_| None,
    },
];

/// The key of that name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    match name {
        "media.ports.start" => PORT_RANGE_ENDS.first(),
        "media.ports.end" => PORT_RANGE_ENDS.last(),
        _ => KEYS.iter().find(|key| key.name == name),
    }
}

/// Error text for a key that does not exist.
pub(super) fn unknown(name: &str) -> String {
    match nearest(name, KEYS.iter().map(|key| key.name)) {
        Some(meant) => {
            tr!(
                "there is no such key; did you mean {meant}?",
                "esa clave no existe; ¿quería escribir {meant}?"
            )
        }
        None => tr!(
            "there is no such key; `centralita config show` lists all keys",
            "esa clave no existe; `centralita config show` muestra todas las claves"
        ),
    }
}

/// Checks that involve more than one key.
pub(super) fn check(config: &Config, refuse: &mut dyn FnMut(&'static str, String)) {
    let (start, end) = (*config.media.ports.start(), *config.media.ports.end());
    if start.next_multiple_of(2).checked_add(3).is_none_or(|least| end < least) {
        refuse(
            "media.ports",
            tr!(
                "{start}-{end} is too small for a call: two pairs of an even and an odd port are needed",
                "{start}-{end} no alcanza para una llamada: se necesitan dos pares de puertos (par e impar)"
            ),
        );
    }
    if config.sip.listen.is_empty() {
        let what = tr!(
            "set at least one listener, \"udp://127.0.0.1:5060\"",
            "indique al menos una dirección de escucha, \"udp://127.0.0.1:5060\""
        );
        refuse("sip.listen", what);
    }
    if config.sip.listen.len() > 64 {
        refuse("sip.listen", tr!("at most 64 listeners", "64 direcciones de escucha como máximo"));
    }
    if config.sip.digest.is_empty() {
        refuse(
            "sip.digest",
            tr!("set at least one algorithm, [\"md5\"]", "indique al menos un algoritmo, [\"md5\"]"),
        );
    }
    let features = &config.features;
    let codes = [
        ("features.forward_on", &features.forward_on),
        ("features.forward_off", &features.forward_off),
        ("features.do_not_disturb_on", &features.do_not_disturb_on),
        ("features.do_not_disturb_off", &features.do_not_disturb_off),
        ("features.hide_number", &features.hide_number),
        ("features.call_back", &features.call_back),
    ];
    for (n, (key, code)) in codes.iter().enumerate() {
        if !code.is_empty() && codes.iter().take(n).any(|(_, other)| other == code) {
            refuse(
                key,
                tr!(
                    "{code} is already the code of another feature",
                    "{code} ya es el código de otra función"
                ),
            );
        }
    }
    check_listeners(config, refuse);
    let s3 = &config.recording;
    if s3.s3_bucket.is_some() && (s3.s3_access_key.is_none() || s3.s3_secret_key.is_none()) {
        let what = tr!(
            "set recording.s3_access_key and recording.s3_secret_key too",
            "indique también recording.s3_access_key y recording.s3_secret_key"
        );
        refuse("recording.s3_bucket", what);
    }
    for (n, listen) in config.sip.listen.iter().enumerate() {
        let fixed = listen.address.port() != 0;
        if fixed && config.sip.listen.iter().take(n).any(|other| other == listen) {
            refuse("sip.listen", tr!("{listen} is listed twice", "{listen} está repetida"));
        }
    }
}

/// Conflicts between listeners, and with the media ports.
fn check_listeners(config: &Config, refuse: &mut dyn FnMut(&'static str, String)) {
    if config.http.listen.is_empty() {
        let what = tr!(
            "set at least one address, \"127.0.0.1:5000\": the server is administered through the API",
            "indique al menos una dirección, \"127.0.0.1:5000\": el servidor se administra a través de la API"
        );
        refuse("http.listen", what);
    }
    for (n, address) in config.http.listen.iter().enumerate().filter(|(_, address)| address.port() != 0) {
        if config.http.listen.iter().take(n).any(|other| other == address) {
            refuse("http.listen", tr!("{address} is listed twice", "{address} está repetida"));
        }
        let sip =
            |listen: &&super::Listen| listen.transport != sip::Transport::Udp && listen.address == *address;
        if let Some(listen) = config.sip.listen.iter().find(sip) {
            let what = tr!(
                "{address} is used by sip.listen ({listen}); set another port",
                "{address} ya se usa en sip.listen ({listen}); indique otro puerto"
            );
            refuse("http.listen", what);
        }
    }
    let ports = &config.media.ports;
    let within = |listen: &&super::Listen| {
        listen.transport == sip::Transport::Udp && ports.contains(&listen.address.port())
    };
    if let Some(listen) = config.sip.listen.iter().find(within) {
        let (start, end) = (ports.start(), ports.end());
        let what = tr!(
            "{start}-{end} contains the port of {listen}, which is not free for media; set other ports",
            "{start}-{end} incluye el puerto de {listen}, que no puede usarse para RTP; indique otro rango"
        );
        refuse("media.ports", what);
    }
}
