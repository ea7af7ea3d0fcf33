//! Arrows only run down: which crate of the house may depend on which.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::Fault;

/// Each crate with the crates of the house that it may name, whatever the kind of dependency.
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

/// Libraries that bring a socket, a clock, a thread or a database: the pure crates stay without them.
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

/// A crate of the house and what it depends on.
pub(super) struct Crate {
    name: String,
    needs: Vec<Need>,
}

/// One dependency; crates of the house go by their short names.
struct Need {
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

/// Reads the workspace through `cargo metadata`; without dependencies of dependencies it needs no network.
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
            needs: package["dependencies"].as_array().into_iter().flatten().map(need).collect(),
        })
        .collect())
}

fn need(dependency: &Value) -> Need {
    let name = dependency["name"].as_str().unwrap_or_default();
    let kind = match dependency["kind"].as_str() {
        Some("dev") => Kind::Dev,
        Some("build") => Kind::Build,
        _ => Kind::Normal,
    };
    // Only a crate with a path is one of ours: crates.io has a `base` too.
    let name = if dependency["path"].is_string() { short(name) } else { format!("crates.io/{name}") };
    Need { name, kind }
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
            format!("crate {} has no place in the plan of the house", one.name),
        )];
    };
    let mut faults = Vec::new();
    for need in &one.needs {
        let wide = one.name == "e2e" && need.kind == Kind::Dev;
        let says = match need.name.strip_prefix("crates.io/") {
            Some(name)
                if PURE.contains(&one.name.as_str()) && need.kind != Kind::Dev && IMPURE.contains(&name) =>
            {
                format!("{} is pure and {} {name}", one.name, need.kind.word())
            }
            Some(_) => continue,
            None if wide || allowed.contains(&need.name.as_str()) => continue,
            None => format!("{} {} {}: that arrow does not run down", one.name, need.kind.word(), need.name),
        };
        faults.push(Fault::of(&format!("crates/{}/Cargo.toml", one.name), says));
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
