//! State and health of the server.

use serde::Serialize;
use utoipa::ToSchema;

use crate::TaskStatus;
use crate::routes::trunks::schemas::TrunkHealth;

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
    /// Threads and tasks of the process, by name. Those that connections have of their own are not shown.
    pub tasks: Vec<TaskView>,
    /// The release of the IANA time zone database that is built in.
    pub tzdb_version: &'static str,
    pub uptime_seconds: u64,
    pub version: String,
}

/// A thread or task of the process.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TaskView {
    pub name: String,
    /// `running`, `restarting` after an error, or `ended` where it has nothing more to do.
    pub status: &'static str,
    /// How often it has begun anew after an error.
    pub restarts: u64,
    /// Its last error: where, and why.
    pub last_fault: Option<String>,
}

impl From<TaskStatus> for TaskView {
    fn from(task: TaskStatus) -> TaskView {
        TaskView {
            name: task.name,
            status: task.state.as_str(),
            restarts: task.restarts,
            last_fault: task.last_fault,
        }
    }
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
    /// `ok`, the state of the SIP side, `disk_full`, or `stalled` where the exchange does not move.
    pub status: &'static str,
    /// Whether the database takes writes: `ok`, `disk_full`, `unavailable`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub database: Option<&'static str>,
    /// Whether the journal has room: `ok`; `low`, then `full`, when it lives on what was set aside for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub journal: Option<&'static str>,
}
