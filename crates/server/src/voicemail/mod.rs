//! Voicemail's part of the shell: writes down what the exchange tells of it, keeps its files, and reads them when they are to be heard.

mod orphans;
mod prompts;

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use api::{Actor, AudioFile, AudioStore, DirectoryError, DirectoryService, MailboxChanges, Patch};
use model::voicemail::{Fact, PinKey};
use model::{ExtensionId, MessageId, MessageState, SoundId, VoicemailMessage};
use store::StoreError;
use switch::voicemail::{Audio, Clip, VoicemailEffect, greeting_path, message_path};
use tokio::sync::{Mutex, Notify, mpsc};
use tokio::task::JoinSet;

use crate::journal::VoicemailDone;
use crate::recording::AudioFileStore;
use crate::recording::unclaimed::{Claim, Swept, UNCLAIMED};
use crate::switch_thread::{SwitchHandle, SwitchMsg};

use orphans::Orphan;
pub use prompts::prompts;

/// How long the database is left alone after it took nothing.
const PAUSE: Duration = Duration::from_secs(1);
/// Shorter than this a message that a crash cut off is nothing.
const LEAST_MILLIS: u32 = 1_000;

/// See the module.
#[derive(Clone)]
pub struct VoicemailWorker {
    /// The books.
    pub directory_service: DirectoryService,
    /// The files.
    pub files: AudioFileStore,
    /// The exchange, which waits for what it wants to play.
    pub switch_handle: SwitchHandle,
    /// Rung when a mail may be due.
    pub waker: Arc<Notify>,
    /// Proves PINs: boxes are written whole.
    pub key: PinKey,
    /// How long a file that nobody knows is kept aside; for ever where `None`.
    pub keep_unclaimed: Option<Duration>,
}

/// Facts that are to be written. They outlive a task that panics over one of them.
#[derive(Debug)]
pub struct FactQueue {
    /// Of the journal of the process before this one.
    inherited: VecDeque<Fact>,
    /// What was recorded before this start is adopted once.
    adopt_before: Option<SystemTime>,
    queued: mpsc::UnboundedReceiver<Fact>,
    done: VoicemailDone,
}

impl FactQueue {
    /// What the journal says, and what is `queued` from now on. Each is told as `done` once it is written.
    pub fn new(
        inherited: Vec<Fact>,
        queued: mpsc::UnboundedReceiver<Fact>,
        done: VoicemailDone,
    ) -> FactQueue {
        FactQueue { inherited: inherited.into(), adopt_before: Some(SystemTime::now()), queued, done }
    }
}

impl std::fmt::Debug for VoicemailWorker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clerk").finish_non_exhaustive()
    }
}

impl VoicemailWorker {
    /// Put the audio of messages that have no row back into its box, as new messages.
    async fn take_in_orphans(&self, began: SystemTime) -> anyhow::Result<()> {
        let any = self.files.path(&AudioFile::voicemail("voicemail/any".into()))?;
        let Some(folder) = any.parent().map(Path::to_owned) else { return Ok(()) };
        let directory = self.directory_service.directory();
        let known = move |extension: &ExtensionId, id: &MessageId| {
            directory.extension(extension).is_none() || directory.message(extension, id).is_some()
        };
        let find = move || orphans::find(&folder, began, known);
        let found = tokio::task::spawn_blocking(find).await??;
        let Some(first) = found.iter().map(|orphan| orphan.left_at).min() else { return Ok(()) };
        let deleted = orphans::deleted(self.directory_service.store(), first).await?;
        let mut count = 0;
        for Orphan { extension, id, left_at } in found {
            let directory = self.directory_service.directory();
            let owner = directory.extension(&extension).map(|extension| extension.user.clone());
            let (Some(user), false) = (owner, deleted.contains(id.as_str())) else { continue };
            let clip = clip(&self.files, &message_path(&extension, &id)).await;
            let millis = clip.map_or(0, |clip| (clip.len() / 8) as u32);
            if millis < LEAST_MILLIS {
                continue;
            }
            let message = VoicemailMessage {
                id,
                extension,
                user,
                state: MessageState::New,
                from_number: String::new(),
                call: None,
                left_at,
                millis,
                heard_at: None,
            };
            self.left(&message).await;
            count += 1;
        }
        if count > 0 {
            tracing::warn!(
                count,
                "messages of voicemail had audio and no row: they are new messages in their boxes"
            );
        }
        Ok(())
    }

    /// Do what the exchange wants until that is gone: facts are handed on to be written, audio that somebody waits for is read beside them.
    pub async fn run(
        self,
        notes: Arc<Mutex<mpsc::UnboundedReceiver<VoicemailEffect>>>,
        facts: mpsc::UnboundedSender<Fact>,
    ) {
        let mut notes = notes.lock().await;
        let clerk = Arc::new(self);
        let mut tasks = JoinSet::new();
        while let Some(note) = notes.recv().await {
            while tasks.try_join_next().is_some() {}
            match note {
                VoicemailEffect::Fact(fact) => drop(facts.send(fact)),
                VoicemailEffect::Fetch { token, extension, audio } => {
                    let clerk = Arc::clone(&clerk);
                    tasks.spawn(async move {
                        let clip = match audio {
                            Audio::Greeting => clip(&clerk.files, &greeting_path(&extension)).await,
                            Audio::Message(id) => clip(&clerk.files, &message_path(&extension, &id)).await,
                            Audio::Sound(id) => sound(&clerk.directory_service, &id).await,
                        };
                        clerk.switch_handle.put(SwitchMsg::Fetched { token, clip });
                    });
                }
                VoicemailEffect::DepositClip { token, message, clip } => {
                    let clerk = Arc::clone(&clerk);
                    tasks.spawn(async move {
                        let done = clerk.put(message, clip).await;
                        clerk.switch_handle.put(SwitchMsg::Deposited { token, done });
                    });
                }
            }
        }
        while tasks.join_next().await.is_some() {}
    }

    /// Finish what the process before us left, then write fact after fact until the exchange is gone. A fact waits for the database.
    pub async fn write_facts(self, queue: Arc<Mutex<FactQueue>>) {
        let mut queue = queue.lock().await;
        // A fact over which we panicked is not told as done: the journal keeps it for the next start.
        while let Some(fact) = queue.inherited.pop_front() {
            self.do_again(&fact).await;
            queue.done.tell(fact);
        }
        // Before the first new fact: what is being recorded then is of the process before us.
        if let Some(began) = queue.adopt_before.take() {
            self.adopt(began).await;
        }
        while let Some(fact) = queue.queued.recv().await {
            self.fact(fact.clone()).await;
            queue.done.tell(fact);
        }
    }

    /// Do what a fact says.
    async fn fact(&self, fact: Fact) {
        match fact {
            Fact::Begun(message) => {
                self.write(|| self.directory_service.message_begun(message.clone())).await;
            }
            Fact::Left(message) => self.left(&message).await,
            Fact::Dropped(message) => self.remove(&message.extension, message.id).await,
            Fact::Deleted { extension, id } => self.remove(&extension, id).await,
            Fact::Marked { extension, id, state } => {
                self.write(|| async {
                    let marked = self.directory_service.mark_message(
                        Actor::default(),
                        extension.clone(),
                        id.clone(),
                        state,
                    );
                    marked.await.map(drop)
                })
                .await;
            }
            Fact::Greeting { extension, name } => {
                if let Err(error) = self.files.rename(&name, &greeting_path(&extension)).await {
                    tracing::error!(%error, "a greeting cannot be put in its place");
                    return;
                }
                let at = self.directory_service.now().wall;
                self.write(|| async {
                    let changes = MailboxChanges { greeting_at: Patch::Set(at), ..MailboxChanges::default() };
                    let changed = self.directory_service.change_mailbox(
                        Actor::default(),
                        extension.clone(),
                        self.key.clone(),
                        changes,
                    );
                    changed.await.map(drop)
                })
                .await;
            }
            Fact::GreetingDropped { name } => self.discard(name.to_string()).await,
        }
    }

    /// Do what a fact of the process before us says, where it was not done: the journal may tell again what has long been overtaken.
    async fn do_again(&self, fact: &Fact) {
        let directory = self.directory_service.directory();
        let wanted = match fact {
            Fact::Begun(message) => {
                directory.message(&message.extension, &message.id).is_none() && self.has_audio(message)
            }
            Fact::Left(message) => {
                let known = directory.message(&message.extension, &message.id);
                known.is_none_or(|known| known.state == MessageState::Recording) && self.has_audio(message)
            }
            // Whoever marked it since has marked it as something else than new.
            Fact::Marked { extension, id, .. } => {
                directory.message(extension, id).is_some_and(|known| known.state == MessageState::New)
            }
            Fact::Greeting { name, .. } => self.has_file(name),
            Fact::Dropped(_) | Fact::Deleted { .. } | Fact::GreetingDropped { .. } => true,
        };
        if wanted {
            self.fact(fact.clone()).await;
        }
    }

    fn has_audio(&self, message: &VoicemailMessage) -> bool {
        self.has_file(&message_path(&message.extension, &message.id))
    }

    fn has_file(&self, name: &str) -> bool {
        self.files.path(&AudioFile::voicemail(name.to_owned())).is_ok_and(|path| path.exists())
    }

    /// Put a message that nobody spoke into its box. After a crash in the middle it is there as a whole, or not at all.
    async fn put(&self, message: VoicemailMessage, clip: Clip) -> bool {
        let begun = VoicemailMessage { state: MessageState::Recording, millis: 0, ..message.clone() };
        self.write(|| self.directory_service.message_begun(begun.clone())).await;
        if let Err(error) = self.files.keep(message_path(&message.extension, &message.id), clip).await {
            tracing::error!(%error, "the audio of a message cannot be written");
            self.remove(&message.extension, message.id).await;
            return false;
        }
        self.left(&message).await;
        // The extension may have been removed meanwhile, and its box with it.
        self.directory_service.directory().message(&message.extension, &message.id).is_some()
    }

    async fn left(&self, message: &VoicemailMessage) {
        self.write(|| self.directory_service.message_left(message.clone())).await;
        if self.directory_service.directory().message(&message.extension, &message.id).is_none() {
            // Its extension was removed while somebody spoke.
            self.discard(message_path(&message.extension, &message.id)).await;
        }
        self.waker.notify_one();
    }

    async fn remove(&self, extension: &ExtensionId, id: MessageId) {
        self.write(|| async {
            let removed =
                self.directory_service.remove_message(Actor::default(), extension.clone(), id.clone());
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
    async fn write<F: Future<Output = Result<(), DirectoryError>>>(&self, mut what: impl FnMut() -> F) {
        loop {
            match what().await {
                Ok(()) | Err(DirectoryError::NotFound) => return,
                Err(DirectoryError::Store(error)) => {
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
    async fn adopt(&self, began: SystemTime) {
        let directory = self.directory_service.directory();
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
        if let Err(error) = self.take_in_orphans(began).await {
            tracing::warn!(%error, "audio of messages without a row stays where it is");
        }
        let directory = self.directory_service.directory();
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
            let page = self.directory_service.store().removed_audio(after).await?;
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
            at: self.directory_service.now().wall,
            kind: "voicemail_unclaimed",
            user: None,
            subject: UNCLAIMED.into(),
            key: None,
            ip: None,
            request: String::new(),
            detail: serde_json::json!({"moved": moved, "returned": returned, "deleted": expired, "left": left}),
        };
        if let Err(error) = self.directory_service.store().audit(event).await {
            tracing::warn!(%error, "the event about unknown voicemail is not written");
        }
    }
}

/// What is to be played out of a file; `None` where it cannot be read.
async fn clip(files: &AudioFileStore, name: &str) -> Option<Clip> {
    match files.samples(name).await {
        Ok(samples) => Some(samples.into()),
        Err(error) => {
            tracing::warn!(%error, "audio of voicemail cannot be read");
            None
        }
    }
}

/// The audio of a sound, as samples.
async fn sound(directory_service: &DirectoryService, id: &SoundId) -> Option<Clip> {
    match directory_service.store().sound_audio(id).await {
        Ok(ogg) => AudioFileStore::decoded(ogg?)
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
