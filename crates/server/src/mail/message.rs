//! Text of the e-mails.

use lettre::Message;
use lettre::message::header::ContentType;
use lettre::message::{Attachment, Mailbox, MultiPart, SinglePart};
use model::voicemail::Delivery;
use model::{Extension, Language, VoicemailMessage};

use crate::tr;

/// An e-mail about a voicemail message.
#[derive(Debug)]
pub struct EmailMessage<'a> {
    /// Sender address, with or without a display name.
    pub from: &'a str,
    /// Recipient and id of the delivery.
    pub mail: &'a Delivery,
    /// The message that it announces.
    pub message: &'a VoicemailMessage,
    /// The extension of the mailbox.
    pub extension: &'a Extension,
    /// Language of the text.
    pub language: Language,
    /// The audio as WAV, if it is attached.
    pub wav: Option<Vec<u8>>,
}

/// Check a sender address (with or without a display name). Returns it, or the error text.
pub fn sender(text: &str) -> Result<String, String> {
    let bad = || {
        tr!(
            "write an address, as in centralita@example.com",
            "escriba una dirección, como centralita@example.com"
        )
    };
    if text.chars().any(char::is_control) {
        return Err(bad());
    }
    text.parse::<Mailbox>().map(|_| text.to_owned()).map_err(|_| bad())
}

impl EmailMessage<'_> {
    /// Compose the e-mail. `None` if an address is invalid.
    pub fn write(self) -> Option<Message> {
        let EmailMessage { from, mail, message, extension, language, wav } = self;
        let seconds = message.millis.div_ceil(1000);
        let length = format!("{}:{:02}", seconds / 60, seconds % 60);
        let caller = if message.from_number.is_empty() { "?" } else { &message.from_number };
        let at = message.left_at.to_string();
        let at = at.split('.').next().unwrap_or(&at).replace('T', " ");
        let number = &extension.number;
        let (subject, text) = match language {
            Language::Spanish => (
                format!("Mensaje de voz de {caller} ({length})"),
                format!(
                    "La extensión {number} tiene un mensaje de voz nuevo.\n\nDe: {caller}\nFecha: {at} UTC\nDuración: {length}\n\n\
                     Para escucharlo por teléfono, marque *97.\n"
                ),
            ),
            Language::English => (
                format!("Voice message from {caller} ({length})"),
                format!(
                    "Extension {number} has a new voice message.\n\nFrom: {caller}\nDate: {at} UTC\nLength: {length}\n\n\
                     To hear it by telephone, dial *97.\n"
                ),
            ),
        };
        let builder = Message::builder()
            .from(from.parse().ok()?)
            .to(mail.recipient.parse().ok()?)
            .message_id(Some(format!("<{}@{}>", mail.id, host(from))))
            .subject(subject);
        let text = SinglePart::plain(text);
        let body = match wav {
            Some(wav) => {
                let name = format!("{}.wav", message.id);
                let audio = Attachment::new(name).body(wav, ContentType::parse("audio/wav").ok()?);
                MultiPart::mixed().singlepart(text).singlepart(audio)
            }
            None => MultiPart::mixed().singlepart(text),
        };
        builder.multipart(body).ok()
    }

    /// A test e-mail to check delivery. `None` if an address is invalid.
    pub fn test(from: &str, to: &str) -> Option<Message> {
        Message::builder()
            .from(from.parse().ok()?)
            .to(to.parse().ok()?)
            .subject("Centralita: prueba de correo / mail test")
            .body("Los avisos de mensajes de voz llegan a esta dirección.\nMails about voice messages reach this address.\n".to_owned())
            .ok()
    }
}

fn host(from: &str) -> &str {
    from.rsplit_once('@').map_or("localhost", |(_, host)| host.trim_end_matches('>'))
}
