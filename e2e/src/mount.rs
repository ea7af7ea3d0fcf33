//! A small file system of a test's own, to be filled up.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A tmpfs, unmounted when this is dropped.
#[derive(Debug)]
pub struct Mount {
    path: PathBuf,
}

impl Mount {
    /// Mounts `megabytes` at `path`.
    ///
    /// # Panics
    /// When it cannot be mounted: only root may.
    pub fn tmpfs(path: &Path, megabytes: u32) -> Mount {
        std::fs::create_dir_all(path).expect("a folder to mount at");
        let options = format!("size={megabytes}m,mode=0700");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path).output();
        let done = done.expect("mount runs");
        assert!(done.status.success(), "mount (needs root): {}", String::from_utf8_lossy(&done.stderr));
        Mount { path: path.to_owned() }
    }

    /// Takes every block that is free, as a file of somebody else does, until it is dropped.
    ///
    /// # Panics
    /// When the file cannot be made.
    pub fn fill(&self) -> Filling {
        let path = self.path.join("somebody-elses.file");
        let mut file = File::options().create(true).append(true).open(&path).expect("a file");
        for size in [1 << 20, 4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        Filling(path)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: whoever still has a file open here is ending.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

/// What fills a disk.
#[derive(Debug)]
pub struct Filling(PathBuf);

impl Filling {
    /// Takes what has become free meanwhile.
    ///
    /// # Panics
    /// When the file is gone.
    pub fn again(&self) {
        let mut file = File::options().append(true).open(&self.0).expect("the file");
        while file.write_all(&[0; 4096]).is_ok() {}
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
