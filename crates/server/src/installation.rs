//! Checks that the data directory and the database belong together. Both carry the name of the installation, so a wrong `store.url` or a foreign
//! directory is found at start-up and not by missing data later.

use anyhow::{Context, Result, bail};
use base::Rng;
use store::Store;

use crate::data::DataDir;

/// Compare the two names, and write the one that is missing.
pub async fn check(store: &Store, data: &DataDir, rng: &mut Rng) -> Result<()> {
    let here = data.installation()?;
    let there = store.installation().await.context("the database cannot be read")?;
    let (path, file) = (data.path().display(), data.installation_file());
    let file = file.display();
    match (here, there) {
        (Some(here), Some(there)) if here == there => Ok(()),
        (Some(here), Some(there)) => bail!(
            "the data directory {path} belongs to {here}, and the database of store.url belongs to {there}: set store.url right, or name \
             another directory with --data. (To use these two together from now on, remove {file}.)"
        ),
        (Some(here), None) => {
            if store.is_unused().await.context("the database cannot be read")? {
                bail!(
                    "the database of store.url is empty, and the data directory {path} was used with another one: set store.url right, \
                     or restore the database from its backup. (To start over with an empty one, remove {file}.)"
                );
            }
            // The database was created by a version that did not write the name, and was restored from a backup.
            store.name_installation(&here).await.context("the database cannot be written")?;
            Ok(())
        }
        (None, Some(there)) => data.set_installation(&there),
        (None, None) => {
            let wanted = format!("inst_{:016x}", rng.u64());
            // The database first: a database without a name counts as new only if the directory has no name either.
            let name = store.name_installation(&wanted).await.context("the database cannot be written")?;
            data.set_installation(&name)
        }
    }
}
