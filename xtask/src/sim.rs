//! Run the simulator over N seeds, every seed twice.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Context as _;

pub(crate) fn run(root: &Path, seeds: u64) -> anyhow::Result<ExitCode> {
    let status = Command::new("cargo")
        .args(["run", "--quiet", "--release", "--package", "centralita-sim", "--", "--seeds"])
        .arg(seeds.to_string())
        // Lints belong to the tests; clippy-driver compiles without some optimisations.
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .current_dir(root)
        .status()
        .context("cannot start cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
