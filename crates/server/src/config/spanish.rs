//! Spanish descriptions of the configuration keys; the English ones are in the table of keys.

/// The description of a key; `None` if it is missing (a test checks for that).
pub(super) fn about(name: &str) -> Option<&'static str> {
    ABOUT.iter().find(|(key, _)| *key == name).map(|(_, about)| *about)
}

const ABOUT: &[(&str, &str)] = &[
    ("public_address", "dirección que se anuncia en SDP y Contact: una dirección IP, un nombre o auto"),
    (
        "default_timezone",
        "zona horaria de las llamadas recurrentes que no indican una, p. ej. Europe/Madrid o America/Santiago",
    ),
    ("http.listen", "direcciones de escucha de la API"),
    ("http.local_admin", "si un cliente local (loopback) sin clave se considera administrador"),
    (
        "http.trusted_proxies",
        "proxies inversos cuyas cabeceras X-Forwarded-For o Forwarded son de confianza (direcciones o redes)",
    ),
    (
        "http.origins",
        "orígenes web autorizados a usar la API (CORS), p. ej. https://crm.example.com; vacío: ninguno",
    ),
    ("sip.domain", "dominio SIP y realm de la autenticación"),
    ("sip.aliases", "otros nombres que se aceptan como dominio SIP"),
    ("sip.digest", "algoritmos de autenticación digest, por orden de preferencia"),
    ("sip.listen", "direcciones de escucha SIP, udp:// y tcp://"),
    ("sip.min_expires_seconds", "duración mínima de registro que se acepta, en segundos"),
    ("sip.default_extension", "extensión que recibe las llamadas entrantes a números sin ruta"),
    (
        "features.forward_on",
        "código que, seguido de un número, desvía allí todas las llamadas; \"\" desactiva el código",
    ),
    ("features.forward_off", "código que cancela el desvío"),
    ("features.do_not_disturb_on", "código que activa «no molestar»"),
    ("features.do_not_disturb_off", "código que desactiva «no molestar»"),
    ("features.hide_number", "prefijo que oculta el número propio en una llamada"),
    ("features.call_back", "código que devuelve la última llamada recibida"),
    ("dns.servers", "servidores DNS, con puerto; vacío: los del sistema"),
    ("media.ports", "rango de puertos RTP y RTCP"),
    ("media.workers", "hilos para RTP; 0: uno menos que núcleos de CPU"),
    ("store.url", "sqlite: y una ruta relativa al directorio de datos, o postgres://"),
    ("store.keep_calls_days", "días que se conservan las llamadas terminadas"),
    (
        "recording.calls",
        "llamadas que se graban en las extensiones sin ajuste propio: none, inbound, outbound o all",
    ),
    ("recording.format", "opus (en Ogg) o wav"),
    ("recording.beep", "tono de aviso de grabación: never, once, o los segundos entre tonos"),
    ("recording.keep_days", "días que se conservan las grabaciones; 0: sin límite"),
    (
        "recording.keep_unclaimed_days",
        "días que se conserva apartado el audio que no figura en la base de datos; 0: sin límite",
    ),
    (
        "recording.quota_mb",
        "tamaño máximo del total de grabaciones en MB (se borran antes las más antiguas); 0: sin límite",
    ),
    ("recording.reserve_mb", "espacio en disco que las grabaciones dejan libre, en MB"),
    ("recording.s3_bucket", "bucket de un almacenamiento compatible con S3 para las grabaciones"),
    ("recording.s3_endpoint", "endpoint del almacenamiento, si no es Amazon"),
    ("recording.s3_region", "región del bucket"),
    ("recording.s3_prefix", "prefijo de las claves de los objetos"),
    ("recording.s3_access_key", "ID de la clave de acceso"),
    ("recording.s3_secret_key", "clave de acceso secreta"),
    ("limits.calls_per_user", "llamadas simultáneas por usuario"),
    ("limits.call_hours", "duración máxima de una llamada, en horas"),
    (
        "limits.outside_calls_per_minute",
        "llamadas salientes que un usuario puede iniciar por minuto; 0: sin límite",
    ),
    ("limits.outside_minutes_per_day", "minutos de llamadas salientes por usuario y día; 0: sin límite"),
    ("limits.requests_per_minute", "peticiones por minuto y clave de API"),
    ("limits.unauthenticated_per_minute", "peticiones por minuto y dirección de origen sin clave válida"),
    ("limits.connections_per_source", "conexiones SIP por dirección de origen"),
    ("limits.ladders_per_second", "llamadas por segundo cuya traza SIP se guarda"),
    ("limits.recurring_calls_per_second", "llamadas recurrentes que se inician por segundo"),
    (
        "dialling.country",
        "código de país de los números nacionales; si falta, el del primer número de Twilio",
    ),
    ("dialling.allowed", "países permitidos, como prefijos sin +; vacío: todos"),
    ("dialling.opened", "países de la lista de alto riesgo que se permiten"),
    ("dialling.blocked", "prefijos siempre bloqueados, además de los de tarificación especial y satélite"),
    ("dialling.emergency", "números de emergencia; vacío: los del país, más 112 y 911"),
    ("webhooks.allow_insecure_loopback", "permite webhooks en este mismo equipo por http, para pruebas"),
    (
        "mail.smtp",
        "servidor SMTP para los avisos del buzón de voz: smtps://, smtp:// (STARTTLS) o smtp+plain://",
    ),
    ("mail.from", "remitente de los correos"),
    (
        "mail.retry_seconds",
        "segundos hasta el primer reintento de un correo fallido; se duplican en cada intento",
    ),
    ("log.level", "error, warn, info, debug, trace, o un filtro como info,sip=debug"),
    ("log.numbers", "números de teléfono en el log: masked (+34•••001), full o none"),
    (
        "time.zoneinfo",
        "datos de zonas horarias: auto (los más recientes, incorporados o del sistema), builtin, system o un directorio",
    ),
    ("twilio.did", "nuestros números de Twilio"),
    ("twilio.sip_user", "usuario SIP del troncal"),
    ("twilio.sip_password", "contraseña SIP del troncal"),
    ("twilio.termination_uri", "host del troncal"),
    ("twilio.account_sid", "SID de la cuenta"),
    ("twilio.auth_token", "token de la cuenta"),
    ("twilio.mode", "auto, trunk o api"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KEYS;

    #[test]
    fn every_key_has_a_description_in_both_languages() {
        let missing: Vec<&str> =
            KEYS.iter().map(|key| key.name).filter(|name| about(name).is_none()).collect();
        assert!(missing.is_empty(), "{missing:?}");
        assert!(KEYS.iter().all(|key| !key.about.is_empty() && about(key.name) != Some(key.about)));
    }
}
