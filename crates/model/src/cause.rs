//! Why a call ended or was refused: one table of SIP statuses, Q.850 causes, API codes, HTTP statuses and sentences.

use serde::{Deserialize, Serialize};

use crate::CallStatus;

/// A supported language.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Language {
    #[default]
    #[serde(rename = "en")]
    English,
    #[serde(rename = "es")]
    Spanish,
}

macro_rules! causes {
    ($($(#[$doc:meta])* $name:ident: $sip:literal $q850:literal $code:literal $http:literal $status:ident $en:literal $es:literal;)*) => {
        /// Why a call ended or was refused. Each cause is one row of the table.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Cause {
            $($(#[$doc])* $name,)*
        }

        impl Cause {
            /// Every cause, in the order of the table.
            pub const ALL: &'static [Cause] = &[$(Cause::$name,)*];

            const fn row(self) -> Row {
                match self {
                    $(Cause::$name => Row { sip: $sip, q850: $q850, code: $code, http: $http, status: CallStatus::$status, en: $en, es: $es },)*
                }
            }
        }
    };
}

struct Row {
    sip: u16,
    q850: u8,
    code: &'static str,
    http: u16,
    status: CallStatus,
    en: &'static str,
    es: &'static str,
}

causes! {
    /// Ended by one of the parties after the answer.
    Completed: 200 16 "completed" 200 Completed "The call was completed" "La llamada se completó";
    /// The caller hung up before the answer.
    Cancelled: 487 16 "canceled" 200 Canceled "The caller hung up before an answer" "Quien llamaba colgó antes de que contestaran";
    /// Another phone of the fork answered (RFC 3326).
    AnsweredElsewhere: 487 26 "answered_elsewhere" 200 Canceled "Another phone answered the call" "Otro teléfono contestó la llamada";
    /// Ended over the API.
    EndedByApi: 487 16 "ended_by_api" 200 Canceled "The call was ended over the API" "La llamada se terminó por la API";
    /// The callee is busy.
    Busy: 486 17 "busy" 409 Busy "The called phone is busy" "El teléfono llamado está ocupado";
    /// No answer within the ring time.
    NoAnswer: 480 19 "no_answer" 409 NoAnswer "Nobody answered in time" "Nadie contestó a tiempo";
    /// No phone of the callee is registered.
    Unreachable: 480 20 "unreachable" 409 Failed "No phone of the called extension is registered" "Ningún teléfono de la extensión llamada está registrado";
    /// The callee has do-not-disturb on.
    DoNotDisturb: 480 21 "do_not_disturb" 409 Busy "The called extension does not want to be disturbed" "La extensión llamada no desea ser molestada";
    /// The callee declined.
    Declined: 603 21 "declined" 409 Busy "The call was declined" "La llamada fue rechazada";
    /// The phone refused with a status that has no cause of its own.
    Refused: 480 31 "refused" 409 Failed "The called phone refused the call" "El teléfono llamado rechazó la llamada";
    /// Unknown number.
    NotFound: 404 1 "not_found" 404 Failed "There is no such number" "Ese número no existe";
    /// An outside number that no trunk carries (S194).
    NoRoute: 404 3 "no_route" 404 Failed "No trunk carries this number" "Ningún troncal lleva este número";
    /// None of the trunks that carry the number could be reached.
    TrunkDown: 503 38 "trunk_unavailable" 503 Failed "No trunk could be reached" "No se pudo alcanzar ningún troncal";
    /// The trunk's channel limit or calls-per-second limit is reached.
    TrunkBusy: 503 34 "trunk_busy" 503 Failed "All lines of the trunk are in use" "Todas las líneas del troncal están ocupadas";
    /// Forwarding loop, or too many forwards (S71).
    ForwardingLoop: 482 25 "forwarding_loop" 409 Failed "The call was forwarded in a circle or too often" "La llamada se desvió en círculo o demasiadas veces";
    /// The dialled text is not a number.
    BadNumber: 484 28 "bad_number" 400 Failed "What was dialled is not a number" "Lo marcado no es un número";
    /// The extension is inactive (S70).
    Inactive: 480 27 "extension_inactive" 409 Failed "The extension is inactive" "La extensión está inactiva";
    /// Forbidden by policy.
    Forbidden: 403 21 "forbidden" 403 Failed "This call is not permitted" "Esta llamada no está permitida";
    /// Not covered by the caller's dial permissions (S188).
    NotPermitted: 403 21 "not_permitted" 403 Failed "This extension may not dial such numbers" "Esta extensión no tiene permiso para marcar esos números";
    /// A number that is blocked for everyone: premium, satellite, fraud, or outside the allowed countries.
    NumberBlocked: 403 21 "number_blocked" 403 Failed "This number is blocked" "Este número está bloqueado";
    /// An emergency number from an origin that may not dial one.
    EmergencyNotAllowed: 403 21 "emergency_not_allowed" 403 Failed "Emergency numbers can only be dialled from a registered phone" "Los números de emergencia solo se marcan desde un teléfono registrado";
    /// The two phones have no codec in common.
    IncompatibleMedia: 488 88 "incompatible_media" 409 Failed "The phones have no codec in common" "Los teléfonos no tienen un códec en común";
    /// A recording was requested, and the phones use a codec other than G.711.
    CodecNotRecordable: 488 65 "codec_not_recordable" 409 Failed "The phones of this call speak a codec that cannot be recorded" "Los teléfonos de esta llamada hablan con un códec que no se puede grabar";
    /// The SDP could not be parsed.
    BadMedia: 400 96 "bad_sdp" 400 Failed "The session description is malformed" "La descripción de sesión está mal formada";
    /// The user's limit of simultaneous calls is reached (S29).
    ConcurrentCallLimit: 503 42 "concurrent_call_limit" 429 Failed "Too many simultaneous calls of this user" "Demasiadas llamadas simultáneas de este usuario";
    /// A limit of the server is reached.
    Overload: 503 42 "overload" 503 Failed "The server is at its limit" "El servidor está en su límite";
    /// The server is shutting down, or its SIP side is stopped.
    Draining: 503 41 "draining" 503 Failed "The server is shutting down" "El servidor se está apagando";
    /// The maximum call duration is reached (S30).
    MaxDuration: 487 16 "max_duration" 200 Completed "The call reached its longest permitted time" "La llamada alcanzó su duración máxima";
    /// No ACK for the answer.
    NoAck: 408 102 "no_ack" 409 Failed "The caller never acknowledged the answer" "Quien llamaba nunca confirmó la respuesta";
    /// The session timer expired (RFC 4028).
    SessionExpired: 408 102 "session_expired" 409 Completed "The session timer ran out: a phone has vanished" "El temporizador de sesión expiró: un teléfono desapareció";
    /// A peer no longer knows the call (481).
    PeerLost: 481 102 "peer_lost" 409 Failed "A phone no longer answers" "Un teléfono dejó de responder";
    /// No RTP from either side for the configured time.
    MediaTimeout: 408 102 "media_timeout" 409 Completed "No audio arrived any more" "Dejó de llegar audio";
    /// A click-to-call found no registered phone (S48).
    NoRegisteredDevice: 480 20 "no_registered_device" 409 Failed "The user has no registered phone" "El usuario no tiene ningún teléfono registrado";
    /// `useTwilio` requested, and Twilio is not configured (S49).
    TwilioNotConfigured: 503 38 "twilio_not_configured" 503 Failed "Twilio is not configured" "Twilio no está configurado";
    /// The process ended while the call was up.
    Crash: 500 41 "crash" 500 Failed "The server restarted while the call was up" "El servidor se reinició durante la llamada";
    /// The audio of a recurring call is missing (S86).
    AudioMissing: 500 41 "audio_missing" 409 Failed "The audio that was to be played is not there" "El audio que se debía reproducir no está";
    /// An error of the server.
    Internal: 500 41 "internal" 500 Failed "An error of the server" "Un error del servidor";
    /// The user's limit of outbound calls per minute is reached (security.md row 7).
    CallRateLimit: 503 42 "call_rate_limit" 429 Failed "Too many calls to the outside within a minute" "Demasiadas llamadas al exterior en un minuto";
    /// The user's outbound minutes of the day are used up (security.md row 7).
    OutsideMinutesUsed: 403 21 "outside_minutes_used" 429 Failed "The minutes to the outside are used up for today" "Los minutos de llamadas al exterior de hoy están agotados";
    /// An emergency call that no trunk can carry (security.md row 31).
    EmergencyNoRoute: 503 38 "emergency_no_route" 503 Failed "No trunk is there for emergency calls: use another telephone" "No hay ningún troncal para llamadas de emergencia: use otro teléfono";
}

impl Cause {
    /// The SIP status with which a pending INVITE is refused.
    pub const fn sip_status(self) -> u16 {
        self.row().sip
    }

    /// The Q.850 cause for the Reason header (RFC 3326).
    pub const fn q850(self) -> u8 {
        self.row().q850
    }

    /// The stable code: the API's `code`, the CDR's `endReason`, the label of metrics.
    pub const fn code(self) -> &'static str {
        self.row().code
    }

    /// The HTTP status of a refused API request.
    pub const fn http_status(self) -> u16 {
        self.row().http
    }

    /// The final status of a call that ended with this cause before the answer; an answered call is `completed`.
    pub const fn call_status(self) -> CallStatus {
        self.row().status
    }

    /// The sentence shown to users.
    pub const fn sentence(self, language: Language) -> &'static str {
        match language {
            Language::English => self.row().en,
            Language::Spanish => self.row().es,
        }
    }

    /// The cause for a carrier's Q.850 cause, where it says more than the SIP status beside it (RFC 3326, ITU-T Q.850).
    pub const fn of_q850(cause: u8) -> Option<Cause> {
        Some(match cause {
            1 | 2 => Cause::NotFound,
            17 => Cause::Busy,
            18 | 19 => Cause::NoAnswer,
            21 => Cause::Declined,
            28 => Cause::BadNumber,
            34 | 42 | 44 => Cause::TrunkBusy,
            38 | 41 => Cause::TrunkDown,
            50 | 52 | 57 => Cause::Forbidden,
            58 | 65 | 79 | 88 => Cause::IncompatibleMedia,
            _ => return None,
        })
    }

    /// The cause for a peer's final SIP status.
    pub const fn of_sip(status: u16) -> Cause {
        match status {
            486 | 600 => Cause::Busy,
            603 => Cause::Declined,
            408 => Cause::NoAnswer,
            404 | 410 | 604 => Cause::NotFound,
            487 => Cause::Cancelled,
            488 | 606 | 415 => Cause::IncompatibleMedia,
            484 => Cause::BadNumber,
            403 => Cause::Forbidden,
            481 => Cause::PeerLost,
            503 => Cause::Unreachable,
            _ => Cause::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_cause_has_a_code_of_its_own_and_legal_numbers() {
        let codes: BTreeSet<&str> = Cause::ALL.iter().map(|c| c.code()).collect();
        assert_eq!(codes.len(), Cause::ALL.len());
        for cause in Cause::ALL {
            assert!(
                (200..700).contains(&cause.sip_status()) && (1..=127).contains(&cause.q850()),
                "{cause:?}"
            );
            assert!((200..600).contains(&cause.http_status()) && cause.http_status() != 422, "{cause:?}"); // S23
            assert_ne!(cause.sentence(Language::English), cause.sentence(Language::Spanish));
        }
    }
}
