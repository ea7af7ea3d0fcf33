//! The data directory: one server at a time, and which of its starts this is.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use base::{Rng, Secret};
use model::SealKey;
use serde::{Deserialize, Serialize};

use crate::tr;

/// What a running server tells the command line.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Running {
    /// Its process.
    pub pid: u32,
    /// Where its API is; none before it listens.
    pub http: Option<SocketAddr>,
}

/// A data directory, made where it was missing. Only its owner may look into it.
#[derive(Clone, Debug)]
pub struct DataDir(PathBuf);

impl DataDir {
    /// Make it where it is missing.
    pub fn make(path: &Path) -> Result<DataDir> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(|| {
            let shown = path.display();
            tr!("the data directory {shown} cannot be made", "no se puede crear la carpeta de datos {shown}")
        })?;
        Ok(DataDir(path.to_path_buf()))
    }

    /// One that may not exist.
    pub fn named(path: &Path) -> DataDir {
        DataDir(path.to_path_buf())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The first administrator's key.
    pub fn admin_key(&self) -> PathBuf {
        self.0.join("admin.key")
    }

    /// The log.
    pub fn log(&self) -> PathBuf {
        self.0.join("logs").join("centralita.log")
    }

    fn lock_file(&self) -> PathBuf {
        self.0.join("centralita.lock")
    }

    /// Take the directory for this process.
    pub fn lock(&self) -> Result<Lock> {
        let path = self.lock_file();
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.with_context(|| path.display().to_string())?;
        match file.try_lock() {
            Ok(()) => {
                let mut lock = Lock { file };
                lock.tell(None)?;
                Ok(lock)
            }
            Err(fs::TryLockError::WouldBlock) => {
                let shown = self.0.display();
                bail!(match tell(file) {
                    Some(Running { pid, .. }) => tr!(
                        "{shown} is in use by process {pid}: one server at a time, or name another directory with --data",
                        "{shown} la usa el proceso {pid}: un servidor a la vez, o nombre otra carpeta con --data"
                    ),
                    None => tr!(
                        "{shown} is in use by another process: one server at a time, or name another directory with --data",
                        "{shown} la usa otro proceso: un servidor a la vez, o nombre otra carpeta con --data"
                    ),
                })
            }
            Err(fs::TryLockError::Error(error)) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    /// The server that runs on this directory, where there is one. A folder that may not be read is a fault: nobody knows what runs there.
    pub fn running(&self) -> io::Result<Option<Running>> {
        let path = self.lock_file();
        let unreadable = |error: io::Error| {
            let (path, kind) = (path.display(), error.kind());
            let why = tr!(
                "{path} cannot be read, so nobody can say whether a server runs there: {error}",
                "{path} no se puede leer, así que no se sabe si hay un servidor en marcha: {error}"
            );
            io::Error::new(kind, why)
        };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        match file.try_lock_shared() {
            Err(fs::TryLockError::WouldBlock) => Ok(Some(tell(file).unwrap_or_default())),
            Ok(()) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(unreadable(error)),
        }
    }

    /// Count this start, on the disk, and answer its number: flows of an earlier start are never taken for ours.
    pub fn begin_epoch(&self) -> Result<u32> {
        let path = self.0.join("epoch");
        let last: u32 = match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().ok().with_context(|| {
                format!(
                    "{} is damaged: write a number there that is higher than all starts so far",
                    path.display()
                )
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        let next = last.wrapping_add(1).max(1);
        replace(&path, &format!("{next}\n"))?;
        Ok(next)
    }

    /// The key that seals what must be readable again (a carrier's password): made at the first start, and never in the database.
    pub fn seal_key(&self, rng: &mut Rng) -> Result<SealKey> {
        let path = self.0.join("seal.key");
        match fs::read_to_string(&path) {
            // Earlier versions could be stopped between making the file and writing it: nothing was ever sealed with it.
            Ok(text) if text.trim().is_empty() => self.new_seal_key(&path, rng),
            Ok(text) => SealKey::from_hex(&text)
                .with_context(|| format!("{} is damaged: put the one of your backup there", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.new_seal_key(&path, rng),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    fn new_seal_key(&self, path: &Path, rng: &mut Rng) -> Result<SealKey> {
        let key = SealKey::random(rng);
        self.write_secret(path, key.to_hex().expose())?;
        Ok(key)
    }

    /// Write a secret that only the owner may read. When this returns it is on the disk; when it fails nothing has changed.
    pub fn write_secret(&self, path: &Path, secret: &str) -> Result<()> {
        replace(path, &format!("{secret}\n"))
    }

    /// The key that `admin.key` holds; `None` where there is no such file, or an empty one.
    pub fn read_admin_key(&self) -> Result<Option<Secret<String>>> {
        let path = self.admin_key();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text.trim().to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        Ok((!text.is_empty()).then(|| Secret::new(text)))
    }

    /// Where the name of the installation stands.
    pub fn installation_file(&self) -> PathBuf {
        self.0.join("installation")
    }

    /// The installation that this directory belongs to; `None` where it was used with no database yet.
    pub fn installation(&self) -> Result<Option<String>> {
        let path = self.installation_file();
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text.trim().to_owned()).filter(|name| !name.is_empty())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    /// From now on it belongs to this one.
    pub fn set_installation(&self, name: &str) -> Result<()> {
        replace(&self.installation_file(), &format!("{name}\n"))
    }
}

/// Put a file that only its owner may read in the place of what is there: all of it or, after a crash or on a full disk, nothing.
fn replace(path: &Path, text: &str) -> Result<()> {
    let draft = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    let done = write();
    if done.is_err() {
        fs::remove_file(&draft).ok();
    }
    done.with_context(|| format!("{} cannot be written", path.display()))
}

fn tell(mut file: File) -> Option<Running> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// Holds the directory until it is dropped, or the process ends in whatever way.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Say where the API is.
    pub fn tell(&mut self, http: Option<SocketAddr>) -> Result<()> {
        let running = Running { pid: std::process::id(), http };
        let text = format!("{}\n", serde_json::to_string(&running)?);
        // Over what was there: on a full disk an empty file would not get its block back.
        self.file.write_all_at(text.as_bytes(), 0)?;
        self.file.set_len(text.len() as u64)?;
        Ok(())
    }
}

/// A seed from the kernel.
pub fn seed() -> Result<[u8; 32]> {
    let mut seed = [0; 32];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut seed)).context("/dev/urandom")?;
    Ok(seed)
}
