//! Where files of recordings are: first in the data directory, later, where there is one, in an S3-compatible store.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::{Later, Opened, Shelf, Wanted};
use base::Secret;
use bytes::Bytes;
use model::{Recording, RecordingFormat};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::buffered::BufWriter;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt, RetryConfig};
use store::{Kept, Place};
use tokio::io::AsyncWriteExt;

use super::{ogg_opus, wav};

/// How long one request to the store may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// What is read of an object at once.
const PIECE: u64 = 4 * 1024 * 1024;

/// An S3-compatible store, as the configuration names it.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Store {
    pub bucket: String,
    pub endpoint: Option<String>,
    pub region: String,
    pub prefix: Option<String>,
    pub access_key: String,
    pub secret_key: Secret<String>,
}

/// The same, ready for use. It tries once: who uses it decides when to try again.
#[derive(Clone, Debug)]
pub struct Objects {
    store: Arc<AmazonS3>,
    prefix: String,
}

impl Objects {
    /// Get ready; nothing is asked of the store yet.
    pub fn open(config: Store) -> anyhow::Result<Objects> {
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(config.bucket)
            .with_region(config.region)
            .with_access_key_id(config.access_key)
            .with_secret_access_key(config.secret_key.expose().clone())
            .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
            .with_client_options(ClientOptions::new().with_timeout(PATIENCE).with_allow_http(true));
        if let Some(endpoint) = config.endpoint {
            builder = builder.with_endpoint(endpoint).with_virtual_hosted_style_request(false);
        }
        let prefix = config.prefix.map(|prefix| format!("{}/", prefix.trim_matches('/'))).unwrap_or_default();
        Ok(Objects { store: Arc::new(builder.build()?), prefix })
    }

    fn key(&self, recording: &Recording) -> object_store::path::Path {
        object_store::path::Path::from(format!("{}{}", self.prefix, recording.path()))
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Warehouse {
    data: PathBuf,
    objects: Option<Objects>,
}

impl Warehouse {
    /// Below `data`, and in `objects` where there are any.
    pub fn new(data: &Path, objects: Option<Objects>) -> Warehouse {
        Warehouse { data: data.to_owned(), objects }
    }

    /// Whether files are to be brought to an object store.
    pub fn has_objects(&self) -> bool {
        self.objects.is_some()
    }

    /// A recording's file in the data directory.
    pub fn path(&self, recording: &Recording) -> PathBuf {
        self.data.join(recording.path())
    }

    /// Bring a file to the object store; it stays in the data directory until the caller has written down where it is.
    pub async fn upload(&self, recording: &Recording) -> io::Result<()> {
        let objects = self.objects.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        let mut file = tokio::fs::File::open(self.path(recording)).await?;
        let store: Arc<dyn ObjectStore> = objects.store.clone();
        let mut object = BufWriter::new(store, objects.key(recording));
        tokio::io::copy(&mut file, &mut object).await?;
        object.shutdown().await
    }

    /// Remove a recording's audio, wherever it is. What is not there any more is removed.
    pub async fn remove(&self, kept: &Kept) -> io::Result<()> {
        match tokio::fs::remove_file(self.path(&kept.recording)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        if kept.place != Place::Objects {
            return Ok(());
        }
        // Where the store is not configured any more, what lies there stays to be removed.
        let objects = self.objects.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        match objects.store.delete(&objects.key(&kept.recording)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    async fn opened(self, kept: Kept, wanted: Wanted) -> io::Result<Opened> {
        let recording = &kept.recording;
        let stored = match recording.format {
            RecordingFormat::Opus => "audio/ogg",
            RecordingFormat::Wav => "audio/wav",
        };
        let convert = wanted == Wanted::Wav && recording.format != RecordingFormat::Wav;
        match (kept.place, convert) {
            (Place::Gone, _) => Err(io::ErrorKind::NotFound.into()),
            (Place::Folder, false) => {
                let path = self.path(recording);
                from_file(blocking(move || File::open(path)).await?, stored)
            }
            (Place::Folder, true) => {
                let path = self.path(recording);
                from_file(blocking(move || as_wav(File::open(path)?)).await?, "audio/wav")
            }
            (Place::Objects, false) => self.in_objects(recording, stored).await,
            (Place::Objects, true) => {
                let opened = self.in_objects(recording, stored).await?;
                let mut file = scratch()?;
                let mut at = 0;
                while at < opened.length {
                    let bytes = (opened.read)(at..opened.length.min(at + PIECE)).await?;
                    at += bytes.len() as u64;
                    file = blocking(move || file.write_all(&bytes).map(|()| file)).await?;
                }
                let wav = blocking(move || file.rewind().and_then(|()| as_wav(file))).await?;
                from_file(wav, "audio/wav")
            }
        }
    }

    async fn in_objects(&self, recording: &Recording, content_type: &'static str) -> io::Result<Opened> {
        let objects = self.objects.clone().ok_or(io::ErrorKind::NotFound)?;
        let key = objects.key(recording);
        let length = objects.store.head(&key).await.map_err(io_error)?.size;
        let read = move |range: Range<u64>| -> Later<io::Result<Bytes>> {
            let (store, key) = (Arc::clone(&objects.store), key.clone());
            Box::pin(async move { store.get_range(&key, range).await.map_err(io_error) })
        };
        Ok(Opened { length, content_type, read: Arc::new(read) })
    }
}

impl Shelf for Warehouse {
    fn open(&self, kept: Kept, wanted: Wanted) -> Later<io::Result<Opened>> {
        Box::pin(self.clone().opened(kept, wanted))
    }
}

fn io_error(error: object_store::Error) -> io::Error {
    match error {
        object_store::Error::NotFound { .. } => io::Error::new(io::ErrorKind::NotFound, error),
        other => io::Error::other(other),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

fn from_file(file: File, content_type: &'static str) -> io::Result<Opened> {
    let length = file.metadata()?.len();
    let file = Arc::new(file);
    let read = move |range: Range<u64>| -> Later<io::Result<Bytes>> {
        let file = Arc::clone(&file);
        Box::pin(blocking(move || {
            let mut bytes = vec![0; (range.end - range.start) as usize];
            file.read_exact_at(&mut bytes, range.start)?;
            Ok(bytes.into())
        }))
    };
    Ok(Opened { length, content_type, read: Arc::new(read) })
}

/// A file without a name: it goes when nobody reads it any more.
fn scratch() -> io::Result<File> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = format!("centralita-{}-{}.wav", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

fn as_wav(ogg: File) -> io::Result<File> {
    let mut out = io::BufWriter::new(scratch()?);
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
