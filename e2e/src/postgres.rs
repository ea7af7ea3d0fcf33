//! A PostgreSQL server of a test: an unprivileged process in a scratch directory that listens on a Unix socket, and on loopback only for tests of
//! TLS.
//!
//! Tests of other crates include this file, so it needs only the standard library.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Password of all databases here: it must never be printed anywhere.
pub const PASSWORD: &str = "pgtest-hush-7c1e";

/// A cluster. It ends, and its directory is removed, when this is dropped or the process ends in any way.
#[derive(Debug)]
pub struct Postgres {
    folder: PathBuf,
    running: Mutex<Option<Running>>,
    databases: AtomicU32,
    frozen: Mutex<Vec<String>>,
    /// TCP port with TLS; `None` without TLS.
    port: Option<u16>,
}

#[derive(Debug)]
struct Running {
    watchdog: Child,
    /// Closing it ends the cluster: the kernel closes it for a process that dies.
    stdin: ChildStdin,
}

/// Waits for the end of its stdin, then ends the cluster, and removes the directory unless told otherwise.
const WATCHDOG: &str = r#"
folder=$1; shift
"$@" </dev/null >>"$folder/log" 2>&1 &
read -r word
kill -INT $! 2>/dev/null
wait $!
[ "$word" = keep ] || rm -rf "$folder"
"#;

impl Postgres {
    /// The cluster that the tests of this process share.
    pub fn shared() -> &'static Postgres {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Postgres::start)
    }

    /// Create and start a cluster.
    ///
    /// # Panics
    /// If Debian's package `postgresql` is not installed, or the server does not start; its log is shown.
    pub fn start() -> Postgres {
        Postgres::make(None)
    }

    /// A cluster that also listens on a loopback port with TLS and a certificate for `localhost` (see [`Postgres::authority`]).
    ///
    /// # Panics
    /// As [`Postgres::start`], and without Debian's package `openssl`.
    pub fn start_with_tls() -> Postgres {
        let free = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = free.local_addr().expect("its number").port();
        drop(free);
        Postgres::make(Some(port))
    }

    fn make(port: Option<u16>) -> Postgres {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("centralita-pg-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("a folder for PostgreSQL");
        std::fs::write(folder.join("password"), PASSWORD).expect("the password's file");
        if port.is_some() {
            certify(&folder);
        }
        if is_root() {
            let owner = Command::new("chown").args(["-R", USER]).arg(&folder).status().expect("chown runs");
            assert!(owner.success(), "the user {USER} of Debian's package postgresql is missing");
        }
        let made = unprivileged("initdb")
            .args(["--no-sync", "--username=centralita", "--auth=scram-sha-256", "--encoding=UTF8"])
            .args(["--locale=C.UTF-8", "--pwfile"])
            .arg(folder.join("password"))
            .arg("--pgdata")
            .arg(folder.join("data"))
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let postgres = Postgres {
            folder,
            running: Mutex::new(None),
            databases: AtomicU32::new(0),
            frozen: Mutex::default(),
            port,
        };
        postgres.run();
        postgres
    }

    /// Start it, also again, and wait until it responds.
    ///
    /// # Panics
    /// If it does not start; its log is shown.
    pub fn run(&self) {
        let mut command = Command::new("sh");
        command.arg("-c").arg(WATCHDOG).arg("watchdog").arg(&self.folder);
        let server = unprivileged("postgres");
        command.arg(server.get_program()).args(server.get_args());
        command.arg("-D").arg(self.folder.join("data")).arg("-k").arg(&self.folder);
        // The data need not survive the machine, and no client connects from elsewhere.
        for setting in ["fsync=off", "max_connections=200", "log_statement=none"] {
            command.args(["-c", setting]);
        }
        match self.port {
            None => command.args(["-c", "listen_addresses="]),
            Some(port) => {
                let file = |name: &str| self.folder.join(name).display().to_string();
                let (certificate, key) = (file("server.pem"), file("server.key"));
                command.args([
                    "-c",
                    "listen_addresses=127.0.0.1",
                    "-c",
                    &format!("port={port}"),
                    "-c",
                    "ssl=on",
                ]);
                command.args([
                    "-c",
                    &format!("ssl_cert_file={certificate}"),
                    "-c",
                    &format!("ssl_key_file={key}"),
                ])
            }
        };
        let mut watchdog = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("sh runs");
        let stdin = watchdog.stdin.take().expect("a pipe was asked for");
        *self.running.lock().expect("nobody panicked here") = Some(Running { watchdog, stdin });
        let begun = Instant::now();
        while !self.psql("postgres", "SELECT 1").is_ok_and(|answer| answer == "1") {
            let log = || std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(begun.elapsed() < Duration::from_secs(60), "PostgreSQL does not start:\n{}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Stop it and keep its data. Returns when its process has ended.
    ///
    /// # Panics
    /// If it is not running.
    pub fn stop(&self) {
        let running = self.running.lock().expect("nobody panicked here").take();
        let Running { mut watchdog, mut stdin } = running.expect("it runs");
        stdin.write_all(b"keep\n").expect("the watchdog reads");
        drop(stdin);
        watchdog.wait().expect("the watchdog ends");
    }

    /// Suspend it: connections stay open without any response until [`Postgres::thaw`].
    ///
    /// # Panics
    /// If its processes cannot be suspended.
    pub fn freeze(&self) {
        let pid = std::fs::read_to_string(self.folder.join("data/postmaster.pid")).expect("its process");
        let pid = pid.lines().next().expect("a number").trim().to_owned();
        // The postmaster is suspended first, so that no process is forked between the listing and the signals.
        signal("-STOP", std::slice::from_ref(&pid));
        let children =
            std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("its children");
        let mut pids: Vec<String> = children.split_whitespace().map(str::to_owned).collect();
        signal("-STOP", &pids);
        pids.push(pid);
        *self.frozen.lock().expect("nobody panicked here") = pids;
    }

    /// Resume it after [`Postgres::freeze`].
    ///
    /// # Panics
    /// If its processes cannot be resumed.
    pub fn thaw(&self) {
        let pids = std::mem::take(&mut *self.frozen.lock().expect("nobody panicked here"));
        signal("-CONT", &pids);
    }

    /// Create an empty database and return its URL.
    ///
    /// # Panics
    /// If it cannot be created.
    pub fn database(&self) -> String {
        let name = format!("office_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name}")).expect("a database");
        self.url(&name)
    }

    /// URL of a new, empty database over TCP, with this `host` and these parameters after the `?`.
    ///
    /// # Panics
    /// If it has no TLS.
    pub fn database_at(&self, host: &str, parameters: &str) -> String {
        let (port, address) = (self.port.expect("it listens on TCP"), self.database());
        let name = address.split("localhost/").nth(1).and_then(|rest| rest.split('?').next());
        let name = name.expect("its name");
        format!("postgres://centralita:{PASSWORD}@{host}:{port}/{name}?{parameters}")
    }

    /// Directory of its Unix socket, and its TCP port.
    ///
    /// # Panics
    /// If it does not listen on TCP.
    pub fn place(&self) -> (&Path, u16) {
        (&self.folder, self.port.expect("it listens on TCP"))
    }

    /// Certificate of the authority that signed the server's certificate.
    pub fn authority(&self) -> PathBuf {
        self.folder.join("authority.pem")
    }

    /// Certificate of an unrelated authority.
    pub fn stranger(&self) -> PathBuf {
        self.folder.join("stranger.pem")
    }

    fn url(&self, database: &str) -> String {
        let port = self.port.map_or(String::new(), |port| format!("&port={port}"));
        format!("postgres://centralita:{PASSWORD}@localhost/{database}?host={}{port}", self.folder.display())
    }

    /// Output of `psql` with columns separated by a vertical bar.
    ///
    /// # Errors
    /// The error output of `psql`.
    ///
    /// # Panics
    /// If `psql` is not installed.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String, String> {
        let output = Command::new(program("psql"))
            .args([
                "--no-psqlrc",
                "--tuples-only",
                "--no-align",
                "--quiet",
                "--username=centralita",
                "--host",
            ])
            .arg(&self.folder)
            .args(["--port", &self.port.unwrap_or(5432).to_string(), "--dbname", database, "--command", sql])
            .env("PGPASSWORD", PASSWORD)
            .output()
            .expect("psql runs");
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.thaw();
        let running = self.running.get_mut().ok().and_then(Option::take);
        if let Some(Running { mut watchdog, stdin }) = running {
            drop(stdin);
            let _ = watchdog.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Two authorities, and a certificate for `localhost` signed by the first one.
fn certify(folder: &Path) {
    let openssl = |words: &[&str]| {
        let done = Command::new("openssl").args(words).current_dir(folder).output();
        let done = done.expect("openssl runs: install Debian's package openssl");
        assert!(done.status.success(), "openssl {words:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    let fresh = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj"];
    for name in ["authority", "stranger"] {
        let (subject, key, certificate) =
            (format!("/CN={name} of a test"), format!("{name}.key"), format!("{name}.pem"));
        let words =
            [&["req", "-x509", "-days", "2"], &fresh[..], &[&subject, "-keyout", &key, "-out", &certificate]];
        openssl(&words.concat());
    }
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost\n").expect("the names' file");
    let words = [&["req"], &fresh[..], &["/CN=localhost", "-keyout", "server.key", "-out", "server.csr"]];
    openssl(&words.concat());
    openssl(&[
        "x509",
        "-req",
        "-days",
        "2",
        "-in",
        "server.csr",
        "-CA",
        "authority.pem",
        "-CAkey",
        "authority.key",
        "-CAcreateserial",
        "-extfile",
        "names",
        "-out",
        "server.pem",
    ]);
}

fn signal(signal: &str, pids: &[String]) {
    for pid in pids {
        // A process that has ended meanwhile needs no signal.
        let _ = Command::new("kill").args([signal, pid]).stderr(Stdio::null()).status().expect("kill runs");
    }
}

/// The user that runs PostgreSQL when the tests run as root, which it does not permit.
const USER: &str = "postgres";

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    id.stdout.trim_ascii() == b"0"
}

fn unprivileged(name: &str) -> Command {
    if !is_root() {
        return Command::new(program(name));
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]).arg(program(name));
    command
}

/// Debian installs the server programs outside of the path, in a directory per version; the newest is used.
fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin").join(name)).filter(|path| path.is_file());
    let number =
        |path: &Path| path.components().nth(4).and_then(|c| c.as_os_str().to_str()?.parse::<u32>().ok());
    let newest = found.max_by_key(|path| number(path));
    newest.unwrap_or_else(|| panic!("{name} is missing: install Debian's package postgresql"))
}
