//! The log: for people on stderr, for programs as JSON lines in a file. Nothing that a stranger sends can forge a line.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt};

/// Changes the log while it is written.
#[derive(Clone, Debug)]
pub struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
    file: LogFile,
}

impl Log {
    /// Begin to write.
    pub fn begin(level: &str, path: &Path) -> Result<Log> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        }
        let file = LogFile::open(path).with_context(|| path.display().to_string())?;
        let (filter, handle) = reload::Layer::new(parse(level)?);
        tracing_subscriber::registry()
            .with(filter)
            .with(fmt::layer().with_ansi(false).with_target(false).with_writer(|| OneLine(io::stderr())))
            .with(fmt::layer().json().flatten_event(true).with_writer(file.clone()))
            .try_init()
            .context("the log was begun before")?;
        Ok(Log { filter: handle, file })
    }

    /// Write more, or less; and open the file anew, which another program may have moved away.
    pub fn reload(&self, level: &str) -> Result<()> {
        self.filter.reload(parse(level)?).context("the log's level cannot be changed")?;
        self.file.reopen().context("the log file cannot be opened anew")
    }
}

fn parse(level: &str) -> Result<EnvFilter> {
    // Libraries speak of their own affairs; ours is what the operator asked about.
    let quiet =
        if level.contains("sqlx") { level.to_owned() } else { format!("{level},sqlx=warn,hyper=warn") };
    EnvFilter::builder().parse(&quiet).with_context(|| format!("log.level {level:?}"))
}

/// A file that can be opened anew.
#[derive(Clone, Debug)]
struct LogFile {
    path: Arc<PathBuf>,
    file: Arc<Mutex<File>>,
}

impl LogFile {
    fn open(path: &Path) -> io::Result<LogFile> {
        let file = append(path)?;
        Ok(LogFile { path: Arc::new(path.to_path_buf()), file: Arc::new(Mutex::new(file)) })
    }

    fn reopen(&self) -> io::Result<()> {
        let file = append(&self.path)?;
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = file;
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = LogFile;
    fn make_writer(&'a self) -> LogFile {
        self.clone()
    }
}

/// Writes one event as one line: control characters inside it are shown as escapes.
struct OneLine<W>(W);

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(&one_line(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn one_line(bytes: &[u8]) -> Vec<u8> {
    let (text, end) = match bytes.split_last() {
        Some((b'\n', text)) => (text, &b"\n"[..]),
        Some(_) | None => (bytes, &b""[..]),
    };
    let mut line = Vec::with_capacity(bytes.len());
    for byte in text {
        match byte {
            0..0x20 | 0x7f => line.extend(byte.escape_ascii()),
            _ => line.push(*byte),
        }
    }
    line.extend_from_slice(end);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_can_forge_a_line() {
        assert_eq!(one_line(b"a\r\nFAKE \x1b[31m \xc3\xa9\n"), b"a\\r\\nFAKE \\x1b[31m \xc3\xa9\n");
        assert_eq!(one_line(b""), b"");
    }
}
