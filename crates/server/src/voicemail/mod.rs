//! Voicemail tasks: execute the effects of the switch (write messages to the database, store and delete files), and read audio to be played.

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

/// Pause before a failed database write is retried.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// An interrupted message shorter than this is discarded, ms.
const MIN_MILLIS: u32 = 1_000;

/// The voicemail worker.
#[derive(Clone)]
pub struct VoicemailWorker {
    /// Directory and database.
    pub directory_service: DirectoryService,
    /// Storage of the audio files.
    pub files: AudioFileStore,
    /// The switch, which waits for the audio it wants to play.
    pub switch_handle: SwitchHandle,
    /// Notified when an e-mail may be due.
    pub waker: Arc<Notify>,
    /// Key of the PIN hashes, needed to write a mailbox.
    pub key: PinKey,
    /// How long a file without a database row is kept aside; forever if `None`.
    pub keep_unclaimed: Option<Duration>,
}

/// Facts to be executed. The queue outlives a task that panics over one of them.
#[derive(Debug)]
pub struct FactQueue {
    /// Facts from the journal of the previous run.
    from_journal: VecDeque<Fact>,
    /// Orphaned audio from before this start is adopted once.
    adopt_before: Option<SystemTime>,
    queued: mpsc::UnboundedReceiver<Fact>,
    done: VoicemailDone,
}

impl FactQueue {
    /// A queue of the facts of the journal, followed by those received from `queued`. Each is reported to `done` after it was executed.
    pub fn new(
        from_journal: Vec<Fact>,
        queued: mpsc::UnboundedReceiver<Fact>,
        done: VoicemailDone,
    ) -> FactQueue {
        FactQueue { from_journal: from_journal.into(), adopt_before: Some(SystemTime::now()), queued, done }
    }
}

impl std::fmt::Debug for VoicemailWorker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VoicemailWorker").finish_non_exhaustive()
    }
}

impl VoicemailWorker {
    /// Add audio files without a database row to their mailboxes as new messages.
    async fn adopt_orphans(&self, began: SystemTime) -> anyhow::Result<()> {
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
            if millis < MIN_MILLIS {
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
            self.message_left(&message).await;
            count += 1;
        }
        if count > 0 {
            tracing::warn!(
                count,
                "voicemail audio without a database row was added to its mailboxes as new messages"
            );
        }
        Ok(())
    }

    /// Execute the effects until the switch thread ends. Facts are queued for [`VoicemailWorker::write_facts`]; audio is read concurrently, so that
    /// no caller waits for the database.
    pub async fn run(
        self,
        effects: Arc<Mutex<mpsc::UnboundedReceiver<VoicemailEffect>>>,
        facts: mpsc::UnboundedSender<Fact>,
    ) {
        let mut effects = effects.lock().await;
        let worker = Arc::new(self);
        let mut tasks = JoinSet::new();
        while let Some(effect) = effects.recv().await {
            while tasks.try_join_next().is_some() {}
            match effect {
                VoicemailEffect::Fact(execute_fact) => drop(facts.send(execute_fact)),
                VoicemailEffect::Fetch { token, extension, audio } => {
                    let worker = Arc::clone(&worker);
                    tasks.spawn(async move {
                        let clip = match audio {
                            Audio::Greeting => clip(&worker.files, &greeting_path(&extension)).await,
                            Audio::Message(id) => clip(&worker.files, &message_path(&extension, &id)).await,
                            Audio::Sound(id) => sound(&worker.directory_service, &id).await,
                        };
                        worker.switch_handle.send(SwitchMsg::Fetched { token, clip });
                    });
                }
                VoicemailEffect::DepositClip { token, message, clip } => {
                    let worker = Arc::clone(&worker);
                    tasks.spawn(async move {
                        let done = worker.deposit(message, clip).await;
                        worker.switch_handle.send(SwitchMsg::Deposited { token, done });
                    });
                }
            }
        }
        while tasks.join_next().await.is_some() {}
    }

    /// Execute the facts of the previous run, then new facts in order until the switch thread ends. A fact waits for the database.
    pub async fn write_facts(self, queue: Arc<Mutex<FactQueue>>) {
        let mut queue = queue.lock().await;
        // A fact that causes a panic is not reported as done: the journal keeps it for the next start.
        while let Some(execute_fact) = queue.from_journal.pop_front() {
            self.replay_fact(&execute_fact).await;
            queue.done.mark(execute_fact);
        }
        // Before the first new fact: messages in recording state belong to the previous run.
        if let Some(began) = queue.adopt_before.take() {
            self.adopt(began).await;
        }
        while let Some(execute_fact) = queue.queued.recv().await {
            self.execute_fact(execute_fact.clone()).await;
            queue.done.mark(execute_fact);
        }
    }

    /// Execute a fact.
    async fn execute_fact(&self, execute_fact: Fact) {
        match execute_fact {
            Fact::Begun(message) => {
                self.write(|| self.directory_service.message_begun(message.clone())).await;
            }
            Fact::Left(message) => self.message_left(&message).await,
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
                    tracing::error!(%error, "a greeting cannot be stored");
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

    /// Execute a fact of the previous run unless it was already executed: the journal may repeat outdated facts.
    async fn replay_fact(&self, execute_fact: &Fact) {
        let directory = self.directory_service.directory();
        let wanted = match execute_fact {
            Fact::Begun(message) => {
                directory.message(&message.extension, &message.id).is_none() && self.has_audio(message)
            }
            Fact::Left(message) => {
                let known = directory.message(&message.extension, &message.id);
                known.is_none_or(|known| known.state == MessageState::Recording) && self.has_audio(message)
            }
            // If it is no longer new, it was marked since.
            Fact::Marked { extension, id, .. } => {
                directory.message(extension, id).is_some_and(|known| known.state == MessageState::New)
            }
            Fact::Greeting { name, .. } => self.has_file(name),
            Fact::Dropped(_) | Fact::Deleted { .. } | Fact::GreetingDropped { .. } => true,
        };
        if wanted {
            self.execute_fact(execute_fact.clone()).await;
        }
    }

    fn has_audio(&self, message: &VoicemailMessage) -> bool {
        self.has_file(&message_path(&message.extension, &message.id))
    }

    fn has_file(&self, name: &str) -> bool {
        self.files.path(&AudioFile::voicemail(name.to_owned())).is_ok_and(|path| path.exists())
    }

    /// Store an announced message in its mailbox. After a crash it is stored completely or not at all.
    async fn deposit(&self, message: VoicemailMessage, clip: Clip) -> bool {
        let begun = VoicemailMessage { state: MessageState::Recording, millis: 0, ..message.clone() };
        self.write(|| self.directory_service.message_begun(begun.clone())).await;
        if let Err(error) = self.files.keep(message_path(&message.extension, &message.id), clip).await {
            tracing::error!(%error, "the audio of a voicemail message cannot be written");
            self.remove(&message.extension, message.id).await;
            return false;
        }
        self.message_left(&message).await;
        // The extension, and its mailbox, may have been deleted meanwhile.
        self.directory_service.directory().message(&message.extension, &message.id).is_some()
    }

    async fn message_left(&self, message: &VoicemailMessage) {
        self.write(|| self.directory_service.message_left(message.clone())).await;
        if self.directory_service.directory().message(&message.extension, &message.id).is_none() {
            // Its extension was deleted during the recording.
            self.discard(message_path(&message.extension, &message.id)).await;
        }
        self.waker.notify_one();
    }

    async fn remove(&self, extension: &ExtensionId, id: MessageId) {
        self.write(|| async {
            let removed_names =
                self.directory_service.remove_message(Actor::default(), extension.clone(), id.clone());
            removed_names.await.map(drop)
        })
        .await;
        self.discard(message_path(extension, &id)).await;
    }

    /// Delete a file; a file that cannot be deleted is deleted at the next start.
    async fn discard(&self, name: String) {
        if let Err(error) = self.files.remove(AudioFile::voicemail(name)).await {
            tracing::warn!(%error, "a voicemail file cannot be deleted");
        }
    }

    /// Write with retries until the database accepts it. A target that no longer exists (the extension was deleted meanwhile) is not an error.
    async fn write<F: Future<Output = Result<(), DirectoryError>>>(&self, mut what: impl FnMut() -> F) {
        loop {
            match what().await {
                Ok(()) | Err(DirectoryError::NotFound) => return,
                Err(DirectoryError::Store(error)) => {
                    tracing::error!(%error, "voicemail changes cannot be written to the database; they are retried");
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
                Err(error) => {
                    tracing::error!(%error, "a voicemail change was refused");
                    return;
                }
            }
        }
    }

    /// Recover after a crash: interrupted messages are kept as far as they were recorded; files without a database row are moved aside.
    async fn adopt(&self, began: SystemTime) {
        let directory = self.directory_service.directory();
        let interrupted: Vec<VoicemailMessage> = directory
            .all_messages()
            .filter(|message| message.state == MessageState::Recording)
            .map(|message| (**message).clone())
            .collect();
        for message in interrupted {
            let clip = clip(&self.files, &message_path(&message.extension, &message.id)).await;
            let millis = clip.map_or(0, |clip| (clip.len() / 8) as u32);
            if millis < MIN_MILLIS {
                self.remove(&message.extension, message.id).await;
            } else {
                self.message_left(&VoicemailMessage { millis, ..message }).await;
            }
        }
        if let Err(error) = self.adopt_orphans(began).await {
            tracing::warn!(%error, "voicemail audio without a database row cannot be adopted");
        }
        let directory = self.directory_service.directory();
        let removed_names = match self.removed_names().await {
            Ok(removed_names) => removed_names,
            Err(error) => return tracing::warn!(%error, "the voicemail files cannot be checked"),
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
                false if removed_names.contains(&folder) || removed_names.contains(&file) => Claim::Removed,
                false => Claim::Unknown,
            }
        };
        match self.files.sweep("voicemail", self.keep_unclaimed, claim).await {
            Ok(swept) => self.report(swept).await,
            Err(error) => tracing::warn!(%error, "the voicemail files cannot be checked"),
        }
    }

    /// Names of recently removed audio.
    async fn removed_names(&self) -> Result<BTreeSet<String>, StoreError> {
        let (mut names, mut after) = (BTreeSet::new(), 0);
        loop {
            let page = self.directory_service.store().removed_audio(after).await?;
            let Some(last) = page.last() else { return Ok(names) };
            after = last.seq;
            names.extend(page.into_iter().map(|removed_names| removed_names.name));
        }
    }

    /// Report the result of a sweep: log lines, and an event.
    async fn report(&self, swept: Swept) {
        let Swept { removed, moved, returned, expired, left } = swept;
        if removed > 0 {
            tracing::info!(removed, "files of removed voicemail messages deleted");
        }
        if left > 0 {
            tracing::error!(
                left,
                "most voicemail files in the data directory are unknown to this database: is it the right one? The files were not touched"
            );
        }
        if moved > 0 {
            tracing::warn!(
                moved,
                "voicemail files unknown to this database were moved to the folder unclaimed of the data directory"
            );
        }
        if returned > 0 || expired > 0 {
            tracing::info!(
                returned,
                expired,
                "voicemail files set aside were returned, or deleted after their retention time"
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
            tracing::warn!(%error, "the event about unknown voicemail files cannot be written");
        }
    }
}

/// Decode a voicemail file; `None` if it cannot be read.
async fn clip(files: &AudioFileStore, name: &str) -> Option<Clip> {
    match files.samples(name).await {
        Ok(samples) => Some(samples.into()),
        Err(error) => {
            tracing::warn!(%error, "voicemail audio cannot be read");
            None
        }
    }
}

/// Decode a sound; `None` if it cannot be read.
async fn sound(directory_service: &DirectoryService, id: &SoundId) -> Option<Clip> {
    match directory_service.store().sound_audio(id).await {
        Ok(ogg) => AudioFileStore::decode(ogg?)
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
