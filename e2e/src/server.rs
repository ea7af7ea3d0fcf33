//! A running `centralita` with its own data directory and ports.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};

use crate::{Block, Http, Mount, Postgres, Scratch, until};

/// Settings of a test that differ from the defaults.
#[derive(Debug, Default, Clone)]
pub struct Settings {
    /// Lines for the `[http]` table.
    pub http: String,
    /// Lines for the `[sip]` table.
    pub sip: String,
    /// Further tables.
    pub more: String,
    /// Environment variables.
    pub environment: Vec<(String, String)>,
    /// Size in megabytes of a tmpfs for the data directory (only root may mount it); `None` for an ordinary directory.
    pub data_mb: Option<u32>,
    /// Whether stderr is a pipe that is never read.
    pub unread_stderr: bool,
    /// Whether faults can be injected: see [`Server::fault`]. Only a debug binary supports it.
    pub faults: bool,
    /// URL of the database; `None` for an empty SQLite, or with `CENTRALITA_TEST_STORE=postgres` an empty PostgreSQL.
    pub store: Option<String>,
}

/// A running server. It is killed when it is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    block: Block,
    /// Declared before the directory that contains it, so that it is dropped first.
    mount: Option<Mount>,
    folder: Scratch,
    settings: Settings,
    runs: u32,
}

/// An extension with the credentials that a phone needs.
#[derive(Debug, Clone)]
pub struct Extension {
    pub id: String,
    pub number: String,
    pub username: String,
    pub password: String,
    /// API key of the user who owns it.
    pub key: String,
}

impl Extension {
    /// Parse credentials from a response.
    ///
    /// # Panics
    /// If they have no user name or no password.
    #[track_caller]
    pub fn of(credentials: &Value, key: &str) -> Self {
        Self {
            id: String::new(),
            number: String::new(),
            username: text(&credentials["username"]),
            password: text(&credentials["password"]),
            key: key.to_owned(),
        }
    }
}

impl Server {
    pub fn start() -> Self {
        Self::with(Settings::default())
    }

    /// Start with an empty data directory on a PostgreSQL database, which several servers may share.
    pub fn start_on(database: &str) -> Self {
        Self::with(Settings { store: Some(database.to_owned()), ..Settings::default() })
    }

    /// Start with an empty data directory and wait until the server is ready.
    ///
    /// # Panics
    /// If it does not become ready; its log is shown.
    pub fn with(mut settings: Settings) -> Self {
        settings.store = settings.store.or_else(default_store);
        let folder = Scratch::new("server");
        let mount = settings.data_mb.map(|size| Mount::tmpfs(&folder.path().join("data"), size));
        let block = Block::take();
        let child = launch(&block, &folder, &settings, 1);
        let mut server = Self { child, block, mount, folder, settings, runs: 1 };
        server.wait_ready();
        server
    }

    /// `kill -9`: no orderly shutdown.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Ask the process to end (SIGTERM), and wait for it.
    ///
    /// # Panics
    /// If it does not end.
    pub fn stop(&mut self) {
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        until(Duration::from_secs(30), "the server ends on SIGTERM", || self.child.try_wait().ok().flatten());
    }

    /// Make a task of the process panic, by its name.
    ///
    /// # Panics
    /// Without [`Settings::faults`].
    pub fn fault(&self, task: &str) {
        assert!(self.settings.faults, "faults are not switched on");
        self.folder.write(&format!("faults/{task}"), "");
    }

    /// Wait until the process has ended by itself. Returns its exit code.
    ///
    /// # Panics
    /// If it does not end.
    pub fn ends(&mut self) -> Option<i32> {
        until(Duration::from_secs(20), "the process ends", || self.child.try_wait().ok().flatten()).code()
    }

    /// Its range of RTP ports.
    pub fn rtp(&self) -> std::ops::RangeInclusive<u16> {
        let (low, high) = self.block.rtp();
        low..=high
    }

    /// Start again on the same data directory and ports.
    pub fn restart(&mut self) {
        self.kill();
        self.runs += 1;
        self.child = launch(&self.block, &self.folder, &self.settings, self.runs);
        self.wait_ready();
    }

    /// Start again on another database.
    pub fn restart_on(&mut self, database: &str) {
        self.settings.store = Some(database.to_owned());
        self.restart();
    }

    fn wait_ready(&mut self) {
        let limit = Duration::from_secs(20);
        let start = std::time::Instant::now();
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("the server ended at once ({status}):\n{}", self.log());
            }
            let answer = Http::new(self.http_address(), None).send("GET", "/readyz", "*/*", None);
            if answer.is_ok_and(|answer| answer.status == 200) {
                return;
            }
            assert!(start.elapsed() < limit, "not ready after {limit:?}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Output of the process since its last start.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join(format!("out-{}", self.runs))).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the process is running.
    pub fn lives(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The file system of the data directory.
    ///
    /// # Panics
    /// If the data directory has no file system of its own.
    pub fn mount(&self) -> &Mount {
        self.mount.as_ref().expect("data_mb was set")
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("centralita.toml")
    }

    pub fn http_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.block.port(0)))
    }

    /// Its SIP address, for UDP and TCP.
    pub fn sip(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.block.port(1)))
    }

    /// A port of the server's block for the test; the server does not use those from 2 to 39.
    pub fn spare_port(&self, number: u16) -> u16 {
        self.block.port(2 + number)
    }

    /// The administrator's key, which the first start wrote.
    ///
    /// # Panics
    /// If there is none.
    pub fn admin_key(&self) -> String {
        let path = self.data().join("admin.key");
        std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            .trim()
            .to_owned()
    }

    pub fn admin(&self) -> Http {
        Http::new(self.http_address(), Some(&self.admin_key()))
    }

    pub fn http(&self, key: Option<&str>) -> Http {
        Http::new(self.http_address(), key)
    }

    /// A key for `user` with the three documented permissions; creates the user (S33, S53).
    pub fn key_for(&self, user: &str) -> String {
        let body = json!({ "userId": user, "name": "Test", "permissions": ["call", "sip", "recording"] });
        let answer = self.admin().post("/api/v1/keys/voip/generate", &body).expect(200);
        text(&answer["key"]["key"])
    }

    /// An extension that belongs to a user of its own.
    pub fn extension(&self, number: &str) -> Extension {
        let user = format!("user_of_{number}");
        let key = self.key_for(&user);
        self.extension_of(&user, &key, number)
    }

    /// An extension of a given user.
    pub fn extension_of(&self, user: &str, key: &str, number: &str) -> Extension {
        let body =
            json!({ "userId": user, "extensionNumber": number, "displayName": format!("Phone {number}") });
        let answer = self.http(Some(key)).post("/api/v1/voip/extensions/create", &body).expect(200);
        let extension = &answer["extension"];
        // Voicemail is on by default (S63), and would answer every call that a test expects to be rejected.
        let path = format!("/api/v1/voip/extensions/{}", text(&extension["id"]));
        self.http(Some(key)).put(&path, &json!({"voicemailEnabled": false})).expect(200);
        Extension {
            id: text(&extension["id"]),
            number: text(&extension["extensionNumber"]),
            ..Extension::of(&extension["sipCredentials"], key)
        }
    }

    /// Enable voicemail for an extension.
    pub fn with_voicemail(&self, extension: &Extension) {
        let path = format!("/api/v1/voip/extensions/{}", extension.id);
        self.http(Some(&extension.key)).put(&path, &json!({"voicemailEnabled": true})).expect(200);
    }

    /// The calls of `GET /api/v1/calls`, newest first, as seen by the administrator.
    pub fn calls(&self) -> Vec<Value> {
        let answer = self.admin().get("/api/v1/calls?limit=100").expect(200);
        answer["calls"].as_array().cloned().unwrap_or_default()
    }

    /// The only call, once it has ended.
    ///
    /// # Panics
    /// If there are several, or it does not end.
    pub fn finished_call(&self) -> Value {
        crate::soon("one finished call is listed", || {
            let calls = self.calls();
            assert!(calls.len() <= 1, "one call has one record: {calls:#?}");
            calls.into_iter().find(|call| call["endedAt"].is_string())
        })
    }

    /// The binary of this server.
    pub fn binary(&self) -> &'static Path {
        binary()
    }

    /// Run a command of the binary with this server's configuration and data.
    ///
    /// # Panics
    /// If the binary cannot be started.
    pub fn command(&self, words: &[&str]) -> std::process::Output {
        let mut command = Command::new(binary());
        command.args(words).arg("--config").arg(self.config()).arg("--data").arg(self.data());
        command.output().expect("the binary runs")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The kind of database for servers whose settings do not say which.
fn default_store() -> Option<String> {
    match std::env::var("CENTRALITA_TEST_STORE").as_deref() {
        Err(_) | Ok("sqlite") => None,
        Ok("postgres") => Some(Postgres::shared().database()),
        Ok(other) => panic!("CENTRALITA_TEST_STORE={other}: write sqlite or postgres"),
    }
}

/// The text of a JSON string.
///
/// # Panics
/// If it is not a string.
#[track_caller]
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a string was expected, not {value}")).to_owned()
}

fn launch(block: &Block, folder: &Scratch, settings: &Settings, run: u32) -> Child {
    let (http, sip, (low, high)) = (block.port(0), block.port(1), block.rtp());
    // Tests poll conditions often; only a test of the rate limit should reach it.
    let limits =
        if settings.more.contains("[limits]") { "" } else { "[limits]\nrequests_per_minute = 100000\n" };
    let store = settings.store.as_ref().map_or(String::new(), |url| format!("[store]\nurl = \"{url}\"\n"));
    let config = format!(
        "[http]\nlisten = [\"127.0.0.1:{http}\"]\n{}\n\
         [sip]\ndomain = \"localhost\"\nlisten = [\"udp://127.0.0.1:{sip}\", \"tcp://127.0.0.1:{sip}\"]\n{}\n\
         [media]\nports = \"{low}-{high}\"\n{}\n{limits}{store}",
        settings.http, settings.sip, settings.more
    );
    let config = folder.write("centralita.toml", config);
    let output = File::create(folder.path().join(format!("out-{run}"))).expect("a file for the output");
    let faults = folder.path().join("faults");
    if settings.faults {
        std::fs::create_dir_all(&faults).expect("a folder for faults");
    }
    let stdout = output.try_clone().expect("a second handle");
    let stderr = if settings.unread_stderr { Stdio::piped() } else { Stdio::from(output) };
    Command::new(binary())
        .arg("serve")
        .arg("--config")
        .arg(config)
        .arg("--data")
        .arg(folder.path().join("data"))
        .envs(settings.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())))
        .envs(settings.faults.then_some(("CENTRALITA_FAULTS", faults)))
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .expect("the binary starts")
}

/// The binary under test: `CENTRALITA_BIN`, or the one that cargo builds from this tree.
///
/// # Panics
/// If there is none.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("CENTRALITA_BIN") {
        Some(path) => {
            let path = PathBuf::from(path);
            assert!(path.is_file(), "CENTRALITA_BIN: {} is not there", path.display());
            path
        }
        None => build(),
    })
}

fn build() -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["build", "--package", "centralita-server", "--bin", "centralita", "--message-format=json"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "the server does not build");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "centralita")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo names the executable")
}
