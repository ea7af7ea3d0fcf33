//! Run the tests of the crate with pointer code under Miri and AddressSanitizer.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, bail};

/// The crate whose tests replace the kernel, so that Miri needs no system calls.
const CRATE: &str = "centralita-udp";
const HOW: &str = "rustup +nightly component add miri";

/// Whether Miri may be missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Miri {
    /// Miri is required: fail if it is not installed.
    Required,
    /// AddressSanitizer runs first; Miri runs if it is installed, and the output says whether it did.
    WhereInstalled,
}

pub(crate) fn run(root: &Path, wanted: Miri) -> anyhow::Result<ExitCode> {
    if wanted == Miri::WhereInstalled {
        sanitizer(root)?;
        println!("memory: the tests of {CRATE} pass under AddressSanitizer");
    }
    if !miri_is_there() {
        if wanted == Miri::Required {
            bail!("Miri is not installed, so nothing was run: {HOW}");
        }
        println!("memory: MIRI WAS NOT RUN, it is not installed here ({HOW}): aliasing is not checked");
        return Ok(ExitCode::SUCCESS);
    }
    let mut cargo = Command::new("cargo");
    cargo.args(["+nightly", "miri", "test", "--quiet", "--package", CRATE]).current_dir(root);
    let done = cargo.status().context("cargo miri cannot be run")?;
    if !done.success() {
        bail!("the tests of {CRATE} fail under Miri");
    }
    println!("memory: the tests of {CRATE} pass under Miri");
    Ok(ExitCode::SUCCESS)
}

fn miri_is_there() -> bool {
    let mut cargo = Command::new("cargo");
    cargo.args(["+nightly", "miri", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    cargo.status().is_ok_and(|status| status.success())
}

/// Sanitizers need an unstable compiler flag. As cargo-fuzz does, we enable it on the stable toolchain.
fn sanitizer(root: &Path) -> anyhow::Result<()> {
    let host = host()?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // With an explicit target, build scripts are not instrumented.
    cargo.args(["test", "--quiet", "--lib", "--package", CRATE, "--target", &host]);
    cargo
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", "-Zsanitizer=address")
        .env("ASAN_OPTIONS", "detect_leaks=1");
    let done = cargo.current_dir(root).status().context("cargo cannot be run")?;
    if !done.success() {
        bail!("the tests of {CRATE} fail under AddressSanitizer");
    }
    Ok(())
}

/// The host target of this toolchain.
fn host() -> anyhow::Result<String> {
    let said = Command::new("rustc").arg("-vV").output().context("rustc cannot be run")?;
    let said = String::from_utf8(said.stdout).context("rustc -vV")?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}
