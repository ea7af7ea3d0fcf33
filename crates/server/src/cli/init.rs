//! `init [--layout opensips]`

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

/// See `centralita init --help`.
#[derive(Debug, Args)]
pub(super) struct InitOptions {
    /// Also make the paths that another product's users know
    #[arg(long, value_enum)]
    layout: Option<Layout>,
}

/// Paths besides our own (S111).
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Layout {
    /// opensips/logs/opensips.log and opensips/opensips.cfg
    Opensips,
}

pub(super) fn run(shared: &Shared, options: &InitOptions) -> Result<(), Fault> {
    let loaded = shared.loaded_or_default()?;
    let data = DataDir::make(&shared.data)?;
    let file = shared.config.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    let mut made = Vec::new();
    if !file.exists() {
        fs::write(&file, commented(&toml(&loaded))).with_context(|| file.display().to_string())?;
        made.push(file);
    }
    if data.running()?.is_none() && first_key(shared)? {
        made.push(data.admin_key());
    }
    if options.layout == Some(Layout::Opensips) {
        made.extend(opensips(&data, &toml(&loaded))?);
    }
    let paths: Vec<String> = made.iter().map(|path| path.display().to_string()).collect();
    let text = match paths.as_slice() {
        [] => tr!("Everything is there already.", "Ya está todo."),
        paths => tr!("Made: {0}", "Creado: {0}", paths.join(", ")),
    };
    let next = tr!(
        "{text}\nNext: centralita serve --data {0}",
        "{text}\nAhora: centralita serve --data {0}",
        shared.data.display()
    );
    shape::say(shared, &json!({ "made": paths }), &next);
    Ok(())
}

/// Make the database and the first administrator's key, where there is none.
fn first_key(shared: &Shared) -> Result<bool, Fault> {
    reach::block_on(async {
        let local = Local::open(shared).await?;
        let made = first_key::ensure(&local.directory_service, &local.data).await? == FirstKey::Created;
        local.close().await;
        Ok(made)
    })
}

/// The paths of the seeds: their log is ours, and their configuration shows what is in force.
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
    let note = "# What is in force, for reading: change centralita.toml instead.\n";
    fs::write(cfg, format!("{note}{effective}\n")).with_context(|| cfg.display().to_string())?;
    Ok(vec![link, cfg.to_path_buf()])
}

/// A file that changes nothing until somebody takes a `#` away.
fn commented(effective: &str) -> String {
    let lines = effective.lines().map(|line| match line.trim() {
        "" => String::new(),
        section if section.starts_with('[') => section.to_owned(),
        setting => format!("# {setting}"),
    });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}
