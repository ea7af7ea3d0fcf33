//! Source of the time zone rules: built in, or the system's compiled `tzdata`, whichever is newer. Countries change their rules with weeks of
//! notice, faster than software is released (RFC 6557 §2).

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use model::recurrence::{Zones, builtin_version};

use crate::config::Zoneinfo;
use crate::tr;

/// Usual directories of the system; `TZDIR` takes precedence, as for the C library.
const FOLDERS: [&str; 3] = ["/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/etc/zoneinfo"];
/// Files of a zone directory that are visited: there are about 600 names, and 1,800 with `posix/` and `right/`, which are skipped.
const FILES: usize = 4_000;
/// Bytes of one zone file: the largest is about 4 KB.
const BYTES: u64 = 64 * 1024;
/// Directories that contain all zones once more, some with leap seconds.
const DUPLICATES: [&str; 2] = ["posix", "right"];

/// The zone data in use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InForce {
    /// Release, as `2026e`.
    pub version: String,
    /// Directory of the data; `None` if built in.
    pub folder: Option<PathBuf>,
}

impl std::fmt::Display for InForce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let version = &self.version;
        match &self.folder {
            Some(folder) => write!(f, "{version} ({})", folder.display()),
            None => f.write_str(&tr!("{version} (built in)", "{version} (incorporada)")),
        }
    }
}

/// Select the source and install it for this process.
pub fn install(wanted: &Zoneinfo) -> Result<InForce> {
    let builtin = InForce { version: builtin_version().into(), folder: None };
    let system = || system().filter(|folder| folder.is_dir());
    let folder = match wanted {
        Zoneinfo::Builtin => return Ok(builtin),
        Zoneinfo::Folder(folder) if folder.is_dir() => folder.clone(),
        Zoneinfo::Folder(folder) => {
            let folder = folder.display();
            bail!(tr!(
                "time.zoneinfo: the directory {folder} does not exist; write \"auto\", or the directory that `zic -d` wrote",
                "time.zoneinfo: no existe el directorio {folder}; escriba \"auto\" o el directorio que generó `zic -d`"
            ))
        }
        Zoneinfo::System => match system() {
            Some(folder) => folder,
            None => bail!(tr!(
                "time.zoneinfo: this system has no time zone data; install tzdata, or write \"builtin\"",
                "time.zoneinfo: este sistema no tiene datos de zonas horarias; instale tzdata o escriba \"builtin\""
            )),
        },
        Zoneinfo::Auto => match system() {
            Some(folder)
                if version_of(&folder).is_some_and(|version| version.as_str() > builtin_version()) =>
            {
                folder
            }
            Some(_) | None => return Ok(builtin),
        },
    };
    let version = version_of(&folder).unwrap_or_else(|| "unknown".into());
    let mut zones = Zones::new(&version);
    read(&folder, &folder, &mut zones, &mut 0);
    if zones.is_empty() {
        let folder = folder.display();
        bail!(tr!(
            "time.zoneinfo: {folder} contains no compiled zone; write \"auto\", or the directory that `zic -d` wrote",
            "time.zoneinfo: {folder} no contiene ninguna zona compilada; escriba \"auto\" o el directorio que generó `zic -d`"
        ));
    }
    zones.install();
    Ok(InForce { version, folder: Some(folder) })
}

fn system() -> Option<PathBuf> {
    let named = env::var_os("TZDIR").map(PathBuf::from);
    named.into_iter().chain(FOLDERS.map(PathBuf::from)).find(|folder| folder.is_dir())
}

/// The release of a directory: `+VERSION`, or the first line of `tzdata.zi`, `# version 2026e`. Distributions append their own number.
fn version_of(folder: &Path) -> Option<String> {
    let release = fs::read_to_string(folder.join("+VERSION")).ok().or_else(|| {
        let text = fs::read(folder.join("tzdata.zi")).ok()?;
        let line = text.split(|byte| *byte == b'\n').next()?;
        String::from_utf8(line.strip_prefix(b"# version ")?.to_vec()).ok()
    })?;
    let release = release.trim();
    let year = release.get(..4).filter(|year| year.bytes().all(|b| b.is_ascii_digit()))?;
    let letters: String = release.chars().skip(4).take_while(char::is_ascii_lowercase).collect();
    Some(format!("{year}{letters}"))
}

/// Add every zone file below `folder`, named by its path relative to `root`.
fn read(root: &Path, folder: &Path, zones: &mut Zones, seen: &mut usize) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let Some(name) = path.strip_prefix(root).ok().and_then(Path::to_str) else { continue };
        *seen += 1;
        if *seen > FILES {
            return;
        }
        let Ok(kind) = path.metadata() else { continue };
        if kind.is_dir() && !DUPLICATES.contains(&name) && !entry.path().is_symlink() {
            read(root, &path, zones, seen);
        } else if kind.is_file()
            && kind.len() <= BYTES
            && let Ok(bytes) = fs::read(&path)
            && bytes.starts_with(b"TZif")
        {
            zones.add(name, &bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_of_a_directory_is_read_from_either_file() {
        let folder = std::env::temp_dir().join(format!("centralita-zoneinfo-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let release = |file: &str, text: &str| {
            fs::write(folder.join(file), text).unwrap();
            let version = version_of(&folder);
            fs::remove_file(folder.join(file)).unwrap();
            version
        };
        assert_eq!(release("tzdata.zi", "# version 2025b\nR d 1916\n").as_deref(), Some("2025b"));
        assert_eq!(release("tzdata.zi", "# version 2024a-0+deb12u1\n").as_deref(), Some("2024a"));
        assert_eq!(release("+VERSION", "2026ab\n").as_deref(), Some("2026ab"));
        assert_eq!(release("+VERSION", "unknown"), None);
        assert_eq!(release("else", "2026a"), None);
        assert!(
            install(&Zoneinfo::Folder(folder.clone())).unwrap_err().to_string().contains("no compiled zone")
        );
        fs::remove_dir_all(&folder).unwrap();
        assert!(install(&Zoneinfo::Folder(folder)).unwrap_err().to_string().contains("does not exist"));
    }
}
