//! Runs the project's SIPp scenarios, and shows the messages if one fails.

use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Extension, Scratch};

const PROGRAM: &str = "sipp";

/// A scenario that has not been started.
#[derive(Debug, Clone)]
pub struct Scenario {
    name: String,
    server: SocketAddr,
    port: u16,
    words: Vec<String>,
    keys: Vec<(String, String)>,
    limit: Duration,
}

/// A running scenario.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    folder: Scratch,
    deadline: Instant,
}

/// The scenario `e2e/sipp/<name>.xml`, against this server, from this local port. SIPp also uses the next five ports for media.
pub fn scenario(name: &str, server: SocketAddr, port: u16) -> Scenario {
    Scenario {
        name: name.to_owned(),
        server,
        port,
        words: Vec::new(),
        keys: Vec::new(),
        limit: Duration::from_secs(40),
    }
}

impl Scenario {
    /// The user: `[user]` in the scenario, and the credentials for `[authentication]`.
    #[must_use]
    pub fn from(self, extension: &Extension) -> Self {
        let with = self.key("user", &extension.username).key("owner", &extension.username);
        with.word("-au", &extension.username).word("-ap", &extension.password)
    }

    /// The same user with another password.
    #[must_use]
    pub fn password(self, password: &str) -> Self {
        self.word("-ap", password)
    }

    /// The user whose address is registered, `[owner]`, if it is not the scenario's own.
    #[must_use]
    pub fn owner(mut self, username: &str) -> Self {
        self.keys.retain(|(name, _)| name != "owner");
        self.key("owner", username)
    }

    /// The destination: `[service]` in the scenario, and in the URI of the credentials.
    #[must_use]
    pub fn to(self, number: &str) -> Self {
        let request = format!("{number}@{}", self.server);
        self.word("-s", number).word("-auth_uri", &request)
    }

    /// A further keyword of the scenario, `[name]`.
    #[must_use]
    pub fn key(mut self, name: &str, value: &str) -> Self {
        self.keys.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The number of calls and their rate.
    #[must_use]
    pub fn calls(self, total: u32, per_second: u32) -> Self {
        let (total, rate) = (total.to_string(), per_second.to_string());
        self.word("-m", &total).word("-r", &rate).word("-l", &total)
    }

    /// Over one TCP connection instead of UDP.
    #[must_use]
    pub fn over_tcp(self) -> Self {
        self.word("-t", "t1")
    }

    /// A time limit other than 40 seconds.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    fn word(mut self, name: &str, value: &str) -> Self {
        self.words.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// Start it in the background.
    ///
    /// # Panics
    /// If SIPp is not installed or the scenario does not exist.
    pub fn start(self) -> Running {
        let folder = Scratch::new(&self.name);
        let file = folder.write("scenario.xml", assemble(&self.name));
        let seconds = self.limit.as_secs().to_string();
        let mut command = Command::new(PROGRAM);
        command
            .arg(self.server.to_string())
            .arg("-sf")
            .arg(file)
            .args([
                "-i",
                "127.0.0.1",
                "-mi",
                "127.0.0.1",
                "-m",
                "1",
                "-nostdin",
                "-skip_rlimit",
                "-timeout_error",
            ])
            .args(["-p", &self.port.to_string(), "-mp", &(self.port + 20).to_string(), "-timeout", &seconds])
            .args(["-trace_err", "-error_file", "errors.log", "-trace_msg", "-message_file", "messages.log"])
            .args(["-cid_str", "%u-%p-e2e@%s"])
            .args(&self.words)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        for (name, value) in &self.keys {
            command.args(["-key", name, value]);
        }
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{PROGRAM}: {error} (Debian's package is sip-tester)"));
        let over_tcp = self.words.iter().any(|word| word == "t1");
        crate::soon("SIPp listens on its port", || {
            let ended = !matches!(child.try_wait(), Ok(None));
            (ended || over_tcp || UdpSocket::bind(("127.0.0.1", self.port)).is_err()).then_some(())
        });
        // SIPp's own limit comes first; this one is for a SIPp that hangs.
        let deadline = Instant::now() + self.limit + Duration::from_secs(10);
        Running { name: self.name, child, folder, deadline }
    }

    /// Run it to its end. Returns all messages.
    ///
    /// # Panics
    /// If a message does not arrive or is not the expected one.
    #[track_caller]
    pub fn passes(self) -> String {
        self.start().passes()
    }
}

impl Running {
    /// Wait for its end, which must be a success. Returns all messages.
    ///
    /// # Panics
    /// If it fails; SIPp's messages are shown.
    #[track_caller]
    pub fn passes(mut self) -> String {
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return self.messages(),
                Ok(Some(status)) => panic!("{} ended with {status}\n{}", self.name, self.report()),
                Ok(None) if Instant::now() > self.deadline => {
                    panic!("{} hangs\n{}", self.name, self.report())
                }
                Ok(None) => std::thread::sleep(Duration::from_millis(20)),
                Err(error) => panic!("{}: {error}", self.name),
            }
        }
    }

    /// Wait until the scenario has sent or received a message that contains `text`.
    #[track_caller]
    pub fn has_seen(&mut self, text: &str) {
        crate::soon(&format!("{} sees {text:?}", self.name), || {
            assert!(
                !matches!(self.child.try_wait(), Ok(Some(status)) if !status.success()),
                "{} failed\n{}",
                self.name,
                self.report()
            );
            self.messages().contains(text).then_some(())
        });
    }

    /// All messages so far, in SIPp's format.
    pub fn messages(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("messages.log")).unwrap_or_default()
    }

    fn report(&self) -> String {
        let read = |name: &str| std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        format!("{}\n{}", read("errors.log"), read("messages.log"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sipp")
}

/// Read a scenario and insert its parts: a line `<!-- part: name -->` is replaced by `parts/name.xml`. Lines that follow the name after a vertical
/// bar replace `@lines@` in the part.
///
/// # Panics
/// If a file does not exist.
fn assemble(name: &str) -> String {
    expand(&read(&folder().join(format!("{name}.xml"))), "")
}

fn expand(text: &str, lines: &str) -> String {
    let mut whole = String::new();
    for line in text.lines() {
        if line.trim() == "@lines@" {
            whole += lines;
            continue;
        }
        let line = line.replace("| @lines@", &inline(lines));
        match line.trim().strip_prefix("<!-- part: ").and_then(|rest| rest.strip_suffix(" -->")) {
            Some(rest) => {
                let mut words = rest.split(" | ");
                let part = words.next().unwrap_or_default().trim();
                let own: String = words.map(|word| format!("{}\n", word.trim())).collect();
                whole += &expand(&read(&folder().join("parts").join(format!("{part}.xml"))), &own);
            }
            None => whole += &format!("{line}\n"),
        }
    }
    whole
}

/// Lines that a part passes on to a nested part.
fn inline(lines: &str) -> String {
    lines.lines().map(|line| format!("| {line} ")).collect::<String>().trim_end().to_owned()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_finds_its_parts_and_leaves_no_mark() {
        for entry in std::fs::read_dir(folder()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let text = assemble(path.file_stem().unwrap().to_str().unwrap());
                assert!(
                    !text.contains("@lines@") && !text.contains("<!-- part:"),
                    "{}\n{text}",
                    path.display()
                );
            }
        }
    }

    #[test]
    fn lines_go_through_a_part_into_the_part_within() {
        let text = expand("<!-- part: ok_with_answer | a=recvonly -->", "");
        assert!(text.contains("telephone-event/8000\na=recvonly\n"), "{text}");
    }
}
