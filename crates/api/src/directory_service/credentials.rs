//! What phones prove themselves with: an extension's credential, and those that belong to nobody but their user (S38, S75).

use std::sync::Arc;

use base::Secret;
use model::{Change, Credential, Extension, ExtensionId, Ha1, UserId};
use serde_json::{Value, json};

use super::{Actor, ChangeSet, CreatedExtension, DirectoryError, DirectoryService};
use crate::secret;

/// What becomes of a user's older credentials.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Older {
    Stay,
    Go,
}

impl DirectoryService {
    /// A new password for an extension's credential (S75).
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
            draft.tell("sip_credentials_reset", &extension.user, id.as_str(), Value::Null);
            Ok(CreatedExtension { extension, password })
        })
        .await
    }

    /// A further credential of a user, without an extension; older ones stay valid (S38).
    pub async fn generate_credentials(
        &self,
        actor: Actor,
        user: UserId,
    ) -> Result<(Credential, Secret<String>), DirectoryError> {
        self.new_credential(actor, user, Older::Stay).await
    }

    /// The same, and the user's older credentials without an extension are revoked (S38).
    pub async fn rotate_credentials(
        &self,
        actor: Actor,
        user: UserId,
    ) -> Result<(Credential, Secret<String>), DirectoryError> {
        self.new_credential(actor, user, Older::Go).await
    }

    async fn new_credential(
        &self,
        actor: Actor,
        user: UserId,
        older: Older,
    ) -> Result<(Credential, Secret<String>), DirectoryError> {
        self.commit(actor, move |draft| {
            draft.ensure_user(&user);
            if older == Older::Go {
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
            draft.tell(
                "sip_credentials_generated",
                &user,
                &credential.username,
                json!({"olderRevoked": older == Older::Go}),
            );
            Ok((credential, password))
        })
        .await
    }
}

/// `user_` and ten digits that nobody has yet (S31, S39).
pub(super) fn new_username(draft: &mut ChangeSet<'_>) -> String {
    loop {
        let username = format!("user_{}", 1_000_000_000 + draft.rng.below(9_000_000_000));
        if draft.directory.credential(&username).is_none() {
            return username;
        }
    }
}
