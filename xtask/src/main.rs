//! Commands of the project: `cargo xtask tidy
//! fuzz
//! memory
//! miri
//! sim`.

mod fuzz;
mod memory;
mod sim;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

const USAGE: &str = "\
cargo xtask tidy                 check the rules of the tree (dependencies, purity, sizes, names, words, links and pairs of pages)
cargo xtask sim [--seeds N]      run N seeds of the simulator (default 200)
cargo xtask memory               run the tests of what works with pointers under AddressSanitizer, and under Miri where it is installed
cargo xtask miri                 the same under Miri alone; fails where it is not installed
cargo xtask docs                 write docs/api.md and docs/api/ anew from the table of routes
cargo xtask fuzz [--seconds N]   run every fuzz target for N seconds (default 30)";

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let root = root()?;
    match args.first().map(String::as_str) {
        Some("tidy") => tidy::run(&root),
        Some("sim") => sim::run(&root, number(&args, "--seeds")?.unwrap_or(200)),
        Some("memory") => memory::run(&root, memory::Miri::WhereInstalled),
        Some("miri") => memory::run(&root, memory::Miri::Required),
        Some("docs") => docs(&root),
        Some("fuzz") => fuzz::run(&root, number(&args, "--seconds")?.unwrap_or(30)),
        _ => bail!("unknown command; there are:\n{USAGE}"),
    }
}

/// The page is written by the test that compares it, so there is one renderer, and it uses the router's table.
fn docs(root: &std::path::Path) -> anyhow::Result<ExitCode> {
    let mut cargo = std::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["test", "-q", "--workspace", "--test", "api_tests", "--", "reference::"])
        .env("CENTRALITA_WRITE_DOCS", "1");
    let done = cargo.current_dir(root).status().context("cargo cannot be run")?;
    Ok(if done.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Root of the workspace: the parent directory of this crate.
fn root() -> anyhow::Result<PathBuf> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    Ok(here.parent().context("xtask lies in the workspace's root")?.to_owned())
}

fn number(args: &[String], flag: &str) -> anyhow::Result<Option<u64>> {
    let Some(at) = args.iter().position(|word| word == flag) else { return Ok(None) };
    let value = args.get(at + 1).with_context(|| format!("{flag} needs a number"))?;
    Ok(Some(value.parse().with_context(|| format!("{flag} {value}: not a number"))?))
}
