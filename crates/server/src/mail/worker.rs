//! The task that sends what is due.

use std::sync::Arc;
use std::time::Duration;

use api::{AudioFile, AudioFormatRequest, AudioStore, DirectoryService};
use model::MessageState;
use model::voicemail::{Attempt, Delivery};
use tokio::sync::Notify;

use super::{EmailMessage, Mailer};

/// How often the database is asked for what is due, besides when a message was left.
const BEAT: Duration = Duration::from_secs(5);
/// Mails of one turn.
const BATCH: u32 = 20;

/// What mails are sent with.
#[derive(Clone, Debug)]
pub struct MailConfig {
    /// The relay; without one no mail leaves, and the log says why.
    pub mailer: Option<Mailer>,
    /// The sender.
    pub from: String,
    /// How long after the first attempt that failed the second one is.
    pub retry: Duration,
}

/// See the module.
pub struct Worker {
    /// How mails leave.
    pub post: MailConfig,
    /// The books.
    pub directory_service: DirectoryService,
    /// The audio.
    pub audio: Arc<dyn AudioStore>,
    /// Rung when something is due.
    pub waker: Arc<Notify>,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").finish_non_exhaustive()
    }
}

impl Worker {
    /// Send what is due, for ever.
    pub async fn run(self) {
        loop {
            self.round().await;
            tokio::select! {
                () = self.waker.notified() => {}
                () = tokio::time::sleep(BEAT) => {}
            }
        }
    }

    /// Try every mail that is due, once.
    async fn round(&self) {
        let store = self.directory_service.store();
        let due = match store.mails_due(self.directory_service.now().wall, BATCH).await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(%error, "the mails that are due cannot be read");
                return;
            }
        };
        for mail in due {
            let attempt = self.attempt(&mail).await;
            match &attempt {
                Attempt::Sent => tracing::info!(mail = %mail.id, "a mail was sent"),
                Attempt::Later(why) => {
                    tracing::warn!(mail = %mail.id, why, "a mail was not taken; it is tried again");
                }
                Attempt::Never(why) => tracing::error!(mail = %mail.id, why, "a mail was refused"),
            }
            let tried = mail.after(attempt, self.directory_service.now().wall, self.post.retry);
            if let Err(error) = store.mail_tried(&tried).await {
                tracing::error!(%error, mail = %tried.id, "what became of a mail cannot be written");
                return; // or it would be sent again and again
            }
        }
    }

    async fn attempt(&self, mail: &Delivery) -> Attempt {
        let directory = self.directory_service.directory();
        let message = directory.message(&mail.extension, &mail.message);
        let (Some(message), Some(extension)) = (message, directory.extension(&mail.extension)) else {
            return Attempt::Never("the message was deleted before".into());
        };
        if message.state == MessageState::Recording {
            return Attempt::Later("the message is not complete".into());
        }
        let Some(mailer) = &self.post.mailer else {
            return Attempt::Later("mail is not configured: set mail.smtp".into());
        };
        let mailbox = directory.mailbox(&mail.extension);
        let wav = if mailbox.email_audio {
            let name = switch::voicemail::message_path(&message.extension, &message.id);
            let Ok(opened) = self.audio.open(AudioFile::voicemail(name), AudioFormatRequest::Wav).await
            else {
                return Attempt::Later("the audio cannot be read".into());
            };
            match (opened.read)(0..opened.length).await {
                Ok(wav) => Some(wav.to_vec()),
                Err(_) => return Attempt::Later("the audio cannot be read".into()),
            }
        } else {
            None
        };
        let letter =
            EmailMessage { from: &self.post.from, mail, message, extension, language: mailbox.language, wav };
        match letter.write() {
            Some(letter) => mailer.attempt(letter).await,
            None => Attempt::Never("an address of the mail cannot be used".into()),
        }
    }
}
