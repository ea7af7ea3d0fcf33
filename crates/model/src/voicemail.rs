//! Voicemail: whose box, what lies in it, who may hear it, and when a mail about it is tried again (S63, S72).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base::{Id, Kind, Secret, Timestamp};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::{CallId, ExtensionId, Language, UserId};

/// Marks ids of messages; see [`MessageId`].
#[derive(Clone, Copy, Debug)]
pub enum MessageKind {}

impl Kind for MessageKind {
    const PREFIX: &'static str = "vm";
}

/// `vm_1234567890_abc123`: later ones sort behind earlier ones.
pub type MessageId = Id<MessageKind>;

/// Marks ids of mail deliveries; see [`DeliveryId`].
#[derive(Clone, Copy, Debug)]
pub enum DeliveryKind {}

impl Kind for DeliveryKind {
    const PREFIX: &'static str = "mail";
}

/// `mail_1234567890_abc123`
pub type DeliveryId = Id<DeliveryKind>;

/// Messages of one box: who has more does not listen to them, and the next caller is told so.
pub const MESSAGES_PER_BOX: usize = 100;
/// Attempts at one mail before it counts as failed.
pub const MAIL_ATTEMPTS: u32 = 10;

/// Where a message is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageState {
    /// Somebody is speaking it, or was when the process died.
    Recording,
    /// Nobody has heard it.
    New,
    /// Somebody has heard it.
    Heard,
    /// Its owner wants to keep it.
    Saved,
}

impl MessageState {
    /// As in JSON: `new`, `heard`, `saved`.
    pub fn as_str(self) -> &'static str {
        match self {
            MessageState::Recording => "recording",
            MessageState::New => "new",
            MessageState::Heard => "heard",
            MessageState::Saved => "saved",
        }
    }
}

/// A message that somebody left; its audio lies in a file of the same name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VoicemailMessage {
    /// Its id.
    pub id: MessageId,
    /// In whose box.
    pub extension: ExtensionId,
    /// Who owns that extension.
    pub user: UserId,
    /// Where it is in its life.
    pub state: MessageState,
    /// Who left it, as the callee would have seen it; empty where unknown.
    pub from_number: String,
    /// The call in which it was left.
    pub call: Option<CallId>,
    /// When it was begun.
    pub left_at: Timestamp,
    /// How long it is.
    pub millis: u32,
    /// When it was first heard.
    pub heard_at: Option<Timestamp>,
}

/// What has become of a message or a greeting. Doing what one says twice changes nothing, so that it can be done again after a crash.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// A message is being spoken: write it down, so that a crash does not forget whose it is.
    Begun(VoicemailMessage),
    /// It is complete, and its file closed: it counts from now on.
    Left(VoicemailMessage),
    /// There is nothing in it: forget it, and its file.
    Dropped(VoicemailMessage),
    /// Its owner heard it, or wants to keep it.
    Marked {
        /// In whose box.
        extension: ExtensionId,
        /// Which.
        id: MessageId,
        /// What it is now.
        state: MessageState,
    },
    /// Its owner deleted it.
    Deleted {
        /// In whose box.
        extension: ExtensionId,
        /// Which.
        id: MessageId,
    },
    /// The owner recorded a greeting and keeps it; it lies under this name.
    Greeting {
        /// Whose.
        extension: ExtensionId,
        /// A path below the data directory, without its ending.
        name: Arc<str>,
    },
    /// A greeting was recorded and is not wanted.
    GreetingDropped {
        /// As in `Greeting`.
        name: Arc<str>,
    },
}

/// How many messages a box holds: what a phone's lamp shows (RFC 3842 §3.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Count {
    /// Nobody has heard these.
    pub new: usize,
    /// Heard or saved.
    pub old: usize,
}

impl Count {
    /// Count messages; those that are being spoken do not count yet.
    pub fn of<'m>(messages: impl Iterator<Item = &'m VoicemailMessage>) -> Count {
        messages.fold(Count::default(), |mut count, message| {
            count.add(message);
            count
        })
    }

    /// One message more.
    pub fn add(&mut self, message: &VoicemailMessage) {
        if let Some(counted) = self.of_state(message.state) {
            *counted += 1;
        }
    }

    /// One message less.
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

    /// All of them.
    pub fn all(self) -> usize {
        self.new + self.old
    }
}

/// What the owner has set about a box. An extension without one has a box all the same, with [`Mailbox::of`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Mailbox {
    /// Whose.
    pub extension: ExtensionId,
    /// Proof of the PIN; without one only the extension's own phone gets in.
    pub pin: Option<PinProof>,
    /// What it speaks.
    pub language: Language,
    /// Where mails about new messages go.
    pub email: Option<String>,
    /// Whether the audio goes with them.
    pub email_audio: bool,
    /// When the owner recorded a greeting; the prompt speaks where there is none.
    pub greeting_at: Option<Timestamp>,
}

impl Mailbox {
    /// A box that nobody has touched.
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

/// Why digits are no PIN.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PinError {
    /// Its length or its characters.
    #[error("a PIN has 4 to 10 digits")]
    Shape,
    /// Everybody tries these first.
    #[error(
        "this PIN is the first that anybody tries: not one digit again and again, no row of digits, not the extension's own number"
    )]
    Weak,
}

/// The key under which PINs are kept: with the database alone nobody can try them all.
pub type PinKey = Secret<[u8; 32]>;

/// HMAC-SHA256 of box and PIN. Never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinProof([u8; 32]);

impl PinProof {
    /// The proof of a PIN for a box.
    pub fn new(key: &PinKey, extension: &ExtensionId, pin: &str) -> PinProof {
        PinProof(mac(key, extension, pin).finalize().into_bytes().into())
    }

    /// Whether these digits are the PIN. Takes the same time for all digits.
    pub fn holds(&self, key: &PinKey, extension: &ExtensionId, pin: &str) -> bool {
        mac(key, extension, pin).verify_slice(&self.0).is_ok()
    }

    /// As it is kept.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// As it was kept.
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
    let mut block = [0; 64]; // a shorter key is filled up with zeros (RFC 2104 §2)
    block.iter_mut().zip(key.expose()).for_each(|(to, from)| *to = *from);
    let mut mac = <Hmac<Sha256> as KeyInit>::new(&block.into());
    mac.update(extension.as_str().as_bytes());
    mac.update(b":");
    mac.update(pin.as_bytes());
    mac
}

/// Whether digits may be the PIN of the extension with this number.
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

/// Whether a text can be an address of mail: one `@`, a domain, nothing that could begin a header line of its own.
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

/// How a mail fares.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum DeliveryState {
    Waiting,
    Sent,
    Failed,
}

/// One mail about one message: what is still to do, and afterwards what was done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Delivery {
    /// Its id.
    pub id: DeliveryId,
    /// About which message.
    pub message: MessageId,
    /// In whose box.
    pub extension: ExtensionId,
    /// To whom.
    pub recipient: String,
    /// How it fares.
    pub state: DeliveryState,
    /// Attempts so far.
    pub attempts: u32,
    /// When the next attempt is due.
    pub next_at: Timestamp,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it was sent, or given up.
    pub finished_at: Option<Timestamp>,
    /// What the server said to the last attempt that failed.
    pub error: Option<String>,
}

/// What an attempt came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Attempt {
    /// The server took it.
    Sent,
    /// It may be taken later.
    Later(String),
    /// It never will be.
    Never(String),
}

impl Delivery {
    /// A mail that is due at once.
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

    /// What becomes of it after an attempt: tried again after `first`, twice that, four times that, …, at most after 4 hours, ten times in
    /// all.
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
    fn a_pin_is_proved_for_its_box_only() {
        let key = Secret::new([7; 32]);
        let (mine, yours) = (ExtensionId::parse("ext_1").unwrap(), ExtensionId::parse("ext_2").unwrap());
        let proof = PinProof::new(&key, &mine, "4711"); // S72
        assert!(proof.holds(&key, &mine, "4711"));
        assert!(!proof.holds(&key, &mine, "4712") && !proof.holds(&key, &yours, "4711"));
        assert!(!proof.holds(&Secret::new([8; 32]), &mine, "4711"));
        assert_eq!(format!("{proof:?}"), "***");
    }

    #[test]
    fn a_pin_that_everybody_tries_is_none() {
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
