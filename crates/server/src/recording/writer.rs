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
use crate::supervisor::{Watch, catch};

/// Messages that a worker may be ahead: a hundred recordings for ten seconds.
const QUEUE: usize = 1_024;
/// How often the queues are looked into while something is recorded.
const TURN: Duration = Duration::from_millis(50);
/// Lost audio becomes so much silence at most, in samples: ten minutes.
const GAP: u64 = 8_000 * 600;
/// Blocks between two looks at the free space: two seconds.
const LOOK: u32 = 20;

/// Where files are written, and how much of the disk stays free for what is more important.
#[derive(Clone, Debug)]
pub struct WriterConfig {
    /// The data directory.
    pub data: PathBuf,
    /// Bytes that stay free: the journal and the database need them more.
    pub reserve: u64,
}

/// See the module. Dropping it closes all files.
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
    /// Start the thread, with a tape for each of `workers`.
    pub fn spawn(
        config: WriterConfig,
        workers: usize,
        events: OnEvent,
        mut watch: Watch,
    ) -> io::Result<(Writer, Vec<RecordingSender>)> {
        let (producers, queues): (Vec<_>, Vec<_>) = (0..workers).map(|_| RingBuffer::new(QUEUE)).unzip();
        let stopping = Arc::new(AtomicBool::new(false));
        let mut desk = WriterThread { config, queues, files: BTreeMap::new(), events };
        let seen = Arc::clone(&stopping);
        let builder = std::thread::Builder::new().name("recordings".into());
        let thread = builder.spawn(move || {
            while let Err(panic) = catch(|| desk.run(&seen)) {
                desk.abandon();
                std::thread::sleep(watch.failed(&panic.0));
                watch.restarted();
            }
            watch.ended();
        })?;
        let tapes =
            producers.into_iter().map(|queue| RecordingSender::new(queue, thread.thread().clone())).collect();
        Ok((Writer { stopping, thread: Some(thread) }, tapes))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            if thread.join().is_err() {
                tracing::error!("the thread that writes recordings had panicked");
            }
        }
    }
}

/// Everything that the thread owns.
struct WriterThread {
    config: WriterConfig,
    queues: Vec<Consumer<WriterMsg>>,
    /// Files that are open; `None` where one has failed and only its end is awaited.
    files: BTreeMap<RecordingId, Option<Open>>,
    events: OnEvent,
}

/// A file that is being written.
struct Open {
    path: PathBuf,
    channels: u8,
    /// Samples per channel.
    at: u64,
    look: u32,
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
            let last = stopping.load(Ordering::Acquire);
            fault::in_thread("recordings");
            while self.turn() {}
            if last {
                break;
            }
            if self.files.is_empty() {
                std::thread::park();
            } else {
                std::thread::park_timeout(TURN);
            }
        }
        for recording in self.files.keys().copied().collect::<Vec<_>>() {
            self.end(recording);
        }
    }

    /// Take one message from each queue; whether there was any.
    fn turn(&mut self) -> bool {
        let mut any = false;
        for queue in 0..self.queues.len() {
            let Some(slip) = self.queues.get_mut(queue).and_then(|queue| queue.pop().ok()) else { continue };
            any = true;
            match slip {
                WriterMsg::Begin(record) => self.begin(&record),
                WriterMsg::Audio(block) => self.audio(&block),
                WriterMsg::End(recording) => self.end(recording),
            }
        }
        any
    }

    /// The thread panicked, and which file it was about is not known: all that are open have failed. What is written of them stays.
    fn abandon(&mut self) {
        for recording in self.files.keys() {
            self.tell(*recording, FileResult::Failed);
        }
        self.files.clear();
    }

    fn tell(&self, recording: RecordingId, file: FileResult) {
        (self.events)(MediaEvent::FileClosed { recording, file });
    }

    fn begin(&mut self, record: &StartRecording) {
        let opened = open(&self.config, record);
        if let Err(error) = &opened {
            self.refuse(record.recording, error);
        }
        self.files.insert(record.recording, opened.ok());
    }

    fn refuse(&self, recording: RecordingId, error: &io::Error) {
        tracing::error!(%error, "a recording cannot be written");
        let full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        self.tell(recording, if full { FileResult::DiskFull } else { FileResult::Failed });
    }

    fn audio(&mut self, block: &Block) {
        let Some(place) = self.files.get_mut(&block.recording) else { return };
        let Some(file) = place else { return };
        if let Err(error) = file.write(&self.config, block) {
            // What is there stays readable.
            if let Some(file) = place.take() {
                file.close().ok();
            }
            self.refuse(block.recording, &error);
        }
    }

    fn end(&mut self, recording: RecordingId) {
        let Some(Some(file)) = self.files.remove(&recording) else { return };
        match file.close() {
            Ok(filed) => self.tell(recording, filed),
            Err(error) => self.refuse(recording, &error),
        }
    }
}

impl Open {
    fn write(&mut self, config: &WriterConfig, block: &Block) -> io::Result<()> {
        self.look += 1;
        if self.look >= LOOK {
            self.look = 0;
            enough(config)?;
        }
        // Blocks that the queue had no room for.
        let mut gap = block.at.saturating_sub(self.at).min(GAP);
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

fn open(config: &WriterConfig, record: &StartRecording) -> io::Result<Open> {
    let path = path_of(&config.data, &record.name, ending(record.format))?;
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    enough(config)?;
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    let channels = if record.right.is_some() { 2 } else { 1 };
    let sink = match record.format {
        FileFormat::Wav => Sink::Wav(WavWriter::new(file, u16::from(channels))?),
        FileFormat::Opus => {
            Sink::Opus(Box::new(OggWriter::new(file, usize::from(channels), record.recording.0)?))
        }
    };
    Ok(Open { path, channels, at: 0, look: 0, sink })
}

/// Where a file of audio lies. Names are ours, but a path that leaves the data directory is never opened.
pub(super) fn path_of(data: &Path, name: &str, ending: &str) -> io::Result<PathBuf> {
    let legal = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
    };
    if !name.split('/').all(legal) {
        return Err(io::Error::new(ErrorKind::InvalidFilename, "no name of a recording"));
    }
    Ok(data.join(format!("{name}.{ending}")))
}

/// What files of a format end in.
fn ending(format: FileFormat) -> &'static str {
    match format {
        FileFormat::Wav => "wav",
        FileFormat::Opus => "ogg",
    }
}

fn enough(config: &WriterConfig) -> io::Result<()> {
    let space = rustix::fs::statvfs(&config.data)?;
    if space.f_bavail.saturating_mul(space.f_frsize) < config.reserve {
        return Err(io::Error::new(
            ErrorKind::StorageFull,
            "the disk has less free than recordings must leave",
        ));
    }
    Ok(())
}
