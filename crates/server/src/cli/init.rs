//! `init [--layout opensips]`: creates the data directory, the first key and a configuration file.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde_json::json;

use super::configuration::toml;
use super::reach::{self, Local};
use super::{Fault, Shared, shape};
use crate::config::DEFAULT_FILE;
use crate::data::DataDir;
use crate::first_key::{self, FirstKey};
use crate::tr;

/// Options of `init`.
#[derive(Debug, Args)]
pub(super) struct InitOptions {
    /// Also create the paths of another product
    #[arg(long, value_enum)]
    layout: Option<Layout>,
}

/// Additional path layouts (S111).
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Layout {
    /// opensips/logs/opensips.log and opensips/opensips.cfg
    Opensips,
}

pub(super) fn run(shared: &Shared, options: &InitOptions) -> Result<(), Fault> {
    let loaded = shared.loaded_or_default()?;
    let data = DataDir::make(&shared.data)?;
    let file = shared.config.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    let mut created = Vec::new();
    if !file.exists() {
        fs::write(&file, commented(&toml(&loaded))).with_context(|| file.display().to_string())?;
        created.push(file);
    }
    if data.running()?.is_none() && first_key(shared)? {
        created.push(data.admin_key());
    }
    if options.layout == Some(Layout::Opensips) {
        created.extend(opensips(&data, &toml(&loaded))?);
    }
    let paths: Vec<String> = created.iter().map(|path| path.display().to_string()).collect();
    let text = match paths.as_slice() {
        [] => tr!("Everything exists already.", "Ya existe todo."),
        paths => tr!("Created: {0}", "Creado: {0}", paths.join(", ")),
    };
    let next = tr!(
        "{text}\nNext: centralita serve --data {0}",
        "{text}\nSiguiente paso: centralita serve --data {0}",
        shared.data.display()
    );
    shape::say(shared, &json!({ "made": paths }), &next);
    Ok(())
}

/// Create the database and the first administrator's key, if missing. Returns whether a key was created.
fn first_key(shared: &Shared) -> Result<bool, Fault> {
    reach::block_on(async {
        let local = Local::open(shared).await?;
        let created = first_key::ensure(&local.directory_service, &local.data).await? == FirstKey::Created;
        local.close().await;
        Ok(created)
    })
}

/// The paths of the seed documents: a link to our log, and the effective configuration for reading.
fn opensips(data: &DataDir, effective: &str) -> Result<Vec<PathBuf>, Fault> {
    let (logs, cfg) = (Path::new("opensips/logs"), Path::new("opensips/opensips.cfg"));
    let ours = std::path::absolute(data.log())?;
    for dir in [Some(logs), ours.parent()].into_iter().flatten() {
        fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    }
    let link = logs.join("opensips.log");
    // A link of an earlier run may point to another data directory.
    if link.is_symlink() {
        fs::remove_file(&link)?;
    }
    symlink(&ours, &link).with_context(|| link.display().to_string())?;
    let note = "# Settings in force, for reading only: change centralita.toml instead.\n";
    fs::write(cfg, format!("{note}{effective}\n")).with_context(|| cfg.display().to_string())?;
    Ok(vec![link, cfg.to_path_buf()])
}

/// The configuration with every setting commented out.
fn commented(effective: &str) -> String {
    let lines = effective.lines().map(|line| match line.trim() {
        "" => String::new(),
        section if section.starts_with('[') => section.to_owned(),
        setting => format!("# {setting}"),
    });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}
