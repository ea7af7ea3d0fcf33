//! The first administrator's key. Its secret is on the disk before it is in the database, so a start that fails at any point can be repeated.

use anyhow::{Context, Result, bail};
use api::{Actor, DirectoryService};
use model::{Permission, UserId};

use crate::data::DataDir;

/// Result of [`ensure`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FirstKey {
    /// A key was created and stored in `admin.key`.
    Created,
    /// The database already has an administrator's key.
    Exists,
}

/// Create the first administrator's key if there is none (S20).
///
/// An existing key in `admin.key` is never replaced. If the database has no administrator, that key is entered: an earlier start ended between
/// the two steps, or the database was emptied.
pub async fn ensure(directory_service: &DirectoryService, data: &DataDir) -> Result<FirstKey> {
    let directory = directory_service.directory();
    let stored = data.read_admin_key()?;
    let (path, user) = (data.admin_key(), UserId::parse("admin").context("the first user")?);
    if directory.keys().any(|key| key.permissions.allow(Permission::Admin)) {
        match stored {
            Some(secret) if !directory_service.knows_key(&secret) => tracing::warn!(
                file = %path.display(),
                "admin.key holds a key that this database does not know: the command line cannot use it. Move the file away and create another \
                 with: centralita key create"
            ),
            None if directory_service.no_admin_key_was_used().await.unwrap_or(false) => tracing::warn!(
                file = %path.display(),
                "there is no admin.key, and no administrator's key was ever used. If you have no key, stop the server and create one with: \
                 centralita key create"
            ),
            Some(_) | None => {}
        }
        return Ok(FirstKey::Exists);
    }
    let secret = match stored {
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
    Ok(FirstKey::Created)
}
