//! Rules of the tree: dependencies, forbidden and retired words, file sizes, links, and the tests that pages name.
//!
//! Each rule is a function from the tree's files (or crates) to faults, so that it can be tested on a tree of three lines.

mod arrows;
mod field_cases;
mod links;
mod names;
mod pages;
mod purity;
mod retired;
mod rust;
mod seeds;
mod size;
mod switch_impls;
mod test_files;
mod words;

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};

/// A text file of the tree; `path` is relative to its root.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A violation of a rule: `path:line` or a path, and a sentence.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fault {
    pub(crate) place: String,
    pub(crate) message: String,
}

impl Fault {
    fn at(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { place: format!("{path}:{line}"), message: message.into() }
    }

    fn of(path: &str, message: impl Into<String>) -> Self {
        Self { place: path.to_owned(), message: message.into() }
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
    faults.extend(switch_impls::check(&files));
    faults.extend(files.iter().flat_map(|file| {
        let rules = [purity::check, rust::check, size::check, names::check, retired::check, words::check];
        rules.into_iter().flat_map(move |rule| rule(file))
    }));
    faults.sort();
    faults.dedup();
    for fault in &faults {
        println!("{}: {}", fault.place, fault.message);
    }
    if faults.is_empty() {
        println!("tidy: {} files and {} crates, no faults", files.len(), crates.len());
        return Ok(ExitCode::SUCCESS);
    }
    println!("tidy: {} faults", faults.len());
    Ok(ExitCode::FAILURE)
}

/// All text files that are tracked or not ignored, and the paths of all files.
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
        // A file that was deleted in the work tree is still listed. Binary files are not checked.
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
