//! Dependency rules: which crate of the workspace may depend on which.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::Fault;

/// Each crate with the workspace crates that it may name, in any kind of dependency.
///
/// `sip`, `media` and `model` do not know each other: SIP carries SDP as bytes, media knows no SIP, the model knows neither.
const ALLOWED: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("udp", &[]),
    ("sip", &["base"]),
    ("media", &["base"]),
    ("model", &["base"]),
    ("switch", &["base", "sip", "media", "model"]),
    ("store", &["base", "model"]),
    ("carrier", &["base", "model"]),
    ("api", &["base", "model", "switch", "store", "carrier"]),
    ("server", &["base", "udp", "sip", "media", "model", "switch", "store", "carrier", "api"]),
    ("sim", &["base", "sip", "media", "model", "switch", "store", "carrier", "api"]),
    ("e2e", &[]),
    ("xtask", &[]),
];

/// Libraries with sockets, clocks, threads or databases: forbidden in the pure crates.
const IMPURE: &[&str] = &[
    "tokio",
    "mio",
    "socket2",
    "libc",
    "rustix",
    "nix",
    "quinn-udp",
    "reqwest",
    "ureq",
    "hyper",
    "axum",
    "sqlx",
    "rusqlite",
    "hickory-resolver",
    "getrandom",
    "crossbeam",
    "rayon",
    "async-std",
    "smol",
];
const PURE: &[&str] = &["base", "sip", "media", "model", "switch"];

/// A workspace crate and its dependencies.
pub(super) struct Crate {
    name: String,
    dependencies: Vec<Dependency>,
}

/// One dependency. Workspace crates have their short names.
struct Dependency {
    name: String,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Normal,
    Build,
    Dev,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Normal => "depends on",
            Self::Build => "builds with",
            Self::Dev => "tests with",
        }
    }
}

/// Read the workspace from `cargo metadata`, without transitive dependencies, so that no network is needed.
pub(super) fn read(root: &Path) -> anyhow::Result<Vec<Crate>> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(root)
        .output()
        .context("cannot start cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    parse(&serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")?)
}

fn parse(metadata: &Value) -> anyhow::Result<Vec<Crate>> {
    let packages = metadata["packages"].as_array().context("cargo metadata without packages")?;
    Ok(packages
        .iter()
        .map(|package| Crate {
            name: short(package["name"].as_str().unwrap_or_default()),
            dependencies: package["dependencies"].as_array().into_iter().flatten().map(dependency).collect(),
        })
        .collect())
}

fn dependency(dependency: &Value) -> Dependency {
    let name = dependency["name"].as_str().unwrap_or_default();
    let kind = match dependency["kind"].as_str() {
        Some("dev") => Kind::Dev,
        Some("build") => Kind::Build,
        _ => Kind::Normal,
    };
    // Only a crate with a path is ours: crates.io has a `base` too.
    let name = if dependency["path"].is_string() { short(name) } else { format!("crates.io/{name}") };
    Dependency { name, kind }
}

fn short(package: &str) -> String {
    package.strip_prefix("centralita-").unwrap_or(package).to_owned()
}

pub(super) fn check(crates: &[Crate]) -> Vec<Fault> {
    crates.iter().flat_map(check_one).collect()
}

fn check_one(one: &Crate) -> Vec<Fault> {
    let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == one.name) else {
        return vec![Fault::of(
            "Cargo.toml",
            format!("crate {} is not in the table of allowed dependencies", one.name),
        )];
    };
    let mut faults = Vec::new();
    for dependency in &one.dependencies {
        let wide = one.name == "e2e" && dependency.kind == Kind::Dev;
        let message = match dependency.name.strip_prefix("crates.io/") {
            Some(name)
                if PURE.contains(&one.name.as_str())
                    && dependency.kind != Kind::Dev
                    && IMPURE.contains(&name) =>
            {
                format!("{} is pure and {} {name}", one.name, dependency.kind.word())
            }
            Some(_) => continue,
            None if wide || allowed.contains(&dependency.name.as_str()) => continue,
            None => format!(
                "{} {} {}: that arrow does not run down",
                one.name,
                dependency.kind.word(),
                dependency.name
            ),
        };
        faults.push(Fault::of(&format!("crates/{}/Cargo.toml", one.name), message));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, dependencies: &Value) -> Vec<Fault> {
        let package =
            serde_json::json!({ "name": format!("centralita-{name}"), "dependencies": dependencies });
        check(&parse(&serde_json::json!({ "packages": [package] })).unwrap())
    }

    #[test]
    fn an_arrow_that_runs_down_is_fine_and_one_that_runs_up_is_not() {
        let on = |name: &str| serde_json::json!([{ "name": format!("centralita-{name}"), "kind": null, "path": "/x" }]);
        assert!(one("switch", &on("sip")).is_empty());
        assert!(one("server", &on("api")).is_empty());
        assert_eq!(one("sip", &on("switch")).len(), 1);
        assert_eq!(one("sip", &on("media")).len(), 1, "neighbours on one floor do not know each other");
        assert_eq!(one("store", &on("sip")).len(), 1);
        assert_eq!(one("sim", &on("server")).len(), 1);
    }

    #[test]
    fn tests_and_build_scripts_obey_the_same_arrows() {
        for kind in ["dev", "build"] {
            let up = serde_json::json!([{ "name": "centralita-switch", "kind": kind, "path": "/x" }]);
            assert_eq!(one("model", &up).len(), 1);
        }
    }

    #[test]
    fn a_pure_crate_takes_no_library_with_a_socket_except_in_its_tests() {
        let tokio = |kind: Value| serde_json::json!([{ "name": "tokio", "kind": kind, "path": null }]);
        assert_eq!(one("media", &tokio(Value::Null)).len(), 1);
        assert!(one("media", &tokio("dev".into())).is_empty());
        assert!(one("server", &tokio(Value::Null)).is_empty());
    }

    #[test]
    fn a_crate_outside_the_plan_is_refused() {
        assert_eq!(one("attic", &serde_json::json!([])).len(), 1);
    }
}
