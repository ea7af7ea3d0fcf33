//! JSON of server status, health and probes.

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
    /// Same as status.
    pub opensips_status: &'static str,
    /// SIP listeners, such as `udp://203.0.113.7:5060`.
    pub listeners: Vec<String>,
    /// Calls, not legs.
    pub active_calls: usize,
    pub registrations: usize,
    /// RTP ports in use.
    pub ports_in_use: usize,
    /// State of each trunk.
    pub trunks: Vec<TrunkHealth>,
    /// Threads and tasks of the process. Tasks of single connections are not listed.
    pub tasks: Vec<TaskView>,
    /// Release of the built-in IANA time zone database.
    pub tzdb_version: &'static str,
    pub uptime_seconds: u64,
    pub version: String,
}

/// A thread or task of the process.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TaskView {
    pub name: String,
    /// `running`, `restarting` after an error, or `ended` if it has finished its work.
    pub status: &'static str,
    /// Number of restarts after an error.
    pub restarts: u64,
    /// Last error, with its source location.
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
    /// Whether the server is up; always true in a response.
    pub server_uptime: bool,
    pub server_uptime_seconds: u64,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Probe {
    /// `ok`, the state of the SIP side, `disk_full`, or `stalled` if the SIP event loop does not iterate.
    pub status: &'static str,
    /// Whether the database accepts writes: `ok`, `disk_full`, `unavailable`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub database: Option<&'static str>,
    /// Free space of the journal: `ok`; `low`, then `full`, when only its reserved space is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub journal: Option<&'static str>,
}
