//! Changes of mailboxes and voicemail messages, and the e-mail notifications about them. The switch reports what happened on the phone, the API
//! what its clients request; both are written here in the order of arrival.

use base::{Id, Timestamp};
use model::voicemail::{Delivery, PinError, PinKey, PinProof, check_pin, is_email};
use model::{Change, Extension, ExtensionId, Language, Mailbox, MessageId, MessageState, VoicemailMessage};
use serde_json::{Value, json};

use super::{Actor, ChangeSet, DirectoryError, DirectoryService};
use crate::Patch;

/// Changes of a mailbox; `None` leaves a value unchanged.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct MailboxChanges {
    /// The PIN in plain text; only its hash is stored.
    pub pin: Patch<base::Secret<String>>,
    pub language: Option<Language>,
    pub email: Patch<String>,
    pub email_audio: Option<bool>,
    pub greeting_at: Patch<Timestamp>,
}

impl DirectoryService {
    /// Change the settings of a mailbox.
    pub async fn change_mailbox(
        &self,
        actor: Actor,
        id: ExtensionId,
        key: PinKey,
        changes: MailboxChanges,
    ) -> Result<Mailbox, DirectoryError> {
        self.commit(actor, move |draft| {
            let extension = extension(draft, &id)?;
            let before = draft.directory.mailbox(&id);
            let mut mailbox = (*before).clone();
            if let Patch::Set(pin) = &changes.pin {
                check_pin(pin.expose(), extension.number.as_str()).map_err(DirectoryError::BadPin)?;
            }
            if matches!(&changes.email, Patch::Set(email) if !is_email(email)) {
                return Err(DirectoryError::BadEmail);
            }
            changes.pin.map(|pin| PinProof::new(&key, &id, pin.expose())).apply(&mut mailbox.pin);
            changes.email.apply(&mut mailbox.email);
            mailbox.language = changes.language.unwrap_or(mailbox.language);
            mailbox.email_audio = changes.email_audio.unwrap_or(mailbox.email_audio);
            changes.greeting_at.apply(&mut mailbox.greeting_at);
            let greeting = mailbox.greeting_at != before.greeting_at;
            let kind = if greeting { "voicemail_greeting_changed" } else { "voicemail_settings_changed" };
            draft.audit(kind, &extension.user, id.as_str(), json!({"after": snapshot(&mailbox)}));
            draft.changes.push(Change::Mailbox(mailbox.clone()));
            Ok(mailbox)
        })
        .await
    }

    /// Record the start of a message, so that a crash does not lose its owner.
    pub async fn message_begun(&self, message: VoicemailMessage) -> Result<(), DirectoryError> {
        self.commit(Actor::default(), move |draft| {
            extension(draft, &message.extension)?;
            draft.audit("voicemail_begun", &message.user, message.id.as_str(), message_snapshot(&message));
            draft.changes.push(Change::Message(message));
            Ok(())
        })
        .await
    }

    /// Record a complete message, and queue an e-mail notification if the mailbox has an address. Fails if the extension was removed meanwhile.
    pub async fn message_left(&self, message: VoicemailMessage) -> Result<(), DirectoryError> {
        self.commit(Actor::default(), move |draft| {
            let extension = extension(draft, &message.extension)?;
            let message = VoicemailMessage { state: MessageState::New, ..message };
            if let Some(recipient) = draft.directory.mailbox(&extension.id).email.clone() {
                let id = Id::new(draft.now, &mut draft.rng);
                draft.mails.push(Delivery::new(id, &message, recipient, draft.now.wall));
            }
            draft.audit("voicemail_left", &message.user, message.id.as_str(), message_snapshot(&message));
            draft.changes.push(Change::Message(message));
            Ok(())
        })
        .await
    }

    /// Mark a message as heard, saved or new.
    pub async fn mark_message(
        &self,
        actor: Actor,
        extension: ExtensionId,
        id: MessageId,
        state: MessageState,
    ) -> Result<VoicemailMessage, DirectoryError> {
        self.commit(actor, move |draft| {
            let message = complete_message(draft, &extension, &id)?;
            if message.state == state {
                return Ok(message);
            }
            let heard_at = match state {
                MessageState::New | MessageState::Recording => None,
                MessageState::Heard | MessageState::Saved => message.heard_at.or(Some(draft.now.wall)),
            };
            let marked = VoicemailMessage { state, heard_at, ..message };
            let kind = match state {
                MessageState::Heard => "voicemail_heard",
                MessageState::Saved => "voicemail_saved",
                MessageState::New | MessageState::Recording => "voicemail_unheard",
            };
            draft.audit(kind, &marked.user, marked.id.as_str(), message_snapshot(&marked));
            draft.changes.push(Change::Message(marked.clone()));
            Ok(marked)
        })
        .await
    }

    /// Remove a message: deleted by its owner, or dropped because it was never complete.
    pub async fn remove_message(
        &self,
        actor: Actor,
        extension: ExtensionId,
        id: MessageId,
    ) -> Result<VoicemailMessage, DirectoryError> {
        self.commit(actor, move |draft| {
            let found = draft.directory.message(&extension, &id).ok_or(DirectoryError::NotFound)?;
            let message = (**found).clone();
            let kind = match message.state {
                MessageState::Recording => "voicemail_dropped",
                MessageState::New | MessageState::Heard | MessageState::Saved => "voicemail_deleted",
            };
            draft.audit(kind, &message.user, message.id.as_str(), message_snapshot(&message));
            draft.changes.push(Change::MessageGone { extension, id });
            Ok(message)
        })
        .await
    }
}

fn extension(draft: &ChangeSet<'_>, id: &ExtensionId) -> Result<Extension, DirectoryError> {
    draft.directory.extension(id).map(|extension| (**extension).clone()).ok_or(DirectoryError::NotFound)
}

/// Find a complete message.
fn complete_message(
    draft: &ChangeSet<'_>,
    extension: &ExtensionId,
    id: &MessageId,
) -> Result<VoicemailMessage, DirectoryError> {
    let found = draft.directory.message(extension, id).filter(|m| m.state != MessageState::Recording);
    found.map(|message| (**message).clone()).ok_or(DirectoryError::NotFound)
}

/// Snapshot of a mailbox for the audit, without the PIN.
fn snapshot(mailbox: &Mailbox) -> Value {
    json!({
        "pinSet": mailbox.pin.is_some(),
        "language": mailbox.language,
        "email": mailbox.email,
        "emailAudio": mailbox.email_audio,
        "greetingAt": mailbox.greeting_at.map(|at| at.to_string()),
    })
}

fn message_snapshot(message: &VoicemailMessage) -> Value {
    json!({
        "extensionId": message.extension.as_str(),
        "from": message.from_number,
        "seconds": message.millis / 1000,
        "status": message.state.as_str(),
    })
}

/// Why a PIN is rejected: English, Spanish.
pub(crate) fn pin_sentence(error: PinError) -> (&'static str, &'static str) {
    match error {
        PinError::Shape => ("must have 4 to 10 digits", "debe tener de 4 a 10 dígitos"),
        PinError::Weak => (
            "is too easy to guess: no repeated digit, no sequence of digits, not the extension's own number",
            "es demasiado fácil de adivinar: ni dígitos repetidos, ni seguidos, ni el número de la extensión",
        ),
    }
}
