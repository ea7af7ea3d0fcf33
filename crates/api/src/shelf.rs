//! Where the audio of recordings is kept, as far as the API must know: the shell opens it, from a folder or an object store.

use std::future::Future;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use store::Kept;

/// A future that is sent between threads.
pub type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What the audio is wanted as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// As it was recorded.
    Stored,
    /// As WAV, whatever it was recorded as.
    Wav,
}

/// Audio that can be read.
#[derive(Clone)]
pub struct Opened {
    /// All its bytes.
    pub length: u64,
    /// `audio/ogg`, `audio/wav`.
    pub content_type: &'static str,
    /// Reads a part.
    pub read: Arc<dyn Fn(Range<u64>) -> Later<io::Result<Bytes>> + Send + Sync>,
}

/// See the module.
pub trait Shelf: Send + Sync {
    /// Open a recording's audio; `NotFound` where it is not there.
    fn open(&self, kept: Kept, wanted: Wanted) -> Later<io::Result<Opened>>;
}

/// A shelf with nothing on it.
#[derive(Debug)]
pub(crate) struct EmptyShelf;

impl Shelf for EmptyShelf {
    fn open(&self, _: Kept, _: Wanted) -> Later<io::Result<Opened>> {
        Box::pin(async { Err(io::ErrorKind::NotFound.into()) })
    }
}
