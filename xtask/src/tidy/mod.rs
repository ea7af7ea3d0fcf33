//! The rules of the tree, checked: what may depend on what, which words may stand where, how long a file may grow, which tests pages name.
//!
//! Each rule is a function from the tree's files (or crates) to faults, so that a rule is tested on a tree of three lines.

mod arrows;
mod field_cases;
mod links;
mod names;
mod pages;
mod purity;
mod rust;
mod seeds;
mod size;
mod test_files;
mod words;

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};

/// One text file of the tree, by its path from the root.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Something that stands where it must not.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fault {
    pub(crate) place: String,
    pub(crate) says: String,
}

impl Fault {
    fn at(path: &str, line: usize, says: impl Into<String>) -> Self {
        Self { place: format!("{path}:{line}"), says: says.into() }
    }

    fn of(path: &str, says: impl Into<String>) -> Self {
        Self { place: path.to_owned(), says: says.into() }
    }
}

pub(crate) fn run(root: &Path) -> anyhow::Result<ExitCode> {
    let (files, paths) = files(root)?;
    let crates = arrows::read(root)?;
    let mut faults = arrows::check(&crates);
    faults.extend(seeds::check(&files));
    faults.extend(links::check(&files, &paths));
    faults.extend(pages::check(&files));
    faults.extend(field_cases::check(&files));
    faults.extend(test_files::check(&files));
    faults.extend(files.iter().flat_map(|file| {
        let rules = [purity::check, rust::check, size::check, names::check, words::check];
        rules.into_iter().flat_map(move |rule| rule(file))
    }));
    faults.sort();
    faults.dedup();
    for fault in &faults {
        println!("{}: {}", fault.place, fault.says);
    }
    if faults.is_empty() {
        println!("tidy: {} files and {} crates, nothing to say", files.len(), crates.len());
        return Ok(ExitCode::SUCCESS);
    }
    println!("tidy: {} faults", faults.len());
    Ok(ExitCode::FAILURE)
}

/// Every text file that is tracked, or would be with the next `git add`; and the paths of all files.
fn files(root: &Path) -> anyhow::Result<(Vec<File>, Vec<String>)> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("cannot start git")?;
    if !output.status.success() {
        bail!("git ls-files failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let (mut files, mut paths) = (Vec::new(), Vec::new());
    for path in String::from_utf8(output.stdout).context("a file name is not UTF-8")?.split('\0') {
        if !path.is_empty() && root.join(path).exists() {
            paths.push(path.to_owned());
        }
        // A file deleted in the work tree is still listed; what is not text has nothing to say.
        if let Ok(text) = std::fs::read_to_string(root.join(path))
            && !path.is_empty()
        {
            files.push(File { path: path.to_owned(), text });
        }
    }
    Ok((files, paths))
}

#[cfg(test)]
fn file(path: &str, text: &str) -> File {
    File { path: path.to_owned(), text: text.to_owned() }
}
