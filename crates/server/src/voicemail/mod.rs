//! Voicemail's part of the shell: writes down what the exchange tells of it, keeps its files, and reads them when they are to be heard.

mod prompts;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use api::{Actor, AudioFile, MailboxChanges, Office, OfficeError, Patch, Shelf};
use model::voicemail::PinKey;
use model::{ExtensionId, MessageState, SoundId, VoicemailMessage};
use store::StoreError;
use switch::voicemail::{Audio, Clip, Note, greeting_path, message_path};
use tokio::sync::{Notify, mpsc};

use crate::exchange::{Door, Order};
use crate::recording::Warehouse;
use crate::recording::unclaimed::{Claim, Swept, UNCLAIMED};

pub use prompts::prompts;

/// How long the database is left alone after it took nothing.
const PAUSE: Duration = Duration::from_secs(1);
/// Shorter than this a message that a crash cut off is nothing.
const LEAST_MILLIS: u32 = 1_000;

/// See the module.
pub struct Clerk {
    /// The books.
    pub office: Office,
    /// The files.
    pub files: Warehouse,
    /// The exchange, which waits for what it wants to play.
    pub door: Door,
    /// Rung when a mail may be due.
    pub bell: Arc<Notify>,
    /// Proves PINs: boxes are written whole.
    pub key: PinKey,
    /// How long a file that nobody knows is kept aside; for ever where `None`.
    pub keep_unclaimed: Option<Duration>,
}

impl std::fmt::Debug for Clerk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clerk").finish_non_exhaustive()
    }
}

impl Clerk {
    /// Finish what the process before us left, then do what the exchange wants, one after the other, until that is gone.
    pub async fn run(self, mut notes: mpsc::UnboundedReceiver<Note>) {
        let door = self.door.clone();
        tokio::task::spawn_blocking(move || door.put(Order::Prompts(Arc::new(prompts()))));
        // Before the first note: what is being recorded then is of the process before us.
        self.adopt().await;
        while let Some(note) = notes.recv().await {
            self.note(note).await;
        }
    }

    async fn note(&self, note: Note) {
        match note {
            Note::Begun(message) => self.write(|| self.office.message_begun(message.clone())).await,
            Note::Left(message) => self.left(&message).await,
            Note::Dropped(message) => self.remove(&message.extension, message.id).await,
            Note::Deleted { extension, id } => self.remove(&extension, id).await,
            Note::Marked { extension, id, state } => {
                self.write(|| async {
                    let marked =
                        self.office.mark_message(Actor::default(), extension.clone(), id.clone(), state);
                    marked.await.map(drop)
                })
                .await;
            }
            Note::Greeting { extension, name } => {
                if let Err(error) = self.files.rename(&name, &greeting_path(&extension)).await {
                    tracing::error!(%error, "a greeting cannot be put in its place");
                    return;
                }
                let at = self.office.now().wall;
                self.write(|| async {
                    let changes = MailboxChanges { greeting_at: Patch::Set(at), ..MailboxChanges::default() };
                    let changed = self.office.change_mailbox(
                        Actor::default(),
                        extension.clone(),
                        self.key.clone(),
                        changes,
                    );
                    changed.await.map(drop)
                })
                .await;
            }
            Note::GreetingDropped { name } => self.discard(name.to_string()).await,
            Note::Fetch { token, extension, audio } => {
                let (files, door, office) = (self.files.clone(), self.door.clone(), self.office.clone());
                tokio::spawn(async move {
                    let clip = match audio {
                        Audio::Greeting => clip(&files, &greeting_path(&extension)).await,
                        Audio::Message(id) => clip(&files, &message_path(&extension, &id)).await,
                        Audio::Sound(id) => sound(&office, &id).await,
                    };
                    door.put(Order::Fetched { token, clip });
                });
            }
            Note::Spoken { token, message, clip } => {
                let done = self.put(message, clip).await;
                self.door.put(Order::Deposited { token, done });
            }
        }
    }

    /// Put a message that nobody spoke into its box. After a crash in the middle it is there as a whole, or not at all.
    async fn put(&self, message: VoicemailMessage, clip: Clip) -> bool {
        let begun = VoicemailMessage { state: MessageState::Recording, millis: 0, ..message.clone() };
        self.write(|| self.office.message_begun(begun.clone())).await;
        if let Err(error) = self.files.keep(message_path(&message.extension, &message.id), clip).await {
            tracing::error!(%error, "the audio of a message cannot be written");
            self.remove(&message.extension, message.id).await;
            return false;
        }
        self.left(&message).await;
        // The extension may have been removed meanwhile, and its box with it.
        self.office.directory().message(&message.extension, &message.id).is_some()
    }

    async fn left(&self, message: &VoicemailMessage) {
        self.write(|| self.office.message_left(message.clone())).await;
        if self.office.directory().message(&message.extension, &message.id).is_none() {
            // Its extension was removed while somebody spoke.
            self.discard(message_path(&message.extension, &message.id)).await;
        }
        self.bell.notify_one();
    }

    async fn remove(&self, extension: &ExtensionId, id: model::MessageId) {
        self.write(|| async {
            let removed = self.office.remove_message(Actor::default(), extension.clone(), id.clone());
            removed.await.map(drop)
        })
        .await;
        self.discard(message_path(extension, &id)).await;
    }

    /// Delete a file; one that stays is deleted at the next start.
    async fn discard(&self, name: String) {
        if let Err(error) = self.files.remove(AudioFile::voicemail(name)).await {
            tracing::warn!(%error, "a file of voicemail cannot be deleted");
        }
    }

    /// Write until it is written: what the exchange has told is true, whether the database is there or not. What no longer exists (the
    /// extension was removed meanwhile) is no fault.
    async fn write<F: Future<Output = Result<(), OfficeError>>>(&self, mut what: impl FnMut() -> F) {
        loop {
            match what().await {
                Ok(()) | Err(OfficeError::NotFound) => return,
                Err(OfficeError::Store(error)) => {
                    tracing::error!(%error, "the database does not take what is told of voicemail; it waits");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => {
                    tracing::error!(%error, "what is told of voicemail cannot be written");
                    return;
                }
            }
        }
    }

    /// Messages that were being spoken when the process before us died are there as far as they were spoken; files that nobody knows are
    /// moved aside.
    async fn adopt(&self) {
        let directory = self.office.directory();
        let cut: Vec<VoicemailMessage> = directory
            .all_messages()
            .filter(|message| message.state == MessageState::Recording)
            .map(|message| (**message).clone())
            .collect();
        for message in cut {
            let clip = clip(&self.files, &message_path(&message.extension, &message.id)).await;
            let millis = clip.map_or(0, |clip| (clip.len() / 8) as u32);
            if millis < LEAST_MILLIS {
                self.remove(&message.extension, message.id).await;
            } else {
                self.left(&VoicemailMessage { millis, ..message }).await;
            }
        }
        let directory = self.office.directory();
        let removed = match self.removed().await {
            Ok(removed) => removed,
            Err(error) => return tracing::warn!(%error, "the files of voicemail are not looked through"),
        };
        let claim = move |owner: &str, name: &str| {
            let (folder, file) = (format!("voicemail/{owner}"), format!("voicemail/{owner}/{name}"));
            let Ok(extension) = ExtensionId::parse(owner) else { return Claim::Known };
            let known = if name == "greeting" {
                directory.mailbox(&extension).greeting_at.is_some()
            } else {
                model::MessageId::parse(name).is_ok_and(|id| directory.message(&extension, &id).is_some())
            };
            match known {
                true => Claim::Known,
                false if removed.contains(&folder) || removed.contains(&file) => Claim::Removed,
                false => Claim::Unknown,
            }
        };
        match self.files.sweep("voicemail", self.keep_unclaimed, claim).await {
            Ok(swept) => self.tell(swept).await,
            Err(error) => tracing::warn!(%error, "the files of voicemail cannot be looked through"),
        }
    }

    /// Names of audio that was removed of late.
    async fn removed(&self) -> Result<BTreeSet<String>, StoreError> {
        let (mut names, mut after) = (BTreeSet::new(), 0);
        loop {
            let page = self.office.store().removed_audio(after).await?;
            let Some(last) = page.last() else { return Ok(names) };
            after = last.seq;
            names.extend(page.into_iter().map(|removed| removed.name));
        }
    }

    /// Say what became of files that nobody knows: a warning, and an event.
    async fn tell(&self, swept: Swept) {
        let Swept { removed, moved, returned, expired, left } = swept;
        if removed > 0 {
            tracing::info!(removed, "files of voicemail that had been removed are deleted");
        }
        if left > 0 {
            tracing::error!(
                left,
                "most of the voicemail in the data directory is unknown to this database: is it the right one? The files stay where they are"
            );
        }
        if moved > 0 {
            tracing::warn!(
                moved,
                "files of voicemail that this database does not know are moved to the folder unclaimed of the data directory"
            );
        }
        if returned > 0 || expired > 0 {
            tracing::info!(
                returned,
                expired,
                "files of voicemail that had been moved aside are known again, or were kept long enough"
            );
        }
        if left + moved + returned + expired == 0 {
            return;
        }
        let event = store::Audit {
            at: self.office.now().wall,
            kind: "voicemail_unclaimed",
            user: None,
            subject: UNCLAIMED.into(),
            key: None,
            ip: None,
            request: String::new(),
            detail: serde_json::json!({"moved": moved, "returned": returned, "deleted": expired, "left": left}),
        };
        if let Err(error) = self.office.store().audit(event).await {
            tracing::warn!(%error, "the event about unknown voicemail is not written");
        }
    }
}

/// What is to be played out of a file; `None` where it cannot be read.
async fn clip(files: &Warehouse, name: &str) -> Option<Clip> {
    match files.samples(name).await {
        Ok(samples) => Some(samples.into()),
        Err(error) => {
            tracing::warn!(%error, "audio of voicemail cannot be read");
            None
        }
    }
}

/// The audio of a sound, as samples.
async fn sound(office: &Office, id: &SoundId) -> Option<Clip> {
    match office.store().sound_audio(id).await {
        Ok(ogg) => Warehouse::decoded(ogg?)
            .await
            .inspect_err(|error| tracing::error!(%error, "a sound cannot be decoded"))
            .ok()
            .map(Clip::from),
        Err(error) => {
            tracing::warn!(%error, "a sound cannot be read");
            None
        }
    }
}
