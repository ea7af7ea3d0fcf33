//! A document of the user, whose commands are run unchanged except for host, key and ids.

use std::process::Command;

use serde_json::Value;

use crate::Server;

/// Text of a document, and the server address that it uses.
#[derive(Debug, Clone, Copy)]
pub struct Document {
    pub text: &'static str,
    pub origin: &'static str,
}

impl Document {
    /// All `curl …` commands that contain `part`, in order.
    pub fn lines(&self, part: &str) -> Vec<String> {
        let mut commands: Vec<String> = Vec::new();
        let mut open = false;
        for line in self.text.lines() {
            if line.starts_with("curl ") {
                commands.push(line.to_owned());
            } else if let (Some(last), true) = (commands.last_mut(), open) {
                last.push('\n');
                last.push_str(line);
            }
            // A command continues while a line ends in a backslash or a quote is open.
            let quotes = commands.last().map_or(0, |command| command.matches('\'').count());
            open = line.ends_with('\\') || quotes % 2 == 1;
        }
        commands.retain(|command| command.contains(part));
        commands
    }

    /// The only command that contains `part`.
    ///
    /// # Panics
    /// If there is none or more than one.
    #[track_caller]
    pub fn line(&self, part: &str) -> String {
        let mut found = self.lines(part);
        found.dedup();
        assert_eq!(found.len(), 1, "{part}: {found:#?}");
        found.remove(0)
    }

    /// Run a command with the server's address instead of the documented one. Returns status and body.
    ///
    /// # Panics
    /// Without a response.
    #[track_caller]
    pub fn run(&self, server: &Server, command: &str) -> (u16, Value) {
        let command = command.replace(self.origin, &format!("http://{}", server.http_address()));
        let script = format!("{} -s -w '\\n%{{http_code}}'", command.trim_end());
        let output = Command::new("bash").arg("-c").arg(&script).output().expect("bash runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').unwrap_or_else(|| panic!("{script}\n{output:?}"));
        let status = status.trim().parse().unwrap_or_else(|_| panic!("{script}\n{text}"));
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }
}
