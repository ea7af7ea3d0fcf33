//! Client of an S3-compatible object store. Each operation is tried once; the caller decides about retries.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api::{BoxFuture, Opened};
use base::Secret;
use bytes::Bytes;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::buffered::BufWriter;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt, RetryConfig};
use tokio::io::AsyncWriteExt;

/// Timeout of one request.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Configuration of an S3-compatible store.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct ObjectsConfig {
    pub bucket: String,
    pub endpoint: Option<String>,
    pub region: String,
    pub prefix: Option<String>,
    pub access_key: String,
    pub secret_key: Secret<String>,
}

/// Client of the store.
#[derive(Clone, Debug)]
pub struct Objects {
    store: Arc<AmazonS3>,
    prefix: String,
}

impl Objects {
    /// Create the client; nothing is sent yet.
    pub fn open(config: ObjectsConfig) -> anyhow::Result<Objects> {
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(config.bucket)
            .with_region(config.region)
            .with_access_key_id(config.access_key)
            .with_secret_access_key(config.secret_key.expose().clone())
            .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
            .with_client_options(ClientOptions::new().with_timeout(TIMEOUT).with_allow_http(true));
        if let Some(endpoint) = config.endpoint {
            builder = builder.with_endpoint(endpoint).with_virtual_hosted_style_request(false);
        }
        let prefix = config.prefix.map(|prefix| format!("{}/", prefix.trim_matches('/'))).unwrap_or_default();
        Ok(Objects { store: Arc::new(builder.build()?), prefix })
    }

    fn key(&self, name: &str) -> object_store::path::Path {
        object_store::path::Path::from(format!("{}{name}", self.prefix))
    }

    /// Upload a file.
    pub(super) async fn put(&self, file: &Path, name: &str) -> io::Result<()> {
        let mut file = tokio::fs::File::open(file).await?;
        let store: Arc<dyn ObjectStore> = self.store.clone();
        let mut object = BufWriter::new(store, self.key(name));
        tokio::io::copy(&mut file, &mut object).await?;
        object.shutdown().await
    }

    /// Open an object; `NotFound` if it does not exist.
    pub(super) async fn read(&self, name: &str, content_type: &'static str) -> io::Result<Opened> {
        let (store, key) = (Arc::clone(&self.store), self.key(name));
        let length = store.head(&key).await.map_err(io_error)?.size;
        let read = move |range: Range<u64>| -> BoxFuture<io::Result<Bytes>> {
            let (store, key) = (Arc::clone(&store), key.clone());
            Box::pin(async move { store.get_range(&key, range).await.map_err(io_error) })
        };
        Ok(Opened { length, content_type, read: Arc::new(read) })
    }

    /// Delete an object, if it exists.
    pub(super) async fn delete(&self, name: &str) -> io::Result<()> {
        match self.store.delete(&self.key(name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

fn io_error(error: object_store::Error) -> io::Error {
    match error {
        object_store::Error::NotFound { .. } => io::Error::new(io::ErrorKind::NotFound, error),
        other => io::Error::other(other),
    }
}
