//! Which database a data directory belongs to. Both carry the name of the installation, so that a typing error in `store.url`, or a directory of
//! somebody else, is found at the start and not by what is missing afterwards.

use anyhow::{Context, Result, bail};
use base::Rng;
use store::Store;

use crate::data::DataDir;

/// Compare the names, and write them where they are not yet.
pub async fn check(store: &Store, data: &DataDir, rng: &mut Rng) -> Result<()> {
    let here = data.installation()?;
    let there = store.installation().await.context("the database cannot be read")?;
    let (path, file) = (data.path().display(), data.installation_file());
    let file = file.display();
    match (here, there) {
        (Some(here), Some(there)) if here == there => Ok(()),
        (Some(here), Some(there)) => bail!(
            "the data directory {path} belongs to {here}, and the database that store.url names to {there}: set store.url right, or name \
             another directory with --data. (To use these two together from now on, remove {file}.)"
        ),
        (Some(here), None) => {
            if store.is_unused().await.context("the database cannot be read")? {
                bail!(
                    "the database that store.url names is empty, and the data directory {path} was used with another one: set store.url \
                     right, or put the backup of the database back. (To begin anew with an empty one, remove {file}.)"
                );
            }
            // Made by a version that did not write the name, and put back.
            store.name_installation(&here).await.context("the database cannot be written")?;
            Ok(())
        }
        (None, Some(there)) => data.set_installation(&there),
        (None, None) => {
            let wanted = format!("inst_{:016x}", rng.u64());
            // The database first: one without a name is taken for a new one only where the directory has none either.
            let name = store.name_installation(&wanted).await.context("the database cannot be written")?;
            data.set_installation(&name)
        }
    }
}
