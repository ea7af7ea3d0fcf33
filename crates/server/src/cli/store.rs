//! `store move|restore`

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

/// What can be done with the database as a whole.
#[derive(Debug, Subcommand)]
pub(super) enum StoreVerb {
    /// Copy the SQLite database to an empty one of PostgreSQL, while no server runs
    Move {
        /// Where to, postgres://USER:PASSWORD@HOST/DATABASE; in the environment other users of the machine do not see the password
        #[arg(long, value_name = "URL", env = "CENTRALITA_MOVE_TO", hide_env_values = true)]
        to: String,
    },
    /// Put a copy made by `centralita backup` back in place of the SQLite database, while no server runs; the one that is there is kept aside
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

/// The file of the configured SQLite database; `otherwise` is said where it is another database.
fn sqlite_file(shared: &Shared, url: &str, otherwise: &str) -> Result<PathBuf, Fault> {
    let Some(file) = url.strip_prefix("sqlite:") else {
        return Err(Fault::Refused(tr!(
            "store.url does not name a SQLite database: {otherwise}",
            "store.url no nombra una base de datos SQLite: {otherwise}"
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
            "there is no database {0}",
            "no hay ninguna base de datos {0}",
            file.display()
        )));
    }
    // A server that runs would go on writing to the old one.
    let _lock = data.lock()?;
    let mut tables = Map::new();
    let total = reach::block_on(async {
        let store = Store::open(from, data.path()).await.context("the database does not open")?;
        let told = |table: &str, rows: u64| {
            tables.insert(table.to_owned(), Value::from(rows));
        };
        let moved = store.move_to(to, data.path(), told).await.context("nothing was moved");
        store.close().await;
        Ok(moved?)
    })?;
    let shown = without_password(to);
    let lines: Vec<String> = tables.iter().map(|(table, rows)| format!("{rows:>10}  {table}")).collect();
    let text = tr!(
        "{0}\n{total:>10}  rows were moved, and counted again there.\nNext: store.url = \"{shown}\" with its password, then centralita serve. {1} stays as it is.",
        "{0}\n{total:>10}  filas se movieron, y se contaron de nuevo allí.\nAhora: store.url = \"{shown}\" con su contraseña, y centralita serve. {1} queda como está.",
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
        return Err(Fault::Refused(format!("{} is the database itself", copy.display())));
    }
    if log_of(copy).metadata().is_ok_and(|log| log.len() > 0) {
        return Err(Fault::Refused(format!(
            "{0} is not a finished copy: {0}-wal holds changes that it lacks. Take a copy made by centralita backup",
            copy.display()
        )));
    }
    let data = DataDir::make(&shared.data)?;
    let _lock = data.lock()?;
    let draft = with_suffix(&database, ".restoring");
    let contents = bring(copy, &draft).inspect_err(|_| {
        fs::remove_file(&draft).ok();
    })?;
    let aside = keep_aside(&database, url, &data, Clock::start().now().wall)?;
    fs::rename(&draft, &database).with_context(|| database.display().to_string())?;
    sync_folder(&database)?;
    let kept = aside.as_ref().map_or(String::new(), |aside| {
        format!("\nThe database that was there is kept as {}.", aside.display())
    });
    let text = format!(
        "{} is the database now: {} extensions, {} calls.{kept}\nNext: centralita serve --data {}",
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

/// Copy the file beside the database, and look whether it can be one: what was looked at is what will be there, also when the copy lies on
/// a disk that fails, or changes meanwhile.
fn bring(copy: &Path, draft: &Path) -> Result<Contents, Fault> {
    let mut from = File::open(copy).with_context(|| copy.display().to_string())?;
    if draft.exists() {
        fs::remove_file(draft).with_context(|| draft.display().to_string())?;
    }
    if let Some(folder) = draft.parent() {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    write_private(&mut from, draft).with_context(|| draft.display().to_string())?;
    let owner = fs::metadata(draft.parent().unwrap_or(draft))?;
    // Root, who puts a copy back for a service, would leave it a database that it may not open. Nobody else can give a file away.
    std::os::unix::fs::chown(draft, Some(owner.uid()), Some(owner.gid())).ok();
    // The fault names the draft, which nobody has heard of.
    let shown = |error: store::StoreError| match error {
        store::StoreError::NotADatabase { fault, .. } => anyhow!("{}: {fault}", copy.display()),
        other => anyhow::Error::from(other).context(copy.display().to_string()),
    };
    reach::block_on(async { Ok(Store::inspect(draft).await.map_err(shown)?) })
}

/// Keep what is there under another name. The database stays in its place until the copy replaces it: a crash in between leaves the one or
/// the other, never none.
fn keep_aside(database: &Path, url: &str, data: &DataDir, now: Timestamp) -> Result<Option<PathBuf>, Fault> {
    if !database.exists() {
        return Ok(None);
    }
    // After a crash the write-ahead log holds what the database lacks; a database too damaged for this keeps its log beside it.
    if log_of(database).exists() {
        let folded = reach::block_on(async {
            let store = Store::open(url, data.path()).await.context("the database")?;
            store.close().await;
            Ok(())
        });
        if let Err(fault) = folded {
            eprintln!("centralita: the database that is there does not open ({fault}); it is kept as it is");
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
    // Some file systems have no hard links.
    let kept = fs::hard_link(database, &aside).or_else(|_| write_private(&mut File::open(database)?, &aside));
    kept.with_context(|| aside.display().to_string())?;
    Ok(Some(aside))
}

/// Write a new file that only its owner may read, and wait until it is on the disk.
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
fn log_of(database: &Path) -> PathBuf {
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
