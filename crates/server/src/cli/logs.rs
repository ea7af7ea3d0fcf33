//! `logs [-f]`: prints the log file (JSON lines) as text for people, or unchanged.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value};

use super::{Fault, Output, Shared};

/// Bytes at the end of the file that are searched for the last lines.
const TAIL_BYTES: u64 = 1024 * 1024;

/// Options of `logs`.
#[derive(Debug, Args)]
pub(super) struct LogsOptions {
    /// Follow the log as it is written
    #[arg(short, long)]
    follow: bool,
    /// Number of last lines to show
    #[arg(short = 'n', long, default_value_t = 50)]
    lines: usize,
}

pub(super) fn run(shared: &Shared, options: &LogsOptions) -> Result<(), Fault> {
    let path = shared.data().log();
    let open = || File::open(&path).map_err(|error| Fault::Refused(format!("{}: {error}", path.display())));
    let mut file = open()?;
    let mut out = Lines { output: shared.output, partial: Vec::new(), to: io::stdout() };
    // A closed pipe ends the command.
    if out.print(&tail(&mut file, options.lines)?).is_err() || !options.follow {
        return Ok(());
    }
    loop {
        let mut more = Vec::new();
        file.read_to_end(&mut more)?;
        if out.print(&more).is_err() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
        if was_replaced(&path, &file) {
            file = open()?;
        }
    }
}

/// Prints complete lines.
struct Lines<W> {
    output: Output,
    /// The start of a line that is not complete yet.
    partial: Vec<u8>,
    to: W,
}

impl<W: Write> Lines<W> {
    fn print(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.partial.extend_from_slice(bytes);
        let Some(end) = self.partial.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
        let rest = self.partial.split_off(end + 1);
        let complete = std::mem::replace(&mut self.partial, rest);
        match self.output {
            Output::Json => self.to.write_all(&complete)?,
            Output::Table => {
                for line in String::from_utf8_lossy(&complete).lines() {
                    writeln!(self.to, "{}", to_text(line))?;
                }
            }
        }
        self.to.flush()
    }
}

/// `2026-01-01T12:00:00Z  INFO a message key=value`; a line that is not JSON stays unchanged.
fn to_text(line: &str) -> String {
    let clean = |text: &str| -> String {
        text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
    };
    let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(line) else { return clean(line) };
    let take = |fields: &Map<String, Value>, name: &str| match fields.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let mut text =
        format!("{} {:>5} {}", take(&fields, "timestamp"), take(&fields, "level"), take(&fields, "message"));
    for name in
        fields.keys().filter(|name| !["timestamp", "level", "message", "target"].contains(&name.as_str()))
    {
        let value = take(&fields, name);
        let quoted = value.is_empty() || value.contains([' ', '"', '=']);
        text += &if quoted { format!(" {name}={value:?}") } else { format!(" {name}={value}") };
    }
    clean(&text)
}

/// The last `lines` lines; the file is left at its end.
fn tail(file: &mut File, lines: usize) -> io::Result<Vec<u8>> {
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let mut ends = bytes.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
    let start = ends.nth(lines).map_or(0, |at| at + 1);
    Ok(bytes.split_off(start))
}

/// Whether the path is another file now, or the file was truncated.
fn was_replaced(path: &Path, file: &File) -> bool {
    let (Ok(there), Ok(here)) = (path.metadata(), file.metadata()) else { return false };
    let mut file = file;
    there.ino() != here.ino() || file.stream_position().is_ok_and(|at| at > here.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(output: Output, pieces: &[&str]) -> String {
        let mut lines = Lines { output, partial: Vec::new(), to: Vec::new() };
        pieces.iter().for_each(|piece| lines.print(piece.as_bytes()).unwrap());
        String::from_utf8(lines.to).unwrap()
    }

    #[test]
    fn people_get_text_and_programs_the_line_as_it_is() {
        let line = r#"{"timestamp":"2026-01-01T12:00:00Z","level":"INFO","message":"call ended","from":"+34•••001","seconds":12,"why":"a b","target":"x"}"#;
        let (one, two) = line.split_at(70);
        let text = "2026-01-01T12:00:00Z  INFO call ended from=+34•••001 seconds=12 why=\"a b\"\n";
        assert_eq!(
            printed(Output::Table, &[one, two, "\nnot json \u{1b}[2J\nhalf"]),
            format!("{text}not json \u{fffd}[2J\n")
        );
        assert_eq!(printed(Output::Json, &[one, two, "\n"]), format!("{line}\n"));
    }
}
