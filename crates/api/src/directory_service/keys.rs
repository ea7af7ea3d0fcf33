//! Creating, changing and revoking API keys (S53–S60).

use base::{Id, Secret, Timestamp};
use model::{ApiKey, ApiKeyId, Change, Directory, Permission, Permissions, UserId};
use serde_json::json;

use super::{Actor, ChangeSet, DirectoryError, DirectoryService};
use crate::{Patch, secret};

/// A new key with its secret in plain text, which is shown once.
#[derive(Clone, Debug)]
pub struct CreatedKey {
    /// The key.
    pub key: ApiKey,
    /// The token that follows `Bearer`.
    pub secret: Secret<String>,
}

/// Parameters of a new key.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Owner of the key.
    pub user: UserId,
    /// Name given by the owner.
    pub name: String,
    /// Permissions of the key.
    pub permissions: Permissions,
    /// Requests per minute; the server's default if `None`.
    pub requests_per_minute: Option<u32>,
    /// Expiry; `None` for no expiry.
    pub expires_at: Option<Timestamp>,
}

/// Changes of a key; a name of `None` is unchanged.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyChanges {
    pub name: Option<String>,
    pub requests_per_minute: Patch<u32>,
    pub expires_at: Patch<Timestamp>,
}

impl DirectoryService {
    /// Create a key with the permission `admin` for `user`.
    pub async fn create_admin_key(
        &self,
        actor: Actor,
        user: UserId,
        name: &str,
    ) -> Result<CreatedKey, DirectoryError> {
        self.enter_admin_key(actor, user, name, self.new_key_secret()).await
    }

    /// Create an admin key with a secret from [`DirectoryService::new_key_secret`] that the caller has already stored.
    pub async fn enter_admin_key(
        &self,
        actor: Actor,
        user: UserId,
        name: &str,
        secret: Secret<String>,
    ) -> Result<CreatedKey, DirectoryError> {
        let permissions = [Permission::Admin].into_iter().collect();
        let name = name.to_owned();
        let wanted = NewKey { user, name, permissions, requests_per_minute: None, expires_at: None };
        self.insert_key(actor, wanted, secret).await
    }

    /// Generate the secret of a key that is created later.
    pub fn new_key_secret(&self) -> Secret<String> {
        secret::key(&mut self.rng())
    }

    /// Whether a secret belongs to an existing key.
    pub fn knows_key(&self, secret: &Secret<String>) -> bool {
        self.directory().key_by_hash(&secret::hash(secret.expose())).is_some()
    }

    /// Whether no admin key was ever used.
    pub async fn no_admin_key_was_used(&self) -> Result<bool, DirectoryError> {
        let used = self.store().keys_last_used().await?;
        Ok(!self
            .directory()
            .keys()
            .any(|key| key.permissions.allow(Permission::Admin) && used.contains_key(&key.id)))
    }

    /// Create a key. The caller checks whether the client may create it.
    pub async fn create_key(&self, actor: Actor, wanted: NewKey) -> Result<CreatedKey, DirectoryError> {
        self.insert_key(actor, wanted, self.new_key_secret()).await
    }

    async fn insert_key(
        &self,
        actor: Actor,
        wanted: NewKey,
        secret: Secret<String>,
    ) -> Result<CreatedKey, DirectoryError> {
        self.commit(actor, move |draft| {
            draft.ensure_user(&wanted.user);
            let key = ApiKey {
                id: Id::new(draft.now, &mut draft.rng),
                user: wanted.user,
                name: wanted.name,
                prefix: secret::display_prefix(secret.expose()),
                hash: secret::hash(secret.expose()),
                permissions: wanted.permissions,
                active: true,
                requests_per_minute: wanted.requests_per_minute,
                created_at: draft.now.wall,
                expires_at: wanted.expires_at,
            };
            draft.changes.push(Change::Key(key.clone()));
            let detail = json!({"name": key.name, "permissions": key.permissions, "prefix": key.prefix,
                "expiresAt": key.expires_at.map(|end| end.to_string())});
            draft.audit("api_key_created", &key.user, key.id.as_str(), detail);
            Ok(CreatedKey { key, secret })
        })
        .await
    }

    /// Activate or deactivate a key; toggle it if `active` is `None` (S58).
    pub async fn set_key_active(
        &self,
        actor: Actor,
        id: ApiKeyId,
        active: Option<bool>,
    ) -> Result<ApiKey, DirectoryError> {
        self.commit(actor, move |draft| {
            let mut key = ApiKey::clone(draft.directory.key(&id).ok_or(DirectoryError::NotFound)?);
            let active = active.unwrap_or(!key.active);
            if active == key.active {
                return Ok(key);
            }
            if !active {
                require_another_admin(draft.directory, draft.now.wall, &key)?;
            }
            key.active = active;
            draft.changes.push(Change::Key(key.clone()));
            draft.audit("api_key_updated", &key.user, id.as_str(), json!({"after": {"active": active}}));
            Ok(key)
        })
        .await
    }

    /// Change the name, rate limit or expiry of a key.
    pub(crate) async fn change_key(
        &self,
        actor: Actor,
        id: ApiKeyId,
        changes: KeyChanges,
    ) -> Result<ApiKey, DirectoryError> {
        self.commit(actor, move |draft| {
            let old = draft.directory.key(&id).ok_or(DirectoryError::NotFound)?;
            let mut key = ApiKey::clone(old);
            let mut after = serde_json::Map::new();
            if let Some(name) = changes.name {
                after.insert("name".into(), name.clone().into());
                key.name = name;
            }
            if !changes.requests_per_minute.is_keep() {
                changes.requests_per_minute.apply(&mut key.requests_per_minute);
                after.insert("requestsPerMinute".into(), key.requests_per_minute.into());
            }
            if !changes.expires_at.is_keep() {
                changes.expires_at.apply(&mut key.expires_at);
                after.insert("expiresAt".into(), key.expires_at.map(|end| end.to_string()).into());
            }
            if key == **old {
                return Ok(key);
            }
            if key.is_expired(draft.now.wall) {
                require_another_admin(draft.directory, draft.now.wall, &key)?;
            }
            draft.changes.push(Change::Key(key.clone()));
            draft.audit("api_key_updated", &key.user, id.as_str(), json!({"after": after}));
            Ok(key)
        })
        .await
    }

    /// Revoke a key.
    pub async fn revoke_key(&self, actor: Actor, id: ApiKeyId) -> Result<(), DirectoryError> {
        self.commit(actor, move |draft: &mut ChangeSet<'_>| {
            let key = draft.directory.key(&id).ok_or(DirectoryError::NotFound)?;
            require_another_admin(draft.directory, draft.now.wall, key)?;
            let (user, detail) = (key.user.clone(), json!({"name": key.name, "prefix": key.prefix}));
            draft.changes.push(Change::KeyGone(id.clone()));
            draft.audit("api_key_deleted", &user, id.as_str(), detail);
            Ok(())
        })
        .await
    }
}

/// Fails if no active admin key would be left.
fn require_another_admin(
    directory: &Directory,
    now: Timestamp,
    removed: &ApiKey,
) -> Result<(), DirectoryError> {
    let may = |key: &ApiKey| key.active && key.permissions.allow(Permission::Admin);
    let is_admin = |key: &ApiKey| may(key) && !key.is_expired(now);
    if may(removed) && !directory.keys().any(|key| key.id != removed.id && is_admin(key)) {
        return Err(DirectoryError::LastAdminKey);
    }
    Ok(())
}
