//! JSON of trunks, without passwords.

use model::trunk::{Source, Trunk, TrunkHost};
use model::{CallerId, NumberFormat};
use serde::Serialize;
use switch::{TrunkHostStatus, TrunkRegistration, TrunkStatus};
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
pub(crate) struct TrunkAnswer {
    pub success: bool,
    pub trunk: TrunkView,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TrunksAnswer {
    pub success: bool,
    /// In routing order.
    pub trunks: Vec<TrunkView>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TrunkView {
    pub id: String,
    pub name: String,
    pub enabled: bool,
    pub priority: u16,
    pub hosts: Vec<TrunkHostView>,
    pub username: Option<String>,
    pub has_password: bool,
    pub realm: Option<String>,
    pub register: bool,
    pub register_expires: Option<u32>,
    pub outbound_proxy: Option<TrunkHostView>,
    pub sources: Vec<String>,
    pub dids: Vec<DidView>,
    pub default_extension: Option<String>,
    /// `fixed`, `own` or `pass`.
    pub caller_id: &'static str,
    pub caller_number: Option<String>,
    /// `e164`, `digits` or `dialled`.
    pub number_format: &'static str,
    pub strip_prefix: Option<String>,
    pub add_prefix: Option<String>,
    pub codecs: Vec<String>,
    pub max_channels: Option<u32>,
    pub calls_per_second: Option<u32>,
    pub probe: bool,
    pub diversion: bool,
    #[schema(format = DateTime)]
    pub created_at: String,
    #[schema(format = DateTime)]
    pub updated_at: String,
    /// Status of the trunk; absent if the SIP side does not reply.
    pub status: Option<TrunkStatusView>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct TrunkHostView {
    pub host: String,
    pub port: Option<u16>,
    /// `udp`, `tcp` or `tls`.
    pub transport: &'static str,
    pub priority: u16,
    pub weight: u16,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct DidView {
    pub number: String,
    pub extension: Option<String>,
}

#[derive(Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TrunkStatusView {
    /// `up`, `down`, `unknown` or `disabled`.
    pub state: &'static str,
    /// `off`, `trying`, `registered`, `failed`, `leaving`, or `elsewhere`: by another server on the same database.
    pub registration: &'static str,
    /// SIP status with which the carrier rejected the registration.
    pub registration_status: Option<u16>,
    #[schema(format = DateTime)]
    pub registered_until: Option<String>,
    pub active_calls: u32,
    pub hosts: Vec<TrunkHostStatusView>,
}

#[derive(Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TrunkHostStatusView {
    pub uri: String,
    pub address: String,
    pub transport: &'static str,
    /// `up`, `down` or `unknown`.
    pub state: &'static str,
    /// SIP status of the last response to OPTIONS.
    pub last_status: Option<u16>,
    pub round_trip_ms: Option<f64>,
    #[schema(format = DateTime)]
    pub checked_at: Option<String>,
}

/// A trunk in the server status.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TrunkHealth {
    pub id: String,
    pub name: String,
    /// `up`, `down`, `unknown` or `disabled`.
    pub state: &'static str,
    /// `off`, `trying`, `registered`, `failed` or `leaving`.
    pub registration: &'static str,
    pub active_calls: u32,
}

impl TrunkView {
    pub(crate) fn of(trunk: &Trunk, status: Option<&TrunkStatus>) -> TrunkView {
        let settings = &trunk.settings;
        let text = |number: &Option<model::DialledNumber>| number.as_ref().map(ToString::to_string);
        TrunkView {
            id: trunk.id.to_string(),
            name: trunk.name.clone(),
            enabled: trunk.enabled,
            priority: trunk.priority,
            hosts: settings.hosts.iter().map(host).collect(),
            username: settings.username.clone(),
            has_password: trunk.password.is_some(),
            realm: settings.realm.clone(),
            register: settings.register.is_some(),
            register_expires: settings.register,
            outbound_proxy: settings.outbound_proxy.as_ref().map(host),
            sources: settings.sources.iter().map(Source::to_string).collect(),
            dids: settings
                .dids
                .iter()
                .map(|did| DidView {
                    number: did.number.to_string(),
                    extension: did.extension.as_ref().map(ToString::to_string),
                })
                .collect(),
            default_extension: settings.default_extension.as_ref().map(ToString::to_string),
            caller_id: match settings.caller_id {
                CallerId::Fixed => "fixed",
                CallerId::Own => "own",
                CallerId::Pass => "pass",
            },
            caller_number: text(&settings.caller_number),
            number_format: match settings.number_format {
                NumberFormat::E164 => "e164",
                NumberFormat::Digits => "digits",
                NumberFormat::Dialled => "dialled",
            },
            strip_prefix: text(&settings.strip_prefix),
            add_prefix: text(&settings.add_prefix),
            codecs: settings.codecs.clone(),
            max_channels: settings.max_channels,
            calls_per_second: settings.calls_per_second,
            probe: settings.probe,
            diversion: settings.diversion,
            created_at: trunk.created_at.to_string(),
            updated_at: trunk.updated_at.to_string(),
            status: status.map(TrunkStatusView::of),
        }
    }
}

fn host(host: &TrunkHost) -> TrunkHostView {
    TrunkHostView {
        host: host.host.clone(),
        port: host.port,
        transport: host.transport.as_str(),
        priority: host.priority,
        weight: host.weight,
    }
}

fn registration(of: TrunkRegistration) -> (&'static str, Option<u16>) {
    match of {
        TrunkRegistration::Off => ("off", None),
        TrunkRegistration::Trying => ("trying", None),
        TrunkRegistration::Registered => ("registered", None),
        TrunkRegistration::Failed { status } => ("failed", status),
        TrunkRegistration::Leaving => ("leaving", None),
        TrunkRegistration::Elsewhere => ("elsewhere", None),
    }
}

impl TrunkStatusView {
    fn of(status: &TrunkStatus) -> TrunkStatusView {
        let (word, refused) = registration(status.registration);
        TrunkStatusView {
            state: status.life.as_str(),
            registration: word,
            registration_status: refused,
            registered_until: status.registered_until.map(|at| at.to_string()),
            active_calls: status.calls,
            hosts: status.hosts.iter().map(TrunkHostStatusView::of).collect(),
        }
    }
}

impl TrunkHostStatusView {
    fn of(host: &TrunkHostStatus) -> TrunkHostStatusView {
        TrunkHostStatusView {
            uri: host.uri.clone(),
            address: host.address.to_string(),
            transport: host.transport,
            state: host.health.as_str(),
            last_status: host.status,
            round_trip_ms: host.round_trip.map(|time| time.as_secs_f64() * 1000.0),
            checked_at: host.checked_at.map(|at| at.to_string()),
        }
    }
}

impl TrunkHealth {
    pub(crate) fn of(status: &TrunkStatus) -> TrunkHealth {
        TrunkHealth {
            id: status.id.to_string(),
            name: status.name.clone(),
            state: status.life.as_str(),
            registration: registration(status.registration).0,
            active_calls: status.calls,
        }
    }
}
