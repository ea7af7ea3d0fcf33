//! `store move`

use anyhow::Context;
use clap::Subcommand;
use serde_json::{Map, Value, json};
use store::Store;

use super::{Fault, Shared, reach, shape};
use crate::config::without_password;
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
}

pub(super) fn run(shared: &Shared, verb: StoreVerb) -> Result<(), Fault> {
    let StoreVerb::Move { to } = verb;
    let loaded = shared.loaded()?;
    let data = shared.data();
    let from = loaded.config.store.url.expose();
    if !from.starts_with("sqlite:") {
        return Err(Fault::Refused(tr!(
            "store.url does not name a SQLite database: there is nothing to move",
            "store.url no nombra una base de datos SQLite: no hay nada que mover"
        )));
    }
    let file = shared.data.join(from.trim_start_matches("sqlite:").trim_start_matches("//"));
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
        let moved = store.move_to(&to, data.path(), told).await.context("nothing was moved");
        store.close().await;
        Ok(moved?)
    })?;
    let shown = without_password(&to);
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
