//! Voicemail's part of the shell: writes down what the exchange tells of it, keeps its files, and reads them when they are to be heard.

mod prompts;

use std::sync::Arc;
use std::time::Duration;

use api::{Actor, AudioFile, MailboxChanges, Office, OfficeError, Patch, Shelf};
use model::voicemail::PinKey;
use model::{ExtensionId, MessageState, SoundId, VoicemailMessage};
use switch::voicemail::{Audio, Clip, Note, greeting_path, message_path};
use tokio::sync::{Mutex, Notify, mpsc};

use crate::exchange::{Door, Order};
use crate::recording::Warehouse;

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
}

impl std::fmt::Debug for Clerk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clerk").finish_non_exhaustive()
    }
}

/// Whether what is being recorded is of a process before this one. A clerk that begins anew after a panic must leave it alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Adopt {
    Yes,
    No,
}

impl Clerk {
    /// Finish what the process before us left, then do what the exchange wants, one after the other, until that is gone.
    pub async fn run(self, notes: Arc<Mutex<mpsc::UnboundedReceiver<Note>>>, adopt: Adopt) {
        let mut notes = notes.lock().await;
        let door = self.door.clone();
        tokio::task::spawn_blocking(move || door.put(Order::Prompts(Arc::new(prompts()))));
        // Before the first note: what is being recorded then is of the process before us.
        if adopt == Adopt::Yes {
            self.adopt().await;
        }
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
    /// deleted.
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
        let known = move |extension: &str, name: &str| {
            let Ok(extension) = ExtensionId::parse(extension) else { return true };
            if name == "greeting" {
                return directory.mailbox(&extension).greeting_at.is_some();
            }
            model::MessageId::parse(name).is_ok_and(|id| directory.message(&extension, &id).is_some())
        };
        match self.files.sweep("voicemail", known).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "files of voicemail that nobody knows are deleted"),
            Err(error) => tracing::warn!(%error, "the files of voicemail cannot be looked through"),
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
