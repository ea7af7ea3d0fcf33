//! The first administrator's key: its secret is on the disk before the database knows it, so that a start that fails at any point can be repeated.

use anyhow::{Context, Result, bail};
use api::{Actor, DirectoryService};
use model::{Permission, UserId};

use crate::data::DataDir;

/// What was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FirstKey {
    /// There was none; now there is one, in `admin.key`.
    Made,
    /// There is one in the database.
    There,
}

/// Make the first administrator's key, where there is none (S20).
///
/// A key that `admin.key` holds is never replaced by another. Where the database has no administrator, it is entered there: an earlier start
/// ended between the two, or the database was emptied.
pub async fn ensure(directory_service: &DirectoryService, data: &DataDir) -> Result<FirstKey> {
    let directory = directory_service.directory();
    let held = data.read_admin_key()?;
    let (path, user) = (data.admin_key(), UserId::parse("admin").context("the first user")?);
    if directory.keys().any(|key| key.permissions.allow(Permission::Admin)) {
        match held {
            Some(secret) if !directory_service.knows_key(&secret) => tracing::warn!(
                file = %path.display(),
                "admin.key holds a key that this database does not know: the command line cannot use it. Move it away and make another \
                 with: centralita key create"
            ),
            None if directory_service.no_admin_key_was_used().await.unwrap_or(false) => tracing::warn!(
                file = %path.display(),
                "there is no admin.key, and no administrator's key was ever used. If nobody has one, stop the server and make one with: \
                 centralita key create"
            ),
            Some(_) | None => {}
        }
        return Ok(FirstKey::There);
    }
    let secret = match held {
        Some(secret) if api::is_api_key(secret.expose()) => secret,
        Some(_) => bail!(
            "{} holds no API key, and the database has no administrator yet: move that file away and start again",
            path.display()
        ),
        None => {
            let secret = directory_service.new_key_secret();
            data.write_secret(&path, secret.expose())?;
            secret
        }
    };
    directory_service.enter_admin_key(Actor::default(), user, "First administrator", secret).await?;
    Ok(FirstKey::Made)
}
