//! The log: text on stderr and JSON lines in a file, each written by its own thread, so that logging never blocks the caller.
//! Control characters are escaped, so received data cannot forge a line.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt};

/// Lines that may wait for a slow disk or a blocked terminal. Further lines are dropped and counted.
const LINES: usize = 8_192;
/// How long the process may wait for pending lines at its end: each output takes at most a little more than a second.
const LAST_LINES: Duration = Duration::from_secs(3);

/// Handle of the log: changes its level and file at run time. Clones share one log.
#[derive(Clone, Debug)]
pub struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
    file: LogFile,
    outputs: Arc<Outputs>,
}

/// The writer threads, and the counters of dropped lines.
#[derive(Debug)]
struct Outputs {
    dropped: [(&'static str, ErrorCounter); 2],
    guards: Mutex<Vec<WorkerGuard>>,
}

impl Log {
    /// Install the log as the global subscriber.
    pub fn begin(level: &str, path: &Path) -> Result<Log> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        }
        let file = LogFile::open(path).with_context(|| path.display().to_string())?;
        let (stderr, stderr_guard) = output("log-stderr", io::stderr());
        let (lines, file_guard) = output("log-file", file.clone());
        let dropped = [("stderr", stderr.error_counter()), ("file", lines.error_counter())];
        let (filter, handle) = reload::Layer::new(parse(level)?);
        let people = fmt::layer().with_ansi(false).with_target(false);
        tracing_subscriber::registry()
            .with(filter)
            .with(people.with_writer(move || OneLine(stderr.clone())))
            .with(fmt::layer().json().flatten_event(true).with_writer(lines))
            .try_init()
            .context("the log is already initialised")?;
        let guards = Mutex::new(vec![file_guard, stderr_guard]);
        Ok(Log { filter: handle, file, outputs: Arc::new(Outputs { dropped, guards }) })
    }

    /// Set the level, and reopen the file, which another program may have moved away (logrotate with `postrotate kill -HUP`).
    pub fn reload(&self, level: &str) -> Result<()> {
        self.filter.reload(parse(level)?).context("the log level cannot be changed")?;
        self.file.reopen().context("the log file cannot be reopened")
    }

    /// Lines dropped since the start, by output.
    pub fn dropped(&self) -> [(&'static str, u64); 2] {
        let failed = self.file.failed.load(Ordering::Relaxed);
        self.outputs.dropped.each_ref().map(|(name, count)| {
            let failed = if *name == "file" { failed } else { 0 };
            (*name, count.dropped_lines() as u64 + failed)
        })
    }

    /// Write the pending lines; the process is about to end. A blocked output is abandoned after some seconds.
    pub fn finish(&self) {
        let guards = std::mem::take(&mut *self.outputs.guards.lock().unwrap_or_else(PoisonError::into_inner));
        // Dropping a guard may itself print to a blocked stdout.
        let (done, wait) = std::sync::mpsc::channel();
        let dropping = std::thread::Builder::new().name("log-end".into()).spawn(move || {
            drop(guards);
            done.send(()).ok();
        });
        if dropping.is_ok() {
            wait.recv_timeout(LAST_LINES).ok();
        }
    }
}

fn output(name: &str, writer: impl Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default().buffered_lines_limit(LINES).lossy(true).thread_name(name).finish(writer)
}

fn parse(level: &str) -> Result<EnvFilter> {
    // Libraries log their internals; the configured level is meant for our own events.
    let quiet =
        if level.contains("sqlx") { level.to_owned() } else { format!("{level},sqlx=warn,hyper=warn") };
    EnvFilter::builder().parse(&quiet).with_context(|| format!("log.level {level:?}"))
}

/// A file that can be reopened. A line that a full disk did not take is counted; a partly written line is terminated before the next one.
#[derive(Clone, Debug)]
struct LogFile {
    path: Arc<PathBuf>,
    file: Arc<Mutex<(File, LineState)>>,
    failed: Arc<AtomicU64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum LineState {
    Whole,
    Torn,
}

impl LogFile {
    fn open(path: &Path) -> io::Result<LogFile> {
        let file = Mutex::new((append(path)?, LineState::Whole));
        Ok(LogFile { path: Arc::new(path.to_path_buf()), file: Arc::new(file), failed: Arc::default() })
    }

    fn reopen(&self) -> io::Result<()> {
        let file = append(&self.path)?;
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = (file, LineState::Whole);
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

impl Write for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut place = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, state) = &mut *place;
        let end: &[u8] = if *state == LineState::Torn { b"\n" } else { b"" };
        match file.write_all(end).and_then(|()| file.write_all(line)) {
            Ok(()) => *state = LineState::Whole,
            Err(_) => {
                *state = LineState::Torn;
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes one event as one line: control characters in it are escaped.
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
    fn received_data_cannot_forge_a_line() {
        assert_eq!(one_line(b"a\r\nFAKE \x1b[31m \xc3\xa9\n"), b"a\\r\\nFAKE \\x1b[31m \xc3\xa9\n");
        assert_eq!(one_line(b""), b"");
    }
}
