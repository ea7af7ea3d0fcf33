//! The control socket: `control.sock` in the data folder tells its owner what runs there, also when the API has no key that the asker
//! knows, or answers nobody. Whoever connects gets one JSON document; nothing is read from him.

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
/// How long the parts of the server are waited for before they are said not to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long an asker waits: a little more than the server for its parts.
const ANSWER: Duration = Duration::from_secs(6);
/// Bytes of an answer that an asker is willing to hold: a thousand bans are a tenth of it.
const ANSWER_BYTES: u64 = 4 * 1024 * 1024;

/// What does not change while the server runs.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Facts {
    /// Its process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// The SIP listeners, `udp://127.0.0.1:5060`.
    pub sip: Vec<String>,
    /// The HTTP listeners.
    pub http: Vec<String>,
    /// Whether `serve --lan` opened them to others.
    pub lan: bool,
    /// The host that phones are told.
    pub public_host: String,
    /// Its configuration file.
    pub config_file: Option<PathBuf>,
    /// What is in force, by key, with secrets hidden.
    pub settings: BTreeMap<String, String>,
    /// The time zone data: which, and its version.
    pub time_zones: String,
}

/// A trunk.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TrunkState {
    /// What people call it.
    pub name: String,
    /// `up`, `down`, `unknown`, `disabled`.
    pub state: String,
}

/// A source that is ignored.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BanState {
    /// Its address.
    pub address: String,
    /// The user name that was tried.
    pub username: Option<String>,
    /// When it ends.
    pub until: String,
}

/// What the exchange says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Exchange {
    /// `running`, `draining`, ….
    pub state: String,
    /// Calls that are up.
    pub active_calls: usize,
    /// Phones.
    pub registrations: usize,
    /// The ways outside.
    pub trunks: Vec<TrunkState>,
    /// Whose messages are dropped.
    pub bans: Vec<BanState>,
}

/// The document.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Report {
    /// What does not change.
    #[serde(flatten)]
    pub facts: Facts,
    /// `None` where it does not answer.
    pub exchange: Option<Exchange>,
    /// What is wrong with the database; `None` where it answers.
    pub database_fault: Option<String>,
}

/// Open the socket in a data folder that is ours.
pub fn open(data: &Path) -> io::Result<UnixListener> {
    let folder = File::open(data)?;
    let path = short(&folder);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// The socket by way of the open folder: its own path may be longer than the 108 bytes of `sun_path`.
fn short(folder: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{NAME}", folder.as_raw_fd()))
}

/// Answer whoever connects, one after the other.
pub async fn answer(listener: Arc<UnixListener>, facts: Facts, switch_handle: SwitchHandle, store: Store) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let report = report(&facts, &switch_handle, &store).await;
                timeout(PATIENCE, tell(stream, &report)).await.ok();
            }
            Err(error) => {
                tracing::warn!(%error, "nobody is accepted at the control socket");
                tokio::time::sleep(PATIENCE).await;
            }
        }
    }
}

async fn tell(mut stream: UnixStream, report: &Report) -> io::Result<()> {
    stream.write_all(&serde_json::to_vec(report)?).await?;
    stream.shutdown().await
}

async fn report(facts: &Facts, switch_handle: &SwitchHandle, store: &Store) -> Report {
    let (exchange, database) = tokio::join!(
        async { timeout(PATIENCE, exchange(switch_handle)).await.ok().flatten() },
        timeout(PATIENCE, store.outbox_seq())
    );
    let database_fault = match database {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(crate::tr!("it does not answer", "no responde")),
    };
    Report { facts: facts.clone(), exchange, database_fault }
}

async fn exchange(switch_handle: &SwitchHandle) -> Option<Exchange> {
    let Reply::Status(status) = switch_handle.ask(Command::Status).await? else { return None };
    let Reply::Trunks(trunks) = switch_handle.ask(Command::Trunks).await? else { return None };
    let Reply::Bans(bans) = switch_handle.ask(Command::Bans).await? else { return None };
    Some(Exchange {
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

/// Ask the server that runs on a data folder.
pub fn ask(data: &Path) -> io::Result<Report> {
    let folder = File::open(data)?;
    let stream = Stream::connect(short(&folder))?;
    stream.set_read_timeout(Some(ANSWER))?;
    let mut text = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}
