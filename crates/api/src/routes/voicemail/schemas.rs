//! JSON of voicemail.

use model::voicemail::{Count, Delivery, DeliveryState};
use model::{Mailbox, VoicemailMessage};
use serde::Serialize;
use utoipa::ToSchema;

use crate::schemas::some;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VoicemailAnswer {
    pub success: bool,
    /// Newest first.
    pub messages: Vec<MessageView>,
    /// Number of new messages, on all pages.
    pub unread: usize,
    pub total: usize,
    pub mailbox: MailboxView,
    /// Pass it as `cursor` to get the next page; `null` on the last page.
    #[serde(serialize_with = "crate::cursor::serialize_cursor")]
    pub next_cursor: Option<String>,
}

impl VoicemailAnswer {
    pub(crate) fn new(
        mailbox: &Mailbox,
        count: Count,
        messages: Vec<MessageView>,
        next_cursor: Option<String>,
    ) -> Self {
        let mailbox = MailboxView::of(mailbox);
        VoicemailAnswer {
            success: true,
            messages,
            unread: count.new,
            total: count.all(),
            mailbox,
            next_cursor,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(crate) struct MailboxAnswer {
    pub success: bool,
    pub mailbox: MailboxView,
}

/// Settings of a mailbox.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Mailbox)]
pub(crate) struct MailboxView {
    /// Whether a PIN is set. Without one, the mailbox can be called only from the extension's own phones.
    pub pin_set: bool,
    /// `es` or `en`
    pub language: &'static str,
    pub email: Option<String>,
    /// Whether e-mails have the audio attached.
    pub email_audio: bool,
    /// When the custom greeting was recorded; null if the default greeting is used.
    #[schema(format = DateTime)]
    pub greeting_at: Option<String>,
}

impl MailboxView {
    pub(crate) fn of(mailbox: &Mailbox) -> Self {
        MailboxView {
            pin_set: mailbox.pin.is_some(),
            language: match mailbox.language {
                model::Language::English => "en",
                model::Language::Spanish => "es",
            },
            email: mailbox.email.clone(),
            email_audio: mailbox.email_audio,
            greeting_at: mailbox.greeting_at.map(|at| at.to_string()),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(crate) struct MessageAnswer {
    pub success: bool,
    pub message: MessageView,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = VoicemailMessage)]
pub(crate) struct MessageView {
    pub id: String,
    pub extension_id: String,
    /// `new`, `heard` or `saved`.
    pub status: &'static str,
    /// `null` if unknown.
    pub from_number: Option<String>,
    /// The call in which the message was left.
    pub session_id: Option<String>,
    #[schema(format = DateTime)]
    pub left_at: String,
    #[schema(format = DateTime)]
    pub heard_at: Option<String>,
    pub duration_seconds: f64,
    pub audio_url: String,
}

impl MessageView {
    pub(crate) fn of(message: &VoicemailMessage) -> Self {
        let (extension, id) = (&message.extension, &message.id);
        MessageView {
            id: id.to_string(),
            extension_id: extension.to_string(),
            status: message.state.as_str(),
            from_number: some(&message.from_number),
            session_id: message.call.as_ref().map(ToString::to_string),
            left_at: message.left_at.to_string(),
            heard_at: message.heard_at.map(|at| at.to_string()),
            duration_seconds: f64::from(message.millis) / 1000.0,
            audio_url: format!("/api/v1/voip/extensions/{extension}/voicemail/{id}/audio"),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(crate) struct MailsAnswer {
    pub success: bool,
    /// Newest first.
    pub deliveries: Vec<MailView>,
}

/// An e-mail notification about a message, and its state.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MailDelivery)]
pub(crate) struct MailView {
    pub id: String,
    pub message_id: String,
    pub recipient: String,
    /// `waiting`, `sent` or `failed`.
    pub status: &'static str,
    pub attempts: u32,
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When the next attempt is due; null if there is none.
    #[schema(format = DateTime)]
    pub next_attempt_at: Option<String>,
    #[schema(format = DateTime)]
    pub finished_at: Option<String>,
    /// Response of the mail server to the last failed attempt.
    pub error: Option<String>,
}

impl MailView {
    pub(crate) fn of(mail: &Delivery) -> Self {
        MailView {
            id: mail.id.to_string(),
            message_id: mail.message.to_string(),
            recipient: mail.recipient.clone(),
            status: match mail.state {
                DeliveryState::Waiting => "waiting",
                DeliveryState::Sent => "sent",
                DeliveryState::Failed => "failed",
            },
            attempts: mail.attempts,
            created_at: mail.created_at.to_string(),
            next_attempt_at: (mail.state == DeliveryState::Waiting).then(|| mail.next_at.to_string()),
            finished_at: mail.finished_at.map(|at| at.to_string()),
            error: mail.error.clone(),
        }
    }
}
