//! The data directory: the lock that admits one server at a time, the epoch (number of this start), and the files with secrets.

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

/// Content of the lock file: what a running server reports to the command line.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Running {
    /// Process id.
    pub pid: u32,
    /// Address of its API; `None` before it listens.
    pub http: Option<SocketAddr>,
}

/// A data directory. Only its owner may read it (mode 0700).
#[derive(Clone, Debug)]
pub struct DataDir(PathBuf);

impl DataDir {
    /// Create the directory if it is missing.
    pub fn make(path: &Path) -> Result<DataDir> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(|| {
            let shown = path.display();
            tr!(
                "the data directory {shown} cannot be created",
                "no se puede crear el directorio de datos {shown}"
            )
        })?;
        Ok(DataDir(path.to_path_buf()))
    }

    /// A data directory that may not exist; nothing is created.
    pub fn named(path: &Path) -> DataDir {
        DataDir(path.to_path_buf())
    }

    /// Path of the directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Path of the file with the first administrator's key.
    pub fn admin_key(&self) -> PathBuf {
        self.0.join("admin.key")
    }

    /// Path of the log file.
    pub fn log(&self) -> PathBuf {
        self.0.join("logs").join("centralita.log")
    }

    fn lock_file(&self) -> PathBuf {
        self.0.join("centralita.lock")
    }

    /// Lock the directory for this process. Fails if another process has locked it.
    pub fn lock(&self) -> Result<Lock> {
        let path = self.lock_file();
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.with_context(|| path.display().to_string())?;
        match file.try_lock() {
            Ok(()) => {
                let mut lock = Lock { file };
                lock.publish(None)?;
                Ok(lock)
            }
            Err(fs::TryLockError::WouldBlock) => {
                let shown = self.0.display();
                bail!(match read_running(file) {
                    Some(Running { pid, .. }) => tr!(
                        "{shown} is in use by process {pid}: only one server may use it; name another directory with --data",
                        "{shown} está en uso por el proceso {pid}: solo puede usarlo un servidor; indique otro directorio con --data"
                    ),
                    None => tr!(
                        "{shown} is in use by another process: only one server may use it; name another directory with --data",
                        "{shown} está en uso por otro proceso: solo puede usarlo un servidor; indique otro directorio con --data"
                    ),
                })
            }
            Err(fs::TryLockError::Error(error)) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    /// The server that runs on this directory, if any. A lock file that cannot be read is an error: whether a server runs is then unknown.
    pub fn running(&self) -> io::Result<Option<Running>> {
        let path = self.lock_file();
        let unreadable = |error: io::Error| {
            let (path, kind) = (path.display(), error.kind());
            let why = tr!(
                "{path} cannot be read, so it is unknown whether a server runs there: {error}",
                "no se puede leer {path}, por lo que no se sabe si hay un servidor en marcha: {error}"
            );
            io::Error::new(kind, why)
        };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        match file.try_lock_shared() {
            Err(fs::TryLockError::WouldBlock) => Ok(Some(read_running(file).unwrap_or_default())),
            Ok(()) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(unreadable(error)),
        }
    }

    /// Increment the start counter on the disk and return it (1 or more). It is the epoch of flows, so flows of an earlier start are never mistaken
    /// for current ones.
    pub fn begin_epoch(&self) -> Result<u32> {
        let path = self.0.join("epoch");
        let last: u32 = match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().ok().with_context(|| {
                format!(
                    "{} is damaged: write a number there that is higher than the number of starts so far",
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

    /// The key that encrypts secrets which must be readable again (a carrier's password). Created at the first start, and never in the database.
    pub fn seal_key(&self, rng: &mut Rng) -> Result<SealKey> {
        let path = self.0.join("seal.key");
        match fs::read_to_string(&path) {
            // Earlier versions could be stopped between creating the file and writing it; nothing was encrypted with an empty key.
            Ok(text) if text.trim().is_empty() => self.new_seal_key(&path, rng),
            Ok(text) => SealKey::from_hex(&text)
                .with_context(|| format!("{} is damaged: restore it from your backup", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.new_seal_key(&path, rng),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    fn new_seal_key(&self, path: &Path, rng: &mut Rng) -> Result<SealKey> {
        let key = SealKey::random(rng);
        self.write_secret(path, key.to_hex().expose())?;
        Ok(key)
    }

    /// Write a secret to a file of mode 0600. It is on the disk when this returns; after an error the old content is unchanged.
    pub fn write_secret(&self, path: &Path, secret: &str) -> Result<()> {
        replace(path, &format!("{secret}\n"))
    }

    /// The API key in `admin.key`; `None` if the file is missing or empty.
    pub fn read_admin_key(&self) -> Result<Option<Secret<String>>> {
        let path = self.admin_key();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text.trim().to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        Ok((!text.is_empty()).then(|| Secret::new(text)))
    }

    /// Path of the file with the installation's name.
    pub fn installation_file(&self) -> PathBuf {
        self.0.join("installation")
    }

    /// Name of the installation that this directory belongs to; `None` before its first use with a database.
    pub fn installation(&self) -> Result<Option<String>> {
        let path = self.installation_file();
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text.trim().to_owned()).filter(|name| !name.is_empty())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    /// Write the name of the installation.
    pub fn set_installation(&self, name: &str) -> Result<()> {
        replace(&self.installation_file(), &format!("{name}\n"))
    }
}

/// Replace a file (mode 0600) atomically: after a crash or on a full disk it has either the old content or the new one.
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

fn read_running(mut file: File) -> Option<Running> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// The lock on the directory, held until it is dropped or the process ends.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Write the process id and the API's address to the lock file.
    pub fn publish(&mut self, http: Option<SocketAddr>) -> Result<()> {
        let running = Running { pid: std::process::id(), http };
        let text = format!("{}\n", serde_json::to_string(&running)?);
        // Overwrite in place: on a full disk a truncated file might not get its block back.
        self.file.write_all_at(text.as_bytes(), 0)?;
        self.file.set_len(text.len() as u64)?;
        Ok(())
    }
}

/// 32 random bytes from the kernel.
pub fn seed() -> Result<[u8; 32]> {
    let mut seed = [0; 32];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut seed)).context("/dev/urandom")?;
    Ok(seed)
}
