//! What each key is for, in Spanish; the English stands in the table of keys.

/// In a few words; `None` of a key that lacks here (a test looks for those).
pub(super) fn about(name: &str) -> Option<&'static str> {
    ABOUT.iter().find(|(key, _)| *key == name).map(|(_, about)| *about)
}

const ABOUT: &[(&str, &str)] = &[
    ("public_address", "lo que muestran SDP y Contact: una dirección, un nombre o auto"),
    ("default_timezone", "la zona de las llamadas recurrentes que no nombran ninguna, como America/Santiago"),
    ("http.listen", "direcciones de la API"),
    ("http.local_admin", "si quien llega por loopback sin clave es administrador"),
    (
        "http.trusted_proxies",
        "proxies inversos cuyo X-Forwarded-For o Forwarded nombra al cliente, como direcciones o redes",
    ),
    (
        "http.origins",
        "orígenes de páginas web que pueden usar la API, como https://crm.example.com; ninguno si está vacía",
    ),
    ("sip.domain", "el realm y el dominio de nuestras direcciones"),
    ("sip.aliases", "otros nombres que se aceptan como nuestro dominio"),
    ("sip.digest", "algoritmos de digest, en el orden en que se piden"),
    ("sip.listen", "direcciones udp:// y tcp:// del lado de los teléfonos"),
    ("sip.min_expires_seconds", "el registro más corto que se acepta"),
    ("sip.default_extension", "adónde van los números entrantes que no nombra ninguna ruta"),
    (
        "features.forward_on",
        "lo que marca un teléfono, con un número detrás, para desviar allí todas sus llamadas; \"\" desactiva un código",
    ),
    ("features.forward_off", "lo mismo, para no desviar más"),
    ("features.do_not_disturb_on", "lo mismo, para rechazar todas las llamadas"),
    ("features.do_not_disturb_off", "lo mismo, para aceptar llamadas de nuevo"),
    ("features.hide_number", "se marca delante de un número: quien recibe la llamada no ve quién llama"),
    ("features.call_back", "llama a quien llamó por última vez a esta extensión"),
    ("dns.servers", "direcciones de servidores DNS, con puerto; los del sistema si está vacía"),
    ("media.ports", "puertos de RTP y RTCP"),
    ("media.workers", "hilos para la voz; 0 es uno menos que núcleos"),
    ("store.url", "sqlite: y una ruta relativa a la carpeta de datos, o postgres://"),
    ("store.keep_calls_days", "las llamadas que terminaron hace más se olvidan"),
    (
        "recording.calls",
        "qué llamadas se graban de las extensiones que no lo dicen: none, inbound, outbound o all",
    ),
    ("recording.format", "opus (en Ogg) o wav"),
    ("recording.beep", "un tono para las dos partes: never, once, o los segundos entre uno y otro"),
    ("recording.keep_days", "las grabaciones más antiguas se borran; 0 las guarda para siempre"),
    (
        "recording.keep_unclaimed_days",
        "el audio que la base de datos no conoce se borra tras tanto tiempo apartado; 0 lo guarda para siempre",
    ),
    (
        "recording.quota_mb",
        "megabytes de todas las grabaciones, se borran primero las más antiguas; 0 es sin límite",
    ),
    ("recording.reserve_mb", "megabytes del disco que las grabaciones dejan libres"),
    ("recording.s3_bucket", "guardar las grabaciones en este bucket de un almacén compatible con S3"),
    ("recording.s3_endpoint", "su dirección, si no es la de Amazon"),
    ("recording.s3_region", "su región"),
    ("recording.s3_prefix", "se pone delante de cada clave"),
    ("recording.s3_access_key", "quiénes somos allí"),
    ("recording.s3_secret_key", "el secreto que le corresponde"),
    ("limits.calls_per_user", "llamadas simultáneas de un usuario"),
    ("limits.call_hours", "horas que puede durar una llamada"),
    (
        "limits.outside_calls_per_minute",
        "llamadas al exterior que un usuario empieza en un minuto; 0 es sin límite",
    ),
    (
        "limits.outside_minutes_per_day",
        "minutos al día de llamadas al exterior de un usuario; 0 es sin límite",
    ),
    ("limits.requests_per_minute", "peticiones por minuto de una clave de la API"),
    ("limits.unauthenticated_per_minute", "peticiones por minuto de un origen sin clave válida"),
    ("limits.connections_per_source", "conexiones SIP de una dirección"),
    ("limits.ladders_per_second", "llamadas por segundo cuyos mensajes SIP se guardan"),
    ("limits.recurring_calls_per_second", "llamadas recurrentes que se empiezan en un segundo"),
    (
        "dialling.country",
        "prefijo del país de los números nacionales; el del primer número en Twilio si falta",
    ),
    (
        "dialling.allowed",
        "países a los que se puede llamar, como comienzos de números sin +; todos si está vacía",
    ),
    ("dialling.opened", "países de la lista de alto riesgo a los que se puede llamar de todos modos"),
    (
        "dialling.blocked",
        "comienzos de números a los que no se llama nunca, además de los de tarificación especial y satélites",
    ),
    ("dialling.emergency", "números de emergencias; los del país, con 112 y 911, si está vacía"),
    (
        "webhooks.allow_insecure_loopback",
        "si los webhooks pueden estar en este equipo, por http: para pruebas",
    ),
    (
        "mail.smtp",
        "el servidor de los correos del buzón de voz: smtps://, smtp:// (STARTTLS) o smtp+plain://",
    ),
    ("mail.from", "el remitente de los correos"),
    ("mail.retry_seconds", "un correo no aceptado se reintenta tras este tiempo, luego tras el doble"),
    ("log.level", "error, warn, info, debug, trace, o un filtro como info,sip=debug"),
    ("log.numbers", "los números de las personas en el registro: masked (+34•••001), full o none"),
    (
        "time.zoneinfo",
        "datos de zonas horarias: auto (los más nuevos entre incorporados y sistema), builtin, system o una carpeta",
    ),
    ("twilio.did", "nuestros números allí"),
    ("twilio.sip_user", "usuario del troncal"),
    ("twilio.sip_password", "contraseña del troncal"),
    ("twilio.termination_uri", "host del troncal"),
    ("twilio.account_sid", "la cuenta"),
    ("twilio.auth_token", "su token"),
    ("twilio.mode", "auto, trunk o api"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KEYS;

    #[test]
    fn every_key_says_what_it_is_for_in_both_languages() {
        let missing: Vec<&str> =
            KEYS.iter().map(|key| key.name).filter(|name| about(name).is_none()).collect();
        assert!(missing.is_empty(), "{missing:?}");
        assert!(KEYS.iter().all(|key| !key.about.is_empty() && about(key.name) != Some(key.about)));
    }
}
