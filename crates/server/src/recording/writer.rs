//! The thread that writes the files of all recordings.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use ::media::{FileFormat, FileResult, MediaEvent, RecordingId, StartRecording};
use rtrb::{Consumer, RingBuffer};
use sha2::{Digest, Sha256};

use super::ogg_opus::OggWriter;
use super::sender::{Block, RecordingSender, WriterMsg};
use super::wav::WavWriter;
use crate::fault;
use crate::media::OnEvent;
use crate::supervisor::{TaskMonitor, catch};

/// Queue length per worker: a hundred recordings for ten seconds.
const QUEUE: usize = 1_024;
/// Interval at which the queues are polled while something is recorded.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Longest silence written in place of lost audio, in samples: ten minutes.
const MAX_GAP: u64 = 8_000 * 600;
/// Blocks between two checks of the free space: two seconds.
const SPACE_CHECK_BLOCKS: u32 = 20;

/// Where files are written, and how much of the disk must stay free.
#[derive(Clone, Debug)]
pub struct WriterConfig {
    /// The data directory.
    pub data: PathBuf,
    /// Bytes that must stay free for the journal and the database.
    pub reserve: u64,
}

/// Handle of the writer thread. Dropping it closes all files.
pub struct Writer {
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl Writer {
    /// Start the thread; returns a sender for each of `workers`.
    pub fn spawn(
        config: WriterConfig,
        workers: usize,
        events: OnEvent,
        mut monitor: TaskMonitor,
    ) -> io::Result<(Writer, Vec<RecordingSender>)> {
        let (producers, queues): (Vec<_>, Vec<_>) = (0..workers).map(|_| RingBuffer::new(QUEUE)).unzip();
        let stopping = Arc::new(AtomicBool::new(false));
        let mut writer_thread = WriterThread { config, queues, files: BTreeMap::new(), events };
        let stop = Arc::clone(&stopping);
        let builder = std::thread::Builder::new().name("recordings".into());
        let thread = builder.spawn(move || {
            while let Err(panic) = catch(|| writer_thread.run(&stop)) {
                writer_thread.fail_all();
                std::thread::sleep(monitor.failed(&panic.0));
                monitor.restarted();
            }
            monitor.ended();
        })?;
        let senders =
            producers.into_iter().map(|queue| RecordingSender::new(queue, thread.thread().clone())).collect();
        Ok((Writer { stopping, thread: Some(thread) }, senders))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("the recording thread ended with a panic");
            }
        }
    }
}

/// State of the thread.
struct WriterThread {
    config: WriterConfig,
    queues: Vec<Consumer<WriterMsg>>,
    /// Open files; `None` for a file that has failed and whose end is still awaited.
    files: BTreeMap<RecordingId, Option<OpenFile>>,
    events: OnEvent,
}

/// A file that is being written.
struct OpenFile {
    path: PathBuf,
    channels: u8,
    /// Samples per channel.
    at: u64,
    blocks_since_check: u32,
    sink: Sink,
}

enum Sink {
    Wav(WavWriter),
    Opus(Box<OggWriter<File>>),
}

impl Sink {
    fn write(&mut self, audio: &[i16]) -> io::Result<()> {
        match self {
            Sink::Wav(wav) => wav.write(audio),
            Sink::Opus(opus) => opus.write(audio),
        }
    }
}

impl WriterThread {
    fn run(&mut self, stopping: &AtomicBool) {
        loop {
            let is_last = stopping.load(Ordering::Acquire);
            fault::in_thread("recordings");
            while self.poll() {}
            if is_last {
                break;
            }
            if self.files.is_empty() {
                std::thread::park();
            } else {
                std::thread::park_timeout(POLL_INTERVAL);
            }
        }
        for recording in self.files.keys().copied().collect::<Vec<_>>() {
            self.end(recording);
        }
    }

    /// Handle one message of each queue. Returns whether there was any.
    fn poll(&mut self) -> bool {
        let mut any = false;
        for queue in 0..self.queues.len() {
            let Some(message) = self.queues.get_mut(queue).and_then(|queue| queue.pop().ok()) else {
                continue;
            };
            any = true;
            match message {
                WriterMsg::Begin(record) => self.begin(&record),
                WriterMsg::Audio(block) => self.audio(&block),
                WriterMsg::End(recording) => self.end(recording),
            }
        }
        any
    }

    /// After a panic: which file caused it is unknown, so all open recordings have failed. The data written so far stays.
    fn fail_all(&mut self) {
        for recording in self.files.keys() {
            self.report(*recording, FileResult::Failed);
        }
        self.files.clear();
    }

    fn report(&self, recording: RecordingId, file: FileResult) {
        (self.events)(MediaEvent::FileClosed { recording, file });
    }

    fn begin(&mut self, record: &StartRecording) {
        let opened = open(&self.config, record);
        if let Err(error) = &opened {
            self.report_error(record.recording, error);
        }
        self.files.insert(record.recording, opened.ok());
    }

    fn report_error(&self, recording: RecordingId, error: &io::Error) {
        tracing::error!(%error, "a recording cannot be written");
        let full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        self.report(recording, if full { FileResult::DiskFull } else { FileResult::Failed });
    }

    fn audio(&mut self, block: &Block) {
        let Some(entry) = self.files.get_mut(&block.recording) else { return };
        let Some(file) = entry else { return };
        if let Err(error) = file.write(&self.config, block) {
            // The data written so far stays readable.
            if let Some(file) = entry.take() {
                file.close().ok();
            }
            self.report_error(block.recording, &error);
        }
    }

    fn end(&mut self, recording: RecordingId) {
        let Some(Some(file)) = self.files.remove(&recording) else { return };
        match file.close() {
            Ok(result) => self.report(recording, result),
            Err(error) => self.report_error(recording, &error),
        }
    }
}

impl OpenFile {
    fn write(&mut self, config: &WriterConfig, block: &Block) -> io::Result<()> {
        self.blocks_since_check += 1;
        if self.blocks_since_check >= SPACE_CHECK_BLOCKS {
            self.blocks_since_check = 0;
            check_space(config)?;
        }
        // Blocks that were dropped because the queue was full.
        let mut gap = block.at.saturating_sub(self.at).min(MAX_GAP);
        let silence = [0; 1_600];
        while gap > 0 {
            let some = gap.min(800);
            self.sink.write(silence.get(..some as usize * usize::from(self.channels)).unwrap_or_default())?;
            gap -= some;
        }
        let audio = block.audio.get(..usize::from(block.length) * usize::from(self.channels));
        self.sink.write(audio.unwrap_or_default())?;
        self.at = block.at + u64::from(block.length);
        Ok(())
    }

    fn close(self) -> io::Result<FileResult> {
        let file = match self.sink {
            Sink::Wav(wav) => wav.finish()?,
            Sink::Opus(opus) => opus.finish()?,
        };
        file.sync_data()?;
        let (bytes, sha256) = measure(&self.path)?;
        Ok(FileResult::Complete { bytes, millis: self.at / 8, sha256 })
    }
}

/// Length and SHA-256 of a file.
pub(crate) fn measure(path: &Path) -> io::Result<(u64, [u8; 32])> {
    let (mut file, mut hash, mut bytes) = (File::open(path)?, Sha256::new(), 0);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((bytes, hash.finalize().into()));
        }
        bytes += read as u64;
        hash.update(buffer.get(..read).unwrap_or_default());
    }
}

fn open(config: &WriterConfig, record: &StartRecording) -> io::Result<OpenFile> {
    let path = path_of(&config.data, &record.name, extension(record.format))?;
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    check_space(config)?;
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    let channels = if record.right.is_some() { 2 } else { 1 };
    let sink = match record.format {
        FileFormat::Wav => Sink::Wav(WavWriter::new(file, u16::from(channels))?),
        FileFormat::Opus => {
            Sink::Opus(Box::new(OggWriter::new(file, usize::from(channels), record.recording.0)?))
        }
    };
    Ok(OpenFile { path, channels, at: 0, blocks_since_check: 0, sink })
}

/// Path of an audio file. Names are chosen by us, but a path outside the data directory is refused all the same.
pub(super) fn path_of(data: &Path, name: &str, extension: &str) -> io::Result<PathBuf> {
    let legal = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
    };
    if !name.split('/').all(legal) {
        return Err(io::Error::new(ErrorKind::InvalidFilename, "invalid name of a recording"));
    }
    Ok(data.join(format!("{name}.{extension}")))
}

/// File name extension of a format.
fn extension(format: FileFormat) -> &'static str {
    match format {
        FileFormat::Wav => "wav",
        FileFormat::Opus => "ogg",
    }
}

fn check_space(config: &WriterConfig) -> io::Result<()> {
    let space = rustix::fs::statvfs(&config.data)?;
    if space.f_bavail.saturating_mul(space.f_frsize) < config.reserve {
        return Err(io::Error::new(ErrorKind::StorageFull, "less free disk space than recording.reserve_mb"));
    }
    Ok(())
}
