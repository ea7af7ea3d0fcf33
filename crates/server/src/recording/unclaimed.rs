//! Audio files that the database does not know. The database may be the wrong one (another one, an older backup), so such a file is moved aside,
//! and moved back when it is known again; only files known to be removed are deleted.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Directory for unknown files, below the data directory.
pub const UNCLAIMED: &str = "unclaimed";
/// Younger files may belong to a call or upload in progress.
const MIN_AGE: Duration = Duration::from_hours(1);
/// Fewer unknown files say nothing about the database.
const MIN_UNKNOWN: usize = 4;

/// What the database says about a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claim {
    /// It has a row.
    Known,
    /// It was removed, but its file was not deleted.
    Removed,
    /// It has no row.
    Unknown,
}

/// Result of a sweep: numbers of files.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Swept {
    /// Deleted because they had been removed.
    pub removed: usize,
    /// Moved aside.
    pub moved: usize,
    /// Moved back because they are known again.
    pub returned: usize,
    /// Deleted because they had been aside for the configured time.
    pub expired: usize,
    /// Left in place: most of the audio is unknown, so the database is probably the wrong one.
    pub left: usize,
}

struct Found {
    path: PathBuf,
    owner: String,
    file: String,
    claim: Claim,
    age: Duration,
}

/// Check the folders of `folder`, and the files that were moved aside from it. An unknown file is deleted only after it was aside for `keep`
/// (never if `None`), and never while most of the audio is unknown.
pub(super) fn sweep(
    data: &Path,
    folder: &str,
    keep: Option<Duration>,
    claim: impl Fn(&str, &str) -> Claim,
) -> io::Result<Swept> {
    let (original, aside) = (data.join(folder), data.join(UNCLAIMED).join(folder));
    let (found, set_aside) = (list(&original, &claim)?, list(&aside, &claim)?);
    let mut swept = Swept::default();
    let unknown = found.iter().chain(&set_aside).filter(|file| file.claim == Claim::Unknown).count();
    let mostly_unknown = unknown >= MIN_UNKNOWN && unknown * 2 > found.len() + set_aside.len();
    for file in &found {
        let old_enough = file.age > MIN_AGE;
        match file.claim {
            Claim::Removed if old_enough => {
                fs::remove_file(&file.path)?;
                swept.removed += 1;
            }
            Claim::Unknown if old_enough && mostly_unknown => swept.left += 1,
            Claim::Unknown if old_enough => {
                move_file(&file.path, &aside.join(&file.owner), &file.file)?;
                // Its time aside starts now.
                File::options()
                    .write(true)
                    .open(aside.join(&file.owner).join(&file.file))?
                    .set_modified(SystemTime::now())?;
                swept.moved += 1;
            }
            Claim::Known | Claim::Removed | Claim::Unknown => {}
        }
    }
    for file in &set_aside {
        match file.claim {
            Claim::Known => {
                if !original.join(&file.owner).join(&file.file).exists() {
                    move_file(&file.path, &original.join(&file.owner), &file.file)?;
                    swept.returned += 1;
                }
            }
            Claim::Removed => {
                fs::remove_file(&file.path)?;
                swept.removed += 1;
            }
            Claim::Unknown if !mostly_unknown && keep.is_some_and(|keep| file.age > keep) => {
                fs::remove_file(&file.path)?;
                swept.expired += 1;
            }
            Claim::Unknown => {}
        }
    }
    Ok(swept)
}

fn move_file(from: &Path, folder: &Path, name: &str) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    fs::rename(from, folder.join(name))
}

fn list(folder: &Path, claim: &impl Fn(&str, &str) -> Claim) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    let owners = match fs::read_dir(folder) {
        Ok(owners) => owners,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for owner in owners {
        let owner = owner?;
        if !owner.file_type()?.is_dir() {
            continue;
        }
        let (folder, owner) = (owner.path(), owner.file_name().to_string_lossy().into_owned());
        for file in fs::read_dir(folder)? {
            let path = file?.path();
            let metadata = fs::metadata(&path)?;
            if !metadata.is_file() {
                continue;
            }
            let text =
                |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
            let (stem, file) = (text(path.file_stem()), text(path.file_name()));
            let age = metadata.modified()?.elapsed().unwrap_or_default();
            found.push(Found { claim: claim(&owner, &stem), path, owner: owner.clone(), file, age });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path =
                std::env::temp_dir().join(format!("centralita-unclaimed-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Folder(path)
        }

        fn file(&self, name: &str, age: Duration) {
            let path = self.0.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "audio").unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(SystemTime::now() - age).unwrap();
        }

        fn has(&self, name: &str) -> bool {
            self.0.join(name).is_file()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    const DAY: Duration = Duration::from_hours(24);

    fn claims<'a>(known: &'a [&'a str], removed: &'a [&'a str]) -> impl Fn(&str, &str) -> Claim {
        let known: Vec<String> = known.iter().map(|name| (*name).to_owned()).collect();
        let removed: Vec<String> = removed.iter().map(|name| (*name).to_owned()).collect();
        move |_, name| match name {
            name if known.iter().any(|known| known == name) => Claim::Known,
            name if removed.iter().any(|removed| removed == name) => Claim::Removed,
            _ => Claim::Unknown,
        }
    }

    #[test]
    fn unknown_files_are_moved_aside_and_return_when_they_are_known() {
        let folder = Folder::new("aside");
        for name in ["a", "b", "strange", "gone"] {
            folder.file(&format!("voicemail/ext_1/{name}.ogg"), 2 * DAY);
        }
        folder.file("voicemail/ext_1/young.ogg", Duration::ZERO);
        let swept = sweep(&folder.0, "voicemail", None, claims(&["a", "b"], &["gone"])).unwrap();
        assert_eq!(swept, Swept { removed: 1, moved: 1, ..Swept::default() });
        assert!(
            folder.has("unclaimed/voicemail/ext_1/strange.ogg") && folder.has("voicemail/ext_1/young.ogg")
        );
        assert!(!folder.has("voicemail/ext_1/gone.ogg") && !folder.has("voicemail/ext_1/strange.ogg"));
        let swept = sweep(&folder.0, "voicemail", None, claims(&["a", "b", "strange"], &[])).unwrap();
        assert_eq!(swept, Swept { returned: 1, ..Swept::default() });
        assert!(folder.has("voicemail/ext_1/strange.ogg"));
    }

    #[test]
    fn files_set_aside_expire_but_never_while_most_are_unknown() {
        let folder = Folder::new("expired");
        for name in ["a", "b", "c"] {
            folder.file(&format!("voicemail/ext_1/{name}.ogg"), 2 * DAY);
        }
        folder.file("unclaimed/voicemail/ext_2/old.ogg", 31 * DAY);
        folder.file("unclaimed/voicemail/ext_2/recent.ogg", 29 * DAY);
        let all = claims(&["a", "b", "c"], &[]);
        assert_eq!(sweep(&folder.0, "voicemail", None, &all).unwrap(), Swept::default());
        // Another database, which knows none of the files.
        let none = claims(&[], &[]);
        let swept = sweep(&folder.0, "voicemail", Some(30 * DAY), none).unwrap();
        assert_eq!(swept, Swept { left: 3, ..Swept::default() });
        assert!(folder.has("voicemail/ext_1/a.ogg") && folder.has("unclaimed/voicemail/ext_2/old.ogg"));
        let swept = sweep(&folder.0, "voicemail", Some(30 * DAY), &all).unwrap();
        assert_eq!(swept, Swept { expired: 1, ..Swept::default() });
        assert!(folder.has("unclaimed/voicemail/ext_2/recent.ogg"));
    }
}
