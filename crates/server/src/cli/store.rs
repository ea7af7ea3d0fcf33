//! `store move|restore`: moves the database to PostgreSQL, or restores a backup.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use base::Timestamp;
use clap::Subcommand;
use serde_json::{Map, Value, json};
use store::{Contents, Store};

use super::{Fault, Shared, reach, shape};
use crate::clock::Clock;
use crate::config::without_password;
use crate::data::DataDir;
use crate::tr;

/// Verbs of `store`.
#[derive(Debug, Subcommand)]
pub(super) enum StoreVerb {
    /// Copy the SQLite database to an empty PostgreSQL database; requires that no server runs
    Move {
        /// Destination, postgres://USER:PASSWORD@HOST/DATABASE; set it in the environment to hide the password from other users of the machine
        #[arg(long, value_name = "URL", env = "CENTRALITA_MOVE_TO", hide_env_values = true)]
        to: String,
    },
    /// Restore a copy made by `centralita backup` over the SQLite database; requires that no server runs. The current database is kept aside
    Restore {
        /// The copy
        file: PathBuf,
    },
}

pub(super) fn run(shared: &Shared, verb: StoreVerb) -> Result<(), Fault> {
    match verb {
        StoreVerb::Move { to } => move_to(shared, &to),
        StoreVerb::Restore { file } => restore(shared, &file),
    }
}

/// The file of the configured SQLite database; for another database an error that ends with `otherwise`.
fn sqlite_file(shared: &Shared, url: &str, otherwise: &str) -> Result<PathBuf, Fault> {
    let Some(file) = url.strip_prefix("sqlite:") else {
        return Err(Fault::Refused(tr!(
            "store.url is not a SQLite database: {otherwise}",
            "store.url no es una base de datos SQLite: {otherwise}"
        )));
    };
    Ok(shared.data.join(file.trim_start_matches("//")))
}

fn move_to(shared: &Shared, to: &str) -> Result<(), Fault> {
    let loaded = shared.loaded()?;
    let data = shared.data();
    let from = loaded.config.store.url.expose();
    let file = sqlite_file(shared, from, &tr!("there is nothing to move", "no hay nada que mover"))?;
    if !file.is_file() {
        return Err(Fault::Refused(tr!(
            "the database {0} does not exist",
            "la base de datos {0} no existe",
            file.display()
        )));
    }
    // A running server would continue to write to the old database.
    let _lock = data.lock()?;
    let mut tables = Map::new();
    let total = reach::block_on(async {
        let store = Store::open(from, data.path()).await.context("the database cannot be opened")?;
        let on_table = |table: &str, rows: u64| {
            tables.insert(table.to_owned(), Value::from(rows));
        };
        let moved = store.move_to(to, data.path(), on_table).await.context("nothing was moved");
        store.close().await;
        Ok(moved?)
    })?;
    let shown = without_password(to);
    let lines: Vec<String> = tables.iter().map(|(table, rows)| format!("{rows:>10}  {table}")).collect();
    let text = tr!(
        "{0}\n{total:>10}  rows were moved, and counted again there.\nNext: store.url = \"{shown}\" with its password, then centralita serve. {1} stays as it is.",
        "{0}\n{total:>10}  filas copiadas y verificadas por recuento.\nSiguiente paso: defina store.url = \"{shown}\" con su contraseña y ejecute centralita serve. {1} no se ha modificado.",
        lines.join("\n"),
        file.display()
    );
    shape::say(shared, &json!({ "tables": tables, "rows": total, "to": shown }), &text);
    Ok(())
}

fn restore(shared: &Shared, copy: &Path) -> Result<(), Fault> {
    let loaded = shared.loaded()?;
    let url = loaded.config.store.url.expose();
    let database = sqlite_file(shared, url, &tr!("use pg_restore", "use pg_restore"))?;
    if same_file(copy, &database) {
        return Err(Fault::Refused(tr!(
            "{0} is the database itself",
            "{0} es la propia base de datos",
            copy.display()
        )));
    }
    if wal_of(copy).metadata().is_ok_and(|log| log.len() > 0) {
        return Err(Fault::Refused(tr!(
            "{0} is not a finished copy: {0}-wal contains further changes. Use a copy made by centralita backup",
            "{0} no es una copia completa: {0}-wal contiene más cambios. Use una copia hecha con centralita backup",
            copy.display()
        )));
    }
    let data = DataDir::make(&shared.data)?;
    let _lock = data.lock()?;
    let draft = with_suffix(&database, ".restoring");
    let contents = stage_copy(copy, &draft).inspect_err(|_| {
        fs::remove_file(&draft).ok();
    })?;
    let aside = keep_aside(&database, url, &data, Clock::start().now().wall)?;
    fs::rename(&draft, &database).with_context(|| database.display().to_string())?;
    sync_folder(&database)?;
    let kept = aside.as_ref().map_or(String::new(), |aside| {
        tr!(
            "\nThe database that was there is kept as {0}.",
            "\nLa base de datos anterior se conserva como {0}.",
            aside.display()
        )
    });
    let text = tr!(
        "{0} is the database now: {1} extensions, {2} calls.{kept}\nNext: centralita serve --data {3}",
        "{0} es ahora la base de datos: {1} extensiones, {2} llamadas.{kept}\nSiguiente paso: centralita serve --data {3}",
        copy.display(),
        contents.extensions,
        contents.calls,
        shared.data.display()
    );
    let value = json!({
        "restored": copy.display().to_string(), "extensions": contents.extensions, "calls": contents.calls,
        "kept": aside.map(|aside| aside.display().to_string()),
    });
    shape::say(shared, &value, &text);
    Ok(())
}

/// Copy the backup beside the database and check the copy, so that the checked file is the one that is installed, even if the backup is on a
/// failing disk or changes meanwhile.
fn stage_copy(copy: &Path, draft: &Path) -> Result<Contents, Fault> {
    let mut from = File::open(copy).with_context(|| copy.display().to_string())?;
    if draft.exists() {
        fs::remove_file(draft).with_context(|| draft.display().to_string())?;
    }
    if let Some(folder) = draft.parent() {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    write_private(&mut from, draft).with_context(|| draft.display().to_string())?;
    let owner = fs::metadata(draft.parent().unwrap_or(draft))?;
    // If root restores for a service user, the file must belong to that user. Other users cannot change the owner.
    std::os::unix::fs::chown(draft, Some(owner.uid()), Some(owner.gid())).ok();
    // The error names the draft, which the user does not know.
    let shown = |error: store::StoreError| match error {
        store::StoreError::NotADatabase { fault, .. } => anyhow!("{}: {fault}", copy.display()),
        other => anyhow::Error::from(other).context(copy.display().to_string()),
    };
    reach::block_on(async { Ok(Store::inspect(draft).await.map_err(shown)?) })
}

/// Keep the current database under another name. It stays in its place until the copy replaces it: a crash in between leaves one or the other.
fn keep_aside(database: &Path, url: &str, data: &DataDir, now: Timestamp) -> Result<Option<PathBuf>, Fault> {
    if !database.exists() {
        return Ok(None);
    }
    // After a crash the write-ahead log holds changes that are not in the database file: opening merges them. A database too damaged to be opened
    // keeps its log beside it.
    if wal_of(database).exists() {
        let merged = reach::block_on(async {
            let store = Store::open(url, data.path()).await.context("the database")?;
            store.close().await;
            Ok(())
        });
        if let Err(fault) = merged {
            eprintln!(
                "{}",
                tr!(
                    "centralita: the current database cannot be opened ({fault}); it is kept unchanged",
                    "centralita: la base de datos actual no se puede abrir ({fault}); se conserva sin cambios"
                )
            );
        }
    }
    let stamp: String = now.to_string().chars().filter(char::is_ascii_alphanumeric).collect();
    let aside = with_suffix(database, &format!(".replaced-{stamp}"));
    for suffix in ["-wal", "-shm"] {
        let file = with_suffix(database, suffix);
        if file.exists() {
            fs::rename(&file, with_suffix(&aside, suffix)).with_context(|| file.display().to_string())?;
        }
    }
    // Some file systems do not support hard links.
    let kept = fs::hard_link(database, &aside).or_else(|_| write_private(&mut File::open(database)?, &aside));
    kept.with_context(|| aside.display().to_string())?;
    Ok(Some(aside))
}

/// Write a new file of mode 0600 and flush it to the disk.
fn write_private(from: &mut File, to: &Path) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(to)?;
    io::copy(from, &mut file)?;
    file.sync_all()
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// SQLite's write-ahead log of a database.
fn wal_of(database: &Path) -> PathBuf {
    with_suffix(database, "-wal")
}

fn same_file(one: &Path, other: &Path) -> bool {
    let (Ok(one), Ok(other)) = (one.canonicalize(), other.canonicalize()) else { return false };
    one == other
}

fn sync_folder(file: &Path) -> Result<(), Fault> {
    let Some(folder) = file.parent() else { return Ok(()) };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(synced.with_context(|| folder.display().to_string())?)
}
