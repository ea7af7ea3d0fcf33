//! Storage of audio files: in the data directory; recordings are moved to an S3-compatible store if one is configured.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Seek, Write};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::{AudioError, AudioFile, AudioFormatRequest, AudioStore, BoxFuture, Opened};
use bytes::Bytes;
use model::RecordingFormat;
use store::Place;
use switch::voicemail::Clip;

use super::ogg_opus::{self, OggWriter};
use super::unclaimed::{self, Claim, Swept};
use super::writer::path_of;
use super::{Objects, upload, wav};

/// Bytes read from an object at once.
const CHUNK_BYTES: u64 = 4 * 1024 * 1024;
/// Samples of the longest audio that is played: a little more than the longest message.
const MAX_SAMPLES: usize = 8_000 * 200;

/// The store of audio files.
#[derive(Clone, Debug)]
pub struct AudioFileStore {
    data: PathBuf,
    objects: Option<Objects>,
}

impl AudioFileStore {
    /// A store in the directory `data`, and in `objects` if given.
    pub fn new(data: &Path, objects: Option<Objects>) -> AudioFileStore {
        AudioFileStore { data: data.to_owned(), objects }
    }

    /// Whether recordings are moved to an object store.
    pub fn has_objects(&self) -> bool {
        self.objects.is_some()
    }

    /// Path of a file in the data directory.
    pub fn path(&self, file: &AudioFile) -> io::Result<PathBuf> {
        path_of(&self.data, &file.name, file.format.ending())
    }

    /// Upload a file to the object store; the caller deletes the local file after it has recorded the new place.
    pub async fn upload(&self, file: &AudioFile) -> io::Result<()> {
        let objects = self.objects.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        objects.put(&self.path(file)?, &key(file)).await
    }

    /// The samples of a voicemail file, mono, 8 kHz.
    pub async fn samples(&self, name: &str) -> io::Result<Vec<i16>> {
        let path = self.path(&AudioFile::voicemail(name.to_owned()))?;
        blocking(move || Ok(ogg_opus::read(io::BufReader::new(File::open(path)?), MAX_SAMPLES)?.mono())).await
    }

    /// Decode Ogg Opus data in memory.
    pub async fn decode(ogg: Vec<u8>) -> io::Result<Vec<i16>> {
        blocking(move || Ok(ogg_opus::read(io::Cursor::new(ogg), MAX_SAMPLES)?.mono())).await
    }

    /// Store samples as a voicemail file.
    pub async fn keep(&self, name: String, samples: Clip) -> io::Result<()> {
        let path = self.path(&AudioFile::voicemail(name))?;
        blocking(move || write(&path, &samples)).await
    }

    /// Replace a voicemail file by another one.
    pub async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let [from, to] = [from, to].map(|name| self.path(&AudioFile::voicemail(name.to_owned())));
        let (from, to) = (from?, to?);
        blocking(move || fs::rename(from, to)).await
    }

    /// Look for files in the folders of `folder` that the database does not know, by the names of folder and file; see [`unclaimed`].
    pub async fn sweep(
        &self,
        folder: &'static str,
        keep: Option<Duration>,
        claim: impl Fn(&str, &str) -> Claim + Send + 'static,
    ) -> io::Result<Swept> {
        let data = self.data.clone();
        blocking(move || unclaimed::sweep(&data, folder, keep, claim)).await
    }

    /// Delete the voicemail file `name`, or the folder of that name. Returns whether one existed.
    pub async fn remove_all(&self, name: &str) -> io::Result<bool> {
        let (file, folder) =
            (path_of(&self.data, name, "ogg")?, path_of(&self.data, name, "")?.with_extension(""));
        blocking(move || {
            let gone = |done: io::Result<()>| match done {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
                Err(error) => Err(error),
            };
            Ok(gone(fs::remove_file(file))? | gone(fs::remove_dir_all(folder))?)
        })
        .await
    }

    async fn open_file(self, file: AudioFile, wanted: AudioFormatRequest) -> io::Result<Opened> {
        let stored = match file.format {
            RecordingFormat::Opus => "audio/ogg",
            RecordingFormat::Wav => "audio/wav",
        };
        let convert = wanted == AudioFormatRequest::Wav && file.format != RecordingFormat::Wav;
        match (file.place, convert) {
            (Place::Gone, _) => Err(io::ErrorKind::NotFound.into()),
            (Place::Folder, false) => {
                let path = self.path(&file)?;
                from_file(blocking(move || File::open(path)).await?, stored)
            }
            (Place::Folder, true) => {
                let path = self.path(&file)?;
                from_file(blocking(move || as_wav(File::open(path)?)).await?, "audio/wav")
            }
            (Place::Objects, false) => self.in_objects(&file, stored).await,
            (Place::Objects, true) => {
                let opened = self.in_objects(&file, stored).await?;
                let mut file = temporary_file()?;
                let mut at = 0;
                while at < opened.length {
                    let bytes = (opened.read)(at..opened.length.min(at + CHUNK_BYTES)).await?;
                    at += bytes.len() as u64;
                    file = blocking(move || file.write_all(&bytes).map(|()| file)).await?;
                }
                let wav = blocking(move || file.rewind().and_then(|()| as_wav(file))).await?;
                from_file(wav, "audio/wav")
            }
        }
    }

    async fn in_objects(&self, file: &AudioFile, content_type: &'static str) -> io::Result<Opened> {
        let objects = self.objects.as_ref().ok_or(io::ErrorKind::NotFound)?;
        objects.read(&key(file), content_type).await
    }

    async fn remove_file(self, file: AudioFile) -> io::Result<()> {
        match tokio::fs::remove_file(self.path(&file)?).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        if file.place != Place::Objects {
            return Ok(());
        }
        // If the object store is no longer configured, the object stays to be deleted later.
        self.objects.as_ref().ok_or(io::ErrorKind::Unsupported)?.delete(&key(&file)).await
    }
}

impl AudioStore for AudioFileStore {
    fn open(&self, file: AudioFile, wanted: AudioFormatRequest) -> BoxFuture<io::Result<Opened>> {
        Box::pin(self.clone().open_file(file, wanted))
    }

    fn keep_wav(&self, name: String, bytes: Bytes) -> BoxFuture<Result<(), AudioError>> {
        let path = self.path(&AudioFile::voicemail(name));
        let keep = move || -> io::Result<Result<(), AudioError>> {
            match upload::samples(&bytes) {
                Ok(samples) => write(&path?, &samples).map(Ok),
                Err(error) => Ok(Err(error)),
            }
        };
        Box::pin(async move {
            blocking(keep).await.unwrap_or_else(|error| {
                tracing::error!(%error, "uploaded audio cannot be written");
                Err(AudioError::Disk)
            })
        })
    }

    fn remove(&self, file: AudioFile) -> BoxFuture<io::Result<()>> {
        Box::pin(self.clone().remove_file(file))
    }
}

/// Key of a file in the object store.
fn key(file: &AudioFile) -> String {
    format!("{}.{}", file.name, file.format.ending())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

fn from_file(file: File, content_type: &'static str) -> io::Result<Opened> {
    let length = file.metadata()?.len();
    let file = Arc::new(file);
    let read = move |range: Range<u64>| -> BoxFuture<io::Result<Bytes>> {
        let file = Arc::clone(&file);
        Box::pin(blocking(move || {
            let mut bytes = vec![0; (range.end - range.start) as usize];
            file.read_exact_at(&mut bytes, range.start)?;
            Ok(bytes.into())
        }))
    };
    Ok(Opened { length, content_type, read: Arc::new(read) })
}

/// An unlinked temporary file: it disappears when it is closed.
fn temporary_file() -> io::Result<File> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = format!("centralita-{}-{}.wav", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}

fn as_wav(ogg: File) -> io::Result<File> {
    let mut out = io::BufWriter::new(temporary_file()?);
    out.write_all(&wav::header(2, 0))?;
    let mut bytes = 0;
    let channels = ogg_opus::decode(io::BufReader::new(ogg), |_, samples| {
        bytes += 2 * samples.len() as u64;
        samples.iter().try_for_each(|sample| out.write_all(&sample.to_le_bytes()))
    })?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.write_all_at(&wav::header(channels as u16, bytes), 0)?;
    Ok(file)
}

/// Write samples of 8 kHz as Ogg Opus. The old file stays readable until the new one is complete.
fn write(path: &Path, samples: &[i16]) -> io::Result<()> {
    let draft = path.with_extension("new");
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let write_draft = || -> io::Result<()> {
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        let mut ogg = OggWriter::new(file, 1, 1)?;
        for block in samples.chunks(800) {
            ogg.write(block)?;
        }
        ogg.finish()?.sync_data()?;
        fs::rename(&draft, path)
    };
    let written = write_draft();
    if written.is_err() {
        // A partial file would use space that others need.
        fs::remove_file(&draft).ok();
    }
    written
}
