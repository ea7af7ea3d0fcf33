//! SIP credentials: those of extensions, and those of a user without an extension (S38, S75).

use std::sync::Arc;

use base::Secret;
use model::{Change, Credential, Extension, ExtensionId, Ha1, UserId};
use serde_json::{Value, json};

use super::{Actor, ChangeSet, CreatedExtension, DirectoryError, DirectoryService};
use crate::secret;

/// What happens to the user's existing credentials without an extension.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Existing {
    Keep,
    Revoke,
}

impl DirectoryService {
    /// Set a new random password for an extension (S75).
    pub async fn reset_password(
        &self,
        actor: Actor,
        id: ExtensionId,
    ) -> Result<CreatedExtension, DirectoryError> {
        self.commit(actor, move |draft| {
            let extension = Extension::clone(draft.directory.extension(&id).ok_or(DirectoryError::NotFound)?);
            let password = secret::password(&mut draft.rng);
            draft.changes.push(Change::Credential(Credential {
                username: Arc::clone(&extension.username),
                user: extension.user.clone(),
                extension: Some(id.clone()),
                ha1: Ha1::new(&extension.username, draft.domain, password.expose()),
                ha1_by_number: Some(Ha1::new(extension.number.as_str(), draft.domain, password.expose())),
                created_at: draft.now.wall,
            }));
            draft.audit("sip_credentials_reset", &extension.user, id.as_str(), Value::Null);
            Ok(CreatedExtension { extension, password })
        })
        .await
    }

    /// Create a credential of a user without an extension. Existing ones stay valid (S38).
    pub async fn generate_credentials(
        &self,
        actor: Actor,
        user: UserId,
    ) -> Result<(Credential, Secret<String>), DirectoryError> {
        self.new_credential(actor, user, Existing::Keep).await
    }

    /// Create a credential of a user without an extension, and revoke the existing ones (S38).
    pub async fn rotate_credentials(
        &self,
        actor: Actor,
        user: UserId,
    ) -> Result<(Credential, Secret<String>), DirectoryError> {
        self.new_credential(actor, user, Existing::Revoke).await
    }

    async fn new_credential(
        &self,
        actor: Actor,
        user: UserId,
        existing: Existing,
    ) -> Result<(Credential, Secret<String>), DirectoryError> {
        self.commit(actor, move |draft| {
            draft.ensure_user(&user);
            if existing == Existing::Revoke {
                let old = draft.directory.credentials_of(&user).filter(|c| c.extension.is_none());
                let mut gone: Vec<_> = old.map(|c| Arc::clone(&c.username)).collect();
                gone.sort();
                draft.changes.extend(gone.into_iter().map(Change::CredentialGone));
            }
            let username = new_username(draft);
            let password = secret::password(&mut draft.rng);
            let credential = Credential {
                ha1: Ha1::new(&username, draft.domain, password.expose()),
                ha1_by_number: None,
                username: username.into(),
                user: user.clone(),
                extension: None,
                created_at: draft.now.wall,
            };
            draft.changes.push(Change::Credential(credential.clone()));
            draft.audit(
                "sip_credentials_generated",
                &user,
                &credential.username,
                json!({"olderRevoked": existing == Existing::Revoke}),
            );
            Ok((credential, password))
        })
        .await
    }
}

/// Generate an unused user name: `user_` and ten digits (S31, S39).
pub(super) fn new_username(draft: &mut ChangeSet<'_>) -> String {
    loop {
        let username = format!("user_{}", 1_000_000_000 + draft.rng.below(9_000_000_000));
        if draft.directory.credential(&username).is_none() {
            return username;
        }
    }
}
