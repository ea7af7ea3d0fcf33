//! A mail server for tests, which stores its mails as files.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::{Scratch, Settings, until};

/// A running mail server. It is ended when it is dropped.
#[derive(Debug)]
pub struct Smtp {
    child: Child,
    folder: Scratch,
    port: u16,
}

impl Smtp {
    /// A server that rejects the first `busy` mails with 451.
    ///
    /// # Panics
    /// If Debian's package `python3-aiosmtpd` is not installed.
    pub fn start(busy: u32) -> Smtp {
        let folder = Scratch::new("smtp");
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("smtp.py");
        // Only Debian's own interpreter has python3-aiosmtpd.
        let mut child = Command::new("/usr/bin/python3")
            .arg(script)
            .arg(folder.path())
            .arg(busy.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 with python3-aiosmtpd");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut line).expect("a line");
        let port = line.trim().parse().unwrap_or_else(|_| panic!("no port but {line:?}"));
        Smtp { child, folder, port }
    }

    /// Settings of a centralita server that sends its mails here.
    pub fn settings(&self) -> Settings {
        let more = format!(
            "[mail]\nsmtp = \"smtp+plain://127.0.0.1:{}\"\nfrom = \"pbx@example.com\"\nretry_seconds = 1\n",
            self.port
        );
        Settings { more, ..Settings::default() }
    }

    /// The `number`th mail, from 1, once it has arrived.
    pub fn mail(&self, number: u32) -> String {
        let path = self.folder.path().join(format!("mail-{number}"));
        until(Duration::from_secs(40), "the mail arrives", || std::fs::read_to_string(&path).ok())
    }
}

impl Drop for Smtp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
