//! `store move`

use anyhow::Context;
use clap::Subcommand;
use serde_json::{Map, Value, json};
use store::Store;

use super::{Fault, Shared, reach, shape};
use crate::config::without_password;

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
        return Err(Fault::Refused(
            "store.url does not name a SQLite database: there is nothing to move".into(),
        ));
    }
    let file = shared.data.join(from.trim_start_matches("sqlite:").trim_start_matches("//"));
    if !file.is_file() {
        return Err(Fault::Refused(format!("there is no database {}", file.display())));
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
    let text = format!(
        "{}\n{total:>10}  rows were moved, and counted again there.\nNext: store.url = \"{shown}\" with its password, then centralita serve. {} stays as it is.",
        lines.join("\n"),
        file.display()
    );
    shape::say(shared, &json!({ "tables": tables, "rows": total, "to": shown }), &text);
    Ok(())
}
