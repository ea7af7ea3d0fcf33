//! Making extensions by the thousand, with the passwords that they have elsewhere.

use std::collections::HashMap;
use std::sync::Arc;

use base::Secret;
use model::voicemail::{PinKey, PinProof};
use model::{Change, Credential, Directory, ExtensionNumber, Ha1, Mailbox, UserId};
use serde_json::json;

use super::extensions::{claim_number, fresh};
use super::{Actor, ChangeSet, DirectoryError, DirectoryService};
use crate::error::Fault;
use crate::imported::{Column, LineFault};
use crate::secret;

/// Extensions of one import without a password of their own: those that are made are shown in its answer.
const MADE: usize = 1000;

/// One line of an import.
#[derive(Clone, Debug)]
pub struct Imported {
    /// Where it stands: the line of a file, the index in a list.
    pub line: u64,
    /// The extension's number.
    pub number: ExtensionNumber,
    /// The digest user name; the number where `None`.
    pub username: Option<String>,
    /// The password, of any length (S40); a new one where `None`.
    pub password: Option<Secret<String>>,
    /// Whose.
    pub owner: UserId,
    /// The person's name; the number where `None`.
    pub display_name: Option<String>,
    /// The PIN of its mailbox.
    pub pin: Option<Secret<String>>,
}

/// What an import has made.
#[derive(Clone, Debug, Default)]
pub struct ImportDone {
    /// How many extensions.
    pub count: usize,
    /// Those whose password was made here.
    pub made: Vec<MadePassword>,
}

/// An extension whose password was made by an import: it is shown once.
#[derive(Clone, Debug)]
pub struct MadePassword {
    /// Its number.
    pub number: ExtensionNumber,
    /// Its digest user name.
    pub username: String,
    /// Its password.
    pub password: Secret<String>,
}

impl Imported {
    fn username(&self) -> &str {
        self.username.as_deref().unwrap_or(self.number.as_str())
    }

    fn fault(&self, kind: Fault, column: Column, why: (String, String)) -> DirectoryError {
        let value = match column {
            Column::Number => Some(self.number.to_string()),
            Column::Username => Some(self.username().to_owned()),
            Column::Name | Column::Password | Column::Owner | Column::Pin => None,
        };
        DirectoryError::Line(Box::new(LineFault::new(self.line, column, value, why).of_kind(kind)))
    }
}

impl DirectoryService {
    /// Make all of these extensions, or none. `pins` seals the PINs.
    pub async fn import(
        &self,
        actor: Actor,
        pins: PinKey,
        lines: Vec<Imported>,
    ) -> Result<ImportDone, DirectoryError> {
        self.commit(actor, move |draft| {
            check(draft.directory, &lines)?;
            let mut owners = std::collections::HashSet::new();
            for line in &lines {
                if owners.insert(line.owner.clone()) {
                    draft.ensure_user(&line.owner);
                }
            }
            let mut done = ImportDone { count: lines.len(), made: Vec::new() };
            let mut behind = Vec::with_capacity(lines.len());
            for line in lines {
                make(draft, &pins, line, &mut done.made, &mut behind);
            }
            draft.changes.append(&mut behind);
            draft.event.kind = "voip_extensions_imported";
            draft.event.detail = json!({"count": done.count});
            Ok(done)
        })
        .await
    }
}

/// What no line can see by itself: what is there already, and the other lines.
fn check(directory: &Directory, lines: &[Imported]) -> Result<(), DirectoryError> {
    let twice = |first: u64| {
        (format!("is the same as in line {first}"), format!("es lo mismo que en la línea {first}"))
    };
    let mut numbers: HashMap<&str, u64> = HashMap::with_capacity(lines.len());
    let mut usernames: HashMap<&str, u64> = HashMap::with_capacity(lines.len());
    for line in lines {
        claim_number(directory, &line.number, None).map_err(|error| match error {
            DirectoryError::NumberReserved(_) => line.fault(
                Fault::NumberReserved,
                Column::Number,
                ("is an emergency number".into(), "es un número de emergencia".into()),
            ),
            _ => {
                line.fault(Fault::NumberTaken, Column::Number, ("exists already".into(), "ya existe".into()))
            }
        })?;
        if let Some(first) = numbers.insert(line.number.as_str(), line.line) {
            return Err(line.fault(Fault::NumberTaken, Column::Number, twice(first)));
        }
        if directory.credential(line.username()).is_some() {
            return Err(line.fault(
                Fault::UsernameTaken,
                Column::Username,
                ("exists already".into(), "ya existe".into()),
            ));
        }
        if let Some(first) = usernames.insert(line.username(), line.line) {
            return Err(line.fault(Fault::UsernameTaken, Column::Username, twice(first)));
        }
    }
    // A user name that is the number of somebody else's line would be two phones.
    for line in lines {
        if let Some(other) = numbers.get(line.username()).filter(|_| line.username() != line.number.as_str())
        {
            let why = (
                format!("is the number of the extension in line {other}"),
                format!("es el número de la extensión de la línea {other}"),
            );
            return Err(line.fault(Fault::UsernameTaken, Column::Username, why));
        }
    }
    let without = lines.iter().filter(|line| line.password.is_none());
    match without.clone().nth(MADE) {
        None => Ok(()),
        Some(line) => Err(line.fault(
            Fault::MissingField,
            Column::Password,
            (
                format!("is missing: at most {MADE} lines of an import may have none, since what is made is shown in the answer"),
                format!("falta: como máximo {MADE} líneas pueden ir sin ella, porque las creadas se muestran en la respuesta"),
            ),
        )),
    }
}

fn make(
    draft: &mut ChangeSet<'_>,
    pins: &PinKey,
    line: Imported,
    made: &mut Vec<MadePassword>,
    behind: &mut Vec<Change>,
) {
    let username = line.username.unwrap_or_else(|| line.number.to_string());
    let password = line.password.unwrap_or_else(|| {
        let password = secret::password(&mut draft.rng);
        let (number, username) = (line.number.clone(), username.clone());
        made.push(MadePassword { number, username, password: password.clone() });
        password
    });
    let name = line.display_name.unwrap_or_else(|| line.number.to_string());
    let username: Arc<str> = username.into();
    let ha1 = Ha1::new(&username, draft.domain, password.expose());
    let ha1_by_number = Some(Ha1::new(line.number.as_str(), draft.domain, password.expose()));
    let (user, created_at) = (line.owner.clone(), draft.now.wall);
    let extension = fresh(draft.now, &mut draft.rng, line.owner, line.number, name, Arc::clone(&username));
    if let Some(pin) = line.pin {
        let pin = Some(PinProof::new(pins, &extension.id, pin.expose()));
        behind.push(Change::Mailbox(Mailbox { pin, ..Mailbox::of(extension.id.clone()) }));
    }
    let extension_id = Some(extension.id.clone());
    draft.changes.push(Change::Extension(extension));
    behind.push(Change::Credential(Credential {
        username,
        user,
        extension: extension_id,
        ha1,
        ha1_by_number,
        created_at,
    }));
}
