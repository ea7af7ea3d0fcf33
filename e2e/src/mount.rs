//! A small file system of a test, which the test can fill up.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A tmpfs; it is unmounted when this is dropped.
#[derive(Debug)]
pub struct Mount {
    path: PathBuf,
}

impl Mount {
    /// Mount a tmpfs of `megabytes` at `path`.
    ///
    /// # Panics
    /// If it cannot be mounted: only root may.
    pub fn tmpfs(path: &Path, megabytes: u32) -> Mount {
        std::fs::create_dir_all(path).expect("a folder to mount at");
        let options = format!("size={megabytes}m,mode=0700");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path).output();
        let done = done.expect("mount runs");
        assert!(done.status.success(), "mount (needs root): {}", String::from_utf8_lossy(&done.stderr));
        Mount { path: path.to_owned() }
    }

    /// Take all free blocks with a file until the guard is dropped.
    ///
    /// # Panics
    /// If the file cannot be created.
    pub fn fill(&self) -> FillFile {
        let path = self.path.join("fill.file");
        let mut file = File::options().create(true).append(true).open(&path).expect("a file");
        for size in [1 << 20, 4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        FillFile(path)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: processes with open files here are ending.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

/// A file that fills the disk.
#[derive(Debug)]
pub struct FillFile(PathBuf);

impl FillFile {
    /// Take the blocks that have become free since.
    ///
    /// # Panics
    /// If the file does not exist any more.
    pub fn fill_again(&self) {
        let mut file = File::options().append(true).open(&self.0).expect("the file");
        while file.write_all(&[0; 4096]).is_ok() {}
    }
}

impl Drop for FillFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
