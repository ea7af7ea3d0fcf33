//! State and health of the server.

use serde::Serialize;
use utoipa::ToSchema;

use crate::routes::trunks::shapes::TrunkHealth;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServerStatus {
    pub success: bool,
    /// `running`, `stopped`, `starting` or `draining`.
    pub status: &'static str,
    /// The same.
    pub opensips_status: &'static str,
    /// The SIP listeners.
    pub listeners: Vec<String>,
    /// Calls, not legs.
    pub active_calls: usize,
    pub registrations: usize,
    /// RTP ports that calls hold now.
    pub ports_in_use: usize,
    /// How the ways to the outside are doing.
    pub trunks: Vec<TrunkHealth>,
    /// The release of the IANA time zone database that is built in.
    pub tzdb_version: &'static str,
    pub uptime_seconds: u64,
    pub version: String,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Health {
    /// `running`, `stopped`, `starting` or `draining`.
    pub opensips_status: &'static str,
    /// Calls, not legs.
    pub active_calls: usize,
    /// Whether the server is up.
    pub server_uptime: bool,
    pub server_uptime_seconds: u64,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Probe {
    /// `ok`, the state of the SIP side, or `stalled` where the exchange does not move.
    pub status: &'static str,
}
