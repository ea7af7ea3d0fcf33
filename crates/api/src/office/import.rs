//! Making extensions by the thousand, with the passwords that they have elsewhere.

use std::collections::HashSet;
use std::sync::Arc;

use base::Secret;
use model::{Change, Credential, Directory, ExtensionNumber, Ha1, UserId};
use serde_json::json;

use super::extensions::{check_display_name, claim_number, fresh};
use super::{Actor, Office, OfficeError};

/// One line of an import.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The extension's number.
    pub number: ExtensionNumber,
    /// The digest user name.
    pub username: String,
    /// The password, of any length (S40).
    pub password: Secret<String>,
    /// Whose.
    pub owner: UserId,
    /// The person's name; the number where `None`.
    pub display_name: Option<String>,
}

impl Office {
    /// Make all of these extensions, or none. Answers how many.
    pub async fn import(&self, actor: Actor, lines: Vec<Imported>) -> Result<usize, OfficeError> {
        self.commit(actor, move |draft| {
            let mut numbers = HashSet::with_capacity(lines.len());
            let mut usernames = HashSet::with_capacity(lines.len());
            let mut owners = HashSet::new();
            for line in &lines {
                claim_number(draft.directory, &line.number, None)?;
                claim_username(draft.directory, &line.username)?;
                if let Some(name) = &line.display_name {
                    check_display_name(name)?;
                }
                if !numbers.insert(line.number.clone()) {
                    return Err(OfficeError::NumberTaken(line.number.clone()));
                }
                if !usernames.insert(line.username.clone()) {
                    return Err(OfficeError::UsernameTaken(line.username.clone()));
                }
                if owners.insert(line.owner.clone()) {
                    draft.ensure_user(&line.owner);
                }
            }
            // A user name that is the number of somebody else's line would be two phones.
            let clash = |line: &&Imported| {
                line.username != line.number.as_str()
                    && ExtensionNumber::parse(&line.username).is_ok_and(|number| numbers.contains(&number))
            };
            if let Some(line) = lines.iter().find(clash) {
                return Err(OfficeError::UsernameTaken(line.username.clone()));
            }
            let count = lines.len();
            let mut credentials = Vec::with_capacity(count);
            for line in lines {
                let name = line.display_name.unwrap_or_else(|| line.number.to_string());
                let username: Arc<str> = line.username.into();
                let ha1 = Ha1::new(&username, draft.domain, line.password.expose());
                let ha1_by_number =
                    Some(Ha1::new(line.number.as_str(), draft.domain, line.password.expose()));
                let (user, created_at) = (line.owner.clone(), draft.now.wall);
                let extension =
                    fresh(draft.now, &mut draft.chance, line.owner, line.number, name, Arc::clone(&username));
                let extension_id = Some(extension.id.clone());
                draft.changes.push(Change::Extension(extension));
                credentials.push(Change::Credential(Credential {
                    username,
                    user,
                    extension: extension_id,
                    ha1,
                    ha1_by_number,
                    created_at,
                }));
            }
            draft.changes.append(&mut credentials);
            draft.event.kind = "voip_extensions_imported";
            draft.event.detail = json!({"count": count});
            Ok(count)
        })
        .await
    }
}

fn claim_username(directory: &Directory, username: &str) -> Result<(), OfficeError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if username.is_empty() || username.len() > 64 || !username.chars().all(legal) {
        return Err(OfficeError::BadUsername(username.to_owned()));
    }
    if directory.credential(username).is_some() {
        return Err(OfficeError::UsernameTaken(username.to_owned()));
    }
    Ok(())
}
