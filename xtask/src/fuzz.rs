//! Runs every fuzz target for a bounded time and prints what each has reached.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, bail};

/// Figures of one fuzz target's run.
#[derive(Debug, Default, PartialEq, Eq)]
struct FuzzFigures {
    executions: u64,
    coverage: u64,
}

pub(crate) fn run(root: &Path, seconds: u64) -> anyhow::Result<ExitCode> {
    let targets = targets(&root.join("fuzz/fuzz_targets"))?;
    if targets.is_empty() {
        bail!("fuzz/fuzz_targets holds no target");
    }
    let mut failed = Vec::new();
    println!("{:<16} {:>14} {:>9}  outcome", "target", "executions", "coverage");
    for target in &targets {
        let (reached, fine) = one(root, target, seconds)?;
        let outcome = if fine { "clean" } else { "FOUND SOMETHING" };
        println!("{target:<16} {:>14} {:>9}  {outcome}", reached.executions, reached.coverage);
        if !fine {
            failed.push(target.as_str());
        }
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("the inputs lie in fuzz/artifacts/{{{}}}", failed.join(","));
    Ok(ExitCode::FAILURE)
}

fn targets(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|ext| ext == "rs")
            && let Some(stem) = path.file_stem().and_then(|stem| stem.to_str())
        {
            names.push(stem.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Run one target. The fuzzer's stderr is kept, and shown only if it found something.
fn one(root: &Path, target: &str, seconds: u64) -> anyhow::Result<(FuzzFigures, bool)> {
    let mut command = Command::new("cargo");
    if nightly_is_there() {
        command.arg("+nightly");
    } else {
        command.env("RUSTC_BOOTSTRAP", "1");
    }
    let output = command
        .args(["fuzz", "run", target, "--", "-print_final_stats=1", "-rss_limit_mb=2048", "-timeout=10"])
        .arg(format!("-max_total_time={seconds}"))
        .current_dir(root)
        .env("PATH", path_with_own_tools(root)?)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .context("cannot start cargo fuzz")?;
    let report = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        eprintln!("{report}");
    }
    Ok((reached(&report), output.status.success()))
}

fn nightly_is_there() -> bool {
    Command::new("cargo")
        .args(["+nightly", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn path_with_own_tools(root: &Path) -> anyhow::Result<std::ffi::OsString> {
    let own = root.join("target/tools/bin");
    let old = std::env::var_os("PATH").unwrap_or_default();
    let all: Vec<PathBuf> = std::iter::once(own).chain(std::env::split_paths(&old)).collect();
    Ok(std::env::join_paths(all)?)
}

/// Parse libFuzzer's report: the last `cov:` figure and the number of executed units.
fn reached(report: &str) -> FuzzFigures {
    let mut reached = FuzzFigures::default();
    for line in report.lines() {
        if let Some(rest) = line.strip_prefix("stat::number_of_executed_units:") {
            reached.executions = rest.trim().parse().unwrap_or(0);
        }
        let mut words = line.split_whitespace();
        while let Some(word) = words.next() {
            if word == "cov:" {
                reached.coverage = words.next().and_then(|n| n.parse().ok()).unwrap_or(reached.coverage);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_coverage_and_the_executions_are_read() {
        let report =
            "#2 INITED cov: 10 ft: 11\n#9 DONE cov: 77 ft: 90\nstat::number_of_executed_units: 4096\n";
        assert_eq!(reached(report), FuzzFigures { executions: 4096, coverage: 77 });
    }
}
