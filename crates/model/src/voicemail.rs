//! Voicemail: mailboxes, messages, PINs, and retries of notification mails (S63, S72).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base::{Id, Kind, Secret, Timestamp};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::{CallId, ExtensionId, Language, UserId};

/// Id prefix of [`MessageId`].
#[derive(Clone, Copy, Debug)]
pub enum MessageKind {}

impl Kind for MessageKind {
    const PREFIX: &'static str = "vm";
}

/// `vm_1234567890_abc123`: ids sort in the order of their creation.
pub type MessageId = Id<MessageKind>;

/// Id prefix of [`DeliveryId`].
#[derive(Clone, Copy, Debug)]
pub enum DeliveryKind {}

impl Kind for DeliveryKind {
    const PREFIX: &'static str = "mail";
}

/// `mail_1234567890_abc123`
pub type DeliveryId = Id<DeliveryKind>;

/// Maximum number of messages in a mailbox; a full mailbox takes no more, and the caller hears so.
pub const MESSAGES_PER_BOX: usize = 100;
/// Maximum number of attempts per mail.
pub const MAIL_ATTEMPTS: u32 = 10;

/// State of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageState {
    /// Being recorded, or it was when the process died.
    Recording,
    /// Not listened to yet.
    New,
    /// Listened to.
    Heard,
    /// Marked by its owner to be kept.
    Saved,
}

impl MessageState {
    /// The JSON name: `recording`, `new`, `heard`, `saved`.
    pub fn as_str(self) -> &'static str {
        match self {
            MessageState::Recording => "recording",
            MessageState::New => "new",
            MessageState::Heard => "heard",
            MessageState::Saved => "saved",
        }
    }
}

/// Metadata of a voicemail message; its audio is a file of the same name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VoicemailMessage {
    /// Unique id.
    pub id: MessageId,
    /// The extension whose mailbox it is in.
    pub extension: ExtensionId,
    /// Owner of that extension.
    pub user: UserId,
    /// State.
    pub state: MessageState,
    /// Caller number as the callee would have seen it; empty where unknown.
    pub from_number: String,
    /// The call in which it was recorded.
    pub call: Option<CallId>,
    /// Start of the recording.
    pub left_at: Timestamp,
    /// Duration in milliseconds.
    pub millis: u32,
    /// Time of the first playback.
    pub heard_at: Option<Timestamp>,
}

/// A change of a message or a greeting. Applying one twice has no further effect, so that it can be repeated after a crash.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// A recording has begun: store the row, so that the owner of the audio is known after a crash.
    Begun(VoicemailMessage),
    /// The recording is complete and its file closed: the message is new from now on.
    Left(VoicemailMessage),
    /// The recording is empty: delete the row and the file.
    Dropped(VoicemailMessage),
    /// The owner listened to it, or saved it.
    Marked {
        /// The extension whose mailbox it is in.
        extension: ExtensionId,
        /// Id of the message.
        id: MessageId,
        /// The new state.
        state: MessageState,
    },
    /// The owner deleted it.
    Deleted {
        /// The extension whose mailbox it is in.
        extension: ExtensionId,
        /// Id of the message.
        id: MessageId,
    },
    /// The owner recorded a greeting and keeps it.
    Greeting {
        /// The extension whose greeting it is.
        extension: ExtensionId,
        /// Path below the data directory, without the file extension.
        name: Arc<str>,
    },
    /// A greeting was recorded and discarded.
    GreetingDropped {
        /// Path as in `Greeting`.
        name: Arc<str>,
    },
}

/// Message counts of a mailbox, as shown by MWI (RFC 3842 §3.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Count {
    /// Messages not listened to.
    pub new: usize,
    /// Heard or saved messages.
    pub old: usize,
}

impl Count {
    /// Count messages; those that are being recorded do not count.
    pub fn of<'m>(messages: impl Iterator<Item = &'m VoicemailMessage>) -> Count {
        messages.fold(Count::default(), |mut count, message| {
            count.add(message);
            count
        })
    }

    /// Count one message more.
    pub fn add(&mut self, message: &VoicemailMessage) {
        if let Some(counted) = self.of_state(message.state) {
            *counted += 1;
        }
    }

    /// Count one message less.
    pub fn subtract(&mut self, message: &VoicemailMessage) {
        if let Some(counted) = self.of_state(message.state) {
            *counted = counted.saturating_sub(1);
        }
    }

    fn of_state(&mut self, state: MessageState) -> Option<&mut usize> {
        match state {
            MessageState::Recording => None,
            MessageState::New => Some(&mut self.new),
            MessageState::Heard | MessageState::Saved => Some(&mut self.old),
        }
    }

    /// New and old messages.
    pub fn all(self) -> usize {
        self.new + self.old
    }
}

/// Settings of a mailbox. An extension without stored settings has a mailbox too, with those of [`Mailbox::of`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Mailbox {
    /// The extension whose mailbox it is.
    pub extension: ExtensionId,
    /// MAC of the PIN; without a PIN only the extension's own phone has access.
    pub pin: Option<PinProof>,
    /// Language of the prompts.
    pub language: Language,
    /// Recipient of notification mails; off where `None`.
    pub email: Option<String>,
    /// Whether the audio is attached to the mail.
    pub email_audio: bool,
    /// Time at which the greeting was recorded; the standard prompt is played where `None`.
    pub greeting_at: Option<Timestamp>,
}

impl Mailbox {
    /// The default settings.
    pub fn of(extension: ExtensionId) -> Mailbox {
        Mailbox {
            extension,
            pin: None,
            language: Language::Spanish,
            email: None,
            email_audio: true,
            greeting_at: None,
        }
    }
}

/// Why a PIN is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PinError {
    /// Wrong length, or characters other than digits.
    #[error("a PIN has 4 to 10 digits")]
    Shape,
    /// Among the first that are guessed.
    #[error(
        "this PIN is easily guessed: no repeated digit, no consecutive digits, not the extension's own number"
    )]
    Weak,
}

/// The key of the PIN MACs, kept outside the database: the database alone does not allow to try all PINs.
pub type PinKey = Secret<[u8; 32]>;

/// HMAC-SHA256 of extension id and PIN. `Debug` does not print it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinProof([u8; 32]);

impl PinProof {
    /// Compute the MAC of a PIN.
    pub fn new(key: &PinKey, extension: &ExtensionId, pin: &str) -> PinProof {
        PinProof(mac(key, extension, pin).finalize().into_bytes().into())
    }

    /// Verify a PIN in constant time.
    pub fn holds(&self, key: &PinKey, extension: &ExtensionId, pin: &str) -> bool {
        mac(key, extension, pin).verify_slice(&self.0).is_ok()
    }

    /// The bytes to store.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// From the stored bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> PinProof {
        PinProof(bytes)
    }
}

impl fmt::Debug for PinProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

fn mac(key: &PinKey, extension: &ExtensionId, pin: &str) -> Hmac<Sha256> {
    let mut block = [0; 64]; // a shorter key is padded with zeros (RFC 2104 §2)
    block.iter_mut().zip(key.expose()).for_each(|(to, from)| *to = *from);
    let mut mac = <Hmac<Sha256> as KeyInit>::new(&block.into());
    mac.update(extension.as_str().as_bytes());
    mac.update(b":");
    mac.update(pin.as_bytes());
    mac
}

/// Validate a PIN for the extension with this number.
pub fn check_pin(pin: &str, number: &str) -> Result<(), PinError> {
    if !(4..=10).contains(&pin.len()) || !pin.bytes().all(|b| b.is_ascii_digit()) {
        return Err(PinError::Shape);
    }
    let steps: Vec<i16> = pin
        .as_bytes()
        .windows(2)
        .filter_map(|w| Some(i16::from(*w.get(1)?) - i16::from(*w.first()?)))
        .collect();
    let row = |step: i16| steps.iter().all(|s| *s == step);
    if row(0) || row(1) || row(-1) || pin == number { Err(PinError::Weak) } else { Ok(()) }
}

/// Whether a text is an acceptable mail address: one `@`, a domain, and no characters that could start another header line.
pub fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let legal = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
    let dots = |s: &str| !s.starts_with('.') && !s.ends_with('.') && !s.contains("..");
    text.len() <= 254
        && (1..=64).contains(&local.len())
        && local.chars().all(legal)
        && dots(local)
        && domain.parse::<std::net::IpAddr>().is_err()
        && !domain.contains('_')
        && crate::is_host(domain)
}

/// State of a mail delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum DeliveryState {
    Waiting,
    Sent,
    Failed,
}

/// Delivery of one notification mail, pending or finished.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Delivery {
    /// Unique id.
    pub id: DeliveryId,
    /// The message it is about.
    pub message: MessageId,
    /// The extension whose mailbox the message is in.
    pub extension: ExtensionId,
    /// Mail address.
    pub recipient: String,
    /// State.
    pub state: DeliveryState,
    /// Number of attempts so far.
    pub attempts: u32,
    /// Time of the next attempt.
    pub next_at: Timestamp,
    /// Creation time.
    pub created_at: Timestamp,
    /// Time at which it was sent or given up.
    pub finished_at: Option<Timestamp>,
    /// Reply of the mail server to the last failed attempt.
    pub error: Option<String>,
}

/// Result of an attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Attempt {
    /// Accepted by the server.
    Sent,
    /// Temporary failure.
    Later(String),
    /// Permanent failure.
    Never(String),
}

impl Delivery {
    /// A delivery that is due at once.
    pub fn new(id: DeliveryId, message: &VoicemailMessage, recipient: String, now: Timestamp) -> Delivery {
        Delivery {
            id,
            message: message.id.clone(),
            extension: message.extension.clone(),
            recipient,
            state: DeliveryState::Waiting,
            attempts: 0,
            next_at: now,
            created_at: now,
            finished_at: None,
            error: None,
        }
    }

    /// The delivery after an attempt: retried after `first`, then twice that, four times that, …, at most 4 hours apart, and at most
    /// [`MAIL_ATTEMPTS`] times in all.
    #[must_use]
    pub fn after(mut self, attempt: Attempt, now: Timestamp, first: Duration) -> Delivery {
        self.attempts += 1;
        let (state, error) = match attempt {
            Attempt::Sent => (DeliveryState::Sent, None),
            Attempt::Later(why) if self.attempts < MAIL_ATTEMPTS => (DeliveryState::Waiting, Some(why)),
            Attempt::Later(why) | Attempt::Never(why) => (DeliveryState::Failed, Some(why)),
        };
        if state == DeliveryState::Waiting {
            self.next_at = now + retry_after(self.attempts, first);
        } else {
            self.finished_at = Some(now);
        }
        (self.state, self.error) = (state, error);
        self
    }
}

fn retry_after(attempts: u32, first: Duration) -> Duration {
    first.saturating_mul(1 << attempts.saturating_sub(1).min(10)).min(Duration::from_secs(4 * 3600))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_valid_for_its_mailbox_only() {
        let key = Secret::new([7; 32]);
        let (mine, yours) = (ExtensionId::parse("ext_1").unwrap(), ExtensionId::parse("ext_2").unwrap());
        let proof = PinProof::new(&key, &mine, "4711"); // S72
        assert!(proof.holds(&key, &mine, "4711"));
        assert!(!proof.holds(&key, &mine, "4712") && !proof.holds(&key, &yours, "4711"));
        assert!(!proof.holds(&Secret::new([8; 32]), &mine, "4711"));
        assert_eq!(format!("{proof:?}"), "***");
    }

    #[test]
    fn an_easily_guessed_pin_is_refused() {
        for weak in ["0000", "1234", "987654", "100200"] {
            assert_eq!(check_pin(weak, "100200"), Err(PinError::Weak), "{weak}");
        }
        for no in ["", "123", "12345678901", "12a4", "１２３５"] {
            assert_eq!(check_pin(no, "1001"), Err(PinError::Shape), "{no}");
        }
        assert_eq!(check_pin("4711", "1001"), Ok(()));
    }

    #[test]
    fn a_mail_is_tried_ten_times_at_growing_distances() {
        assert!(is_email("ana.perez+buzon@example.com") && is_email("ana@localhost"));
        for no in [
            "ana",
            "@example.com",
            "a b@example.com",
            "a@b\r\nBcc: c@d",
            "a@b@c d",
            ".a@b",
            "a@b..c",
            "a@-b",
            "a@192.0.2.1",
            "a@b_c",
        ] {
            assert!(!is_email(no), "{no:?}");
        }
        let message = VoicemailMessage {
            id: Id::parse("vm_1_a").unwrap(),
            extension: Id::parse("ext_1").unwrap(),
            user: Id::parse("ana").unwrap(),
            state: MessageState::New,
            from_number: String::new(),
            call: None,
            left_at: Timestamp::default(),
            millis: 0,
            heard_at: None,
        };
        let mut mail =
            Delivery::new(Id::parse("mail_1_a").unwrap(), &message, "a@b".into(), Timestamp::default());
        let mut waits = Vec::new();
        while mail.state == DeliveryState::Waiting {
            let now = mail.next_at;
            mail = mail.after(Attempt::Later("450 busy".into()), now, Duration::from_secs(60));
            waits.push(mail.next_at.since(now).as_secs() / 60);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 240, 0]);
        assert_eq!((mail.attempts, mail.finished_at.is_some()), (10, true));
        assert_eq!(mail.error.as_deref(), Some("450 busy"));
    }
}
