//! Error responses (S23–S27): an HTTP status, a stable code and a sentence in the client's language.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::{Cause, Language, TrunkError};
use serde::Serialize;
use store::StoreError;
use utoipa::ToSchema;

use crate::DirectoryError;
use crate::import_line::LineFault;

macro_rules! faults {
    ($($name:ident: $status:literal $code:literal $en:literal $es:literal;)*) => {
        /// An error of the API itself. Errors of calls are [`Cause`]s.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum Fault {
            $($name,)*
        }

        impl Fault {
            pub(crate) const ALL: &'static [Fault] = &[$(Fault::$name,)*];

            pub(crate) const fn row(self) -> (u16, &'static str, &'static str, &'static str) {
                match self {
                    $(Fault::$name => ($status, $code, $en, $es),)*
                }
            }
        }
    };
}

faults! {
    KeyMissing: 401 "api_key_missing" "API key missing: send Authorization: Bearer sk_voip_…" "Falta la API key: envíe Authorization: Bearer sk_voip_…";
    KeyInvalid: 401 "api_key_invalid" "The API key is not valid" "La API key no es válida";
    KeyInactive: 401 "key_inactive" "The API key is inactive" "La API key está inactiva";
    KeyExpired: 401 "key_expired" "The API key has expired" "La API key ha caducado";
    Permission: 403 "insufficient_permissions" "The API key lacks the permission for this" "La API key no tiene permisos para esto";
    ForeignUser: 403 "foreign_user" "Only an admin key may act for another user" "Solo una API key de administrador puede actuar por otro usuario";
    WiderPermissions: 403 "wider_permissions" "A key cannot make a key with more permissions than its own" "Una API key no puede crear otra con más permisos que los suyos";
    NotFound: 404 "not_found" "Resource not found" "Recurso no encontrado";
    LadderNotKept: 404 "ladder_not_kept" "No SIP messages were kept of this call" "No se conservaron mensajes SIP de esta llamada";
    MethodNotAllowed: 405 "method_not_allowed" "This resource does not support that method" "Este recurso no admite ese método";
    UnknownEvent: 409 "event_id_unknown" "This server never issued that event id: start again without it" "Este servidor nunca emitió ese identificador de evento: empiece de nuevo sin él";
    WebSocketRequired: 400 "websocket_required" "This resource needs a WebSocket upgrade" "Este recurso requiere una conexión WebSocket";
    BadIdempotencyKey: 400 "invalid_idempotency_key" "An Idempotency-Key is 1 to 128 visible characters" "Una Idempotency-Key tiene de 1 a 128 caracteres visibles";
    BadJson: 400 "invalid_json" "The body is not a JSON object" "El cuerpo no es un objeto JSON";
    TooDeep: 400 "json_too_deep" "The JSON is nested too deeply" "El JSON está anidado demasiado profundo";
    MissingField: 400 "missing_field" "A required field is missing" "Falta un campo obligatorio";
    UnknownField: 400 "unknown_field" "Unknown field" "Campo desconocido";
    WrongType: 400 "wrong_type" "The field has the wrong type" "El campo tiene un tipo incorrecto";
    BadValue: 400 "invalid_value" "The value is not allowed" "El valor no está permitido";
    InvalidHost: 400 "invalid_host" "An HTTP/1.1 request has exactly one Host header" "Una solicitud HTTP/1.1 lleva exactamente una cabecera Host";
    BodyIncomplete: 400 "incomplete_body" "The body did not arrive in time" "El cuerpo no llegó a tiempo";
    BodyTooLarge: 413 "body_too_large" "The body is larger than 64 KB" "El cuerpo supera los 64 KB";
    ImportTooLarge: 413 "import_too_large" "The import is larger than 32 MB: send it in parts" "La importación supera los 32 MB: envíela por partes";
    AudioTooLarge: 413 "audio_too_large" "The audio is larger than 12 MB" "El audio supera los 12 MB";
    ContentEncoding: 415 "unsupported_content_encoding" "No Content-Encoding is supported: send the body unencoded" "No se admite ningún Content-Encoding: envíe el cuerpo sin codificar";
    MediaType: 415 "unsupported_media_type" "Send the body as application/json" "Envíe el cuerpo como application/json";
    NumberTaken: 409 "extension_exists" "An extension with this number already exists" "Ya existe una extensión con ese número";
    UsernameTaken: 409 "username_exists" "This user name already exists" "Ese nombre de usuario ya existe";
    NumberReserved: 409 "reserved_number" "Emergency numbers cannot be extensions" "Los números de emergencia no pueden ser extensiones";
    RecurringCallLimit: 409 "recurring_call_limit" "The extension already has 100 recurring calls, the maximum" "La extensión ya tiene 100 llamadas recurrentes, el máximo";
    TooManySounds: 409 "too_many_sounds" "The extension already has 50 sounds, the maximum" "La extensión ya tiene 50 sonidos, el máximo";
    SoundInUse: 409 "sound_in_use" "A recurring call plays this sound: change or remove that first" "Una llamada recurrente reproduce este sonido: cambie o elimine primero esa llamada";
    NumbersExhausted: 409 "no_free_number" "No extension number is free" "No queda ningún número de extensión libre";
    TooManyTrunks: 409 "too_many_trunks" "There are already 64 trunks, the maximum" "Ya hay 64 troncales, el máximo";
    AlreadyExists: 409 "already_exists" "It already exists" "Ya existe";
    LastAdminKey: 409 "last_admin_key" "The last active admin key cannot be deactivated or deleted" "La última API key de administrador activa no se puede desactivar ni eliminar";
    ExtensionBusy: 409 "extension_busy" "The extension is in a call; use ?force=true to end it" "La extensión está en una llamada; use ?force=true para terminarla";
    DeliveryNotDead: 409 "delivery_not_dead" "Only a dead delivery can be retried" "Solo se puede reenviar una entrega muerta";
    TooManyWebhooks: 409 "too_many_webhooks" "This user already has 20 webhooks, the maximum" "Este usuario ya tiene 20 webhooks, el máximo";
    IdempotencyMismatch: 409 "idempotency_mismatch" "This Idempotency-Key was used for another request" "Esta Idempotency-Key se usó para otra solicitud";
    IdempotencyInProgress: 409 "idempotency_in_progress" "The request with this Idempotency-Key is still in progress" "La solicitud de esta Idempotency-Key está en curso";
    IdempotencyInDoubt: 409 "idempotency_in_doubt" "The server stopped during the request with this Idempotency-Key: check whether it was executed, then use a new key" "El servidor se detuvo durante la solicitud de esta Idempotency-Key: compruebe si se ejecutó y use una clave nueva";
    TooManySubscribers: 503 "too_many_followers" "Too many clients are subscribed to events" "Demasiados clientes están suscritos a los eventos";
    CallNotUp: 409 "call_not_up" "Only an active call can be recorded" "Solo se puede grabar una llamada en curso";
    NothingToRecord: 409 "nothing_to_record" "A call to voicemail or with an announcement cannot be recorded; voicemail messages are stored in the mailbox" "No se puede grabar una llamada al buzón de voz o con un anuncio; los mensajes se guardan en el buzón";
    NotRecording: 409 "not_recording" "The call is not being recorded" "La llamada no se está grabando";
    StillRecording: 409 "still_recording" "The recording is still in progress" "La grabación todavía está en curso";
    AudioUnavailable: 503 "audio_unavailable" "The audio is temporarily unavailable" "El audio no está disponible temporalmente";
    RateLimited: 429 "rate_limited" "Too many requests" "Demasiadas solicitudes";
    SwitchUnavailable: 503 "exchange_unavailable" "The SIP side does not respond" "El lado SIP no responde";
    StoreUnavailable: 503 "store_unavailable" "The database is unavailable" "La base de datos no está disponible";
    DiskFull: 503 "disk_full" "The disk is full: nothing can be written" "El disco está lleno: no se puede escribir nada";
    Internal: 500 "internal" "Server error" "Error del servidor";
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Fault(Fault),
    Cause(Cause),
}

/// An error to be sent to the client.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    kind: Kind,
    field: Option<String>,
    /// A more exact sentence: English, Spanish.
    detail: Option<(String, String)>,
    /// Line of an uploaded file.
    line: Option<u64>,
    retry_after: Option<u64>,
}

/// The body of every error response (S23).
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Error)]
pub(crate) struct ErrorBody {
    /// Always `false`.
    pub success: bool,
    /// A sentence in English, or in Spanish if Accept-Language prefers it.
    pub error: String,
    /// Stable: independent of the language and the version.
    pub code: String,
    /// Also in the header X-Request-Id and in the server's log.
    pub request_id: String,
    /// Name of the field at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub field: Option<String>,
    /// Line of an uploaded file that is at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub line: Option<u64>,
}

impl ApiError {
    /// An error of one field. `rule` is what the field must satisfy: English, Spanish.
    pub(crate) fn field(fault: Fault, field: &str, rule: Option<(&str, &str)>) -> Self {
        let detail = rule.map(|(en, es)| (format!("{field}: {en}"), format!("{field}: {es}")));
        ApiError { field: Some(field.to_owned()), detail, ..fault.into() }
    }

    pub(crate) fn field_name(&self) -> Option<&str> {
        self.field.as_deref()
    }

    /// Append the rejected value to the sentence.
    pub(crate) fn with_value(self, value: &str) -> Self {
        let detail = self.detail.map(|(en, es)| (format!("{en}, not {value}"), format!("{es}, no {value}")));
        ApiError { detail, ..self }
    }

    /// Prefix the field name with its place in a list: `extensions[3].username`.
    pub(crate) fn at_index(self, list: &str, n: usize) -> Self {
        let place = format!("{list}[{n}]");
        let name = self.field.as_ref().map_or_else(|| place.clone(), |field| format!("{place}.{field}"));
        let detail = self.detail.map(|(en, es)| (format!("{place}.{en}"), format!("{place}.{es}")));
        ApiError { field: Some(name), detail, ..self }
    }

    /// An error in a line of a file.
    pub(crate) fn from_line_fault(fault: &LineFault) -> Self {
        let detail = (fault.in_file(Language::English), fault.in_file(Language::Spanish));
        let field = fault.column.map(|column| column.field().to_owned());
        ApiError { field, line: Some(fault.line), detail: Some(detail), ..ApiError::from(fault.kind()) }
    }

    /// An error in an object of a list.
    pub(crate) fn from_list_fault(list: &str, fault: &LineFault) -> Self {
        let sentence = |language| fault.sentence(language);
        let (en, es) = (sentence(Language::English), sentence(Language::Spanish));
        match fault.column {
            Some(column) => ApiError::field(fault.kind(), column.field(), Some((&en, &es))),
            None => ApiError::with_detail(fault.kind(), (&en, &es)),
        }
        .at_index(list, fault.line as usize)
    }

    /// An error with a more exact sentence: English, Spanish.
    pub(crate) fn with_detail(fault: Fault, (en, es): (&str, &str)) -> Self {
        ApiError { detail: Some((en.to_owned(), es.to_owned())), ..fault.into() }
    }

    /// Prefix the field name with the name of the object that contains it.
    pub(crate) fn nested_in(self, object: &str) -> Self {
        let outer = |name: String| format!("{object}.{name}");
        let detail = self.detail.map(|(en, es)| (outer(en), outer(es)));
        ApiError { field: self.field.map(outer), detail, ..self }
    }

    /// Whether this is the given fault without a more exact sentence.
    pub(crate) fn is_plain(&self, fault: Fault) -> bool {
        self.kind == Kind::Fault(fault) && self.detail.is_none()
    }

    /// 429 with `Retry-After` in seconds.
    pub(crate) fn rate_limited(seconds: u64) -> Self {
        ApiError { retry_after: Some(seconds), ..Fault::RateLimited.into() }
    }

    pub(crate) fn status(&self) -> StatusCode {
        let number = match self.kind {
            Kind::Fault(fault) => fault.row().0,
            // A call that was refused is no success, even if its cause maps to a success status elsewhere.
            Kind::Cause(cause) if cause.http_status() < 400 => 409,
            Kind::Cause(cause) => cause.http_status(),
        };
        StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub(crate) fn code(&self) -> &'static str {
        match self.kind {
            Kind::Fault(fault) => fault.row().1,
            Kind::Cause(cause) => cause.code(),
        }
    }

    pub(crate) fn body(&self, language: Language, request_id: &str) -> ErrorBody {
        let error = match (&self.detail, self.kind, language) {
            (Some((en, _)), _, Language::English) => en.clone(),
            (Some((_, es)), _, Language::Spanish) => es.clone(),
            (None, Kind::Cause(cause), _) => cause.sentence(language).to_owned(),
            (None, Kind::Fault(fault), Language::English) => fault.row().2.to_owned(),
            (None, Kind::Fault(fault), Language::Spanish) => fault.row().3.to_owned(),
        };
        ErrorBody {
            success: false,
            error,
            code: self.code().to_owned(),
            request_id: request_id.to_owned(),
            field: self.field.clone(),
            line: self.line,
        }
    }
}

impl From<Fault> for ApiError {
    fn from(fault: Fault) -> Self {
        let retry_after = (fault.row().0 == 503).then_some(1);
        ApiError { kind: Kind::Fault(fault), field: None, detail: None, line: None, retry_after }
    }
}

impl From<Cause> for ApiError {
    fn from(cause: Cause) -> Self {
        let retry_after = match cause.http_status() {
            429 => Some(5),
            503 => Some(if cause == Cause::TwilioNotConfigured { 60 } else { 5 }),
            _ => None,
        };
        ApiError { kind: Kind::Cause(cause), field: None, detail: None, line: None, retry_after }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "a database operation failed");
        match error {
            error if error.is_full() => Fault::DiskFull.into(),
            StoreError::Duplicate { .. } => Fault::AlreadyExists.into(),
            StoreError::Database(_) | StoreError::Io { .. } | StoreError::Unavailable => {
                Fault::StoreUnavailable.into()
            }
            StoreError::Url { .. }
            | StoreError::Parameter { .. }
            | StoreError::Tls { .. }
            | StoreError::NoDatabase { .. }
            | StoreError::Migration { .. }
            | StoreError::Newer { .. }
            | StoreError::Foreign { .. }
            | StoreError::Damaged { .. }
            | StoreError::NotEmpty { .. }
            | StoreError::NotADatabase { .. }
            | StoreError::Unsupported(_) => Fault::Internal.into(),
        }
    }
}

impl From<DirectoryError> for ApiError {
    fn from(error: DirectoryError) -> Self {
        let of = |fault, field| ApiError { field: Some(String::from(field)), ..ApiError::from(fault) };
        match error {
            DirectoryError::NumberTaken(_) => of(Fault::NumberTaken, "extensionNumber"),
            DirectoryError::NumberReserved(_) => of(Fault::NumberReserved, "extensionNumber"),
            DirectoryError::NumbersExhausted => Fault::NumbersExhausted.into(),
            DirectoryError::NotFound => Fault::NotFound.into(),
            DirectoryError::LastAdminKey => Fault::LastAdminKey.into(),
            DirectoryError::Line(fault) => ApiError::from_line_fault(&fault),
            DirectoryError::BadDisplayName => of(Fault::BadValue, "displayName"),
            DirectoryError::BadForwarding => ApiError::field(
                Fault::BadValue,
                "forwardingNumber",
                Some((
                    "forwarding needs a number that is not the extension's own",
                    "el desvío necesita un número que no sea el de la propia extensión",
                )),
            ),
            DirectoryError::ForbiddenNumber(field, cause) => {
                ApiError { field: Some(field.into()), ..cause.into() }
            }
            DirectoryError::BadTrunk(error) => trunk_error(error),
            DirectoryError::TooManyTrunks => Fault::TooManyTrunks.into(),
            DirectoryError::WiderDialling => of(Fault::Permission, "dialPermissions"),
            DirectoryError::BadPin(error) => {
                ApiError::field(Fault::BadValue, "pin", Some(crate::directory_service::pin_sentence(error)))
            }
            DirectoryError::BadEmail => {
                let rule = (
                    "must be an address like ana@example.com",
                    "debe ser una dirección como ana@example.com",
                );
                ApiError::field(Fault::BadValue, "email", Some(rule))
            }
            DirectoryError::RecurringCallLimit => Fault::RecurringCallLimit.into(),
            DirectoryError::Store(error) => error.into(),
            DirectoryError::TaskPanicked => Fault::Internal.into(),
        }
    }
}

/// Map a trunk error to its field and sentence.
fn trunk_error(error: TrunkError) -> ApiError {
    let (field, es) = match error {
        TrunkError::Hosts => ("hosts", "de 1 a 8 nombres o direcciones, sin esquema, espacios ni corchetes"),
        TrunkError::Transport => {
            ("hosts", "esta versión habla con los operadores por udp y tcp, todavía no por tls")
        }
        TrunkError::Username => {
            ("username", "de 1 a 128 caracteres sin espacios, comillas, '<', '>', '@' ni controles")
        }
        TrunkError::Account => ("password", "usuario y contraseña van juntos, y registrarse necesita ambos"),
        TrunkError::Expires => ("registerExpires", "de 60 a 86400 segundos"),
        TrunkError::CallerNumber => ("callerNumber", "la regla \"fixed\" necesita un número"),
        TrunkError::TooMany => ("sources", "como máximo 64 orígenes, 1000 números y 16 códecs"),
        TrunkError::Codec => ("codecs", "nombres como PCMU, PCMA, G722, opus"),
    };
    let en = error.to_string();
    let en = en.split_once(": ").map_or(en.as_str(), |(_, rule)| rule);
    ApiError::field(Fault::BadValue, field, Some((en, es)))
}

impl IntoResponse for ApiError {
    /// Attach the error to an empty response. The outermost middleware writes the body, because it knows the language and the request id.
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.kind == Kind::Fault(Fault::ContentEncoding) {
            // RFC 9110 §15.5.16
            response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if response.status() == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_code_two_languages_and_a_documented_status() {
        let mut codes: Vec<&str> = Fault::ALL.iter().map(|fault| fault.row().1).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Fault::ALL.len());
        for fault in Fault::ALL {
            let (status, code, en, es) = fault.row();
            assert!([400, 401, 403, 404, 405, 409, 413, 415, 429, 500, 503].contains(&status), "{code}"); // S23
            assert_ne!(en, es); // S17
        }
    }
}
