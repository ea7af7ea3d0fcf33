//! The control socket, `control.sock` in the data directory: reports the state of the running server to its owner, even when the API is unreachable
//! or the client has no valid key. Each connection gets one JSON document; nothing is read from the client.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as Stream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use store::Store;
use switch::{Command, Reply};
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use crate::switch_thread::SwitchHandle;

const NAME: &str = "control.sock";
/// Timeout for the switch and for the database, each; after it they are reported as not answering.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Read timeout of the client: longer than the server's own two timeouts together.
const READ_TIMEOUT: Duration = Duration::from_secs(6);
/// Bytes that the client reads at most: a thousand bans take a tenth of it.
const MAX_REPORT_BYTES: u64 = 4 * 1024 * 1024;

/// The part of the report that is fixed while the server runs.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Facts {
    /// Process id.
    pub pid: u32,
    /// Version of the binary.
    pub version: String,
    /// The SIP listeners, as `udp://127.0.0.1:5060`.
    pub sip: Vec<String>,
    /// Addresses of the HTTP listeners.
    pub http: Vec<String>,
    /// Whether `serve --lan` opened the listeners to the network.
    pub lan: bool,
    /// The host name or address that is advertised to phones.
    pub public_host: String,
    /// The configuration file, if there is one.
    pub config_file: Option<PathBuf>,
    /// The settings in force, by key, with secrets hidden.
    pub settings: BTreeMap<String, String>,
    /// The time zone data: source and version.
    pub time_zones: String,
}

/// A trunk.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TrunkState {
    /// Its name in the configuration.
    pub name: String,
    /// `up`, `down`, `unknown`, `disabled`.
    pub state: String,
}

/// A banned source.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BanState {
    /// Source address.
    pub address: String,
    /// The user name that was tried.
    pub username: Option<String>,
    /// End of the ban (RFC 3339).
    pub until: String,
}

/// State of the switch.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SwitchState {
    /// `running`, `draining`, ….
    pub state: String,
    /// Calls that are up.
    pub active_calls: usize,
    /// Registered contacts.
    pub registrations: usize,
    /// The trunks.
    pub trunks: Vec<TrunkState>,
    /// The bans in force.
    pub bans: Vec<BanState>,
}

/// The whole JSON document.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Report {
    /// The fixed part.
    #[serde(flatten)]
    pub facts: Facts,
    /// `None` if the switch does not answer.
    pub exchange: Option<SwitchState>,
    /// The database error; `None` if the database answers.
    pub database_fault: Option<String>,
}

/// Open the socket in a data directory that this process has locked.
pub fn open(data: &Path) -> io::Result<UnixListener> {
    let folder = File::open(data)?;
    let path = socket_path(&folder);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// The socket's path via the open directory: the real path may be longer than the 108 bytes of `sun_path`.
fn socket_path(folder: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{NAME}", folder.as_raw_fd()))
}

/// Serve clients, one at a time.
pub async fn serve(listener: Arc<UnixListener>, facts: Facts, switch_handle: SwitchHandle, store: Store) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let report = report(&facts, &switch_handle, &store).await;
                timeout(TIMEOUT, write_report(stream, &report)).await.ok();
            }
            Err(error) => {
                tracing::warn!(%error, "the control socket cannot accept a connection");
                tokio::time::sleep(TIMEOUT).await;
            }
        }
    }
}

async fn write_report(mut stream: UnixStream, report: &Report) -> io::Result<()> {
    stream.write_all(&serde_json::to_vec(report)?).await?;
    stream.shutdown().await
}

async fn report(facts: &Facts, switch_handle: &SwitchHandle, store: &Store) -> Report {
    let (exchange, database) = tokio::join!(
        async { timeout(TIMEOUT, switch_state(switch_handle)).await.ok().flatten() },
        timeout(TIMEOUT, store.outbox_seq())
    );
    let database_fault = match database {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(crate::tr!("it does not answer", "no responde")),
    };
    Report { facts: facts.clone(), exchange, database_fault }
}

async fn switch_state(switch_handle: &SwitchHandle) -> Option<SwitchState> {
    let Reply::Status(status) = switch_handle.ask(Command::Status).await? else { return None };
    let Reply::Trunks(trunks) = switch_handle.ask(Command::Trunks).await? else { return None };
    let Reply::Bans(bans) = switch_handle.ask(Command::Bans).await? else { return None };
    Some(SwitchState {
        state: status.state.as_str().into(),
        active_calls: status.active_calls,
        registrations: status.registrations,
        trunks: trunks
            .into_iter()
            .map(|trunk| TrunkState { name: trunk.name, state: trunk.life.as_str().into() })
            .collect(),
        bans: bans
            .into_iter()
            .map(|ban| BanState {
                address: ban.shown_source(),
                username: ban.account.as_deref().map(str::to_owned),
                until: ban.until.to_string(),
            })
            .collect(),
    })
}

/// Request the report of the server that runs on a data directory.
pub fn ask(data: &Path) -> io::Result<Report> {
    let folder = File::open(data)?;
    let stream = Stream::connect(socket_path(&folder))?;
    stream.set_read_timeout(Some(READ_TIMEOUT))?;
    let mut text = Vec::new();
    stream.take(MAX_REPORT_BYTES).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}
