//! `logs [-f]`

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::{Fault, Shared};

/// How much of the end is looked through for the last lines.
const TAIL_BYTES: u64 = 1024 * 1024;

/// See `centralita logs --help`.
#[derive(Debug, Args)]
pub(super) struct LogsOptions {
    /// Go on as the log is written
    #[arg(short, long)]
    follow: bool,
    /// Lines to begin with
    #[arg(short = 'n', long, default_value_t = 50)]
    lines: usize,
}

pub(super) fn run(shared: &Shared, options: &LogsOptions) -> Result<(), Fault> {
    let path = shared.data().log();
    let open = || File::open(&path).map_err(|error| Fault::Refused(format!("{}: {error}", path.display())));
    let mut file = open()?;
    let mut out = io::stdout();
    // Who closes the pipe has read enough.
    if out.write_all(&tail(&mut file, options.lines)?).is_err() || !options.follow {
        return Ok(());
    }
    loop {
        if io::copy(&mut file, &mut out).is_err() {
            return Ok(());
        }
        out.flush().ok();
        std::thread::sleep(Duration::from_millis(200));
        if was_replaced(&path, &file) {
            file = open()?;
        }
    }
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

/// Whether another file has taken the path, or the file was cut.
fn was_replaced(path: &Path, file: &File) -> bool {
    let (Ok(there), Ok(here)) = (path.metadata(), file.metadata()) else { return false };
    let mut file = file;
    there.ino() != here.ino() || file.stream_position().is_ok_and(|at| at > here.len())
}
