//! Programs from PyPI, in an environment of the project (`target/tools/python`), not of the machine.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// Serialises installations.
static INSTALLING: Mutex<()> = Mutex::new(());

/// Path of the program `name` of a package, which is installed if it is missing.
///
/// # Panics
/// If it cannot be installed.
pub fn program(package: &str, name: &str) -> PathBuf {
    let _turn = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let need = Command::new(top.join(".ci/need")).args(["pip", package]).status();
    assert!(
        need.is_ok_and(|status| status.success()),
        "{package} from PyPI is needed: .ci/need pip '{package}'"
    );
    top.join("target/tools/python/bin").join(name)
}
