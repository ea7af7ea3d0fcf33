//! The table of keys: how each is read, shown and checked. There is no key beside it.

use base::Secret;

use super::nearest::nearest;
use super::values::{
    algorithm, algorithm_name, beep, country, emergency, extension, feature_code, format, host, level, list,
    listed, listener, mode, network, number, numbers, origin, port, ports, prefixes, public, quoted,
    recorded, relay, shown_beep, socket, switch, text, url, web, without_password, zone, zoneinfo,
};
use super::{Config, PublicAddress, Value};
use crate::{lang, tr};

/// One key of the configuration.
pub struct Key {
    /// `sip.domain`
    pub name: &'static str,
    /// What it is for, in a few words.
    pub about: &'static str,
    /// Put a value; what to write instead where it is none.
    pub(super) set: fn(&mut Config, &Value) -> Result<(), String>,
    /// The value as TOML with secrets hidden; `None` where nothing is set.
    pub show: fn(&Config) -> Option<String>,
}

impl Key {
    /// What it is for, in the language that is spoken.
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
    "public_address", "what SDP and Contact show: an address, a name, or auto",
        |c, v| c.public_address = public(&text(v)?)?,
        |c| Some(match &c.public_address { PublicAddress::Auto => quoted("auto"), PublicAddress::Host(host) => quoted(host) });
    "default_timezone", "the zone of schedules that name none, such as America/New_York",
        |c, v| c.default_timezone = zone(&text(v)?)?,
        |c| Some(quoted(&c.default_timezone));
    "http.listen", "addresses of the API",
        |c, v| c.http.listen = list(v)?.iter().map(|item| socket(item)).collect::<Result<_, _>>()?,
        |c| Some(listed(c.http.listen.iter().map(ToString::to_string)));
    "http.local_admin", "whether a loopback peer without a key is an administrator",
        |c, v| c.http.local_admin = switch(v)?,
        |c| Some(c.http.local_admin.to_string());
    "http.trusted_proxies", "reverse proxies whose X-Forwarded-For or Forwarded names the client, as addresses or networks",
        |c, v| c.http.trusted_proxies = list(v)?.iter().map(|item| network(item)).collect::<Result<_, _>>()?,
        |c| Some(listed(c.http.trusted_proxies.iter().map(ToString::to_string)));
    "http.origins", "origins of web pages that may use the API, such as https://crm.example.com; none where empty",
        |c, v| c.http.origins = list(v)?.iter().map(|item| origin(item)).collect::<Result<_, _>>()?,
        |c| Some(listed(c.http.origins.iter().cloned()));
    "sip.domain", "the realm and the domain of our addresses",
        |c, v| c.sip.domain = host(&text(v)?)?,
        |c| Some(quoted(&c.sip.domain));
    "sip.aliases", "further names that are accepted as our domain",
        |c, v| c.sip.aliases = list(v)?.iter().map(|item| host(item)).collect::<Result<_, _>>()?,
        |c| Some(listed(c.sip.aliases.iter().cloned()));
    "sip.digest", "digest algorithms, in the order of the challenges",
        |c, v| c.sip.digest = list(v)?.iter().map(|item| algorithm(item)).collect::<Result<_, _>>()?,
        |c| Some(listed(c.sip.digest.iter().map(|a| algorithm_name(*a).to_owned())));
    "sip.listen", "udp:// and tcp:// addresses of the phones' side",
        |c, v| c.sip.listen = list(v)?.iter().map(|item| listener(item)).collect::<Result<_, _>>()?,
        |c| Some(listed(c.sip.listen.iter().map(ToString::to_string)));
    "sip.min_expires_seconds", "the shortest registration that is accepted",
        |c, v| c.sip.min_expires_seconds = number(v, 1, 3600)?,
        |c| Some(c.sip.min_expires_seconds.to_string());
    "sip.default_extension", "where inbound numbers go that no route names",
        |c, v| c.sip.default_extension = Some(extension(&text(v)?)?),
        |c| c.sip.default_extension.as_deref().map(quoted);
    "dns.servers", "addresses of DNS servers, with ports; those of the system where empty",
        |c, v| c.dns.servers = list(v)?.iter().map(|item| socket(item)).collect::<Result<_, _>>()?,
        |c| Some(listed(c.dns.servers.iter().map(ToString::to_string)));
    "media.ports", "RTP and RTCP ports",
        |c, v| c.media.ports = ports(&text(v)?)?,
        |c| Some(quoted(&format!("{}-{}", c.media.ports.start(), c.media.ports.end())));
    "media.workers", "media threads; 0 is one fewer than there are cores",
        |c, v| c.media.workers = number(v, 0, 64)? as usize,
        |c| Some(c.media.workers.to_string());
    "store.url", "sqlite: and a path relative to the data directory, or postgres://",
        |c, v| c.store.url = Secret::new(url(&text(v)?)?),
        |c| Some(quoted(&without_password(c.store.url.expose())));
    "store.keep_calls_days", "calls that ended longer ago are forgotten",
        |c, v| c.store.keep_calls_days = number(v, 1, 36_500)?,
        |c| Some(c.store.keep_calls_days.to_string());
    "recording.calls", "which calls are recorded of extensions that do not say: none, inbound, outbound or all",
        |c, v| c.recording.calls = recorded(&text(v)?)?,
        |c| Some(quoted(c.recording.calls.as_str()));
    "recording.format", "opus (in Ogg) or wav",
        |c, v| c.recording.format = format(&text(v)?)?,
        |c| Some(quoted(c.recording.format.as_str()));
    "recording.beep", "a tone for both parties: never, once, or the seconds between two of them",
        |c, v| c.recording.beep = beep(v)?,
        |c| Some(shown_beep(c.recording.beep));
    "recording.keep_days", "recordings that are older are deleted; 0 keeps them for ever",
        |c, v| c.recording.keep_days = number(v, 0, 36_500)?,
        |c| Some(c.recording.keep_days.to_string());
    "recording.keep_unclaimed_days", "audio that the database does not know is deleted after so long in the folder unclaimed; 0 keeps it for ever",
        |c, v| c.recording.keep_unclaimed_days = number(v, 0, 36_500)?,
        |c| Some(c.recording.keep_unclaimed_days.to_string());
    "recording.quota_mb", "megabytes of all recordings, the oldest are deleted first; 0 is no bound",
        |c, v| c.recording.quota_mb = number(v, 0, u32::MAX)?,
        |c| Some(c.recording.quota_mb.to_string());
    "recording.reserve_mb", "megabytes of the disk that recordings leave free",
        |c, v| c.recording.reserve_mb = number(v, 0, u32::MAX)?,
        |c| Some(c.recording.reserve_mb.to_string());
    "recording.s3_bucket", "keep recordings in this bucket of an S3-compatible store",
        |c, v| c.recording.s3_bucket = Some(text(v)?),
        |c| c.recording.s3_bucket.as_deref().map(quoted);
    "recording.s3_endpoint", "its address, where it is not Amazon's",
        |c, v| c.recording.s3_endpoint = Some(web(&text(v)?)?),
        |c| c.recording.s3_endpoint.as_deref().map(quoted);
    "recording.s3_region", "its region",
        |c, v| c.recording.s3_region = text(v)?,
        |c| Some(quoted(&c.recording.s3_region));
    "recording.s3_prefix", "put in front of every key",
        |c, v| c.recording.s3_prefix = Some(text(v)?),
        |c| c.recording.s3_prefix.as_deref().map(quoted);
    "recording.s3_access_key", "who we are there",
        |c, v| c.recording.s3_access_key = Some(text(v)?),
        |c| c.recording.s3_access_key.as_deref().map(quoted);
    "recording.s3_secret_key", "the secret that goes with it",
        |c, v| c.recording.s3_secret_key = Some(Secret::new(text(v)?)),
        |c| c.recording.s3_secret_key.as_ref().map(|secret| quoted(&secret.to_string()));
    "limits.calls_per_user", "simultaneous calls of one user",
        |c, v| c.limits.calls_per_user = number(v, 1, 20_000)?,
        |c| Some(c.limits.calls_per_user.to_string());
    "limits.call_hours", "hours that a call may last",
        |c, v| c.limits.call_hours = number(v, 1, 168)?,
        |c| Some(c.limits.call_hours.to_string());
    "limits.outside_calls_per_minute", "calls to the outside that one user begins within a minute; 0 is no limit",
        |c, v| c.limits.outside_calls_per_minute = number(v, 0, 10_000)?,
        |c| Some(c.limits.outside_calls_per_minute.to_string());
    "limits.outside_minutes_per_day", "minutes a day of one user's calls to the outside; 0 is no limit",
        |c, v| c.limits.outside_minutes_per_day = number(v, 0, 10_000_000)?,
        |c| Some(c.limits.outside_minutes_per_day.to_string());
    "limits.requests_per_minute", "requests a minute of one API key",
        |c, v| c.limits.requests_per_minute = number(v, 1, 1_000_000)?,
        |c| Some(c.limits.requests_per_minute.to_string());
    "limits.unauthenticated_per_minute", "requests a minute of one source without a valid key",
        |c, v| c.limits.unauthenticated_per_minute = number(v, 1, 1_000_000)?,
        |c| Some(c.limits.unauthenticated_per_minute.to_string());
    "limits.connections_per_source", "SIP connections of one address",
        |c, v| c.limits.connections_per_source = number(v, 1, 10_000)?,
        |c| Some(c.limits.connections_per_source.to_string());
    "limits.ladders_per_second", "calls a second whose SIP ladder is kept",
        |c, v| c.limits.ladders_per_second = number(v, 0, 1_000_000)?,
        |c| Some(c.limits.ladders_per_second.to_string());
    "limits.recurring_calls_per_second", "recurring calls that are begun in a second",
        |c, v| c.recurring_calls_per_second = number(v, 1, 1000)?,
        |c| Some(c.recurring_calls_per_second.to_string());
    "dialling.country", "country code of national numbers; that of the first number at Twilio where absent",
        |c, v| c.dialling.country = Some(country(&text(v)?)?),
        |c| c.dialling.country.as_deref().map(quoted);
    "dialling.allowed", "countries that may be called, as beginnings of numbers without +; all where empty",
        |c, v| c.dialling.allowed = prefixes(v)?,
        |c| (!c.dialling.allowed.is_empty()).then(|| listed(c.dialling.allowed.iter().cloned()));
    "dialling.opened", "countries of the high-risk list that may be called all the same",
        |c, v| c.dialling.opened = prefixes(v)?,
        |c| (!c.dialling.opened.is_empty()).then(|| listed(c.dialling.opened.iter().cloned()));
    "dialling.blocked", "beginnings of numbers that are never called, besides premium services and satellites",
        |c, v| c.dialling.blocked = prefixes(v)?,
        |c| (!c.dialling.blocked.is_empty()).then(|| listed(c.dialling.blocked.iter().cloned()));
    "dialling.emergency", "numbers that call for help; those of the country, 112 and 911 among them, where empty",
        |c, v| c.dialling.emergency = list(v)?.iter().map(|item| emergency(item)).collect::<Result<_, _>>()?,
        |c| (!c.dialling.emergency.is_empty()).then(|| listed(c.dialling.emergency.iter().cloned()));
    "features.forward_on", "what a phone dials, with a number behind it, to forward all its calls there; \"\" switches a code off",
        |c, v| c.features.forward_on = feature_code(&text(v)?)?,
        |c| Some(quoted(&c.features.forward_on));
    "features.forward_off", "the same, to forward none any more",
        |c, v| c.features.forward_off = feature_code(&text(v)?)?,
        |c| Some(quoted(&c.features.forward_off));
    "features.do_not_disturb_on", "the same, to refuse all calls",
        |c, v| c.features.do_not_disturb_on = feature_code(&text(v)?)?,
        |c| Some(quoted(&c.features.do_not_disturb_on));
    "features.do_not_disturb_off", "the same, to take calls again",
        |c, v| c.features.do_not_disturb_off = feature_code(&text(v)?)?,
        |c| Some(quoted(&c.features.do_not_disturb_off));
    "features.hide_number", "dialled in front of a number: the called one is not shown who calls",
        |c, v| c.features.hide_number = feature_code(&text(v)?)?,
        |c| Some(quoted(&c.features.hide_number));
    "features.call_back", "calls whoever called this extension last",
        |c, v| c.features.call_back = feature_code(&text(v)?)?,
        |c| Some(quoted(&c.features.call_back));
    "webhooks.allow_insecure_loopback", "whether webhooks may be on this machine, over http: for trials",
        |c, v| c.webhooks.allow_insecure_loopback = switch(v)?,
        |c| Some(c.webhooks.allow_insecure_loopback.to_string());
    "mail.smtp", "the server for mails about voicemail: smtps://, smtp:// (STARTTLS) or smtp+plain://",
        |c, v| c.mail.smtp = Some(relay(&text(v)?)?),
        |c| c.mail.smtp.as_ref().map(|url| quoted(&without_password(url.expose())));
    "mail.from", "the sender of mails",
        |c, v| c.mail.from = Some(crate::mail::sender(&text(v)?)?),
        |c| c.mail.from.as_deref().map(quoted);
    "mail.retry_seconds", "a mail that was not taken is tried again after this, then after twice as long",
        |c, v| c.mail.retry_seconds = number(v, 1, 3600)?,
        |c| Some(c.mail.retry_seconds.to_string());
    "log.level", "error, warn, info, debug, trace, or a filter like info,sip=debug",
        |c, v| c.log_level = level(&text(v)?)?,
        |c| Some(quoted(&c.log_level));
    "log.numbers", "people's numbers in the log: masked (+34•••001), full or none",
        |c, v| c.log_numbers = numbers(&text(v)?)?,
        |c| Some(quoted(c.log_numbers.as_str()));
    "time.zoneinfo", "time zone data: auto (the newer of built-in and system), builtin, system, or a folder",
        |c, v| c.zoneinfo = zoneinfo(&text(v)?)?,
        |c| Some(quoted(&c.zoneinfo.to_string()));
    "twilio.did", "our numbers there",
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
    "twilio.account_sid", "the account",
        |c, v| c.twilio.account_sid = Some(text(v)?),
        |c| c.twilio.account_sid.as_deref().map(quoted);
    "twilio.auth_token", "its token",
        |c, v| c.twilio.auth_token = Some(Secret::new(text(v)?)),
        |c| c.twilio.auth_token.as_ref().map(|secret| quoted(&secret.to_string()));
    "twilio.mode", "auto, trunk or api",
        |c, v| c.twilio.mode = Some(mode(&text(v)?)?),
        |c| c.twilio.mode.as_deref().map(quoted);
}

/// Halves of `media.ports`, which only the seeds' names give (S103).
const HALVES: &[Key] = &[
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
        "media.ports.start" => HALVES.first(),
        "media.ports.end" => HALVES.last(),
        _ => KEYS.iter().find(|key| key.name == name),
    }
}

/// What to say of a key that does not exist.
pub(super) fn unknown(name: &str) -> String {
    match nearest(name, KEYS.iter().map(|key| key.name)) {
        Some(meant) => {
            tr!("there is no such key; did you mean {meant}?", "esa clave no existe; ¿quiso decir {meant}?")
        }
        None => tr!(
            "there is no such key; `centralita config show` lists all",
            "esa clave no existe; `centralita config show` las muestra todas"
        ),
    }
}

/// What no key can see by itself.
pub(super) fn check(config: &Config, refuse: &mut dyn FnMut(&'static str, String)) {
    let (start, end) = (*config.media.ports.start(), *config.media.ports.end());
    if start.next_multiple_of(2).checked_add(3).is_none_or(|least| end < least) {
        refuse(
            "media.ports",
            tr!(
                "{start}-{end} holds no call: two pairs of an even and an odd port are needed",
                "en {start}-{end} no cabe ninguna llamada: hacen falta dos pares de puerto par e impar"
            ),
        );
    }
    if config.sip.listen.is_empty() {
        let what = tr!(
            "name at least one listener, \"udp://127.0.0.1:5060\"",
            "nombre al menos una dirección, \"udp://127.0.0.1:5060\""
        );
        refuse("sip.listen", what);
    }
    if config.sip.listen.len() > 64 {
        refuse("sip.listen", tr!("at most 64 listeners", "64 direcciones como mucho"));
    }
    if config.sip.digest.is_empty() {
        refuse("sip.digest", tr!("name at least one, [\"md5\"]", "nombre al menos uno, [\"md5\"]"));
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
            refuse(key, tr!("{code} is another feature's code", "{code} es el código de otra función"));
        }
    }
    listeners(config, refuse);
    let s3 = &config.recording;
    if s3.s3_bucket.is_some() && (s3.s3_access_key.is_none() || s3.s3_secret_key.is_none()) {
        let what = tr!(
            "name recording.s3_access_key and recording.s3_secret_key too",
            "nombre también recording.s3_access_key y recording.s3_secret_key"
        );
        refuse("recording.s3_bucket", what);
    }
    for (n, listen) in config.sip.listen.iter().enumerate() {
        let fixed = listen.address.port() != 0;
        if fixed && config.sip.listen.iter().take(n).any(|other| other == listen) {
            refuse("sip.listen", tr!("{listen} is there twice", "{listen} está dos veces"));
        }
    }
}

/// Listeners that cannot be open together.
fn listeners(config: &Config, refuse: &mut dyn FnMut(&'static str, String)) {
    if config.http.listen.is_empty() {
        let what = tr!(
            "name at least one address, \"127.0.0.1:5000\": without the API nobody can look after the server",
            "nombre al menos una dirección, \"127.0.0.1:5000\": sin la API nadie puede atender el servidor"
        );
        refuse("http.listen", what);
    }
    for (n, address) in config.http.listen.iter().enumerate().filter(|(_, address)| address.port() != 0) {
        if config.http.listen.iter().take(n).any(|other| other == address) {
            refuse("http.listen", tr!("{address} is there twice", "{address} está dos veces"));
        }
        let sip =
            |listen: &&super::Listen| listen.transport != sip::Transport::Udp && listen.address == *address;
        if let Some(listen) = config.sip.listen.iter().find(sip) {
            let what = tr!(
                "{address} is taken by sip.listen ({listen}); write another port",
                "{address} ya es de sip.listen ({listen}); escriba otro puerto"
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
            "{start}-{end} holds the port of {listen}, which is not free for media; write other ports",
            "en {start}-{end} está el puerto de {listen}, que no queda libre para la voz; escriba otros puertos"
        );
        refuse("media.ports", what);
    }
}
