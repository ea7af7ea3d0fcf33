//! Task that sends the due e-mails.

use std::sync::Arc;
use std::time::Duration;

use api::{AudioFile, AudioFormatRequest, AudioStore, DirectoryService};
use model::MessageState;
use model::voicemail::{Attempt, Delivery};
use tokio::sync::Notify;

use super::{EmailMessage, Mailer};

/// Interval at which due deliveries are polled, besides the wake-up when a message is stored.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// Deliveries per poll.
const BATCH: u32 = 20;

/// Configuration of outgoing e-mail.
#[derive(Clone, Debug)]
pub struct MailConfig {
    /// The relay; if `None`, nothing is sent and the log says why.
    pub mailer: Option<Mailer>,
    /// Sender address.
    pub from: String,
    /// Delay between the first failed attempt and the second one.
    pub retry: Duration,
}

/// The e-mail worker.
pub struct Worker {
    /// Relay and sender.
    pub config: MailConfig,
    /// Directory and database.
    pub directory_service: DirectoryService,
    /// Audio of the messages.
    pub audio: Arc<dyn AudioStore>,
    /// Notified when a delivery is due.
    pub waker: Arc<Notify>,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").finish_non_exhaustive()
    }
}

impl Worker {
    /// Send due e-mails, forever.
    pub async fn run(self) {
        loop {
            self.send_due().await;
            tokio::select! {
                () = self.waker.notified() => {}
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
        }
    }

    /// Try every due e-mail once.
    async fn send_due(&self) {
        let store = self.directory_service.store();
        let due = match store.due_mails(self.directory_service.now().wall, BATCH).await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(%error, "the due e-mails cannot be read");
                return;
            }
        };
        for mail in due {
            let attempt = self.attempt(&mail).await;
            match &attempt {
                Attempt::Sent => tracing::info!(mail = %mail.id, "e-mail sent"),
                Attempt::Later(why) => {
                    tracing::warn!(mail = %mail.id, why, "e-mail not delivered; it will be retried");
                }
                Attempt::Never(why) => tracing::error!(mail = %mail.id, why, "e-mail refused permanently"),
            }
            let tried = mail.after(attempt, self.directory_service.now().wall, self.config.retry);
            if let Err(error) = store.mail_tried(&tried).await {
                tracing::error!(%error, mail = %tried.id, "the result of an e-mail cannot be written to the database");
                return; // without the written result it would be sent again and again
            }
        }
    }

    async fn attempt(&self, mail: &Delivery) -> Attempt {
        let directory = self.directory_service.directory();
        let message = directory.message(&mail.extension, &mail.message);
        let (Some(message), Some(extension)) = (message, directory.extension(&mail.extension)) else {
            return Attempt::Never("the message was deleted".into());
        };
        if message.state == MessageState::Recording {
            return Attempt::Later("the message is not complete".into());
        }
        let Some(mailer) = &self.config.mailer else {
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
        let message = EmailMessage {
            from: &self.config.from,
            mail,
            message,
            extension,
            language: mailbox.language,
            wav,
        };
        match message.write() {
            Some(message) => mailer.attempt(message).await,
            None => Attempt::Never("an address of the e-mail is invalid".into()),
        }
    }
}
