//! Making, switching and revoking API keys (S53–S60).

use base::{Id, Secret, Timestamp};
use model::{ApiKey, ApiKeyId, Change, Directory, Permission, Permissions, UserId};
use serde_json::json;

use super::{Actor, ChangeSet, DirectoryError, DirectoryService};
use crate::{Patch, secret};

/// A key as it is shown once.
#[derive(Clone, Debug)]
pub struct CreatedKey {
    /// The key.
    pub key: ApiKey,
    /// What goes behind `Bearer`.
    pub secret: Secret<String>,
}

/// What a key begins with.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Whose.
    pub user: UserId,
    /// What its owner calls it.
    pub name: String,
    /// What it may do.
    pub permissions: Permissions,
    /// Requests per minute; the server's default where `None`.
    pub requests_per_minute: Option<u32>,
    /// When it stops being accepted; never where `None`.
    pub expires_at: Option<Timestamp>,
}

/// What is changed of a key; a name that is `None` stays.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyChanges {
    pub name: Option<String>,
    pub requests_per_minute: Patch<u32>,
    pub expires_at: Patch<Timestamp>,
}

impl DirectoryService {
    /// A key that may do everything, for `user`.
    pub async fn create_admin_key(
        &self,
        actor: Actor,
        user: UserId,
        name: &str,
    ) -> Result<CreatedKey, DirectoryError> {
        self.enter_admin_key(actor, user, name, self.new_key_secret()).await
    }

    /// The same with a secret of [`DirectoryService::new_key_secret`], which was kept somewhere before.
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
        self.enter_key(actor, wanted, secret).await
    }

    /// The secret of a key that is still to be entered.
    pub fn new_key_secret(&self) -> Secret<String> {
        secret::key(&mut self.rng())
    }

    /// Whether a secret is that of a key.
    pub fn knows_key(&self, secret: &Secret<String>) -> bool {
        self.directory().key_by_hash(&secret::hash(secret.expose())).is_some()
    }

    /// Whether no key that may administer was ever used.
    pub async fn no_admin_key_was_used(&self) -> Result<bool, DirectoryError> {
        let used = self.store().keys_last_used().await?;
        Ok(!self
            .directory()
            .keys()
            .any(|key| key.permissions.allow(Permission::Admin) && used.contains_key(&key.id)))
    }

    /// A key. Whether the asker may make it is for the asker to know.
    pub async fn create_key(&self, actor: Actor, wanted: NewKey) -> Result<CreatedKey, DirectoryError> {
        self.enter_key(actor, wanted, self.new_key_secret()).await
    }

    async fn enter_key(
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
                prefix: secret::shown(secret.expose()),
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
            draft.tell("api_key_created", &key.user, key.id.as_str(), detail);
            Ok(CreatedKey { key, secret })
        })
        .await
    }

    /// Switch a key on or off; the other way round where `active` is `None` (S58).
    pub async fn switch_key(
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
                keep_an_admin(draft.directory, draft.now.wall, &key)?;
            }
            key.active = active;
            draft.changes.push(Change::Key(key.clone()));
            draft.tell("api_key_updated", &key.user, id.as_str(), json!({"after": {"active": active}}));
            Ok(key)
        })
        .await
    }

    /// Change what is kept beside a key.
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
                keep_an_admin(draft.directory, draft.now.wall, &key)?;
            }
            draft.changes.push(Change::Key(key.clone()));
            draft.tell("api_key_updated", &key.user, id.as_str(), json!({"after": after}));
            Ok(key)
        })
        .await
    }

    /// Revoke a key.
    pub async fn revoke_key(&self, actor: Actor, id: ApiKeyId) -> Result<(), DirectoryError> {
        self.commit(actor, move |draft: &mut ChangeSet<'_>| {
            let key = draft.directory.key(&id).ok_or(DirectoryError::NotFound)?;
            keep_an_admin(draft.directory, draft.now.wall, key)?;
            let (user, detail) = (key.user.clone(), json!({"name": key.name, "prefix": key.prefix}));
            draft.changes.push(Change::KeyGone(id.clone()));
            draft.tell("api_key_deleted", &user, id.as_str(), detail);
            Ok(())
        })
        .await
    }
}

/// Refuse where nobody could administer any more.
fn keep_an_admin(directory: &Directory, now: Timestamp, leaving: &ApiKey) -> Result<(), DirectoryError> {
    let may = |key: &ApiKey| key.active && key.permissions.allow(Permission::Admin);
    let is_admin = |key: &ApiKey| may(key) && !key.is_expired(now);
    if may(leaving) && !directory.keys().any(|key| key.id != leaving.id && is_admin(key)) {
        return Err(DirectoryError::LastAdminKey);
    }
    Ok(())
}
